package docs

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/rescind/rescind/tests/need"
	"github.com/rescind/rescind/tests/npm"
)

// applications are the languages of files that pages show, and what a language
// needs: a name for tests/need. JSON needs nothing.
var applications = map[string]string{"js": "NODE", "ts": "NODE", "python": "PYTHON"}

// requires says what a page needs, by tests/need.
func requires(t *testing.T, r *runner, p page) {
	t.Helper()
	needs := map[string]bool{}
	for _, b := range p.blocks {
		if len(b.info) > 0 {
			needs[applications[b.info[0]]] = true
		}
	}
	if p.has("sh redis") {
		need.Commands(t, "REDIS", p.path, "redis-server")
	}
	if needs["NODE"] {
		need.Commands(t, "NODE", p.path, "node", "npm", "tar")
		r.node.Do(func() { r.buildNode(t) })
	}
	if needs["PYTHON"] {
		need.That(t, "PYTHON", p.path, func() string {
			var absent []string
			for _, module := range strings.Fields("flask flask_jwt_extended gunicorn redis pip setuptools wheel venv") {
				if exec.Command(python(), "-c", "import importlib.util, sys; sys.exit(importlib.util.find_spec(sys.argv[1]) is None)", module).Run() != nil {
					absent = append(absent, "the module "+module)
				}
			}
			return strings.Join(absent, ", ")
		})
	}
}

// python is the interpreter, as for tests/sdk.
func python() string {
	if p := os.Getenv("RESCIND_PYTHON"); p != "" {
		return p
	}
	return "/usr/bin/python3"
}

// packages are what applications in other languages find: the packages of this
// repository, built as they would be published, and beside them what package.json
// here names, or what the interpreter has.
type packages struct {
	node        sync.Once
	environment func() (string, error) // a virtual environment
}

// provide makes dir, a page's folder, what the page's own installation would have
// made it, and returns the variables for that.
func (r *runner) provide(p page, dir string) ([]string, error) {
	path := []string{filepath.Join(r.dir, "bin"), os.Getenv("PATH")}
	var languages []string
	for _, b := range p.blocks {
		if len(b.info) > 0 {
			languages = append(languages, applications[b.info[0]])
		}
	}
	if slices.Contains(languages, "NODE") {
		if err := os.Symlink(r.modules(), filepath.Join(dir, "node_modules")); err != nil {
			return nil, err
		}
	}
	if slices.Contains(languages, "PYTHON") {
		venv, err := r.environment()
		if err != nil {
			return nil, err
		}
		path = append([]string{filepath.Join(venv, "bin")}, path...)
	}
	return []string{"PATH=" + strings.Join(path, ":")}, nil
}

// buildNode makes a node_modules of sdk/node and of what is installed here.
func (r *runner) buildNode(t *testing.T) {
	t.Helper()
	npm.Install(t, ".")
	npm.SDK(t, r.root, filepath.Join(r.modules(), "@rescind", "node"))
	here, err := filepath.Abs("node_modules")
	if err != nil {
		t.Fatal(err)
	}
	entries, err := os.ReadDir(here)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if err := os.Symlink(filepath.Join(here, e.Name()), filepath.Join(r.modules(), e.Name())); err != nil {
			t.Fatal(err)
		}
	}
}

// modules lies where no page finds it by looking upwards.
func (r *runner) modules() string { return filepath.Join(r.dir, "node", "node_modules") }

// buildPython makes a wheel of sdk/python, and a virtual environment with it and
// with what the interpreter has.
func (r *runner) buildPython() (string, error) {
	top := filepath.Join(r.dir, "python")
	source, venv := filepath.Join(top, "sdk"), filepath.Join(top, "venv")
	if err := copyTree(filepath.Join(r.root, "sdk", "python"), source); err != nil {
		return "", err
	}
	if _, err := output(top, python(), "-m", "venv", "--system-site-packages", "--without-pip", venv); err != nil {
		return "", err
	}
	if _, err := output(top, python(), "-m", "pip", "wheel", "-q", "--no-index", "--no-deps", "--no-build-isolation", "-w", top, source); err != nil {
		return "", err
	}
	wheels, err := filepath.Glob(filepath.Join(top, "*.whl"))
	if err != nil || len(wheels) != 1 {
		return "", fmt.Errorf("pip made %d wheels: %w", len(wheels), err)
	}
	site, err := output(top, filepath.Join(venv, "bin", "python3"), "-c", "import sysconfig; print(sysconfig.get_path('purelib'))")
	if err != nil {
		return "", err
	}
	_, err = output(top, python(), "-m", "pip", "install", "-q", "--no-index", "--no-deps", "--target", strings.TrimSpace(site), wheels[0])
	return venv, err
}

func output(dir, name string, args ...string) (string, error) {
	cmd := exec.Command(name, args...)
	cmd.Dir, cmd.Env = dir, environment()
	out, err := cmd.CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("%s %s: %w\n%s", name, args[0], err, out)
	}
	return string(out), nil
}

// source is the step that writes a file of the page: "js NAME", or "js NAME more"
// for its continuation.
func (r *runner) source(b block, name string) ([]step, error) {
	more := len(b.info) == 3 && b.info[2] == "more"
	if len(b.info) != 2 && !more {
		return nil, fmt.Errorf("name the file: %s NAME, or %[1]s NAME more for what is added to its end", b.info[0])
	}
	to := b.info[1]
	if !fs.ValidPath(to) {
		return nil, fmt.Errorf("%s is no place in the page's folder", to)
	}
	if shellArrow.MatchString(b.text) || goArrow.MatchString(b.text) {
		return nil, errors.New("what is expected stands behind the command that shows it")
	}
	if err := os.WriteFile(name, []byte(b.text), 0o600); err != nil {
		return nil, err
	}
	script := "mkdir -p " + quote(filepath.Dir(to)) + "\n"
	if more {
		script += "[ -e " + quote(to) + " ]\ncat " + quote(name) + " >>" + quote(to) + "\n"
	} else {
		script += "cp " + quote(name) + " " + quote(to) + "\n"
	}
	switch b.info[0] {
	case "js":
		script += "node --check " + quote(to) + "\n"
	case "python":
		script += "python3 -c 'import ast, sys; ast.parse(open(sys.argv[1]).read())' " + quote(to) + "\n"
	}
	return []step{{line: b.line, script: script}}, nil
}

// idle finds files of a page that no later block names: nothing would run them.
func idle(p page) []problem {
	var found []problem
	for i, b := range p.blocks {
		if len(b.info) < 2 || applications[b.info[0]] == "" && b.info[1] != "probe" {
			continue
		}
		name := b.info[len(b.info)-1]
		if applications[b.info[0]] != "" {
			name = b.info[1]
		}
		stem := strings.TrimSuffix(filepath.Base(name), filepath.Ext(name))
		named := regexp.MustCompile(`\b` + regexp.QuoteMeta(stem) + `\b`)
		if !slices.ContainsFunc(p.blocks[i+1:], func(later block) bool { return named.MatchString(later.text) }) {
			found = append(found, problem{p.path, b.line, "no later block runs or imports " + name})
		}
	}
	return found
}
