package probe

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"time"

	"github.com/rescind/rescind/probe/target"
)

// A refresher is a live session for each instance, whose refresh says whether
// refreshing works at the moment.
type refresher struct {
	latch    latch
	sessions map[string]*session
	last     map[string]*answer // that gave new tokens
}

// refreshRoute stands for the refresh request of an instance, where a life is
// reported.
func (r *run) refreshRoute(instance string) *route {
	return newRoute(r.target.Refresh.Last(), instance)
}

// tryRefresh presents what a thief's copy of a session holds at the refresh of an
// instance, and judges the answer: Alive if it gives new tokens and these are taken
// on a protected route, Dead if it gives none, or some that are refused. A refusal
// is backed if a live session gets new tokens within a second after it. On success
// the copy has them. The answer is never nil.
func (r *run) tryRefresh(ctx context.Context, role string, thief *session, instance string) *answer {
	held := thief.copied()
	a, err := r.refresh(ctx, role, thief, instance)
	if a == nil {
		return r.unsent(role, thief, err)
	}
	a.request.artefact = "refresh token"
	switch {
	case a.err != nil:
		a.class, a.note = Unclear, "no answer"
	case a.status == http.StatusTooManyRequests || a.status >= 500 || a.status == http.StatusRequestTimeout || a.status == http.StatusTooEarly:
		a.class, a.note = Unclear, http.StatusText(a.status)
	case err != nil && !errors.Is(err, errRefused):
		a.class, a.note = Unclear, err.Error()
	case err != nil:
		a.class = Dead
		r.confirmRefresh(ctx, instance, held.user, a)
	default:
		r.useRefreshed(ctx, held, thief, instance, a)
	}
	return a
}

// unsent stands for the answer to a refresh that could not be sent.
func (r *run) unsent(role string, s *session, err error) *answer {
	now := r.options.Now()
	step := r.target.Refresh.Last()
	return &answer{
		request: request{role: role, session: s.label, artefact: "refresh token", method: step.Method(), url: r.on(s.instance).base()},
		err:     err, class: Unclear, note: "the request cannot be made: " + err.Error(), began: now, ended: now,
	}
}

// useRefreshed judges a refresh that was answered well by what it gave.
func (r *run) useRefreshed(ctx context.Context, held, got *session, instance string, a *answer) {
	fresh := r.granted(held, got, a)
	if r.empty(fresh, got) {
		a.class, a.note = Dead, "it gave nothing"
		r.confirmGiven(ctx, instance, held.user, a)
		return
	}
	rt := r.on(instance)
	use := r.ask(ctx, "use of what the refresh gave", fresh, rt)
	r.confirm(ctx, rt, fresh.user, use)
	a.class, a.backed, a.backing = use.class, use.backed, use
	switch use.class {
	case Dead:
		a.note, a.backed = "it gave new tokens, which are refused", false
		if use.backed {
			r.confirmGiven(ctx, instance, held.user, a)
		}
	case Unclear:
		a.note = "it gave new tokens: " + use.note
	}
}

// confirmGiven marks a refresh that was answered well, and gave nothing of use, as a
// refusal if that of a live session gives something. If it does not, the description
// does not say where the new tokens are, or there are none.
func (r *run) confirmGiven(ctx context.Context, instance string, user int, a *answer) {
	r.confirmRefresh(ctx, instance, user, a)
	if _, is := r.backer(user); is && !a.backed {
		a.class = Unclear
		a.note += ", and the refresh of a live session nothing that is taken: where new tokens are is what find, under refresh, says"
	}
}

// granted is what a refresh gave: what the session gained, and what the answer holds
// although it is as before. Tokens without an id are the same text when they are
// issued twice within a second.
func (r *run) granted(before, after *session, a *answer) artefact {
	fresh := r.gained(before, after)
	held, err := r.target.Refresh.Last().Find(target.Answer{Header: a.header, Body: a.body})
	if err != nil {
		return fresh
	}
	for name := range held {
		if r.credential(name) && name != "refresh_token" {
			fresh.vars[name] = after.vars[name]
		}
	}
	set := (&http.Response{Header: a.header}).Cookies()
	for _, c := range after.jar.cookies {
		if slices.ContainsFunc(set, func(s *http.Cookie) bool { return s.Name == c.name }) && !slices.Contains(fresh.cookies, c) {
			fresh.cookies = append(fresh.cookies, c)
		}
	}
	return fresh
}

