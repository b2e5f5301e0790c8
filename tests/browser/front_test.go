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
// requests or answers back when it is told to.
type front struct {
	url  string // as the proxy is reached on loopback
	port string

	mu    sync.Mutex
	seen  []passage
	gates map[stop]*gate
}

// A stop is where something may be held back: requests to a path, or the answers.
type stop struct {
	path    string
	answers bool
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

// At a gate each says that it is there, and waits until the gate is open.
type gate struct {
	there chan struct{}
	open  chan struct{}
	once  sync.Once
	first bool
}

// startFront starts a proxy to a server, with TLS if a browser shall use it.
func startFront(t *testing.T, to string, secure bool) *front {
	t.Helper()
	target, err := url.Parse(to)
	if err != nil {
		t.Fatal(err)
	}
	f := &front{gates: map[stop]*gate{}}
	proxy := &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) {
			r.SetURL(target)
			r.Out.Host = r.In.Host
		},
		ModifyResponse: func(r *http.Response) error {
			f.note(r)
			f.pass(stop{r.Request.URL.Path, true})
			return nil
		},
		ErrorHandler: func(w http.ResponseWriter, _ *http.Request, err error) {
			http.Error(w, err.Error(), http.StatusBadGateway)
		},
	}
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		f.pass(stop{r.URL.Path, false})
		proxy.ServeHTTP(w, r)
	}))
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

// hold holds back what comes to a stop from now on, or only the first that comes.
func (f *front) hold(t *testing.T, at stop, first bool) *gate {
	g := &gate{there: make(chan struct{}, 100), open: make(chan struct{}), first: first}
	f.mu.Lock()
	f.gates[at] = g
	f.mu.Unlock()
	t.Cleanup(g.release)
	return g
}

func (f *front) pass(at stop) {
	f.mu.Lock()
	g := f.gates[at]
	if g != nil && g.first {
		delete(f.gates, at)
	}
	f.mu.Unlock()
	if g != nil {
		g.there <- struct{}{}
		<-g.open
	}
}

// release lets through what was held back, and what comes.
func (g *gate) release() { g.once.Do(func() { close(g.open) }) }

// wait returns when an answer stands at the gate.
func (g *gate) wait(t *testing.T) {
	t.Helper()
	select {
	case <-g.there:
	case <-time.After(patience):
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
