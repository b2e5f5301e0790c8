package probe

import (
	"context"
	"fmt"
	"net/http"
	"time"

	"github.com/rescind/rescind/probe/target"
)

// secondExperiment logs in, logs out everywhere and logs in again, all within one
// second of the server's clock.
func secondExperiment() experiment {
	const check = "same-second-login"
	return experiment{
		name: "logins of one second", checks: []string{check}, alone: true,
		lacks: func(t *target.Target) string {
			if len(t.LogoutAll) == 0 {
				return "the description names no logout everywhere"
			}
			return ""
		},
		run: func(ctx context.Context, r *run) ([]Result, error) {
			if r.single {
				return nil, &errNone{"a login ends the user's other sessions, so that a logout everywhere has nothing more to end"}
			}
			// A session of an earlier second: what becomes of it is what logout
			// everywhere does anyhow.
			old, control, err := r.fresh(ctx, r.target.Instances[0])
			if err != nil {
				return nil, err
			}
			if err := r.options.Sleep(ctx, tick); err != nil {
				return nil, err
			}
			took := old.took()
			for range secondTries {
				t, err := r.withinASecond(ctx, took)
				if err != nil {
					return nil, err
				}
				if !t.same {
					took = t.before.took()
					continue
				}
				return r.judgeSecond(ctx, check, old, t, control)
			}
			return nil, fmt.Errorf("in %d tries a login, a logout everywhere and a login never took place within one second of the server's clock", secondTries)
		},
	}
}

// secondTries is how often it is tried to do all of it within one second.
const secondTries = 4

// took is how long the session's login took.
func (s *session) took() time.Duration {
	return s.trail[len(s.trail)-1].ended.Sub(s.trail[0].began)
}

// A trial is two sessions with a logout everywhere between them.
type trial struct {
	before, after *session
	logout        *answer
	same          bool // all was in one second
}

// withinASecond begins so that the first login ends soon after the clock has gone
// on to the next second, and says whether all of it was done in time.
func (r *run) withinASecond(ctx context.Context, took time.Duration) (*trial, error) {
	instance := r.target.Instances[0]
	now := r.options.Now()
	start := now.Truncate(time.Second).Add(20*time.Millisecond - took)
	for start.Before(now) {
		start = start.Add(time.Second)
	}
	if err := r.options.Sleep(ctx, start.Sub(now)); err != nil {
		return nil, err
	}
	t := &trial{}
	var err error
	if t.before, err = r.login(ctx, 0, instance); err != nil {
		return nil, err
	}
	if t.logout, err = r.logoutAll(ctx, t.before.copied(), instance); err != nil {
		return nil, fmt.Errorf("logout everywhere: %w", err)
	}
	if t.after, err = r.login(ctx, 0, instance); err != nil {
		return nil, fmt.Errorf("the login right after a logout everywhere: %w", err)
	}
	first, known := r.issued(t.before)
	last, alsoKnown := r.issued(t.after)
	t.same = known && alsoKnown && first.Equal(last)
	return t, nil
}

// issued is the second of the server's clock in which a session's tokens were made:
// by the tokens themselves, or by the answer that gave them.
func (r *run) issued(s *session) (time.Time, bool) {
	for name, value := range s.vars {
		if t := readJWT(value.Reveal()); t != nil && own(name) {
			if at, has := t.time("iat"); has {
				return at.Truncate(time.Second), true
			}
		}
	}
	for _, c := range s.jar.cookies {
		if t := readJWT(c.value); t != nil {
			if at, has := t.time("iat"); has {
				return at.Truncate(time.Second), true
			}
		}
	}
	at, err := http.ParseTime(s.trail[len(s.trail)-1].header.Get("Date"))
	return at, err == nil
}

// judgeSecond looks at both sessions when the second is over.
func (r *run) judgeSecond(ctx context.Context, check string, old *session, t *trial, control *answer) ([]Result, error) {
	rt := r.on(t.before.instance)
	if err := r.options.Sleep(ctx, tick); err != nil {
		return nil, err
	}
	// What backs a refusal must be no login of that second.
	later, err := r.login(ctx, 0, t.before.instance)
	if err != nil {
		return nil, fmt.Errorf("a login a second after the logout everywhere: %w", err)
	}
	if _, err := r.proven(ctx, r.together(later), rt); err != nil {
		return nil, fmt.Errorf("a login a second after the logout everywhere: %w", err)
	}
	r.keep(0, later)
	answers := map[*session]*answer{}
	for _, s := range []*session{old, t.before, t.after} {
		if answers[s], err = r.try(ctx, "replay", r.together(s), rt); err != nil {
			return nil, err
		}
	}
	was, before, after := answers[old], answers[t.before], answers[t.after]
	evidence := func(a *answer) []*answer { return []*answer{control, t.logout, a, a.backing} }
	const first, second = "the session of before", "the login of after"
	var results []Result
	switch {
	case proves(was) == Alive:
		results = append(results, r.result(check, first, NotApplicable, "the logout everywhere does not end sessions of earlier seconds either, which is another finding", evidence(was)...))
	case proves(before) == Alive:
		results = append(results, r.result(check, first, Finding, "a session that began in the second of the logout everywhere survives it; one that began before is dead", evidence(before)...))
	case proves(before) == Dead:
		results = append(results, r.result(check, first, Pass, "dead after the logout everywhere in the second of its login", evidence(before)...))
	default:
		results = append(results, r.result(check, first, Inconclusive, "the replay proves nothing: "+before.note, evidence(before)...))
	}
	switch proves(after) {
	case Alive:
		results = append(results, r.result(check, second, Pass, "alive, although it was in the second of the logout everywhere", evidence(after)...))
	case Dead:
		results = append(results, r.result(check, second, Finding, "a login right after the logout everywhere gave a session that is refused; one a second later is not", evidence(after)...))
	default:
		results = append(results, r.result(check, second, Inconclusive, "the request proves nothing: "+after.note, evidence(after)...))
	}
	return results, nil
}

// keep makes a session the one that backs refusals of its user's.
func (r *run) keep(user int, s *session) {
	r.keeper.latch <- struct{}{}
	defer r.keeper.latch.unlock()
	r.keeper.sessions[user] = s
}
