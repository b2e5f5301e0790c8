package rescind_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rescind/rescind"
)

// dead asserts that no token of a grant works in any way, now and after a restart.
func (w *world) dead(client string, grants ...rescind.Grant) {
	w.t.Helper()
	for _, g := range grants {
		if err := w.check(g.AccessToken); !errors.Is(err, rescind.ErrInactive) {
			w.t.Fatalf("access token after its end: %v", err)
		}
		if ng, err := w.refresh(client, g.RefreshToken); !errors.Is(err, rescind.ErrInactive) {
			w.t.Fatalf("refresh token after its end: %v, %v", ng, err)
		}
	}
}

func TestRevokedTokenNeverPassesAgain(t *testing.T) {
	ctx := context.Background()
	ways := map[string]func(w *world, c string, g rescind.Grant) error{
		"logout by access token": func(w *world, _ string, g rescind.Grant) error {
			_, err := w.Logout(ctx, g.AccessToken.Reveal(), false)
			return err
		},
		"logout by refresh token": func(w *world, _ string, g rescind.Grant) error {
			_, err := w.Logout(ctx, g.RefreshToken.Reveal(), false)
			return err
		},
		"logout everywhere": func(w *world, _ string, g rescind.Grant) error {
			_, err := w.Logout(ctx, g.AccessToken.Reveal(), true)
			return err
		},
		"logout everywhere by refresh token": func(w *world, _ string, g rescind.Grant) error {
			_, err := w.Logout(ctx, g.RefreshToken.Reveal(), true)
			return err
		},
		"token": func(w *world, _ string, g rescind.Grant) error {
			_, err := w.Revoke(ctx, rescind.Revocation{Selector: rescind.Selector{Token: g.AccessToken.Reveal()}})
			return err
		},
		"session": func(w *world, _ string, g rescind.Grant) error {
			_, err := w.Revoke(ctx, rescind.Revocation{Selector: rescind.Selector{Session: g.Session}})
			return err
		},
		"subject": func(w *world, _ string, g rescind.Grant) error {
			_, err := w.Revoke(ctx, rescind.Revocation{Selector: rescind.Selector{Subject: "alice"}})
			return err
		},
		"client": func(w *world, c string, g rescind.Grant) error {
			_, err := w.Revoke(ctx, rescind.Revocation{Selector: rescind.Selector{Client: c}})
			return err
		},
		"all": func(w *world, _ string, g rescind.Grant) error {
			_, err := w.Revoke(ctx, rescind.Revocation{Selector: rescind.Selector{All: true}})
			return err
		},
		"MAC key": func(w *world, _ string, g rescind.Grant) error { return w.revokeKeys(rescind.KeyUseMAC) },
		"replaced": func(w *world, c string, g rescind.Grant) error {
			_, err := w.Issue(ctx, rescind.Login{Subject: "alice", Client: c, Replaces: g.Session})
			return err
		},
		"erased": func(w *world, _ string, g rescind.Grant) error {
			_, err := w.Erase(ctx, "alice", "test")
			return err
		},
		"client removed": func(w *world, c string, g rescind.Grant) error {
			_, err := w.RemoveClient(ctx, c, "test")
			if err == nil {
				w.client(rescind.Client{ID: c}) // the same name again does not help
			}
			return err
		},
	}
	for name, end := range ways {
		for _, form := range forms {
			t.Run(name+"/"+string(form.Format), func(t *testing.T) {
				w := newWorld(t)
				w.client(form)
				first := w.login("alice", form.ID)
				second := w.mustRefresh(form.ID, first.RefreshToken)
				w.alive(first.AccessToken)
				w.alive(second.AccessToken)
				if err := end(w, form.ID, second); err != nil {
					t.Fatal(err)
				}
				w.dead(form.ID, second, first)
				if err := end(w, form.ID, second); err != nil && !errors.Is(err, rescind.ErrInactive) && !errors.Is(err, rescind.ErrNotFound) {
					t.Fatalf("ending it again: %v", err)
				}
				w.restart()
				w.dead(form.ID, second, first)
				again := w.login("alice", form.ID)
				w.alive(again.AccessToken)
			})
		}
	}
}

func (w *world) revokeKeys(use rescind.KeyUse) error {
	infos, err := w.ListKeys(context.Background())
	for _, k := range infos {
		if err == nil && k.Use == use && k.State == rescind.KeyCurrent {
			_, err = w.Revoke(context.Background(), rescind.Revocation{Selector: rescind.Selector{Key: k.ID}})
		}
	}
	return err
}

func TestRevokedSigningKeyRefusesItsTokensAndSessionsGoOn(t *testing.T) {
	w := newWorld(t)
	g := w.login("alice", "app")
	w.alive(g.AccessToken)
	if err := w.revokeKeys(rescind.KeyUseSign); err != nil {
		t.Fatal(err)
	}
	if err := w.check(g.AccessToken); !errors.Is(err, rescind.ErrRevoked) {
		t.Fatalf("token of a revoked key: %v", err)
	}
	w.alive(w.mustRefresh("app", g.RefreshToken).AccessToken)
}

