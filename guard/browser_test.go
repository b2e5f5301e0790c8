package guard_test

import (
	"bytes"
	"io"
	"log"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/rescind/rescind"
	"github.com/rescind/rescind/guard"
)

// site is an application behind cookies, over TLS.
type site struct {
	*httptest.Server
	*ledger
	cookies *guard.Cookies
	age     atomic.Int64 // of access tokens, beyond their own: by default none is new
}

func newSite(t testing.TB, o guard.CookieOptions) *site {
	t.Helper()
	s := &site{ledger: newLedger(t)}
	s.age.Store(int64(10 * time.Second))
	g := guard.New(s.ledger, guard.Options{Now: func() time.Time { return s.now().Add(time.Duration(s.age.Load())) }})
	var err error
	if s.cookies, err = guard.NewCookies(s.ledger, g, o); err != nil {
		t.Fatal(err)
	}
	mux := http.NewServeMux()
	mux.HandleFunc("POST /auth/login", func(w http.ResponseWriter, r *http.Request) {
		if _, err := s.cookies.Login(w, r, rescind.Login{Subject: "alice"}); err != nil {
			http.Error(w, err.Error(), http.StatusBadGateway)
		}
	})
	mux.Handle("/auth/refresh", s.cookies.RefreshHandler())
	mux.Handle("/auth/logout", s.cookies.LogoutHandler())
	mux.Handle("/auth/logout-all", s.cookies.LogoutAllHandler())
	mux.Handle("/api", s.cookies.Handler(whoami))
	s.Server = httptest.NewUnstartedServer(mux)
	s.Config.ErrorLog = log.New(io.Discard, "", 0) // of handshakes that nobody finished
	if o.InsecureLoopback {
		s.Start()
	} else {
		s.StartTLS()
	}
	t.Cleanup(s.Server.Close)
	return s
}

// browser keeps cookies as one does.
type browser struct {
	t    testing.TB
	site *site
	*http.Client
}

func (s *site) browser(t testing.TB) *browser {
	t.Helper()
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	return &browser{t, s, &http.Client{
		Transport: s.Client().Transport, Jar: jar,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
}

func (s *site) loggedIn(t testing.TB) *browser {
	t.Helper()
	b := s.browser(t)
	if res := b.post("/auth/login"); res.StatusCode != 200 {
		t.Fatalf("login: %d", res.StatusCode)
	}
	return b
}

// do sends a request with the browser's cookies, or with those of a Cookie header:
// that is how a tab sends what it had read before another tab changed them.
func (b *browser) do(method, path string, headers ...string) *http.Response {
	b.t.Helper()
	req, err := http.NewRequestWithContext(b.t.Context(), method, b.site.URL+path, nil)
	if err != nil {
		b.t.Fatal(err)
	}
	for i := 0; i < len(headers); i += 2 {
		req.Header.Add(headers[i], headers[i+1])
	}
	if method != "GET" && req.Header.Get("Sec-Fetch-Site") == "" && req.Header.Get("Origin") == "" {
		req.Header.Set("Sec-Fetch-Site", "same-origin")
	}
	client := *b.Client
	if req.Header.Get("Cookie") != "" {
		client.Jar = nil // it would add its own
	}
	res, err := client.Do(req)
	if err != nil {
		b.t.Error(err)
		return &http.Response{Header: http.Header{}}
	}
	if client.Jar == nil {
		b.Jar.SetCookies(req.URL, res.Cookies())
	}
	body, err := io.ReadAll(res.Body)
	if err != nil {
		b.t.Error(err)
	}
	res.Body.Close()
	res.Body = io.NopCloser(bytes.NewReader(body))
	if strings.Contains(string(body), "rsr_") || strings.Contains(string(body), "eyJ") {
		b.t.Errorf("%s %s: a token in the body: %s", method, path, body)
	}
	return res
}

func (b *browser) post(path string, headers ...string) *http.Response {
	b.t.Helper()
	return b.do("POST", path, headers...)
}

// want sends a request and compares the status.
func (b *browser) want(status int, method, path string, headers ...string) *http.Response {
	b.t.Helper()
	res := b.do(method, path, headers...)
	if res.StatusCode != status {
		b.t.Errorf("%s %s: %d, want %d", method, path, res.StatusCode, status)
	}
	return res
}

// held returns the browser's cookies by name, those of narrow paths too.
func (b *browser) held() map[string]string {
	u, err := url.Parse(b.site.URL + "/auth/refresh")
	if err != nil {
		b.t.Fatal(err)
	}
	held := map[string]string{}
	for _, k := range b.Jar.Cookies(u) {
		held[k.Name] = k.Value
	}
	return held
}

// cookieHeader is a Cookie header of what is held, or of some of it.
func cookieHeader(held map[string]string, names ...string) string {
	var parts []string
	for name, value := range held {
		if len(names) == 0 || slices.Contains(names, name) {
			parts = append(parts, name+"="+value)
		}
	}
	return strings.Join(parts, "; ")
}

const (
	hostAccess    = "__Host-rescind-at"
	hostRefresh   = "__Host-rescind-rt"
	secureRefresh = "__Secure-rescind-rt"
)
