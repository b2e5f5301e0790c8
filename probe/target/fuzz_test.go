package target

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
)

// anything is an environment in which everything is set.
func anything(name string) (string, bool) { return "http://127.0.0.1:9", true }

// Whatever is read as a description is written so that it reads as the same.
func FuzzParse(f *testing.F) {
	f.Add([]byte(notes))
	for _, m := range wrongOnes() {
		f.Add([]byte(strings.Replace(notes, m.old, m.new, 1)))
	}
	files, err := filepath.Glob("../../examples/*/probe.yaml")
	if err != nil {
		f.Fatal(err)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		first, err := Parse(text, anything)
		if err != nil {
			return
		}
		again(t, first)
	})
}

// again fails the test unless a description reads as what it was.
func again(t *testing.T, first *Target) {
	t.Helper()
	text, err := Marshal(first)
	if err != nil {
		t.Fatal(err)
	}
	second, err := Parse(text, anything)
	if err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	one, two := *first, *second
	one.environment, two.environment = nil, nil
	if !reflect.DeepEqual(one, two) {
		t.Fatalf("was\n%+v\nis\n%+v\nas\n%s", one, two, text)
	}
}

// Whatever is drafted holds.
func drafted(t *testing.T, d *Draft, err error) {
	t.Helper()
	if err != nil {
		return
	}
	text, err := d.Write()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Parse(text, anything); err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
}

func FuzzFromCurl(f *testing.F) {
	f.Add([]byte(curlScript))
	f.Add([]byte(`curl -u ada:pw http://h/login -X POST; curl -G -d a=b --data-urlencode 'c=d e' http://h/x -b 'sid=1'`))
	f.Add([]byte("curl $'http://h/\\u0061' -F a=b -F c=@d\n"))
	f.Add([]byte("curl ^\"http://h/^\""))
	f.Fuzz(func(t *testing.T, text []byte) {
		d, err := FromCurl(text, "")
		drafted(t, d, err)
	})
}

func FuzzFromOpenAPI(f *testing.F) {
	for _, text := range []string{fastAPI, nodeAPI, swagger} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		d, err := FromOpenAPI(text, "http://127.0.0.1:1")
		drafted(t, d, err)
	})
}

func FuzzFromHAR(f *testing.F) {
	f.Add([]byte(`{"log":{"entries":[` + strings.Join([]string{
		harLine("POST", "/login", `{"user":"ada","password":"pw"}`, `{"token":"eyJhbGciOiJub25lIn0.e30.x"}`, ""),
		harLine("GET", "/me", "", `{"sub":"ada"}`, "eyJhbGciOiJub25lIn0.e30.x"),
		harLine("POST", "/logout", "", "", "eyJhbGciOiJub25lIn0.e30.x"),
	}, ",") + `]}}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		d, err := FromHAR(text, "")
		drafted(t, d, err)
	})
}

func harLine(method, path, body, answer, token string) string {
	type pair struct {
		Name  string `json:"name"`
		Value string `json:"value"`
	}
	var headers []pair
	if token != "" {
		headers = append(headers, pair{"authorization", "Bearer " + token}, pair{"cookie", "sid=" + token})
	}
	text, err := json.Marshal(map[string]any{
		"request":  map[string]any{"method": method, "url": "http://127.0.0.1:3000" + path, "headers": headers, "postData": map[string]any{"mimeType": "application/json", "text": body}},
		"response": map[string]any{"status": 200, "headers": []pair{{"set-cookie", "sid=" + token + "; Path=/"}}, "content": map[string]any{"mimeType": "application/json", "text": answer}},
	})
	if err != nil {
		panic(err)
	}
	return string(text)
}

// Wherever a password or a token stands in a recording or a command, and whatever
// it looks like, it is not in what is made of it.
func FuzzNoSecretLeavesARecording(f *testing.F) {
	f.Add("correct horse battery", "eyJhbGciOiJub25lIn0.e30.x", "extra", "4f2a9c0011223344")
	f.Add("hunter2hunter2", "just-words-in-a-token", "apiVersion", "some plain value")
	f.Add("{{user.name}}${X}\"'\\", "a b c d e f g h", "{{", "${HOME}")
	f.Add("application/json", "Authorization", "grant_type", "password")
	f.Fuzz(func(t *testing.T, password, token, field, value string) {
		for _, secret := range []string{password, token} {
			// What is a word of every description cannot be told from it.
			if len(secret) < 8 || !printable(secret) || strings.ContainsAny(secret, "\n\t;,") || strings.Contains(common, secret) || strings.TrimSpace(secret) != secret {
				return
			}
		}
		body, err := json.Marshal(map[string]any{"username": "ada", "password": password, field: value})
		if err != nil {
			return
		}
		var sent map[string]any
		if json.Unmarshal(body, &sent) != nil || sent["password"] != password || strings.Contains(field+value, password) || strings.Contains(field+value, token) {
			return
		}
		answer, err := json.Marshal(map[string]any{"access_token": token, "echo": password})
		if err != nil {
			return
		}
		revoke, err := json.Marshal(map[string]any{"token": token, "why": token, "old": password})
		if err != nil {
			return
		}
		recording := `{"log":{"entries":[` + strings.Join([]string{
			harLine("POST", "/login", string(body), string(answer), ""), harLine("GET", "/me", "", `{"sub":"ada"}`, token), harLine("POST", "/logout", string(revoke), "", token),
		}, ",") + `]}}`
		d, err := FromHAR([]byte(recording), "")
		silent(t, "HAR", d, err, password, token)
		quote := func(s string) string { return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'" }
		script := fmt.Sprintf("curl http://127.0.0.1:3000/login --json %s\ncurl http://127.0.0.1:3000/me -H %s -b %s\ncurl -X POST http://127.0.0.1:3000/logout --json %s\n",
			quote(string(body)), quote("Authorization: Bearer "+token), quote("sid="+token), quote(string(revoke)))
		d, err = FromCurl([]byte(script), "")
		silent(t, "curl", d, err, password, token)
	})
}

// common is what descriptions have in them whatever they are made from.
const common = "{{user.name}} {{user.password}} {{access_token}} ${PROBE_USER} ${PROBE_PASSWORD} GET /me POST /login POST /logout instances users login request protected password username access_token user.password user.name PROBE_PASSWORD PROBE_USER " +
	"To be looked at: To be set in the environment, so that no secret stands here: A draft: read it before you run it. rescind probe schema explains every key. http://127.0.0.1:3000"

func silent(t *testing.T, from string, d *Draft, err error, secrets ...string) {
	t.Helper()
	out := ""
	if err != nil {
		out = err.Error()
	} else {
		text, err := d.Write()
		if err != nil {
			t.Fatal(err)
		}
		out = string(text)
	}
	for _, secret := range secrets {
		if strings.Contains(out, secret) && !strings.Contains(common, secret) {
			t.Fatalf("%s: %q is in\n%s", from, secret, out)
		}
	}
}

// Text that is made a template renders to itself.
func FuzzLiteral(f *testing.F) {
	for _, text := range []string{"", "{{", "${", "{{{{", "$${", "{{a}}", "${A}", "$", "{", "{{{", "a{{{b", "$$$${x", "}}"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		got, err := Literal(text).Render(nil)
		if err != nil || got != text {
			t.Fatalf("%q became %q: %v", text, got, err)
		}
	})
}
