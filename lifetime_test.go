package rescind_test

import (
	"context"
	"errors"
	"math"
	"testing"
	"time"

	"github.com/rescind/rescind"
)

func TestAccessTokenExpires(t *testing.T) {
	for _, form := range forms {
		w := newWorld(t)
		w.client(form)
		g := w.login("alice", form.ID)
		if g.ExpiresIn != 300 || g.RefreshTokenTimeout != 86400 || g.AuthorizationEnds != 30*86400 || g.TokenType != "Bearer" {
			t.Errorf("grant %+v", g)
		}
		w.clock.Advance(5*time.Minute - time.Millisecond)
		w.alive(g.AccessToken)
		w.clock.Advance(time.Millisecond)
		if err := w.check(g.AccessToken); !errors.Is(err, rescind.ErrExpired) {
			t.Fatalf("after its time: %v", err)
		}
		w.alive(w.mustRefresh(form.ID, g.RefreshToken).AccessToken)
	}
}

func TestNothingOutlivesTheSession(t *testing.T) {
	w := newWorld(t)
	g, err := w.Issue(context.Background(), rescind.Login{Subject: "alice", SessionLifetime: 7 * time.Minute})
	if err != nil {
		t.Fatal(err)
	}
	w.clock.Advance(4 * time.Minute)
	g = w.mustRefresh("app", g.RefreshToken)
	if g.ExpiresIn != 180 || g.AuthorizationEnds != 180 || g.RefreshTokenTimeout != 180 {
		t.Errorf("a token outlives its session: %+v", g)
	}
	w.clock.Advance(3 * time.Minute)
	w.dead("app", g)
}

func TestIdleSessionEndsForGood(t *testing.T) {
	w := newWorld(t, func(c *rescind.Config) { c.IdleTimeout = time.Hour; c.AccessLifetime = 24 * time.Hour })
	g := w.login("alice", "app")
	for range 5 { // each check is activity
		w.clock.Advance(40 * time.Minute)
		w.alive(g.AccessToken)
	}
	// A monitor's checks are none.
	for range 2 {
		w.clock.Advance(29 * time.Minute)
		if _, err := w.Check(context.Background(), g.AccessToken.Reveal(), rescind.Want{NoTouch: true}); err != nil {
			t.Fatal(err)
		}
	}
	late := w.clock.Now() // activity seen just before the end, recorded too late
	w.clock.Advance(2 * time.Minute)
	if err := w.check(g.AccessToken); !errors.Is(err, rescind.ErrExpired) {
		t.Fatalf("idle for more than an hour: %v", err)
	}
	if err := w.store.Touch(context.Background(), g.Session, late); err != nil {
		t.Fatal(err)
	}
	w.dead("app", g)
	w.clock.Advance(-time.Hour) // whose clock was set back meanwhile: what was said stays so
	w.restart()
	w.dead("app", g)
	v, err := w.Session(context.Background(), g.Session)
	if err != nil || v.EndReason != rescind.ReasonIdle || v.EndedAt == nil {
		t.Fatalf("what was said is not written down: %v %+v", err, v)
	}
}

func TestActivityIsNotWrittenOncePerRequest(t *testing.T) {
	w := newWorld(t)
	g := w.login("alice", "app")
	before, err := w.Session(context.Background(), g.Session)
	if err != nil {
		t.Fatal(err)
	}
	w.clock.Advance(4 * time.Minute) // less than a tenth of a day
	w.alive(g.AccessToken)
	after, err := w.Session(context.Background(), g.Session)
	if err != nil || !after.LastActive.Equal(before.LastActive) {
		t.Fatalf("written at once: %v, %v", after.LastActive, err)
	}
}

func TestFifthLiveAccessTokenDropsTheOldest(t *testing.T) {
	w := newWorld(t)
	grants := []rescind.Grant{w.login("alice", "app")}
	for range 5 {
		grants = append(grants, w.mustRefresh("app", grants[len(grants)-1].RefreshToken))
	}
	for i, g := range grants {
		err := w.check(g.AccessToken)
		if dropped := i < len(grants)-rescind.MaxAccessEntries; dropped != errors.Is(err, rescind.ErrUnknown) || (!dropped && err != nil) {
			t.Errorf("token %d: %v", i, err)
		}
	}
	feed, err := w.store.Feed(context.Background(), 0, 10)
	if err != nil || len(feed.Endings) != 2 || feed.Endings[0].Kind != rescind.EndToken {
		t.Fatalf("a dropped token is an ending: %v %+v", err, feed)
	}
}

