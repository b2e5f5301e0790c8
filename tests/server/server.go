// Package server runs the server as it ships, in a process of its own, for tests
// that talk to it from outside.
package server

import (
	"bufio"
	"bytes"
	"crypto/x509"
	"encoding/json"
	"errors"
	"io"
	"log"
	"maps"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/rescind/rescind"
)

// AdminSecret is the secret of the client admin of every server started here.
const AdminSecret = "the-administrators-secret-of-this-test"

// Program is the path of a server that has been built.
type Program string

// Main is all that a TestMain does: it builds the server, says where it is, runs
// the tests and takes it away again.
func Main(m *testing.M, p *Program) {
	dir, err := os.MkdirTemp("", "rescind-test-*")
	if err != nil {
		log.Fatal(err)
	}
	code := 1
	if *p, err = build(dir); err != nil {
		log.Print(err)
	} else {
		code = m.Run()
	}
	if err := os.RemoveAll(dir); err != nil {
		log.Print(err)
	}
	os.Exit(code)
}

// Build builds the server for one test.
func Build(t testing.TB) Program {
	t.Helper()
	p, err := build(t.TempDir())
	must(t, err)
	return p
}

func build(dir string) (Program, error) {
	p := filepath.Join(dir, "rescind")
	args := []string{"build", "-buildvcs=false", "-o", p}
	if overlay := os.Getenv("RESCIND_PLANTED"); overlay != "" {
		args = append(args, "-overlay", overlay) // a bug of tests/planted is in the server, too
	}
	cmd := exec.Command("go", append(args, "github.com/rescind/rescind/cmd/rescind")...)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", errors.Join(errors.New("go build: "+string(out)), err)
	}
	return Program(p), nil
}

// Options say how a server is started.
type Options struct {
	Config string   // path of its configuration file, if it has one
	TLS    bool     // with an authority that Server.HTTP believes
	GRPC   bool     // ext_authz too
	Args   []string // more of the command line
	Env    []string // more of the environment; what begins with RESCIND_ or OTEL_ is not inherited
}

// Server is a running server on a folder of its own. It can be stopped and
// started again, on the same address.
type Server struct {
	URL  string
	GRPC string       // address of ext_authz, with Options.GRPC
	CA   string       // file with the authority, with Options.TLS
	HTTP *http.Client // of the test
	*Process

	args, env []string
}

// Start runs a server on a free port of the loopback interface, on an empty
// folder, until the test ends.
func (p Program) Start(t testing.TB, o Options) *Server {
	t.Helper()
	dir := t.TempDir()
	s := &Server{HTTP: &http.Client{Timeout: 10 * time.Second}}
	s.args = []string{string(p), "serve", "--json", "--store", "pebble:" + filepath.Join(dir, "data"), "--log-level", "warn"}
	if o.Config != "" {
		s.args = append(s.args, "--config", o.Config)
	}
	if o.TLS {
		roots := x509.NewCertPool()
		var cert, key string
		s.CA, cert, key = certify(t, dir, roots)
		s.args = append(s.args, "--tls-cert-file", cert, "--tls-key-file", key)
		transport := http.DefaultTransport.(*http.Transport).Clone()
		transport.TLSClientConfig.RootCAs = roots
		s.HTTP.Transport = transport
	}
	if o.GRPC {
		s.GRPC = FreePort(t)
	}
	s.args = append(s.args, o.Args...)
	for _, kv := range os.Environ() {
		if !strings.HasPrefix(kv, "RESCIND_") && !strings.HasPrefix(kv, "OTEL_") {
			s.env = append(s.env, kv)
		}
	}
	s.env = append(append(s.env, "RESCIND_ADMIN_SECRET="+AdminSecret), o.Env...)
	t.Cleanup(s.HTTP.CloseIdleConnections)
	s.run(t, FreePort(t))
	return s
}

