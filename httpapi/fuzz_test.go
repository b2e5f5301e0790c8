package httpapi

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/rescind/rescind"
)

// What is read as credentials is exactly what was encoded, and nothing else is read.
func FuzzParseBasic(f *testing.F) {
	for _, s := range []string{"Basic YTpi", "basic  YTpi", "Basic YSUzQTpi", "Basic", "Basic OmI=", "Bearer x", "Basic !!", "Basic YTpi\n", "Basic YSs6Yg=="} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, header string) {
		id, secret, ok := parseBasic(header)
		if !ok {
			if id != "" || secret != "" {
				t.Fatal("credentials beside a refusal")
			}
			return
		}
		if id == "" {
			t.Fatal("no client id")
		}
		again := "Basic " + base64.StdEncoding.EncodeToString([]byte(url.QueryEscape(id)+":"+url.QueryEscape(secret)))
		if id2, secret2, ok := parseBasic(again); len(again) <= 1024 && (!ok || id2 != id || secret2 != secret) {
			t.Fatalf("%q and %q do not come back", id, secret)
		}
		// net/http agrees on what is in the header, before the form-decoding.
		r := http.Request{Header: http.Header{"Authorization": {header}}}
		user, password, ok := r.BasicAuth()
		if rest := strings.TrimLeft(header[len("Basic"):], " "); ok && len(rest) == len(header)-len("Basic ") {
			if u, err := url.QueryUnescape(user); err != nil || u != id {
				t.Fatalf("id %q, net/http has %q", id, user)
			}
			if p, err := url.QueryUnescape(password); err != nil || p != secret {
				t.Fatalf("secret differs from net/http's")
			}
		}
	})
}

func FuzzParseBearer(f *testing.F) {
	for _, s := range []string{"Bearer abc", "bearer  a-._~+/=", "Bearer", "Bearer ", "Bearerx y", "Bearer a b", "Bearer =", "Basic x", "Bearer a,b"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, header string) {
		token, err := parseBearer([]string{header})
		switch {
		case err == nil:
			if token == "" || strings.ContainsAny(token, " \t\r\n\x00,\"") || !strings.HasSuffix(header, " "+token) || !strings.EqualFold(header[:6], "bearer") {
				t.Fatalf("%q read from %q", token, header)
			}
		case token != "":
			t.Fatal("a token beside a refusal")
		case !errors.Is(err, errNoBearer) && !errors.Is(err, errBadBearer):
			t.Fatal(err)
		}
		if _, err := parseBearer([]string{header, header}); !errors.Is(err, errTwoTokens) {
			t.Fatalf("two headers: %v", err)
		}
	})
}

// A form is read as net/url reads it, or refused.
func FuzzParseForm(f *testing.F) {
	for _, s := range []string{"a=b&c=d", "a=b&a=c", "%61=b&a=c", "a", "=", "&&", "a=%zz", "a=b;c=d", "a+b=c+d", "\x00=\xff", many(40)} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		got, err := parseForm(s)
		if err != nil {
			var fault *fault
			if !errors.As(err, &fault) || fault.status != http.StatusBadRequest || got != nil {
				t.Fatalf("%v", err)
			}
			return
		}
		if len(got) > MaxParameters {
			t.Fatalf("%d parameters", len(got))
		}
		seen := map[string]bool{}
		for _, p := range got {
			if seen[p.name] {
				t.Fatalf("%q is there twice", p.name)
			}
			seen[p.name] = true
			if got.get(p.name) != p.value {
				t.Fatalf("get(%q)", p.name)
			}
		}
		want, err := url.ParseQuery(strings.ReplaceAll(s, ";", "%3B")) // which net/url no longer splits at, and refuses
		if err != nil {
			t.Fatalf("net/url refuses %q: %v", s, err)
		}
		if len(want) != len(got) {
			t.Fatalf("%d parameters, net/url has %d", len(got), len(want))
		}
		for name, values := range want {
			if len(values) != 1 || values[0] != got.get(name) {
				t.Fatalf("%q differs", name)
			}
		}
	})
}

func many(n int) string { return strings.Repeat("a=b&", n) }

