package rescind_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/rescind/rescind"
	"github.com/rescind/rescind/store/pebblestore"
)

// testament is a Witness that outlives its node.
type testament struct {
	t   rescind.Testimony
	err error
}

func (m *testament) Recall() (rescind.Testimony, error) { return m.t, m.err }
func (m *testament) Remember(t rescind.Testimony) error { m.t = t; return m.err }

// snapshot copies the store's folder while it is closed.
func (w *world) snapshot() vfs.FS {
	w.t.Helper()
	w.Authority.Close()
	if err := w.store.Close(); err != nil {
		w.t.Fatal(err)
	}
	old := w.cloned(w.fs)
	w.open()
	w.conf.Store = w.store
	w.start()
	return old
}

func (w *world) cloned(from vfs.FS) vfs.FS {
	w.t.Helper()
	to := vfs.NewMem()
	if ok, err := vfs.Clone(from, to, "data", "data"); err != nil || !ok {
		w.t.Fatalf("clone: %v, %v", ok, err)
	}
	return to
}

// restore stops the node and starts it again on an old folder, in which meanwhile
// something else may have happened.
func (w *world) restore(old vfs.FS, meanwhile ...func(*pebblestore.Store)) {
	w.t.Helper()
	w.Authority.Close()
	if err := w.store.Close(); err != nil {
		w.t.Fatal(err)
	}
	w.fs = w.cloned(old)
	w.open()
	for _, f := range meanwhile {
		f(w.store.(*pebblestore.Store))
	}
	w.conf.Store = w.store
	w.start()
}

func (w *world) wentBack() int {
	w.t.Helper()
	page, err := w.Events(context.Background(), rescind.EventQuery{Kind: rescind.EventStoreWentBack})
	if err != nil {
		w.t.Fatal(err)
	}
	return len(page.Events)
}

func (w *world) stillGood(what string, g rescind.Grant) {
	w.t.Helper()
	if _, err := w.Check(context.Background(), g.AccessToken.Reveal(), rescind.Want{}); err != nil {
		w.t.Errorf("%s: the access token: %v", what, err)
	}
}

// what happened after the snapshot, and is evidence of it.
var evidence = map[string]func(w *world, a rescind.Grant){
	"an ending":    func(w *world, a rescind.Grant) { w.logout(a) },
	"a new client": func(w *world, _ rescind.Grant) { w.client(rescind.Client{ID: "late", Public: true}) },
	"a revoked key": func(w *world, _ rescind.Grant) {
		if err := w.revokeKeys(rescind.KeyUseSign); err != nil {
			w.t.Fatal(err)
		}
	},
}

func (w *world) logout(g rescind.Grant) {
	w.t.Helper()
	if _, err := w.Logout(context.Background(), g.RefreshToken.Reveal(), false); err != nil {
		w.t.Fatal(err)
	}
}

// TestNothingIsRevivedByAnOldCopyOfTheStore restores a snapshot behind the node's
// back. Law 3: no restored copy revives an ended session.
func TestNothingIsRevivedByAnOldCopyOfTheStore(t *testing.T) {
	for name, happen := range evidence {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, func(c *rescind.Config) { c.Witness = new(testament) })
			a, b := w.login("alice", "app"), w.login("bob", "app")
			w.logout(w.login("carol", "app"))
			old := w.snapshot()
			happen(w, a)
			if _, err := w.Upkeep(context.Background()); err != nil {
				t.Fatal(err)
			}
			if n := w.wentBack(); n != 0 {
				t.Fatalf("it has gone back %d times before it did", n)
			}
			w.restore(old)
			w.dead("app", a)
			w.dead("app", b)
			if n := w.wentBack(); n != 1 {
				t.Fatalf("%d events say so", n)
			}

			c := w.login("carol", "app")
			w.restart()
			w.stillGood("a login afterwards, and a restart", c)
			w.restore(old) // the same copy once more: in an epoch that had been left
			w.dead("app", a)
			w.dead("app", c)
		})
	}
}

