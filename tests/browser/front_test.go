package browser

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"math/big"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// A front is a proxy that passes everything on, remembers what came by, and holds
// answers back when it is told to.
type front struct {
	url  string // as the proxy is reached on loopback
	port string

	mu    sync.Mutex
	seen  []passage
	gates map[string]*gate
}

// A passage is a request that came by, and its answer.
type passage struct {
	host, method, path string
	origin, site       string // of whom, as the browser says
	cookies            []*http.Cookie
	status             int
	setCookie          []string
	header             http.Header
}

// A gate holds the answers to a path back: each says that it is there, and waits
// until the gate is open.
type gate struct {
	there chan struct{}
	open  chan struct{}
}

// startFront starts a proxy to a server, with TLS if a browser shall use it.
func startFront(t *testing.T, to string, secure bool) *front {
	t.Helper()
	target, err := url.Parse(to)
	if err != nil {
		t.Fatal(err)
	}
	f := &front{gates: map[string]*gate{}}
	proxy := &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) {
			r.SetURL(target)
			r.Out.Host = r.In.Host
		},
		ModifyResponse: func(r *http.Response) error {
			f.note(r)
			f.mu.Lock()
			g := f.gates[r.Request.URL.Path]
			f.mu.Unlock()
			if g != nil {
				g.there <- struct{}{}
				<-g.open
			}
			return nil
		},
		ErrorHandler: func(w http.ResponseWriter, _ *http.Request, err error) {
			http.Error(w, err.Error(), http.StatusBadGateway)
		},
	}
	server := httptest.NewUnstartedServer(proxy)
	if secure {
		server.TLS = &tls.Config{Certificates: []tls.Certificate{certificate(t)}}
		server.StartTLS()
	} else {
		server.Start()
	}
	t.Cleanup(server.Close)
	f.url = server.URL
	_, f.port, _ = strings.Cut(strings.TrimPrefix(strings.TrimPrefix(f.url, "http://"), "https://"), ":")
	return f
}

func (f *front) note(r *http.Response) {
	f.mu.Lock()
	defer f.mu.Unlock()
	in := r.Request
	f.seen = append(f.seen, passage{
		host: in.Host, method: in.Method, path: in.URL.Path, origin: in.Header.Get("Origin"), site: in.Header.Get("Sec-Fetch-Site"),
		cookies: in.Cookies(), status: r.StatusCode, setCookie: slices.Clone(r.Header["Set-Cookie"]), header: r.Header.Clone(),
	})
}

// passages returns what came by so far on a path.
func (f *front) passages(method, path string) []passage {
	f.mu.Lock()
	defer f.mu.Unlock()
	var found []passage
	for _, p := range f.seen {
		if p.method == method && p.path == path {
			found = append(found, p)
		}
	}
	return found
}

// forget begins anew to remember.
func (f *front) forget() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.seen = nil
}

// hold holds the answers to a path back from now on.
func (f *front) hold(t *testing.T, path string) *gate {
	g := &gate{there: make(chan struct{}, 100), open: make(chan struct{})}
	f.mu.Lock()
	f.gates[path] = g
	f.mu.Unlock()
	t.Cleanup(func() { f.release(path, g) })
	return g
}

// release lets through what was held back, and what comes.
func (f *front) release(path string, g *gate) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.gates[path] == g {
		delete(f.gates, path)
		close(g.open)
	}
}

// wait returns when an answer stands at the gate.
func (g *gate) wait(t *testing.T) {
	t.Helper()
	select {
	case <-g.there:
	case <-time.After(10 * time.Second):
		t.Fatal("nothing came to the gate")
	}
}

// at is the address of a path, under one of the names that the browser knows.
func (f *front) at(host, path string) string { return "https://" + host + ":" + f.port + path }

// certificate makes one that nobody has signed; the browser is told not to mind.
func certificate(t *testing.T) tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), DNSNames: []string{"*.test"},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}
