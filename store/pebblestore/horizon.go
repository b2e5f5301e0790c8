package pebblestore

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"github.com/rescind/rescind"
)

// horizon is the last flight that is known to be on disk, with all before it.
// Pebble shows what lies beyond it; nobody may be told of that.
type horizon struct {
	seq   atomic.Uint64
	mu    sync.Mutex
	moved chan struct{} // made by who waits, closed by who moves it
}

func (h *horizon) advance(seq uint64) {
	h.seq.Store(seq)
	h.wake()
}

func (h *horizon) wake() {
	h.mu.Lock()
	if h.moved != nil {
		close(h.moved)
		h.moved = nil
	}
	h.mu.Unlock()
}

func (h *horizon) next() <-chan struct{} {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.moved == nil {
		h.moved = make(chan struct{})
	}
	return h.moved
}

var errUnsettled = errors.New("a write under way was not on disk in time")

// await returns nil once a flight is known to be on disk.
func (s *Store) await(ctx context.Context, seq uint64) error {
	if s.horizon.seq.Load() >= seq {
		return nil
	}
	patience := time.NewTimer(s.timeout)
	defer patience.Stop()
	for {
		moved := s.horizon.next() // before looking, so that no move is missed
		if err := s.failure(); err != nil {
			return err
		}
		if s.horizon.seq.Load() >= seq {
			return nil
		}
		select {
		case <-moved:
		case <-ctx.Done():
			return unavailable("waiting for a write under way", ctx.Err())
		case <-patience.C:
			return unavailable("read", errUnsettled)
		}
	}
}

// unsettled is the one check that keeps readers from what may be lost. It returns
// the flight that last wrote what belongs to the given slots, or 0 if that flight
// was on disk (known) before the reading began: then what was read cannot have
// changed meanwhile, and cannot be lost. A flight enters its slots before Pebble
// shows it, so looking after the reading is early enough.
func (s *Store) unsettled(known uint64, slots ...uint64) uint64 {
	var last uint64
	for _, i := range slots {
		last = max(last, s.touched[i].Load())
	}
	if last <= known {
		return 0
	}
	return last
}

// settleAll waits until everything that a reader could have seen by now is on
// disk. It suits what reads many keys.
func (s *Store) settleAll(ctx context.Context) error {
	return s.await(ctx, s.started.Load())
}

// get reads one key; use may not keep the value. It reports whether it is there.
func (s *Store) get(key []byte, use func(value []byte) error) (bool, error) {
	value, closer, err := s.db.Get(key)
	if err != nil {
		if isNotFound(err) {
			return false, nil
		}
		return false, err
	}
	err = use(value)
	return true, firstOf(err, closer.Close())
}

// read reads a record and the cutoffs that concern it. It returns the flight to
// wait for before reading again, or 0 where the result may be told: then it is
// what the store held at one moment.
func (s *Store) read(id *rescind.SessionID) (snap rescind.Snapshot, wait uint64, err error) {
	known := s.horizon.seq.Load()
	slot := s.slotOf(id)
	var key [1 + len(id)]byte
	key[0] = keySession
	copy(key[1:], id[:])
	snap.Found, err = s.get(key[:], func(value []byte) (err error) {
		snap.Session, err = rescind.ParseRecord(*id, value)
		return err
	})
	if err != nil {
		return snap, 0, err
	}
	v := s.view.Load()
	snap.Config = v.config
	if !snap.Found {
		return snap, s.unsettled(known, slot), nil
	}
	snap.Cutoffs.All = v.all.to
	snap.Cutoffs.Client = v.clients[snap.Session.Client].to
	tag := id.Tag()
	tagSlot := s.slotOfTag(&tag)
	if !s.moved[tagSlot].Load() { // the usual case: nothing to read
		return snap, s.unsettled(known, slot), nil
	}
	c, err := s.subjectCutoff(tag)
	snap.Cutoffs.Subject = c.to
	return snap, s.unsettled(known, slot, tagSlot), err
}

// subjectCutoff reads a subject's cutoff; zero where there is none.
func (s *Store) subjectCutoff(tag rescind.Tag) (c cutoff, err error) {
	_, err = s.get(tagKey(keySubject, tag), func(value []byte) (err error) {
		c, err = parseCutoff(value)
		return err
	})
	return c, err
}

// count reads a subject's creation counter.
func (s *Store) count(tag rescind.Tag) (n uint64, err error) {
	_, err = s.get(tagKey(keyCount, tag), func(value []byte) error {
		r := reader{b: value}
		if n = r.uvarint(); r.bad || len(r.b) > 0 {
			return damaged("a creation counter")
		}
		return nil
	})
	return n, err
}
