package probe

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/rescind/rescind/probe/target"
)

// shortly are the delays of experiments whose question is only whether something
// has ended: how soon and for how long is that of the logout experiment.
var shortly = []time.Duration{0, 200 * time.Millisecond, time.Second}

// ended watches what a session holds after it was ended, and says what is still
// alive at the last look, and would be dead after an ordinary logout. The subject
// names the ending.
func (r *run) ended(ctx context.Context, check, subject string, lives []*life, ending *answer) (Result, error) {
	lives = slices.DeleteFunc(slices.Clone(lives), r.outlives)
	if len(lives) == 0 {
		return r.result(check, subject, NotApplicable, "an ordinary logout does not end it at once either"), nil
	}
	err := r.watch(ctx, lives, shortly...)
	var living, unclear, dead []*life
	for _, l := range lives {
		switch l.fate() {
		case survived, flapping, revived:
			living = append(living, l)
		case unknown:
			unclear = append(unclear, l)
		default:
			dead = append(dead, l)
		}
	}
	o := &observation{run: r, lives: lives, logouts: map[string]*answer{}}
	for _, l := range lives {
		o.logouts[l.artefact.session] = ending
	}
	result := Result{Check: check, Subject: subject, Lives: o.file(lives)}
	switch {
	case len(living) > 0:
		result.Verdict, result.Evidence = Finding, o.evidence(living[0])
		result.Says = fmt.Sprintf("answered %d, and alive after it: %s, on %s", ending.status, strings.Join(artefactNames(living), ", "), places(living, lives))
	case err != nil:
		return Result{}, err
	case len(unclear) > 0:
		result.Verdict, result.Evidence, result.Reason = Inconclusive, o.evidence(unclear[0]), doubts(unclear, lives)
	default:
		result.Verdict, result.Evidence = Pass, o.evidence(dead[0])
		result.Says = fmt.Sprintf("answered %d, and refused after it: %s", ending.status, strings.Join(artefactNames(dead), ", "))
	}
	return result, nil
}

// before has everything that a fresh session holds seen to work, its refresh token
// included in what is watched later.
func (r *run) before(ctx context.Context, name string) (*session, []*life, error) {
	s, err := r.login(ctx, 0, r.target.Instances[0])
	if err != nil {
		return nil, nil, err
	}
	lives, err := r.livesOf(ctx, name, s)
	if err != nil {
		return nil, nil, err
	}
	if r.target.Refresh != nil {
		lives = append(lives, r.refreshLives(name, s)...)
	}
	return s, lives, nil
}

// after says of lives when, where and by what they ended.
func after(lives []*life, ending *answer, instance string) []*life {
	for _, l := range lives {
		l.ended, l.endedAt = ending.ended, instance
	}
	return lives
}

// refreshOnlyExperiment logs out with the refresh token alone.
func refreshOnlyExperiment() experiment {
	const check = "logout-with-refresh-token-only"
	return experiment{
		name: "logout with the refresh token only", checks: []string{check}, lacks: needsRefresh,
		run: func(ctx context.Context, r *run) ([]Result, error) {
			result, err := r.refreshOnly(ctx, check)
			if err != nil {
				return nil, err
			}
			return []Result{result}, nil
		},
	}
}

func (r *run) refreshOnly(ctx context.Context, check string) (Result, error) {
	s, lives, err := r.before(ctx, "logout with the refresh token only")
	if err != nil {
		return Result{}, err
	}
	instance := s.instance
	only, has := r.withoutAccess(s, lives)
	if !has {
		return r.result(check, "", NotApplicable, "a session holds nothing but what gives access"), nil
	}
	q, own, err := r.refreshLogout(only, instance)
	var missing *target.MissingError
	switch {
	case errors.As(err, &missing):
		return r.result(check, "", NotApplicable, "the logout request cannot be made without "+missing.Name), nil
	case err != nil:
		return Result{}, err
	}
	// Whether the logout reads the refresh token at all shows in what it says of
	// one that nobody was given.
	c, _, err := r.refreshLogout(r.replaced(only, func(_, value string) string { return corrupted(value) }), instance)
	if err != nil {
		return Result{}, err
	}
	c.role = "logout with a corrupted refresh token"
	control := r.client.do(ctx, c)
	answer := r.client.do(ctx, q)
	if err := fatal(ctx, answer.err); err != nil {
		return Result{}, err
	}
	expect := r.target.Logout.Last().Expect
	switch {
	case answer.err != nil || answer.status == http.StatusTooManyRequests || answer.status >= 500:
		return r.result(check, "", Inconclusive, fmt.Sprintf("the logout was not answered well (%d)", answer.status), answer), nil
	case !expect.Matches(answer.status):
		r.endNow(ctx, s)
		return r.result(check, "", Note, fmt.Sprintf("it is refused (%d): without its access token a client cannot log out", answer.status), control, answer), nil
	}
	result, err := r.ended(ctx, check, "", after(lives, answer, instance), answer)
	if err != nil {
		return Result{}, err
	}
	if result.Verdict == Finding {
		if !own && control.err == nil && expect.Matches(control.status) {
			result.Verdict = Note
			result.Says = fmt.Sprintf("the logout answers %d to a refresh token alone, also to a corrupted one, and ends nothing: it does not read it", answer.status)
		}
		r.endNow(ctx, s)
	} else {
		r.closed(s)
	}
	return result, nil
}