// TestAnotherPastIsNoticed: the old copy has gone on without the node, further
// than the node remembers. Only the endings themselves tell the two apart.
func TestAnotherPastIsNoticed(t *testing.T) {
	w := newWorld(t, func(c *rescind.Config) { c.Witness = new(testament) })
	a := w.login("alice", "app")
	others := []rescind.Grant{w.login("bob", "app"), w.login("bob", "app"), w.login("bob", "app")}
	old := w.snapshot()
	w.logout(a)
	if _, err := w.Upkeep(context.Background()); err != nil {
		t.Fatal(err)
	}
	w.restore(old, func(s *pebblestore.Store) {
		for _, g := range others {
			end := rescind.End{Session: g.Session, At: s.Now(), Reason: rescind.ReasonRevoked, Event: rescind.Event{Kind: rescind.EventSessionEnded, At: s.Now()}}
			if _, err := s.End(context.Background(), end); err != nil {
				t.Fatal(err)
			}
		}
	})
	w.dead("app", a)
	if n := w.wentBack(); n != 1 {
		t.Errorf("%d events say so", n)
	}
}

// switching is a store that a test exchanges while a node uses it.
type switching struct{ rescind.Store }

// cut is a store whose connection is lost.
type cut struct{ rescind.Store }

func (cut) Lookup(context.Context, rescind.SessionID) (rescind.Snapshot, error) {
	return rescind.Snapshot{}, fmt.Errorf("%w: connection lost", rescind.ErrUnavailable)
}

// newSwitching returns a world, its store, and an older state of that store.
func newSwitching(t *testing.T, before func(w *world)) (w *world, now *switching, past rescind.Store) {
	t.Helper()
	w = newWorld(t)
	before(w)
	past, err := pebblestore.Open("data", pebblestore.Options{FS: w.snapshot(), Now: w.clock.Now, Timeout: time.Minute})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := past.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	now = &switching{w.store}
	w.Authority.Close()
	w.conf.Store = now
	w.start()
	return w, now, past
}

// TestARunningNodeNoticesThatItsStoreWentBack: nothing is restarted, and the node
// has no Witness but its own memory.
func TestARunningNodeNoticesThatItsStoreWentBack(t *testing.T) {
	for _, notices := range []string{"at upkeep", "when the store is back after an outage", "by the version of the configuration"} {
		for _, remembered := range []bool{true, false} {
			t.Run(fmt.Sprint(notices, ", remembered: ", remembered), func(t *testing.T) {
				var a, b rescind.Grant
				w, now, past := newSwitching(t, func(w *world) {
					a, b = w.login("alice", "app"), w.login("bob", "app")
				})
				w.logout(a)
				w.dead("app", a)
				if remembered { // else the acknowledgement alone is the evidence
					if _, err := w.Upkeep(context.Background()); err != nil {
						t.Fatal(err)
					}
				}
				if notices == "by the version of the configuration" {
					w.client(rescind.Client{ID: "late", Public: true})
				}
				present := now.Store
				now.Store = past
				switch notices {
				case "at upkeep":
					if _, err := w.Upkeep(context.Background()); err != nil {
						t.Fatal(err)
					}
				case "when the store is back after an outage":
					now.Store = cut{present}
					if _, err := w.Check(context.Background(), a.AccessToken.Reveal(), rescind.Want{}); !errors.Is(err, rescind.ErrUnavailable) {
						t.Fatalf("outage: %v", err)
					}
					now.Store = past
				}
				w.dead("app", a)
				w.dead("app", b)
				if n := w.wentBack(); n != 1 {
					t.Errorf("%d events say so", n)
				}
				w.stillGood("a login afterwards", w.login("alice", "app"))
				if _, err := w.Upkeep(context.Background()); err != nil {
					t.Fatal(err)
				}
				w.stillGood("a login after upkeep", w.login("alice", "app"))
				if n := w.wentBack(); n != 1 {
					t.Errorf("%d events say so in the end", n)
				}
			})
		}
	}
}

// TestSettingsGoBackWithTheirStore: a node that has read newer settings than its
// store holds ends everything, and takes the store's.
func TestSettingsGoBackWithTheirStore(t *testing.T) {
	var a rescind.Grant
	w, now, past := newSwitching(t, func(w *world) { a = w.login("alice", "app") })
	for i := range 5 {
		w.client(rescind.Client{ID: fmt.Sprint("late", i), Public: true})
	}
	w.login("bob", "late1")
	now.Store = past
	w.dead("app", a)
	if n := w.wentBack(); n != 1 {
		t.Errorf("%d events say so", n)
	}
	if _, err := w.Issue(context.Background(), rescind.Login{Subject: "bob", Client: "late1"}); !errors.Is(err, rescind.ErrNotFound) {
		t.Errorf("a login of a client that the store does not have: %v", err)
	}
}

