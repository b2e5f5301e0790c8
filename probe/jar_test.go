package probe

import (
	"net/http"
	"net/url"
	"testing"
	"time"
)

// The jar sends what a browser would send.
func TestJarDoesAsABrowserDoes(t *testing.T) {
	now := time.Date(2026, 11, 20, 12, 0, 0, 0, time.UTC)
	parse := func(text string) *url.URL {
		u, err := url.Parse(text)
		if err != nil {
			t.Fatal(err)
		}
		return u
	}
	for name, test := range map[string]struct {
		from string
		set  []string
		to   string
		want string
	}{
		"same host":                  {"http://a.test/login", []string{"sid=1"}, "http://a.test/me", "sid=1"},
		"another instance":           {"http://a.test/login", []string{"sid=1"}, "http://b.test:81/me", "sid=1"},
		"another host":               {"http://auth.test/login", []string{"sid=1"}, "http://a.test/me", ""},
		"a domain":                   {"http://www.auth.test/login", []string{"sid=1; Domain=auth.test"}, "http://x.auth.test/me", "sid=1"},
		"a foreign domain":           {"http://auth.test/login", []string{"sid=1; Domain=a.test"}, "http://a.test/me", ""},
		"below a path":               {"http://a.test/", []string{"r=1; Path=/refresh"}, "http://a.test/refresh/now", "r=1"},
		"beside a path":              {"http://a.test/", []string{"r=1; Path=/refresh"}, "http://a.test/refreshing", ""},
		"the path of the request":    {"http://a.test/auth/login", []string{"r=1"}, "http://a.test/me", ""},
		"secure, without TLS":        {"http://a.test/", []string{"__Host-sid=1; Secure; Path=/"}, "http://a.test/me", "__Host-sid=1"},
		"longest path first":         {"http://a.test/", []string{"a=1; Path=/", "b=2; Path=/me"}, "http://a.test/me", "b=2; a=1"},
		"replaced":                   {"http://a.test/", []string{"a=1", "a=2"}, "http://a.test/", "a=2"},
		"deleted by age":             {"http://a.test/", []string{"a=1", "a=; Max-Age=0"}, "http://a.test/", ""},
		"deleted by date":            {"http://a.test/", []string{"a=1", "a=x; Expires=Thu, 01 Jan 1970 00:00:00 GMT"}, "http://a.test/", ""},
		"kept with a date to come":   {"http://a.test/", []string{"a=1; Expires=Fri, 01 Jan 2027 00:00:00 GMT"}, "http://a.test/", "a=1"},
		"deleted, but not elsewhere": {"http://a.test/", []string{"a=1; Path=/", "a=; Path=/x; Max-Age=0"}, "http://a.test/", "a=1"},
		"quoted":                     {"http://a.test/", []string{`a="x y"`}, "http://a.test/", `a="x y"`},
	} {
		t.Run(name, func(t *testing.T) {
			j := &jar{instances: []string{"a.test", "b.test"}}
			for _, set := range test.set {
				j.store(parse(test.from), http.Header{"Set-Cookie": {set}}, now)
			}
			if got := cookieHeader(j.of(parse(test.to), now), func(c cookie) string { return c.value }); got != test.want {
				t.Errorf("%q, want %q", got, test.want)
			}
		})
	}
}

// A copy of a jar keeps what the logout deletes.
func TestACopyOfAJarKeepsItsCookies(t *testing.T) {
	now := time.Now()
	u := &url.URL{Scheme: "http", Host: "a.test", Path: "/"}
	j := &jar{}
	j.store(u, http.Header{"Set-Cookie": {"sid=1"}}, now)
	kept := j.clone()
	j.store(u, http.Header{"Set-Cookie": {"sid=; Max-Age=0"}}, now)
	if len(j.of(u, now)) != 0 || len(kept.of(u, now)) != 1 {
		t.Errorf("%v, %v", j.cookies, kept.cookies)
	}
}
