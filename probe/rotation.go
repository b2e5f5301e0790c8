package probe

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/rescind/rescind/probe/target"
)

// A secret is what a session refreshes with.
type refreshSecret struct {
	name     string // as it is called: "refresh token", `cookie "refresh"`
	text     string
	variable string // empty for a cookie
}

// secretOf finds what a session refreshes with: the variable of that name, else one
// that the refresh request has and no other request carries, else a cookie by its
// name. Nil if none can be told.
func (r *run) secretOf(s *session) *refreshSecret {
	if value := s.vars["refresh_token"]; value != "" {
		return &refreshSecret{"refresh token", value.Reveal(), "refresh_token"}
	}
	headers, query := r.presented(s.vars)
	for name, value := range s.vars {
		if !own(name) || len(value) < shortest || presentedIn(name, headers, query) {
			continue
		}
		for i := range r.target.Refresh {
			rendered, err := r.target.Refresh[i].Render(s.instance, marks(s.vars))
			if err == nil && strings.Contains(rendered.URL+string(rendered.Body)+fmt.Sprint(rendered.Header), mark(name)) {
				return &refreshSecret{fmt.Sprintf("%q", name), value.Reveal(), name}
			}
		}
	}
	for _, c := range s.jar.cookies {
		if refreshes.MatchString(c.name) {
			return &refreshSecret{fmt.Sprintf("cookie %q", c.name), c.value, ""}
		}
	}
	return nil
}

func presentedIn(name string, all ...map[string]target.Template) bool {
	for _, templates := range all {
		for _, t := range templates {
			if carries(t, name) {
				return true
			}
		}
	}
	return false
}

// rotated reports whether a refresh gave another secret than the session had.
func (r *run) rotated(before, after *session) bool {
	old, now := r.secretOf(before), r.secretOf(after)
	if old == nil || now == nil {
		// Cookies whose names say nothing: any that changed may be it.
		return r.gained(before, after).cookies != nil
	}
	return old.text != now.text
}

// rotationExperiment presents refresh tokens that were used before.
func rotationExperiment() experiment {
	return experiment{
		name:   "refresh token rotation",
		checks: []string{"old-refresh-token-accepted", "refresh-reuse-ends-family", "refresh-retry-survives"},
		lacks: func(t *target.Target) string {
			if len(t.Refresh) == 0 {
				return "the description has no refresh"
			}
			return ""
		},
		run: func(ctx context.Context, r *run) ([]Result, error) {
			results, err := r.reuse(ctx)
			if err != nil || results[0].Verdict == Note {
				return results, err
			}
			retry, err := r.retry(ctx)
			return append(results, retry...), err
		},
	}
}

// refreshed logs in, refreshes, and returns the session of before and of after.
func (r *run) refreshed(ctx context.Context, instance string) (before, after *session, control *answer, err error) {
	s, control, err := r.fresh(ctx, instance)
	if err != nil {
		return nil, nil, nil, err
	}
	before = s.copied()
	for {
		if _, err := r.refresh(ctx, "refresh", s, instance); err != nil {
			return nil, nil, nil, fmt.Errorf("refresh: %w", err)
		}
		// A JWT without jti is the same text again if it is issued in the same second.
		wait := before.born.Add(tick).Sub(r.options.Now())
		if r.rotated(before, s) || wait <= 0 || !r.countsSeconds(s) {
			return before, s, control, nil
		}
		if err := r.options.Sleep(ctx, wait); err != nil {
			return nil, nil, nil, err
		}
	}
}

// tick is how long to wait for a clock that counts seconds to go on.
const tick = 1100 * time.Millisecond

// countsSeconds reports whether one of the session's tokens is a JWT in which
// nothing but a time differs from the next one.
func (r *run) countsSeconds(s *session) bool {
	values := []string{}
	for name, value := range s.vars {
		if own(name) {
			values = append(values, value.Reveal())
		}
	}
	for _, c := range s.jar.cookies {
		values = append(values, c.value)
	}
	return slices.ContainsFunc(values, func(value string) bool {
		t := readJWT(value)
		return t != nil && t.claims["jti"] == nil && t.claims["iat"] != nil
	})
}

