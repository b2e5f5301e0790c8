package sdk

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"github.com/rescind/rescind/tests/npm"
)

// serverProgram returns the server as it is published: RESCIND_BIN, or built here.
func serverProgram(t *testing.T, root string) string {
	t.Helper()
	if server := os.Getenv("RESCIND_BIN"); server != "" {
		return server
	}
	server := filepath.Join(t.TempDir(), "rescind")
	npm.Run(t, root, []string{"CGO_ENABLED=0"}, "go", "build", "-buildvcs=false", "-o", server, "./cmd/rescind")
	return server
}

// watchSources looks at every file that the result depends on, so that go test does not
// take a result out of its cache that has become untrue.
func watchSources(t *testing.T, root string) {
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
