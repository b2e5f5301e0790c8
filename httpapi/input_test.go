package httpapi_test

import (
	"context"
	"encoding/base64"
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

// Rubbish in the place of a token, and what it must not be.
func badTokens(g rescind.Grant) map[string]string {
	access, refresh := g.AccessToken.Reveal(), g.RefreshToken.Reveal()
	return map[string]string{
		"not a token":           "x",
		"spaces":                "a b c",
		"NUL":                   access + "\x00",
		"NUL alone":             "\x00",
		"no UTF-8":              "\xff\xfe",
		"other letters":         "tökén",
		"truncated":             access[:len(access)-1],
		"longer":                access + "A",
		"flipped":               flip(access),
		"padded":                access + "=",
		"line break":            access + "\n",
		"two":                   access + " " + access,
		"alg none":              "eyJhbGciOiJub25lIiwidHlwIjoiYXQrand0In0.eyJzdWIiOiJhbGljZSJ9.",
		"alg nOnE":              "eyJhbGciOiJuT25FIiwidHlwIjoiYXQrand0In0.eyJzdWIiOiJhbGljZSJ9.",
		"empty JWT":             "..",
		"JSON serialization":    `{"payload":"x","signatures":[]}`,
		"16 KiB":                strings.Repeat("a", 16<<10),
		"17 KiB":                strings.Repeat("a", 17<<10),
		"prefix of refresh":     "rsr_",
		"prefix of access":      "rsa_",
		"truncated refresh":     refresh[:len(refresh)-1],
		"flipped refresh":       flip(refresh),
		"SQL":                   "' OR 1=1 --",
		"another token's bytes": refresh[:40] + access[:40],
	}
}

func TestRubbishIsNoToken(t *testing.T) {
	h := start(t, func(s *rescindtest.Settings) { s.HTTP.RateLimit.Failures = -1 })
	h.AddClient(t, rescind.Client{ID: "opaque", Format: rescind.FormatOpaque})
	for _, client := range []string{"app", "opaque"} {
		g := h.Login(t, rescind.Login{Subject: "alice", Client: client})
		for name, token := range badTokens(g) {
			t.Run(client+"/"+name, func(t *testing.T) {
				h := &harness{h.Server, t}
				if a := h.introspect(token, h.Admin).want(t, 200); a.body != `{"active":false}` {
					t.Errorf("introspect: %s", a.body)
				}
				h.refresh(token, h.App).oauthError(t, 400, "invalid_grant")
				h.do("POST", "/oauth/revoke", basic(h.App), form("token", token)).want(t, 200)
				if !strings.ContainsAny(token, "\x00\n") { // net/http sends no such header
					h.do("GET", "/forward-auth", bearer(token)).want(t, 401).challenge(t, `error="invalid_token"`)
					h.do("POST", "/v1/logout", bearer(token)).problem(t, 401, "invalid_token").challenge(t, `Bearer`, `error="invalid_token"`)
				}
			})
		}
		h.do("GET", "/forward-auth", bearer(g.AccessToken)).want(t, 200)
	}
}

// Bad requests to OAuth endpoints, whatever they are.
func TestOAuthPathsAnswerOAuthErrors(t *testing.T) {
	h := start(t)
	g := h.Login(t, rescind.Login{Subject: "alice"})
	token := g.RefreshToken.Reveal()
	plain := func(text string) edit { return body("application/x-www-form-urlencoded", text) }
	for _, c := range []struct {
		name         string
		method, path string
		edits        []edit
		status       int
		word         string
	}{
		{"unknown path", "POST", "/oauth/nothing", nil, 404, "invalid_request"},
		{"root", "GET", "/oauth", nil, 404, "invalid_request"},
		{"last slash", "POST", "/oauth/token/", nil, 404, "invalid_request"},
		{"other spelling", "POST", "/oauth/%74oken", nil, 404, "invalid_request"},
		{"double slash", "POST", "/oauth//token", nil, 404, "invalid_request"},
		{"GET token", "GET", "/oauth/token", nil, 405, "invalid_request"},
		{"GET introspect", "GET", "/oauth/introspect?token=" + token, nil, 405, "invalid_request"},
		{"OPTIONS", "OPTIONS", "/oauth/token", nil, 405, "invalid_request"},
		{"no content type", "POST", "/oauth/token", []edit{body("", "grant_type=refresh_token")}, 415, "invalid_request"},
		{"JSON", "POST", "/oauth/token", []edit{jsonText(`{"grant_type":"refresh_token"}`)}, 415, "invalid_request"},
		{"multipart", "POST", "/oauth/token", []edit{body("multipart/form-data; boundary=x", "--x--")}, 415, "invalid_request"},
		{"compressed", "POST", "/oauth/token", []edit{plain("a=b"), header("Content-Encoding", "gzip")}, 415, "invalid_request"},
		{"two content types", "POST", "/oauth/token", []edit{plain("a=b"), header("Content-Type", "application/x-www-form-urlencoded", "application/json")}, 415, "invalid_request"},
		{"no body", "POST", "/oauth/token", nil, 415, "invalid_request"},
		{"empty body", "POST", "/oauth/token", []edit{basic(h.App), plain("")}, 400, "invalid_request"},
		{"token repeated", "POST", "/oauth/introspect", []edit{basic(h.App), plain("token=a&token=a")}, 400, "invalid_request"},
		{"token repeated in another spelling", "POST", "/oauth/introspect", []edit{basic(h.App), plain("token=a&%74oken=b")}, 400, "invalid_request"},
		{"client repeated", "POST", "/oauth/token", []edit{plain("client_id=app&client_id=spa")}, 400, "invalid_request"},
		{"unknown parameter repeated", "POST", "/oauth/token", []edit{basic(h.App), plain("x=1&x=2&grant_type=refresh_token&refresh_token=" + token)}, 400, "invalid_request"},
		{"bad escape", "POST", "/oauth/token", []edit{basic(h.App), plain("grant_type=%zz")}, 400, "invalid_request"},
		{"too many parameters", "POST", "/oauth/token", []edit{basic(h.App), plain(many(33))}, 400, "invalid_request"},
		{"token in the query", "POST", "/oauth/introspect?token=x", []edit{basic(h.App), plain("token=x")}, 400, "invalid_request"},
		{"secret in the query", "POST", "/oauth/token?client_id=app&client_secret=x", []edit{plain("a=b")}, 400, "invalid_request"},
		{"no token", "POST", "/oauth/introspect", []edit{basic(h.App), plain("x=y")}, 400, "invalid_request"},
		{"empty token", "POST", "/oauth/revoke", []edit{basic(h.App), plain("token=")}, 400, "invalid_request"},
		{"odd touch", "POST", "/oauth/introspect", []edit{basic(h.App), plain("token=x&touch=no")}, 400, "invalid_request"},
		{"no role", "POST", "/oauth/introspect", []edit{basic(h.AddClient(t, rescind.Client{ID: "plain"})), plain("token=x")}, 403, "unauthorized_client"},
	} {
		t.Run(c.name, func(t *testing.T) {
			h := &harness{h.Server, t}
			a := h.do(c.method, c.path, c.edits...).oauthError(t, c.status, c.word)
			if c.status == 405 && a.header.Get("Allow") != "POST" {
				t.Errorf("Allow: %q", a.header.Get("Allow"))
			}
		})
	}
	// Unknown parameters and a charset are fine.
	h.do("POST", "/oauth/introspect", basic(h.App), body("application/x-www-form-urlencoded; charset=UTF-8", "token=x&resource=y&&")).want(t, 200)
	h.refresh(token, h.App).want(t, 200)
}

// many returns n parameters.
func many(n int) string {
	var b strings.Builder
	for i := range n {
		b.WriteString(string(rune('a'+i%26)) + strings.Repeat("x", i) + "=1&")
	}
	return b.String()
}

func TestOwnPathsAnswerProblemDetails(t *testing.T) {
	h := start(t)
	g := h.Login(t, rescind.Login{Subject: "alice"})
	for _, c := range []struct {
		name         string
		method, path string
		edits        []edit
		status       int
		code         string
	}{
		{"unknown path", "GET", "/v1/nothing", nil, 404, "not_found"},
		{"root", "GET", "/", nil, 404, "not_found"},
		{"below", "GET", "/v1/sessions/a/b", nil, 404, "not_found"},
		{"method", "PUT", "/v1/sessions", nil, 405, "method_not_allowed"},
		{"method with a query", "PUT", "/v1/sessions?x=y", nil, 405, "method_not_allowed"},
		{"no session id", "GET", "/v1/sessions/x", []edit{basic(h.App)}, 404, "not_found"},
		{"NUL id", "GET", "/v1/sessions/%00", []edit{basic(h.App)}, 404, "not_found"},
		{"no such session", "DELETE", "/v1/sessions/" + strings.Repeat("A", 31) + "E", []edit{basic(h.App)}, 404, "not_found"},
		{"another owner", "DELETE", "/v1/sessions/" + g.Session.String() + "?subject=bob", []edit{basic(h.App)}, 404, "not_found"},
		{"unknown query", "GET", "/v1/sessions?user=alice", []edit{basic(h.App)}, 400, "invalid_request"},
		{"query where there is none", "GET", "/v1/keys?x=1", []edit{basic(h.Admin)}, 400, "invalid_request"},
		{"repeated query", "GET", "/v1/sessions?subject=a&subject=b", []edit{basic(h.App)}, 400, "invalid_request"},
		{"long query", "GET", "/v1/sessions?subject=" + strings.Repeat("a", 9<<10), []edit{basic(h.App)}, 400, "invalid_request"},
		{"limit 0", "GET", "/v1/sessions?limit=0", []edit{basic(h.App)}, 400, "invalid_request"},
		{"limit 1001", "GET", "/v1/sessions?limit=1001", []edit{basic(h.App)}, 400, "invalid_request"},
		{"limit x", "GET", "/v1/events?limit=x", []edit{basic(h.Admin)}, 400, "invalid_request"},
		{"state", "GET", "/v1/sessions?state=dead", []edit{basic(h.App)}, 400, "invalid_request"},
		{"cursor", "GET", "/v1/sessions?after=x", []edit{basic(h.App)}, 400, "invalid_request"},
		{"cursor of events", "GET", "/v1/events?after=x", []edit{basic(h.Admin)}, 400, "invalid_request"},
		{"since", "GET", "/v1/events?since=yesterday", []edit{basic(h.Admin)}, 400, "invalid_request"},
		{"token in the query", "POST", "/v1/logout?access_token=x", nil, 400, "invalid_request"},
		{"use of a key", "POST", "/v1/keys/rotate", []edit{basic(h.Admin), jsonText(`{"use":"tag"}`)}, 400, "invalid_request"},
		{"client id", "POST", "/v1/clients", []edit{basic(h.Admin), jsonText(`{"id":"a b"}`)}, 400, "invalid_request"},
		{"client taken", "POST", "/v1/clients", []edit{basic(h.Admin), jsonText(`{"id":"app"}`)}, 409, "conflict"},
		{"short secret", "POST", "/v1/clients", []edit{basic(h.Admin), jsonText(`{"id":"x","secret":"short"}`)}, 400, "invalid_request"},
		{"public client with a role", "POST", "/v1/clients", []edit{basic(h.Admin), jsonText(`{"id":"x","public":true,"roles":["admin"]}`)}, 400, "invalid_request"},
		{"no subject", "POST", "/v1/erasures", []edit{basic(h.Admin), jsonText(`{}`)}, 400, "invalid_request"},
		{"no selector", "POST", "/v1/revocations", []edit{basic(h.Admin), jsonText(`{}`)}, 400, "invalid_request"},
		{"two selectors", "POST", "/v1/revocations", []edit{basic(h.Admin), jsonText(`{"subject":"a","all":true}`)}, 400, "invalid_request"},
		{"unknown client", "POST", "/v1/revocations", []edit{basic(h.Admin), jsonText(`{"client":"nobody"}`)}, 404, "not_found"},
		{"rubbish token", "POST", "/v1/revocations", []edit{basic(h.Admin), jsonText(`{"token":"x"}`)}, 400, "inactive"},
		{"logout with nothing", "POST", "/v1/logout", nil, 401, "invalid_token"},
		{"logout with another scheme", "POST", "/v1/logout", []edit{basic(h.App)}, 401, "invalid_token"},
		{"logout with two credentials", "POST", "/v1/logout", []edit{bearer(g.AccessToken), jsonText(`{"refresh_token":"x"}`)}, 400, "invalid_request"},
		{"logout with a bad and a good credential", "POST", "/v1/logout", []edit{header("Authorization", "Bearer ä"), jsonText(`{"refresh_token":"x"}`)}, 400, "invalid_request"},
		{"logout with two headers", "POST", "/v1/logout", []edit{header("Authorization", "Bearer a", "Bearer b")}, 400, "invalid_request"},
		{"logout by form", "POST", "/v1/logout", []edit{form("refresh_token", "x")}, 415, "unsupported_media_type"},
	} {
		t.Run(c.name, func(t *testing.T) {
			h := &harness{h.Server, t}
			a := h.do(c.method, c.path, c.edits...).problem(t, c.status, c.code)
			if c.name == "method" && a.header.Get("Allow") != "POST, GET, HEAD" {
				t.Errorf("Allow: %q", a.header.Get("Allow"))
			}
		})
	}
	h.do("GET", "/forward-auth", bearer(g.AccessToken)).want(t, 200)
}

func TestJSONBodiesAreTakenLiterally(t *testing.T) {
	h := start(t)
	for name, text := range map[string]string{
		"empty":                    ``,
		"null":                     `null`,
		"array":                    `[]`,
		"string":                   `"x"`,
		"cut":                      `{"subject":"a"`,
		"trailing object":          `{"subject":"a"}{}`,
		"trailing text":            `{"subject":"a"} x`,
		"unknown member":           `{"subject":"a","sub":"b"}`,
		"unknown member below":     `{"subject":"a","device":{"browser":"x"}}`,
		"duplicate member":         `{"subject":"a","subject":"b"}`,
		"duplicate, escaped":       `{"subject":"a","s\u0075bject":"b"}`,
		"duplicate below":          `{"subject":"a","claims":{"x":1,"x":2}}`,
		"other case":               `{"Subject":"a"}`,
		"no UTF-8":                 "{\"subject\":\"\xff\"}",
		"lone surrogate":           `{"subject":"\ud800"}`,
		"NUL":                      `{"subject":"a\u0000"}`,
		"space":                    `{"subject":"a b"}`,
		"long":                     `{"subject":"` + strings.Repeat("a", 256) + `"}`,
		"number":                   `{"subject":1}`,
		"no subject":               `{}`,
		"comment":                  `{"subject":"a"/**/}`,
		"seconds as a string":      `{"subject":"a","expires_in":"60"}`,
		"seconds as a float":       `{"subject":"a","expires_in":1.5}`,
		"negative":                 `{"subject":"a","expires_in":-1}`,
		"zero":                     `{"subject":"a","idle_timeout":0}`,
		"overflow":                 `{"subject":"a","expires_in":9223372036854775807}`,
		"more than an int":         `{"subject":"a","expires_in":1e30}`,
		"too long a session":       `{"subject":"a","session_expires_in":34560001}`,
		"too long an access token": `{"subject":"a","expires_in":86401}`,
		"audience number":          `{"subject":"a","audience":1}`,
		"audience empty":           `{"subject":"a","audience":""}`,
		"audience of numbers":      `{"subject":"a","audience":[1]}`,
		"audience twice":           `{"subject":"a","audience":["x","x"]}`,
		"nine audiences":           `{"subject":"a","audience":["1","2","3","4","5","6","7","8","9"]}`,
		"registered claim":         `{"subject":"a","claims":{"exp":1}}`,
		"active claim":             `{"subject":"a","claims":{"active":false}}`,
		"claims array":             `{"subject":"a","claims":[]}`,
		"large claims":             `{"subject":"a","claims":{"x":"` + strings.Repeat("y", 5000) + `"}}`,
		"deep":                     `{"subject":"a","claims":{"x":` + strings.Repeat("[", 9000) + strings.Repeat("]", 9000) + `}}`,
		"scope":                    `{"subject":"a","scope":"a\"b"}`,
		"replaces":                 `{"subject":"a","replaces":"x"}`,
		"replaces of zeros and ..": `{"subject":"a","replaces":"../../../../../../../../../../.."}`,
	} {
		t.Run(name, func(t *testing.T) {
			h := &harness{h.Server, t}
			h.do("POST", "/v1/sessions", basic(h.App), jsonText(text)).problem(t, 400, "invalid_request")
		})
	}
	h.do("POST", "/v1/sessions", basic(h.App), body("", `{"subject":"a"}`)).problem(t, 415, "unsupported_media_type")
	h.do("POST", "/v1/sessions", basic(h.App), body("text/json", `{"subject":"a"}`)).problem(t, 415, "unsupported_media_type")
	h.do("POST", "/v1/sessions", basic(h.App), body("application/json; charset=utf-8", ` {"subject":"a","audience":"x"} `)).want(t, 201)
	h.do("POST", "/v1/sessions", basic(h.App), jsonText(`{"subject":"a","audience":["x","y"],"expires_in":60,"device":{"name":"é"}}`)).want(t, 201)
	// None but those two have been recorded.
	page, err := h.Authority.Sessions(t.Context(), rescind.SessionQuery{})
	if err != nil || len(page.Sessions) != 2 {
		t.Fatalf("%d sessions, %v", len(page.Sessions), err)
	}
}

const formHead = "Host: x\r\nContent-Type: application/x-www-form-urlencoded\r\n"
const jsonHead = "Host: x\r\nContent-Type: application/json\r\n"

// announce sends the head of a request, and of its body only the beginning.
func (h *harness) announce(head string, length int) answer {
	h.t.Helper()
	return h.wire(fmt.Sprintf("%sContent-Length: %d\r\n\r\ntoken=", head, length))
}

// A body that comes too slowly is given up.
func TestSlowBodiesAreCutOff(t *testing.T) {
	h := start(t, func(s *rescindtest.Settings) { s.HTTP.BodyTimeout = 200 * time.Millisecond })
	h.announce("POST /oauth/introspect HTTP/1.1\r\n"+formHead, 60000).oauthError(t, 408, "invalid_request")
	h.announce("POST /v1/logout HTTP/1.1\r\n"+jsonHead, 60000).problem(t, 408, "timeout")
}

// One that nobody reads is not waited for, and one that is too long not read.
func TestBodiesAreNotWaitedForInVain(t *testing.T) {
	h := start(t, func(s *rescindtest.Settings) { s.HTTP.BodyTimeout = time.Hour })
	h.announce("POST /v1/revocations HTTP/1.1\r\n"+jsonHead, 60000).problem(t, 401, "invalid_client")
	h.announce("POST /oauth/nothing HTTP/1.1\r\n"+formHead, 60000).oauthError(t, 404, "invalid_request")
	h.announce("GET /healthz HTTP/1.1\r\nHost: x\r\n", 60000).want(t, 200)

	as := "Authorization: Basic " + base64.StdEncoding.EncodeToString([]byte(h.App.ID+":"+h.App.Secret)) + "\r\n"
	for _, length := range []int{70 << 10, 8 << 20} {
		h.announce("POST /oauth/introspect HTTP/1.1\r\n"+formHead+as, length).oauthError(t, 413, "invalid_request")
		h.announce("POST /oauth/revoke HTTP/1.1\r\n"+formHead+as, length).oauthError(t, 413, "invalid_request")
		h.announce("POST /v1/sessions HTTP/1.1\r\n"+jsonHead+as, length).problem(t, 413, "too_large")
	}
	// A body that says nothing of its length ends somewhere too.
	a := h.wire("POST /oauth/introspect HTTP/1.1\r\n" + formHead + "Transfer-Encoding: chunked\r\n\r\n11000\r\n" + strings.Repeat("a", 0x11000) + "\r\n")
	a.oauthError(t, 413, "invalid_request")
}

// The server's own limits: an endless header, and one without an end.
func TestEndlessHeadersAreRefused(t *testing.T) {
	h := start(t)
	h.wire("GET /forward-auth HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer "+strings.Repeat("a", 200<<10)+"\r\n\r\n").want(t, 431)
	s := httpapi.Server(nil)
	if s.ReadHeaderTimeout == 0 || s.ReadTimeout == 0 || s.WriteTimeout == 0 || s.IdleTimeout == 0 || s.MaxHeaderBytes == 0 {
		t.Fatalf("a limit is missing: %+v", s)
	}
	// A token of the longest size that is looked at comes through.
	h.do("GET", "/forward-auth", bearer(strings.Repeat("a", 16<<10))).want(t, 401)
}

// Keep-alive survives what is an ordinary refusal.
func TestConnectionsAreKept(t *testing.T) {
	h := start(t)
	conn, err := net.Dial("tcp", strings.TrimPrefix(h.URL, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	client := &http.Client{Transport: &http.Transport{DialContext: func(context.Context, string, string) (net.Conn, error) {
		c := conn
		conn = nil
		if c == nil {
			t.Fatal("a second connection")
		}
		return c, nil
	}}}
	defer client.CloseIdleConnections()
	for i := range 3 {
		for _, text := range []string{"token=x", "", "token=x&token=y"} {
			r, err := http.NewRequest("POST", h.URL+"/oauth/introspect", strings.NewReader(text))
			if err != nil {
				t.Fatal(err)
			}
			r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
			if i > 0 {
				r.SetBasicAuth(h.App.ID, h.App.Secret)
			}
			res, err := client.Do(r)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := io.Copy(io.Discard, res.Body); err != nil {
				t.Fatal(err)
			}
			res.Body.Close()
		}
	}
}
