package httpapi_test

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/rescind/rescind"
	"github.com/rescind/rescind/httpapi"
	"github.com/rescind/rescind/rescindtest"
)

func rules(r map[string]httpapi.Rule) rescindtest.Option {
	return func(s *rescindtest.Settings) { s.HTTP.Rules = r }
}

// wire sends a request as it stands and reads one answer. It has to come before
// the server gives up the rest of the request by itself.
func (h *harness) wire(text string) answer {
	h.t.Helper()
	conn, err := net.Dial("tcp", strings.TrimPrefix(h.URL, "http://"))
	if err != nil {
		h.t.Fatal(err)
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(httpapi.Server(nil).ReadTimeout)); err != nil {
		h.t.Fatal(err)
	}
	if _, err := io.WriteString(conn, text); err != nil {
		h.t.Fatal(err)
	}
	method, _, _ := strings.Cut(text, " ")
	res, err := http.ReadResponse(bufio.NewReader(conn), &http.Request{Method: method})
	if err != nil {
		h.t.Fatal(err)
	}
	defer res.Body.Close()
	b := []byte{}
	if method != "CONNECT" { // the rest of an accepted CONNECT is a tunnel
		if b, err = io.ReadAll(res.Body); err != nil {
			h.t.Fatal(err)
		}
	}
	if r, err := http.ReadRequest(bufio.NewReader(strings.NewReader(text))); err == nil {
		res.Body = io.NopCloser(bytes.NewReader(b))
		h.conforms(r, res)
	}
	return answer{res.StatusCode, res.Header, string(b)}
}

// Whatever a gateway sends behind the prefix, the answer is about the token.
func TestForwardAuthTakesAnyPathAndMethod(t *testing.T) {
	h := start(t, rules(map[string]httpapi.Rule{"api": {}, "admin": {Scope: "admin"}}))
	g := h.Login(t, rescind.Login{Subject: "alice", Scope: "read"})
	for _, prefix := range []string{"/forward-auth", "/forward-rules/api"} {
		for _, path := range []string{
			"", "/", "//", "/x", "/../v1/clients", "/..", "/./", "/%2e%2e/", "/a//b", "/%2F", "/a;b=c", "/?token=x", "?a=b&a=c;%zz",
			"/%00", "/healthz", "*", "/\xc3\xa9", "/a\\b",
		} {
			for _, method := range []string{"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT", "PROPFIND", "X-ODD"} {
				request := func(extra string) string {
					return method + " " + prefix + path + " HTTP/1.1\r\nHost: x\r\n" + extra + "Connection: close\r\n\r\n"
				}
				good := h.wire(request("Authorization: Bearer " + g.AccessToken.Reveal() + "\r\n"))
				if good.status != 200 || good.header.Get("X-Rescind-Subject") != "alice" {
					t.Fatalf("%s %s%s: %d with a good token", method, prefix, path, good.status)
				}
				if bad := h.wire(request("")); bad.status != 401 {
					t.Fatalf("%s %s%s: %d without a token", method, prefix, path, bad.status)
				}
			}
		}
	}
	// A rule cannot be left by way of the path.
	for _, path := range []string{"/../api", "/%2e%2e/api", "//api"} {
		a := h.wire("GET /forward-rules/admin" + path + " HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer " + g.AccessToken.Reveal() + "\r\n\r\n")
		if a.status != 403 {
			t.Fatalf("%s: %d", path, a.status)
		}
	}
	// The absolute form, and an upgrade.
	h.wire("GET http://x/forward-auth/y HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer "+g.AccessToken.Reveal()+"\r\n\r\n").want(t, 200)
	h.wire("GET /forward-auth/ws HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: eA==\r\nAuthorization: Bearer "+g.AccessToken.Reveal()+"\r\n\r\n").want(t, 200)
	// What only looks like the prefix is no check, and passes nobody.
	for _, path := range []string{"//forward-auth", "/%66orward-auth", "/Forward-Auth", "/x/../forward-auth", "/forward-rules", "/forward-"} {
		if a := h.wire("GET " + path + " HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer " + g.AccessToken.Reveal() + "\r\n\r\n"); a.status != 404 {
			t.Fatalf("%s: %d", path, a.status)
		}
	}
}

func TestForwardAuthReadsNoBody(t *testing.T) {
	h := start(t, func(s *rescindtest.Settings) { s.HTTP.BodyTimeout = time.Hour })
	g := h.Login(t, rescind.Login{Subject: "alice"})
	// The body never comes, and is not waited for.
	h.wire("POST /forward-auth HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\nAuthorization: Bearer "+g.AccessToken.Reveal()+"\r\n\r\n").want(t, 200)
}