func TestTokenNotInTheLedgerIsNotValid(t *testing.T) {
	w := newWorld(t)
	g := w.login("alice", "app")
	a, err := w.Check(context.Background(), g.AccessToken.Reveal(), rescind.Want{})
	if err != nil {
		t.Fatal(err)
	}
	cfg, err := w.store.Config(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	ring, err := w.keys.Load(cfg)
	if err != nil {
		t.Fatal(err)
	}
	honest := rescind.Claims{
		Issuer: issuer, Subject: "alice", Client: "app", Audience: []string{"notes"}, Scope: "read write",
		Session: a.Session, ID: a.Token, IssuedAt: a.IssuedAt, ExpiresAt: a.ExpiresAt,
	}
	resigned, err := ring.Sign(&honest)
	if err != nil {
		t.Fatal(err)
	}
	w.alive(rescind.Secret(resigned)) // the same token with another signature
	for name, forge := range map[string]func(c *rescind.Claims){
		"unrecorded session": func(c *rescind.Claims) { c.Session = rescind.NewSessionID(ring.Tag("alice")) },
		"unrecorded token":   func(c *rescind.Claims) { c.ID[0]++ },
		"issuer":             func(c *rescind.Claims) { c.Issuer = "https://other.example" },
		"subject":            func(c *rescind.Claims) { c.Subject = "root" },
		"client":             func(c *rescind.Claims) { c.Client = "admin" },
		"scope":              func(c *rescind.Claims) { c.Scope = "read write admin" },
		"audience":           func(c *rescind.Claims) { c.Audience = []string{"notes", "bank"} },
		"another audience":   func(c *rescind.Claims) { c.Audience = []string{"bank"} },
		"later expiry":       func(c *rescind.Claims) { c.ExpiresAt = c.ExpiresAt.Add(time.Hour) },
		"future iat":         func(c *rescind.Claims) { c.IssuedAt = c.IssuedAt.Add(time.Hour) },
		"own claims":         func(c *rescind.Claims) { c.Extra = []byte(`{"admin":true}`) },
	} {
		c := honest
		forge(&c)
		token, err := ring.Sign(&c)
		if err != nil {
			t.Fatal(err)
		}
		if err := w.check(rescind.Secret(token)); !errors.Is(err, rescind.ErrUnknown) && !errors.Is(err, rescind.ErrMalformed) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestRefreshTokenHasOneSuccessor(t *testing.T) {
	for _, form := range forms {
		t.Run(string(form.Format), func(t *testing.T) {
			w := newWorld(t)
			w.client(form)
			for range 100 {
				g := w.login("alice", form.ID)
				got := make([]rescind.Grant, 64)
				together(len(got), func(i int) {
					var err error
					if got[i], err = w.refresh(form.ID, g.RefreshToken); err != nil {
						t.Errorf("refresh %d: %v", i, err)
					}
				})
				ids := map[rescind.TokenID]bool{}
				for _, s := range got {
					if s.RefreshToken != got[0].RefreshToken {
						t.Fatal("two successors")
					}
					a, err := w.Check(context.Background(), s.AccessToken.Reveal(), rescind.Want{})
					if err != nil {
						t.Fatal(err)
					}
					ids[a.Token] = true
				}
				v, err := w.Session(context.Background(), g.Session)
				if err != nil {
					t.Fatal(err)
				}
				if len(ids) != 1 || len(v.Tokens) != 2 || v.Generation != 1 || v.State != rescind.StateActive {
					t.Fatalf("%d access tokens, ledger %+v", len(ids), v)
				}
				w.alive(g.AccessToken) // calls under way are not cut off
			}
		})
	}
}

func TestReuseAfterTheGraceWindowEndsTheSession(t *testing.T) {
	w := newWorld(t)
	for _, c := range []struct {
		rescind.Client
		window time.Duration
	}{
		{rescind.Client{ID: "confidential"}, 60 * time.Second},
		{rescind.Client{ID: "public", Public: true}, 10 * time.Second},
		{rescind.Client{ID: "own", Grace: rescind.Duration(30 * time.Second)}, 30 * time.Second},
	} {
		w.client(c.Client)
		g := w.login("alice", c.ID)
		next := w.mustRefresh(c.ID, g.RefreshToken)
		w.clock.Advance(c.window - time.Millisecond)
		if again := w.mustRefresh(c.ID, g.RefreshToken); again.RefreshToken != next.RefreshToken {
			t.Fatalf("%s: a retry inside the window got another successor", c.ID)
		}
		w.clock.Advance(time.Millisecond)
		errs := make([]error, 64)
		together(len(errs), func(i int) { _, errs[i] = w.refresh(c.ID, g.RefreshToken) })
		reuse := 0
		for _, err := range errs {
			if errors.Is(err, rescind.ErrReuse) {
				reuse++
			} else if !errors.Is(err, rescind.ErrInactive) {
				t.Fatalf("%s: reuse gave %v", c.ID, err)
			}
		}
		if reuse == 0 {
			t.Fatalf("%s: nobody was told of the reuse", c.ID)
		}
		w.dead(c.ID, next)
		v, err := w.Session(context.Background(), g.Session)
		if err != nil || v.EndReason != rescind.ReasonReuse {
			t.Fatalf("%s: %v %+v", c.ID, err, v)
		}
	}
}

func TestStrictClientHasNoGrace(t *testing.T) {
	w := newWorld(t)
	w.client(rescind.Client{ID: "strict", Strict: true})
	g := w.login("alice", "strict")
	next := w.mustRefresh("strict", g.RefreshToken)
	if _, err := w.refresh("strict", g.RefreshToken); !errors.Is(err, rescind.ErrReuse) {
		t.Fatalf("immediate reuse: %v", err)
	}
	w.dead("strict", next)
}

func TestOldGenerationIsReuseEvenInTheWindow(t *testing.T) {
	w := newWorld(t)
	g := w.login("alice", "app")
	second := w.mustRefresh("app", g.RefreshToken)
	third := w.mustRefresh("app", second.RefreshToken)
	if _, err := w.refresh("app", g.RefreshToken); !errors.Is(err, rescind.ErrReuse) {
		t.Fatalf("two generations back: %v", err)
	}
	w.dead("app", third)
}

func TestForeignRefreshTokenIsNoReuse(t *testing.T) {
	w := newWorld(t)
	w.client(rescind.Client{ID: "other"})
	g := w.login("alice", "app")
	next := w.mustRefresh("app", g.RefreshToken)
	for range 3 {
		for _, token := range []rescind.Secret{g.RefreshToken, next.RefreshToken} {
			if _, err := w.refresh("other", token); !errors.Is(err, rescind.ErrForeign) {
				t.Fatal(err)
			}
		}
	}
	w.alive(next.AccessToken)
	w.mustRefresh("app", next.RefreshToken)
}

func TestLogoutRacesRefreshesAndChecks(t *testing.T) {
	w := newWorld(t)
	w.client(forms[1])
	c := forms[1].ID
	ctx := context.Background()
	for round := range 1000 {
		g := w.login("alice", c)
		var out sync.WaitGroup
		var mu sync.Mutex
		all := []rescind.Grant{g}
		over := make(chan struct{})
		for i := range 64 {
			out.Go(func() {
				if ng, err := w.refresh(c, g.RefreshToken); err == nil {
					mu.Lock()
					all = append(all, ng)
					mu.Unlock()
				}
			})
			out.Go(func() {
				// What begins after logout has returned must fail.
				select {
				case <-over:
					if w.check(g.AccessToken) == nil {
						t.Error("a check that began after logout passed")
					}
				default:
					if i%8 == 0 {
						_ = w.check(g.AccessToken) // either answer is right
					}
				}
			})
		}
		out.Go(func() {
			if round%2 == 0 {
				if _, err := w.Logout(ctx, g.RefreshToken.Reveal(), false); err != nil {
					t.Errorf("logout: %v", err)
				}
			} else if _, err := w.Revoke(ctx, rescind.Revocation{Selector: rescind.Selector{Subject: "alice"}}); err != nil {
				t.Errorf("revoke: %v", err)
			}
			close(over)
			if w.check(g.AccessToken) == nil {
				t.Error("a check that began after logout passed")
			}
			if _, err := w.refresh(c, g.RefreshToken); err == nil {
				t.Error("a refresh that began after logout passed")
			}
		})
		out.Wait()
		w.dead(c, all...)
		if t.Failed() {
			t.Fatalf("round %d", round)
		}
	}
}

func TestLogoutEverywhereEndsAHundredThousandAtOnce(t *testing.T) {
	w := newWorld(t)
	w.client(forms[1])
	n := rounds(100_000, 10_000)
	tokens := make([]rescind.Secret, n)
	together(64, func(k int) {
		for i := k; i < n; i += 64 {
			g, err := w.Issue(context.Background(), rescind.Login{Subject: "machine", Client: forms[1].ID})
			if err != nil {
				t.Errorf("login: %v", err)
				return
			}
			tokens[i] = g.AccessToken
		}
	})
	if t.Failed() {
		t.FailNow()
	}
	bystander := w.login("alice", forms[1].ID)
	begin := time.Now()
	if _, err := w.Revoke(context.Background(), rescind.Revocation{Selector: rescind.Selector{Subject: "machine"}}); err != nil {
		t.Fatal(err)
	}
	t.Logf("%d sessions ended in %s", n, time.Since(begin))
	sameMillisecond := w.login("machine", forms[1].ID) // the clock of this test stands still
	for i, token := range tokens {
		if err := w.check(token); !errors.Is(err, rescind.ErrRevoked) {
			t.Fatalf("token %d: %v", i, err)
		}
	}
	w.alive(sameMillisecond.AccessToken)
	w.alive(bystander.AccessToken)
}

func TestAllButThisSessionSparesIt(t *testing.T) {
	w := newWorld(t)
	kept, other := w.login("alice", "app"), w.login("alice", "app")
	if _, err := w.Revoke(context.Background(), rescind.Revocation{Selector: rescind.Selector{Subject: "alice", ExceptSession: kept.Session}}); err != nil {
		t.Fatal(err)
	}
	w.alive(kept.AccessToken)
	kept = w.mustRefresh("app", kept.RefreshToken)
	w.dead("app", other)
	// A second one without exception ends it as well.
	if _, err := w.Revoke(context.Background(), rescind.Revocation{Selector: rescind.Selector{Subject: "alice"}}); err != nil {
		t.Fatal(err)
	}
	w.dead("app", kept)
}

// TestStolenStoreMakesNoToken reads every byte that the store has written.
func TestStolenStoreMakesNoToken(t *testing.T) {
	w := newWorld(t)
	w.client(forms[1])
	var grants []rescind.Grant
	for i := range 50 {
		for _, c := range []string{"app", forms[1].ID} {
			g := w.login(fmt.Sprintf("user%d", i), c)
			grants = append(grants, g, w.mustRefresh(c, g.RefreshToken))
		}
	}
	if err := w.store.Close(); err != nil {
		t.Fatal(err)
	}
	names, err := w.fs.List("data")
	if err != nil {
		t.Fatal(err)
	}
	var stolen bytes.Buffer
	for _, name := range names {
		f, err := w.fs.Open("data/" + name)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.Copy(&stolen, f); err != nil {
			t.Fatal(err)
		}
		if err := f.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if stolen.Len() < 10_000 || !bytes.Contains(stolen.Bytes(), []byte("user49")) {
		t.Fatalf("read %d bytes: this is not the whole store", stolen.Len())
	}
	for _, g := range grants {
		for _, token := range []string{g.AccessToken.Reveal(), g.RefreshToken.Reveal()} {
			tail := token[len(token)-20:] // of the signature or MAC
			if bytes.Contains(stolen.Bytes(), []byte(token)) || bytes.Contains(stolen.Bytes(), []byte(tail)) {
				t.Fatal("the store holds a token")
			}
		}
	}
	if strings.Contains(stolen.String(), masterKey) {
		t.Fatal("the store holds its master key")
	}
	w.open()
}

// together runs f(0..n-1) at once and waits for all.
func together(n int, f func(i int)) {
	start := make(chan struct{})
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() {
			<-start
			f(i)
		})
	}
	close(start)
	wg.Wait()
}

// TestOwnerRestrictsTokensToo: whoever may end the sessions of one client or one
// subject ends no other's, whatever names them, and a selector that cannot be
// restricted is refused.
func TestOwnerRestrictsTokensToo(t *testing.T) {
	ctx := context.Background()
	w := newWorld(t)
	g := w.login("alice", "app")
	for _, token := range []rescind.Secret{g.AccessToken, g.RefreshToken} {
		r := rescind.Revocation{Selector: rescind.Selector{Token: token.Reveal()}, OwnerSubject: "bob"}
		if _, err := w.Revoke(ctx, r); !errors.Is(err, rescind.ErrForeign) {
			t.Errorf("bob with alice's token: %v", err)
		}
		r.OwnerSubject, r.Owner = "alice", "other"
		if _, err := w.Revoke(ctx, r); !errors.Is(err, rescind.ErrForeign) {
			t.Errorf("another client with alice's token: %v", err)
		}
	}
	for _, sel := range []rescind.Selector{{Subject: "alice"}, {Client: "app"}, {All: true}, {Key: rescind.NewKeyID()}} {
		for _, r := range []rescind.Revocation{{Selector: sel, Owner: "app"}, {Selector: sel, OwnerSubject: "alice"}} {
			if _, err := w.Revoke(ctx, r); !errors.Is(err, rescind.ErrInvalid) {
				t.Errorf("%+v for an owner: %v", sel, err)
			}
		}
	}
	w.alive(g.AccessToken)
	r := rescind.Revocation{Selector: rescind.Selector{Token: g.RefreshToken.Reveal()}, Owner: "app", OwnerSubject: "alice"}
	if _, err := w.Revoke(ctx, r); err != nil {
		t.Fatal(err)
	}
	w.dead("app", g)
}
