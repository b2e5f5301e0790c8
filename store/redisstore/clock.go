package redisstore

import (
	"context"
	"strconv"
	"sync"
	"sync/atomic"
	"time"
)

// clock is the server's time, measured now and then and carried on by this
// machine's monotonic clock: what time of day this machine believes in does not matter.
//
// A server's clock that was set back must not bring back what has expired. So the
// store's time goes on from the highest time that it has told, or that was written
// down, at half the pace, until the server's has caught up.
type clock struct {
	setting sync.Mutex
	set     atomic.Pointer[setting]
	told    atomic.Int64 // the highest time ever returned, in nanoseconds
}

// setting is one measurement.
type setting struct {
	mark   time.Time // monotonic, of this machine
	server int64     // the server's time at mark, in nanoseconds
	ahead  int64     // how far the store's time was ahead of it
}

func (s *setting) at(elapsed time.Duration) int64 {
	return s.server + int64(elapsed) + max(0, s.ahead-int64(elapsed)/2)
}

func (c *clock) now() time.Time {
	for {
		last := c.told.Load() // before the clock
		set := c.set.Load()
		t := max(set.at(time.Since(set.mark)), last)
		if c.told.CompareAndSwap(last, t) {
			return time.Unix(0, t)
		}
	}
}

// adjust takes in a measurement, and a time that was written down.
func (c *clock) adjust(mark time.Time, server int64, written int64) {
	c.setting.Lock()
	defer c.setting.Unlock()
	is := written
	if old := c.set.Load(); old != nil {
		is = max(old.at(mark.Sub(old.mark)), c.told.Load())
	}
	c.set.Store(&setting{mark: mark, server: server, ahead: max(0, is-server)})
}

// measure asks the server for its time. The answer is taken to be of the middle
// between asking and hearing.
// written is what was written down before.
func (s *Store) measure(ctx context.Context, written uint64) error {
	begun := time.Now()
	m, err := s.run(ctx, steps["time"], []string{s.shards[0].meta})
	if err != nil {
		return err
	}
	took := time.Since(begun)
	n, err := m.AsIntSlice()
	if err != nil || len(n) != 2 {
		return unavailable("time", err)
	}
	server := n[0]*int64(time.Second) + n[1]*int64(time.Microsecond) + int64(s.options.serverAhead)
	s.clock.adjust(begun.Add(took/2), server, int64(written)*int64(time.Microsecond))
	return nil
}

// stampNow is the store's time as a step is given it: microseconds that grow with
// every step of this process, so that the log of all shards keeps their order.
func (s *Store) stampNow() string {
	for {
		last := s.stamps.Load()
		n := max(s.Now().UnixMicro(), last+1)
		if s.stamps.CompareAndSwap(last, n) {
			return strconv.FormatInt(n, 10)
		}
	}
}
