package probe_test

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"syscall"
	"testing"

	"github.com/rescind/rescind/tests/probe/targets"
	"github.com/rescind/rescind/tests/server"
)

// mostMemory is what the program may need in all, in bytes.
const mostMemory = 256 << 20

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
			err := cmd.Run()
			var exit *exec.ExitError
			if inconclusive := errors.As(err, &exit) && exit.ExitCode() == 3; !inconclusive && !(err == nil && h.Inside) {
				t.Errorf("%v\n%s\n%s", err, out.String(), stderr.String())
			}
			most := cmd.ProcessState.SysUsage().(*syscall.Rusage).Maxrss
			if runtime.GOOS == "linux" {
				most *= 1 << 10 // it counts in kilobytes
			}
			t.Logf("%d MB of memory, after %d MB were sent", most>>20, trap.Written.Load()>>20)
			if most > mostMemory {
				t.Errorf("%d MB of memory", most>>20)
			}
		})
	}
}
