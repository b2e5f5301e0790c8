package probe

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/rescind/rescind/probe/target"
)

// testRun is a run against a server, without experiments.
func testRun(t *testing.T, instance string, more ...string) *run {
	t.Helper()
	text := "instances: [" + instance + "]\nusers: [{name: ada, password: lovelace-1815}]\nlogin: {request: POST /login, json: {password: \"{{user.password}}\"}}\n" +
		"protected: [GET /me]\nlogout: {request: POST /logout}\n" + strings.Join(more, "\n")
	described, err := target.Parse([]byte(text), func(string) (string, bool) { return "", false })
	if err != nil {
		t.Fatal(err)
	}
	return newRun(described, Options{}.withDefaults(described))
}

func get(t *testing.T, address string) request {
	t.Helper()
	u, err := url.Parse(address)
	if err != nil {
		t.Fatal(err)
	}
	return request{method: http.MethodGet, url: u, header: http.Header{}}
}

// Whatever a description, an answer or a redirect says, nothing but the named
// hosts is ever contacted.
func TestNothingButNamedHostsIsContacted(t *testing.T) {
	var strangers atomic.Int32
	stranger := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { strangers.Add(1) }))
	defer stranger.Close()
	home := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		http.Redirect(w, &http.Request{}, stranger.URL+"/collect", http.StatusFound)
	}))
	defer home.Close()
	r := testRun(t, home.URL)
	for _, address := range []string{
		stranger.URL, strings.Replace(stranger.URL, "http:", "https:", 1), home.URL[:len(home.URL)-1], "http://user@" + home.Listener.Addr().String(),
		"file:///etc/passwd", "http://example.org/", strings.Replace(home.URL, "http:", "ftp:", 1),
	} {
		if a := r.client.do(t.Context(), get(t, address)); !errors.Is(a.err, ErrForeignHost) {
			t.Errorf("%s: %v, %d", address, a.err, a.status)
		}
	}
	// A redirect of a login is followed, but not to there.
	if _, err := r.login(t.Context(), 0, home.URL); err == nil {
		t.Error("the login went well")
	}
	// Should anything reach the connection by another way, it is stopped there.
	if _, err := r.client.http.Get(stranger.URL); !errors.Is(err, ErrForeignHost) {
		t.Errorf("dialling: %v", err)
	}
	if n := strangers.Load(); n != 0 {
		t.Errorf("the stranger got %d requests", n)
	}
}

// A proxy is used only if the caller asks for it. (That of the environment would
// never be used for an address of this machine; one of Options is.)
func TestTheEnvironmentNamesNoProxy(t *testing.T) {
	r := testRun(t, "http://127.0.0.1:1")
	if transport, is := r.client.http.Transport.(*http.Transport); !is || transport.Proxy != nil {
		t.Error("a proxy is asked for")
	}
	var through atomic.Int32
	proxy := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { through.Add(1) }))
	defer proxy.Close()
	described := r.target
	r = newRun(described, Options{Proxy: func(*http.Request) (*url.URL, error) { return url.Parse(proxy.URL) }}.withDefaults(described))
	if a := r.client.do(t.Context(), get(t, "http://127.0.0.1:1/me")); a.err != nil || through.Load() != 1 {
		t.Errorf("%v, %d requests through the proxy", a.err, through.Load())
	}
	if a := r.client.do(t.Context(), get(t, "http://example.org/")); !errors.Is(a.err, ErrForeignHost) {
		t.Errorf("through the proxy to another host: %v", a.err)
	}
}

// An answer without end costs what the limit allows, and no more.
func TestAnswersAreReadToTheLimit(t *testing.T) {
	var wrote atomic.Int64
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		if q.URL.Path == "/headers" {
			for i := range 10_000 {
				w.Header().Set(fmt.Sprintf("X-%d", i), strings.Repeat("x", 100))
			}
			return
		}
		chunk := make([]byte, 64<<10)
		for q.Context().Err() == nil {
			n, err := w.Write(chunk)
			wrote.Add(int64(n))
			if err != nil {
				return
			}
		}
	}))
	defer server.Close()
	r := testRun(t, server.URL, "limits: {body: 100KiB}")
	a := r.client.do(t.Context(), get(t, server.URL))
	if len(a.body) != 100<<10 || !a.cut || a.err != nil {
		t.Errorf("%d bytes, cut %t, %v", len(a.body), a.cut, a.err)
	}
	server.CloseClientConnections()
	if n := wrote.Load(); n > 64<<20 {
		t.Errorf("the server could write %d bytes", n)
	}
	if a := r.client.do(t.Context(), get(t, server.URL+"/headers")); a.err == nil {
		t.Error("a header of a megabyte was taken")
	}
}

