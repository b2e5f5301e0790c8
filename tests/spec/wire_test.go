package spec

import (
	"context"
	"encoding/base64"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/rescind/rescind"
	"github.com/rescind/rescind/httpapi"
	"github.com/rescind/rescind/rescindtest"
)

// wire stands between an application and the real server. It passes on what the
// script does not answer in the server's place, and hears every call.
type wire struct {
	url   string
	proxy http.Handler

	mu    sync.Mutex
	plays map[string]reply // by "METHOD /path", or "*"
	calls []string
	quiet chan struct{} // closed at the end of a step: what hangs ends
}

func newWire(t *testing.T, server string) *wire {
	t.Helper()
	to, err := url.Parse(server)
	must(t, err)
	proxy := &httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) { r.SetURL(to) }}
	w := &wire{proxy: proxy, plays: map[string]reply{}, quiet: make(chan struct{})}
	s := httptest.NewServer(w)
	w.url = s.URL
	t.Cleanup(func() {
		w.begin(nil)
		s.CloseClientConnections()
		s.Close()
	})
	return w
}

// play begins a step with the replies of the script and of the step.
func (w *wire) play(t *testing.T, s *suite, scripts ...map[string]named) {
	t.Helper()
	plays := map[string]reply{}
	for _, script := range scripts {
		for call, n := range script {
			r, err := s.reply(n)
			must(t, err)
			plays[call] = r
		}
	}
	w.begin(plays)
}

func (w *wire) begin(plays map[string]reply) {
	w.mu.Lock()
	defer w.mu.Unlock()
	close(w.quiet)
	w.quiet = make(chan struct{})
	w.plays, w.calls = plays, nil
}

// heard returns the calls of this step, sorted.
func (w *wire) heard() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Sorted(slices.Values(w.calls))
}

func (w *wire) ServeHTTP(rw http.ResponseWriter, r *http.Request) {
	call := r.Method + " " + r.URL.Path
	if i := strings.LastIndex(call, "/v1/sessions/"); i > 0 {
		call = call[:i] + "/v1/sessions/*"
	}
	w.mu.Lock()
	w.calls = append(w.calls, call)
	play, ok := w.plays[call]
	if !ok {
		play, ok = w.plays["*"]
	}
	quiet := w.quiet
	w.mu.Unlock()
	if !ok || play.Real {
		w.proxy.ServeHTTP(rw, r)
		return
	}
	if err := r.ParseForm(); err != nil { // the whole body, before the answer
		http.Error(rw, err.Error(), http.StatusBadGateway)
		return
	}
	conn, _, err := http.NewResponseController(rw).Hijack()
	if err != nil {
		return
	}
	answerRaw(conn, &play, quiet)
}

// answerRaw writes a reply and ends the connection as it says. An application
// that hangs up early is part of the test.
func answerRaw(conn net.Conn, r *reply, quiet <-chan struct{}) {
	defer conn.Close()
	_, _ = conn.Write(r.bytes())
	switch r.End {
	case "hang":
		<-quiet
	case "drip":
		for {
			select {
			case <-quiet:
				return
			case <-time.After(50 * time.Millisecond):
				if _, err := conn.Write([]byte("1")); err != nil {
					return
				}
			}
		}
	}
}

// clock is the real server's.
type clock struct{ ahead atomic.Int64 }

func (c *clock) now() time.Time          { return time.Now().Add(time.Duration(c.ahead.Load())) }
func (c *clock) advance(d time.Duration) { c.ahead.Add(int64(d)) }

// server is the real server with the clients that scripts name.
type server struct {
	*rescindtest.Server
	clock *clock
	vars  map[string]string
}

// oddSecret has everything that a form encodes, and what two codings encode
// differently.
const oddSecret = "a:b&c=d/e?f#g~h*i!j,k'l(m)n;o<p>q[r]s{t}u|v"

func startServer(t *testing.T) *server {
	t.Helper()
	s := &server{clock: new(clock)}
	s.Server = rescindtest.Start(t, func(set *rescindtest.Settings) {
		set.Now = s.clock.now
		set.Config.Audience = "notes"
		set.HTTP.RateLimit = httpapi.RateLimit{Failures: -1} // many forged tokens from one address
		set.HTTP.CORSOrigins = []string{"https://app.example.com"}
		set.HTTP.Rules = map[string]httpapi.Rule{
			"scoped": {Scope: "notes:read"},
			"page":   {Cookie: "session"},
		}
	})
	s.vars = map[string]string{"secret_admin": s.Admin.Secret, "secret_app": s.App.Secret, "secret_odd": oddSecret, "url": s.URL}
	backend := []rescind.Role{rescind.RoleIssue, rescind.RoleIntrospect}
	for _, c := range []rescind.Client{
		{ID: "app", Roles: append(backend, rescind.RoleRevoke, rescind.RoleGuard), Audiences: []string{"notes", "elsewhere"}},
		{ID: "quiet", Roles: backend, NoLogoutAll: true},
		{ID: "other", Roles: backend},
		{ID: "stranger", Roles: []rescind.Role{rescind.RoleIntrospect}, Audiences: []string{"another"}},
		{ID: "strict", Roles: backend, Strict: true},
		{ID: "opaque", Roles: backend, Format: rescind.FormatOpaque},
		{ID: "browser", Public: true},
	} {
		if secret := s.AddClient(t, c).Secret; secret != "" {
			s.vars["secret_"+c.ID] = secret
		}
	}
	odd := rescind.Client{ID: "odd", Roles: backend}
	s.vars["basic_app"] = base64.StdEncoding.EncodeToString([]byte("app:" + s.vars["secret_app"]))
	must(t, odd.SetSecret(oddSecret))
	_, err := s.Authority.AddClient(context.Background(), odd, true, "")
	must(t, err)
	return s
}
