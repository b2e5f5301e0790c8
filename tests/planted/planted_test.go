// Package planted shows that the tests can fail. Each patch under bugs removes
// one safety line; the tests that it names must turn red with it, and are green
// without it.
package planted

import (
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

// bug is a patch, with lines above the diff that say which tests must notice:
//
//	Run: ./store/pebblestore TestSomething
//
// With Slow in the place of Run, and those of the suites under tests, they run with
// RESCIND_SLOW=1 alone; without it the patch must fit.
type bug struct {
	name  string
	patch string
	pkg   string
	tests string
	slow  bool
	files []string
}

var (
	runLine  = regexp.MustCompile(`(?m)^(Run|Slow): (\S+) (\S+)$`)
	fileLine = regexp.MustCompile(`(?m)^\+\+\+ b/(\S+)$`)
)

const root = "../.."

func bugs(t *testing.T) []bug {
	t.Helper()
	paths, err := filepath.Glob("bugs/*.patch")
	if err != nil {
		t.Fatal(err)
	}
	if len(paths) < 10 {
		t.Fatalf("%d planted bugs: at least ten belong here", len(paths))
	}
	var all []bug
	for _, p := range paths {
		text, err := os.ReadFile(p)
		if err != nil {
			t.Fatal(err)
		}
		run := runLine.FindStringSubmatch(string(text))
		if run == nil {
			t.Fatalf("%s names no tests", p)
		}
		b := bug{name: strings.TrimSuffix(filepath.Base(p), ".patch"), pkg: run[2], tests: run[3]}
		b.slow = run[1] == "Slow" || strings.HasPrefix(b.pkg, "./tests/")
		if b.patch, err = filepath.Abs(p); err != nil {
			t.Fatal(err)
		}
		for _, f := range fileLine.FindAllStringSubmatch(string(text), -1) {
			b.files = append(b.files, f[1])
		}
		all = append(all, b)
	}
	return all
}

func TestEveryPlantedBugTurnsTheSuiteRed(t *testing.T) {
	for _, b := range bugs(t) {
		t.Run(b.name, func(t *testing.T) {
			planted := overlay(t, b)
			if b.slow && os.Getenv("RESCIND_SLOW") != "1" {
				return
			}
			if out, err := goTest(t, b, ""); err != nil {
				t.Fatalf("red without the bug: %v\n%s", err, out)
			}
			out, err := goTest(t, b, planted)
			switch {
			case err == nil:
				t.Fatalf("nobody noticed: %s %s is green with the bug in it", b.pkg, b.tests)
			case strings.Contains(out, "[build failed]") || strings.Contains(out, "[setup failed]"):
				t.Fatalf("the patch does not compile:\n%s", out)
			case !strings.Contains(out, "--- FAIL") && !strings.Contains(out, "panic: test timed out"):
				t.Fatalf("it failed, but no test did: %v\n%s", err, out)
			}
		})
	}
}

// overlay applies the patch to copies of the files and tells the go command to
// read those instead: the work tree is never touched.
func overlay(t *testing.T, b bug) string {
	t.Helper()
	dir := t.TempDir()
	replace := map[string]string{}
	for _, f := range b.files {
		text, err := os.ReadFile(filepath.Join(root, f))
		if err != nil {
			t.Fatal(err)
		}
		copied := filepath.Join(dir, f)
		if err := os.MkdirAll(filepath.Dir(copied), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(copied, text, 0o600); err != nil {
			t.Fatal(err)
		}
		original, err := filepath.Abs(filepath.Join(root, f))
		if err != nil {
			t.Fatal(err)
		}
		replace[original] = copied
	}
	apply := exec.Command("git", "apply", b.patch)
	apply.Dir = dir
	apply.Env = append(os.Environ(), "GIT_CEILING_DIRECTORIES="+filepath.Dir(dir))
	if out, err := apply.CombinedOutput(); err != nil {
		t.Fatalf("the patch no longer fits: %v\n%s", err, out)
	}
	text, err := json.Marshal(map[string]any{"Replace": replace})
	if err != nil {
		t.Fatal(err)
	}
	name := filepath.Join(dir, "overlay.json")
	if err := os.WriteFile(name, text, 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}

func goTest(t *testing.T, b bug, overlay string) (string, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	args := []string{"test", "-timeout", "4m", "-run", b.tests}
	if overlay != "" {
		// Never from the cache: what a test builds by itself is not in its key. One
		// that hangs has noticed, and need not hang for long.
		args = []string{"test", "-timeout", "90s", "-run", b.tests, "-count=1", "-overlay", overlay}
	}
	cmd := exec.CommandContext(ctx, "go", append(args, b.pkg)...)
	cmd.Dir = root
	// What is not Go does not pass through the go command: tests that build it read
	// the overlay themselves.
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "RESCIND_PLANTED="+overlay)
	out, err := cmd.CombinedOutput()
	if strings.Contains(string(out), "no tests to run") {
		t.Fatalf("%s has no test %s", b.pkg, b.tests)
	}
	return string(out), err
}
