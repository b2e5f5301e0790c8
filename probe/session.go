package probe

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/rescind/rescind/probe/target"
)

// A session is one login of a user. One goroutine at a time may use it.
type session struct {
	label    string // "ada#2"
	user     int    // its index
	instance string // where it was logged in
	vars     target.Vars
	jar      *jar
	born     time.Time // when the answer to its login had been read
	renewed  time.Time // when it got what it holds now
	anew     bool      // its logins, refreshes and logouts go over new connections
	// lifetime is what the newest answer with tokens says of its access token
	// (expires_in, RFC 6749, section 5.1); 0 if nothing.
	lifetime time.Duration
	// trail are the answers to its login, its refreshes and its logout, for the
	// evidence.
	trail []*answer
}

// A moment is something that happened to a session, for the picture of its life.
type moment struct {
	at   time.Time
	what string
}

// moments are its refreshes so far.
func (s *session) moments() []moment {
	var all []moment
	for _, a := range s.trail {
		if strings.HasPrefix(a.request.role, "refresh") && a.err == nil {
			all = append(all, moment{a.ended, "refresh"})
		}
	}
	return all
}

// copied is a copy of all that a session holds: what a thief has. What becomes of
// one of the two does not change the other.
func (s *session) copied() *session {
	c := *s
	c.vars, c.jar, c.trail = s.vars.Clone(), s.jar.clone(), slices.Clone(s.trail)
	return &c
}

// errRefused says that a request which should have gone well did not: the
// description is wrong, or the target does not do what it says.
var errRefused = errors.New("the target did not do it")

func (r *run) tryLogin(ctx context.Context, user int, instance string) (*session, error) {
	if int(r.failed.Load()) >= r.target.Limits.FailedLogins {
		return nil, ErrFailedLogins
	}
	return r.loginWith(ctx, user, instance, r.target.Vars(r.users[user]))
}

// loginWith logs a user in with other variables than the description's: another
// password. It counts failures and does not stop at their limit, because a changed
// password has to be put back.
func (r *run) loginWith(ctx context.Context, user int, instance string, vars target.Vars) (*session, error) {
	for name, value := range vars {
		if name != "user.name" { // a name is none
			r.secrets.learn(name, value.Reveal())
		}
	}
	s := &session{
		label: fmt.Sprintf("%s#%d", r.userName(user), r.numbers[user].Add(1)), user: user, instance: instance,
		vars: vars, jar: &jar{instances: r.instanceHosts()},
	}
	a, err := r.perform(ctx, "login", s, r.target.Login, instance, target.CarryCookies)
	if ctx.Err() != nil && len(r.artefacts(s)) > 0 {
		// Interrupted between two steps or redirects, it may have made a session.
		r.opened(s)
		return nil, ctx.Err()
	}
	if err != nil {
		if errors.Is(err, errRefused) && (a == nil || a.status < 500) && !errors.As(err, new(*limitedError)) {
			r.failed.Add(1)
		}
		return nil, fmt.Errorf("login of %s: %w", r.userName(user), err)
	}
	s.born = a.ended
	if len(r.artefacts(s)) == 0 {
		return nil, fmt.Errorf("login of %s: %w: no token was found in the answer, and no cookie", r.userName(user), errRefused)
	}
	r.opened(s)
	return s, nil
}

// opened has a session logged out at the end of the run.
func (r *run) opened(s *session) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.open = append(r.open, s)
}

// limitedError says that the target limits how often something may be done, and how
// long to wait; 0 if it does not say.
type limitedError struct{ wait time.Duration }

func (e *limitedError) Error() string { return "it answered 429: there is a rate limit" }

// refresh gets the session new tokens, with what it holds. On success the session
// has them. The answer is nil only if nothing could be sent.
func (r *run) refresh(ctx context.Context, role string, s *session, instance string) (*answer, error) {
	return r.perform(ctx, role, s, r.target.Refresh, instance, target.CarryCookies)
}

// logout ends the session by the description's logout request, on an instance.
// When it returns without error, the target has said that the session is ended.
// Artefacts taken before it stay what they are. The answer is nil only if nothing
// could be sent.
func (r *run) logout(ctx context.Context, s *session, instance string) (*answer, error) {
	a, err := r.perform(ctx, "logout", s, r.target.Logout, instance, target.CarryAll)
	if err == nil {
		r.closed(s)
	}
	return a, err
}

// logoutAll ends all sessions of the session's user.
func (r *run) logoutAll(ctx context.Context, s *session, instance string) (*answer, error) {
	return r.perform(ctx, "logout everywhere", s, r.target.LogoutAll, instance, target.CarryAll)
}

