// Package gateways runs the configurations under gateways in the gateways they
// are for, in front of an API and beside the real server, and attacks them.
package gateways

import (
	"bufio"
	"crypto/sha1"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/rescind/rescind/tests/server"
)

// program is the server as it ships, built once.
var program server.Program

func TestMain(m *testing.M) { server.Main(m, &program) }

// The ports in the configurations, all of the loopback interface. They become free ones.
const (
	rescindPort = ":8470"
	apiPort     = ":9000"
	gatewayPort = ":8080"
)

// folder holds the configurations.
const folder = "../../gateways"

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// A ledger is a running server. It can be stopped and started again.
type ledger struct{ *server.Server }

func startLedger(t *testing.T) *ledger {
	t.Helper()
	return &ledger{program.Start(t, server.Options{Config: source(t, "rescind.yaml"), GRPC: true, Args: []string{"--issuer", "https://login.example.com"}})}
}

// login opens a session and returns its access token.
func (l *ledger) login(t *testing.T, scope string, audience ...string) string {
	t.Helper()
	return l.Login(t, "app", "alice", map[string]any{"scope": scope, "audience": audience}).AccessToken.Reveal()
}

// api is the application behind the gateway. It believes whatever it is told, and
// remembers every request.
type api struct {
	addr string
	mu   sync.Mutex
	seen []*http.Request
}

func startAPI(t *testing.T) *api {
	t.Helper()
	a := new(api)
	s := httptest.NewServer(a)
	t.Cleanup(s.Close)
	a.addr = s.Listener.Addr().String()
	return a
}

func (a *api) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	a.mu.Lock()
	a.seen = append(a.seen, r)
	a.mu.Unlock()
	if strings.EqualFold(r.Header.Get("Upgrade"), "websocket") {
		a.echo(w, r.Header.Get("Sec-WebSocket-Key"))
		return
	}
	w.Header().Set("X-Api", "yes")
	if r.Method == http.MethodOptions {
		w.Header().Set("Access-Control-Allow-Origin", "https://app.example.com")
		w.WriteHeader(http.StatusNoContent)
		return
	}
	if status, err := strconv.Atoi(strings.TrimPrefix(r.URL.Path, "/status/")); err == nil {
		w.WriteHeader(status)
	}
	_, _ = w.Write(body) // a gateway that has gone away is no fault
}

// echo is all that a WebSocket is to a gateway: a handshake (RFC 6455 section 4.2.2)
// and a connection in both directions.
func (a *api) echo(w http.ResponseWriter, key string) {
	conn, rw, err := http.NewResponseController(w).Hijack()
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	defer conn.Close()
	accept := sha1.Sum([]byte(key + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"))
	_, _ = fmt.Fprintf(conn, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: %s\r\n\r\n",
		base64.StdEncoding.EncodeToString(accept[:]))
	if line, err := rw.ReadString('\n'); err == nil {
		_, _ = conn.Write([]byte("echo " + line))
	}
}

// took returns the requests since it was last asked.
func (a *api) took() []*http.Request {
	a.mu.Lock()
	defer a.mu.Unlock()
	seen := a.seen
	a.seen = nil
	return seen
}

// A rig is a gateway between a client and an API, with a ledger beside it.
type rig struct {
	*ledger
	api     *api
	gateway string // where it listens

	normalises bool  // it writes paths and queries anew
	faults     []int // what it answers when nobody can know; none: 503, with Retry-After
}

// answer is what a client gets.
type answer struct {
	status int
	header http.Header
	body   string
	took   time.Duration
}

// raw sends a request as it is written, line by line, and reads the answer.
func (g *rig) raw(t *testing.T, request string) answer {
	t.Helper()
	conn, err := net.Dial("tcp", g.gateway)
	must(t, err)
	defer conn.Close()
	start := time.Now()
	must(t, conn.SetDeadline(start.Add(patience)))
	// A gateway may refuse what it has not read to its end, and hang up.
	cut := func(err error) bool { return errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE) }
	if _, err = io.WriteString(conn, request); !cut(err) {
		must(t, err)
	}
	method, _, _ := strings.Cut(request, " ")
	resp, err := http.ReadResponse(bufio.NewReader(conn), &http.Request{Method: method})
	if errors.Is(err, io.ErrUnexpectedEOF) || cut(err) {
		return answer{} // hung up on
	}
	if err != nil {
		t.Fatalf("no answer to %q: %v", request, err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil && resp.StatusCode != http.StatusSwitchingProtocols && !cut(err) {
		t.Fatalf("%q: %v", request, err)
	}
	return answer{resp.StatusCode, resp.Header, string(body), time.Since(start)}
}

// send asks for a target, with headers as they are written.
func (g *rig) send(t *testing.T, method, target string, header ...string) answer {
	t.Helper()
	lines := append([]string{fmt.Sprintf("%s %s HTTP/1.1", method, target), "Host: api.example.com", "Connection: close"}, header...)
	return g.raw(t, strings.Join(lines, "\r\n")+"\r\n\r\n")
}

func bearer(token string) string { return "Authorization: Bearer " + token }
