package rescind_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rescind/rescind"
	"github.com/rescind/rescind/store/storetest"
)

// faultyWorld is a world whose store fails as a script says.
func faultyWorld(t *testing.T) (*world, *storetest.Faulty) {
	var f *storetest.Faulty
	w := newWorld(t, func(c *rescind.Config) {
		c.MaxSessions = 100 // so that logins list as well
		c.LimitPolicy = rescind.LimitEndOldest
		c.AccessLifetime = 12 * time.Hour
	})
	f = storetest.NewFaulty(w.store, nil)
	w.conf.Store = f
	w.start()
	return w, f
}

// TestFailedStoreIsNeitherYesNorBad goes through every method of the store, lets
// one of its calls fail before or after it has persisted, and tells a whole story
// over it. Whatever fails is "unavailable", never a verdict, and what was done
// can be done again until it holds.
func TestFailedStoreIsNeitherYesNorBad(t *testing.T) {
	ctx := context.Background()
	for _, method := range storetest.Methods() {
		if method == "Close" {
			continue // the Authority does not close the store
		}
		for _, fault := range []storetest.Fault{storetest.FailBefore, storetest.FailAfter} {
			for call := range 4 {
				t.Run(fmt.Sprint(method, "/", fault, "/", call), func(t *testing.T) {
					w, f := faultyWorld(t)
					w.client(forms[1])
					g := w.login("alice", "app")
					old := w.login("alice", forms[1].ID)
					bystander := w.login("bob", "app")
					w.clock.Advance(3 * time.Hour) // so that a check touches
					f.Follow(storetest.Nth(method, call, fault))

					// once tries until it works: at most one of its calls fails.
					once := func(what string, do func() error) {
						t.Helper()
						for range 3 {
							err := do()
							if err == nil {
								return
							}
							if !errors.Is(err, rescind.ErrUnavailable) || errors.Is(err, rescind.ErrInactive) || errors.Is(err, rescind.ErrReuse) {
								t.Fatalf("%s: %v is a verdict", what, err)
							}
						}
						t.Fatalf("%s does not recover", what)
					}
					var next rescind.Grant
					once("refresh", func() (err error) { next, err = w.refresh("app", g.RefreshToken); return err })
					retry := next
					once("refresh again", func() (err error) { retry, err = w.refresh("app", g.RefreshToken); return err })
					if retry.RefreshToken != next.RefreshToken {
						t.Fatal("two successors")
					}
					once("check", func() error { return w.check(next.AccessToken) })
					var second rescind.Grant
					once("login", func() (err error) {
						second, err = w.Issue(ctx, rescind.Login{Subject: "alice", Replaces: old.Session, Client: forms[1].ID})
						return err
					})
					once("check the new one", func() error { return w.check(second.AccessToken) })
					w.dead(forms[1].ID, old)
					once("list", func() error { _, err := w.Sessions(ctx, rescind.SessionQuery{Subject: "alice"}); return err })
					once("events", func() error { _, err := w.Events(ctx, rescind.EventQuery{}); return err })
					once("key rotation", func() error { return w.RotateKey(ctx, rescind.KeyUseMAC, "test") })
					once("logout", func() error { _, err := w.Logout(ctx, second.RefreshToken.Reveal(), false); return err })
					w.dead(forms[1].ID, second)
					once("all but this one", func() error {
						_, err := w.Revoke(ctx, rescind.Revocation{Selector: rescind.Selector{Subject: "alice", ExceptSession: next.Session}})
						return err
					})
					once("check the spared one", func() error { return w.check(next.AccessToken) })
					once("revocation", func() error {
						_, err := w.Revoke(ctx, rescind.Revocation{Selector: rescind.Selector{Subject: "alice"}})
						return err
					})
					w.dead("app", next)
					once("upkeep", func() error { _, err := w.Upkeep(ctx); return err })
					once("bystander", func() error { return w.check(bystander.AccessToken) })
					once("client removal", func() error {
						_, err := w.RemoveClient(ctx, forms[1].ID, "test")
						if errors.Is(err, rescind.ErrNotFound) {
							err = nil // the try before had done it
						}
						return err
					})
					f.Follow(nil)
					w.dead("app", g, next)
					w.alive(bystander.AccessToken)
				})
			}
		}
	}
}

