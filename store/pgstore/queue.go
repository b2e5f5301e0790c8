package pgstore

import (
	"runtime"
	"sync"
	"time"
)

// request is what waits in a queue for a worker.
type request interface {
	// expires is when nobody waits for it any more.
	expires() time.Time
	// finish answers it, once.
	finish(err error)
}

// call is the part that every request has. Its error may be read once done is
// closed.
type call struct {
	until time.Time
	done  chan struct{}
	err   error
}

func newCall(patience time.Duration) call {
	return call{until: time.Now().Add(patience), done: make(chan struct{})}
}

func (c *call) expires() time.Time { return c.until }

func (c *call) finish(err error) {
	c.err = err
	close(c.done)
}

// maxWaiting bounds a queue. There is one request for each caller, so only a
// server that hangs brings so many together.
const maxWaiting = 1 << 16

// queue is where callers and workers meet. What comes together is taken together.
type queue[R request] struct {
	mu      sync.Mutex
	waiting []R
	closed  bool
	ready   chan struct{} // holds a token while something may be waiting
}

func newQueue[R request]() *queue[R] { return &queue[R]{ready: make(chan struct{}, 1)} }

func (q *queue[R]) signal() {
	select {
	case q.ready <- struct{}{}:
	default:
	}
}

// join adds a request, unless the queue is closed or full.
func (q *queue[R]) join(r R) error {
	q.mu.Lock()
	switch {
	case q.closed:
		q.mu.Unlock()
		return errClosed
	case len(q.waiting) >= maxWaiting:
		q.mu.Unlock()
		return errTimeout
	}
	q.waiting = append(q.waiting, r)
	q.mu.Unlock()
	q.signal()
	return nil
}

// wait returns when something is waiting, for the worker that then takes it; false
// once the queue is closed and nothing is left in it.
func (q *queue[R]) wait() bool {
	for range q.ready {
		q.mu.Lock()
		some, closed := len(q.waiting) > 0, q.closed
		q.mu.Unlock()
		if some {
			return true
		}
		if closed {
			q.signal() // for the other workers
			return false
		}
	}
	return false
}

// gather lets callers that are just being answered, or about to call, join: it
// returns when nobody has come while others had the processor.
func (q *queue[R]) gather(enough int) {
	for was := -1; ; {
		q.mu.Lock()
		n := len(q.waiting)
		q.mu.Unlock()
		if n <= was || n >= enough {
			return
		}
		was = n
		runtime.Gosched()
	}
}

// take removes up to max requests, and answers those that came too late.
func (q *queue[R]) take(max int) []R {
	now := time.Now()
	q.mu.Lock()
	defer q.mu.Unlock()
	var some []R
	for len(q.waiting) > 0 && len(some) < max {
		r := q.waiting[0]
		q.waiting = q.waiting[1:]
		if r.expires().After(now) {
			some = append(some, r)
		} else {
			r.finish(errTimeout)
		}
	}
	q.leave()
	return some
}

// expire answers what came too late.
func (q *queue[R]) expire() {
	now := time.Now()
	q.mu.Lock()
	defer q.mu.Unlock()
	kept := q.waiting[:0]
	for _, r := range q.waiting {
		if r.expires().After(now) {
			kept = append(kept, r)
		} else {
			r.finish(errTimeout)
		}
	}
	clear(q.waiting[len(kept):])
	q.waiting = kept
	q.leave()
}

// leave sees to what a worker has left waiting.
func (q *queue[R]) leave() {
	if len(q.waiting) == 0 {
		q.waiting = nil
	}
	if len(q.waiting) > 0 || q.closed {
		q.signal()
	}
}

// close lets nobody join. What waits is still done.
func (q *queue[R]) close() {
	q.mu.Lock()
	q.closed = true
	q.mu.Unlock()
	q.signal()
}
