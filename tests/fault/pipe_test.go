package fault

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/rescind/rescind"
)

// errDied is what a call returns whose process ended before it answered: the
// outcome is unknown.
var errDied = errors.New("the process died")

// server is a process with a ledger in it. *rescind.Authority has the same methods.
type server interface {
	Issue(context.Context, rescind.Login) (rescind.Grant, error)
	Check(context.Context, string, rescind.Want) (rescind.Access, error)
	Refresh(context.Context, rescind.Refresh) (rescind.Grant, error)
	Revoke(context.Context, rescind.Revocation) (rescind.Receipt, error)
	Logout(ctx context.Context, token string, all bool) (rescind.Receipt, error)
	// Rotate and Upkeep stir the configuration and forget what is past.
	Rotate(context.Context, rescind.KeyUse) error
	Upkeep(context.Context) error
}

// process is what every server here is in the end.
type process struct {
	cmd    *exec.Cmd
	stderr *bytes.Buffer
	ready  chan struct{}
	died   chan struct{} // closed when the last thing that it said has been read
	broken error         // what was wrong with that; set before died is closed
}

func newProcess(cmd *exec.Cmd) *process {
	p := &process{cmd: cmd, stderr: new(bytes.Buffer), ready: make(chan struct{}), died: make(chan struct{})}
	cmd.Stderr = p.stderr
	return p
}

// outlived makes sure that nothing is left of the process when the test ends.
func (p *process) outlived(t *testing.T) {
	t.Cleanup(func() {
		_ = p.cmd.Process.Kill() // mostly it is long gone
		<-p.died
	})
}

func (p *process) proc() *process { return p }

// living is a server and its process.
type living interface {
	server
	proc() *process
}

// kill sends SIGKILL and waits until nothing of the process is left. It returns
// what is wrong with how it lived, if anything.
func (p *process) kill() error {
	killed := p.cmd.Process.Kill()
	<-p.died
	err := p.cmd.Wait() // reports the SIGKILL
	switch {
	case p.broken != nil:
		return p.broken
	case killed != nil || p.cmd.ProcessState.Exited():
		return fmt.Errorf("the process ended by itself: %v\n%s", err, p.stderr)
	case strings.Contains(p.stderr.String(), "DATA RACE"):
		return fmt.Errorf("the process failed\n%s", p.stderr)
	}
	return nil
}

// piped is a running child and the ends of its pipes.
type piped struct {
	*process
	stdin   io.WriteCloser
	sending sync.Mutex
	n       atomic.Uint64
	mu      sync.Mutex
	waiting map[uint64]chan reply
}

// startChild runs this test binary again, on a folder.
func startChild(t *testing.T, dir string, lossy bool) *piped {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	p := &piped{process: newProcess(exec.Command(exe)), waiting: map[uint64]chan reply{}}
	p.cmd.Env = append(os.Environ(), childFolder+"="+dir)
	if lossy {
		p.cmd.Env = append(p.cmd.Env, childVolatile+"=1")
	}
	if p.stdin, err = p.cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	replies, end, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	p.cmd.ExtraFiles = []*os.File{end}
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if err := end.Close(); err != nil {
		t.Fatal(err)
	}
	go p.read(replies)
	p.outlived(t)
	return p
}

// read hands out the answers. What the child wrote before it died is still read.
func (p *piped) read(replies *os.File) {
	defer close(p.died)
	in := bufio.NewReader(replies)
	for {
		line, err := in.ReadBytes('\n')
		if err != nil { // the last line may be half a line: no answer
			break
		}
		var r reply
		if err := json.Unmarshal(line, &r); err != nil {
			p.broken = fmt.Errorf("answer %q: %w", line, err)
			break
		}
		if r.N == 0 {
			close(p.ready)
			continue
		}
		p.mu.Lock()
		to := p.waiting[r.N]
		delete(p.waiting, r.N)
		p.mu.Unlock()
		to <- r
	}
	_ = replies.Close() // only read from
}

// ask sends an order and waits for its answer.
func (p *piped) ask(ctx context.Context, do order) (reply, error) {
	do.N = p.n.Add(1)
	answer := make(chan reply, 1)
	p.mu.Lock()
	p.waiting[do.N] = answer
	p.mu.Unlock()
	line, err := json.Marshal(do)
	if err != nil {
		return reply{}, err
	}
	p.sending.Lock()
	_, err = p.stdin.Write(append(line, '\n'))
	p.sending.Unlock()
	if err != nil {
		return reply{}, errDied
	}
	select {
	case r := <-answer:
		return r, r.err()
	case <-ctx.Done():
		return reply{}, fmt.Errorf("no answer in %s: %w", patience, ctx.Err())
	case <-p.died:
	}
	select { // it may have been the last one
	case r := <-answer:
		return r, r.err()
	default:
		return reply{}, errDied
	}
}

func (p *piped) Issue(ctx context.Context, l rescind.Login) (rescind.Grant, error) {
	r, err := p.ask(ctx, order{Issue: &l})
	return r.Grant, err
}

func (p *piped) Check(ctx context.Context, token string, w rescind.Want) (rescind.Access, error) {
	r, err := p.ask(ctx, order{Check: &check{token, w}})
	return r.Access, err
}

func (p *piped) Refresh(ctx context.Context, f rescind.Refresh) (rescind.Grant, error) {
	r, err := p.ask(ctx, order{Refresh: &f})
	return r.Grant, err
}

func (p *piped) Revoke(ctx context.Context, v rescind.Revocation) (rescind.Receipt, error) {
	r, err := p.ask(ctx, order{Revoke: &v})
	return r.Receipt, err
}

func (p *piped) Logout(ctx context.Context, token string, all bool) (rescind.Receipt, error) {
	r, err := p.ask(ctx, order{Logout: &logout{token, all}})
	return r.Receipt, err
}

func (p *piped) Rotate(ctx context.Context, use rescind.KeyUse) error {
	_, err := p.ask(ctx, order{Rotate: use})
	return err
}

func (p *piped) Upkeep(ctx context.Context) error {
	_, err := p.ask(ctx, order{Upkeep: true})
	return err
}
