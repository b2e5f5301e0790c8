package pebblestore

import "time"

// Now returns the store's time: the clock's, as long as that goes forward.
//
// A clock that was set back, now or while the store was closed, must not bring
// back what has expired. So the store's time goes on from the highest time that
// it knows, at half the clock's pace, until the clock has caught up. It does not
// stand still meanwhile: after a clock that was wrong by a year for a second,
// tokens have to expire all the same.
func (s *Store) Now() time.Time {
	for s.ahead.Load() == 0 {
		last := s.time.Load() // before the clock: a clock that goes forward is past it
		t := s.clock().UnixNano()
		if t < last {
			break
		}
		if s.time.CompareAndSwap(last, t) {
			return time.Unix(0, t)
		}
	}
	return s.slewed()
}

func (s *Store) slewed() time.Time {
	s.slewing.Lock()
	defer s.slewing.Unlock()
	last, ahead := s.time.Load(), s.ahead.Load()
	t := s.clock().UnixNano() + ahead
	if t < last {
		ahead += last - t
		t = last
	} else {
		caught := min(ahead, (t-last)/2)
		ahead -= caught
		t -= caught
	}
	s.ahead.Store(ahead)
	for last < t && !s.time.CompareAndSwap(last, t) {
		last = s.time.Load()
	}
	return time.Unix(0, max(last, t))
}

// timeStep writes down nothing but the time, which comes with every batch. It is
// the committer's last, so that a restart knows what has been told.
type timeStep struct{ outcome }

func (*timeStep) apply(c *committer) error {
	c.wrote = true
	return nil
}
