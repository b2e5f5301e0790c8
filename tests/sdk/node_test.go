package sdk

import (
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/rescind/rescind/tests/need"
	"github.com/rescind/rescind/tests/npm"
)

// TestNode builds the server, installs what the lock file names and runs npm test.
func TestNode(t *testing.T) {
	need.That(t, "NODE", "the package for Node", absentNode)
	root, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	watchForNode(t, root)
	server := serverForNode(t, root)
	folder := filepath.Join(root, "sdk", "node")
	npm.Install(t, folder)
	started := time.Now()
	out := npm.Run(t, folder, []string{"RESCIND_BIN=" + server}, "npm", "test")
	// What ran is counted, so that a runner that finds nothing is no success.
	for _, want := range []string{"# fail 0\n", "# cancelled 0\n", "# skipped 0\n", "# todo 0\n"} {
		if !strings.Contains(out, want) {
			t.Errorf("npm test did not say %q", want)
		}
	}
	if strings.Contains(out, "# pass 0\n") || !strings.Contains(out, "# pass ") {
		t.Errorf("npm test ran nothing")
	}
	t.Logf("%s\nin %v", out[max(0, strings.LastIndex(out, "# tests ")):], time.Since(started))
}

// absentNode names the commands that are not there.
func absentNode() string {
	var absent []string
	for _, command := range []string{"node", "npm", "openssl", "tar"} {
		if _, err := exec.LookPath(command); err != nil {
			absent = append(absent, command)
		}
	}
	return strings.Join(absent, ", ")
}

// serverForNode returns the server as it is published: RESCIND_BIN, or built here.
func serverForNode(t *testing.T, root string) string {
	t.Helper()
	if server := os.Getenv("RESCIND_BIN"); server != "" {
		return server
	}
	server := filepath.Join(t.TempDir(), "rescind")
	npm.Run(t, root, []string{"CGO_ENABLED=0"}, "go", "build", "-buildvcs=false", "-o", server, "./cmd/rescind")
	return server
}

// watchForNode looks at every file that the result depends on, so that go test does not
// take a result out of its cache that has become untrue.
func watchForNode(t *testing.T, root string) {
	t.Helper()
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			if errors.Is(err, fs.ErrNotExist) { // another test cleans up beside this one
				return nil
			}
			return err
		}
		if d.IsDir() {
			switch d.Name() {
			case "node_modules", "dist", ".git", "bin":
				return fs.SkipDir
			}
			return nil
		}
		switch filepath.Ext(path) {
		case ".go", ".mod", ".sum", ".ts", ".mts", ".cts", ".mjs", ".json", ".md":
			_, err = os.Stat(path)
			if errors.Is(err, fs.ErrNotExist) {
				err = nil
			}
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}
