package browser

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/rescind/rescind"
	"github.com/rescind/rescind/rescindtest"
	"github.com/rescind/rescind/tests/need"
	"github.com/rescind/rescind/tests/npm"
	"github.com/rescind/rescind/tests/port"
)

const root = "../.."

// An app is the Express example, cured, with its page, a ledger of its own behind
// it and a front before it.
type app struct {
	*rescindtest.Server
	ledger *front // between the example and the ledger
	*front        // between the browser and the example
}

// A clock is a ledger's. Between what the test lets pass it goes like any other.
type clock struct{ ahead atomic.Int64 }

func (c *clock) set(s *rescindtest.Settings) {
	s.Now = func() time.Time { return time.Now().Add(time.Duration(c.ahead.Load())) }
}

// expire lets all access tokens expire.
func (c *clock) expire() { c.ahead.Add(int64(rescind.DefaultAccessLifetime + time.Second)) }

// startApp starts everything but the browser.
func startApp(t *testing.T, options ...rescindtest.Option) *app {
	t.Helper()
	need.Commands(t, "NODE", "the browser's application", "node", "npm")
	a := &app{Server: rescindtest.Start(t, append(options, func(s *rescindtest.Settings) { s.Config.Audience = "notes" })...)}
	for _, folder := range []string{"sdk/node", "examples/express"} {
		npm.Install(t, filepath.Join(root, filepath.FromSlash(folder)))
	}
	a.ledger = startFront(t, a.Server.URL, false)
	tree, err := shared.tree()
	if err != nil {
		t.Fatal(err)
	}
	port := port.Reserve(t)
	run(t, filepath.Join(tree, "examples", "express"), []string{
		"HOST=127.0.0.1", "PORT=" + strconv.Itoa(port), "WORKERS=1",
		"RESCIND_URL=" + a.ledger.url, "RESCIND_CLIENT_ID=" + a.App.ID, "RESCIND_CLIENT_SECRET=" + a.App.Secret,
	}, "node", filepath.Join("cured", "app.js"))
	a.front = startFront(t, fmt.Sprintf("http://127.0.0.1:%d", port), true)
	return a
}

// run starts a program and returns when it has said a line. It ends with the test.
func run(t *testing.T, dir string, env []string, name string, args ...string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), name, args...)
	cmd.Dir, cmd.Env, cmd.WaitDelay = dir, append(os.Environ(), env...), 5*time.Second
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	var complaints strings.Builder
	cmd.Stderr = &complaints
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(out)
	ready, ended := lines.Scan(), make(chan struct{})
	go func() {
		defer close(ended)
		for lines.Scan() {
		}
		_ = cmd.Wait() // it was told to end
	}()
	t.Cleanup(func() {
		<-ended // the context of the test is over before its cleanups run
		if t.Failed() && complaints.Len() > 0 {
			t.Logf("%s said:\n%s", name, &complaints)
		}
	})
	if !ready {
		<-ended
		t.Fatalf("%s did not start:\n%s", name, &complaints)
	}
}

// plant makes a folder that holds copies of sdk/node, built, and of the example.
// Nobody else rebuilds or removes anything there meanwhile, and planted bugs are
// in it.
func plant(dir string) error {
	top, err := filepath.Abs(root)
	if err != nil {
		return err
	}
	for _, name := range []string{"LICENSE", "sdk/node/src", "sdk/node/package.json", "sdk/node/build.mjs", "sdk/node/tsconfig.json", "sdk/node/tsconfig.cjs.json", "examples/express/cured", "examples/express/package.json", "examples/page"} {
		if err := copyTree(top, dir, name); err != nil {
			return err
		}
	}
	if err := beUnhurried(filepath.Join(dir, "examples", "express", "cured", "app.js")); err != nil {
		return err
	}
	sdk := filepath.Join(dir, "sdk", "node")
	if err := os.Symlink(filepath.Join(top, "sdk", "node", "node_modules"), filepath.Join(sdk, "node_modules")); err != nil {
		return err
	}
	build := exec.Command("node", "build.mjs")
	build.Dir = sdk
	if out, err := build.CombinedOutput(); err != nil {
		return fmt.Errorf("sdk/node: %w\n%s", err, out)
	}
	return linkModules(filepath.Join(top, "examples", "express", "node_modules"), filepath.Join(dir, "examples", "express", "node_modules"), sdk)
}

// beUnhurried gives the application more time for its ledger than an application
// has. Outages are not what is tested here, and a busy machine is none.
func beUnhurried(app string) error {
	text, err := os.ReadFile(app)
	if err != nil {
		return err
	}
	const call = "rescind({ "
	if n := strings.Count(string(text), call); n != 1 {
		return fmt.Errorf("%s has %q %d times", app, call, n)
	}
	more := fmt.Sprintf("%stimeout: %d, ", call, patience.Milliseconds())
	return os.WriteFile(app, []byte(strings.Replace(string(text), call, more, 1)), 0o600)
}

// linkModules makes a node_modules whose packages are those of from, but for ours.
func linkModules(from, to, sdk string) error {
	entries, err := os.ReadDir(from)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Join(to, "@rescind"), 0o700); err != nil {
		return err
	}
	for _, e := range entries {
		if e.Name() != "@rescind" {
			if err := os.Symlink(filepath.Join(from, e.Name()), filepath.Join(to, e.Name())); err != nil {
				return err
			}
		}
	}
	return os.Symlink(sdk, filepath.Join(to, "@rescind", "node"))
}

// copyTree copies a file or folder, with planted bugs in it: tests/planted names
// the file that says which files are to be read elsewhere.
func copyTree(top, dir, name string) error {
	var overlay struct{ Replace map[string]string }
	if path := os.Getenv("RESCIND_PLANTED"); path != "" {
		text, err := os.ReadFile(path)
		if err == nil {
			err = json.Unmarshal(text, &overlay)
		}
		if err != nil {
			return err
		}
	}
	return filepath.WalkDir(filepath.Join(top, filepath.FromSlash(name)), func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		rel, err := filepath.Rel(top, path)
		if err != nil {
			return err
		}
		if planted := overlay.Replace[path]; planted != "" {
			path = planted
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		to := filepath.Join(dir, rel)
		return errors.Join(os.MkdirAll(filepath.Dir(to), 0o700), os.WriteFile(to, text, 0o600))
	})
}

// sessions counts those of a subject that stand.
func (a *app) sessions(t *testing.T, subject string) int {
	t.Helper()
	page, err := a.Authority.Sessions(context.Background(), rescind.SessionQuery{Subject: subject, State: rescind.StateActive})
	if err != nil {
		t.Fatal(err)
	}
	return len(page.Sessions)
}

// end ends all sessions of a subject, as an administrator or another device may.
func (a *app) end(t *testing.T, subject string) {
	t.Helper()
	if _, err := a.Authority.Revoke(context.Background(), rescind.Revocation{Selector: rescind.Selector{Subject: subject}, Actor: "admin"}); err != nil {
		t.Fatal(err)
	}
}

// untilRefused waits until so many requests to a path have been answered with 401.
func (a *app) untilRefused(t *testing.T, path string, n int) {
	t.Helper()
	for began := time.Now(); ; time.Sleep(10 * time.Millisecond) {
		refused := slices.DeleteFunc(a.passages("GET", path), func(p passage) bool { return p.status != http.StatusUnauthorized })
		if len(refused) >= n {
			return
		}
		if time.Since(began) > patience {
			t.Fatalf("%s was refused %d times, not %d", path, len(refused), n)
		}
	}
}
