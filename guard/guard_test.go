package guard_test

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/rescind/rescind"
	"github.com/rescind/rescind/guard"
)

// whoami answers with what the guard learned.
var whoami = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
	a, ok := guard.From(r.Context())
	fmt.Fprintf(w, "%v %s", ok, a.Subject)
})

func serve(t testing.TB, h http.Handler) *httptest.Server {
	t.Helper()
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	return s
}

// send sends a request with headers given as pairs.
func send(t testing.TB, method, url string, headers ...string) (*http.Response, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(headers); i += 2 {
		req.Header.Add(headers[i], headers[i+1])
	}
	res, err := http.DefaultTransport.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return res, string(body)
}

func TestStandingTokenPasses(t *testing.T) {
	l := newLedger(t)
	s := serve(t, guard.New(l, guard.Options{}).Handler(whoami))
	g := l.issue(t, rescind.Login{})
	for _, scheme := range []string{"Bearer ", "bearer ", "BEARER  "} {
		res, body := send(t, "GET", s.URL, "Authorization", scheme+g.AccessToken.Reveal())
		if res.StatusCode != 200 || body != "true alice" {
			t.Errorf("%q: %d %q", scheme, res.StatusCode, body)
		}
	}
	if _, ok := guard.From(t.Context()); ok {
		t.Error("a context without a guard has an access")
	}
}

func TestRevokedTokenNeverPassesAgain(t *testing.T) {
	l := newLedger(t)
	s := serve(t, guard.New(l, guard.Options{}).Handler(whoami))
	for range 50 {
		g := l.issue(t, rescind.Login{})
		bearer := "Bearer " + g.AccessToken.Reveal()
		if res, _ := send(t, "GET", s.URL, "Authorization", bearer); res.StatusCode != 200 {
			t.Fatalf("before: %d", res.StatusCode)
		}
		if _, err := l.Revoke(t.Context(), rescind.Revocation{Selector: rescind.Selector{Session: g.Session}}); err != nil {
			t.Fatal(err)
		}
		for range 3 {
			if res, _ := send(t, "GET", s.URL, "Authorization", bearer); res.StatusCode != 401 {
				t.Fatalf("after: %d", res.StatusCode)
			}
		}
	}
}

// TestChallenges holds the answers of RFC 6750 section 3 and of law 4.
func TestChallenges(t *testing.T) {
	l := newLedger(t)
	g := guard.New(l, guard.Options{Realm: "bank\"\r\nX-Evil: 1\\é"})
	mux := http.NewServeMux()
	mux.Handle("/", g.Handler(whoami))
	mux.Handle("/scoped", g.Require(rescind.Want{Scope: "read write\"\\"})(whoami))
	mux.Handle("/elsewhere", g.Require(rescind.Want{Audience: []string{"https://other.example.com"}})(whoami))
	s := serve(t, mux)

	live := l.issue(t, rescind.Login{Scope: "read"})
	dead := l.issue(t, rescind.Login{})
	if _, err := l.Authority.Logout(t.Context(), dead.AccessToken.Reveal(), false); err != nil {
		t.Fatal(err)
	}
	bearer := "Bearer " + live.AccessToken.Reveal()
	const realm = `Bearer realm="bankX-Evil: 1"`
	const invalid = realm + `, error="invalid_token", error_description="the token is expired, revoked or malformed"`
	const request = realm + `, error="invalid_request", error_description=`
	const two = request + `"one credential is needed, more than one was sent"`

	for _, c := range []struct {
		name, path string
		headers    []string
		status     int
		challenge  string
	}{
		{"no credentials", "/", nil, 401, realm},
		{"another scheme", "/", []string{"Authorization", "Basic YTpi"}, 401, realm},
		{"a scheme that begins alike", "/", []string{"Authorization", "Bearerx " + live.AccessToken.Reveal()}, 401, realm},
		{"a token in the query", "/?access_token=" + url.QueryEscape(live.AccessToken.Reveal()), nil, 401, realm},
		{"a token in a cookie", "/", []string{"Cookie", "__Host-rescind-at=" + live.AccessToken.Reveal()}, 401, realm},
		{"no token", "/", []string{"Authorization", "Bearer"}, 400, request + `"the Authorization header holds no bearer token"`},
		{"an empty token", "/", []string{"Authorization", "Bearer   "}, 400, request + `"the Authorization header holds no bearer token"`},
		{"two headers", "/", []string{"Authorization", bearer, "Authorization", bearer}, 400, two},
		{"two headers of two schemes", "/", []string{"Authorization", bearer, "Authorization", "Basic YTpi"}, 400, two},
		{"two headers, joined", "/", []string{"Authorization", bearer + ", " + bearer}, 400, two},
		{"two tokens", "/", []string{"Authorization", bearer + " " + live.AccessToken.Reveal()}, 400, two},
		{"a dead token", "/", []string{"Authorization", "Bearer " + dead.AccessToken.Reveal()}, 401, invalid},
		{"a refresh token", "/", []string{"Authorization", "Bearer " + live.RefreshToken.Reveal()}, 401, invalid},
		{"no token of ours", "/", []string{"Authorization", "Bearer abc"}, 401, invalid},
		{"no token at all", "/", []string{"Authorization", "Bearer a\"b;c"}, 401, invalid},
		{"a token far too long", "/", []string{"Authorization", "Bearer " + strings.Repeat("a", rescind.MaxToken+1)}, 401, invalid},
		{"another audience", "/elsewhere", []string{"Authorization", bearer}, 401, invalid},
		{"a scope that is missing", "/scoped", []string{"Authorization", bearer}, 403,
			realm + `, error="insufficient_scope", error_description="the token lacks a scope that this needs", scope="read write"`},
	} {
		t.Run(c.name, func(t *testing.T) {
			res, body := send(t, "GET", s.URL+c.path, c.headers...)
			if res.StatusCode != c.status {
				t.Errorf("status %d, want %d", res.StatusCode, c.status)
			}
			if got := res.Header.Values("WWW-Authenticate"); len(got) != 1 || got[0] != c.challenge {
				t.Errorf("challenge %q\nwant      [%q]", got, c.challenge)
			}
			if got := res.Header.Get("Cache-Control"); got != "no-store" {
				t.Errorf("Cache-Control %q", got)
			}
			if res.Header.Get("X-Evil") != "" {
				t.Error("the realm made a header")
			}
			var v struct {
				Status int
				Error  string
			}
			if err := json.Unmarshal([]byte(body), &v); err != nil || v.Status != c.status || res.Header.Get("Content-Type") != "application/json" {
				t.Errorf("body %q: %v", body, err)
			}
			if !strings.Contains(c.challenge, `error="`+v.Error+`"`) && v.Error != "" {
				t.Errorf("body says %q, challenge %q", v.Error, c.challenge)
			}
			if strings.Contains(body, live.AccessToken.Reveal()) {
				t.Error("the body holds a token")
			}
		})
	}
}

