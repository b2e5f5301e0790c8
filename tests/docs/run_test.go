package docs

import (
	"encoding/json"
	"errors"
	"fmt"
	"go/ast"
	"go/format"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rescind/rescind/tests/port"
)

// pageTime bounds how long one page runs; where it installs what it says, it waits
// for the network.
const (
	pageTime    = 5 * time.Minute
	installTime = 15 * time.Minute
)

// A runner runs pages with the rescind of this checkout.
type runner struct {
	root  string     // of the repository
	dir   string     // for all that it makes
	full  bool       // installs what pages install
	whole testing.TB // until it ends, the runner is there

	packages // for applications in other languages
}

// newRunner builds rescind, once.
func newRunner(t testing.TB, root string) (*runner, error) {
	dir := t.TempDir()
	r := &runner{root: root, dir: dir, full: os.Getenv("RESCIND_SLOW") == "1", whole: t}
	r.environment = sync.OnceValues(r.buildPython)
	return r, r.build("build", "-o", filepath.Join(dir, "bin", "rescind"), "./cmd/rescind")
}

func (r *runner) build(args ...string) error {
	cmd := exec.Command("go", args...)
	cmd.Dir, cmd.Env = r.root, environment()
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("go %s: %w\n%s", args[0], err, out)
	}
	return nil
}

// run runs a page and says what is wrong with it.
func (r *runner) run(p page) []problem {
	found := p.problems
	wrong := func(b block, err error) {
		found = append(found, problem{p.path, b.line, err.Error()})
	}
	dir, err := os.MkdirTemp(r.dir, "page-")
	if err != nil {
		return append(found, problem{p.path, 1, err.Error()})
	}
	work := filepath.Join(dir, "work")
	if p.path == "README.md" || p.mentions("examples/") {
		err = copyTree(r.root, work)
	} else {
		err = os.Mkdir(work, 0o700)
	}
	ports := r.ports(4)
	if err != nil {
		return append(found, problem{p.path, 1, err.Error()})
	}
	vars, limit := []string{"PATH=" + strings.Join([]string{filepath.Join(r.dir, "bin"), filepath.Dir(python()), os.Getenv("PATH")}, ":")}, pageTime
	installs := r.full && p.has("sh install") && !strings.HasPrefix(p.path, "testdata/")
	if installs {
		limit = installTime
		err = copyTree(r.root, filepath.Join(dir, "rescind"))
	} else {
		vars, err = r.provide(p, work)
	}
	if err != nil {
		return append(found, problem{p.path, 1, err.Error()})
	}
	free := strings.NewReplacer("8470", ports[0], "8080", ports[1], "6379", ports[2], "8471", ports[3])
	found = append(found, idle(p)...)

	var steps []step
	for i, b := range p.blocks {
		if strings.Join(b.info, " ") == "sh install" && !installs {
			if _, err := statements(b); err != nil {
				wrong(b, err)
			}
			continue // provide has brought it
		}
		b.text = free.Replace(b.text)
		name := filepath.Join(dir, fmt.Sprintf("block%d", i))
		more, err := r.prepare(b, name)
		if err != nil {
			wrong(b, err)
		}
		steps = append(steps, more...)
	}
	if len(steps) == 0 {
		return found
	}
	env := environment(append(vars, "DOCS="+dir, "DOCS_APP="+ports[1], "DOCS_REDIS="+ports[2],
		"RESCIND_LISTEN=127.0.0.1:"+ports[0], "RESCIND_SERVER=http://127.0.0.1:"+ports[0])...)
	return append(found, runSteps(p.path, work, env, steps, limit)...)
}

