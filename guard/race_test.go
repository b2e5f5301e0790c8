package guard_test

import (
	"encoding/json"
	"io"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/rescind/rescind"
	"github.com/rescind/rescind/guard"
)

// TestLateRefreshInstallsNothing holds law 3 in the browser: a refresh that was
// under way when its session ended writes no cookies, wherever it was held up.
func TestLateRefreshInstallsNothing(t *testing.T) {
	logout := func(s *site, held map[string]string) {
		s.browser(t).want(204, "POST", "/auth/logout", "Cookie", cookieHeader(held))
	}
	for name, end := range map[string]func(*site, map[string]string){
		"logout":                        logout,
		"logout with the access token":  func(s *site, held map[string]string) { logout(s, map[string]string{hostAccess: held[hostAccess]}) },
		"logout with the refresh token": func(s *site, held map[string]string) { logout(s, map[string]string{hostRefresh: held[hostRefresh]}) },
		"a login anew": func(s *site, held map[string]string) {
			s.browser(t).want(200, "POST", "/auth/login", "Cookie", cookieHeader(held))
		},
	} {
		for _, heldUp := range []string{"after the refresh", "after the last look"} {
			t.Run(name+", "+heldUp, func(t *testing.T) {
				s := newSite(t, guard.CookieOptions{})
				b := s.loggedIn(t)
				before := b.held()
				hook := func() {
					s.afterRefresh, s.afterCheck = nil, nil
					end(s, before)
				}
				if heldUp == "after the refresh" {
					s.afterRefresh = hook
				} else {
					s.afterRefresh = func() { s.afterCheck = hook }
				}
				if res := b.want(401, "POST", "/auth/refresh"); len(res.Cookies()) != 0 {
					t.Errorf("the late refresh set %v", res.Header.Values("Set-Cookie"))
				}
			})
		}
	}
}

// TestLateRefreshHearsOfOtherProcesses: the session ends where this process
// cannot notice it by itself, and the last look finds out.
func TestLateRefreshHearsOfOtherProcesses(t *testing.T) {
	s := newSite(t, guard.CookieOptions{})
	b := s.loggedIn(t)
	s.afterRefresh = func() {
		if _, err := s.Authority.Revoke(t.Context(), rescind.Revocation{Selector: rescind.Selector{Subject: "alice"}}); err != nil {
			t.Error(err)
		}
	}
	if res := b.want(401, "POST", "/auth/refresh"); len(res.Cookies()) != 0 {
		t.Errorf("the late refresh set %v", res.Header.Values("Set-Cookie"))
	}
}

// TestLateRefreshOfAnotherTabInstallsNothing: one tab's refresh is held up while
// another tab's succeeds, and the browser logs out with what that one brought.
func TestLateRefreshOfAnotherTabInstallsNothing(t *testing.T) {
	s := newSite(t, guard.CookieOptions{})
	b := s.loggedIn(t)
	before := b.held()
	s.afterRefresh = func() {
		s.afterRefresh = nil
		s.afterCheck = func() {
			s.afterCheck = nil
			b.want(200, "POST", "/auth/refresh")
			b.want(204, "POST", "/auth/logout")
		}
	}
	late := s.browser(t)
	if res := late.want(401, "POST", "/auth/refresh", "Cookie", cookieHeader(before)); len(res.Cookies()) != 0 {
		t.Errorf("the late refresh set %v", res.Header.Values("Set-Cookie"))
	}
	if len(b.held()) != 0 {
		t.Error("cookies are back")
	}
}

// TestParallelTabsShareOneSuccessor: whoever comes second gets what the first
// one got, and nobody's cookies are deleted.
func TestParallelTabsShareOneSuccessor(t *testing.T) {
	s := newSite(t, guard.CookieOptions{})
	for range 20 {
		b := s.loggedIn(t)
		before := cookieHeader(b.held())
		var tabs sync.WaitGroup
		got := make([]string, 16)
		for i := range got {
			tabs.Go(func() {
				res := b.do("POST", "/auth/refresh", "Cookie", before)
				for _, k := range res.Cookies() {
					if k.MaxAge < 0 {
						t.Errorf("deleted %s", k.Name)
					}
					if k.Name == hostRefresh {
						got[i] = k.Value
					}
				}
			})
		}
		tabs.Wait()
		for _, token := range got {
			if token == "" || token != got[0] {
				t.Fatal("two successors, or none")
			}
		}
		b.want(200, "GET", "/api")
		b.want(204, "POST", "/auth/logout")
	}
}