// A body that is taken says one thing to every reader, and an answer about a bad
// one repeats nothing of it.
func FuzzDecodeJSON(f *testing.F) {
	for _, s := range []string{
		`{"subject":"a"}`, `{"subject":"a","audience":["b"],"claims":{"x":[1,{}]},"device":{"ip":"::1"}}`, `{"subject":"a"}{}`,
		`{"subject":"a","subject":"b"}`, `{"Subject":"a"}`, `{"x":1}`, `[]`, `null`, ``, `{"expires_in":1e3}`, `{"replaces":"AAAA"}`, "{\"subject\":\"\xff\"}",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		var q sessionRequest
		err := decodeJSON([]byte(s), &q)
		if err != nil {
			var fault *fault
			if !errors.As(err, &fault) || fault.status != http.StatusBadRequest {
				t.Fatalf("%v", err)
			}
			if !utf8.ValidString(fault.detail) || len(fault.detail) > 300 {
				t.Fatalf("detail %q", fault.detail)
			}
			return
		}
		// The standard library, laxer, reads the same.
		var r sessionRequest
		if err := json.Unmarshal([]byte(s), &r); err != nil {
			t.Fatalf("encoding/json refuses %q: %v", s, err)
		}
		if q.Subject != r.Subject || q.ClientID != r.ClientID || q.Scope != r.Scope || q.Replaces != r.Replaces || len(q.Audience) != len(r.Audience) {
			t.Fatalf("%+v, encoding/json has %+v", q, r)
		}
		for name, n := range map[string]*int64{"expires_in": q.ExpiresIn, "idle_timeout": q.IdleTimeout} {
			if d, err := seconds(name, n); err == nil && (d < 0 || d > rescind.MaxLifetime) {
				t.Fatalf("%s of %s", name, d)
			}
		}
	})
}

// A path finds a route or none; it never finds one that it does not spell.
func FuzzFindRoute(f *testing.F) {
	a := &rescind.Authority{}
	s := &server{authority: a}
	t, err := newTable(s.routes())
	if err != nil {
		f.Fatal(err)
	}
	for _, p := range []string{"/", "/oauth/token", "/v1/sessions/x", "/v1/sessions/%2e", "/forward-auth/../v1/keys", "/forward-rules/a/b", "//oauth/token", "/oauth/token/", "/v1/sessions/"} {
		f.Add("POST", p)
	}
	f.Fuzz(func(tt *testing.T, method, path string) {
		r, param := t.find(method, path)
		switch {
		case r == nil:
			tt.Fatal("no route, not even for refusing")
		case strings.HasPrefix(path, forwardAuthPath) != (r == t.forwardAuth):
			tt.Fatalf("%q is forward-auth: %t", path, r == t.forwardAuth)
		case r.method == "" || param != "":
		case r.path != path:
			tt.Fatalf("%q finds %q", path, r.path)
		}
		if strings.HasPrefix(path, "/oauth/") && r.style != oauth {
			tt.Fatalf("%q is not answered in OAuth's words", path)
		}
		if r == t.forwardRules && strings.ContainsAny(param, "/*") {
			tt.Fatalf("rule %q", param)
		}
	})
}

// Failures are remembered within bounds, whoever makes them up.
func TestFailuresAreBounded(t *testing.T) {
	now := time.Unix(0, 0)
	f, err := newFailures(RateLimit{Failures: 2, Window: 20 * time.Second}, func() time.Time { return now })
	if err != nil {
		t.Fatal(err)
	}
	mine := netip.MustParseAddr("192.0.2.1")
	for i, want := range []time.Duration{0, 0, 10 * time.Second, 10 * time.Second} {
		if got := f.count(mine, ""); got != want {
			t.Fatalf("failure %d: wait %s, want %s", i, got, want)
		}
	}
	now = now.Add(10 * time.Second)
	if got := f.count(mine, ""); got != 0 {
		t.Fatalf("after the wait: %s", got)
	}
	var b [16]byte
	for i := range 3 * maxFailing {
		b[0], b[1], b[2] = byte(i), byte(i>>8), byte(i>>16)
		f.count(netip.AddrFrom16(b), "client")
		if i%1000 == 0 && f.count(mine, "") == 0 {
			t.Fatal("a flood of others has made it forget")
		}
	}
	if len(f.byKey) > maxFailing || f.recent.Len() != len(f.byKey) {
		t.Fatalf("%d remembered, %d listed", len(f.byKey), f.recent.Len())
	}
}
