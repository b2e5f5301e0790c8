package probe

import (
	"context"
	"fmt"
)

// otherSessions finds out whether a user can have two sessions at once, what an
// ordinary logout ends, and whether it ends another session of the user, or one of
// another user. Where sessions of a user end each other, experiments have to be
// made one after the other.
func (r *run) otherSessions(ctx context.Context, first, second *session) ([]Result, error) {
	const check = "logout-hits-other-session"
	before := r.ask(ctx, "valid control", r.together(first), r.routes[0])
	if err := fatal(ctx, before.err); err != nil {
		return nil, err
	}
	ends := first
	if before.class == Dead {
		r.crowded, r.single = true, true
		r.remark("a second login of a user ends the first session: the experiments are made one after the other")
		ends = second
	}
	if r.target.Logout == nil {
		return []Result{r.result(check, "", NotApplicable, "the description has no logout")}, nil
	}
	held, thief := r.artefacts(ends), ends.copied()
	logout, err := r.logout(ctx, ends, ends.instance)
	if err != nil {
		return []Result{r.result(check, "", Inconclusive, "the logout did not go well: "+err.Error(), logout)}, fatal(ctx, err)
	}
	if err := r.remember(ctx, held, thief); err != nil {
		return nil, err
	}
	if r.single {
		return []Result{r.result(check, "", NotApplicable, "a user has one session at a time: the second login ended the first", before)}, nil
	}
	var results []Result
	for user, s := range []*session{second, r.keeper.sessions[1]} {
		if s == nil {
			continue
		}
		result, err := r.stillIn(ctx, check, s, before, logout)
		if err != nil {
			return results, err
		}
		switch {
		case result.Verdict == Finding:
			r.crowded = true
		case user == 0:
			r.canary = s
		default:
			r.keeper.sessions[user] = s
		}
		results = append(results, result)
	}
	if r.crowded {
		r.remark("a logout ends other sessions than its own: the experiments are made one after the other")
	}
	return results, nil
}

// canaryDied asks with the session that was logged in before all others of its
// user, and that nobody has used or ended since. Applications that allow a user so
// many sessions end the oldest, or the one that was idle for longest: then it is
// this one, before what an experiment would mistake for ended by its logout.
func (r *run) canaryDied(ctx context.Context) bool {
	s := r.canary
	if s == nil || r.expiring(s) {
		return false
	}
	a := r.ask(ctx, "control after", r.together(s), r.routes[0])
	r.confirm(ctx, r.routes[0], s.user, a)
	return proves(a) == Dead
}

// stillIn says whether a session lives on after the logout of another. A refusal
// counts if a new session of the same user is taken.
func (r *run) stillIn(ctx context.Context, check string, s *session, before, logout *answer) (Result, error) {
	subject := "another session of the same user"
	if s.user != 0 {
		subject = "a session of another user"
	}
	delete(r.keeper.sessions, s.user)
	after, refused, err := r.insist(ctx, func() (*answer, error) {
		a := r.ask(ctx, "control after", r.together(s), r.routes[0])
		r.confirm(ctx, r.routes[0], s.user, a)
		return a, fatal(ctx, a.err)
	})
	if err != nil {
		return Result{}, err
	}
	switch proves(after) {
	case Alive:
		if refused > 0 {
			return r.result(check, subject, Inconclusive, refusedAndTaken, before, logout, after), nil
		}
		return r.result(check, subject, Pass, "it lives on", logout, after), nil
	case Dead:
		return r.result(check, subject, Finding, fmt.Sprintf("it was refused (%d) after the logout, and a new login was not", after.status), before, logout, after, after.backing), nil
	}
	return r.result(check, subject, Inconclusive, "the answer after the logout proves nothing: "+after.note, logout, after), nil
}

// refusedAndTaken is why a refusal of a session that was not to end is no finding.
const refusedAndTaken = "it was refused, and taken again afterwards: the target refuses by chance"

// insist asks with a session that was not to end until it is taken, a few times: one
// that has ended is refused every time, where a target that fails now and then is
// not believed at the first. It returns the last answer, and how many were proven
// refusals; a single one of those does not count.
func (r *run) insist(ctx context.Context, ask func() (*answer, error)) (last *answer, refused int, err error) {
	for n := 0; n <= again; n++ {
		if n > 0 {
			if err = r.options.Sleep(ctx, pause); err != nil {
				return last, refused, err
			}
		}
		if last, err = ask(); err != nil || proves(last) == Alive {
			return last, refused, err
		}
		if proves(last) == Dead {
			refused++
		}
	}
	if proves(last) == Dead && refused < 2 {
		last.backed, last.note = false, "refused once, and without an answer before"
	}
	return last, refused, nil
}

// remember notes what an ordinary logout leaves alive, so that experiments with
// other logouts do not report it once more.
func (r *run) remember(ctx context.Context, held []artefact, thief *session) error {
	var lives []*life
	for _, a := range held {
		for _, rt := range r.routes {
			lives = append(lives, &life{artefact: a, route: rt})
		}
	}
	if err := r.watchBefore(ctx, lives); err != nil {
		return err
	}
	r.outlive = map[string]bool{}
	for _, l := range lives {
		r.outlive[l.key()] = l.before.class == Alive
	}
	if r.target.Refresh == nil {
		return nil
	}
	for _, instance := range r.target.Instances {
		a := r.tryRefresh(ctx, "control after", thief, instance)
		if err := fatal(ctx, a.err); err != nil {
			return err
		}
		l := &life{artefact: artefact{name: "refresh token"}, route: r.refreshRoute(instance)}
		r.outlive[l.key()] = a.class == Alive
	}
	return nil
}

// key is what a life is, whatever session it is of.
func (l *life) key() string { return l.artefact.name + " " + l.route.line + " " + l.route.instance }

// outlives reports whether an ordinary logout leaves alive what this life is,
// which the experiment "logout" reports.
func (r *run) outlives(l *life) bool { return r.outlive[l.key()] }
