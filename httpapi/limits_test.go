package httpapi_test

import (
	"net/netip"
	"strconv"
	"testing"
	"time"

	"github.com/rescind/rescind"
	"github.com/rescind/rescind/httpapi"
	"github.com/rescind/rescind/rescindtest"
)

func limited(n int) rescindtest.Option {
	return func(s *rescindtest.Settings) {
		s.HTTP.RateLimit = httpapi.RateLimit{Failures: n, Window: time.Hour}
		s.HTTP.TrustedProxies = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("10.0.0.0/8")}
	}
}

func from(address string) edit { return header("X-Forwarded-For", address) }

func TestRightSecretIsNeverLockedOut(t *testing.T) {
	h := start(t, limited(3))
	wrong := rescindtest.Credentials{ID: "app", Secret: "wrong"}
	ask := func(c rescindtest.Credentials) answer {
		return h.do("POST", "/oauth/introspect", basic(c), form("token", "x"), from("192.0.2.1"))
	}
	for range 3 {
		ask(wrong).oauthError(t, 401, "invalid_client")
	}
	for range 20 {
		a := ask(wrong).oauthError(t, 429, "temporarily_unavailable")
		if n, err := strconv.Atoi(a.header.Get("Retry-After")); err != nil || n < 1 || n > 3600 {
			t.Fatalf("Retry-After %q", a.header.Get("Retry-After"))
		}
		ask(h.App).want(t, 200)
	}
	// The own paths say it in their words.
	h.do("GET", "/v1/sessions", basic(wrong), from("192.0.2.1")).problem(t, 429, "rate_limited")
	h.do("GET", "/v1/sessions", basic(h.App), from("192.0.2.1")).want(t, 200)
	// Guessing one client's secret from many places is guessing too.
	h.do("GET", "/v1/sessions", basic(wrong), from("192.0.2.99")).problem(t, 429, "rate_limited")
	h.do("GET", "/v1/sessions", basic(rescindtest.Credentials{ID: "admin", Secret: "wrong"}), from("192.0.2.99")).problem(t, 401, "invalid_client")
}

func TestForgedTokensAreLimitedBySource(t *testing.T) {
	h := start(t, limited(3))
	h.AddClient(t, rescind.Client{ID: "spa", Public: true})
	g := h.Login(t, rescind.Login{Subject: "alice", Client: "spa"})
	forged := map[string]func(address string) answer{
		"token": func(a string) answer {
			return h.do("POST", "/oauth/token", from(a), form("client_id", "spa", "grant_type", "refresh_token", "refresh_token", "x"))
		},
		"revoke": func(a string) answer {
			return h.do("POST", "/oauth/revoke", from(a), form("client_id", "spa", "token", "x"))
		},
		"logout": func(a string) answer { return h.do("POST", "/v1/logout", from(a), bearer("x")) },
	}
	n := 0
	for name, call := range forged {
		n++
		address := "192.0.2." + strconv.Itoa(n)
		for range 3 {
			if a := call(address); a.status == 429 {
				t.Fatalf("%s: limited too early", name)
			}
		}
		call(address).want(t, 429)
		call("198.51.100."+strconv.Itoa(n)).status429(t, false)
		// A genuine token passes from the same place.
		g := h.Login(t, rescind.Login{Subject: "alice", Client: "spa"})
		h.do("POST", "/v1/logout", from(address), bearer(g.AccessToken)).want(t, 200)
		h.do("POST", "/v1/logout", from(address), bearer(g.AccessToken)).want(t, 200) // ended already
	}
	a := h.do("POST", "/oauth/token", from("192.0.2.1"), form("client_id", "spa", "grant_type", "refresh_token", "refresh_token", g.RefreshToken.Reveal()))
	next := grantOf(t, a.want(t, 200))
	// Ended tokens are genuine: whoever has one is not guessing.
	h.do("POST", "/v1/logout", from("192.0.2.50"), bearer(next.AccessToken)).want(t, 200)
	for range 10 {
		h.do("POST", "/oauth/token", from("192.0.2.50"), form("client_id", "spa", "grant_type", "refresh_token", "refresh_token", next.RefreshToken.Reveal())).want(t, 400)
	}
	// Nor does a client that has proved who it is: one backend speaks for many.
	for range 10 {
		h.do("POST", "/oauth/token", basic(h.App), from("192.0.2.60"), form("grant_type", "refresh_token", "refresh_token", "x")).want(t, 400)
	}
}

func (a answer) status429(t testing.TB, want bool) {
	t.Helper()
	if (a.status == 429) != want {
		t.Fatalf("status %d", a.status)
	}
}

