package guard

import (
	"context"
	"crypto/subtle"
	"errors"
	"net/http"
	"slices"
	"sync"

	"github.com/rescind/rescind"
)

// RefreshHandler continues the session of the refresh cookie: POST from this
// origin, answered by 200 with {"expires_in": seconds of the new access token}
// and new cookies; the tokens stay out of the body. Parallel tabs that present
// one refresh token all get its one successor. 401 says that the session has
// ended; 503 that the token is as good as before. Neither touches a cookie.
func (c *Cookies) RefreshHandler() http.Handler {
	return c.post(func(w http.ResponseWriter, r *http.Request) {
		token, bad := one(r, c.refresh)
		if bad != nil {
			c.guard.deny(w, bad, "")
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
			reply(w, http.StatusOK, struct {
				ExpiresIn int64 `json:"expires_in"`
			}{grant.ExpiresIn})
		})
		if !landed {
			c.guard.deny(w, invalidToken, "")
		}
	})
}

// LogoutHandler ends the session of the cookies and then clears them: POST from
// this origin, answered by 204 (or 303, see AfterLogout). An expired access
// token is enough, and so is the refresh token alone; without cookies there is
// nothing left to end. If a token's end is not certain, the answer is 503 and the
// cookies stay: without them nobody could try again, and a copy of the token
// would live on. The session ends even if the browser does not wait.
func (c *Cookies) LogoutHandler() http.Handler { return c.logout(false) }

// LogoutAllHandler is LogoutHandler for every session of the subject. It needs a
// token that stands, else it answers 401 and clears nothing: that the user is
// who the cookies say is no longer certain. 403 where the client forbids it.
func (c *Cookies) LogoutAllHandler() http.Handler { return c.logout(true) }

func (c *Cookies) logout(everywhere bool) http.Handler {
	return c.post(func(w http.ResponseWriter, r *http.Request) {
		tokens := all(r)
		if len(tokens) == 0 && everywhere {
			c.guard.deny(w, noCredentials, "")
			return
		}
		err := c.end(r.Context(), tokens, everywhere)
		if everywhere && errors.Is(err, rescind.ErrForbidden) && !errors.Is(err, rescind.ErrUnavailable) {
			c.guard.deny(w, forbidden, "")
			return
		}
		if err != nil {
			c.guard.refuse(w, r, err, "")
			return
		}
		c.clear(w)
		if c.clearSite {
			w.Header().Set("Clear-Site-Data", `"cache", "storage"`)
		}
		w.Header().Set("Cache-Control", "no-store")
		if c.after == "" {
			w.WriteHeader(http.StatusNoContent)
			return
		}
		w.Header().Set("Location", c.after)
		w.WriteHeader(http.StatusSeeOther)
	})
}

// end ends the session of every one of tokens: usually that is one, but where
// they come from two logins, both must end. When it returns nil, none of them
// passes again, and refreshes under way write no cookies. One that fails does not
// keep the others from ending.
func (c *Cookies) end(ctx context.Context, tokens []string, everywhere bool) error {
	ctx = context.WithoutCancel(ctx) // the user has asked for it, and may leave now
	if everywhere {
		if err := c.endSubject(ctx, tokens); err != nil {
			return err
		}
	}
	var failed error
	for _, token := range tokens {
		if _, err := c.sessions.Logout(ctx, token, false); err != nil && !dead(err) {
			failed = errors.Join(failed, err)
		}
	}
	if failed == nil {
		c.flights.end(tokens)
	}
	return failed
}

// endSubject ends all sessions of the subject with the first token that stands.
func (c *Cookies) endSubject(ctx context.Context, tokens []string) error {
	for _, token := range tokens {
		if _, err := c.sessions.Logout(ctx, token, true); err == nil || !dead(err) {
			return err
		}
	}
	return rescind.ErrInactive
}

// dead reports whether err says for certain that a token does not stand.
func dead(err error) bool {
	return errors.Is(err, rescind.ErrInactive) && !errors.Is(err, rescind.ErrUnavailable)
}

// post lets POST requests from this origin pass.
func (c *Cookies) post(next http.HandlerFunc) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		bad := c.refuseHost(r)
		switch {
		case bad != nil:
		case r.Method != http.MethodPost:
			bad = onlyPost // a link or an image must not log anybody out
		case c.foreign(r):
			bad = crossOrigin
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
