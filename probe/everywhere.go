package probe

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/rescind/rescind/probe/target"
)

// everywhereExperiment logs a user out everywhere: all the user's sessions have to
// end, and nobody else's.
func everywhereExperiment() experiment {
	return experiment{
		name:   "logout everywhere",
		checks: []string{"logout-everywhere-incomplete", "logout-everywhere-hits-others"},
		lacks: func(t *target.Target) string {
			if t.LogoutAll == nil {
				return "the description names no logout everywhere"
			}
			return ""
		},
		alone: true,
		run:   runEverywhere,
	}
}

// devices is how many sessions the user has when it logs out everywhere.
const devices = 3

func runEverywhere(ctx context.Context, r *run) ([]Result, error) {
	const incomplete, others = "logout-everywhere-incomplete", "logout-everywhere-hits-others"
	var sessions []*session
	var lives []*life
	n := devices
	if r.single {
		n = 1 // more would end each other
	}
	for i := range n {
		// Spread over the instances, as a load balancer does.
		s, err := r.login(ctx, 0, r.target.Instances[i%len(r.target.Instances)])
		if err != nil {
			return nil, err
		}
		of, err := r.livesOf(ctx, "logout everywhere", s)
		if err != nil {
			return nil, err
		}
		if r.target.Refresh != nil {
			of = append(of, r.refreshLives("logout everywhere", s)...)
		}
		sessions, lives = append(sessions, s), append(lives, of...)
	}
	var stranger *life
	if other, is := r.bystander(); is {
		s, err := r.login(ctx, other, r.target.Instances[0])
		if err != nil {
			return nil, err
		}
		stranger = &life{experiment: "logout everywhere", artefact: r.together(s), route: r.routes[0]}
		if stranger.before, err = r.proven(ctx, stranger.artefact, stranger.route); err != nil {
			return nil, err
		}
	}
	instance := sessions[0].instance
	logout, err := r.logoutAll(ctx, sessions[0], instance)
	if err != nil {
		return nil, fmt.Errorf("logout everywhere: %w", err)
	}
	var results []Result
	if stranger != nil {
		result, err := r.spared(ctx, others, stranger, logout)
		if err != nil {
			return nil, err
		}
		results = append(results, result)
	} else {
		results = append(results, r.result(others, "", NotApplicable, "the description names one user only"))
	}
	for _, l := range after(lives, logout, instance) {
		l.byOther = true
	}
	// For a shorter time than after a logout: nothing else can go on beside it.
	err = r.watch(ctx, lives, shortly...)
	for _, group := range []struct {
		subject  string
		sessions []*session
	}{{"the session that asked", sessions[:1]}, {"other sessions", sessions[1:]}} {
		o := &observation{run: r, logouts: map[string]*answer{}}
		for _, s := range group.sessions {
			o.logouts[s.label] = logout
			o.lives = append(o.lives, slices.DeleteFunc(slices.Clone(lives), func(l *life) bool { return l.artefact.session != s.label })...)
		}
		if len(o.lives) == 0 {
			continue
		}
		result := o.incomplete(incomplete, group.subject)
		if err == nil || result.Verdict == Finding {
			results = append(results, result)
		}
		for _, s := range group.sessions {
			if result.Verdict == Pass {
				r.closed(s)
			}
		}
	}
	return results, err
}

// incomplete says what of a session is still alive after it was ended from
// somewhere else.
func (o *observation) incomplete(check, subject string) Result {
	var living, unclear []*life
	for _, l := range o.lives {
		switch l.fate() {
		case survived, flapping, revived:
			living = append(living, l)
		case unknown:
			unclear = append(unclear, l)
		}
	}
	result := Result{Check: check, Subject: subject, Lives: o.file(o.lives)}
	switch {
	case living != nil:
		var at time.Duration
		for _, l := range living {
			last, _ := l.lastAs(Alive)
			at = max(at, last)
		}
		result.Verdict, result.Evidence = Finding, o.evidence(living[0])
		for _, name := range artefactNames(living) {
			if result.Says != "" {
				result.Says += "; "
			}
			result.Says += fmt.Sprintf("%s: still alive %s after it, on %s", name, round(at), places(named(living, name), named(o.lives, name)))
		}
	case unclear != nil:
		result.Verdict, result.Evidence, result.Reason = Inconclusive, o.evidence(unclear[0]), doubts(unclear, o.lives)
	default:
		result.Verdict, result.Evidence = Pass, o.evidence(o.lives[0])
		result.Says = fmt.Sprintf("refused on %s: %s", places(o.lives, o.lives), replays(o.lives))
	}
	return result
}

// spared sees that a session that was not to end lives on. A refusal counts if a
// new session of the same user is taken.
func (r *run) spared(ctx context.Context, check string, l *life, ending *answer) (Result, error) {
	last, refused, err := r.insist(ctx, func() (*answer, error) { return r.once(ctx, l, false) })
	if err != nil {
		return Result{}, err
	}
	out := r.result(check, "", Pass, "another user's session lives on", l.before, ending, last)
	switch proves(last) {
	case Alive:
		if refused > 0 {
			out = r.result(check, "", Inconclusive, "another user's session: "+refusedAndTaken, l.before, ending, last)
		}
	case Dead:
		out = r.result(check, "", Finding, fmt.Sprintf("another user's session was refused after it (%d), and a new one of that user is taken", last.status), l.before, ending, last, last.backing)
	case Unclear:
		out = r.result(check, "", Inconclusive, "the answers to another user's session prove nothing: "+last.note, l.before, ending, last)
	}
	out.Lives = []int{r.file(l)}
	return out, nil
}
