// Package gateways runs the configurations under gateways in the gateways they
// are for, in front of an API and beside the real server, and attacks them.
package gateways

import (
	"bufio"
	"bytes"
	"crypto/sha1"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/rescind/rescind"
)

// program is the server as it ships, built once.
var program string

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "rescind-gateways-*")
	if err != nil {
		log.Fatal(err)
	}
	program = filepath.Join(dir, "rescind")
	build := exec.Command("go", "build", "-buildvcs=false", "-o", program, "github.com/rescind/rescind/cmd/rescind")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	code := 1
	if out, err := build.CombinedOutput(); err != nil {
		log.Printf("go build: %v\n%s", err, out)
	} else {
		code = m.Run()
	}
	if err := os.RemoveAll(dir); err != nil {
		log.Print(err)
	}
	os.Exit(code)
}

// The ports in the configurations, all of the loopback interface. They become free ones.
const (
	rescindPort = ":8470"
	apiPort     = ":9000"
	gatewayPort = ":8080"
)

const adminSecret = "the-administrators-secret-of-this-test"

// folder holds the configurations.
const folder = "../../gateways"

// freePort returns an address of the loopback interface on which nobody listens.
func freePort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	defer l.Close()
	return l.Addr().String()
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// A process is a child of the test.
type process struct {
	cmd  *exec.Cmd
	said *output
	over chan struct{}
}

// output keeps what a process says; both sides use it at once.
type output struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.String()
}

// spawn starts a program that is ready when somebody listens at addr. It ends
// with the test.
func spawn(t *testing.T, cmd *exec.Cmd, addr string) *process {
	t.Helper()
	p := &process{cmd: cmd, said: new(output), over: make(chan struct{})}
	cmd.Stdout, cmd.Stderr, cmd.WaitDelay = p.said, p.said, time.Second
	must(t, cmd.Start())
	go func() {
		defer close(p.over)
		_ = cmd.Wait() // how it ended is in its state
	}()
	t.Cleanup(func() {
		p.stop(t)
		if t.Failed() {
			t.Logf("%s said:\n%s", filepath.Base(cmd.Path), p.said)
		}
	})
	for deadline := time.Now().Add(30 * time.Second); ; {
		conn, err := net.Dial("tcp", addr)
		if err == nil {
			must(t, conn.Close())
			return p
		}
		select {
		case <-p.over:
			t.Fatalf("%s does not start:\n%s", cmd, p.said)
		case <-time.After(20 * time.Millisecond):
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s is not ready in time:\n%s", cmd, p.said)
		}
	}
}

// stop ends a process, also a frozen one, and waits until it is gone.
func (p *process) stop(t *testing.T) {
	t.Helper()
	for _, s := range []os.Signal{syscall.SIGCONT, syscall.SIGTERM} {
		if err := p.cmd.Process.Signal(s); err != nil && !errors.Is(err, os.ErrProcessDone) {
			t.Error(err)
		}
	}
	select {
	case <-p.over:
	case <-time.After(15 * time.Second):
		t.Errorf("%s does not end", p.cmd)
		_ = p.cmd.Process.Kill()
		<-p.over
	}
}

// A ledger is a running server. It can be stopped and started again.
type ledger struct {
	addr string
	dir  string
	http *http.Client
	*process
}

func startLedger(t *testing.T) *ledger {
	t.Helper()
	l := &ledger{addr: freePort(t), dir: t.TempDir(), http: &http.Client{Timeout: 10 * time.Second}}
	t.Cleanup(l.http.CloseIdleConnections)
	l.start(t)
	return l
}

func (l *ledger) start(t *testing.T) {
	t.Helper()
	config, err := filepath.Abs(filepath.Join(folder, "rescind.yaml"))
	must(t, err)
	cmd := exec.Command(program, "serve", "--config", config, "--listen", l.addr,
		"--issuer", "https://login.example.com", "--store", "pebble:"+filepath.Join(l.dir, "data"), "--log-level", "warn")
	cmd.Env = append(os.Environ(), "RESCIND_ADMIN_SECRET="+adminSecret)
	l.process = spawn(t, cmd, l.addr)
}

// login opens a session and returns its access token.
func (l *ledger) login(t *testing.T, scope string, audience ...string) string {
	t.Helper()
	body, err := json.Marshal(map[string]any{"subject": "alice", "client_id": "app", "scope": scope, "audience": audience})
	must(t, err)
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://"+l.addr+"/v1/sessions", bytes.NewReader(body))
	must(t, err)
	req.SetBasicAuth("admin", adminSecret)
	req.Header.Set("Content-Type", "application/json")
	resp, err := l.http.Do(req)
	must(t, err)
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	must(t, err)
	var g rescind.Grant
	if err := json.Unmarshal(text, &g); err != nil || resp.StatusCode != http.StatusCreated {
		t.Fatalf("login: %s: %s (%v)", resp.Status, text, err)
	}
	return g.AccessToken.Reveal()
}

func (l *ledger) logout(t *testing.T, token string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://"+l.addr+"/v1/logout", nil)
	must(t, err)
	req.Header.Set("Authorization", "Bearer "+token)
	resp, err := l.http.Do(req)
	must(t, err)
	must(t, resp.Body.Close())
	if resp.StatusCode != http.StatusOK {
		t.Fatalf("logout: %s", resp.Status)
	}
}

// freeze stops the ledger as it stands, and waits until it does: a signal takes its time.
func (l *ledger) freeze(t *testing.T) {
	t.Helper()
	must(t, l.cmd.Process.Signal(syscall.SIGSTOP))
	t.Cleanup(func() { l.thaw(t) })
	impatient := &http.Client{Timeout: 200 * time.Millisecond, Transport: &http.Transport{DisableKeepAlives: true}}
	for deadline := time.Now().Add(5 * time.Second); time.Now().Before(deadline); time.Sleep(time.Millisecond) {
		resp, err := impatient.Get("http://" + l.addr + "/healthz")
		if err != nil {
			return
		}
		must(t, resp.Body.Close())
	}
	t.Fatal("the ledger does not freeze")
}

func (l *ledger) thaw(t *testing.T) {
	t.Helper()
	must(t, l.cmd.Process.Signal(syscall.SIGCONT))
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
	must(t, conn.SetDeadline(start.Add(20*time.Second)))
	_, err = io.WriteString(conn, request)
	must(t, err)
	method, _, _ := strings.Cut(request, " ")
	resp, err := http.ReadResponse(bufio.NewReader(conn), &http.Request{Method: method})
	if errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, syscall.ECONNRESET) {
		return answer{} // hung up on
	}
	if err != nil {
		t.Fatalf("no answer to %q: %v", request, err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil && resp.StatusCode != http.StatusSwitchingProtocols {
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
