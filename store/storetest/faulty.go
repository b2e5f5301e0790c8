package storetest

import (
	"context"
	"fmt"
	"reflect"
	"sync"
	"time"

	"github.com/rescind/rescind"
)

// Fault is what happens to one call of a store.
type Fault uint8

// Faults come in pairs, because the caller cannot tell them apart: after either
// error the step may have been taken or not. Both wrap [rescind.ErrUnavailable].
const (
	// NoFault lets the call through.
	NoFault Fault = iota
	// FailBefore fails without calling the store.
	FailBefore
	// FailAfter calls the store, throws the result away, and fails. A call that
	// the store itself refused fails the same way.
	FailAfter
	// Hang does not call the store and fails when the context ends.
	Hang
	// HangAfter calls the store, and then does as Hang.
	HangAfter
)

// Script decides the fate of a call: of a method, by its name, and its number
// among the calls of that method, from 0. It may be called concurrently.
type Script func(method string, call int) Fault

// Always returns a script that puts one fault on every call of a method.
func Always(method string, f Fault) Script {
	return func(m string, _ int) Fault {
		if m == method {
			return f
		}
		return NoFault
	}
}

// Nth returns a script that puts one fault on one call of a method, from 0.
func Nth(method string, n int, f Fault) Script {
	return func(m string, call int) Fault {
		if m == method && call == n {
			return f
		}
		return NoFault
	}
}

// Methods returns the names of the methods of [rescind.Store] that a fault can
// befall: those that return an error. A test that goes through all of them
// covers a method that is added later too.
func Methods() []string {
	var names []string
	store, failure := reflect.TypeFor[rescind.Store](), reflect.TypeFor[error]()
	for i := range store.NumMethod() {
		m := store.Method(i)
		if n := m.Type.NumOut(); n > 0 && m.Type.Out(n-1) == failure {
			names = append(names, m.Name)
		}
	}
	return names
}

// Faulty is a store whose calls fail as a script says.
type Faulty struct {
	store rescind.Store

	mu     sync.Mutex
	script Script
	calls  map[string]int
}

// NewFaulty returns s with faults; a nil script has none.
func NewFaulty(s rescind.Store, script Script) *Faulty {
	return &Faulty{store: s, script: script, calls: map[string]int{}}
}

// Follow sets another script. The numbers of calls begin anew.
func (f *Faulty) Follow(script Script) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.script, f.calls = script, map[string]int{}
}

// Calls returns how often a method was called since the script was set, calls
// that failed included.
func (f *Faulty) Calls(method string) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.calls[method]
}

func (f *Faulty) decide(method string) Fault {
	f.mu.Lock()
	n, script := f.calls[method], f.script
	f.calls[method]++
	f.mu.Unlock()
	if script == nil {
		return NoFault
	}
	return script(method, n)
}

// try runs one call and its fault.
func try[R any](ctx context.Context, f *Faulty, method string, call func() (R, error)) (R, error) {
	var nothing R
	switch f.decide(method) {
	case FailBefore:
		return nothing, fmt.Errorf("%w: %s: planted fault, not done", rescind.ErrUnavailable, method)
	case FailAfter:
		_, _ = call() // its outcome is what the caller must not learn
		return nothing, fmt.Errorf("%w: %s: planted fault, outcome unknown", rescind.ErrUnavailable, method)
	case HangAfter:
		_, _ = call() // its outcome is what the caller must not learn
		fallthrough
	case Hang:
		<-ctx.Done()
		return nothing, fmt.Errorf("%w: %s: planted hang: %w", rescind.ErrUnavailable, method, ctx.Err())
	}
	return call()
}

// only makes a call without a result one with an empty result.
func only(err error) (struct{}, error) { return struct{}{}, err }

// Now returns the store's time; it cannot fail.
func (f *Faulty) Now() time.Time { return f.store.Now() }

// Create implements [rescind.Store].
func (f *Faulty) Create(ctx context.Context, c rescind.Creation) (rescind.Position, error) {
	return try(ctx, f, "Create", func() (rescind.Position, error) { return f.store.Create(ctx, c) })
}

// Lookup implements [rescind.Store].
func (f *Faulty) Lookup(ctx context.Context, id rescind.SessionID) (rescind.Snapshot, error) {
	return try(ctx, f, "Lookup", func() (rescind.Snapshot, error) { return f.store.Lookup(ctx, id) })
}

// Replace implements [rescind.Store].
func (f *Faulty) Replace(ctx context.Context, r rescind.Replacement) error {
	_, err := try(ctx, f, "Replace", func() (struct{}, error) { return only(f.store.Replace(ctx, r)) })
	return err
}

// End implements [rescind.Store].
func (f *Faulty) End(ctx context.Context, e rescind.End) (rescind.Ended, error) {
	return try(ctx, f, "End", func() (rescind.Ended, error) { return f.store.End(ctx, e) })
}

// MoveCutoff implements [rescind.Store].
func (f *Faulty) MoveCutoff(ctx context.Context, m rescind.CutoffMove) (rescind.Position, error) {
	return try(ctx, f, "MoveCutoff", func() (rescind.Position, error) { return f.store.MoveCutoff(ctx, m) })
}

// Touch implements [rescind.Store].
func (f *Faulty) Touch(ctx context.Context, id rescind.SessionID, at time.Time) error {
	_, err := try(ctx, f, "Touch", func() (struct{}, error) { return only(f.store.Touch(ctx, id, at)) })
	return err
}

// List implements [rescind.Store].
func (f *Faulty) List(ctx context.Context, q rescind.ListQuery) (rescind.ListPage, error) {
	return try(ctx, f, "List", func() (rescind.ListPage, error) { return f.store.List(ctx, q) })
}

// Feed implements [rescind.Store].
func (f *Faulty) Feed(ctx context.Context, after rescind.Position, max int) (rescind.FeedPage, error) {
	return try(ctx, f, "Feed", func() (rescind.FeedPage, error) { return f.store.Feed(ctx, after, max) })
}

// Events implements [rescind.Store].
func (f *Faulty) Events(ctx context.Context, q rescind.EventQuery) (rescind.EventPage, error) {
	return try(ctx, f, "Events", func() (rescind.EventPage, error) { return f.store.Events(ctx, q) })
}

// Config implements [rescind.Store].
func (f *Faulty) Config(ctx context.Context) (rescind.StoreConfig, error) {
	return try(ctx, f, "Config", func() (rescind.StoreConfig, error) { return f.store.Config(ctx) })
}

// ConfigVersion implements [rescind.Store].
func (f *Faulty) ConfigVersion(ctx context.Context) (uint64, error) {
	return try(ctx, f, "ConfigVersion", func() (uint64, error) { return f.store.ConfigVersion(ctx) })
}

// Configure implements [rescind.Store].
func (f *Faulty) Configure(ctx context.Context, c rescind.Change) (rescind.Position, error) {
	return try(ctx, f, "Configure", func() (rescind.Position, error) { return f.store.Configure(ctx, c) })
}

// Purge implements [rescind.Store].
func (f *Faulty) Purge(ctx context.Context, q rescind.PurgeStep) (rescind.Purged, error) {
	return try(ctx, f, "Purge", func() (rescind.Purged, error) { return f.store.Purge(ctx, q) })
}

// Close implements [rescind.Store]. It has no context, so a hang ends at once.
func (f *Faulty) Close() error {
	over, end := context.WithCancel(context.Background())
	end()
	_, err := try(over, f, "Close", func() (struct{}, error) { return only(f.store.Close()) })
	return err
}