// gained is what a session has and had not before.
func (r *run) gained(before, after *session) artefact {
	a := r.bare(after)
	a.name, a.kind = "refreshed tokens", Together
	for name, value := range after.vars {
		if r.credential(name) && name != "refresh_token" && before.vars[name] != value {
			a.vars[name] = value
		}
	}
	for _, c := range after.jar.cookies {
		old := false
		for _, b := range before.jar.cookies {
			old = old || b.name == c.name && b.value == c.value
		}
		if !old {
			a.cookies = append(a.cookies, c)
		}
	}
	return a
}

// confirmRefresh marks a refused refresh as backed if a live session of the user
// gets new tokens at the same instance within a second.
func (r *run) confirmRefresh(ctx context.Context, instance string, user int, refusal *answer) {
	backer, is := r.backer(user)
	if !is {
		return
	}
	if r.refresher.latch.lock(ctx) != nil {
		return
	}
	defer r.refresher.latch.unlock()
	if refusal.backedBy(r.refresher.last[instance], backing) {
		return
	}
	began := r.options.Now()
	if control := r.liveRefresh(ctx, backer, instance); control != nil {
		r.refresher.last[instance] = control
		refusal.backedBy(control, backing+control.began.Sub(began))
	}
}

// liveRefresh refreshes the session that is kept for it, or a new one if that is
// refused. Nil if no new tokens could be had. Its caller holds the refresher. Where
// a user has one session at a time it is the keeper's: a second one would end it.
func (r *run) liveRefresh(ctx context.Context, user int, instance string) *answer {
	if !r.single {
		return refreshKept(ctx, r, r.refresher.sessions, instance, user, instance)
	}
	if r.keeper.latch.lock(ctx) != nil {
		return nil
	}
	defer r.keeper.latch.unlock()
	return refreshKept(ctx, r, r.keeper.sessions, user, user, instance)
}

// refreshKept is liveRefresh for the session that stands under a key. Others may be
// asking with the keeper's: a copy of that is refreshed, and takes its place.
func refreshKept[K comparable](ctx context.Context, r *run, sessions map[K]*session, key K, user int, instance string) *answer {
	for range 2 {
		s := sessions[key]
		if s == nil {
			var err error
			if s, err = r.login(ctx, user, instance); err != nil {
				return nil
			}
		}
		held := s.copied()
		if r.single {
			s, held = held, s
		}
		sessions[key] = s
		if a, err := r.refresh(ctx, liveControl, s, instance); err == nil && r.gives(ctx, held, s, instance, a) {
			a.class = Alive
			return a
		}
		delete(sessions, key) // it may have expired
	}
	return nil
}

// empty reports whether what a session was given holds no credential.
func (r *run) empty(given artefact, s *session) bool {
	return len(given.cookies) == 0 && len(given.vars) == len(r.bare(s).vars)
}

// gives reports whether a refresh gave something that a protected route takes.
func (r *run) gives(ctx context.Context, before, after *session, instance string, a *answer) bool {
	fresh := r.granted(before, after, a)
	return !r.empty(fresh, after) && r.ask(ctx, liveControl, fresh, r.on(instance)).class == Alive
}

// expiresAt is when a token stops being good by itself, on this machine's clock;
// zero if the token does not say. A target whose clock differs says it wrong: then
// the token's own lifetime counts, from when it was got.
func expiresAt(token string, born time.Time) time.Time {
	t := readJWT(token)
	if t == nil {
		return time.Time{}
	}
	at, has := t.time("exp")
	if !has {
		return time.Time{}
	}
	if issued, has := t.time("iat"); has {
		if skew := issued.Sub(born); skew < -clockSkew || skew > clockSkew {
			return born.Add(at.Sub(issued) - time.Second)
		}
	}
	return at
}

// clockSkew is by how much clocks may differ without being set right.
const clockSkew = 5 * time.Second
