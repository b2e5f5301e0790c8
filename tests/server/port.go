package server

import (
	"errors"
	"net"
	"runtime"
	"strconv"
	"syscall"
	"testing"
)

// FreePort returns an address of the loopback interface on which nobody listens. It
// is kept for the test until that ends, also between two lives of a program.
func FreePort(t testing.TB) string {
	t.Helper()
	addr, release, err := Hold()
	must(t, err)
	t.Cleanup(release)
	return addr
}

// Hold is FreePort for whoever says when it ends.
//
// On Linux an address that is bound, and on which nobody listens, is given to
// nobody who asks for any; whoever asks for this one may listen there if both
// have set SO_REUSEADDR, as servers do. Elsewhere it is free, and no more than that.
func Hold() (addr string, release func(), err error) {
	syscall.ForkLock.RLock()
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM, 0)
	if err == nil {
		syscall.CloseOnExec(fd)
	}
	syscall.ForkLock.RUnlock()
	if err != nil {
		return "", nil, err
	}
	release = func() { _ = syscall.Close(fd) } // nothing was written to it
	var at syscall.Sockaddr
	err = errors.Join(
		syscall.SetsockoptInt(fd, syscall.SOL_SOCKET, syscall.SO_REUSEADDR, 1),
		syscall.Bind(fd, &syscall.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}),
	)
	if err == nil {
		at, err = syscall.Getsockname(fd)
	}
	if err != nil || runtime.GOOS != "linux" {
		release()
		release = func() {}
	}
	if err != nil {
		return "", nil, err
	}
	return net.JoinHostPort("127.0.0.1", strconv.Itoa(at.(*syscall.SockaddrInet4).Port)), release, nil
}
