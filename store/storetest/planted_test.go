package storetest

import (
	"fmt"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/rescind/rescind"
)

// recorder is a T that a test may fail without failing.
type recorder struct {
	mu       sync.Mutex
	failures []string
}

func (r *recorder) Helper()             {}
func (r *recorder) Logf(string, ...any) {}
func (r *recorder) Errorf(format string, args ...any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.failures = append(r.failures, fmt.Sprintf(format, args...))
}

func (r *recorder) Fatalf(format string, args ...any) {
	r.Errorf(format, args...)
	runtime.Goexit()
}

func (r *recorder) failed() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return strings.Join(r.failures, "\n")
}

// watch runs f as a test of its own against an oracle with a bug, and returns
// how it failed, "" if it passed.
func watch(t *testing.T, shards int, plant func(*oracle) rescind.Store, f func(*trial)) string {
	t.Helper()
	r, done := &recorder{}, make(chan struct{})
	go func() {
		defer close(done)
		k := newClock()
		c := newTrial(r, k, instanceOf(newShardedOracle(k.now, max(shards, 1)), plant))
		c.patience = 200 * time.Millisecond
		f(c)
	}()
	select {
	case <-done:
	case <-time.After(5 * time.Minute):
		t.Fatal("the test hangs")
	}
	return r.failed()
}

// TestEveryClauseIsSeenToFail puts each planted bug around the oracle and runs
// those clauses against it that are there to find it.
func TestEveryClauseIsSeenToFail(t *testing.T) {
	byName := map[string]clause{}
	for _, c := range clauses() {
		if _, twice := byName[c.name]; twice {
			t.Errorf("two clauses are named %s", c.name)
		}
		byName[c.name] = c
	}
	unseen := make(map[string]bool, len(byName))
	for name := range byName {
		unseen[name] = true
	}
	for _, b := range bugs() {
		for _, name := range b.found {
			delete(unseen, name)
			t.Run(b.name+"/"+name, func(t *testing.T) {
				c, ok := byName[name]
				if !ok {
					t.Fatal("there is no such clause")
				}
				how := watch(t, b.shards, b.plant, c.run)
				for tries := 1; how == "" && tries < 10 && slices.ContainsFunc(raceClauses(), func(r clause) bool { return r.name == name }); tries++ {
					how = watch(t, b.shards, b.plant, c.run) // two calls may miss each other, where there is one processor
				}
				if how == "" {
					t.Fatal("the clause does not find the bug")
				}
				t.Log(strings.SplitN(how, "\n", 2)[0])
			})
		}
	}
	for name := range unseen {
		t.Errorf("no planted bug shows that the clause %s can fail", name)
	}
}

// TestWalkFindsPlantedBugs: the random walk finds them without being told where
// to look, those apart that need two calls at once or a store that is closed.
func TestWalkFindsPlantedBugs(t *testing.T) {
	t.Parallel()
	for _, b := range bugs() {
		if b.hidden {
			continue
		}
		t.Run(b.name, func(t *testing.T) {
			t.Parallel()
			for seed := range 400 {
				how := watch(t, b.shards, b.plant, func(c *trial) {
					rapid.Custom(func(rt *rapid.T) bool { walk(rt, c); return true }).Example(seed)
				})
				if how != "" {
					t.Logf("walk %d: %s", seed, strings.SplitN(how, "\n", 2)[0])
					return
				}
			}
			t.Fatal("400 walks do not find the bug")
		})
	}
}

// TestWalkPassesTheOracle keeps the test above from passing for the wrong reason.
func TestWalkPassesTheOracle(t *testing.T) {
	for seed := range 50 {
		how := watch(t, []int{1, 4}[seed%2], func(o *oracle) rescind.Store { return o }, func(c *trial) {
			rapid.Custom(func(rt *rapid.T) bool { walk(rt, c); return true }).Example(seed)
		})
		if how != "" {
			t.Fatalf("walk %d: %s", seed, how)
		}
	}
}

func TestShowSessionLeavesNothingOut(t *testing.T) {
	base := newSession("ann", "web", time.Now())
	shown := []string{showSession(base)}
	for _, change := range []func(*rescind.Session){
		func(s *rescind.Session) { s.ID[3]++ },
		func(s *rescind.Session) { s.Subject += "x" },
		func(s *rescind.Session) { s.Client += "x" },
		func(s *rescind.Session) { s.Audience = append(s.Audience, "x") },
		func(s *rescind.Session) { s.Scope += "x" },
		func(s *rescind.Session) { s.Claims = append(s.Claims, 'x') },
		func(s *rescind.Session) { s.Device.Name += "x" },
		func(s *rescind.Session) { s.Device.UserAgent += "x" },
		func(s *rescind.Session) { s.Device.IP += "x" },
		func(s *rescind.Session) { s.CreatedAt = s.CreatedAt.Add(1) },
		func(s *rescind.Session) { s.ExpiresAt = s.ExpiresAt.Add(1) },
		func(s *rescind.Session) { s.IdleTimeout++ },
		func(s *rescind.Session) { s.AccessLifetime++ },
		func(s *rescind.Session) { s.LastActive = s.LastActive.Add(1) },
		func(s *rescind.Session) { s.Generation++ },
		func(s *rescind.Session) { s.RotatedAt = s.RotatedAt.Add(1) },
		func(s *rescind.Session) { s.Salt[2]++ },
		func(s *rescind.Session) { s.MACKey[2]++ },
		func(s *rescind.Session) { s.Access[0].ID[2]++ },
		func(s *rescind.Session) { s.Access[0].Generation++ },
		func(s *rescind.Session) { s.Access[0].Scope += "x" },
		func(s *rescind.Session) { s.Access[0].IssuedAt = s.Access[0].IssuedAt.Add(1) },
		func(s *rescind.Session) { s.Access[0].ExpiresAt = s.Access[0].ExpiresAt.Add(1) },
		func(s *rescind.Session) { s.Access = nil },
		func(s *rescind.Session) { s.Birth++ },
		func(s *rescind.Session) { s.Version++ },
		func(s *rescind.Session) { s.Confirmation += "x" },
		func(s *rescind.Session) { s.EndedAt = s.CreatedAt },
		func(s *rescind.Session) { s.EndReason += "x" },
	} {
		s := cloneSession(base)
		change(&s)
		shown = append(shown, showSession(s))
	}
	if n := len(shown); len(slices.Compact(slices.Sorted(slices.Values(shown)))) != n {
		t.Error("two sessions that differ are shown alike")
	}
}
