// Package outage takes the ledger away from nodes, slows it down, sets it back, and
// replaces the nodes, and asks all the while: no answer is wrong, none is late, and
// nobody has to help.
package outage

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/rescind/rescind"
	"github.com/rescind/rescind/tests/nodes"
	"github.com/rescind/rescind/tests/postgres"
	"github.com/rescind/rescind/tests/redis"
	"github.com/rescind/rescind/tests/server"
)

var program server.Program

func TestMain(m *testing.M) { server.Main(m, &program) }

const (
	// deadline is that of every call, and busy what a busy machine adds to it.
	deadline = 2 * time.Second
	busy     = 6 * time.Second
	// patience is how long nothing takes, however busy the machine is.
	patience = time.Minute
	// soon is a second, on a machine that is busy.
	soon = 10 * time.Second
)

// ledger is a server that can be taken away.
type ledger struct {
	addr         string
	url          func(addr string) string
	kill, again  func()
	freeze, thaw func()
	data         string // the folder with all that it keeps
}

var ledgers = map[string]func(t *testing.T) *ledger{
	"PostgreSQL": func(t *testing.T) *ledger {
		s := postgres.Start(t)
		return &ledger{
			addr: s.Addr(), url: func(addr string) string { return "postgres://rescind@" + addr + "/postgres?sslmode=disable" },
			kill: s.Kill, again: s.Restart, freeze: s.Freeze, thaw: s.Thaw, data: s.Folder(),
		}
	},
	"Redis": func(t *testing.T) *ledger {
		s := redis.Start(t)
		return &ledger{
			addr: s.Addr(), url: func(addr string) string { return "redis://" + addr },
			kill: s.Kill, again: func() { s.Restart() }, freeze: s.Freeze, thaw: s.Thaw, data: filepath.Join(s.Dir(), "appendonlydir"),
		}
	},
}

// onEach runs a test on a ledger of each kind.
func onEach(t *testing.T, test func(t *testing.T, l *ledger)) {
	for kind, start := range ledgers {
		t.Run(kind, func(t *testing.T) {
			t.Parallel() // they wait most of the time
			test(t, start(t))
		})
	}
}

func (l *ledger) nodes(t *testing.T, n int) []*nodes.Node {
	t.Helper()
	urls := make([]string, n)
	for i := range urls {
		urls[i] = l.url(l.addr)
	}
	return nodes.Start(t, program, urls)
}

func newAsker(t *testing.T) *nodes.Asker {
	a := nodes.NewAsker(patience)
	t.Cleanup(a.Close)
	return a
}

// unhurried asks again where a node had no answer because the deadline of a call had
// passed, which a busy machine can bring about; and for no other reason.
func unhurried(ask func() error) error {
	for first := time.Now(); ; {
		begun := time.Now()
		err := ask()
		if !errors.Is(err, rescind.ErrUnavailable) || time.Since(begun) < deadline || time.Since(first) > patience {
			return err
		}
	}
}

func login(t *testing.T, a *nodes.Asker, n *nodes.Node, subject string) (g nodes.Tokens) {
	t.Helper()
	must(t, unhurried(func() (err error) {
		g, err = a.Login(t.Context(), n.URL, nodes.Opaque, subject, rescind.SessionID{})
		return err
	}))
	return g
}

func logout(t *testing.T, a *nodes.Asker, n *nodes.Node, g nodes.Tokens) {
	t.Helper()
	must(t, unhurried(func() error { return a.Logout(t.Context(), n.URL, g.Access, false) }))
}

// check asks a node for an access token.
func check(t *testing.T, a *nodes.Asker, n *nodes.Node, g nodes.Tokens) error {
	return unhurried(func() error { return a.ForwardAuth(t.Context(), n.URL, g.Access) })
}