// TestUnavailableStoreAnswersNothing has every call of every method fail.
func TestUnavailableStoreAnswersNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx := context.Background()
		w, f := faultyWorld(t)
		g := w.login("alice", "app")
		app := &rescind.Client{ID: "app"}
		for _, fault := range []storetest.Fault{storetest.FailBefore, storetest.FailAfter, storetest.Hang} {
			f.Follow(func(string, int) storetest.Fault { return fault })
			for name, do := range map[string]func(context.Context) error{
				"check": func(ctx context.Context) error {
					_, err := w.Check(ctx, g.AccessToken.Reveal(), rescind.Want{})
					return err
				},
				"refresh": func(ctx context.Context) error {
					_, err := w.Refresh(ctx, rescind.Refresh{Token: g.RefreshToken.Reveal()})
					return err
				},
				"introspect": func(ctx context.Context) error {
					_, err := w.Introspect(ctx, app, g.AccessToken.Reveal(), true)
					return err
				},
				"introspect refresh": func(ctx context.Context) error {
					_, err := w.Introspect(ctx, app, g.RefreshToken.Reveal(), true)
					return err
				},
				"login":  func(ctx context.Context) error { _, err := w.Issue(ctx, rescind.Login{Subject: "x"}); return err },
				"logout": func(ctx context.Context) error { _, err := w.Logout(ctx, g.AccessToken.Reveal(), false); return err },
				"revoke": func(ctx context.Context) error {
					_, err := w.Revoke(ctx, rescind.Revocation{Selector: rescind.Selector{Subject: "x"}})
					return err
				},
				"authenticate": func(ctx context.Context) error { _, err := w.Authenticate(ctx, "app", "x"); return err },
				"ready":        w.Ready,
			} {
				if fault == storetest.Hang && (name == "logout" || name == "revoke") {
					continue // they go on for longer than this test has time
				}
				bounded, cancel := context.WithTimeout(ctx, 50*time.Millisecond)
				if err := do(bounded); !errors.Is(err, rescind.ErrUnavailable) || errors.Is(err, rescind.ErrInactive) {
					t.Errorf("%s with fault %d: %v", name, fault, err)
				}
				cancel()
			}
		}
		f.Follow(nil)
		_ = w.check(g.AccessToken) // either answer is right: a revocation may have landed
		g = w.login("alice", "app")
		w.alive(g.AccessToken)
	})
}

// TestLostActivityIsNotAnOutage: the token is known to be good, only the note
// that it was used is lost.
func TestLostActivityIsNotAnOutage(t *testing.T) {
	w, f := faultyWorld(t)
	g := w.login("alice", "app")
	w.clock.Advance(3 * time.Hour)
	f.Follow(storetest.Always("Touch", storetest.FailBefore))
	w.alive(g.AccessToken)
	if f.Calls("Touch") != 1 {
		t.Error("no activity was to be recorded: the test tests nothing")
	}
}

// TestReuseIsOnlyToldOnceTheSessionHasEnded: the caller must not believe that it
// is over while it is not.
func TestReuseIsOnlyToldOnceTheSessionHasEnded(t *testing.T) {
	for _, fault := range []storetest.Fault{storetest.FailBefore, storetest.FailAfter} {
		w, f := faultyWorld(t)
		g := w.login("alice", "app")
		w.mustRefresh("app", g.RefreshToken)
		w.clock.Advance(2 * time.Minute)
		f.Follow(storetest.Nth("End", 0, fault))
		if _, err := w.refresh("app", g.RefreshToken); !errors.Is(err, rescind.ErrUnavailable) || errors.Is(err, rescind.ErrReuse) {
			t.Fatalf("%v", err)
		}
		if _, err := w.refresh("app", g.RefreshToken); !errors.Is(err, rescind.ErrReuse) && !errors.Is(err, rescind.ErrRevoked) {
			t.Fatalf("%v", err)
		}
		w.dead("app", g)
	}
}

// hangUp cancels the caller's context in the middle of the first ending.
type hangUp struct {
	rescind.Store
	cancel context.CancelFunc
}

func (h hangUp) End(ctx context.Context, e rescind.End) (rescind.Ended, error) {
	h.cancel()
	return h.Store.End(ctx, e)
}

func (h hangUp) MoveCutoff(ctx context.Context, m rescind.CutoffMove) (rescind.Position, error) {
	h.cancel()
	return h.Store.MoveCutoff(ctx, m)
}

// TestHangingUpDoesNotCancelAnEnding: a browser that is closed in the middle of a
// logout, and a thief who hangs up when his reuse is noticed.
func TestHangingUpDoesNotCancelAnEnding(t *testing.T) {
	for name, end := range map[string]func(context.Context, *world, rescind.Grant) error{
		"logout": func(ctx context.Context, w *world, g rescind.Grant) error {
			_, err := w.Logout(ctx, g.AccessToken.Reveal(), false)
			return err
		},
		"logout everywhere": func(ctx context.Context, w *world, g rescind.Grant) error {
			_, err := w.Logout(ctx, g.AccessToken.Reveal(), true)
			return err
		},
		"revocation": func(ctx context.Context, w *world, g rescind.Grant) error {
			_, err := w.Revoke(ctx, rescind.Revocation{Selector: rescind.Selector{Session: g.Session}})
			return err
		},
		"reuse": func(ctx context.Context, w *world, g rescind.Grant) error {
			w.mustRefresh("app", g.RefreshToken)
			w.clock.Advance(2 * time.Minute)
			if _, err := w.Refresh(ctx, rescind.Refresh{Token: g.RefreshToken.Reveal()}); !errors.Is(err, rescind.ErrReuse) {
				return err
			}
			return nil
		},
	} {
		w := newWorld(t)
		ctx, cancel := context.WithCancel(context.Background())
		w.conf.Store = hangUp{w.store, cancel}
		w.start()
		g := w.login("alice", "app")
		if err := end(ctx, w, g); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if ctx.Err() == nil {
			t.Errorf("%s: nobody hung up: the test tests nothing", name)
		}
		w.dead("app", g)
	}
}
