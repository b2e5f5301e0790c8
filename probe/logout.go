package probe

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"
)

// logoutExperiment logs a session out at each instance, and replays what it held:
// each artefact on each route of every instance, and the refresh token.
func logoutExperiment() experiment {
	return experiment{
		name: "logout",
		checks: []string{
			"access-token-alive-after-logout", "refresh-token-alive-after-logout", "cookie-alive-after-logout", "session-alive-after-logout",
			"instance-disagrees", "route-disagrees", "death-is-late", "revives",
		},
		// No lacks: a run that logs nobody out has not answered what it was asked.
		run: runLogout,
	}
}

// An ending is a session that was ended, with what it had held.
type ending struct {
	session *session
	before  []*life // its artefacts where they were alive before
	logout  *answer
}

func runLogout(ctx context.Context, r *run) ([]Result, error) {
	if lack := needsLogout(r.target); lack != "" {
		return nil, errors.New(lack + ": add one, or say with --check what else is to be looked at")
	}
	endings := make([]*ending, len(r.target.Instances))
	errs := make([]error, len(endings))
	all := newCrew(ctx)
	for i, instance := range r.target.Instances {
		end := func() { endings[i], errs[i] = r.loginAndLogout(ctx, "logout", instance) }
		if r.crowded {
			end() // one session at a time
		} else {
			all.Go(end)
		}
	}
	all.Wait()
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	var lives []*life
	logouts := map[string]*answer{}
	for _, e := range endings {
		lives = append(lives, e.before...)
		logouts[e.session.label] = e.logout
	}
	spreadOut(lives)
	err := r.watch(ctx, lives)
	o := &observation{run: r, lives: lives, logouts: logouts}
	if err != nil {
		return o.findings(), err
	}
	return o.results(), nil
}

// loginAndLogout logs a user in and out again at an instance. Before the logout
// everything that the session holds is seen to work: what does not work proves
// nothing afterwards. The lives that it returns have ended, and are to be watched.
func (r *run) loginAndLogout(ctx context.Context, name, instance string) (*ending, error) {
	s, err := r.login(ctx, 0, instance)
	if err != nil {
		return nil, err
	}
	e := &ending{session: s}
	if e.before, err = r.livesOf(ctx, name, s); err != nil {
		return nil, err
	}
	if r.target.Refresh != nil {
		e.before = append(e.before, r.refreshLives(name, s)...)
	}
	if e.logout, err = r.logout(ctx, s, instance); err != nil {
		return nil, fmt.Errorf("logout at %s: %w", instance, err)
	}
	for _, l := range e.before {
		l.ended, l.endedAt = e.logout.ended, instance
	}
	return e, nil
}

// livesOf asks every route with each of the session's artefacts, and returns those
// that are alive, with that answer, and those of which nothing is known, because a
// rate limit or an outage answered. If none is alive anywhere the session is lost.
func (r *run) livesOf(ctx context.Context, name string, s *session) ([]*life, error) {
	var lives []*life
	for _, a := range r.artefacts(s) {
		for _, rt := range r.routes {
			lives = append(lives, &life{experiment: name, artefact: a, route: rt})
		}
	}
	err := r.watchBefore(ctx, lives)
	if err != nil {
		return nil, err
	}
	if !slices.ContainsFunc(lives, func(l *life) bool { return l.before.class == Alive }) {
		return nil, errLost
	}
	// What got no answer stays: a route that is left out is one that passes.
	return slices.DeleteFunc(lives, func(l *life) bool { return l.before.class != Alive && !l.before.silent() }), nil
}

// watchBefore makes one request of each life, as a control.
func (r *run) watchBefore(ctx context.Context, lives []*life) error {
	all := newCrew(ctx)
	errs := make([]error, len(lives))
	for i, l := range lives {
		all.Go(func() {
			release, err := r.work(ctx)
			if err != nil {
				errs[i] = err
				return
			}
			defer release()
			// Twice, because what is refused here is not looked at any more.
			for again := range 2 {
				if again > 0 && l.before.silent() && r.options.Sleep(ctx, pause) != nil {
					errs[i] = ctx.Err()
					return
				}
				l.before = r.ask(ctx, "valid control", l.artefact, l.route)
				if errs[i] = fatal(ctx, l.before.err); errs[i] != nil {
					return
				}
				if l.before.class == Alive {
					l.route.pulse.asked.Add(1)
					l.route.pulse.failed.Add(int64(again))
					return
				}
			}
		})
	}
	all.Wait()
	return errors.Join(errs...)
}

// refreshLives are the session's refresh token at each instance, as a thief has
// it. All of them use one copy of the session: if one is taken, the others go on
// with what it got, which is what the thief would do.
func (r *run) refreshLives(name string, s *session) []*life {
	thief := s.copied()
	one := newLatch()
	var lives []*life
	for _, instance := range r.target.Instances {
		a := r.together(s)
		a.name, a.kind = "refresh token", RefreshToken
		a.expires = expiresAt(s.vars["refresh_token"].Reveal(), s.renewed)
		l := &life{experiment: name, artefact: a, route: r.refreshRoute(instance)}
		l.look = func(ctx context.Context, anew bool) *answer {
			if err := one.lock(ctx); err != nil {
				return r.unsent("replay", thief, err)
			}
			defer one.unlock()
			thief.anew = anew
			return r.tryRefresh(ctx, "replay", thief, instance)
		}
		lives = append(lives, l)
	}
	return lives
}

