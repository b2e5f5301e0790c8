// Package sdk runs the tests of the packages for other languages, in their own
// test frameworks, against the real server.
package sdk

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/rescind/rescind/tests/need"
	"github.com/rescind/rescind/tests/npm"
)

// python is the interpreter: RESCIND_PYTHON, or else the system's, which has the
// packages that apt-get installs. The one in PATH may be another.
func python() string {
	if p := os.Getenv("RESCIND_PYTHON"); p != "" {
		return p
	}
	return "/usr/bin/python3"
}

const findModule = "import importlib.util, sys; sys.exit(importlib.util.find_spec(sys.argv[1]) is None)"

// absentPython names what the tests need and the interpreter does not have.
func absentPython() string {
	var absent []string
	for _, module := range strings.Fields("flask flask_jwt_extended cryptography gunicorn mypy pip setuptools wheel venv") {
		if exec.Command(python(), "-c", findModule, module).Run() != nil {
			absent = append(absent, "the module "+module)
		}
	}
	if _, err := exec.LookPath("openssl"); err != nil {
		absent = append(absent, "openssl")
	}
	return strings.Join(absent, ", ")
}

// TestPython builds the server and runs every module of the package's tests.
func TestPython(t *testing.T) {
	need.That(t, "PYTHON", "the package for Python", absentPython)
	root, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	folder := filepath.Join(root, "sdk", "python")
	watchSources(t, root)
	var modules []string
	for _, pattern := range []string{"*", "src/rescind/*", "tests/*.py"} {
		files, err := filepath.Glob(filepath.Join(folder, pattern))
		if err != nil || len(files) == 0 {
			t.Fatalf("%s: no files: %v", pattern, err)
		}
		for _, path := range files {
			if _, err := os.Stat(path); err != nil { // go test's cache looks at it too
				t.Fatal(err)
			}
			if name := filepath.Base(path); strings.HasPrefix(name, "test_") {
				modules = append(modules, strings.TrimSuffix(name, ".py"))
			}
		}
	}
	if !slices.Contains(modules, "test_flask") {
		t.Fatalf("the tests are not where they were: %q", modules)
	}
	server := serverProgram(t, root)
	for _, name := range modules {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			out := npm.Run(t, folder, []string{"PYTHONPATH=src", "PYTHONDONTWRITEBYTECODE=1", "RESCIND_BIN=" + server},
				python(), "-m", "unittest", "-v", "tests."+name)
			// A module that runs nothing shows nothing.
			if strings.Contains(out, "Ran 0 tests") || !strings.HasSuffix(strings.TrimSpace(out), "\nOK") {
				t.Errorf("not every test has run:\n%s", out)
			}
		})
	}
}
