// Package gateways runs the configurations under gateways in the gateways they
// are for, in front of an API and beside the real server, and attacks them.
package gateways

import (
	"os"
	"os/exec"
	"strings"
	"testing"
)

// needGateway fails the test if a gateway is not there, unless somebody has said
// by name that it is not, and why: then it skips. CI leaves nothing out.
func needGateway(t testing.TB, command string) {
	t.Helper()
	name := "RESCIND_SKIP_" + strings.ToUpper(command)
	if reason := os.Getenv(name); reason != "" {
		if os.Getenv("CI") == "true" {
			t.Fatalf("%s cannot be left out in CI: %s=%s", command, name, reason)
		}
		t.Skipf("%s is left out: %s=%s", command, name, reason)
	}
	if _, err := exec.LookPath(command); err != nil {
		t.Fatalf("this test needs %s: %v; to leave it out, say why in %s", command, err, name)
	}
}
