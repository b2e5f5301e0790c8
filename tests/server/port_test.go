package server

import (
	"errors"
	"net"
	"net/netip"
	"runtime"
	"syscall"
	"testing"
)

func TestAFreePortIsGivenToNobodyElse(t *testing.T) {
	addr := FreePort(t)
	for range 2 { // two lives of a program
		l, err := net.Listen("tcp", addr)
		must(t, err)
		conn, err := net.Dial("tcp", addr)
		must(t, err)
		must(t, conn.Close())
		must(t, l.Close())
		if _, err := net.Dial("tcp", addr); err == nil {
			t.Error("somebody listens")
		}
	}
	if runtime.GOOS != "linux" {
		return // and no more is promised
	}
	// Whoever asks for any address gets none that he could not have had without
	// SO_REUSEADDR.
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM, 0)
	must(t, err)
	defer syscall.Close(fd)
	at, err := netip.ParseAddrPort(addr)
	must(t, err)
	if err := syscall.Bind(fd, &syscall.SockaddrInet4{Addr: at.Addr().As4(), Port: int(at.Port())}); !errors.Is(err, syscall.EADDRINUSE) {
		t.Errorf("it is given away: %v", err)
	}
}
