// Package port reserves loopback ports for servers that a test starts, stops and
// starts again.
//
// A port that was free when somebody looked can be another's by the time a server
// wants it: every test that picks one, and every connection that is made, takes one
// of the same range. While its server is down, whoever asks for it may even be
// connected to itself.
package port

import "testing"

// Reserve returns a port of 127.0.0.1 that is given to nobody else until the test
// has ended. A server that sets SO_REUSEADDR, as all do, can listen on it, stop, and
// listen again; while none does, connections to it are refused. Where the system
// knows no such reservation (any but Linux), the port is free, and no more.
func Reserve(t testing.TB) int {
	t.Helper()
	port, free, err := reserve()
	if err != nil {
		t.Fatalf("no port: %v", err)
	}
	t.Cleanup(func() {
		if err := free(); err != nil {
			t.Errorf("port %d: %v", port, err)
		}
	})
	return port
}