// TestOutageIsNeverInactive holds law 4: neither yes nor "this token is bad".
func TestOutageIsNeverInactive(t *testing.T) {
	l := newLedger(t)
	s := serve(t, guard.New(l, guard.Options{}).Handler(whoami))
	token := "Bearer " + l.issue(t, rescind.Login{}).AccessToken.Reveal()
	for name, err := range map[string]error{
		"unavailable":                   rescind.ErrUnavailable,
		"unavailable and inactive":      fmt.Errorf("%w: %w", rescind.ErrUnavailable, rescind.ErrRevoked),
		"unavailable, client forbidden": fmt.Errorf("%w: %w", rescind.ErrUnavailable, rescind.ErrForbidden),
		"deadline":                      context.DeadlineExceeded,
		"unheard of":                    errors.New("disk on fire"),
		"conflict":                      rescind.ErrConflict,
	} {
		l.failWith(err)
		res, body := send(t, "GET", s.URL, "Authorization", token)
		if res.StatusCode != 503 || res.Header.Get("Retry-After") == "" || res.Header.Get("WWW-Authenticate") != "" || res.Header.Get("Cache-Control") != "no-store" {
			t.Errorf("%s: %d %v", name, res.StatusCode, res.Header)
		}
		if strings.Contains(body, "fire") {
			t.Errorf("%s: the cause went to the caller: %s", name, body)
		}
	}
	l.failWith(nil)
	if res, _ := send(t, "GET", s.URL, "Authorization", token); res.StatusCode != 200 {
		t.Errorf("after the outage: %d", res.StatusCode)
	}
}

func TestHandlersOwnAnswerIsNotAltered(t *testing.T) {
	l := newLedger(t)
	for _, status := range []int{401, 403, 503, 418, 200} {
		s := serve(t, guard.New(l, guard.Options{}).Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("WWW-Authenticate", "Upstream")
			w.Header().Set("Cache-Control", "max-age=9")
			w.WriteHeader(status)
			_, _ = io.WriteString(w, "mine")
		})))
		res, body := send(t, "GET", s.URL, "Authorization", "Bearer "+l.issue(t, rescind.Login{}).AccessToken.Reveal())
		if res.StatusCode != status || body != "mine" || res.Header.Get("WWW-Authenticate") != "Upstream" ||
			res.Header.Get("Cache-Control") != "max-age=9" || res.Header.Get("Retry-After") != "" {
			t.Errorf("%d: %d %q %v", status, res.StatusCode, body, res.Header)
		}
	}
}