func introspect(t *testing.T, a *nodes.Asker, n *nodes.Node, g nodes.Tokens) error {
	return unhurried(func() error { return a.Introspect(t.Context(), n.URL, g.Access) })
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// TestALedgerThatIsGoneIsNoVerdict holds law 4: while the ledger is killed or hung
// every call is answered "unavailable", in time, and says nothing about any token.
// When it is back, the first request is answered as if nothing had been.
func TestALedgerThatIsGoneIsNoVerdict(t *testing.T) {
	onEach(t, func(t *testing.T, l *ledger) {
		all, ask := l.nodes(t, 2), newAsker(t)
		stands, over, spare := login(t, ask, all[0], "stands"), login(t, ask, all[0], "over"), login(t, ask, all[0], "spare")
		logout(t, ask, all[1], over)
		type call struct {
			what string
			do   func(ctx context.Context, node string) error
		}
		calls := []call{
			{"forward-auth", func(ctx context.Context, node string) error { return ask.ForwardAuth(ctx, node, stands.Access) }},
			{"forward-auth after a logout", func(ctx context.Context, node string) error { return ask.ForwardAuth(ctx, node, over.Access) }},
			{"introspection", func(ctx context.Context, node string) error { return ask.Introspect(ctx, node, stands.Access) }},
			{"introspection after a logout", func(ctx context.Context, node string) error { return ask.Introspect(ctx, node, over.Access) }},
			{"introspection of a refresh token", func(ctx context.Context, node string) error { return ask.Introspect(ctx, node, stands.Refresh) }},
			{"refresh", func(ctx context.Context, node string) error {
				_, err := ask.Refresh(ctx, node, nodes.Opaque, spare.Refresh)
				return err
			}},
			{"login", func(ctx context.Context, node string) error {
				_, err := ask.Login(ctx, node, nodes.Opaque, "late", rescind.SessionID{})
				return err
			}},
			{"logout", func(ctx context.Context, node string) error { return ask.Logout(ctx, node, spare.Access, false) }},
			{"DELETE", func(ctx context.Context, node string) error { return ask.End(ctx, node, spare.Session) }},
			{"revocation", func(ctx context.Context, node string) error {
				return ask.Revoke(ctx, node, map[string]any{"subject": "spare"})
			}},
		}
		for _, outage := range []struct {
			what        string
			begin, over func()
		}{{"killed", l.kill, l.again}, {"frozen", l.freeze, l.thaw}} {
			outage.begin()
			for range 2 { // the second time nodes know of it
				var longest time.Duration
				var mu sync.Mutex
				var each sync.WaitGroup
				for _, c := range calls {
					for _, n := range all {
						for range 2 {
							each.Go(func() {
								begun := time.Now()
								err := c.do(context.Background(), n.URL)
								took := time.Since(begun)
								if !errors.Is(err, rescind.ErrUnavailable) || errors.Is(err, nodes.ErrLost) || took > deadline+busy {
									t.Errorf("%s while the ledger is %s: %v after %s", c.what, outage.what, err, took)
								}
								mu.Lock()
								longest = max(longest, took)
								mu.Unlock()
							})
						}
					}
				}
				each.Wait()
				t.Logf("%s: the last answer came after %s", outage.what, longest.Round(time.Millisecond))
			}
			outage.over()
			for i, n := range all {
				if err := check(t, ask, n, stands); err != nil {
					t.Errorf("the first request to node %d after the ledger was %s: %v", i, outage.what, err)
				}
				if err := introspect(t, ask, n, over); !errors.Is(err, rescind.ErrInactive) {
					t.Errorf("a token that was logged out before the ledger was %s: %v", outage.what, err)
				}
				g := login(t, ask, n, "new")
				if err := unhurried(func() error {
					_, err := ask.Refresh(t.Context(), n.URL, nodes.Opaque, g.Refresh)
					return err
				}); err != nil {
					t.Errorf("a refresh after the ledger was %s: %v", outage.what, err)
				}
			}
		}
	})
}

// TestALedgerThatGoesBackEndsEverything restores an older copy of the ledger beneath
// nodes that live, and that were asked while it was away: what had ended since never
// passes again, everything else ends too, and the operator is told.
func TestALedgerThatGoesBackEndsEverything(t *testing.T) {
	onEach(t, func(t *testing.T, l *ledger) { goesBack(t, l, true) })
}

// TestALedgerThatGoesBackUnseenEndsEverythingSoon is the same where no request met
// the outage: then it is noticed within about a second.
func TestALedgerThatGoesBackUnseenEndsEverythingSoon(t *testing.T) {
	onEach(t, func(t *testing.T, l *ledger) { goesBack(t, l, false) })
}

func goesBack(t *testing.T, l *ledger, asked bool) {
	all, ask := l.nodes(t, 2), newAsker(t)
	stands, ended := login(t, ask, all[0], "stands"), login(t, ask, all[0], "ended")
	l.kill()
	old := filepath.Join(t.TempDir(), "old")
	copyFolder(t, old, l.data)
	l.again()
	var before [][]rescind.Mark
	for _, n := range all {
		before = append(before, n.Marks(t))
	}
	logout(t, ask, all[0], ended)
	if err := check(t, ask, all[1], ended); !errors.Is(err, rescind.ErrInactive) {
		t.Fatal(err)
	}
	for i, n := range all { // it has seen the ending
		for limit := time.Now().Add(patience); slices.Equal(n.Marks(t), before[i]); time.Sleep(10 * time.Millisecond) {
			if time.Now().After(limit) {
				t.Fatalf("node %d does not take down what the ledger tells", i)
			}
		}
	}

	l.kill()
	if asked {
		for _, n := range all {
			if err := ask.ForwardAuth(t.Context(), n.URL, stands.Access); !errors.Is(err, rescind.ErrUnavailable) {
				t.Fatal(err)
			}
		}
	}
	must(t, os.RemoveAll(l.data))
	copyFolder(t, l.data, old)
	l.again()
	back := time.Now()
	var passed time.Duration // when somebody passed last
	refused := map[string]bool{}
	for over := false; !over || time.Since(back) < time.Second; time.Sleep(5 * time.Millisecond) {
		over = true
		for _, n := range all {
			for _, g := range []nodes.Tokens{stands, ended} {
				begun := time.Since(back)
				switch err := ask.ForwardAuth(t.Context(), n.URL, g.Access); {
				case err == nil && (asked || refused[n.URL+g.Access]):
					t.Fatalf("a token passed %s after the ledger had come back", begun)
				case err == nil && begun > soon:
					t.Fatalf("it is not noticed that the ledger went back: a token passed after %s", begun)
				case err == nil:
					passed, over = begun, false
				case errors.Is(err, rescind.ErrInactive):
					refused[n.URL+g.Access] = true
				case errors.Is(err, rescind.ErrUnavailable):
					over = false
				default:
					t.Fatal(err)
				}
			}
		}
		if !over && time.Since(back) > patience {
			t.Fatal("the nodes do not answer again")
		}
	}
	t.Logf("the last token passed %s after the ledger had come back", passed.Round(time.Millisecond))
	for i, n := range all {
		for what, g := range map[string]nodes.Tokens{"stands": stands, "ended": ended} {
			if err := introspect(t, ask, n, g); !errors.Is(err, rescind.ErrInactive) {
				t.Errorf("node %d, %s: %v", i, what, err)
			}
		}
		events, err := ask.Events(t.Context(), n.URL, rescind.EventStoreWentBack)
		if err != nil || len(events) == 0 {
			t.Errorf("node %d tells nobody: %v, %v", i, events, err)
		}
		g := login(t, ask, n, "new")
		must(t, check(t, ask, all[1-i], g))
	}
}

// copyFolder keeps owners, as root: PostgreSQL insists on its own.
func copyFolder(t *testing.T, to, from string) {
	t.Helper()
	if out, err := exec.Command("cp", "-a", from, to).CombinedOutput(); err != nil {
		t.Fatal(fmt.Errorf("%w: %s", err, out))
	}
}