func TestRetryIsTheSameAccessToken(t *testing.T) {
	for _, form := range forms {
		w := newWorld(t)
		w.client(form)
		g := w.login("alice", form.ID)
		one := w.mustRefresh(form.ID, g.RefreshToken)
		w.clock.Advance(7 * time.Second)
		two := w.mustRefresh(form.ID, g.RefreshToken)
		a, err := w.Check(context.Background(), one.AccessToken.Reveal(), rescind.Want{})
		if err != nil {
			t.Fatal(err)
		}
		b, err := w.Check(context.Background(), two.AccessToken.Reveal(), rescind.Want{})
		if err != nil || a.Token != b.Token || !a.IssuedAt.Equal(b.IssuedAt) || !a.ExpiresAt.Equal(b.ExpiresAt) {
			t.Fatalf("%v: %+v, %+v", err, a, b)
		}
		if two.ExpiresIn != one.ExpiresIn-7 {
			t.Errorf("expires in %d, then %d", one.ExpiresIn, two.ExpiresIn)
		}
	}
}

func TestScopeNarrowsOneAccessTokenAndNeverWidens(t *testing.T) {
	w := newWorld(t)
	ctx := context.Background()
	g := w.login("alice", "app")
	narrow, err := w.Refresh(ctx, rescind.Refresh{Token: g.RefreshToken.Reveal(), Scope: "read"})
	if err != nil || narrow.Scope != "read" {
		t.Fatalf("%v %+v", err, narrow)
	}
	if _, err := w.Check(ctx, narrow.AccessToken.Reveal(), rescind.Want{Scope: "write"}); !errors.Is(err, rescind.ErrScope) {
		t.Fatalf("narrowed token: %v", err)
	}
	if _, err := w.Check(ctx, g.AccessToken.Reveal(), rescind.Want{Scope: "write read"}); err != nil {
		t.Fatalf("the token before: %v", err)
	}
	wide := w.mustRefresh("app", narrow.RefreshToken)
	if _, err := w.Check(ctx, wide.AccessToken.Reveal(), rescind.Want{Scope: "write"}); err != nil || wide.Scope != "read write" {
		t.Fatalf("the token after: %v", err)
	}
	if _, err := w.Refresh(ctx, rescind.Refresh{Token: wide.RefreshToken.Reveal(), Scope: "read admin"}); !errors.Is(err, rescind.ErrScope) {
		t.Fatalf("widened: %v", err)
	}
	w.mustRefresh("app", wide.RefreshToken) // the refusal consumed nothing
}

func TestAudience(t *testing.T) {
	w := newWorld(t)
	ctx := context.Background()
	g, err := w.Issue(ctx, rescind.Login{Subject: "alice", Audience: []string{"bank", "mail"}})
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		want rescind.Want
		err  error
	}{
		{rescind.Want{}, rescind.ErrAudience},
		{rescind.Want{Audience: []string{"notes"}}, rescind.ErrAudience},
		{rescind.Want{Audience: []string{"ban"}}, rescind.ErrAudience},
		{rescind.Want{Audience: []string{"bank"}}, nil},
		{rescind.Want{Audience: []string{"x", "mail"}}, nil},
		{rescind.Want{AnyAudience: true}, nil},
	} {
		if _, err := w.Check(ctx, g.AccessToken.Reveal(), c.want); !errors.Is(err, c.err) {
			t.Errorf("%+v: %v", c.want, err)
		}
	}
}

func TestTokensAreGoodForTheirKindOnly(t *testing.T) {
	for _, form := range forms {
		w := newWorld(t)
		w.client(form)
		g := w.login("alice", form.ID)
		if err := w.check(g.RefreshToken); !errors.Is(err, rescind.ErrMalformed) {
			t.Errorf("refresh token as bearer: %v", err)
		}
		if _, err := w.refresh(form.ID, g.AccessToken); !errors.Is(err, rescind.ErrMalformed) {
			t.Errorf("access token as refresh token: %v", err)
		}
		w.mustRefresh(form.ID, g.RefreshToken)
	}
}

func TestChangedTokensAreMalformedAndChangeNothing(t *testing.T) {
	w := newWorld(t)
	w.client(forms[1])
	g := w.login("alice", forms[1].ID)
	next := w.mustRefresh(forms[1].ID, g.RefreshToken)
	for _, token := range []string{next.RefreshToken.Reveal(), next.AccessToken.Reveal()} {
		for i := range len(token) {
			for _, bad := range []string{token[:i], token[:i] + flip(token[i]) + token[i+1:], token[:i] + "\x00" + token[i:], token + token[i:i+1]} {
				if bad == token {
					continue
				}
				if err := w.check(rescind.Secret(bad)); !errors.Is(err, rescind.ErrInactive) {
					t.Fatalf("changed at %d: %v", i, err)
				}
				if _, err := w.refresh(forms[1].ID, rescind.Secret(bad)); !errors.Is(err, rescind.ErrInactive) {
					t.Fatalf("changed at %d: %v", i, err)
				}
				if _, err := w.Logout(context.Background(), bad, false); !errors.Is(err, rescind.ErrInactive) {
					t.Fatalf("logout with a token changed at %d: %v", i, err)
				}
			}
		}
	}
	w.alive(next.AccessToken)
	w.mustRefresh(forms[1].ID, next.RefreshToken)
}

