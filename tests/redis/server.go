// Package redis starts Redis servers for tests, one or a cluster, each in a folder
// of its own and on loopback ports that nobody uses. A test can kill, restart and
// freeze them. They end with the test.
package redis

import (
	"bufio"
	"cmp"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/rescind/rescind/tests/need"
	"github.com/rescind/rescind/tests/server"
)

// Server is one redis-server. Its methods fail the test.
type Server struct {
	t       testing.TB
	dir     string
	port    string
	bus     string // the port of a cluster's own messages
	cluster bool
	args    []string
	cmd     *exec.Cmd
	died    chan struct{}
}

// program is RESCIND_REDIS, as /usr/bin/valkey-server, or Redis.
func program() string { return cmp.Or(os.Getenv("RESCIND_REDIS"), "redis-server") }

// patience is how long a server may take to start, or a cluster to form.
const patience = 2 * time.Minute

// Start starts a server that a ledger may lie on. Further settings, as in
// "--maxmemory", "10mb", come after those.
func Start(t testing.TB, args ...string) *Server {
	t.Helper()
	return start(t, false, args)
}

func start(t testing.TB, cluster bool, args []string) *Server {
	t.Helper()
	need.Commands(t, "REDIS", "Redis", program())
	s := &Server{t: t, dir: t.TempDir(), port: Port(t), bus: Port(t), cluster: cluster, args: args}
	answers := s.launch()
	t.Cleanup(s.Kill)
	if !answers {
		t.Fatalf("redis-server does not start:\n%s", s.Log())
	}
	return s
}

// Port is a loopback port that is the test's own.
func Port(t testing.TB) string {
	t.Helper()
	_, port, err := net.SplitHostPort(server.FreePort(t))
	if err != nil {
		t.Fatal(err)
	}
	return port
}

// launch reports whether the server answers.
func (s *Server) launch() bool {
	s.t.Helper()
	args := []string{"--port", s.port, "--bind", "127.0.0.1", "--dir", s.dir, "--logfile", s.logFile(), "--save", "",
		"--appendonly", "yes", "--appendfsync", "always", "--maxmemory-policy", "noeviction"}
	if s.cluster {
		args = append(args, "--cluster-enabled", "yes", "--cluster-port", s.bus, "--cluster-node-timeout", "2000")
	}
	return s.run(exec.Command(program(), append(args, s.args...)...))
}

func (s *Server) run(cmd *exec.Cmd) bool {
	s.t.Helper()
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true}
	if err := cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
	died := make(chan struct{})
	go func() {
		defer close(died)
		_ = cmd.Wait() // killed, or its log says why
	}()
	s.cmd, s.died = cmd, died
	for limit := time.Now().Add(patience); time.Now().Before(limit); time.Sleep(5 * time.Millisecond) {
		select {
		case <-died:
			return false
		default:
		}
		if answer, err := s.ask("PING"); err == nil && answer == "PONG" {
			return true
		}
	}
	return false
}

func (s *Server) logFile() string { return filepath.Join(s.dir, "log") }

// Log is what the server has to say.
func (s *Server) Log() string {
	b, err := os.ReadFile(s.logFile())
	if err != nil {
		return err.Error()
	}
	return string(b)
}

// Addr is the server's address.
func (s *Server) Addr() string { return net.JoinHostPort("127.0.0.1", s.port) }

// Dir is the folder of the server's data.
func (s *Server) Dir() string { return s.dir }

// URL names the server as redisstore wants it.
func (s *Server) URL() string { return "redis://" + s.Addr() }

// PID is the server's process.
func (s *Server) PID() int { return s.cmd.Process.Pid }

// Kill ends the server as a crash would, and waits until it has ended.
func (s *Server) Kill() {
	_ = syscall.Kill(-s.cmd.Process.Pid, syscall.SIGKILL) // its children too, that write files; it may have ended
	<-s.died
}

// Restart kills the server, if it runs, and starts it again on the same port and
// data. Further settings come after those that it was started with.
func (s *Server) Restart(args ...string) {
	s.t.Helper()
	s.Kill()
	s.args = append(s.args, args...)
	if !s.launch() {
		s.t.Fatalf("redis-server does not start again:\n%s", s.Log())
	}
}

// StartSentinel starts a Sentinel that watches a master under a name.
func StartSentinel(t testing.TB, name string, master *Server) *Server {
	t.Helper()
	need.Commands(t, "REDIS", "Redis", program())
	s := &Server{t: t, dir: t.TempDir(), port: Port(t)}
	config := filepath.Join(s.dir, "sentinel.conf")
	text := fmt.Sprintf("port %s\nbind 127.0.0.1\ndir %s\nlogfile %s\nsentinel monitor %s 127.0.0.1 %s 1\n", s.port, s.dir, s.logFile(), name, master.port)
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	answers := s.run(exec.Command(program(), config, "--sentinel"))
	t.Cleanup(s.Kill)
	if !answers {
		t.Fatalf("Sentinel does not start:\n%s", s.Log())
	}
	return s
}

// Freeze stops the server where it is, without closing anything.
func (s *Server) Freeze() { s.signal(syscall.SIGSTOP) }

// Thaw lets it go on.
func (s *Server) Thaw() { s.signal(syscall.SIGCONT) }

func (s *Server) signal(sig syscall.Signal) {
	s.t.Helper()
	if err := s.cmd.Process.Signal(sig); err != nil {
		s.t.Fatal(err)
	}
}

// Do runs a command and returns its answer, the parts of a list in lines.
func (s *Server) Do(args ...string) string {
	s.t.Helper()
	answer, err := s.ask(args...)
	if err != nil {
		s.t.Fatalf("%s: %v", args[0], err)
	}
	return answer
}

func (s *Server) ask(args ...string) (answer string, err error) {
	c, err := net.DialTimeout("tcp", s.Addr(), patience)
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, c.Close()) }()
	if err := c.SetDeadline(time.Now().Add(patience)); err != nil {
		return "", err
	}
	var b strings.Builder
	fmt.Fprintf(&b, "*%d\r\n", len(args))
	for _, a := range args {
		fmt.Fprintf(&b, "$%d\r\n%s\r\n", len(a), a)
	}
	if _, err := io.WriteString(c, b.String()); err != nil {
		return "", err
	}
	return answerOf(bufio.NewReader(c))
}

func answerOf(r *bufio.Reader) (string, error) {
	line, err := r.ReadString('\n')
	if err != nil {
		return "", err
	}
	kind, text := line[0], strings.TrimSpace(line[1:])
	switch kind {
	case '-':
		return "", errors.New(text)
	case '$':
		n, err := strconv.Atoi(text)
		if err != nil || n < 0 {
			return "", err
		}
		b := make([]byte, n+2)
		_, err = io.ReadFull(r, b)
		return string(b[:n]), err
	case '*':
		n, err := strconv.Atoi(text)
		var parts []string
		for i := 0; i < n && err == nil; i++ {
			var part string
			part, err = answerOf(r)
			parts = append(parts, part)
		}
		return strings.Join(parts, "\n"), err
	}
	return text, nil
}