// An observation is what was watched after the end of sessions.
type observation struct {
	run     *run
	lives   []*life
	logouts map[string]*answer // by session
}

// aspects are the checks that ask whether something is alive at the end.
var aspects = []struct {
	check string
	kinds []Kind
	none  string
}{
	{"access-token-alive-after-logout", []Kind{AccessToken, Credential}, "requests carry no access token"},
	{"refresh-token-alive-after-logout", []Kind{RefreshToken}, "the description names no refresh request"},
	{"cookie-alive-after-logout", []Kind{Cookie}, "no cookie alone gave access before the logout"},
	{"session-alive-after-logout", []Kind{Together}, "a session's request carries one artefact only, which has a check of its own"},
}

func (o *observation) results() []Result {
	var results []Result
	for _, aspect := range aspects {
		var some []*life
		for _, l := range o.lives {
			if slices.Contains(aspect.kinds, l.artefact.kind) {
				some = append(some, l)
			}
		}
		if len(some) == 0 {
			results = append(results, Result{Check: aspect.check, Verdict: NotApplicable, Reason: aspect.none})
			continue
		}
		for _, name := range artefactNames(some) {
			results = append(results, o.alive(aspect.check, name, some))
		}
	}
	return append(results, o.patterns()...)
}

// findings are what can be said for certain although the observation was broken
// off.
func (o *observation) findings() []Result {
	return slices.DeleteFunc(o.results(), func(result Result) bool { return result.Verdict != Finding })
}

func artefactNames(lives []*life) []string {
	var all []string
	for _, l := range lives {
		if !slices.Contains(all, l.artefact.name) {
			all = append(all, l.artefact.name)
		}
	}
	return all
}

// alive says whether the artefact with a name was alive at the end of its lives.
func (o *observation) alive(check, name string, lives []*life) Result {
	var of, living, unclear []*life
	for _, l := range lives {
		if l.artefact.name != name {
			continue
		}
		of = append(of, l)
		// What was refused once and taken later is alive. What dies late has a check of
		// its own: if that is not wanted, this one must not pass.
		switch f := l.fate(); {
		case f == survived, f == flapping, f == revived, f == late && !o.run.options.wants("death-is-late"):
			living = append(living, l)
		case f == unknown:
			unclear = append(unclear, l)
		}
	}
	var longest time.Duration
	for _, l := range living {
		at, _ := l.lastAs(Alive)
		longest = max(longest, at)
	}
	result := Result{Check: check, Subject: name, Lives: o.file(of)}
	switch {
	case len(living) > 0:
		result.Verdict = Finding
		result.Says = fmt.Sprintf("still alive %s after the logout, on %s", round(longest), places(living, of)) + byLuck(living)
		result.Evidence = o.evidence(living[0])
	case len(unclear) > 0:
		result.Verdict = Inconclusive
		result.Reason = doubts(unclear, of)
		result.Evidence = o.evidence(unclear[0])
	default:
		result.Verdict = Pass
		result.Says = fmt.Sprintf("refused on %s: %s", places(of, of), replays(of))
		result.Evidence = o.evidence(of[0])
	}
	return result
}

// byLuck says of how many connections that were made at the same moment some were
// let in; nothing if that was the same for all.
func byLuck(lives []*life) string {
	taken, refused := 0, 0
	for _, l := range lives {
		for _, a := range l.answers {
			switch {
			case a.spread && proves(a) == Alive:
				taken++
			case a.spread && proves(a) == Dead:
				refused++
			}
		}
	}
	if taken == 0 || refused == 0 {
		return ""
	}
	return fmt.Sprintf("; of %d new connections at the same moment %d were let in, as by workers behind one address of which not all know of the logout", taken+refused, taken)
}

// file puts lives into the report.
func (o *observation) file(lives []*life) []int {
	ids := make([]int, 0, len(lives))
	for _, l := range lives {
		ids = append(ids, o.run.file(l))
	}
	return ids
}

// evidence shows a life: the control before, the logout, the replay that matters
// most, and the control that backs it.
func (o *observation) evidence(l *life) []Exchange {
	answers := []*answer{l.before}
	for i, a := range l.answers {
		if i == 0 || i == len(l.answers)-1 || a.class != l.answers[i-1].class {
			answers = append(answers, a, a.backing)
		}
	}
	return o.run.evidence(append(answers, o.logouts[l.artefact.session])...)
}

func round(d time.Duration) string {
	switch {
	case d < time.Second:
		return d.Round(time.Millisecond).String()
	case d < time.Minute:
		return d.Round(100 * time.Millisecond).String()
	}
	return d.Round(time.Second).String()
}