// closed takes a session from those that the run logs out at its end.
func (r *run) closed(s *session) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.open = slices.DeleteFunc(r.open, func(o *session) bool { return o.label == s.label })
}

// maxRedirects is how many redirects of one step are followed.
const maxRedirects = 5

// perform sends the steps of something that the description says, one after the
// other, and gives the session what their answers hold. It returns the last answer.
//
// A browser follows redirects, and some logins and logouts are complete only then:
// perform does too, with GET, to named hosts only, and not if the answer already
// holds what the step looks for, which may be a code for the next step.
func (r *run) perform(ctx context.Context, role string, s *session, steps target.Steps, instance string, carry target.Carry) (*answer, error) {
	var last *answer
	for i := range steps {
		step := &steps[i]
		q, err := r.build(role, r.together(s), step, instance, step.Carry.Or(carry))
		if err != nil {
			return last, err
		}
		q.whole = carry == target.CarryCookies // a login or a refresh
		q.anew = s.anew
		if last, err = r.step(ctx, s, step, q); err != nil {
			return last, err
		}
	}
	return last, nil
}

func (r *run) step(ctx context.Context, s *session, step *target.Request, q request) (*answer, error) {
	var found target.Vars
	var missing error
	for redirects := 0; ; redirects++ {
		a := r.client.do(ctx, q)
		s.trail = append(s.trail, a)
		switch {
		case a.err != nil:
			return a, a.err
		case a.status == http.StatusTooManyRequests:
			return a, fmt.Errorf("%w: %w", errRefused, &limitedError{retryAfter(a)})
		case redirects == 0 && !step.Expect.Matches(a.status):
			return a, fmt.Errorf("%w: %s answered %d, expected %s", errRefused, step, a.status, step.Expect)
		case redirects > 0 && a.status >= 400:
			return a, fmt.Errorf("%w: the redirect of %s ended with %d", errRefused, step, a.status)
		}
		s.jar.store(q.url, a.header, r.options.Now())
		for _, c := range s.jar.cookies {
			r.secrets.learn("cookie_"+c.name, c.value)
		}
		var here target.Vars
		if here, missing = step.Find(target.Answer{Header: a.header, Body: a.body}); missing == nil {
			found = here
		}
		to := redirect(a)
		if seconds, says := expiresIn(a.body); says {
			s.lifetime = time.Duration(seconds) * time.Second
		}
		if to == nil || missing == nil && len(found) > 0 {
			r.found(s, found)
			if missing != nil {
				return a, fmt.Errorf("%w: %w", errRefused, missing)
			}
			return a, nil
		}
		if !r.client.allows(to) {
			// Whatever is there, it is not part of the application.
			a.note = "the redirect is not followed: " + ErrForeignHost.Error()
			if missing != nil {
				return a, fmt.Errorf("%w: %w", errRefused, missing)
			}
			r.found(s, found)
			return a, nil
		}
		if redirects == maxRedirects {
			return a, fmt.Errorf("%w: %s redirects more than %d times", errRefused, step, maxRedirects)
		}
		q = request{role: q.role + " (redirect)", session: q.session, artefact: q.artefact, method: http.MethodGet, url: to, header: http.Header{}, whole: q.whole, anew: q.anew}
		if cookies := s.jar.of(to, r.options.Now()); len(cookies) > 0 {
			q.header.Set("Cookie", cookieHeader(cookies, func(c cookie) string { return c.value }))
		}
	}
}

// found gives a session new values.
func (r *run) found(s *session, found target.Vars) {
	for name, value := range found {
		r.secrets.learn(name, value.Reveal())
	}
	maps.Copy(s.vars, found)
	s.renewed = r.options.Now()
}

// redirect is where an answer leads a browser with GET; nil if nowhere.
func redirect(a *answer) *url.URL {
	switch a.status {
	case http.StatusMovedPermanently, http.StatusFound, http.StatusSeeOther:
	default:
		return nil
	}
	to, err := a.request.url.Parse(a.header.Get("Location"))
	if err != nil || a.header.Get("Location") == "" {
		return nil
	}
	to.Fragment = ""
	return to
}

// retryAfter is how long an answer asks to wait (RFC 9110, section 10.2.3); 0 if it
// does not say.
func retryAfter(a *answer) time.Duration {
	text := a.header.Get("Retry-After")
	if seconds, err := strconv.Atoi(text); err == nil && seconds >= 0 && seconds < 1e6 {
		return time.Duration(seconds) * time.Second
	}
	if at, err := http.ParseTime(text); err == nil {
		return max(at.Sub(a.ended), 0)
	}
	return 0
}
