// Package fault ends real processes with SIGKILL in the middle of their work, on
// a real folder, and holds what they had acknowledged, and what they had let
// anybody see, against what the next process on that folder says.
//
// The process is this test binary itself, run again as a child (child_test.go),
// or the real server (serve_test.go). What it must keep is written down by the
// parent, which survives (ledger_test.go).
//
// A SIGKILL ends the process and leaves the machine, whose memory of written
// files lives on: alone it finds what a process still held in its own memory.
// So one lane of the test keeps every unsynced write in the process
// (volatile_test.go): there a SIGKILL loses what a power cut would.
package fault

import (
	"os"
	"testing"
)

// Whether this is the child, and on which folder. The parent sets both.
const (
	childFolder   = "RESCIND_FAULT_CHILD"
	childVolatile = "RESCIND_FAULT_VOLATILE"
)

func TestMain(m *testing.M) {
	if dir := os.Getenv(childFolder); dir != "" {
		os.Exit(child(dir, os.Getenv(childVolatile) != ""))
	}
	os.Exit(m.Run())
}

// slow reports whether the suite runs in full size.
func slow() bool { return os.Getenv("RESCIND_SLOW") == "1" }
