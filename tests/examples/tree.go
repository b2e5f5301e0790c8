package examples

import (
	"log"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/rescind/rescind/tests/npm"
)

// root is the top of the repository, from the folder of any package of tests.
const root = "../.."

// A tree is a temporary copy of what the examples consist of: examples and sdk.
// Other tests build in sdk at the same time.
type tree struct {
	folder string

	mu   sync.Mutex
	done map[string]bool
}

var shared = tree{done: map[string]bool{}}

// Main runs the tests of m with a tree for them.
func Main(m *testing.M) int {
	var err error
	if shared.folder, err = os.MkdirTemp("", "rescind-examples-*"); err != nil {
		log.Print(err)
		return 1
	}
	defer func() {
		if err := os.RemoveAll(shared.folder); err != nil {
			log.Print(err)
		}
	}()
	return m.Run()
}

// Tree returns the folder of the copy.
func Tree(t testing.TB) string {
	t.Helper()
	if shared.folder == "" {
		t.Fatal("TestMain has to call examples.Main")
	}
	shared.once("tree", func() {
		npm.Copy(t, root, shared.folder, "examples")
		npm.Copy(t, root, shared.folder, "sdk/python/src")
	})
	return shared.folder
}

// once does a step, unless it has been done.
func (tr *tree) once(step string, do func()) {
	tr.mu.Lock()
	defer tr.mu.Unlock()
	if !tr.done[step] {
		do()
		tr.done[step] = true
	}
}

// goProgram builds a command of the module, and returns where it is.
func goProgram(t testing.TB, name, pkg string) string {
	t.Helper()
	program := filepath.Join(Tree(t), "bin", name)
	shared.once(program, func() {
		args := []string{"build", "-buildvcs=false", "-o", program}
		if overlay := npm.Planted(); overlay != "" {
			args = append(args, "-overlay", overlay)
		}
		npm.Run(t, root, []string{"CGO_ENABLED=0"}, "go", append(args, pkg)...)
	})
	return program
}

// installNode gives examples/name in the tree the packages of its lock file, and
// the one of sdk/node, built from the sources as they are now.
func installNode(t testing.TB, tree, name string) {
	t.Helper()
	shared.once("sdk/node", func() { npm.SDK(t, root, filepath.Join(tree, "sdk", "node")) })
	shared.once("examples/"+name, func() {
		source, err := filepath.Abs(filepath.Join(root, "examples", name))
		if err != nil {
			t.Fatal(err)
		}
		npm.Install(t, source)
		// The packages are linked one by one, so that this one can be another.
		source, target := filepath.Join(source, "node_modules"), filepath.Join(tree, "examples", name, "node_modules")
		packages, err := os.ReadDir(source)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.MkdirAll(filepath.Join(target, "@rescind"), 0o755); err != nil {
			t.Fatal(err)
		}
		link := func(to, from string) {
			if err := os.Symlink(to, from); err != nil {
				t.Fatal(err)
			}
		}
		link(filepath.Join(tree, "sdk", "node"), filepath.Join(target, "@rescind", "node"))
		for _, p := range packages {
			if p.Name() != "@rescind" {
				link(filepath.Join(source, p.Name()), filepath.Join(target, p.Name()))
			}
		}
	})
}
