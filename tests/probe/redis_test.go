package probe_test

import (
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
		later bool // some time after the logout
		finds string
	}{
		"killed":       {(*redis.Server).Kill, false, "access-token-alive-after-logout"},
		"frozen":       {(*redis.Server).Freeze, false, "access-token-alive-after-logout"},
		"killed later": {(*redis.Server).Kill, true, "revives"},
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
				if c.later {
					var stopper sync.WaitGroup
					stopper.Go(func() { stopAfterLogout(t, server, c.stop) })
					t.Cleanup(stopper.Wait)
				} else {
					c.stop(server)
				}
				only := []string{"access-token-alive-after-logout", "revives"}
				report := run(t, a.Describe("delays: [0s, 200ms, 2s]"), probe.Options{Only: only})
				got := verdicts(report, c.finds)[probe.Finding] > 0
				if got != open || report.Verdict() == probe.Pass || !open && report.Verdict() != probe.Inconclusive {
					t.Errorf("%s: %v, want %v\n%s", c.finds, got, open, table(report))
				}
			})
		}
	}
}

// stopAfterLogout stops a Redis when it has had the first token on its list for a
// while: long enough for a replay that is refused, and not for all of them.
func stopAfterLogout(t *testing.T, server *redis.Server, stop func(*redis.Server)) {
	for server.Do("DBSIZE") == "0" {
		select {
		case <-t.Context().Done():
			return
		case <-time.After(5 * time.Millisecond):
		}
	}
	time.Sleep(600 * time.Millisecond)
	stop(server)
}
