package docs

import (
	"os"
	"os/exec"
	"testing"
)

// needShell fails the test if what runs the pages is not there, unless somebody
// has said by name that it is not, and why: then it skips. CI leaves nothing out.
func needShell(t testing.TB) {
	t.Helper()
	if reason := os.Getenv("RESCIND_SKIP_CURL"); reason != "" {
		if os.Getenv("CI") == "true" {
			t.Fatalf("the pages of the documentation cannot be left out in CI: RESCIND_SKIP_CURL=%s", reason)
		}
		t.Skipf("the pages of the documentation are left out: RESCIND_SKIP_CURL=%s", reason)
	}
	for _, command := range []string{"bash", "curl", "make"} {
		if _, err := exec.LookPath(command); err != nil {
			t.Fatalf("the pages of the documentation need %s: %v; to leave them out, say why in RESCIND_SKIP_CURL", command, err)
		}
	}
}