func TestSourceIsWhatTrustedProxiesSay(t *testing.T) {
	h := start(t, limited(2))
	fail := func(edits ...edit) answer {
		return h.do("POST", "/v1/logout", append(edits, bearer("x"))...)
	}
	exhaust := func(edits ...edit) {
		t.Helper()
		for range 2 {
			fail(edits...).status429(t, false)
		}
		fail(edits...).status429(t, true)
	}
	exhaust(from("192.0.2.1"))
	// What a client writes into the header itself does not make it somebody else.
	fail(from("203.0.113.77, 192.0.2.1")).status429(t, true)
	fail(from("rubbish, 192.0.2.1")).status429(t, true)
	fail(header("X-Forwarded-For", "203.0.113.77", "192.0.2.1, 10.1.2.3")).status429(t, true)
	// Another address is another source.
	fail(from("192.0.2.2")).status429(t, false)
	// Of IPv6 a /64 is one source, and IPv4 in IPv6 is IPv4.
	exhaust(from("2001:db8:1:2::1"))
	fail(from("2001:db8:1:2:ffff::9")).status429(t, true)
	fail(from("2001:db8:1:3::1")).status429(t, false)
	fail(from("::ffff:192.0.2.1")).status429(t, true)
	// Rubbish is held against the proxy that passed it on.
	exhaust(from("rubbish"))
	fail(from("more rubbish")).status429(t, true)

	// Nobody is believed where no proxy is trusted.
	plain := start(t, limited(2), func(s *rescindtest.Settings) { s.HTTP.TrustedProxies = nil })
	for i := range 4 {
		plain.do("POST", "/v1/logout", from("192.0.2."+strconv.Itoa(i)), bearer("x")).status429(t, i >= 2)
	}
}

const app, evil = "https://app.example", "https://evil.example"

func TestCORSIsOffByDefault(t *testing.T) {
	h := start(t)
	g := h.Login(t, rescind.Login{Subject: "alice"})
	h.do("OPTIONS", "/oauth/token", header("Origin", app), header("Access-Control-Request-Method", "POST")).oauthError(t, 405, "invalid_request")
	for name := range h.do("POST", "/v1/logout", header("Origin", app), bearer(g.AccessToken)).want(t, 200).header {
		if len(name) > 14 && name[:14] == "Access-Control" {
			t.Errorf("%s is set", name)
		}
	}
}

func TestCORSOpensThreeEndpointsToNamedOrigins(t *testing.T) {
	h := start(t, func(s *rescindtest.Settings) { s.HTTP.CORSOrigins = []string{app, "http://localhost:3000"} })
	h.AddClient(t, rescind.Client{ID: "spa", Public: true})
	open := map[string]bool{"/oauth/token": true, "/oauth/revoke": true, "/v1/logout": true}
	for _, path := range []string{
		"/oauth/token", "/oauth/revoke", "/v1/logout", "/oauth/introspect", "/v1/sessions", "/v1/revocations", "/v1/clients", "/v1/keys",
		"/healthz", "/.well-known/jwks.json", "/nothing",
	} {
		for _, origin := range []string{app, "http://localhost:3000", evil, "https://app.example.evil", "https://APP.example", "http://app.example", "null", "https://app.example:443", ""} {
			mine := open[path] && (origin == app || origin == "http://localhost:3000")
			preflight := h.do("OPTIONS", path, header("Origin", origin), header("Access-Control-Request-Method", "POST"), header("Access-Control-Request-Headers", "authorization"))
			if mine {
				preflight.want(t, 204)
				for name, want := range map[string]string{
					"Access-Control-Allow-Origin": origin, "Access-Control-Allow-Methods": "POST",
					"Access-Control-Allow-Headers": "Authorization, Content-Type", "Vary": "Origin",
				} {
					if got := preflight.header.Get(name); got != want {
						t.Errorf("%s from %s: %s: %q", path, origin, name, got)
					}
				}
			} else if preflight.status < 400 || preflight.header.Get("Access-Control-Allow-Origin") != "" {
				t.Errorf("%s is open to %q", path, origin)
			}
			if !open[path] {
				continue
			}
			// Failures are readable too, and every answer says that it varies.
			a := h.do("POST", path, header("Origin", origin))
			if got := a.header.Get("Access-Control-Allow-Origin"); (got != "") != mine || (mine && got != origin) {
				t.Errorf("%s: origin %q gets %q", path, origin, got)
			}
			if a.header.Get("Vary") != "Origin" {
				t.Errorf("%s: no Vary", path)
			}
			for _, x := range []answer{a, preflight} {
				if x.header.Get("Access-Control-Allow-Credentials") != "" {
					t.Errorf("%s allows credentials", path)
				}
			}
		}
	}
	// An ordinary OPTIONS is no preflight.
	h.do("OPTIONS", "/oauth/token", header("Origin", app)).oauthError(t, 405, "invalid_request")

	g := h.Login(t, rescind.Login{Subject: "alice", Client: "spa"})
	next := grantOf(t, h.do("POST", "/oauth/token", header("Origin", app), form("client_id", "spa", "grant_type", "refresh_token", "refresh_token", g.RefreshToken.Reveal())).want(t, 200))
	h.do("POST", "/v1/logout", header("Origin", app), bearer(next.AccessToken)).want(t, 200)
}
