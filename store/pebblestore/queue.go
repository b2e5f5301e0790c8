package pebblestore

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/rescind/rescind"
)

// A step is one write, from the call to its answer. The caller prepares what it
// can by itself; apply runs in the committer. It reads all it needs first, and
// from its first write on it cannot fail.
type step interface {
	apply(*committer) error
	result() *error
}

// outcome is the part that every step has. It and what else a step returns may
// be read once the group that the step belongs to has ended well.
type outcome struct{ err error }

func (o *outcome) result() *error { return &o.err }

// group is the steps that came together while the committer was busy. They are
// answered together.
type group struct {
	steps []step
	born  time.Time
	done  chan struct{}
	ended bool
	err   error // of all of them; set before done is closed
}

// maxWaiting bounds the steps that wait for the committer. There is one for each
// caller, so only a store that hangs comes near it.
const maxWaiting = 1 << 16

var errBusy = fmt.Errorf("%w: too many writes are waiting", rescind.ErrUnavailable)

// queue is where callers and the committer meet.
type queue struct {
	mu      sync.Mutex
	waiting *group   // joined by callers, not yet taken
	taken   []*group // by the committer, in order, not yet ended
	refuse  error    // why nobody may join any more
	done    bool     // nothing will come any more
	ready   chan struct{}
}

// join adds a step to the group that is waiting.
func (q *queue) join(st step) (*group, error) {
	q.mu.Lock()
	if q.refuse != nil {
		q.mu.Unlock()
		return nil, q.refuse
	}
	g := q.waiting
	if g == nil {
		g = &group{born: time.Now(), done: make(chan struct{})}
		q.waiting = g
	}
	if len(g.steps) >= maxWaiting {
		q.mu.Unlock()
		return nil, errBusy
	}
	g.steps = append(g.steps, st)
	first := len(g.steps) == 1
	q.mu.Unlock()
	if first {
		q.signal()
	}
	return g, nil
}

func (q *queue) signal() {
	select {
	case q.ready <- struct{}{}:
	default:
	}
}

// take waits for a group. It returns nil when there will be none any more.
func (q *queue) take() *group {
	for range q.ready {
		q.mu.Lock()
		g := q.waiting
		q.waiting = nil
		if g != nil {
			q.taken = append(q.taken, g)
		}
		done := q.done
		q.mu.Unlock()
		if g != nil {
			if done {
				q.signal() // to come back for the end
			}
			return g
		}
		if done {
			return nil
		}
	}
	return nil
}

// end answers a group, unless somebody has done so before.
func (q *queue) end(g *group, err error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.endLocked(g, err)
	for i := range q.taken {
		if q.taken[i] == g {
			q.taken = append(q.taken[:i], q.taken[i+1:]...)
			break
		}
	}
}

func (q *queue) endLocked(g *group, err error) {
	if !g.ended {
		g.ended, g.err = true, err
		close(g.done)
	}
}

// expired reports whether a group has been answered already.
func (q *queue) expired(g *group) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return g.ended
}

// fail answers everybody and lets nobody join.
func (q *queue) fail(err error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.refuse = err
	for _, g := range q.taken {
		q.endLocked(g, err)
	}
	if q.waiting != nil {
		q.endLocked(q.waiting, err)
	}
}

// close lets nobody join; what is waiting is still done.
func (q *queue) close(err error) {
	q.mu.Lock()
	if q.refuse == nil {
		q.refuse = err
	}
	q.done = true
	q.mu.Unlock()
	q.signal()
}

// expire answers the groups that were born before a time. Their outcome is
// unknown: the committer may be in the middle of them.
func (q *queue) expire(before time.Time) {
	err := fmt.Errorf("%w: no answer from the disk in time; the outcome is unknown", rescind.ErrUnavailable)
	q.mu.Lock()
	defer q.mu.Unlock()
	for _, g := range q.taken {
		if g.born.Before(before) {
			q.endLocked(g, err)
		}
	}
	if g := q.waiting; g != nil && g.born.Before(before) {
		q.endLocked(g, err)
		q.waiting = nil
	}
}

// watch expires groups until stop is closed. One clock for all is cheaper than a
// timer for each call.
func (q *queue) watch(timeout time.Duration, stop <-chan struct{}) {
	tick := time.NewTicker(timeout / 16)
	defer tick.Stop()
	for {
		select {
		case now := <-tick.C:
			q.expire(now.Add(-timeout * 15 / 16))
		case <-stop:
			return
		}
	}
}

// do gives a step to the committer and waits until it is durable.
func (s *Store) do(ctx context.Context, st step) error {
	if err := ctx.Err(); err != nil {
		return unavailable("not begun", err)
	}
	g, err := s.queue.join(st)
	if err != nil {
		return err
	}
	select {
	case <-g.done:
		if g.err != nil {
			return g.err
		}
		return *st.result()
	case <-ctx.Done():
		return unavailable("the outcome is unknown", ctx.Err())
	}
}
