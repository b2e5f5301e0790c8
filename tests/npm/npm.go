// Package npm installs what Node projects of this repository need, and builds
// sdk/node, for the tests of several packages, which may run at the same time.
package npm

import (
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// Install brings folder/node_modules to what the lock file says. If another test
// is at it, it waits.
func Install(t testing.TB, folder string) {
	t.Helper()
	lock, err := os.Open(filepath.Join(folder, "package-lock.json"))
	if err != nil {
		t.Fatal(err)
	}
	defer lock.Close()
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX); err != nil {
		t.Fatal(err)
	}
	if !installed(t, folder) {
		Run(t, folder, nil, "npm", "ci", "--no-audit", "--no-fund", "--ignore-scripts")
	}
}

// SDK builds @rescind/node from the repository at root into a folder of its own,
// as it would lie in node_modules. sdk/node/dist is left alone: its own tests
// build there.
func SDK(t testing.TB, root, folder string) {
	t.Helper()
	source := filepath.Join(root, "sdk", "node")
	Install(t, source)
	build := t.TempDir()
	for _, name := range []string{"LICENSE", "sdk/node/src", "sdk/node/package.json", "sdk/node/build.mjs", "sdk/node/tsconfig.json", "sdk/node/tsconfig.cjs.json"} {
		Copy(t, root, build, name)
	}
	build = filepath.Join(build, "sdk", "node")
	modules, err := filepath.Abs(filepath.Join(source, "node_modules"))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(modules, filepath.Join(build, "node_modules")); err != nil {
		t.Fatal(err)
	}
	Run(t, build, nil, "node", "build.mjs")
	if err := os.CopyFS(filepath.Join(folder, "dist"), os.DirFS(filepath.Join(build, "dist"))); err != nil {
		t.Fatal(err)
	}
	about, err := os.ReadFile(filepath.Join(build, "package.json"))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(folder, "package.json"), about, 0o600); err != nil {
		t.Fatal(err)
	}
}

// Planted is the file that says which files a planted bug replaces, as the go
// command's -overlay takes it, or "". What is not built by that go command reads
// it by itself.
func Planted() string { return os.Getenv("RESCIND_PLANTED") }

// Copy copies a file or folder of the repository at root to the same place under
// folder, without what is installed or built there, and with a planted bug in it.
func Copy(t testing.TB, root, folder, name string) {
	t.Helper()
	root, err := filepath.Abs(root)
	if err != nil {
		t.Fatal(err)
	}
	var overlay struct{ Replace map[string]string }
	if path := Planted(); path != "" {
		text, err := os.ReadFile(path)
		if err == nil {
			err = json.Unmarshal(text, &overlay)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	err = filepath.WalkDir(filepath.Join(root, filepath.FromSlash(name)), func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			switch d.Name() {
			case "node_modules", "dist", "__pycache__", ".venv":
				return fs.SkipDir
			}
			return nil
		}
		rel, err := filepath.Rel(root, path)
		if err != nil {
			return err
		}
		info, err := d.Info()
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
		to := filepath.Join(folder, rel)
		if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
			return err
		}
		return os.WriteFile(to, text, info.Mode().Perm())
	})
	if err != nil {
		t.Fatal(err)
	}
}

// Run runs a command and returns what it printed.
func Run(t testing.TB, folder string, env []string, name string, args ...string) string {
	t.Helper()
	c := exec.CommandContext(t.Context(), name, args...)
	c.Dir = folder
	c.Env = append(append(os.Environ(), "CI=true", "NO_COLOR=1"), env...)
	c.WaitDelay = 10 * time.Second
	out, err := c.CombinedOutput()
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
	return string(out)
}

// installed reports whether the packages of the lock file are there.
func installed(t testing.TB, folder string) bool {
	t.Helper()
	var want, have struct {
		Packages map[string]struct {
			Version  string
			Optional bool
			Link     bool
		}
	}
	read := func(path string, into any) error {
		text, err := os.ReadFile(filepath.Join(folder, path))
		if err == nil {
			err = json.Unmarshal(text, into)
		}
		return err
	}
	if err := read("package-lock.json", &want); err != nil {
		t.Fatal(err)
	}
	if err := read(filepath.Join("node_modules", ".package-lock.json"), &have); err != nil {
		if !errors.Is(err, fs.ErrNotExist) {
			t.Fatal(err)
		}
		return false
	}
	for name, p := range want.Packages {
		// Optional ones are for other systems, links are to elsewhere in this repository.
		if strings.HasPrefix(name, "node_modules/") && !p.Optional && !p.Link && have.Packages[name].Version != p.Version {
			return false
		}
	}
	return true
}