func TestForwardAuthAlwaysSetsEveryIdentityHeader(t *testing.T) {
	h := start(t)
	g := h.Login(t, rescind.Login{Subject: "alice"}) // no scope
	a := h.do("GET", "/forward-auth", bearer(g.AccessToken)).want(t, 200)
	for name, want := range map[string]string{
		"X-Rescind-Subject": "alice", "X-Rescind-Session": g.Session.String(), "X-Rescind-Client": "app", "X-Rescind-Scope": "",
	} {
		if got, ok := a.header[name]; !ok || len(got) != 1 || got[0] != want {
			t.Errorf("%s: %q", name, got)
		}
	}
	a.notStored(t)
	if a.body != "" {
		t.Errorf("body %q", a.body)
	}
}

func TestForwardAuthAnswers(t *testing.T) {
	h := start(t, rules(map[string]httpapi.Rule{
		"":      {Cookie: "at"},
		"bank":  {Audience: []string{"https://bank"}},
		"admin": {Scope: "read admin"},
	}))
	g := h.Login(t, rescind.Login{Subject: "alice", Scope: "read"})
	good, rt := g.AccessToken.Reveal(), g.RefreshToken.Reveal()
	cookie := func(v string) edit { return header("Cookie", v) }
	for _, c := range []struct {
		name      string
		path      string
		edits     []edit
		status    int
		challenge string
	}{
		{"good", "/forward-auth", []edit{bearer(good)}, 200, ""},
		{"scheme in any case", "/forward-auth", []edit{header("Authorization", "bEaReR  "+good)}, 200, ""},
		{"nothing", "/forward-auth", nil, 401, `Bearer realm="rescind"`},
		{"another scheme", "/forward-auth", []edit{header("Authorization", "Basic eDp5")}, 401, `Bearer realm="rescind"`},
		{"no token", "/forward-auth", []edit{header("Authorization", "Bearer ")}, 401, `error="invalid_token"`},
		{"scheme alone", "/forward-auth", []edit{header("Authorization", "Bearer")}, 401, `error="invalid_token"`},
		{"forged", "/forward-auth", []edit{bearer(flip(good))}, 401, `error="invalid_token"`},
		{"a refresh token", "/forward-auth", []edit{bearer(rt)}, 401, `error="invalid_token"`},
		{"two in one header", "/forward-auth", []edit{bearer(good + ", Bearer " + good)}, 401, `error="invalid_token"`},
		{"two headers", "/forward-auth", []edit{header("Authorization", "Bearer "+good, "Bearer "+good)}, 401, `error="invalid_request"`},
		{"in the query", "/forward-auth?access_token=" + good, nil, 401, `Bearer realm="rescind"`},
		{"cookie", "/forward-auth", []edit{cookie("at=" + good)}, 200, ""},
		{"cookie among others", "/forward-auth", []edit{cookie("a=b; at=" + good + "; c=d")}, 200, ""},
		{"cookie beside another scheme", "/forward-auth", []edit{cookie("at=" + good), header("Authorization", "Basic eDp5")}, 200, ""},
		{"forged cookie", "/forward-auth", []edit{cookie("at=" + flip(good))}, 401, `error="invalid_token"`},
		{"cookie twice", "/forward-auth", []edit{cookie("at=" + good + "; at=x")}, 401, `error="invalid_request"`},
		{"cookie and bearer", "/forward-auth", []edit{cookie("at=" + good), bearer(good)}, 401, `error="invalid_request"`},
		{"cookie where the rule has none", "/forward-rules/admin", []edit{cookie("at=" + good)}, 401, `Bearer realm="rescind"`},
		{"other audience", "/forward-rules/bank", []edit{bearer(good)}, 401, `error="invalid_token"`},
		{"missing scope", "/forward-rules/admin", []edit{bearer(good)}, 403, `error="insufficient_scope", scope="read admin"`},
		{"unknown rule", "/forward-rules/nobody", []edit{bearer(good)}, 403, ""},
		{"rule without a name", "/forward-rules/", []edit{bearer(good)}, 403, ""},
		{"rule by another spelling", "/forward-rules/%62ank", []edit{bearer(good)}, 403, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			h := &harness{h.Server, t}
			a := h.do("GET", c.path, c.edits...).want(t, c.status)
			a.notStored(t)
			if c.challenge != "" {
				a.challenge(t, c.challenge)
			}
			if c.challenge == challengePlain && strings.Contains(a.header.Get("WWW-Authenticate"), "error") {
				t.Fatal("RFC 6750 section 3.1: no error code for who has sent nothing")
			}
			if c.status != 200 && len(a.header.Values("X-Rescind-Subject")) > 0 {
				t.Fatal("an identity beside a refusal")
			}
		})
	}
}

