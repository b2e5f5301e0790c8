// Package e2e lets real client libraries talk to the real server: what users
// have already must work without special treatment.
package e2e

import (
	"os"
	"os/exec"
	"testing"
)

// needNode fails the test if node and npm are not there, unless somebody has said
// by name that they are not, and why: then it skips. CI leaves nothing out.
func needNode(t testing.TB) {
	t.Helper()
	if reason := os.Getenv("RESCIND_SKIP_NODE"); reason != "" {
		if os.Getenv("CI") == "true" {
			t.Fatalf("the oauth4webapi client cannot be left out in CI: RESCIND_SKIP_NODE=%s", reason)
		}
		t.Skipf("the oauth4webapi client is left out: RESCIND_SKIP_NODE=%s", reason)
	}
	for _, command := range []string{"node", "npm"} {
		if _, err := exec.LookPath(command); err != nil {
			t.Fatalf("the oauth4webapi client needs %s: %v; to leave it out, say why in RESCIND_SKIP_NODE", command, err)
		}
	}
}
