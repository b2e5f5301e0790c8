package targets

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"sync"
	"testing"
	"time"
)

// A network is what an application listens on, in the place of loopback: pipes in
// memory. It is for bubbles (testing/synctest), in which what is sent takes the same
// time on every machine, however busy that is.
type network struct {
	mu        sync.Mutex
	listeners map[string]*pipeListener
}

// latency is how long what is written to a pipe is on its way.
const latency = 2 * time.Millisecond

// serve has a handler answer at an address of its own, until the test ends.
func (n *network) serve(t testing.TB, handler http.Handler) (url string) {
	t.Helper()
	n.mu.Lock()
	l := &pipeListener{conns: make(chan net.Conn), closed: make(chan struct{}), address: fmt.Sprintf("127.0.0.1:%d", 8000+len(n.listeners))}
	n.listeners[l.address] = l
	n.mu.Unlock()
	server := &http.Server{Handler: handler}
	var serving sync.WaitGroup
	serving.Go(func() { _ = server.Serve(l) }) // until it is closed
	t.Cleanup(func() {
		if err := server.Close(); err != nil {
			t.Error(err)
		}
		serving.Wait()
		time.Sleep(time.Minute) // of the bubble: what is still on its way arrives
	})
	return "http://" + l.address
}

// dial is for an http.Transport.
func (n *network) dial(ctx context.Context, _, address string) (net.Conn, error) {
	n.mu.Lock()
	l := n.listeners[address]
	n.mu.Unlock()
	if l == nil {
		return nil, fmt.Errorf("nothing listens at %s", address)
	}
	here, there := net.Pipe()
	select {
	case l.conns <- delayed{there}:
		return delayed{here}, nil
	case <-l.closed:
		return nil, net.ErrClosed
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// delayed is one end of a pipe.
type delayed struct{ net.Conn }

func (d delayed) Write(p []byte) (int, error) {
	time.Sleep(latency)
	return d.Conn.Write(p)
}

type pipeListener struct {
	conns   chan net.Conn
	closed  chan struct{}
	once    sync.Once
	address string
}

func (l *pipeListener) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

func (l *pipeListener) Close() error {
	l.once.Do(func() { close(l.closed) })
	return nil
}

func (l *pipeListener) Addr() net.Addr { return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)} }
