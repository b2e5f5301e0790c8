package probe_test

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/rescind/rescind/probe"
	"github.com/rescind/rescind/tests/probe/targets"
	"github.com/rescind/rescind/tests/redis"
)

// TestARedisThatFailsOpenIsFound is about a blocklist in a real Redis that stops,
// before the run or in the middle of it. Who fails open is found out. Who fails
// closed is not accused, and has not passed either.
func TestARedisThatFailsOpenIsFound(t *testing.T) {
	for name, c := range map[string]struct {
		stop  func(*redis.Server)
		later bool // after the logout
	}{
		"killed":       {(*redis.Server).Kill, false},
		"frozen":       {(*redis.Server).Freeze, false},
		"killed later": {(*redis.Server).Kill, true},
	} {
		for form, open := range map[string]bool{"broken": true, "sound": false} {
			t.Run(name+"/"+form, func(t *testing.T) {
				t.Parallel()
				server := redis.Start(t)
				list := &targets.Blocklist{Open: open}
				if err := list.Connect(server.Addr()); err != nil {
					t.Fatal(err)
				}
				t.Cleanup(list.Redis.Close)
				a := targets.Start(t, targets.Options{Blocklist: list})
				stop := func() {
					c.stop(server)
					list.Silent.Store(true)
				}
				later := stop
				if !c.later {
					stop()
					later = func() {}
				}
				o := probe.Options{Only: aliveLater, Sleep: insteadOfWaiting(later)}
				report := run(t, a.Describe("delays: [0s, 200ms, 2m]"), o)
				want := probe.Inconclusive
				if open {
					want = probe.Finding
				}
				if got := report.Verdict(); got != want {
					t.Errorf("%s, want %s\n%s", got, want, table(report))
				}
			})
		}
	}
}

// aliveLater are the checks of a token that is taken again: the first says so if the
// machine was so busy that nothing vouched for its refusals.
var aliveLater = []string{"revives", "access-token-alive-after-logout"}

// insteadOfWaiting is how a run sleeps to which something happens: before the first
// replay that it would have to wait for longer than a minute, when those before it
// have had their answers. Nobody waits that long.
func insteadOfWaiting(happens func()) func(context.Context, time.Duration) error {
	var once sync.Once
	return func(ctx context.Context, d time.Duration) error {
		if d > time.Minute {
			once.Do(happens)
			return ctx.Err()
		}
		select {
		case <-time.After(d):
		case <-ctx.Done():
		}
		return ctx.Err()
	}
}
