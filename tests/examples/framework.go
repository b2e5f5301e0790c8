// Package examples starts the applications under examples as their users would,
// with several workers, and shows of each pair that the broken form lets replays
// through, that the cured form does not, and that the cure is small.
//
// A test program that uses it begins with
//
//	func TestMain(m *testing.M) { os.Exit(examples.Main(m)) }
package examples

import (
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/rescind/rescind/tests/need"
)

// The two forms of an example.
const (
	Broken = "broken"
	Cured  = "cured"
)

// A Framework is a pair of examples.
//
// To add one, write a row in Frameworks. Its files lie under examples/Name/broken
// and examples/Name/cured, and keep the contract of examples/README.md: the
// routes, the environment, and the header X-Worker with the process id. All tests
// here then run for it.
type Framework struct {
	Name string // of the folder under examples
	File string // in which the forms differ, from the folder of the form

	// BrokenOnly are files that the cure deletes.
	BrokenOnly []string

	// Processes that a test starts, each with Workers workers.
	Processes, Workers int

	// Redis says that the broken form needs it.
	Redis bool

	// Passes is what the broken form lets through after a logout: no more, no less.
	Passes Passes

	// Needs looks for what must be installed.
	Needs func(t testing.TB)

	// Command returns what starts one process, from the folder tree, which is a
	// copy of the repository as far as examples and the packages of sdk go. It may
	// build and install there; it is called for each process.
	Command func(t testing.TB, tree, form string) *exec.Cmd
}

// Passes are ways in which a logged-out user is still in.
type Passes struct {
	Access  bool // the access token answers 200
	Refresh bool // the refresh token brings new tokens, which answer 200
	Outage  bool // the access token answers 200 while Redis is down

	Device     bool // the refresh token of a device that was ended brings tokens
	Everywhere bool // so does one of another session after logout-all
}

// Frameworks are all examples.
var Frameworks = []Framework{
	{
		Name: "go", File: "main.go", BrokenOnly: []string{"tokens.go"},
		Processes: 4, Workers: 1, // Go programs do not fork
		Passes: Passes{Access: true, Refresh: true, Device: true, Everywhere: true},
		Needs:  func(testing.TB) {},
		Command: func(t testing.TB, tree, form string) *exec.Cmd {
			return exec.Command(goProgram(t, "notes-"+form, "./examples/go/"+form))
		},
	},
	{
		Name: "express", File: "app.js", BrokenOnly: []string{"tokens.js"},
		Processes: 1, Workers: 4,
		Redis: true, Passes: Passes{Refresh: true, Outage: true, Device: true, Everywhere: true},
		Needs: func(t testing.TB) { need.Commands(t, "NODE", "the examples for Node", "node", "npm") },
		Command: func(t testing.TB, tree, form string) *exec.Cmd {
			folder := filepath.Join(tree, "examples", "express")
			installNode(t, tree, "express")
			c := exec.Command("node", "app.js")
			c.Dir = filepath.Join(folder, form)
			return c
		},
	},
	nestjs(),
	flask(),
}
