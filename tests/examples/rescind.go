package examples

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/rescind/rescind/tests/need"
	"github.com/rescind/rescind/tests/port"
)

// patience is how long a test waits for what should be there at once, on a machine
// that has much else to do.
const patience = 2 * time.Minute

// A process is a program that a test has started, with what it has started itself.
type process struct {
	cmd    *exec.Cmd
	output *lockedBuffer
	exited chan struct{}
}

// lockedBuffer is written by a process while a test reads it.
type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// run starts a command in a process group of its own, which ends with the test.
func run(t testing.TB, cmd *exec.Cmd) *process {
	t.Helper()
	p := &process{cmd: cmd, output: new(lockedBuffer), exited: make(chan struct{})}
	if cmd.Stdout == nil {
		cmd.Stdout = p.output
	}
	cmd.Stderr = p.output
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.WaitDelay = 5 * time.Second
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		_ = cmd.Wait() // a process that was killed says so, which is no news
		close(p.exited)
	}()
	t.Cleanup(func() {
		p.kill(t)
		if t.Failed() {
			t.Logf("%s said:\n%s", filepath.Base(cmd.Path), tail(p.output.String(), 4000))
		}
	})
	return p
}

// signal reaches the process and those that it has started.
func (p *process) signal(t testing.TB, s syscall.Signal) {
	t.Helper()
	if err := syscall.Kill(-p.cmd.Process.Pid, s); err != nil && !errors.Is(err, syscall.ESRCH) {
		t.Errorf("%s: %v", s, err)
	}
}

// kill ends the process at once, and returns when it is no more.
func (p *process) kill(t testing.TB) {
	t.Helper()
	p.signal(t, syscall.SIGKILL)
	<-p.exited
}

func tail(s string, n int) string { return s[max(0, len(s)-n):] }

// A Rescind is a running rescind serve, as it ships, with data of its own.
type Rescind struct {
	URL    string
	Secret string // of the client app

	folder, address string
	process         *process
}

// StartRescind starts a server on a free port. Access tokens live for access, or
// for as long as they do by default if that is 0.
func StartRescind(t testing.TB, access time.Duration) *Rescind {
	t.Helper()
	r := &Rescind{folder: t.TempDir(), address: "127.0.0.1:" + freePort(t)}
	r.URL = "http://" + r.address
	configuration := "audience: notes\n"
	if access > 0 {
		configuration += fmt.Sprintf("lifetimes: {access_token: %s}\n", access)
	}
	if err := os.WriteFile(filepath.Join(r.folder, "rescind.yaml"), []byte(configuration), 0o600); err != nil {
		t.Fatal(err)
	}
	r.Start(t)
	secret, err := os.ReadFile(filepath.Join(r.folder, "rescind-data.keys", "app.secret"))
	if err != nil {
		t.Fatal(err)
	}
	r.Secret = strings.TrimSpace(string(secret))
	return r
}

// Start starts it again, where it was and with what it knew.
func (r *Rescind) Start(t testing.TB) {
	t.Helper()
	cmd := exec.Command(rescindProgram(t), "serve", "--config", "rescind.yaml", "--listen", r.address)
	cmd.Dir = r.folder
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	r.process = run(t, cmd)
	ready := make(chan bool, 1)
	go func() {
		lines := bufio.NewScanner(out)
		for lines.Scan() {
			if strings.HasPrefix(lines.Text(), "rescind is ready at ") {
				ready <- true
			}
		}
	}()
	select {
	case <-ready:
	case <-r.process.exited:
		t.Fatalf("rescind does not start:\n%s", r.process.output)
	case <-time.After(patience):
		t.Fatal("rescind is not ready in time")
	}
}

// Freeze stops the process, and returns when every thread of it has stopped.
func (r *Rescind) Freeze(t testing.TB) {
	t.Helper()
	r.process.signal(t, syscall.SIGSTOP)
	tasks := fmt.Sprintf("/proc/%d/task/*/status", r.process.cmd.Process.Pid)
	for deadline := time.Now().Add(patience); ; time.Sleep(10 * time.Millisecond) {
		states, err := filepath.Glob(tasks)
		if err != nil {
			t.Fatal(err)
		}
		stopped := 0
		for _, path := range states {
			if text, err := os.ReadFile(path); err == nil && strings.Contains(string(text), "State:\tT") {
				stopped++
			}
		}
		if stopped == len(states) && stopped > 0 {
			return
		}
		if time.Now().After(deadline) {
			t.Fatal("rescind does not stop")
		}
	}
}

// Thaw lets it go on.
func (r *Rescind) Thaw(t testing.TB) { r.process.signal(t, syscall.SIGCONT) }

// Kill ends it without a warning.
func (r *Rescind) Kill(t testing.TB) { r.process.kill(t) }

// rescindProgram is the server as it ships: RESCIND_BIN, or built here.
func rescindProgram(t testing.TB) string {
	t.Helper()
	if program := os.Getenv("RESCIND_BIN"); program != "" {
		return program
	}
	return goProgram(t, "rescind", "./cmd/rescind")
}

// A Redis is a running redis-server without a disk.
type Redis struct {
	URL     string
	process *process
}

// StartRedis starts one on a free port.
func StartRedis(t testing.TB) *Redis {
	t.Helper()
	need.Commands(t, "REDIS", "a broken form with a blocklist in Redis", "redis-server")
	port := freePort(t)
	cmd := exec.Command("redis-server", "--bind", "127.0.0.1", "--port", port, "--save", "", "--appendonly", "no")
	cmd.Dir = t.TempDir()
	r := &Redis{URL: "redis://127.0.0.1:" + port, process: run(t, cmd)}
	for deadline := time.Now().Add(patience); !answers("127.0.0.1:" + port); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("redis-server is not ready in time")
		}
	}
	return r
}

// Kill ends it without a warning.
func (r *Redis) Kill(t testing.TB) { r.process.kill(t) }

func answers(address string) bool {
	c, err := net.DialTimeout("tcp", address, time.Second)
	if err != nil {
		return false
	}
	_ = c.Close() // nothing was sent
	return true
}

// freePort returns a port that is nobody else's until the test ends.
func freePort(t testing.TB) string {
	t.Helper()
	return strconv.Itoa(port.Reserve(t))
}
