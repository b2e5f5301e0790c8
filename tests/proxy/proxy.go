// Package proxy stands between a client and a server of TCP, for tests of what
// happens when the network between them is slow, loses something, or is cut.
package proxy

import (
	"context"
	"math/rand/v2"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// Proxy passes connections on to one address. It ends with the test.
type Proxy struct {
	target   string
	listener net.Listener
	delay    atomic.Int64 // nanoseconds, each way
	loss     atomic.Int64 // of a million pieces
	cut      atomic.Bool

	mu    sync.Mutex
	conns map[*link]bool
	all   sync.WaitGroup
	over  bool
}

// link is a connection, with the one behind it.
type link struct{ near, far *net.TCPConn }

// Start listens on a free port of the loopback interface.
func Start(t testing.TB, target string) *Proxy {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &Proxy{target: target, listener: l, conns: map[*link]bool{}}
	p.all.Go(p.accept)
	t.Cleanup(func() {
		_ = l.Close() // it is a loopback listener
		p.mu.Lock()
		p.over = true
		p.mu.Unlock()
		p.Sever()
		p.all.Wait()
	})
	return p
}

// Addr is where it listens.
func (p *Proxy) Addr() string { return p.listener.Addr().String() }

// Slow delays what passes, each way, by so much.
func (p *Proxy) Slow(delay time.Duration) { p.delay.Store(int64(delay)) }

// Lose loses a share of the pieces that pass, 0 to 1. TCP sends again what is lost,
// so that a stream stalls for a while; half of the time the connection is reset.
func (p *Proxy) Lose(share float64) { p.loss.Store(int64(share * 1e6)) }

// Cut resets every connection, and each new one until Mend.
func (p *Proxy) Cut() {
	p.cut.Store(true)
	p.Sever()
}

// Mend lets connections pass again, as fast as they are.
func (p *Proxy) Mend() {
	p.cut.Store(false)
	p.Slow(0)
	p.Lose(0)
}

// Sever resets every connection that there is.
func (p *Proxy) Sever() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for l := range p.conns {
		l.reset()
	}
}

func (l *link) reset() {
	for _, c := range []*net.TCPConn{l.near, l.far} {
		_ = c.SetLinger(0) // it may be closed already
		_ = c.Close()
	}
}

func (p *Proxy) accept() {
	for {
		near, err := p.listener.Accept()
		if err != nil {
			return // closed
		}
		p.all.Go(func() { p.pass(near.(*net.TCPConn)) })
	}
}

func (p *Proxy) pass(near *net.TCPConn) {
	ctx, done := context.WithTimeout(context.Background(), 10*time.Second)
	far, err := new(net.Dialer).DialContext(ctx, "tcp", p.target)
	done()
	if err != nil || p.cut.Load() {
		_ = near.SetLinger(0) // as one that nobody listens to would look, nearly
		_ = near.Close()
		if err == nil {
			_ = far.Close() // unused
		}
		return
	}
	l := &link{near, far.(*net.TCPConn)}
	p.mu.Lock()
	p.conns[l] = true
	if p.over {
		l.reset()
	}
	p.mu.Unlock()
	var both sync.WaitGroup
	both.Go(func() { p.copy(l, l.far, l.near) })
	both.Go(func() { p.copy(l, l.near, l.far) })
	both.Wait()
	p.mu.Lock()
	delete(p.conns, l)
	p.mu.Unlock()
	l.reset()
}

// piece is what one read brought, and when it is due.
type piece struct {
	due  time.Time
	text []byte
}

// copy passes one direction on. What is delayed is in the queue: a slow network
// holds much at once.
func (p *Proxy) copy(l *link, to, from *net.TCPConn) {
	queue := make(chan piece, 1024)
	var sender sync.WaitGroup
	sender.Go(func() {
		for piece := range queue {
			time.Sleep(time.Until(piece.due))
			if _, err := to.Write(piece.text); err != nil {
				l.reset()
			}
		}
		_ = to.CloseWrite() // the end of the stream passes too
	})
	var last time.Time
	for {
		buffer := make([]byte, 16<<10)
		n, err := from.Read(buffer)
		if n > 0 {
			due := time.Now().Add(time.Duration(p.delay.Load()))
			if rand.Int64N(1e6) < p.loss.Load() {
				if rand.IntN(2) == 0 {
					l.reset()
				}
				due = due.Add(200*time.Millisecond + rand.N(200*time.Millisecond)) // the least that TCP waits
			}
			if due.Before(last) {
				due = last // what came later does not overtake
			}
			last = due
			queue <- piece{due, buffer[:n]}
		}
		if err != nil {
			break
		}
	}
	close(queue)
	sender.Wait()
}
