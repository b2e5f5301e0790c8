// Package sdk runs the tests of the packages for other languages, in their own
// test frameworks, against the real server.
package sdk

import (
	"os"
	"testing"
)

// need fails the test if absent names something that it needs, unless somebody has
// said in RESCIND_SKIP_<name> that it is left out, and why: then it skips. CI
// leaves nothing out.
func need(t testing.TB, name, what string, absent func() string) {
	t.Helper()
	skip := "RESCIND_SKIP_" + name
	if reason := os.Getenv(skip); reason != "" {
		if os.Getenv("CI") == "true" {
			t.Fatalf("%s cannot be left out in CI: %s=%s", what, skip, reason)
		}
		t.Skipf("%s is left out: %s=%s", what, skip, reason)
	}
	if missing := absent(); missing != "" {
		t.Fatalf("%s needs %s; to leave it out, say why in %s", what, missing, skip)
	}
}
