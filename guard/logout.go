package guard

import (
	"context"
	"crypto/subtle"
	"errors"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/rescind/rescind"
)

// RefreshHandler continues the session of the refresh cookie: POST from this
// origin, answered by 200 with {"expires_in": seconds of the new access token}
// and new cookies; the tokens stay out of the body. Parallel tabs that present
// one refresh token all get its one successor. A browser whose access cookie stands
// and is new brings nothing to refresh: one of its tabs has just been here. To
// rotate again at once would put the token of a slower tab two generations behind,
// and that is reuse. 401 says that the session has
// ended; 503 that the token is as good as before. Neither touches a cookie.
func (c *Cookies) RefreshHandler() http.Handler {
	return c.post(func(w http.ResponseWriter, r *http.Request) {
		if c.foreign(r) {
			c.guard.deny(w, crossOrigin, "")
			return
		}
		token, bad := one(r, c.refresh)
		if bad != nil {
			c.guard.deny(w, bad, "")
			return
		}
		left, err := c.left(r)
		switch {
		case err != nil:
			c.guard.refuse(w, r, err, "")
			return
		case left > 0:
			reply(w, http.StatusOK, refreshed{ExpiresIn: int64(left / time.Second)})
			return
		}
		f := c.flights.begin(all(r))
		defer c.flights.done(f)
		grant, err := c.sessions.Refresh(r.Context(), rescind.Refresh{Client: c.client, Token: token})
		if err != nil {
			c.guard.refuse(w, r, err, "")
			return
		}
		if !c.fits(&grant) {
			c.guard.log.ErrorContext(r.Context(), "refresh: "+cookieTooLong.about, "session", grant.Session)
			c.guard.deny(w, cookieTooLong, "")
			return
		}
		// A logout may have come between the refresh and here, perhaps in another
		// process. Only a certain "no" counts: the refresh itself was a yes, and to
		// withhold the successor because of an outage could cost the session.
		c.flights.granted(f, grant.AccessToken.Reveal(), grant.RefreshToken.Reveal())
		_, err = c.guard.checker.Check(r.Context(), grant.AccessToken.Reveal(), rescind.Want{AnyAudience: true, NoTouch: true})
		if dead(err) {
			c.guard.deny(w, invalidToken, "")
			return
		}
		landed := f.land(func() {
			c.set(w, &grant)
			reply(w, http.StatusOK, refreshed{ExpiresIn: grant.ExpiresIn})
		})
		if !landed {
			c.guard.deny(w, invalidToken, "")
		}
	})
}

// refreshed is what a refresh tells the browser.
type refreshed struct {
	ExpiresIn int64 `json:"expires_in"`
}

// young is how long an access token counts as new: longer than the requests of one
// browser overtake each other.
const young = 10 * time.Second

// left is what is left to an access cookie that stands and is new; 0 for every
// other. The clock is this machine's: if it is wrong, tokens are new for longer, or
// never.
func (c *Cookies) left(r *http.Request) (time.Duration, error) {
	token, bad := one(r, c.access)
	if bad != nil {
		return 0, nil
	}
	a, err := c.guard.checker.Check(r.Context(), token, rescind.Want{AnyAudience: true, NoTouch: true})
	switch {
	case dead(err):
		return 0, nil
	case err != nil:
		return 0, err
	}
	lifetime, age := a.ExpiresAt.Sub(a.IssuedAt), c.guard.now().Sub(a.IssuedAt)
	if age.Abs() >= min(young, lifetime/2) {
		return 0, nil
	}
	return lifetime - max(age, 0), nil
}

// LogoutHandler ends the session of the cookies and then clears them: POST from
// this origin, answered by 204 (or 303, see AfterLogout). An expired access
// token is enough, and so is the refresh token alone; without any token there is
// nothing left to end. If a token's end is not certain, the answer is 503 and the
// cookies stay: without them nobody could try again, and a copy of the token
// would live on. The session ends even if the browser does not wait.
//
// The session of a bearer token and of a refresh_token in the body ends too: who
// keeps tokens himself, and sends no cookies, may come from any origin. 401 says
// that such a token is not known, so that another one may still be alive.
func (c *Cookies) LogoutHandler() http.Handler { return c.logout(false) }

// LogoutAllHandler is LogoutHandler for every session of the subject. It needs a
// token that stands, else it answers 401 and clears nothing: that the user is
// who the cookies say is no longer certain. 403 where the client forbids it.
func (c *Cookies) LogoutAllHandler() http.Handler { return c.logout(true) }

