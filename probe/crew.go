package probe

import (
	"context"
	"fmt"
	"path"
	"runtime"
	"strings"
	"sync"
)

// A crew is goroutines that are waited for together. The probe begins none in any
// other way: a panic in one would end the program before the run has undone what it
// changed at the target.
type crew struct {
	ctx context.Context
	wg  sync.WaitGroup
}

func newCrew(ctx context.Context) *crew { return &crew{ctx: ctx} }

// Go calls f in a goroutine. A panic in it is one of what the crew's context is of:
// see contained.
func (c *crew) Go(f func()) {
	c.wg.Go(func() {
		if of, is := c.ctx.Value(containmentKey{}).(*containment); is {
			defer of.catch()
		}
		f()
	})
}

// Wait returns when all of them have ended.
func (c *crew) Wait() { c.wg.Wait() }

// A containment is what a fault of the probe itself costs: an experiment, the
// controls, one thing to be undone; and never more than that.
type containment struct {
	run *run
	end context.CancelFunc

	mu    sync.Mutex
	fault error
}

type containmentKey struct{}

// contained calls f with a context of its own. A panic in f, or in a crew with that
// context, ends the context; it is remarked with the calls that led to it, and is
// the error, whatever f returns. It is a faultError.
func (r *run) contained(ctx context.Context, f func(context.Context) error) error {
	ctx, end := context.WithCancel(ctx)
	defer end()
	c := &containment{run: r, end: end}
	err := func() error {
		defer c.catch()
		return f(context.WithValue(ctx, containmentKey{}, c))
	}()
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.fault != nil {
		return c.fault
	}
	return err
}

// A faultError says that the probe itself has a fault.
type faultError struct{ text string }

func (e *faultError) Error() string {
	return "a fault of the probe itself, please report it: " + e.text
}

// catch is deferred where a panic has to stop.
func (c *containment) catch() {
	what := recover()
	if what == nil {
		return
	}
	text := fmt.Sprint(what)
	err := &faultError{c.run.secrets.mask(text[:min(len(text), maxFault)])}
	c.run.remark("%s (%s)", err, callers())
	c.mu.Lock()
	if c.fault == nil {
		c.fault = err
	}
	c.mu.Unlock()
	c.end()
}

// maxFault is how much is said of a panic, in bytes, and maxCalls how many of the
// calls that led to it.
const (
	maxFault = 500
	maxCalls = 12
)

// callers are the calls that led to a panic, by file and line: the values that they
// were made with could hold a secret.
func callers() string {
	pcs := make([]uintptr, 64)
	frames := runtime.CallersFrames(pcs[:runtime.Callers(1, pcs)])
	var calls []string
	panicked := false
	for {
		frame, more := frames.Next()
		own := !strings.HasPrefix(frame.Function, "runtime.")
		if panicked && own && len(calls) < maxCalls {
			calls = append(calls, fmt.Sprintf("%s:%d", path.Base(frame.File), frame.Line))
		}
		panicked = panicked || !own
		if !more {
			return strings.Join(calls, " ← ")
		}
	}
}
