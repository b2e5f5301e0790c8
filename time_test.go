package rescind_test

import (
	"errors"
	"testing"
	"time"

	"github.com/rescind/rescind"
)

// TestExpiredStaysExpiredAcrossARestart: what was told to be expired does not live
// again because the clock was set back while the store was closed.
func TestExpiredStaysExpiredAcrossARestart(t *testing.T) {
	w := newWorld(t, func(c *rescind.Config) { c.SessionLifetime = time.Hour; c.AccessLifetime = time.Hour })
	g := w.login("alice", "app")
	w.clock.Advance(2 * time.Hour)
	if err := w.check(g.AccessToken); !errors.Is(err, rescind.ErrExpired) {
		t.Fatal(err)
	}
	w.clock.Advance(-2*time.Hour + time.Minute)
	if err := w.check(g.AccessToken); !errors.Is(err, rescind.ErrExpired) {
		t.Fatalf("the clock was set back: %v", err)
	}
	w.restart()
	if err := w.check(g.AccessToken); !errors.Is(err, rescind.ErrExpired) {
		t.Errorf("the clock was set back, and the store opened again: %v", err)
	}
}

// TestTokensExpireAlthoughTheClockWentAheadOnce: the store's time does not stand
// still until a clock that was years ahead for a moment has caught up.
func TestTokensExpireAlthoughTheClockWentAheadOnce(t *testing.T) {
	w := newWorld(t)
	const years = 10 * 365 * 24 * time.Hour
	w.clock.Advance(years)
	w.Now()
	w.clock.Advance(-years)
	for _, restart := range []bool{false, true} {
		if restart {
			w.restart()
		}
		g := w.login("alice", "app")
		w.alive(g.AccessToken)
		w.clock.Advance(11 * time.Minute)
		if err := w.check(g.AccessToken); !errors.Is(err, rescind.ErrExpired) {
			t.Errorf("a token of five minutes, eleven minutes later: %v", err)
		}
	}
}

// TestTimeComesBackToTheClock: the store's time is ahead of a clock that was set
// back for as long again, and never goes back itself.
func TestTimeComesBackToTheClock(t *testing.T) {
	w := newWorld(t)
	w.clock.Advance(time.Hour)
	last := w.Now()
	w.clock.Advance(-time.Hour)
	for range 150 {
		now := w.Now()
		if now.Before(last) {
			t.Fatalf("%s after %s", now, last)
		}
		last = now
		w.clock.Advance(time.Minute)
	}
	if !w.Now().Equal(w.clock.Now()) {
		t.Errorf("%s, and the clock says %s", w.Now(), w.clock.Now())
	}
}
