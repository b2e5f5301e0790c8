package httpapi

import (
	"container/list"
	"errors"
	"net/netip"
	"strings"
	"sync"
	"time"
)

// RateLimit bounds failures: wrong client secrets, and forged tokens at token,
// revoke and logout. Successes are never counted and never refused.
type RateLimit struct {
	// Failures that one source address (IPv6: one /64), and one client id, may
	// have within Window. 30 if zero; negative switches the limit off.
	Failures int
	// Window is a minute if zero.
	Window time.Duration
}

// maxFailing bounds how many sources and clients are remembered.
const maxFailing = 1 << 15

// failures counts them in token buckets, the least recently used of which is
// forgotten when there are too many.
type failures struct {
	burst float64
	every time.Duration // one more is allowed
	now   func() time.Time

	mu     sync.Mutex
	byKey  map[failing]*list.Element
	recent list.List // of *bucket, newest first
}

// failing is who fails: a source or a client.
type failing struct {
	source netip.Addr
	client string
}

type bucket struct {
	who  failing
	left float64
	at   time.Time
}

func newFailures(r RateLimit, now func() time.Time) (*failures, error) {
	if r.Window < 0 {
		return nil, errors.New("httpapi: the window of a rate limit cannot be negative")
	}
	if r.Failures == 0 {
		r.Failures = 30
	}
	if r.Window == 0 {
		r.Window = time.Minute
	}
	f := &failures{now: now, byKey: map[failing]*list.Element{}}
	if r.Failures > 0 {
		f.burst, f.every = float64(r.Failures), r.Window/time.Duration(r.Failures)
	}
	return f, nil
}

// count takes a failure down and returns zero, or how long to wait if there have
// been too many.
func (f *failures) count(source netip.Addr, client string) time.Duration {
	if f.burst == 0 {
		return 0
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	wait := f.take(failing{source: source})
	if client != "" && len(client) <= 64 {
		wait = max(wait, f.take(failing{client: client}))
	}
	return wait
}

func (f *failures) take(who failing) time.Duration {
	now := f.now()
	e := f.byKey[who]
	if e == nil {
		e = f.recent.PushFront(&bucket{who: who, left: f.burst, at: now})
		f.byKey[who] = e
		if f.recent.Len() > maxFailing {
			oldest := f.recent.Back()
			f.recent.Remove(oldest)
			delete(f.byKey, oldest.Value.(*bucket).who)
		}
	}
	f.recent.MoveToFront(e)
	b := e.Value.(*bucket)
	b.left = min(f.burst, b.left+float64(max(0, now.Sub(b.at)))/float64(f.every))
	b.at = now
	if b.left >= 1 {
		b.left--
		return 0
	}
	return time.Duration((1 - b.left) * float64(f.every))
}

// source returns who sent the request: the other end of the connection, or what
// the nearest of our own proxies says of it. Of IPv6 it is the network: one
// sender has a whole /64.
func (c *call) source() netip.Addr {
	addr, _ := c.sender() // whoever it is, failures are held against the nearest address that is sure
	if addr.Is6() {
		if p, err := addr.Prefix(64); err == nil {
			return p.Addr()
		}
	}
	return addr
}

// sender is source to the last bit. Known is false if the request was passed on
// for somebody whom no proxy of ours vouches for.
func (c *call) sender() (addr netip.Addr, known bool) {
	peer, err := netip.ParseAddrPort(c.r.RemoteAddr)
	if err != nil {
		return netip.Addr{}, false
	}
	addr = clean(peer.Addr())
	forwarded := c.r.Header["X-Forwarded-For"]
	if len(forwarded) == 0 {
		return addr, len(c.r.Header["Forwarded"]) == 0 && len(c.r.Header["X-Real-Ip"]) == 0
	}
	hops := strings.Split(strings.Join(forwarded, ","), ",")
	for i := len(hops) - 1; i >= 0 && contains(c.trusted, addr); i-- {
		hop, err := netip.ParseAddr(strings.TrimSpace(hops[i]))
		if err != nil {
			return addr, false
		}
		addr, known = clean(hop), true
	}
	return addr, known
}

func clean(a netip.Addr) netip.Addr { return a.Unmap().WithZone("") }

func contains(in []netip.Prefix, a netip.Addr) bool {
	for _, p := range in {
		if p.Contains(a) {
			return true
		}
	}
	return false
}
