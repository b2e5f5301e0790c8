package httpapi_test

import (
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/rescind/rescind"
	"github.com/rescind/rescind/httpapi"
	"github.com/rescind/rescind/rescindtest"
)

// question is a request that can be asked again and again without a network.
type question struct {
	method, path, body string
	header             http.Header
}

// nowhere is a ResponseWriter that keeps the status alone.
type nowhere struct {
	header http.Header
	status int
}

func (n *nowhere) Header() http.Header         { return n.header }
func (n *nowhere) WriteHeader(status int)      { n.status = status }
func (n *nowhere) Write(b []byte) (int, error) { return len(b), nil }

func (q *question) ask(h http.Handler, w *nowhere) {
	r := httptest.NewRequest(q.method, q.path, strings.NewReader(q.body))
	r.Header = q.header
	clear(w.header)
	h.ServeHTTP(w, r)
}

func questions(t testing.TB, s *rescindtest.Server) map[string]*question {
	t.Helper()
	opaque := s.AddClient(t, rescind.Client{ID: "opaque", Format: rescind.FormatOpaque, Roles: []rescind.Role{rescind.RoleIntrospect}})
	g := s.Login(t, rescind.Login{Subject: "alice", Client: "opaque", Scope: "read write"})
	r := httptest.NewRequest("POST", "/", nil)
	r.SetBasicAuth(opaque.ID, opaque.Secret)
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	return map[string]*question{
		"introspect":   {"POST", "/oauth/introspect", "token=" + g.AccessToken.Reveal(), r.Header},
		"forward-auth": {"GET", "/forward-auth", "", http.Header{"Authorization": {"Bearer " + g.AccessToken.Reveal()}}},
	}
}

// Both are asked on every request of somebody's application. What they allocate
// is counted, so that a middleware too many is noticed. Some are allowed beyond
// the 18 and 13 of today: under the race detector pools forget.
func TestHotPathsAllocateLittle(t *testing.T) {
	s := rescindtest.Start(t)
	most := map[string]float64{"introspect": 30, "forward-auth": 22}
	for name, q := range questions(t, s) {
		w := &nowhere{header: http.Header{}}
		bare := testing.AllocsPerRun(200, func() {
			q.ask(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(200) }), w)
		})
		n := testing.AllocsPerRun(200, func() { q.ask(s.Handler, w) }) - bare
		if w.status != 200 {
			t.Fatalf("%s: %d", name, w.status)
		}
		t.Logf("%s: %.0f allocations above a bare handler's %.0f", name, n, bare)
		if n > most[name] {
			t.Errorf("%s: %.0f allocations, at most %.0f are allowed", name, n, most[name])
		}
	}
}

// BenchmarkKeepAlive asks over 64 connections that are kept, as a gateway does,
// and for comparison a handler that does nothing but read and answer.
func BenchmarkKeepAlive(b *testing.B) {
	s := rescindtest.Start(b)
	bare := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if _, err := io.Copy(io.Discard, r.Body); err != nil {
			panic(err)
		}
		w.Header()["Content-Type"] = []string{"application/json"}
		if _, err := w.Write([]byte(`{"active":true}`)); err != nil {
			panic(err)
		}
	}))
	bare.Config = httpapi.Server(bare.Config.Handler)
	bare.Start()
	defer bare.Close()
	q := questions(b, s)
	for _, name := range []string{"introspect", "forward-auth"} {
		b.Run(name+"/bare", func(b *testing.B) { keepAlive(b, bare.URL, q[name]) })
		b.Run(name+"/rescind", func(b *testing.B) { keepAlive(b, s.URL, q[name]) })
	}
}

func keepAlive(b *testing.B, url string, q *question) {
	const connections = 64
	request := q.method + " " + q.path + " HTTP/1.1\r\nHost: x\r\n"
	for name, v := range q.header {
		request += name + ": " + v[0] + "\r\n"
	}
	request += "Content-Length: " + strconv.Itoa(len(q.body)) + "\r\n\r\n" + q.body
	var wg sync.WaitGroup
	n := b.N/connections + 1
	b.ResetTimer()
	for range connections {
		wg.Go(func() {
			conn, err := net.Dial("tcp", strings.TrimPrefix(url, "http://"))
			if err != nil {
				b.Error(err)
				return
			}
			defer conn.Close()
			buf := make([]byte, 4096)
			for range n {
				if _, err := io.WriteString(conn, request); err != nil {
					b.Error(err)
					return
				}
				// Both answer in one segment, which is far below the buffer.
				m, err := conn.Read(buf)
				if err != nil || !strings.HasPrefix(string(buf[:min(m, 15)]), "HTTP/1.1 200 OK") {
					b.Errorf("%v %q", err, buf[:m])
					return
				}
			}
		})
	}
	wg.Wait()
	b.ReportMetric(float64(n*connections)/b.Elapsed().Seconds(), "req/s")
}