// TestARefreshTokenAheadOfItsRecordIsEvidence: rotation leaves no ending in the
// feed, but the token itself tells.
func TestARefreshTokenAheadOfItsRecordIsEvidence(t *testing.T) {
	var a, b rescind.Grant
	w, now, past := newSwitching(t, func(w *world) { a, b = w.login("alice", "app"), w.login("bob", "app") })
	next, err := w.Refresh(context.Background(), rescind.Refresh{Token: a.RefreshToken.Reveal()})
	if err != nil {
		t.Fatal(err)
	}
	now.Store = past
	w.stillGood("before anybody could know", b)
	w.dead("app", next)
	w.dead("app", a)
	w.dead("app", b)
	if n := w.wentBack(); n != 1 {
		t.Errorf("%d events say so", n)
	}
}

// TestTwoNodesAgreeThatAStoreWentBack: the first to notice ends everything and
// makes an epoch, which the second takes as it is.
func TestTwoNodesAgreeThatAStoreWentBack(t *testing.T) {
	var a rescind.Grant
	w, now, past := newSwitching(t, func(w *world) { a = w.login("alice", "app") })
	second, err := rescind.New(context.Background(), w.conf)
	if err != nil {
		t.Fatal(err)
	}
	w.logout(a)
	for _, node := range []*rescind.Authority{w.Authority, second} {
		if _, err := node.Upkeep(context.Background()); err != nil {
			t.Fatal(err)
		}
	}
	now.Store = past
	if _, err := w.Upkeep(context.Background()); err != nil {
		t.Fatal(err)
	}
	w.dead("app", a)
	if _, err := second.Check(context.Background(), a.AccessToken.Reveal(), rescind.Want{}); !errors.Is(err, rescind.ErrInactive) {
		t.Errorf("on the other node: %v", err)
	}
	b := w.login("alice", "app")
	if _, err := second.Upkeep(context.Background()); err != nil {
		t.Fatal(err)
	}
	w.stillGood("a login between the two", b)
	if n := w.wentBack(); n != 1 {
		t.Errorf("%d events say so", n)
	}
}

// TestAnOrdinaryLifeIsNoEvidence: restarts, purged endings, a Witness that knows
// another store, one that knows nothing.
func TestAnOrdinaryLifeIsNoEvidence(t *testing.T) {
	kept := new(testament)
	w := newWorld(t, func(c *rescind.Config) { c.Witness = kept })
	g := w.login("alice", "app")
	step := func(what string) {
		t.Helper()
		if _, err := w.Upkeep(context.Background()); err != nil {
			t.Fatal(err)
		}
		w.stillGood(what, g)
		if n := w.wentBack(); n != 0 {
			t.Fatalf("%s: the store is said to have gone back", what)
		}
	}
	step("at first")
	for range 3 {
		w.logout(w.login("bob", "app"))
		w.restart()
		step("after an ending and a restart")
	}
	w.clock.Advance(30 * time.Minute) // the feed forgets
	g = w.login("alice", "app")
	step("after the feed's memory")
	step("after a purge")
	w.restart()
	step("a restart after a purge")
	if kept.t.Epoch == "" || kept.t.Config == 0 || len(kept.t.Marks) != 1 {
		t.Errorf("remembered: %+v", kept.t)
	}
	was := slices.Clone(kept.t.Marks)
	w.logout(w.login("bob", "app"))
	step("after a further ending")
	if slices.Equal(was, kept.t.Marks) {
		t.Errorf("a further ending was not remembered")
	}
	kept.t = rescind.Testimony{}
	w.restart()
	step("with an empty witness")
	kept.t.Epoch = "of another store"
	w.restart()
	step("with another store's witness")
}

// TestAWitnessThatCannotBeReadIsNoWitness: not knowing is not "all is well".
func TestAWitnessThatCannotBeReadIsNoWitness(t *testing.T) {
	kept := new(testament)
	w := newWorld(t, func(c *rescind.Config) { c.Witness = kept })
	kept.err = errors.New("disk full of worms")
	w.Authority.Close()
	if _, err := rescind.New(context.Background(), w.conf); !errors.Is(err, rescind.ErrUnavailable) {
		t.Errorf("New: %v", err)
	}
	kept.err = nil
	w.start()
}
