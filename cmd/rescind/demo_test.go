package main

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/rescind/rescind"
	"github.com/rescind/rescind/guard"
)

// program is this test's own binary under the name rescind: the real commands in
// a process of their own.
func program(t *testing.T) string {
	t.Helper()
	path, err := exec.LookPath("rescind")
	if err != nil {
		t.Fatal(err)
	}
	return path
}

func empty(t *testing.T, dir string) {
	t.Helper()
	left, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range left {
		t.Errorf("left behind: %s", e.Name())
	}
}

// gone fails the test if the server of a story outlived it.
func gone(t *testing.T, s *story) {
	t.Helper()
	if s.server == nil {
		return
	}
	select {
	case <-s.server.done:
	default:
		t.Error("left behind: the server")
		s.server.kill()
	}
}

func TestTheDemonstrationComesOutAsPromisedAndLeavesNothing(t *testing.T) {
	temp := t.TempDir()
	cmd := exec.Command(program(t), "demo")
	// Settings of the user's own must not reach it.
	cmd.Env = append(os.Environ(), "TMPDIR="+temp, "RESCIND_STORE=postgres://db", "RESCIND_LISTEN=nonsense")
	text, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	for _, line := range []string{"This is the flaw", "This is the cure", "400 invalid_grant", "All good:"} {
		if !bytes.Contains(text, []byte(line)) {
			t.Errorf("not said: %s\n%s", line, text)
		}
	}
	if bytes.Contains(text, []byte("\x1b")) {
		t.Error("colour without a terminal")
	}
	empty(t, temp)
}

// yes is a guard's checker that never asks: what people write when a check is in
// the way.
type yes struct{ guard.Checker }

func (yes) Check(context.Context, string, rescind.Want) (rescind.Access, error) {
	return rescind.Access{}, nil
}

// closed is one that takes an outage for a verdict.
type closed struct{ guard.Checker }

func (c closed) Check(ctx context.Context, token string, want rescind.Want) (rescind.Access, error) {
	a, err := c.Checker.Check(ctx, token, want)
	if err != nil {
		err = rescind.ErrInactive
	}
	return a, err
}

// remembering is one that believes its last answer.
type remembering struct {
	guard.Checker
	good map[string]rescind.Access
}

func (r remembering) Check(ctx context.Context, token string, want rescind.Want) (rescind.Access, error) {
	if a, ok := r.good[token]; ok {
		return a, nil
	}
	a, err := r.Checker.Check(ctx, token, want)
	if err == nil {
		r.good[token] = a
	}
	return a, err
}

func TestTheDemonstrationSeesABrokenGuard(t *testing.T) {
	for name, test := range map[string]struct {
		wrap func(guard.Checker) guard.Checker
		want string // a step that did not come out
	}{
		"says yes to all":          {func(c guard.Checker) guard.Checker { return yes{c} }, "The same token at API B."},
		"remembers its last yes":   {func(c guard.Checker) guard.Checker { return remembering{c, map[string]rescind.Access{}} }, "The same token at API B."},
		"takes an outage for a no": {func(c guard.Checker) guard.Checker { return closed{c} }, "API B gets a token while the server is away."},
	} {
		t.Run(name, func(t *testing.T) {
			temp := t.TempDir()
			t.Setenv("TMPDIR", temp)
			var out bytes.Buffer
			c := &cli{out: output{w: &out, err: &out, json: true}}
			s := &story{binary: program(t), env: os.Environ(), wrap: test.wrap}
			err := c.demo(context.Background(), s)
			gone(t, s)
			if err == nil || exitCode(err) != exitRefused || !strings.Contains(err.Error(), "did not come out as promised") {
				t.Fatalf("got %v", err)
			}
			var result struct {
				Kept  bool
				Steps []step
			}
			if err := json.Unmarshal(out.Bytes(), &result); err != nil {
				t.Fatalf("%v: %s", err, &out)
			}
			found := false
			for _, st := range result.Steps {
				found = found || st.Text == test.want && !st.Kept
			}
			if result.Kept || !found {
				t.Fatalf("kept is %v, and the step is not marked: %s\n%s", result.Kept, test.want, &out)
			}
			empty(t, temp)
		})
	}
}

func TestAnInterruptedDemonstrationLeavesNothing(t *testing.T) {
	temp := t.TempDir()
	cmd := exec.Command(program(t), "demo")
	cmd.Env = append(os.Environ(), "TMPDIR="+temp)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	var said bytes.Buffer
	cmd.Stderr = &said
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	// The stage is set: a server runs, in a process of its own.
	var text []byte
	for buf := make([]byte, 4096); !bytes.Contains(text, []byte("The stage")); {
		n, err := out.Read(buf)
		text = append(text, buf[:n]...)
		if err != nil {
			t.Fatalf("%v: %s %s", err, text, &said)
		}
	}
	if err := cmd.Process.Signal(syscall.SIGINT); err != nil {
		t.Fatal(err)
	}
	for buf := make([]byte, 4096); ; {
		n, err := out.Read(buf)
		text = append(text, buf[:n]...)
		if err != nil {
			break
		}
	}
	err = cmd.Wait()
	if code := cmd.ProcessState.ExitCode(); code != exitRefused {
		t.Fatalf("exit code %d, %v: %s %s", code, err, text, &said)
	}
	empty(t, temp)
}

func TestADemonstrationEndsItsServerWhereverItStops(t *testing.T) {
	for _, stop := range []int{1, 7, 18, 20} {
		temp := t.TempDir()
		t.Setenv("TMPDIR", temp)
		ctx, cancel := context.WithCancel(context.Background())
		defer cancel()
		s := &story{binary: program(t), env: os.Environ(), tell: func(st step) {
			if st.Number == stop {
				cancel()
			}
		}}
		var out bytes.Buffer
		err := (&cli{out: output{w: &out, err: &out, json: true}}).demo(ctx, s)
		gone(t, s)
		if err == nil || exitCode(err) != exitRefused || !strings.Contains(err.Error(), "interrupted") {
			t.Errorf("stopped at step %d: %v", stop, err)
		}
		if len(s.steps) != stop {
			t.Errorf("went on from step %d to %d", stop, len(s.steps))
		}
		empty(t, temp)
	}
}

func TestAServerThatDoesNotStartEndsTheDemonstration(t *testing.T) {
	temp := t.TempDir()
	t.Setenv("TMPDIR", temp)
	var out bytes.Buffer
	c := &cli{out: output{w: &out, err: &out}}
	begin := time.Now()
	err := c.demo(context.Background(), &story{binary: "/bin/false", env: os.Environ()})
	if err == nil || exitCode(err) != exitRefused || !strings.Contains(err.Error(), "did not start") {
		t.Fatalf("got %v", err)
	}
	if time.Since(begin) > 20*time.Second {
		t.Fatalf("took %s", time.Since(begin))
	}
	empty(t, temp)
}
