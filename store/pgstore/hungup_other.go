//go:build !unix

package pgstore

import "net"

// hungUp knows nothing here: a connection that has ended fails when it is used.
func hungUp(net.Conn) bool { return false }