func (c *Cookies) logout(everywhere bool) http.Handler {
	return c.post(func(w http.ResponseWriter, r *http.Request) {
		own, bad := named(w, r)
		kept := all(r)
		browser := len(kept) > 0 || len(own) == 0
		switch {
		case bad == badBody && len(kept) > 0, bad == noCredentials: // a form of the application's own
			bad = nil
		case bad != nil:
			c.guard.deny(w, bad, "")
			return
		}
		switch {
		case browser && c.foreign(r):
			bad = crossOrigin
		case everywhere && len(own)+len(kept) == 0:
			bad = noCredentials
		}
		if bad != nil {
			c.guard.deny(w, bad, "")
			return
		}
		if everywhere && c.guard.endSubject(w, r, c.sessions, append(own, kept...)) {
			return
		}
		unknown, err := c.end(r.Context(), append(own, kept...))
		switch {
		case err != nil:
			c.guard.refuse(w, r, err, "")
			return
		case !everywhere && slices.ContainsFunc(own, func(t string) bool { return slices.Contains(unknown, t) }):
			c.guard.deny(w, invalidToken, "")
			return
		}
		w.Header().Set("Cache-Control", "no-store")
		if browser {
			c.clear(w)
			if c.clearSite {
				w.Header().Set("Clear-Site-Data", `"cache", "storage"`)
			}
		}
		if !browser || c.after == "" {
			w.WriteHeader(http.StatusNoContent)
			return
		}
		w.Header().Set("Location", c.after)
		w.WriteHeader(http.StatusSeeOther)
	})
}

// end ends the session of every one of tokens and forbids refreshes under way to
// write cookies.
func (c *Cookies) end(ctx context.Context, tokens []string) (unknown []string, err error) {
	if unknown, err = end(ctx, c.sessions, tokens); err == nil {
		c.flights.end(tokens)
	}
	return unknown, err
}

// end ends the session of every one of tokens: usually that is one, but where
// they come from two logins, both must end. When it returns no error, none of
// them passes again; those that are unknown never did. One that fails does not
// keep the others from ending.
func end(ctx context.Context, s Sessions, tokens []string) (unknown []string, err error) {
	ctx = context.WithoutCancel(ctx) // the user has asked for it, and may leave now
	for _, token := range tokens {
		switch _, failed := s.Logout(ctx, token, false); {
		case failed == nil:
		case dead(failed):
			unknown = append(unknown, token)
		default:
			err = errors.Join(err, failed)
		}
	}
	return unknown, err
}

// endSubject ends all sessions of the subject with the first token that stands.
// It reports whether that failed, and then it has answered.
func (g *Guard) endSubject(w http.ResponseWriter, r *http.Request, s Sessions, tokens []string) (failed bool) {
	var err error = rescind.ErrInactive
	for _, token := range tokens {
		if _, err = s.Logout(context.WithoutCancel(r.Context()), token, true); err == nil || !dead(err) {
			break
		}
	}
	switch {
	case err == nil:
		return false
	case errors.Is(err, rescind.ErrForbidden) && !errors.Is(err, rescind.ErrUnavailable):
		g.deny(w, forbidden, "")
	default:
		g.refuse(w, r, err, "")
	}
	return true
}

// named returns the tokens that a request names itself: as a bearer token, and as
// the refresh_token in the body. A body that cannot be read says nothing if there
// is a token beside it.
func named(w http.ResponseWriter, r *http.Request) ([]string, *denial) {
	var tokens []string
	token, bad := bearer(r)
	switch bad {
	case nil:
		tokens = append(tokens, token)
	case noCredentials:
	default:
		return nil, bad
	}
	inBody, badBody := bodyToken(w, r)
	switch {
	case badBody == nil:
		return append(tokens, inBody), nil
	case badBody == invalidToken || bad != nil:
		return nil, badBody
	}
	return tokens, nil
}

// dead reports whether err says for certain that a token does not stand.
func dead(err error) bool {
	return errors.Is(err, rescind.ErrInactive) && !errors.Is(err, rescind.ErrUnavailable)
}

// post lets POST requests pass.
func (c *Cookies) post(next http.HandlerFunc) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		bad := c.refuseHost(r)
		switch {
		case bad != nil:
		case r.Method != http.MethodPost:
			bad = onlyPost // a link or an image must not log anybody out
		}
		if bad != nil {
			c.guard.deny(w, bad, "")
			return
		}
		next(w, r)
	})
}

// flights are the refreshes under way in this process. They close the gap
// between a refresh's last look at the session and its writing of cookies.
type flights struct {
	mu  sync.Mutex
	all map[*flight][]string // with the tokens it brought and got
}

// A flight is one refresh. Its lock is held while cookies are written.
type flight struct {
	mu    sync.Mutex
	ended bool
}

func (fs *flights) begin(tokens []string) *flight {
	f := new(flight)
	fs.mu.Lock()
	defer fs.mu.Unlock()
	if fs.all == nil {
		fs.all = make(map[*flight][]string)
	}
	fs.all[f] = tokens
	return f
}

func (fs *flights) granted(f *flight, tokens ...string) {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	fs.all[f] = append(fs.all[f], tokens...)
}

func (fs *flights) done(f *flight) {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	delete(fs.all, f)
}

// end forbids the flights that hold one of tokens to land. Those that are
// writing have written when it returns, so that a logout clears after them.
func (fs *flights) end(tokens []string) {
	fs.mu.Lock()
	var ended []*flight
	for f, held := range fs.all {
		if slices.ContainsFunc(held, func(h string) bool {
			return slices.ContainsFunc(tokens, func(t string) bool { return subtle.ConstantTimeCompare([]byte(h), []byte(t)) == 1 })
		}) {
			ended = append(ended, f)
		}
	}
	fs.mu.Unlock()
	for _, f := range ended {
		f.mu.Lock()
		f.ended = true
		f.mu.Unlock()
	}
}

// land writes, unless the session has ended; then it is false.
func (f *flight) land(write func()) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if !f.ended {
		write()
	}
	return !f.ended
}
