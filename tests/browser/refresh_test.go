package browser

import (
	"fmt"
	"net/http"
	"os"
	"slices"
	"sync"
	"testing"
	"time"
)

// bare is a page of the example's origin that does nothing by itself.
const bare = "/page.css"

// TestParallelRefreshesStayLoggedIn lets many windows refresh at the same
// instant, again and again. Whoever comes second gets the same successor, and
// nobody's answer takes cookies away.
func TestParallelRefreshesStayLoggedIn(t *testing.T) {
	a := startApp(t)
	ada := newProfile(t)
	first := ada.open(t, a.at(home, "/"))
	first.login("ada", "lovelace")
	first.visit(a.at(home, bare))
	windows := []*window{first}
	for range 5 {
		windows = append(windows, ada.open(t, a.at(home, bare)))
	}
	rounds := 12
	if os.Getenv("RESCIND_SLOW") == "1" {
		rounds = 200
	}
	for round := range rounds {
		a.forget()
		first.later()
		// All are on their way before the first one is there.
		gate := a.front.hold(t, stop{"/refresh", false}, false)
		for _, w := range windows {
			eval[bool](w, "(window.refreshed = fetch('/refresh', {method: 'POST'}).then(r => r.status), true)")
		}
		for range windows {
			gate.wait(t)
		}
		gate.release()
		statuses := together(windows, func(w *window) (int, error) { return try[int](w, "window.refreshed") })
		if slices.ContainsFunc(statuses, func(s int) bool { return s != http.StatusOK }) {
			t.Fatalf("round %d: %v", round, statuses)
		}
		// Each window goes on with what the jar holds now.
		statuses = together(windows, func(w *window) (int, error) { return try[int](w, "fetch('/api/notes').then(r => r.status)") })
		if slices.ContainsFunc(statuses, func(s int) bool { return s != http.StatusOK }) {
			t.Fatalf("round %d, afterwards: %v", round, statuses)
		}
		presented := map[string]int{}
		for _, p := range a.passages("POST", "/refresh") {
			for _, c := range p.cookies {
				if c.Name == refreshCookie {
					presented[c.Value]++
				}
			}
		}
		if len(presented) != 1 {
			t.Errorf("round %d: %d refresh tokens were presented, so that it shows nothing", round, len(presented))
		}
	}
	if n := a.sessions(t, "ada"); n != 1 {
		t.Errorf("%d sessions of ada's stand", n)
	}
}

// together does something in all windows at once.
func together(windows []*window, do func(*window) (int, error)) []int {
	statuses := make([]int, len(windows))
	var all sync.WaitGroup
	for i, w := range windows {
		all.Go(func() {
			status, err := do(w)
			if err != nil {
				w.t.Error(err)
			}
			statuses[i] = status
		})
	}
	all.Wait()
	return statuses
}

// TestSlowRefreshCostsNobodyTheSession: the windows of this page do not wait for
// each other. While the refresh of one is on its way, two others refresh one after
// the other.
func TestSlowRefreshCostsNobodyTheSession(t *testing.T) {
	a := startApp(t)
	ada := newProfile(t)
	one := ada.open(t, a.at(home, "/"))
	one.login("ada", "lovelace")
	one.visit(a.at(home, bare))
	windows := []*window{one, ada.open(t, a.at(home, bare)), ada.open(t, a.at(home, bare))}
	one.later()
	late := a.front.hold(t, stop{"/refresh", false}, true)
	eval[bool](one, "(window.refreshed = fetch('/refresh', {method: 'POST'}).then(r => r.status), true)")
	late.wait(t)
	for i, w := range windows[1:] {
		if status := w.call("POST", "/refresh"); status != http.StatusOK {
			t.Errorf("refresh %d: %d", i+2, status)
		}
	}
	late.release()
	if status := eval[int](one, "window.refreshed"); status != http.StatusOK {
		t.Errorf("the slow refresh: %d", status)
	}
	one.later()
	for _, w := range windows {
		for _, route := range [][2]string{{"POST", "/refresh"}, {"GET", "/api/notes"}} {
			if status := w.call(route[0], route[1]); status != http.StatusOK {
				t.Errorf("%s %s afterwards: %d", route[0], route[1], status)
			}
		}
	}
}

// TestWindowsOutliveTheirAccessTokens: the page refreshes by itself, in all
// windows, and one whose request takes very long costs nobody the session.
func TestWindowsOutliveTheirAccessTokens(t *testing.T) {
	var tokens clock
	a := startApp(t, tokens.set)
	ada := newProfile(t)
	windows := []*window{ada.open(t, a.at(home, "/"))}
	windows[0].login("ada", "lovelace")
	for range 4 {
		w := ada.open(t, a.at(home, "/"))
		w.untilIn("ada")
		windows = append(windows, w)
	}
	late := a.front.hold(t, stop{"/refresh", false}, true)
	for round := range 2 { // meanwhile the others would refresh twice, if it were not for the lock
		a.forget()
		tokens.expire()
		for _, w := range windows {
			w.look()
		}
		if round == 0 {
			late.wait(t)
		}
		a.untilRefused(t, "/api/me", len(windows))
		time.Sleep(time.Second) // for what they do then, which should be nothing
	}
	late.release()
	for i, w := range windows {
		w.keep(fmt.Sprintf("secret %d", i))
	}
	tokens.expire()
	for _, w := range windows {
		w.look()
		w.untilIn("ada")
		w.until("document.querySelectorAll('#notes li').length === 5")
	}
	if n := a.sessions(t, "ada"); n != 1 {
		t.Errorf("%d sessions of ada's stand", n)
	}
}

