package probe

import (
	"cmp"
	"context"
	"errors"
	"time"
)

// maxWait is how long a run waits in all because logins were answered with 429.
const maxWait = 2 * time.Minute

// A ration says how logins are made by a target that limits them. Once one was
// answered with 429 they are made one after the other, in the order in which they
// were asked for, and each is repeated until it goes through, or until the run has
// waited for maxWait. So no experiment takes the logins of all others.
type ration struct {
	latch  latch
	on     chan struct{} // closed when a login was answered with 429
	next   time.Time     // when the next login may be tried
	pause  time.Duration // how long to wait where an answer does not say
	waited time.Duration
}

func newRation() *ration {
	return &ration{latch: newLatch(), on: make(chan struct{}), pause: time.Second}
}

// limited reports whether logins are rationed.
func (l *ration) limited() bool {
	select {
	case <-l.on:
		return true
	default:
		return false
	}
}

// login logs a user in on an instance, with a new session. It counts failures.
func (r *run) login(ctx context.Context, user int, instance string) (*session, error) {
	l := r.ration
	var limited *limitedError
	if !l.limited() {
		s, err := r.tryLogin(ctx, user, instance)
		if !errors.As(err, &limited) {
			return s, err
		}
	}
	if err := l.latch.lock(ctx); err != nil {
		return nil, err
	}
	defer l.latch.unlock()
	if limited != nil && !l.limited() {
		close(l.on)
		r.remark("a login was answered with 429, so that logins were made one after the other, and with pauses. What there was no time for is inconclusive.")
		l.next = r.options.Now().Add(cmp.Or(limited.wait, l.pause))
	}
	for {
		wait := max(l.next.Sub(r.options.Now()), 0)
		if l.waited+wait > maxWait {
			return nil, &limitedError{}
		}
		l.waited += wait
		if err := r.options.Sleep(ctx, wait); err != nil {
			return nil, err
		}
		s, err := r.tryLogin(ctx, user, instance)
		if !errors.As(err, &limited) {
			l.pause = time.Second
			return s, err
		}
		l.next = r.options.Now().Add(cmp.Or(limited.wait, l.pause))
		l.pause *= 2
	}
}