// Again starts a server that was stopped.
func (s *Server) Again(t testing.TB) {
	t.Helper()
	s.run(t, s.Addr())
}

// Addr returns where it listens.
func (s *Server) Addr() string {
	_, addr, _ := strings.Cut(s.URL, "://")
	return addr
}

func (s *Server) run(t testing.TB, listen string) {
	t.Helper()
	args := append(s.args[1:len(s.args):len(s.args)], "--listen", listen)
	if s.GRPC != "" {
		args = append(args, "--listen-grpc", s.GRPC)
	}
	cmd := exec.Command(s.args[0], args...)
	cmd.Env = s.env
	out, in, err := os.Pipe()
	must(t, err)
	t.Cleanup(func() { out.Close() })
	cmd.Stdout = in
	s.Process = run(t, cmd)
	must(t, in.Close())
	ready := make(chan string, 1)
	go func() {
		line, _ := bufio.NewReader(out).ReadString('\n') // an empty one: it has ended
		ready <- line
		_, _ = io.Copy(io.Discard, out)
	}()
	select {
	case line := <-ready:
		var at struct{ URL, GRPC string }
		if err := json.Unmarshal([]byte(line), &at); err != nil {
			t.Fatalf("the server does not start: %v\n%s", err, s.Said())
		}
		s.URL, s.GRPC = at.URL, at.GRPC
	case <-time.After(patience):
		t.Fatalf("the server is not ready in time:\n%s", s.Said())
	}
}

// Login opens a session, as an application's backend does; more are members of
// the request.
func (s *Server) Login(t testing.TB, client, subject string, more map[string]any) rescind.Grant {
	t.Helper()
	body := map[string]any{"subject": subject, "client_id": client}
	maps.Copy(body, more)
	text, err := json.Marshal(body)
	must(t, err)
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, s.URL+"/v1/sessions", bytes.NewReader(text))
	must(t, err)
	req.SetBasicAuth("admin", AdminSecret)
	req.Header.Set("Content-Type", "application/json")
	resp, err := s.HTTP.Do(req)
	must(t, err)
	defer resp.Body.Close()
	text, err = io.ReadAll(resp.Body)
	must(t, err)
	var g rescind.Grant
	if err := json.Unmarshal(text, &g); err != nil || resp.StatusCode != http.StatusCreated {
		t.Fatalf("login: %s: %s (%v)", resp.Status, text, err)
	}
	return g
}

// Logout ends the session of a token.
func (s *Server) Logout(t testing.TB, token string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, s.URL+"/v1/logout", nil)
	must(t, err)
	req.Header.Set("Authorization", "Bearer "+token)
	resp, err := s.HTTP.Do(req)
	must(t, err)
	must(t, resp.Body.Close())
	if resp.StatusCode != http.StatusOK {
		t.Fatalf("logout: %s", resp.Status)
	}
}

// Freeze stops the server as it stands, and waits until it does: a signal takes
// its time. It thaws with the test, at the latest.
func (s *Server) Freeze(t testing.TB) {
	t.Helper()
	p := s.Process
	must(t, p.Signal(syscall.SIGSTOP))
	t.Cleanup(func() { p.thaw(t) })
	impatient := &http.Client{Timeout: 200 * time.Millisecond, Transport: &http.Transport{DisableKeepAlives: true}}
	if inner, ok := s.HTTP.Transport.(*http.Transport); ok {
		impatient.Transport.(*http.Transport).TLSClientConfig = inner.TLSClientConfig
	}
	for deadline := time.Now().Add(5 * time.Second); time.Now().Before(deadline); time.Sleep(time.Millisecond) {
		resp, err := impatient.Get(s.URL + "/healthz")
		if err != nil {
			return
		}
		must(t, resp.Body.Close())
	}
	t.Fatal("the server does not freeze")
}

// Thaw lets a frozen server go on.
func (s *Server) Thaw(t testing.TB) {
	t.Helper()
	s.thaw(t)
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
