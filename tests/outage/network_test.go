package outage

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/rescind/rescind"
	"github.com/rescind/rescind/tests/nodes"
	"github.com/rescind/rescind/tests/proxy"
)

// TestASlowAndLossyNetworkGivesNoWrongAnswer puts 50 ms each way and a loss of 1 %
// between nodes and ledger.
func TestASlowAndLossyNetworkGivesNoWrongAnswer(t *testing.T) {
	onEach(t, func(t *testing.T, l *ledger) {
		var urls []string
		var proxies []*proxy.Proxy
		for range 2 {
			p := proxy.Start(t, l.addr)
			proxies, urls = append(proxies, p), append(urls, l.url(p.Addr()))
		}
		all, ask := nodes.Start(t, program, urls), newAsker(t)
		for _, p := range proxies {
			p.Slow(50 * time.Millisecond)
			p.Lose(0.01)
		}
		var answered, refused atomic.Int64
		var mu sync.Mutex
		var longest time.Duration
		// timed counts, and says whether there was an answer.
		timed := func(what string, err error, begun time.Time) bool {
			took := time.Since(begun)
			mu.Lock()
			longest = max(longest, took)
			mu.Unlock()
			switch {
			case errors.Is(err, nodes.ErrLost):
				t.Errorf("%s: %v", what, err)
			case errors.Is(err, rescind.ErrUnavailable):
				refused.Add(1)
				return false
			}
			answered.Add(1)
			return true
		}
		const enough = 100
		begun := time.Now()
		goOn := func() bool {
			took := time.Since(begun)
			return took < 4*time.Second || answered.Load() < enough && took < patience
		}
		var each sync.WaitGroup
		for n := range 32 {
			each.Go(func() {
				ctx := context.Background()
				here, there := all[n%2].URL, all[1-n%2].URL
				for i := 0; goOn(); i++ {
					begun := time.Now()
					g, err := ask.Login(ctx, here, nodes.Opaque, fmt.Sprintf("subject-%d-%d", n, i), rescind.SessionID{})
					if !timed("login", err, begun) {
						continue
					}
					if err != nil {
						t.Errorf("login: %v", err)
						return
					}
					begun = time.Now()
					if err = ask.ForwardAuth(ctx, there, g.Access); timed("check", err, begun) && err != nil {
						t.Errorf("a token that stands: %v", err)
					}
					begun = time.Now()
					if err = ask.Logout(ctx, here, g.Access, false); !timed("logout", err, begun) {
						continue
					}
					if err != nil {
						t.Errorf("logout: %v", err)
					}
					begun = time.Now()
					if err = ask.ForwardAuth(ctx, there, g.Access); timed("check", err, begun) && !errors.Is(err, rescind.ErrInactive) {
						t.Errorf("a token after its logout: %v", err)
					}
				}
			})
		}
		each.Wait()
		t.Logf("%d answers, %d times \"unavailable\"; the slowest took %s", answered.Load(), refused.Load(), longest.Round(time.Millisecond))
		if answered.Load() < enough {
			t.Error("too few answers: this shows nothing")
		}
		if longest > 2*deadline+busy { // a logout looks up and then ends
			t.Errorf("an answer took %s", longest)
		}
	})
}

// TestARollingUpgradeFailsNoCheck stops three nodes under load by SIGTERM, one after
// another, and starts each again. Whoever goes round-robin, and on to the next node
// when a connection is closed, sees nothing of it.
func TestARollingUpgradeFailsNoCheck(t *testing.T) {
	onEach(t, func(t *testing.T, l *ledger) {
		all, ask := l.nodes(t, 3), newAsker(t)
		stands, over := login(t, ask, all[0], "stands"), login(t, ask, all[0], "over")
		logout(t, ask, all[1], over)
		stops := make([]atomic.Int64, len(all)) // of each node, begun and ended: odd while it stops
		var checks, closed atomic.Int64
		stop := make(chan struct{})
		var each sync.WaitGroup
		for n := range 16 {
			each.Go(func() {
				for i := n; ; i++ {
					select {
					case <-stop:
						return
					default:
					}
					at, g := i%len(all), []nodes.Tokens{stands, over}[n%2]
					before := stops[at].Load()
					err := check(t, ask, all[at], g)
					checks.Add(1)
					stopped := before%2 == 1 || stops[at].Load() != before
					switch {
					case errors.Is(err, nodes.ErrLost) && !errors.Is(err, context.DeadlineExceeded) && stopped:
						closed.Add(1)
					case n%2 == 0 && err != nil, n%2 == 1 && !errors.Is(err, rescind.ErrInactive):
						t.Errorf("node %d, which is replaced: %t: %v", at, stopped, err)
						return
					}
				}
			})
		}
		for i, n := range all {
			time.Sleep(200 * time.Millisecond)
			stops[i].Add(1)
			n.Stop(t)
			n.Again(t)
			stops[i].Add(1)
		}
		time.Sleep(200 * time.Millisecond)
		close(stop)
		each.Wait()
		t.Logf("%d checks; %d connections were closed by a stop", checks.Load(), closed.Load())
	})
}