// reuse sends a refresh token whose successor was used already. Before that, the
// same token once more may be an honest retry, which servers forgive.
func (r *run) reuse(ctx context.Context) ([]Result, error) {
	const accepted, family, retry = "old-refresh-token-accepted", "refresh-reuse-ends-family", "refresh-retry-survives"
	instance := r.target.Instances[0]
	old, s, control, err := r.refreshed(ctx, instance)
	if err != nil {
		return nil, err
	}
	if !r.rotated(old, s) {
		const fixed = "refresh tokens are not rotated"
		return []Result{
			r.result(accepted, "", Note, fixed+": a stolen one is good until the session ends, and nobody notices (RFC 9700, section 4.14.2, allows it if they are bound to their client)", control, s.last()),
			r.result(family, "", NotApplicable, fixed), r.result(retry, "", NotApplicable, fixed),
		}, nil
	}
	second := s.last()
	if _, err := r.refresh(ctx, "refresh with the successor", s, instance); err != nil {
		return nil, fmt.Errorf("refresh with the successor: %w", err)
	}
	third := s.last()
	again := r.tryRefresh(ctx, "reuse", old.copied(), instance)
	if err := fatal(ctx, again.err); err != nil {
		return nil, err
	}
	switch proves(again) {
	case Alive:
		return []Result{
			r.result(accepted, "", Finding, "a refresh token gave working tokens although its successor had been used already", control, second, third, again, again.backing),
			r.result(family, "", NotApplicable, "the target takes used refresh tokens, so that it knows no reuse"),
		}, nil
	case Unclear:
		reason := "the answer to the used refresh token proves nothing: " + again.note
		return []Result{r.result(accepted, "", Inconclusive, reason, second, third, again), r.result(family, "", Inconclusive, reason, again)}, nil
	}
	results := []Result{r.result(accepted, "", Pass, "refused after its successor had been used", second, third, again, again.backing)}
	// The family: what the owner, or the thief, holds now.
	rt := r.on(instance)
	access, err := r.try(ctx, "access token after the reuse", r.together(s), rt)
	if err != nil {
		return results, err
	}
	newest := r.tryRefresh(ctx, "newest refresh token after the reuse", s.copied(), instance)
	if err := fatal(ctx, newest.err); err != nil {
		return results, err
	}
	evidence := []*answer{third, again, access, newest, newest.backing}
	switch {
	case proves(newest) == Alive:
		results = append(results, r.result(family, "", Finding, "after a used refresh token came again, the newest one still gives working tokens", evidence...))
	case proves(newest) == Unclear || proves(access) == Unclear:
		results = append(results, r.result(family, "", Inconclusive, "what the target answered after the reuse proves nothing: "+newest.note+access.note, evidence...))
	case proves(access) == Alive:
		results = append(results, r.result(family, "", Note, "the reuse ends the refresh tokens of the family; the access token lives until it expires", evidence...))
	default:
		results = append(results, r.result(family, "", Pass, "the reuse ends the refresh tokens and the access token of the family", evidence...))
	}
	return results, nil
}

// last is the newest answer of a session's own; nil if there is none.
func (s *session) last() *answer {
	if len(s.trail) == 0 {
		return nil
	}
	return s.trail[len(s.trail)-1]
}

// retry sends the same refresh twice, as a client does that never got the answer to
// the first. It is a note whatever becomes of it.
func (r *run) retry(ctx context.Context) ([]Result, error) {
	const check = "refresh-retry-survives"
	instance := r.target.Instances[0]
	old, s, control, err := r.refreshed(ctx, instance)
	if err != nil {
		return nil, err
	}
	first := s.last()
	thief := old.copied()
	retry := r.tryRefresh(ctx, "retry", thief, instance)
	if err := fatal(ctx, retry.err); err != nil {
		return nil, err
	}
	same := !r.rotated(s, thief)
	successor := r.tryRefresh(ctx, "successor after the retry", s, instance)
	if err := fatal(ctx, successor.err); err != nil {
		return nil, err
	}
	evidence := []*answer{control, first, retry, retry.backing, successor, successor.backing}
	var says string
	switch got, lives := proves(retry), proves(successor); {
	case got == Unclear || lives == Unclear:
		return []Result{r.result(check, "", Inconclusive, "the answers to the retry prove nothing: "+retry.note+successor.note, evidence...)}, nil
	case got == Alive && same:
		says = "a retry gets the same successor again"
	case got == Alive && lives == Alive:
		says = "a retry gets a successor of its own, and both successors live"
	case got == Alive:
		says = "a retry gets a successor of its own, and the first successor is dead after it"
	case lives == Alive:
		says = "a retry is refused, and the session goes on with the first successor: a client that lost the answer has to log in again"
	default:
		says = "a retry ends the session: a client that lost the answer has to log in again"
	}
	return []Result{r.result(check, "", Note, says, evidence...)}, nil
}

