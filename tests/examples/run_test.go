package examples

import (
	"errors"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/rescind/rescind/tests/need"
)

// TestOneCommandStartsAndEndsEverything is about examples/run.
func TestOneCommandStartsAndEndsEverything(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, f Framework) {
		need.Commands(t, "CURL", "the command that starts examples", "bash", "curl")
		// Whatever has to be installed is there, in the tree. Go has its modules.
		tree := Tree(t)
		f.Command(t, tree, Cured)
		script := filepath.Join(tree, "examples", "run")
		if f.Name == "go" {
			script = filepath.Join(root, "examples", "run")
		}
		for _, form := range []string{Broken, Cured} {
			if form == Broken && f.Redis {
				need.Commands(t, "REDIS", "a broken form with a blocklist in Redis", "redis-server")
			}
			port, temp := freePort(t), t.TempDir()
			cmd := exec.Command("bash", script, f.Name, form)
			cmd.Env = append(os.Environ(), "PORT="+port, "RESCIND_BIN="+rescindProgram(t), "TMPDIR="+temp, "RESCIND_PYTHON="+python())
			p := run(t, cmd)
			for deadline := time.Now().Add(patience); !strings.Contains(p.output.String(), "notes at http://127.0.0.1:"+port) || !answers("127.0.0.1:"+port); time.Sleep(20 * time.Millisecond) {
				select {
				case <-p.exited:
					t.Fatalf("%s does not start:\n%s", form, p.output)
				default:
				}
				if time.Now().After(deadline) {
					t.Fatalf("%s is not ready in time:\n%s", form, p.output)
				}
			}
			a := &App{URLs: []string{"http://127.0.0.1:" + port}, workers: 1}
			g := a.Login(t, "ada")
			a.in(t, g)
			a.Call(post("/logout", g.AccessToken)).ok(t)
			a.Call(refresh(g.RefreshToken)).Is(t, map[string]int{Broken: http.StatusOK, Cured: http.StatusUnauthorized}[form])

			f.readme(t, form, port)

			if err := p.cmd.Process.Signal(os.Interrupt); err != nil {
				t.Fatal(err)
			}
			select {
			case <-p.exited:
			case <-time.After(patience):
				t.Fatalf("%s does not end", form)
			}
			// What has ended may be waiting for somebody to take notice.
			for deadline := time.Now().Add(patience); !errors.Is(syscall.Kill(-p.cmd.Process.Pid, 0), syscall.ESRCH); time.Sleep(20 * time.Millisecond) {
				if time.Now().After(deadline) {
					t.Fatalf("%s: something that it has started is still there", form)
				}
			}
			if left, err := os.ReadDir(temp); err != nil || len(left) > 0 {
				t.Errorf("%s leaves %v behind (%v)", form, left, err)
			}
		}
	})
}

var (
	shellBlock = regexp.MustCompile("(?s)```sh\n(.*?)```")
	statusLine = regexp.MustCompile(`HTTP/1\.1 (\d{3})`)
	threeDigit = regexp.MustCompile(`\b\d{3}\b`)
)

// readme runs the requests that the README shows, and holds the statuses against
// its comments: "# 204", or "# broken: 200 …; cured: 401".
func (f Framework) readme(t *testing.T, form, port string) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(root, "examples", f.Name, "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	blocks := shellBlock.FindAllSubmatch(text, -1)
	if len(blocks) != 2 {
		t.Fatalf("the README of %s has %d blocks of commands, want the start and the requests", f.Name, len(blocks))
	}
	commands := strings.ReplaceAll(string(blocks[1][1]), "127.0.0.1:8080", "127.0.0.1:"+port)
	var want []string
	for line := range strings.Lines(commands) {
		if _, about, ok := strings.Cut(line, " # "); ok {
			broken, cured, both := strings.Cut(about, "; cured:")
			if both && form == Cured {
				broken = cured
			}
			want = append(want, broken)
		}
	}
	cmd := exec.CommandContext(t.Context(), "bash", "-euc", commands)
	cmd.Dir = t.TempDir()
	out, err := cmd.CombinedOutput()
	got := statusLine.FindAllStringSubmatch(string(out), -1)
	if err != nil || len(got) != len(want) || len(want) < 2 {
		t.Fatalf("the README of %s, %s: %d answers, want %q: %v\n%s", f.Name, form, len(got), want, err, out)
	}
	for i, about := range want {
		if !slices.Contains(threeDigit.FindAllString(about, -1), got[i][1]) {
			t.Errorf("the README of %s, %s: answer %d is %s, want%s", f.Name, form, i+1, got[i][1], about)
		}
	}
}

func TestRunSaysHowItIsCalled(t *testing.T) {
	need.Commands(t, "CURL", "the command that starts examples", "bash", "curl")
	for _, args := range [][]string{{}, {"go"}, {"go", "ill"}, {"../cmd", "broken"}, {"rust", "cured"}} {
		out, err := exec.Command("bash", append([]string{filepath.Join(root, "examples", "run")}, args...)...).CombinedOutput()
		var exit *exec.ExitError
		if !errors.As(err, &exit) || exit.ExitCode() != 2 || !strings.Contains(string(out), "usage: examples/run express|flask|go|nestjs broken|cured") {
			t.Errorf("%q: %v %s", args, err, out)
		}
	}
}
