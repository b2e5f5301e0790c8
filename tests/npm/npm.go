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
	tsc := filepath.Join(source, "node_modules", "typescript", "bin", "tsc")
	for project, form := range map[string]string{"tsconfig.json": "esm", "tsconfig.cjs.json": "cjs"} {
		Run(t, source, nil, "node", tsc, "-p", project, "--outDir", filepath.Join(folder, "dist", form))
	}
	about, err := os.ReadFile(filepath.Join(source, "package.json"))
	if err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{
		"package.json":          string(about),
		"dist/cjs/package.json": `{ "type": "commonjs" }`, // the nearest one says what a .js file is
	} {
		if err := os.WriteFile(filepath.Join(folder, filepath.FromSlash(name)), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
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