// beforeRefreshExperiment replays the access token of before a refresh, after the
// session was logged out with the newer ones.
func beforeRefreshExperiment() experiment {
	const check = "access-token-of-before-refresh-alive-after-logout"
	return experiment{
		name: "token of before the refresh", checks: []string{check}, lacks: needsRefresh,
		run: func(ctx context.Context, r *run) ([]Result, error) {
			instance := r.target.Instances[0]
			old, s, _, err := r.refreshed(ctx, instance)
			if err != nil {
				return nil, err
			}
			rt := r.on(instance)
			held := r.together(old)
			held.name = "tokens of before the refresh"
			if len(r.gained(old, s).cookies) == 0 && len(r.gained(old, s).vars) == len(r.bare(s).vars) {
				return nil, &errNone{"a refresh gives no other access token"}
			}
			between := r.ask(ctx, "access token of before, after the refresh", held, rt)
			if err := fatal(ctx, between.err); err != nil {
				return nil, err
			}
			with := r.together(s) // its answer takes the cookies out of the session
			logout, err := r.logout(ctx, s, instance)
			if err != nil {
				return nil, err
			}
			newer := &life{experiment: "token of before the refresh", artefact: with, route: rt, ended: logout.ended, endedAt: instance}
			older := &life{experiment: "token of before the refresh", artefact: held, route: rt, ended: logout.ended, endedAt: instance, before: between}
			if err := r.watch(ctx, []*life{older, newer}, r.delays[0], r.delays[len(r.delays)-1]); err != nil {
				return nil, err
			}
			if len(older.answers) < 2 || len(newer.answers) == 0 {
				return nil, errors.New("the access tokens expired before they could be replayed")
			}
			was, is := older.last(), newer.last()
			evidence := []*answer{between, logout, was, was.backing, is}
			switch {
			case proves(was) == Alive && proves(is) == Alive:
				return []Result{r.result(check, "", NotApplicable, "the logout does not end the newer token either, which is another finding", evidence...)}, nil
			case proves(was) == Alive:
				out := r.result(check, "", Finding, "the logout ended the newer token, and the one of before the refresh is still alive", evidence...)
				out.Lives = []int{r.file(older), r.file(newer)}
				return []Result{out}, nil
			case proves(was) == Unclear:
				return []Result{r.result(check, "", Inconclusive, "the replay proves nothing: "+was.note, evidence...)}, nil
			case between.class == Dead:
				return []Result{r.result(check, "", Pass, "the refresh itself ends the access token of before", evidence...)}, nil
			}
			return []Result{r.result(check, "", Pass, "dead after the logout", evidence...)}, nil
		},
	}
}

// bearerExperiment presents a refresh token as if it were an access token.
func bearerExperiment() experiment {
	const check = "refresh-token-as-bearer"
	return experiment{
		name: "refresh token as bearer", checks: []string{check},
		run: func(ctx context.Context, r *run) ([]Result, error) {
			instance := r.target.Instances[0]
			s, control, err := r.fresh(ctx, instance)
			if err != nil {
				return nil, err
			}
			secret := r.secretOf(s)
			if secret == nil {
				return nil, &errNone{"a login gives no refresh token"}
			}
			rt := r.on(instance)
			values, err := r.values(ctx, s, rt)
			if err != nil {
				return nil, err
			}
			var results []Result
			for _, v := range values {
				if v.text == secret.text || v.variable != "" && v.variable == secret.variable {
					continue
				}
				if matters, err := r.matters(ctx, v, rt); err != nil {
					return nil, err
				} else if !matters {
					continue
				}
				out, err := r.try(ctx, "refresh token as "+v.name, r.with(v, "replaced by the refresh token", secret.text), rt)
				if err != nil {
					return nil, err
				}
				verdict, text := Pass, "refused in its place"
				switch proves(out) {
				case Alive:
					verdict, text = Finding, fmt.Sprintf("%s takes the %s in its place", rt.line, secret.name)
				case Unclear:
					verdict, text = Inconclusive, "the answer proves nothing: "+out.note
				}
				results = append(results, r.result(check, v.name, verdict, text, control, out, out.backing))
			}
			if results == nil {
				return nil, &errNone{"what refreshes the session is also what gives access"}
			}
			return results, nil
		},
	}
}