// Targets that hang, reset, or redirect in a circle end with an error, in time.
func TestTargetsThatMisbehaveAreSurvived(t *testing.T) {
	release := make(chan struct{})
	var server *httptest.Server
	server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		switch q.URL.Path {
		case "/hang":
			<-release
		case "/half":
			w.Header().Set("Content-Length", "100")
			_, _ = io.WriteString(w, "half")
		case "/reset":
			conn, _, err := w.(http.Hijacker).Hijack()
			if err != nil {
				t.Error(err)
				return
			}
			if tcp, is := conn.(*net.TCPConn); is {
				_ = tcp.SetLinger(0)
			}
			_ = conn.Close()
		case "/login":
			http.Redirect(w, q, server.URL+"/login?"+q.URL.RawQuery+"x", http.StatusSeeOther)
		}
	}))
	defer server.Close()
	defer close(release)
	r := testRun(t, server.URL, "limits: {timeout: 300ms}")
	for _, path := range []string{"/hang", "/half", "/reset"} {
		began := time.Now()
		if a := r.client.do(t.Context(), get(t, server.URL+path)); a.err == nil {
			t.Errorf("%s: no error, status %d", path, a.status)
		}
		if took := time.Since(began); took > time.Minute {
			t.Errorf("%s: took %s", path, took)
		}
	}
	if _, err := r.login(t.Context(), 0, server.URL); err == nil || !strings.Contains(err.Error(), "redirects more than 5 times") {
		t.Errorf("a circle of redirects: %v", err)
	}
	if n := r.client.sent.Load(); n > 12 {
		t.Errorf("%d requests were sent", n)
	}
}

func TestNoMoreRequestsAreSentThanAllowed(t *testing.T) {
	var got, at, most atomic.Int64
	server := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		got.Add(1)
		n := at.Add(1)
		for m := most.Load(); n > m && !most.CompareAndSwap(m, n); m = most.Load() {
		}
		time.Sleep(2 * time.Millisecond)
		at.Add(-1)
	}))
	defer server.Close()
	r := testRun(t, server.URL, "limits: {requests: 50, parallel: 3}")
	var wg sync.WaitGroup
	var refused atomic.Int64
	for range 80 {
		wg.Go(func() {
			if a := r.client.do(t.Context(), get(t, server.URL)); errors.Is(a.err, ErrBudget) {
				refused.Add(1)
			}
		})
	}
	wg.Wait()
	if got.Load() != 45 || refused.Load() != 35 {
		t.Errorf("%d were sent, %d refused", got.Load(), refused.Load())
	}
	// What was kept back is for the end.
	r.end(t.Context())
	for range 10 {
		r.client.do(t.Context(), get(t, server.URL))
	}
	if got.Load() != 50 {
		t.Errorf("%d were sent in all", got.Load())
	}
	if most.Load() > 3 {
		t.Errorf("%d at once", most.Load())
	}
}

func TestRequestsKeepToTheRate(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	defer server.Close()
	r := testRun(t, server.URL, "limits: {per_second: 100}")
	began := time.Now()
	var wg sync.WaitGroup
	for range 21 {
		wg.Go(func() { r.client.do(t.Context(), get(t, server.URL)) })
	}
	wg.Wait()
	if took := time.Since(began); took < 195*time.Millisecond {
		t.Errorf("21 requests at 100 a second took %s", took)
	}
}

// After as many failed logins as may fail, no other is tried.
func TestFailedLoginsStop(t *testing.T) {
	var logins atomic.Int32
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		logins.Add(1)
		w.WriteHeader(http.StatusUnauthorized)
	}))
	defer server.Close()
	r := testRun(t, server.URL)
	var last error
	for range 10 {
		_, last = r.login(t.Context(), 0, server.URL)
	}
	if logins.Load() != 3 || !errors.Is(last, ErrFailedLogins) {
		t.Errorf("%d logins, %v", logins.Load(), last)
	}
}

// A login that meets a rate limit waits as long as it is told.
func TestALoginWaitsForARateLimit(t *testing.T) {
	var logins atomic.Int32
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		if logins.Add(1) == 1 {
			w.Header().Set("Retry-After", "17")
			w.WriteHeader(http.StatusTooManyRequests)
			return
		}
		_, _ = io.WriteString(w, `{"token": "0123456789"}`)
	}))
	defer server.Close()
	r := testRun(t, server.URL)
	began := time.Now()
	var slept time.Duration
	r.options.Now = func() time.Time { return began.Add(slept) }
	r.options.Sleep = func(_ context.Context, d time.Duration) error { slept += d; return nil }
	if _, err := r.login(t.Context(), 0, server.URL); err != nil || slept != 17*time.Second {
		t.Errorf("%v after %s", err, slept)
	}
	if n := r.failed.Load(); n != 0 {
		t.Errorf("%d failed logins were counted", n)
	}
}