// endNow logs a session out whose logout is no experiment any more. If that fails
// it is tried again at the end of the run.
func (r *run) endNow(ctx context.Context, s *session) {
	if a, err := r.logout(ctx, s, s.instance); err != nil && a != nil {
		a.note = err.Error()
	}
}

// withoutAccess is what remains of a session without all that alone gives access;
// and whether anything remains.
func (r *run) withoutAccess(s *session, lives []*life) (artefact, bool) {
	a := r.together(s)
	a.name, a.kind = "refresh token", RefreshToken
	gives := map[string]bool{}
	for _, l := range lives {
		if l.artefact.kind == RefreshToken || l.artefact.kind == Together {
			continue
		}
		for name, value := range l.artefact.vars {
			if r.credential(name) {
				gives[value.Reveal()] = true
			}
		}
		for _, c := range l.artefact.cookies {
			gives[c.value] = true
		}
	}
	for name, value := range a.vars {
		if r.credential(name) && gives[value.Reveal()] {
			delete(a.vars, name)
		}
	}
	a.jar.cookies = slices.DeleteFunc(a.jar.cookies, func(c cookie) bool { return gives[c.value] })
	_, token := a.vars["refresh_token"]
	return a, token || len(a.jar.cookies) > 0
}

// refreshLogout is the logout request with the refresh token alone. Where the
// description's own does not carry it, it gets the body of the refresh request,
// and own is false.
func (r *run) refreshLogout(only artefact, instance string) (q request, own bool, err error) {
	step := *r.target.Logout.Last()
	carry := step.Carry.Or(target.CarryAll)
	if q, err = r.build("logout", only, &step, instance, carry); err != nil {
		return request{}, false, err
	}
	if holds(q, only) {
		return q, true, nil
	}
	with := r.target.Refresh.Last()
	step.JSON, step.Form, step.Multipart, step.Body = with.JSON, with.Form, with.Multipart, with.Body
	q, err = r.build("logout", only, &step, instance, carry)
	if err == nil && !holds(q, only) {
		err = &target.MissingError{Name: "refresh_token"}
	}
	return q, false, err
}

// holds reports whether a request carries the refresh token, or any cookie.
func holds(q request, a artefact) bool {
	token := a.vars["refresh_token"].Reveal()
	if token == "" {
		return q.header.Get("Cookie") != ""
	}
	inHeader := slices.ContainsFunc(slices.Collect(valuesOf(q.header)), func(value string) bool { return strings.Contains(value, token) })
	return bytes.Contains(q.body, []byte(token)) || strings.Contains(q.url.String(), token) || inHeader
}

func valuesOf(h http.Header) func(func(string) bool) {
	return func(yield func(string) bool) {
		for _, values := range h {
			for _, value := range values {
				if !yield(value) {
					return
				}
			}
		}
	}
}

// expiredExperiment logs out when the access token has expired.
func expiredExperiment() experiment {
	const check = "logout-with-expired-access-token"
	return experiment{
		name: "logout with an expired access token", checks: []string{check}, lacks: needsRefresh,
		run: func(ctx context.Context, r *run) ([]Result, error) {
			result, err := r.expiredLogout(ctx, check)
			if err != nil {
				return nil, err
			}
			return []Result{result}, nil
		},
	}
}