// TestWriterIsHandedOn: the handler gets the very writer of the server.
func TestWriterIsHandedOn(t *testing.T) {
	l := newLedger(t)
	g := guard.New(l, guard.Options{})
	cookies, err := guard.NewCookies(l, g, guard.CookieOptions{})
	if err != nil {
		t.Fatal(err)
	}
	hijack := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if _, ok := w.(http.Flusher); !ok {
			t.Error("no Flusher")
		}
		conn, rw, err := http.NewResponseController(w).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		defer conn.Close()
		fmt.Fprintf(rw, "HTTP/1.1 299 Mine\r\nContent-Length: 0\r\n\r\n")
		rw.Flush()
	})
	mux := http.NewServeMux()
	mux.Handle("/bearer", g.Handler(hijack))
	mux.Handle("/cookie", cookies.Handler(hijack))
	s := serve(t, mux)
	for _, path := range []string{"/bearer", "/cookie"} {
		res, _ := send(t, "GET", s.URL+path, "Authorization", "Bearer "+l.issue(t, rescind.Login{}).AccessToken.Reveal())
		if res.StatusCode != 299 {
			t.Errorf("%s: %d", path, res.StatusCode)
		}
	}
	stream := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintln(w, "one")
		if err := http.NewResponseController(w).Flush(); err != nil {
			t.Error(err)
		}
		<-r.Context().Done() // the client leaves only once it has seen the first line
	})
	s = serve(t, g.Handler(stream))
	req, _ := http.NewRequestWithContext(t.Context(), "GET", s.URL, nil)
	req.Header.Set("Authorization", "Bearer "+l.issue(t, rescind.Login{}).AccessToken.Reveal())
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	if line, err := bufio.NewReader(res.Body).ReadString('\n'); err != nil || line != "one\n" {
		t.Errorf("%q %v", line, err)
	}
}

func TestNestedGuardsEachCheck(t *testing.T) {
	l := newLedger(t)
	g := guard.New(l, guard.Options{})
	s := serve(t, g.Handler(g.Require(rescind.Want{Scope: "admin"})(whoami)))
	if res, _ := send(t, "GET", s.URL, "Authorization", "Bearer "+l.issue(t, rescind.Login{Scope: "read"}).AccessToken.Reveal()); res.StatusCode != 403 {
		t.Errorf("without the scope: %d", res.StatusCode)
	}
	if res, _ := send(t, "GET", s.URL, "Authorization", "Bearer "+l.issue(t, rescind.Login{Scope: "admin"}).AccessToken.Reveal()); res.StatusCode != 200 {
		t.Errorf("with it: %d", res.StatusCode)
	}
}

func TestExpiredTokenIsRefused(t *testing.T) {
	l := newLedger(t)
	s := serve(t, guard.New(l, guard.Options{}).Handler(whoami))
	token := "Bearer " + l.issue(t, rescind.Login{}).AccessToken.Reveal()
	l.advance(rescind.DefaultAccessLifetime + time.Second)
	if res, _ := send(t, "GET", s.URL, "Authorization", token); res.StatusCode != 401 {
		t.Errorf("status %d", res.StatusCode)
	}
}

// FuzzAuthorization: whatever stands in the header, only the token itself passes,
// and the answer's challenge stays one line of printable text.
func FuzzAuthorization(f *testing.F) {
	l := newLedger(f)
	token := l.issue(f, rescind.Login{}).AccessToken.Reveal()
	h := guard.New(l, guard.Options{}).Handler(whoami)
	for _, seed := range []string{"", "Bearer", "Bearer ", "Bearer a", "Bearer a, Bearer b", "bearer\ta", "Basic a", "Bearer =", "Bearer a=b", "Bearer \x00", "Bearer é"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, header string) {
		r := httptest.NewRequest("GET", "/", nil)
		r.Header["Authorization"] = []string{header}
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		if w.Code == 200 && !strings.HasSuffix(strings.TrimRight(header, " "), " "+token) {
			t.Errorf("%q passed", header)
		}
		challenge := w.Header().Get("WWW-Authenticate")
		if w.Code != 200 && (!strings.HasPrefix(challenge, "Bearer realm=") || strings.ContainsFunc(challenge, func(c rune) bool { return c < ' ' || c > '~' })) {
			t.Errorf("%q: challenge %q", header, challenge)
		}
	})
}

// BenchmarkGuard measures the guard with the cheapest possible checker, so that
// what is left is its own cost, and with a real one.
func BenchmarkGuard(b *testing.B) {
	l := newLedger(b)
	for _, c := range []struct {
		name    string
		checker guard.Checker
	}{{"alone", yes{}}, {"ledger", l.Authority}} {
		b.Run(c.name, func(b *testing.B) {
			h := guard.New(c.checker, guard.Options{}).Handler(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
			r := httptest.NewRequest("GET", "/", nil)
			r.Header.Set("Authorization", "Bearer "+l.issue(b, rescind.Login{}).AccessToken.Reveal())
			w := httptest.NewRecorder()
			b.ReportAllocs()
			for b.Loop() {
				h.ServeHTTP(w, r)
			}
			if w.Code != 200 {
				b.Fatal(w.Code)
			}
		})
	}
}

type yes struct{}

func (yes) Check(context.Context, string, rescind.Want) (rescind.Access, error) {
	return rescind.Access{}, nil
}
