package sdk

import (
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
	watchSources(t, root)
	server := serverProgram(t, root)
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
