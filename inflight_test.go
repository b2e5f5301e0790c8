package rescind_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/rescind/rescind"
)

// interrupted is a store before whose calls something else happens: what a
// request has read is no longer so when it writes.
type interrupted struct {
	rescind.Store
	replace, create, list func()
}

// once runs what is to come in between, the first time only.
func once(f *func()) {
	if run := *f; run != nil {
		*f = nil
		run()
	}
}

func (s *interrupted) Replace(ctx context.Context, r rescind.Replacement) error {
	once(&s.replace)
	return s.Store.Replace(ctx, r)
}

func (s *interrupted) Create(ctx context.Context, c rescind.Creation) (rescind.Position, error) {
	once(&s.create)
	return s.Store.Create(ctx, c)
}

func (s *interrupted) List(ctx context.Context, q rescind.ListQuery) (rescind.ListPage, error) {
	once(&s.list)
	return s.Store.List(ctx, q)
}

func interruptedWorld(t *testing.T, change ...func(*rescind.Config)) (*world, *interrupted) {
	t.Helper()
	w := newWorld(t, change...)
	s := &interrupted{Store: w.store}
	w.conf.Store = s
	w.start()
	return w, s
}

// TestRefreshInFlightDoesNotReviveWhatAMACKeyEnded revokes a retiring MAC key
// between the reading and the writing of a refresh: the session must not slip
// away to the current key.
func TestRefreshInFlightDoesNotReviveWhatAMACKeyEnded(t *testing.T) {
	ctx := context.Background()
	for _, form := range forms {
		w, s := interruptedWorld(t)
		w.client(form)
		g := w.login("alice", form.ID)
		infos, err := w.ListKeys(ctx)
		if err != nil {
			t.Fatal(err)
		}
		if err := w.RotateKey(ctx, rescind.KeyUseMAC, "test"); err != nil {
			t.Fatal(err)
		}
		s.replace = func() {
			for _, k := range infos {
				if k.Use != rescind.KeyUseMAC {
					continue
				}
				if _, err := w.Revoke(ctx, rescind.Revocation{Selector: rescind.Selector{Key: k.ID}}); err != nil {
					t.Fatal(err)
				}
			}
			if err := w.check(g.AccessToken); !errors.Is(err, rescind.ErrRevoked) {
				t.Fatalf("after its MAC key was revoked: %v", err)
			}
		}
		next, err := w.refresh(form.ID, g.RefreshToken)
		if err == nil {
			w.dead(form.ID, next)
		}
		w.dead(form.ID, g)
	}
}

// TestLimitCountsSessionsUnderAKeyThatIsNewHere has another node bring in a MAC
// key and log the subject in, after this one has read the configuration.
func TestLimitCountsSessionsUnderAKeyThatIsNewHere(t *testing.T) {
	ctx := context.Background()
	w, s := interruptedWorld(t, func(c *rescind.Config) { c.MaxSessions = 1 })
	other, err := rescind.New(ctx, w.conf)
	if err != nil {
		t.Fatal(err)
	}
	var first rescind.Grant
	s.list = func() {
		if err := other.RotateKey(ctx, rescind.KeyUseMAC, "test"); err != nil {
			t.Fatal(err)
		}
		if first, err = other.Issue(ctx, rescind.Login{Subject: "alice"}); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := w.Issue(ctx, rescind.Login{Subject: "alice"}); !errors.Is(err, rescind.ErrLimit) {
		t.Errorf("a second session: %v", err)
	}
	w.alive(first.AccessToken)
}

// TestLoginInFlightDoesNotOutliveItsClient removes a client while it logs
// somebody in. A new client of the same name does not inherit the session, and
// neither does the library's own one.
func TestLoginInFlightDoesNotOutliveItsClient(t *testing.T) {
	ctx := context.Background()
	for _, id := range []string{"web", rescind.DefaultClient} {
		for _, again := range []bool{false, true} {
			w, s := interruptedWorld(t)
			w.client(rescind.Client{ID: id})
			s.create = func() {
				if _, err := w.RemoveClient(ctx, id, "test"); err != nil {
					t.Fatal(err)
				}
				if again {
					w.clock.Advance(time.Millisecond)
					w.client(rescind.Client{ID: id})
				}
			}
			if _, err := w.Issue(ctx, rescind.Login{Subject: "alice", Client: id}); !errors.Is(err, rescind.ErrNotFound) {
				t.Errorf("%s, there again: %v: login says %v", id, again, err)
			}
			page, err := w.Sessions(ctx, rescind.SessionQuery{State: rescind.StateActive})
			if err != nil || len(page.Sessions) != 0 {
				t.Errorf("%s, there again: %v: %d sessions live, %v", id, again, len(page.Sessions), err)
			}
		}
	}
}

// TestRefreshInFlightDoesNotReviveAnIdleSession: somebody has been shown the
// session as ended while the refresh was between its reading and its writing.
func TestRefreshInFlightDoesNotReviveAnIdleSession(t *testing.T) {
	ctx := context.Background()
	w, s := interruptedWorld(t)
	g := w.login("alice", "app")
	w.clock.Advance(rescind.DefaultIdleTimeout - time.Second)
	state := func() string {
		t.Helper()
		v, err := w.Session(ctx, g.Session)
		if err != nil {
			t.Fatal(err)
		}
		return v.State
	}
	s.replace = func() {
		w.clock.Advance(time.Second)
		if got := state(); got != rescind.StateEnded {
			t.Fatalf("an idle session is shown as %s", got)
		}
		if err := w.store.Touch(ctx, g.Session, w.Now()); err != nil { // as in flight as the refresh
			t.Fatal(err)
		}
	}
	if next, err := w.refresh("app", g.RefreshToken); !errors.Is(err, rescind.ErrExpired) {
		t.Errorf("refresh: %v, %v", next, err)
	}
	if got := state(); got != rescind.StateEnded {
		t.Errorf("and is shown as %s again", got)
	}
	w.dead("app", g)
}
