package probe

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"os/exec"
	"strings"
	"testing"
)

// No printed form of anything holds a secret, in whatever encoding it stands.
func TestNothingPrintedHoldsASecret(t *testing.T) {
	s := newSecrets()
	jwt := "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJhZGEifQ.c2lnbmF0dXJlIG9mIDMyIGJ5dGVzIGZvciB0ZXN0cw"
	all := []string{jwt, "pass word/with+odd\"signs&\\", "opaque-0123456789", "short7x"}
	for i, value := range all {
		s.learn(fmt.Sprintf("secret %d", i), value)
	}
	for _, value := range all {
		inJSON, err := json.Marshal(map[string]string{"value": value})
		if err != nil {
			t.Fatal(err)
		}
		for _, text := range []string{
			value, "before " + value + " after", "https://example.org/?q=" + url.QueryEscape(value), "/path/" + url.PathEscape(value), string(inJSON),
		} {
			for name, shown := range map[string]string{"mask": s.mask(text), "body": s.body([]byte(text)), "header": s.field("X-Any", text)} {
				for _, form := range []string{value, url.QueryEscape(value), url.PathEscape(value), strings.Trim(string(inJSON[len(`{"value":`):len(inJSON)-1]), `"`)} {
					if strings.Contains(shown, form) {
						t.Errorf("%s of %q shows %q", name, text, shown)
					}
				}
			}
		}
	}
}

// What nobody has learned is masked by its place, or because nobody would write it.
func TestWhatIsNotKnownIsMaskedByItsPlace(t *testing.T) {
	s := newSecrets()
	h := http.Header{}
	h.Set("Authorization", "Bearer tiny")
	h.Set("Cookie", "sid=abc; theme=d")
	h.Add("Set-Cookie", "sid=abc; Path=/; HttpOnly")
	h.Set("Location", "/next?code=4f3c2b1a0f9e8d7c6b5a4f3c2b1a0f9e")
	shown := fmt.Sprint(s.fields(h)) + s.body([]byte(`{"refresh_token": "tiny1", "password":"p\"q", "user": "ada", "id": "7b0c5b1e-55f1-4f0c-b2be-0123456789ab"}`))
	for _, secret := range []string{"tiny", "sid=abc", "theme=d;", `p\"q`, "4f3c2b1a0f9e8d7c6b5a4f3c2b1a0f9e", "7b0c5b1e-55f1-4f0c-b2be-0123456789ab"} {
		if strings.Contains(shown, secret) {
			t.Errorf("%q is shown: %s", secret, shown)
		}
	}
	for _, plain := range []string{"Bearer", "HttpOnly", "ada", "refresh_token", "Path=/"} {
		if !strings.Contains(shown, plain) {
			t.Errorf("%q is not shown: %s", plain, shown)
		}
	}
}

// A short secret is not given away by the hash of it.
func TestAShortSecretShowsItsLengthOnly(t *testing.T) {
	if got := masked("hunter2hunter2"); got != "…(14 characters)" {
		t.Error(got)
	}
	if got := masked(strings.Repeat("a", 40)); !strings.HasPrefix(got, "aaaa…(40 characters, sha256 ") {
		t.Error(got)
	}
}

// The curl command is what was sent, once a reader has set the variables; and it
// holds no secret itself.
func TestCurlSendsTheSameRequestAgain(t *testing.T) {
	r := testRun(t, "http://127.0.0.1:1", `present: {headers: {Authorization: "Bearer {{access_token}}", X-Odd: "it's \"{{access_token}}\" $HOME"}}`,
		`refresh: {request: "POST /refresh?hint={{refresh_token}}", json: {refresh_token: "{{refresh_token}}", "it's": "$HOME `+"`id`"+`"}}`)
	s := &session{label: "ada#1", instance: "http://127.0.0.1:1", vars: r.target.Vars(r.users[0]), jar: &jar{instances: r.instanceHosts()}}
	s.vars["access_token"], s.vars["refresh_token"] = "secret-access", "secret/refresh"
	u, err := url.Parse("http://127.0.0.1:1/login")
	if err != nil {
		t.Fatal(err)
	}
	s.jar.store(u, http.Header{"Set-Cookie": {"sid=secret-cookie"}}, r.options.Now())
	q, err := r.build("refresh", r.together(s), r.target.Refresh.Last(), s.instance, "all")
	if err != nil {
		t.Fatal(err)
	}
	command := curl(q, r.secrets)
	if strings.Contains(command, "secret-") || strings.Contains(command, "secret/") {
		t.Errorf("the command holds a secret: %s", command)
	}
	// The shell says which words curl would get.
	script := "ACCESS_TOKEN=secret-access REFRESH_TOKEN=secret/refresh COOKIE_SID=secret-cookie\ncurl() { for word; do printf '%s\\n' \"$word\"; done; }\n" + command
	out, err := exec.CommandContext(t.Context(), "sh", "-c", script).CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s\n%s", err, out, command)
	}
	for _, word := range []string{
		"http://127.0.0.1:1/refresh?hint=secret/refresh", "Authorization: Bearer secret-access", `X-Odd: it's "secret-access" $HOME`,
		"Cookie: sid=secret-cookie", string(q.body),
	} {
		if !strings.Contains("\n"+string(out), "\n"+word+"\n") {
			t.Errorf("no word %q in:\n%s\nof\n%s", word, out, command)
		}
	}
}
