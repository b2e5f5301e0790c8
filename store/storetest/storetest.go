// Package storetest holds the tests that every store passes. A store that does
// not pass them breaks the promise of package rescind: that a session which was
// ended stays ended, for every check that begins after the ending returned.
//
//	func TestConformance(t *testing.T) {
//		storetest.Run(t, func(t testing.TB, now func() time.Time) storetest.Instance { … })
//	}
//
// There are three parts. The clauses are the contract of [rescind.Store], each a
// subtest with the name of what it demands. The random walk takes many steps in
// any order, restarts and purges between them, and compares everything that can
// be read with an oracle after each one. [Faulty] makes any store fail where a
// test says so. The flags of pgregory.net/rapid (-rapid.checks, -rapid.steps,
// -rapid.seed) make the walk longer.
//
// The package's own tests run all of it against the oracle and then against
// oracles with one planted bug each: every clause is seen to fail.
package storetest

import (
	"sync"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/rescind/rescind"
)

// Factory opens a new, empty store. It is called once for each test, and for
// each walk; what it opened is closed by the end of that test. now is the time
// that the store should live by; a store with a time of its own may ignore it.
// The time it returns stands still except where a test moves it.
type Factory func(t testing.TB, now func() time.Time) Instance

// Instance is an open store. Restart closes what is open and opens the same
// state again, as a new process would. Nothing else closes Store before the
// test has ended; it may be closed twice.
type Instance struct {
	Store   rescind.Store
	Restart func() rescind.Store
}

// Run runs every test against the store that f opens.
func Run(t *testing.T, f Factory) {
	for _, c := range clauses() {
		t.Run(c.name, func(t *testing.T) {
			k := newClock()
			c.run(newTrial(t, k, f(t, k.now)))
		})
	}
	t.Run("RandomWalk", func(t *testing.T) {
		rapid.Check(t, func(rt *rapid.T) {
			k := newClock()
			walk(rt, newTrial(rt, k, f(t, k.now)))
		})
	})
}

// T is the part of testing.TB that the tests report to, so that a test of the
// tests can watch one fail.
type T interface {
	Helper()
	Logf(format string, args ...any)
	Errorf(format string, args ...any)
	Fatalf(format string, args ...any)
}

// clause is one demand of the contract.
type clause struct {
	name string
	run  func(*trial)
}

func clauses() []clause {
	var all []clause
	for _, part := range [][]clause{
		sessionClauses(), endClauses(), touchClauses(), cutoffClauses(), feedClauses(), listClauses(),
		eventClauses(), configClauses(), purgeClauses(), lifeClauses(), raceClauses(), shardClauses(),
	} {
		all = append(all, part...)
	}
	return all
}

// clock is the time that stores are given. It starts at the present, because a
// store may take its time from elsewhere, and stands still.
type clock struct {
	mu sync.Mutex
	t  time.Time
}

func newClock() *clock { return &clock{t: time.Now().Truncate(time.Millisecond)} }

func (k *clock) now() time.Time {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.t
}

func (k *clock) move(d time.Duration) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.t = k.t.Add(d)
}
