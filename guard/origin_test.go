package guard_test

import (
	"errors"
	"net/http/httptest"
	"testing"

	"github.com/rescind/rescind"
	"github.com/rescind/rescind/guard"
)

// TestCrossOriginRequestsChangeNothing: neither another site nor a sibling
// subdomain may log anybody out, refresh, or use the cookie for an unsafe method.
func TestCrossOriginRequestsChangeNothing(t *testing.T) {
	const trusted = "https://app.example.com"
	s := newSite(t, guard.CookieOptions{TrustedOrigins: []string{trusted}})
	b := s.loggedIn(t)
	for name, headers := range map[string][]string{
		"another site":             {"Sec-Fetch-Site", "cross-site"},
		"a sibling subdomain":      {"Sec-Fetch-Site", "same-site"},
		"an unknown relation":      {"Sec-Fetch-Site", "whatever"},
		"another site, its origin": {"Sec-Fetch-Site", "cross-site", "Origin", "https://evil.example.net"},
		"an old browser":           {"Origin", "https://evil.example.net"},
		"a sandboxed frame":        {"Origin", "null"},
		"a subdomain of a trusted": {"Origin", "https://evil.app.example.com"},
		"a trusted one over HTTP":  {"Sec-Fetch-Site", "cross-site", "Origin", "http://app.example.com"},
		"an origin that contains":  {"Origin", trusted + ".evil.example.net"},
	} {
		for _, path := range []string{"/auth/logout", "/auth/logout-all", "/auth/refresh", "/api"} {
			if res := b.want(403, "POST", path, headers...); len(res.Cookies()) != 0 || res.Header.Get("Cache-Control") != "no-store" {
				t.Errorf("%s, %s: %v", name, path, res.Header)
			}
		}
		b.want(403, "DELETE", "/api", headers...)
		// A socket is opened by GET and can do everything.
		b.want(403, "GET", "/api", append(headers, "Connection", "Upgrade", "Upgrade", "websocket")...)
		b.want(200, "GET", "/api", headers...)
	}
	for name, headers := range map[string][]string{
		"this origin":           {"Sec-Fetch-Site", "same-origin"},
		"the user":              {"Sec-Fetch-Site", "none"},
		"an old browser":        {"Origin", s.URL},
		"a trusted origin":      {"Sec-Fetch-Site", "cross-site", "Origin", trusted},
		"a trusted origin, old": {"Origin", trusted},
	} {
		b.want(200, "POST", "/api", headers...)
		b.want(200, "POST", "/auth/refresh", headers...)
		b.want(200, "GET", "/api", append(headers, "Connection", "Upgrade", "Upgrade", "websocket")...)
		if t.Failed() {
			t.Fatal(name)
		}
	}
	b.want(204, "POST", "/auth/logout", "Sec-Fetch-Site", "cross-site", "Origin", trusted)
}

func TestAllowCrossOriginIsForHandlersOnly(t *testing.T) {
	s := newSite(t, guard.CookieOptions{AllowCrossOrigin: true})
	b := s.loggedIn(t)
	b.want(200, "POST", "/api", "Sec-Fetch-Site", "cross-site")
	b.want(403, "POST", "/auth/refresh", "Sec-Fetch-Site", "cross-site")
	b.want(403, "POST", "/auth/logout", "Sec-Fetch-Site", "cross-site")
}

func TestNothingButPostLogsOut(t *testing.T) {
	s := newSite(t, guard.CookieOptions{})
	b := s.loggedIn(t)
	for _, path := range []string{"/auth/logout", "/auth/logout-all", "/auth/refresh"} {
		for _, method := range []string{"GET", "HEAD", "OPTIONS", "PUT", "DELETE", "PATCH"} {
			if res := b.want(405, method, path); res.Header.Get("Allow") != "POST" || len(res.Cookies()) != 0 {
				t.Errorf("%s %s: %v", method, path, res.Header)
			}
		}
	}
	b.want(200, "GET", "/api")
}

// TestInsecureCookiesAreForLoopback: without prefixes and Secure, nothing is
// served to anybody but a developer.
func TestInsecureCookiesAreForLoopback(t *testing.T) {
	s := newSite(t, guard.CookieOptions{InsecureLoopback: true})
	g := s.issue(t, rescind.Login{})
	const at = "rescind-at="
	for _, c := range []struct {
		host, origin, forwarded string
		fine                    bool
	}{
		{"localhost", "", "", true},
		{"localhost:3000", "http://localhost:3000", "", true},
		{"app.localhost", "", "", true},
		{"LOCALHOST.", "", "", true},
		{"127.0.0.1", "", "", true},
		{"127.9.9.9:1", "", "", true},
		{"[::1]:8080", "", "", true},
		{"[::1]", "http://[::1]", "localhost:3000", true},
		{"example.com", "", "", false},
		{"localhost.example.com", "", "", false},
		{"127.0.0.1.example.com", "", "", false},
		{"10.0.0.1:80", "", "", false},
		{"[::2]:80", "", "", false},
		{"", "", "", false},
		{"localhost", "https://example.com", "", false},             // a proxy has rewritten the host
		{"127.0.0.1:8080", "", "example.com", false},                // the same
		{"127.0.0.1:8080", "", "localhost, www.example.com", false}, // two of them
		{"evil-localhost", "", "", false},
	} {
		request := func(method string) (*httptest.ResponseRecorder, *guard.Cookies) {
			r := httptest.NewRequest(method, "/", nil)
			r.Host = c.host
			r.Header.Set("Cookie", at+g.AccessToken.Reveal())
			if c.origin != "" {
				r.Header.Set("Origin", c.origin)
				r.Header.Set("Sec-Fetch-Site", "same-origin")
			}
			if c.forwarded != "" {
				r.Header.Set("X-Forwarded-Host", c.forwarded)
			}
			w := httptest.NewRecorder()
			switch method {
			case "GET":
				s.cookies.Handler(whoami).ServeHTTP(w, r)
			default:
				r.Header.Del("Cookie")
				_, err := s.cookies.Login(w, r, rescind.Login{Subject: "bob"})
				if c.fine != (err == nil) || (!c.fine && !errors.Is(err, rescind.ErrForbidden)) {
					t.Errorf("%+v: login: %v", c, err)
				}
			}
			return w, s.cookies
		}
		if w, _ := request("GET"); (w.Code == 200) != c.fine || (!c.fine && w.Code != 403) {
			t.Errorf("%+v: %d", c, w.Code)
		}
		if w, _ := request("POST"); (len(w.Result().Cookies()) == 2) != c.fine {
			t.Errorf("%+v: %v", c, w.Header())
		}
		for _, h := range []string{"logout", "refresh"} {
			r := httptest.NewRequest("POST", "/", nil)
			r.Host = c.host
			if c.forwarded != "" {
				r.Header.Set("X-Forwarded-Host", c.forwarded)
			}
			if c.origin != "" {
				r.Header.Set("Origin", c.origin)
				r.Header.Set("Sec-Fetch-Site", "same-origin")
			}
			w := httptest.NewRecorder()
			handler := s.cookies.LogoutHandler()
			if h == "refresh" {
				handler = s.cookies.RefreshHandler()
			}
			handler.ServeHTTP(w, r)
			if (w.Code == 403) == c.fine {
				t.Errorf("%+v: %s: %d", c, h, w.Code)
			}
		}
	}
}
