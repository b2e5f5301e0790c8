// Package need says what a test needs besides Go. What is missing fails the test,
// unless somebody has said by name that it is left out, and why: then it skips.
// CI leaves nothing out.
package need

import (
	"os"
	"os/exec"
	"testing"
)

// Commands needs programs. RESCIND_SKIP_<name>, if set, is the reason for which
// what, the thing that needs them, is left out.
func Commands(t testing.TB, name, what string, commands ...string) {
	t.Helper()
	That(t, name, what, func() string {
		for _, command := range commands {
			if _, err := exec.LookPath(command); err != nil {
				return err.Error()
			}
		}
		return ""
	})
}

// That is Commands for anything: absent names what is missing, or is "".
func That(t testing.TB, name, what string, absent func() string) {
	t.Helper()
	skip := "RESCIND_SKIP_" + name
	if reason := os.Getenv(skip); reason != "" {
		if os.Getenv("CI") == "true" {
			t.Fatalf("%s cannot be left out in CI: %s=%s", what, skip, reason)
		}
		t.Skipf("%s is left out: %s=%s", what, skip, reason)
	}
	if missing := absent(); missing != "" {
		t.Fatalf("%s cannot run: %s; to leave it out, say why in %s", what, missing, skip)
	}
}