const challengePlain = `Bearer realm="rescind"`

// A browser sends cookies whether its user wants it or not.
func TestCookieIsTakenFromTheSameOriginOnly(t *testing.T) {
	h := start(t, rules(map[string]httpapi.Rule{"": {Cookie: "__Host-at"}}))
	g := h.Login(t, rescind.Login{Subject: "alice"})
	for _, c := range []struct {
		method  string
		headers string // name: value, separated by |
		status  int
	}{
		{"GET", "", 200},
		{"HEAD", "", 200},
		{"GET", "Sec-Fetch-Site: cross-site", 200}, // following a link
		{"POST", "", 403},
		{"DELETE", "", 403},
		{"X-ODD", "", 403},
		{"POST", "Sec-Fetch-Site: same-origin", 200},
		{"POST", "Sec-Fetch-Site: same-site", 403},
		{"POST", "Sec-Fetch-Site: none", 403},
		{"POST", "Sec-Fetch-Site: cross-site|Origin: https://app.example|X-Forwarded-Host: app.example", 403},
		// The method of the original request counts, wherever it is said.
		{"GET", "X-Forwarded-Method: POST", 403},
		{"GET", "X-Original-Method: DELETE", 403},
		{"GET", "X-Forwarded-Method: GET|X-Original-Method: POST", 403},
		{"POST", "X-Forwarded-Method: GET", 403},
		{"GET", "X-Forwarded-Method: post", 403},
		{"GET", "X-Forwarded-Method: ", 403},
		{"GET", "X-Forwarded-Method: GET", 200},
		{"GET", "X-Forwarded-Method: POST|Sec-Fetch-Site: same-origin", 200},
		// Older browsers.
		{"GET", "X-Forwarded-Method: POST|Origin: https://app.example|X-Forwarded-Host: app.example|X-Forwarded-Proto: https", 200},
		{"GET", "X-Forwarded-Method: POST|Origin: https://app.example|X-Forwarded-Host: app.example:443", 200},
		{"GET", "X-Forwarded-Method: POST|Origin: https://app.example:8443|X-Forwarded-Host: app.example:8443", 200},
		{"GET", "X-Forwarded-Method: POST|Origin: https://app.example:8443|X-Forwarded-Host: app.example", 403},
		{"GET", "X-Forwarded-Method: POST|Origin: http://app.example|X-Forwarded-Host: app.example|X-Forwarded-Proto: https", 403},
		{"GET", "X-Forwarded-Method: POST|Origin: https://evil.example|X-Forwarded-Host: app.example", 403},
		{"GET", "X-Forwarded-Method: POST|Origin: https://app.example.evil|X-Forwarded-Host: app.example", 403},
		{"GET", "X-Forwarded-Method: POST|Origin: null|X-Forwarded-Host: app.example", 403},
		{"GET", "X-Forwarded-Method: POST|Origin: |X-Forwarded-Host: ", 403},
		{"GET", "X-Forwarded-Method: POST|Origin: https://app.example", 403}, // the host is this server's
		// A WebSocket begins with GET.
		{"GET", "Upgrade: websocket|Origin: https://evil.example|X-Forwarded-Host: app.example", 403},
		{"GET", "Sec-WebSocket-Key: x|Sec-Fetch-Site: cross-site", 403},
		{"GET", "Sec-Fetch-Mode: websocket|Sec-Fetch-Site: cross-site", 403},
		{"GET", "Upgrade: websocket|Origin: https://app.example|X-Forwarded-Host: app.example|X-Forwarded-Proto: wss", 200},
	} {
		t.Run(fmt.Sprint(c.method, " ", c.headers), func(t *testing.T) {
			h := &harness{h.Server, t}
			edits := []edit{header("Cookie", "__Host-at="+g.AccessToken.Reveal())}
			for line := range strings.SplitSeq(c.headers, "|") {
				if name, value, ok := strings.Cut(line, ": "); ok {
					edits = append(edits, header(name, value))
				}
			}
			h.do(c.method, "/forward-auth/x", edits...).want(t, c.status)
			// A bearer token is sent on purpose.
			edits[0] = bearer(g.AccessToken)
			h.do(c.method, "/forward-auth/x", edits...).want(t, 200)
		})
	}
}

// A gateway must not stop asking because somebody else fails.
func TestForwardAuthIsNeverRateLimited(t *testing.T) {
	h := start(t, func(s *rescindtest.Settings) { s.HTTP.RateLimit.Failures = 2 })
	for range 20 {
		h.do("GET", "/forward-auth", bearer("rubbish")).want(t, 401)
	}
}