// How long the experiment waits for an access token to expire, without and with
// Patient, and how long after that it may still be taken, because clocks differ.
const (
	soonExpired = 8 * time.Second
	leeway      = 90 * time.Second
)

func (r *run) expiredLogout(ctx context.Context, check string) (Result, error) {
	s, lives, err := r.before(ctx, "logout with an expired access token")
	if err != nil {
		return Result{}, err
	}
	var dies []*life // what gives access and expires
	var refreshes []*life
	for _, l := range lives {
		switch {
		case l.artefact.kind == RefreshToken:
			refreshes = append(refreshes, l)
		case !l.artefact.expires.IsZero():
			dies = append(dies, l)
		}
	}
	if len(dies) == 0 {
		r.endNow(ctx, s)
		return r.result(check, "", NotApplicable, "the access token does not say when it expires"), nil
	}
	l := dies[0]
	wait, patience := l.artefact.expires.Sub(r.options.Now()), soonExpired
	if r.options.Patient {
		patience = r.options.Patience
	}
	if wait > patience {
		r.endNow(ctx, s)
		return r.result(check, "", NotApplicable, fmt.Sprintf("the access token lives for %s, which is not waited for (see --patient)", round(wait))), nil
	}
	if err := r.options.Sleep(ctx, wait); err != nil {
		return Result{}, err
	}
	expired, err := r.waitRefused(ctx, l, min(leeway, patience))
	if err != nil {
		return Result{}, err
	}
	if proves(expired) != Dead {
		return r.result(check, "", Inconclusive, "the access token was taken although its time was over", expired), nil
	}
	logout, err := r.logout(ctx, s, s.instance)
	if err != nil && !errors.Is(err, errRefused) {
		return Result{}, err
	}
	if logout.status >= 500 || logout.status == http.StatusTooManyRequests {
		return r.result(check, "", Inconclusive, fmt.Sprintf("the logout was not answered well (%d)", logout.status), logout), nil
	}
	// A token that expired meanwhile is none of the logout's.
	for _, l := range refreshes {
		l.before = expired
	}
	return r.ended(ctx, check, "", after(refreshes, logout, s.instance), logout)
}

// waitRefused asks again and again until an artefact is refused for certain.
func (r *run) waitRefused(ctx context.Context, l *life, most time.Duration) (*answer, error) {
	end := r.options.Now().Add(most)
	for {
		a := r.ask(ctx, "valid control", l.artefact, l.route)
		r.confirm(ctx, l.route, l.artefact.user, a)
		if err := fatal(ctx, a.err); err != nil {
			return a, err
		}
		if proves(a) == Dead || r.options.Now().After(end) {
			return a, nil
		}
		if err := r.options.Sleep(ctx, time.Second); err != nil {
			return a, err
		}
	}
}

// twiceExperiment logs out twice.
func twiceExperiment() experiment {
	const check = "logout-twice"
	return experiment{
		name: "logout twice", checks: []string{check}, lacks: needsLogout,
		run: func(ctx context.Context, r *run) ([]Result, error) {
			s, lives, err := r.before(ctx, "logout twice")
			if err != nil {
				return nil, err
			}
			instance := s.instance
			held := s.copied() // what a client that heard no answer still has
			if _, err := r.logout(ctx, s, instance); err != nil {
				return nil, err
			}
			var again []*answer
			for range 3 {
				a, err := r.logout(ctx, held.copied(), instance)
				if err != nil && !errors.Is(err, errRefused) {
					return nil, err
				}
				again = append(again, a)
				if a.status < 500 && a.status != http.StatusTooManyRequests {
					result, err := r.ended(ctx, check, "", after(lives, a, instance), a)
					if err == nil && len(again) > 1 && result.Verdict == Pass {
						result = r.result(check, "", Inconclusive, fmt.Sprintf("answered %d once, and %d the next time", again[0].status, a.status), again...)
					}
					return []Result{result}, err
				}
			}
			if slices.ContainsFunc(again, func(a *answer) bool {
				return a.status == http.StatusTooManyRequests || a.status == http.StatusServiceUnavailable
			}) {
				return []Result{r.result(check, "", Inconclusive, fmt.Sprintf("the second logout was answered %d", again[0].status), again...)}, nil
			}
			return []Result{r.result(check, "", Finding, fmt.Sprintf("a second logout is answered %d, each of %d times", again[0].status, len(again)), again...)}, nil
		},
	}
}