// prepare turns a block into steps, building what it needs under name.
func (r *runner) prepare(b block, name string) ([]step, error) {
	kind := strings.Join(b.info, " ")
	switch {
	case kind == "sh", kind == "sh install":
		return statements(b)
	case kind == "sh server", kind == "sh app", kind == "sh redis":
		steps, err := statements(b)
		if err != nil {
			return nil, err
		}
		if len(steps) != 1 || len(steps[0].expect) > 0 {
			return nil, errors.New("a server is one command, of which nothing is expected but that it gets ready")
		}
		return []step{serve(b.info[1], steps[0])}, nil
	case len(b.info) > 0 && applications[b.info[0]] != "":
		return r.source(b, name)
	case kind == "go", kind == "go server":
		return r.program(b, name, kind == "go server")
	case len(b.info) == 3 && b.info[0] == "yaml" && b.info[1] == "probe":
		if err := os.WriteFile(name, []byte(b.text), 0o600); err != nil {
			return nil, err
		}
		return []step{{line: b.line, script: "cp " + quote(name) + " " + quote(filepath.Base(b.info[2])) + "\n"}}, nil
	case len(b.info) > 0 && b.info[0] == "yaml" && len(b.info) <= 2:
		if err := os.WriteFile(name, []byte(b.text), 0o600); err != nil {
			return nil, err
		}
		script := "rescind serve --config " + quote(name) + " --print-config >\"$DOCS/printed\"\n"
		if len(b.info) == 2 {
			script += "cp " + quote(name) + " " + quote(filepath.Base(b.info[1])) + "\n"
		}
		return []step{{line: b.line, script: script}}, nil
	case len(b.info) > 0 && b.info[0] == "json":
		if !json.Valid([]byte(b.text)) {
			return nil, errors.New("this is no JSON")
		}
		if len(b.info) == 1 {
			return nil, nil
		}
		return r.source(b, name)
	case kind == "text":
		return nil, nil
	}
	return nil, fmt.Errorf("nobody knows how to check a block of kind %q: see tests/docs/page.go", kind)
}

// program builds a Go program or test as a package of this module.
func (r *runner) program(b block, name string, server bool) ([]step, error) {
	formatted, err := format.Source([]byte(b.text))
	if err != nil {
		return nil, fmt.Errorf("this is no Go source: %w", err)
	}
	if string(formatted) != b.text {
		return nil, fmt.Errorf("gofmt would write it so:\n%s", formatted)
	}
	file, err := parser.ParseFile(token.NewFileSet(), "", b.text, parser.SkipObjectResolution)
	if err != nil {
		return nil, fmt.Errorf("show a whole program: %w", err)
	}
	var expect []string
	for _, match := range goArrow.FindAllStringSubmatch(b.text, -1) {
		expect = append(expect, match[1])
	}
	binary, source, pkg := name+".bin", name+".go", "example"+filepath.Base(name)
	test := strings.HasSuffix(file.Name.Name, "_test")
	in, command := "main.go", []string{"build"}
	switch {
	case test && !server:
		in, command = "main_test.go", []string{"test", "-c", "-vet=off"}
	case test || file.Name.Name != "main" || !hasMain(file):
		return nil, errors.New("show a whole program: package main with func main, or a test in package x_test")
	}
	overlay, err := json.Marshal(map[string]any{"Replace": map[string]string{filepath.Join(r.root, "tests", "docs", pkg, in): source}})
	if err != nil {
		return nil, err
	}
	if err := errors.Join(os.WriteFile(source, []byte(b.text), 0o600), os.WriteFile(name+".json", overlay, 0o600)); err != nil {
		return nil, err
	}
	if err := r.build(append(command, "-overlay", name+".json", "-o", binary, "./tests/docs/"+pkg)...); err != nil {
		return nil, err
	}
	if server {
		return []step{serve("app", step{line: b.line, script: quote(binary) + "\n"})}, nil
	}
	return []step{{line: b.line, script: quote(binary), expect: expect}}, nil
}

func hasMain(file *ast.File) bool {
	for _, d := range file.Decls {
		if f, ok := d.(*ast.FuncDecl); ok && f.Recv == nil && f.Name.Name == "main" {
			return true
		}
	}
	return false
}

// ports returns ports of the loopback address that are nobody else's while the
// runner is there.
func (r *runner) ports(n int) []string {
	var free []string
	for range n {
		free = append(free, strconv.Itoa(port.Reserve(r.whole)))
	}
	return free
}

// left are the names that a fresh clone does not have.
var left = map[string]bool{".git": true, "bin": true, "node_modules": true}

// copyTree copies the repository as a clone would hold it. It reads every file
// in this process, so that go test knows what its result hangs on.
func copyTree(from, to string) error {
	return filepath.WalkDir(from, func(path string, d fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) && path != from {
			return nil // as below
		}
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(from, path)
		if err != nil {
			return err
		}
		info, err := d.Info()
		if errors.Is(err, fs.ErrNotExist) {
			return nil // another test's: a clone has none of it
		}
		switch {
		case err != nil:
			return err
		case left[d.Name()] || strings.HasPrefix(d.Name(), "rescind-data"):
			if d.IsDir() {
				return fs.SkipDir
			}
			return nil
		case d.IsDir():
			return os.MkdirAll(filepath.Join(to, rel), 0o700)
		case !info.Mode().IsRegular() || info.Size() > 16<<20:
			return nil
		}
		text, err := os.ReadFile(path)
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil {
			return err
		}
		return os.WriteFile(filepath.Join(to, rel), text, info.Mode().Perm())
	})
}