func flip(c byte) string {
	if c == 'A' {
		return "B"
	}
	return "A"
}

func TestLogoutTakesAnyAuthenticToken(t *testing.T) {
	ctx := context.Background()
	for _, form := range forms {
		for name, pick := range map[string]func(w *world, g, next rescind.Grant) rescind.Secret{
			"old refresh token": func(_ *world, g, _ rescind.Grant) rescind.Secret { return g.RefreshToken },
			"expired access token": func(w *world, g, _ rescind.Grant) rescind.Secret {
				w.clock.Advance(time.Hour)
				return g.AccessToken
			},
			"access token trimmed from the ledger": func(w *world, g, next rescind.Grant) rescind.Secret {
				w.clock.Advance(time.Hour)
				w.mustRefresh(form.ID, next.RefreshToken)
				return g.AccessToken
			},
		} {
			w := newWorld(t)
			w.client(form)
			g := w.login("alice", form.ID)
			next := w.mustRefresh(form.ID, g.RefreshToken)
			token := pick(w, g, next)
			if r, err := w.Logout(ctx, token.Reveal(), false); err != nil || !r.Changed {
				t.Fatalf("%s: %v %+v", name, err, r)
			}
			w.dead(form.ID, g, next)
			if r, err := w.Logout(ctx, token.Reveal(), false); err != nil || r.Changed {
				t.Fatalf("%s, again: %v %+v", name, err, r)
			}
			if _, err := w.Logout(ctx, token.Reveal(), true); !errors.Is(err, rescind.ErrInactive) {
				t.Fatalf("%s: logout everywhere with a dead token: %v", name, err)
			}
			// Long after, when the session is purged, it is still no error.
			w.clock.Advance(300 * 24 * time.Hour)
			if n, err := w.Upkeep(ctx); err != nil || n.Sessions == 0 {
				t.Fatalf("%s: purge %v %+v", name, err, n)
			}
			if _, err := w.Logout(ctx, g.RefreshToken.Reveal(), false); err != nil {
				t.Fatalf("%s, purged: %v", name, err)
			}
		}
	}
}

// TestGenerationsNeverStartAgain: the number after the last one would be that of
// the login's token, which would get a second successor.
func TestGenerationsNeverStartAgain(t *testing.T) {
	ctx := context.Background()
	w := newWorld(t)
	g := w.login("alice", "app")
	snap, err := w.store.Lookup(ctx, g.Session)
	if err != nil {
		t.Fatal(err)
	}
	snap.Session.Generation = math.MaxUint32 - 1
	if err := w.store.Replace(ctx, rescind.Replacement{Session: snap.Session}); err != nil {
		t.Fatal(err)
	}
	last := w.mustRefresh("app", w.forge(g.Session, math.MaxUint32-1, snap.Session.Salt))
	w.alive(last.AccessToken)
	if next, err := w.refresh("app", last.RefreshToken); !errors.Is(err, rescind.ErrExpired) {
		t.Errorf("a successor of the last one: %v, %v", next, err)
	}
	if again, err := w.refresh("app", g.RefreshToken); !errors.Is(err, rescind.ErrReuse) {
		t.Errorf("the first one again: %v, %v", again, err)
	}
	w.dead("app", g, last)
}

// TestExpiredTokenLogsOutWhateverBecameOfItsKey: a logout that fails because the
// key has been replaced leaves the refresh token alive.
func TestExpiredTokenLogsOutWhateverBecameOfItsKey(t *testing.T) {
	ctx := context.Background()
	for _, use := range []rescind.KeyUse{rescind.KeyUseSign, rescind.KeyUseMAC} {
		for _, form := range forms {
			w := newWorld(t, func(c *rescind.Config) {
				c.IdleTimeout, c.SessionLifetime = rescind.MaxLifetime, rescind.MaxLifetime
			})
			w.client(form)
			g := w.login("alice", form.ID)
			for range 4 { // every 90 days
				if err := w.RotateKey(ctx, use, "test"); err != nil {
					t.Fatal(err)
				}
				for _, d := range []time.Duration{time.Hour, 89 * 24 * time.Hour} {
					w.clock.Advance(d)
					if _, err := w.Upkeep(ctx); err != nil {
						t.Fatal(err)
					}
				}
			}
			if err := w.check(g.AccessToken); !errors.Is(err, rescind.ErrExpired) {
				t.Fatalf("%s: an old access token: %v", use, err)
			}
			if _, err := w.Logout(ctx, g.AccessToken.Reveal(), false); err != nil {
				t.Fatalf("%s: logout by an old access token: %v", use, err)
			}
			w.dead(form.ID, g)
		}
	}
}
