package port

import (
	"errors"
	"net"
	"runtime"
	"strconv"
	"syscall"
	"testing"
)

// TestAReservedPortIsForItsServer: it can listen there again and again, and nobody
// else is given the port, neither to listen nor to connect from.
func TestAReservedPortIsForItsServer(t *testing.T) {
	addr := net.JoinHostPort("127.0.0.1", strconv.Itoa(Reserve(t)))
	for range 3 {
		l, err := net.Listen("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		served, err := net.Dial("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		taken, err := l.Accept()
		if err != nil {
			t.Fatal(err)
		}
		if other, err := net.Listen("tcp", addr); err == nil {
			t.Fatalf("two servers listen: %v", other.Close())
		}
		// The server ends first, so that its side of the connection lingers.
		if err := errors.Join(taken.Close(), l.Close(), served.Close()); err != nil {
			t.Fatal(err)
		}
		if c, err := net.Dial("tcp", addr); !errors.Is(err, syscall.ECONNREFUSED) {
			t.Fatalf("nobody listens: %v, %v", c, err)
		}
	}
	if runtime.GOOS != "linux" {
		return
	}
	seen := map[int]bool{}
	for range 200 {
		if p := Reserve(t); seen[p] {
			t.Fatalf("port %d is reserved twice", p)
		} else {
			seen[p] = true
		}
	}
	for range 2000 {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		if p := l.Addr().(*net.TCPAddr).Port; seen[p] {
			t.Fatalf("port %d, which is reserved, is given away", p)
		}
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
	}
}