// TestExpiredAccessTokenLogsOut: nobody has to refresh in order to leave.
func TestExpiredAccessTokenLogsOut(t *testing.T) {
	var tokens clock
	a := startApp(t, tokens.set)
	for _, path := range []string{"/logout", "/logout-all"} {
		ada := newProfile(t)
		w := ada.open(t, a.at(home, "/"))
		w.login("ada", "lovelace")
		w.visit(a.at(home, bare))
		stolen := rob(t, a, ada)
		tokens.expire()
		if status := w.call("GET", "/api/me"); status != http.StatusUnauthorized {
			t.Errorf("an expired access token: %d", status)
		}
		a.forget()
		if status := w.call("POST", path); status != http.StatusNoContent {
			t.Errorf("%s with an expired access token: %d", path, status)
		}
		stolen.mustBeOut(t)
		if n := a.sessions(t, "ada"); n != 0 {
			t.Errorf("after %s %d sessions of ada's stand", path, n)
		}
		for _, p := range a.passages("POST", "/refresh") {
			if p.status == http.StatusOK {
				t.Error("something has refreshed: the logout was not with an expired token")
			}
		}
	}
}

// TestRefreshUnderWayRevivesNothing logs out while a refresh is somewhere between
// the window and the ledger. When it comes back the browser is out, whatever it
// was told.
func TestRefreshUnderWayRevivesNothing(t *testing.T) {
	a := startApp(t)
	here := func(w *window) {
		if status := w.call("POST", "/logout"); status != http.StatusNoContent {
			t.Fatalf("logout: %d", status)
		}
	}
	elsewhere := func(*window) { a.end(t, "ada") }
	for name, c := range map[string]struct {
		front   *front
		at      stop
		logout  func(*window)
		cookies int // that the browser may end with
	}{
		"before the application": {front: a.front, at: stop{"/refresh", false}, logout: here},
		"before the ledger":      {front: a.ledger, at: stop{"/oauth/token", false}, logout: here},
		"behind the ledger":      {front: a.ledger, at: stop{"/oauth/token", true}, logout: here},
		"behind its last look":   {front: a.ledger, at: stop{"/oauth/introspect", true}, logout: here},
		// The application cannot call its answer back. What it brings is worth nothing.
		"on the way to the browser": {front: a.front, at: stop{"/refresh", true}, logout: here, cookies: 2},
		// Nobody takes the cookies away, and none are added.
		"behind the ledger, ended from another device": {front: a.ledger, at: stop{"/oauth/token", true}, logout: elsewhere, cookies: 2},
	} {
		t.Run(name, func(t *testing.T) {
			ada := newProfile(t)
			one := ada.open(t, a.at(home, "/"))
			one.login("ada", "lovelace")
			one.visit(a.at(home, bare))
			two := ada.open(t, a.at(home, bare))
			two.later()
			gate := c.front.hold(t, c.at, true)
			eval[bool](two, "(window.refreshed = fetch('/refresh', {method: 'POST'}).then(r => r.status), true)")
			gate.wait(t)
			c.logout(one)
			before := ada.cookies(t)
			gate.release()
			status := eval[int](two, "window.refreshed")
			after := ada.cookies(t)
			if len(after) > c.cookies || c.at.answers && c.at.path == "/refresh" != (status == http.StatusOK) {
				t.Errorf("the late refresh: %d, and %d cookies", status, len(after))
			}
			for name, old := range before {
				if c := after[name]; c == nil || c.Value != old.Value {
					t.Errorf("the late refresh has changed %s", name)
				}
			}
			for _, w := range []*window{one, two} {
				for _, route := range [][2]string{{"GET", "/api/notes"}, {"POST", "/refresh"}} {
					if status := w.call(route[0], route[1]); status != http.StatusUnauthorized {
						t.Errorf("%s %s: %d", route[0], route[1], status)
					}
				}
			}
			if n := a.sessions(t, "ada"); n != 0 {
				t.Errorf("%d sessions of ada's stand", n)
			}
		})
	}
}

// TestRefusedRefreshTakesNoCookiesAway: the answer to a refresh may come when
// somebody has logged in again, in another window.
func TestRefusedRefreshTakesNoCookiesAway(t *testing.T) {
	a := startApp(t)
	ada := newProfile(t)
	one := ada.open(t, a.at(home, "/"))
	one.login("ada", "lovelace")
	two := ada.open(t, a.at(home, bare))
	two.later()
	late := a.front.hold(t, stop{"/refresh", false}, true)
	eval[bool](two, "(window.refreshed = fetch('/refresh', {method: 'POST'}).then(r => r.status), true)")
	late.wait(t)
	one.click("#logout")
	one.untilOut()
	one.login("alan", "turing")
	before := ada.cookies(t)
	late.release()
	if status := eval[int](two, "window.refreshed"); status != http.StatusUnauthorized {
		t.Errorf("the refresh of the session that was left: %d", status)
	}
	after := ada.cookies(t)
	for name, c := range before {
		if after[name] == nil || after[name].Value != c.Value {
			t.Errorf("the refused refresh has changed %s", name)
		}
	}
	for _, w := range []*window{one, two} {
		if who := eval[string](w, "fetch('/api/me').then(r => r.json()).then(me => me.subject)"); who != "alan" {
			t.Errorf("after the refused refresh it is %q", who)
		}
	}
}
