package pgstore

import (
	"sync"
	"time"
)

const (
	// remeasure is how old a reading of the server's clock may grow.
	remeasure = 5 * time.Second
	// driftShift is how much slower the machine's clock is taken to run than it
	// does, as a power of two: by one part in 2048, so that a clock which runs too
	// fast by less than that never gets ahead of the server's.
	driftShift = 11
)

// clock is the server's time as this node knows it: the last reading, and what the
// machine's clock says has passed since the answer came. The server's clock was
// read before the answer came, so this is never ahead of it: what one node calls
// over by its time is over by the server's, and for every step that comes later.
//
// The wall clock of the machine is not asked: an hour off, it changes nothing.
type clock struct {
	machine func() time.Time

	mu     sync.Mutex
	read   int64     // microseconds on the server's clock
	at     time.Time // of the answer, on the machine's
	ahead  int64     // how far now is ahead of the server's clock, which was set back
	latest int64     // the highest time told
}

// sample takes a reading whose answer has just come. It counts if it is later than
// what is known, or if that has grown old.
func (c *clock) sample(read int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	at := c.machine()
	if c.at.IsZero() || read >= c.estimate(at) || at.Sub(c.at) > remeasure || at.Before(c.at) {
		c.read, c.at = read, at
	}
}

func (c *clock) estimate(at time.Time) int64 {
	passed := max(at.Sub(c.at), 0).Microseconds()
	return c.read + passed - passed>>driftShift
}

// floor is a time that was told before this process began.
func (c *clock) floor(told int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.latest = max(c.latest, told)
}

// now follows the server's clock where that goes forward. One that was set back,
// or a standby's that is behind, must not bring back what has expired: then time
// goes on from the highest that was told, at half the clock's pace, until the
// clock has caught up.
func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	t := c.estimate(c.machine()) + c.ahead
	if t < c.latest {
		c.ahead += c.latest - t
		t = c.latest
	} else {
		caught := min(c.ahead, (t-c.latest)/2)
		c.ahead -= caught
		t -= caught
	}
	c.latest = t
	return time.UnixMicro(t)
}
