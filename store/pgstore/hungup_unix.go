//go:build unix

package pgstore

import (
	"crypto/tls"
	"errors"
	"net"
	"syscall"
)

// hungUp reports whether the other side has ended a resting connection, or has
// said something that nobody asked for, which is why it is about to.
func hungUp(socket net.Conn) bool {
	if t, ok := socket.(*tls.Conn); ok {
		socket = t.NetConn()
	}
	s, ok := socket.(syscall.Conn)
	if !ok {
		return false
	}
	raw, err := s.SyscallConn()
	if err != nil {
		return true
	}
	var n int
	var peek error
	err = raw.Control(func(fd uintptr) {
		var b [1]byte
		n, _, peek = syscall.Recvfrom(int(fd), b[:], syscall.MSG_PEEK|syscall.MSG_DONTWAIT)
	})
	quiet := errors.Is(peek, syscall.EAGAIN) || errors.Is(peek, syscall.EWOULDBLOCK) || errors.Is(peek, syscall.EINTR)
	return err != nil || !quiet || n > 0
}