// TestATabThatIsLateIsNoThief: one tab refreshes, and again; a third request that
// left with the first cookies comes last. What a browser holds that is new is not
// rotated, so that the request is no reuse. What is not new is, and what is dead is
// not taken for new.
func TestATabThatIsLateIsNoThief(t *testing.T) {
	s := newSite(t, guard.CookieOptions{})
	b := s.loggedIn(t)
	first := cookieHeader(b.held())
	b.want(200, "POST", "/auth/refresh")
	s.age.Store(0)
	second := b.held()
	for range 3 {
		res := b.want(200, "POST", "/auth/refresh")
		var said struct {
			ExpiresIn int64 `json:"expires_in"`
		}
		if err := json.NewDecoder(res.Body).Decode(&said); err != nil || said.ExpiresIn < 280 || said.ExpiresIn > 300 {
			t.Errorf("a refresh of what is new says %+v, %v", said, err)
		}
		if len(res.Cookies()) != 0 || res.Header.Get("Cache-Control") != "no-store" {
			t.Errorf("a refresh of what is new: %v", res.Header)
		}
	}
	b.want(200, "POST", "/auth/refresh", "Cookie", first)
	b.want(200, "GET", "/api")

	// Ten seconds later it is not new any more.
	s.advance(10 * time.Second)
	if res := b.want(200, "POST", "/auth/refresh"); len(res.Cookies()) != 2 {
		t.Errorf("a refresh later: %v", res.Header)
	}
	// Without the access cookie there is nothing that could be new.
	if res := b.want(200, "POST", "/auth/refresh", "Cookie", cookieHeader(b.held(), hostRefresh)); len(res.Cookies()) != 2 {
		t.Errorf("a refresh by the refresh cookie alone: %v", res.Header)
	}
	// A new token that is dead refreshes nothing, and is not good news.
	held := cookieHeader(b.held())
	b.want(204, "POST", "/auth/logout")
	b.want(401, "POST", "/auth/refresh", "Cookie", held)
	b.want(401, "POST", "/auth/refresh", "Cookie", cookieHeader(second))
}

// TestLosersAnswerLeavesTheWinnersCookies: the answer to a refresh that was
// refused comes last, after a new login in another tab, and takes nothing away.
func TestLosersAnswerLeavesTheWinnersCookies(t *testing.T) {
	s := newSite(t, guard.CookieOptions{})
	b := s.loggedIn(t)
	first := b.held()
	b.want(200, "POST", "/auth/refresh")
	s.advance(rescind.GraceConfidential + time.Second)

	s.afterRefresh = func() {
		s.afterRefresh = nil
		b.want(200, "POST", "/auth/login")
	}
	res := b.want(401, "POST", "/auth/refresh", "Cookie", cookieHeader(first, hostRefresh)) // reuse: its session ends
	if len(res.Cookies()) != 0 {
		t.Errorf("the loser set %v", res.Header.Values("Set-Cookie"))
	}
	if len(b.held()) != 2 {
		t.Error("the login's cookies are gone")
	}
	b.want(200, "GET", "/api")
	if res := s.browser(t).want(401, "GET", "/api", "Cookie", cookieHeader(first)); len(res.Cookies()) != 0 {
		t.Error("a refused check touched cookies")
	}
}

func TestRefreshOutageKeepsTheToken(t *testing.T) {
	s := newSite(t, guard.CookieOptions{})
	b := s.loggedIn(t)
	// That the server refuses this application says nothing about the token either.
	for _, err := range []error{rescind.ErrUnavailable, rescind.ErrForbidden, io.ErrUnexpectedEOF} {
		s.failWith(err)
		if res := b.want(503, "POST", "/auth/refresh"); len(res.Cookies()) != 0 || res.Header.Get("Retry-After") == "" {
			t.Errorf("%v: %v", err, res.Header)
		}
	}
	s.failWith(nil)
	// Rotated, and then the store goes: the successor must not be lost.
	s.afterRefresh = func() { s.failWith(rescind.ErrUnavailable) }
	if res := b.want(200, "POST", "/auth/refresh"); len(res.Cookies()) != 2 {
		t.Errorf("the successor is lost: %v", res.Header)
	}
	s.failWith(nil)
	b.want(200, "GET", "/api")
}

// TestLogoutRacingRefreshes: whatever the order, when all is answered the session
// is dead, and no refresh that was answered after the logout has set a cookie.
func TestLogoutRacingRefreshes(t *testing.T) {
	s := newSite(t, guard.CookieOptions{})
	for range 30 {
		b := s.loggedIn(t)
		held := b.held()
		var mu sync.Mutex
		var tokens []string
		var all sync.WaitGroup
		for range 8 {
			all.Go(func() {
				res := s.browser(t).do("POST", "/auth/refresh", "Cookie", cookieHeader(held))
				mu.Lock()
				defer mu.Unlock()
				for _, k := range res.Cookies() {
					if k.MaxAge < 0 {
						t.Errorf("a refresh deleted %s", k.Name)
					}
					tokens = append(tokens, k.Name+"="+k.Value)
				}
			})
		}
		s.browser(t).want(204, "POST", "/auth/logout", "Cookie", cookieHeader(held))
		// What begins now comes too late.
		if res := s.browser(t).want(401, "POST", "/auth/refresh", "Cookie", cookieHeader(held)); len(res.Cookies()) != 0 {
			t.Error("a refresh after the logout set cookies")
		}
		all.Wait()
		for _, k := range tokens {
			s.browser(t).want(401, http.MethodGet, "/api", "Cookie", k)
		}
	}
}
