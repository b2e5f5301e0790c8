package port

import (
	"errors"
	"fmt"
	"syscall"
)

// reserve binds a socket and never listens on it: the kernel then chooses that port
// for nobody, and lets another socket that is willing to share it listen there.
func reserve() (port int, free func() error, err error) {
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		return 0, nil, err
	}
	free = func() error { return syscall.Close(fd) }
	err = syscall.SetsockoptInt(fd, syscall.SOL_SOCKET, syscall.SO_REUSEADDR, 1)
	if err == nil {
		err = syscall.Bind(fd, &syscall.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}})
	}
	var name syscall.Sockaddr
	if err == nil {
		name, err = syscall.Getsockname(fd)
	}
	if err != nil {
		return 0, nil, errors.Join(err, free())
	}
	address, ok := name.(*syscall.SockaddrInet4)
	if !ok {
		return 0, nil, errors.Join(fmt.Errorf("a socket of another kind: %T", name), free())
	}
	return address.Port, free, nil
}
