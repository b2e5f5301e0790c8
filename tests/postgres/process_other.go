//go:build unix && !linux

package postgres

import "syscall"

// endWithParent can do nothing here: a server may outlive a test that is killed.
func endWithParent(*syscall.SysProcAttr) {}
