package probe_test

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/rescind/rescind/tests/probe/targets"
	"github.com/rescind/rescind/tests/server"
)

// mostMemory is what the program may need in all, in kilobytes.
const mostMemory = 256 << 10

// TestTheProgramStaysSmall runs rescind probe as it ships against answers that do
// not end, and looks at the memory that its process had.
func TestTheProgramStaysSmall(t *testing.T) {
	t.Parallel()
	program := server.Build(t)
	for _, h := range targets.Hostiles() {
		if !slices.Contains([]string{"endless-body-inside", "endless-body-at-login", "endless-header", "a-bomb", "many-cookies"}, h.Name) {
			continue
		}
		t.Run(h.Name, func(t *testing.T) {
			trap := h.Spring(t)
			path := filepath.Join(t.TempDir(), "target.yaml")
			if err := os.WriteFile(path, []byte(trap.Describe("refresh", short, "limits: {timeout: 1s}")), 0o600); err != nil {
				t.Fatal(err)
			}
			cmd := exec.CommandContext(t.Context(), string(program), "probe", path, "--json", "--quiet")
			var out, stderr bytes.Buffer
			cmd.Stdout, cmd.Stderr = &out, &stderr
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			most := memory(t, cmd.Process.Pid)
			err := cmd.Wait()
			var exit *exec.ExitError
			if inconclusive := errors.As(err, &exit) && exit.ExitCode() == 3; !inconclusive && !(err == nil && h.Inside) {
				t.Errorf("%v\n%s\n%s", err, out.String(), stderr.String())
			}
			t.Logf("%d MB of memory, after %d MB were sent", most()>>10, trap.Written.Load()>>20)
			if most() > mostMemory || most() == 0 {
				t.Errorf("%d kB of memory", most())
			}
		})
	}
}

var highWater = regexp.MustCompile(`VmHWM:\s*(\d+) kB`)

// memory watches how much a process has had at most, in kilobytes, until it ends.
// The kernel's own account at its end begins with the memory of who started it.
func memory(t *testing.T, pid int) func() int64 {
	var most atomic.Int64
	look := func() error {
		status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
		if match := highWater.FindSubmatch(status); match != nil {
			if kB, err := strconv.ParseInt(string(match[1]), 10, 64); err == nil {
				most.Store(kB)
			}
		}
		return err
	}
	_ = look() // once for certain, before it can have ended
	var watching sync.WaitGroup
	watching.Go(func() {
		for t.Context().Err() == nil && look() == nil {
			time.Sleep(5 * time.Millisecond)
		}
	})
	return func() int64 {
		watching.Wait()
		return most.Load()
	}
}
