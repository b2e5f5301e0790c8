package server

import (
	"bytes"
	"errors"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/rescind/rescind/tests/port"
)

// patience is how long a process may take to start or to end on a busy machine.
const patience = 2 * time.Minute

// Process is a child of the test, and ends with it.
type Process struct {
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

// run starts a program. What it says, standard output only if nobody else reads
// it, is shown if the test fails.
func run(t testing.TB, cmd *exec.Cmd) *Process {
	t.Helper()
	p := &Process{cmd: cmd, said: new(output), over: make(chan struct{})}
	if cmd.Stdout == nil {
		cmd.Stdout = p.said
	}
	cmd.Stderr, cmd.WaitDelay = p.said, time.Second
	must(t, cmd.Start())
	go func() {
		defer close(p.over)
		_ = cmd.Wait() // how it ended is in its state
	}()
	t.Cleanup(func() {
		p.Stop(t)
		if t.Failed() {
			t.Logf("%s said:\n%s", filepath.Base(cmd.Path), p.said)
		}
	})
	return p
}

// Spawn starts another program than the server, which is ready when somebody
// listens at addr.
func Spawn(t testing.TB, cmd *exec.Cmd, addr string) *Process {
	t.Helper()
	p := run(t, cmd)
	for deadline := time.Now().Add(patience); ; {
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

// FreePort returns an address of the loopback interface that is nobody else's until
// the test ends.
func FreePort(t testing.TB) string {
	t.Helper()
	return net.JoinHostPort("127.0.0.1", strconv.Itoa(port.Reserve(t)))
}

// Said returns what the process has said.
func (p *Process) Said() string { return p.said.String() }

// Signal sends a signal.
func (p *Process) Signal(s os.Signal) error { return p.cmd.Process.Signal(s) }

// Over is closed when the process has ended.
func (p *Process) Over() <-chan struct{} { return p.over }

// ExitCode returns the exit code of a process that is over, -1 if a signal ended it.
func (p *Process) ExitCode() int { return p.cmd.ProcessState.ExitCode() }

// Stop ends the process, also a frozen one, and waits until it is gone. It has to
// end well.
func (p *Process) Stop(t testing.TB) {
	t.Helper()
	select {
	case <-p.over:
		return
	default:
	}
	p.thaw(t)
	if err := p.Signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
		t.Error(err)
	}
	select {
	case <-p.over:
		if code := p.ExitCode(); code > 0 {
			t.Errorf("%s ended with %d", filepath.Base(p.cmd.Path), code)
		}
	case <-time.After(patience):
		t.Errorf("%s does not end", p.cmd)
		_ = p.cmd.Process.Kill()
		<-p.over
	}
}

func (p *Process) thaw(t testing.TB) {
	t.Helper()
	if err := p.Signal(syscall.SIGCONT); err != nil && !errors.Is(err, os.ErrProcessDone) {
		t.Error(err)
	}
}
