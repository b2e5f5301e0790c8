package probe

import (
	"context"
	"errors"
	"fmt"
	"slices"
)

// forks is how many refreshes with one token are sent at once, in each round. Two
// meet closest; of many some are late, and may set off an alarm that ends them all.
// Whether they meet where it matters is a matter of luck: there are rounds until one
// has forked. Where each is watched by itself there are crowdedForks.
var forks = []int{2, 6, 2, 6}

const crowdedForks = 3

// parallelExperiment refreshes one session several times at once, uses all that
// came out of it, and logs out with one of them.
func parallelExperiment() experiment {
	const check, name = "parallel-refreshes", "parallel refreshes"
	return experiment{
		name: name, checks: []string{check}, lacks: needsRefresh,
		run: func(ctx context.Context, r *run) ([]Result, error) {
			instance := r.target.Instances[0]
			forgiving, err := r.forgivesRetry(ctx, instance)
			if err != nil {
				return nil, err
			}
			var bouts []*bout
			f := &fork{}
			for i, n := range forks {
				if f.living > 1 || r.crowded && i == crowdedForks {
					break
				}
				b, this, err := r.forked(ctx, name, instance, n)
				if err != nil {
					return nil, err
				}
				if this.living >= f.living { // shown first
					f, bouts = this, slices.Insert(bouts, 0, b)
				} else {
					bouts = append(bouts, b)
				}
				if r.crowded {
					if err := r.watch(ctx, b.lives, r.soon()...); err != nil {
						return nil, err
					}
				}
			}
			plain, _, err := r.rounds(ctx, name, 0, nil)
			if err != nil {
				return nil, err
			}
			for _, b := range bouts {
				if r.crowded {
					break
				}
				if err := r.watch(ctx, b.lives, r.soon()...); err != nil {
					return nil, err
				}
			}
			text := fmt.Sprintf("%d rounds; in one of them, %d refreshes at once with one token: %d got tokens, %d different successors, %d of them alive when all had been used",
				len(bouts), f.sent, f.won, len(f.branches), f.living)
			out := r.outcome(check, plain, bouts, func(int) string { return text + "; after a logout with one of them another one is still alive" },
				text+"; after a logout with one of them all are dead")
			if out.Verdict == Pass && f.living > 1 {
				// One after the other the second would have been refused, or not: if it
				// is forgiven as a retry, several at once are no more than that.
				if out.Verdict = Finding; forgiving {
					out.Verdict, out.Says = Note, out.Says+" (a retry one after the other gets a successor of its own, too)"
				} else {
					out.Says += ", although a second refresh one after the other is refused"
				}
			}
			return []Result{out}, nil
		},
	}
}

// forgivesRetry reports whether a refresh token that was used a moment ago is taken
// once more.
func (r *run) forgivesRetry(ctx context.Context, instance string) (bool, error) {
	old, _, _, err := r.refreshed(ctx, instance)
	if err != nil {
		return false, err
	}
	retry := r.tryRefresh(ctx, "retry", old, instance)
	if err := fatal(ctx, retry.err); err != nil {
		return false, err
	}
	if proves(retry) == Unclear {
		return false, fmt.Errorf("what a retry of a refresh gets cannot be told: %s", retry.note)
	}
	return proves(retry) == Alive, nil
}

// A fork is what came of several refreshes at once.
type fork struct {
	branches []*session // each with another successor
	sent     int        // refreshes
	won      int        // those that got tokens
	living   int        // branches that were alive when all had been used
	answers  []*answer
	origin   *session
}

// forked refreshes a new session n times at once, uses what came of it, and logs out.
func (r *run) forked(ctx context.Context, name, instance string, n int) (*bout, *fork, error) {
	s, control, err := r.fresh(ctx, instance)
	if err != nil {
		return nil, nil, err
	}
	f, err := r.fork(ctx, s, n)
	if err != nil {
		return nil, nil, err
	}
	logout, err := f.leave(ctx, r)
	if err != nil {
		return nil, nil, err
	}
	b := &bout{session: s, answers: append([]*answer{control}, firstOf(4, f.answers)...), logout: logout}
	for i, branch := range f.branches {
		b.lives = append(b.lives, r.remains(name, branch, logout)...)
		b.lives[len(b.lives)-1].artefact.name += fmt.Sprintf(" of refresh %d", i+1)
	}
	b.lives = append(b.lives, r.remains(name, s, logout)...)
	return b, f, nil
}

func (r *run) fork(ctx context.Context, s *session, n int) (*fork, error) {
	f := &fork{origin: s, sent: n}
	copies := make([]*session, n)
	errs := make([]error, len(copies))
	start := make(chan struct{})
	all := newCrew(ctx)
	for i := range copies {
		copies[i] = s.copied()
		at := r.target.Instances[i%len(r.target.Instances)]
		all.Go(func() {
			<-start
			_, errs[i] = r.refresh(ctx, "refresh beside others", copies[i], at)
		})
	}
	close(start)
	all.Wait()
	refused := 0
	for i, err := range errs {
		if err := fatal(ctx, err); err != nil {
			return nil, err
		}
		f.answers = append(f.answers, copies[i].last())
		switch {
		case err == nil:
			f.won++
			if !f.has(r, copies[i]) {
				f.branches = append(f.branches, copies[i])
			}
		case errors.Is(err, errRefused) && copies[i].last().status < 500 && !errors.As(err, new(*limitedError)):
			refused++
		}
	}
	if f.won == 0 {
		return nil, fmt.Errorf("none of %d refreshes at once got tokens (%d were refused)", len(copies), refused)
	}
	return f, f.use(ctx, r)
}

// has reports whether a branch holds the same successor.
func (f *fork) has(r *run, s *session) bool {
	for _, branch := range f.branches {
		if !r.rotated(branch, s) {
			return true
		}
	}
	return false
}

// use refreshes every branch with its own successor, and looks which ones live when
// all have been used: the use of one may end the others.
func (f *fork) use(ctx context.Context, r *run) error {
	if len(f.branches) > 1 {
		for _, branch := range f.branches {
			if a := r.tryRefresh(ctx, "use of a successor", branch, branch.instance); fatal(ctx, a.err) != nil {
				return fatal(ctx, a.err)
			}
		}
	}
	for _, branch := range f.branches {
		a, err := r.try(ctx, "access token of a successor", r.together(branch), r.on(branch.instance))
		if err != nil {
			return err
		}
		f.answers = append(f.answers, a)
		if proves(a) == Alive {
			f.living++
		}
	}
	return nil
}

// leave logs out with the first branch that can.
func (f *fork) leave(ctx context.Context, r *run) (*answer, error) {
	var last error
	for _, s := range append(append([]*session(nil), f.branches...), f.origin) {
		a, err := r.logout(ctx, s.copied(), s.instance)
		if err == nil || fatal(ctx, err) != nil {
			return a, err
		}
		last = err
	}
	if f.living == 0 {
		// The reuse ended the session, and the logout of what has ended is refused.
		// From here on nothing may live.
		now := r.options.Now()
		return &answer{request: request{role: "logout", session: f.origin.label, method: r.target.Logout.Last().Method(), url: r.on(f.origin.instance).base()}, err: last, began: now, ended: now}, nil
	}
	return nil, fmt.Errorf("logout after the refreshes: %w", last)
}

// racesInFlight is how many sessions are logged out while they send requests, and
// streams is how many requests each has in flight.
const (
	racesInFlight = 6
	streams       = 4
)

// inFlightExperiment logs out while requests of the session are in flight.
func inFlightExperiment() experiment {
	const check, name = "request-in-flight", "requests in flight"
	return experiment{
		name: name, checks: []string{check}, lacks: needsLogout,
		run: func(ctx context.Context, r *run) ([]Result, error) {
			var plain *bout
			var bouts []*bout
			var beside, late int
			for n := 0; n < attempts && beside == 0; n++ {
				var err error
				if plain, bouts, err = r.rounds(ctx, name, racesInFlight, func(int, int) (*bout, error) { return r.inFlight(ctx, name) }); err != nil {
					return nil, err
				}
				for _, b := range bouts {
					beside += b.beside
					late += b.late
				}
			}
			if beside == 0 {
				return nil, &errNone{fmt.Sprintf("no request was in flight while one of %d logouts was: the target is too fast for it", attempts*len(bouts))}
			}
			text := fmt.Sprintf("%d logouts, while %d requests of their sessions were in flight", len(bouts), beside)
			out := r.outcome(check, plain, bouts, func(rounds int) string {
				return fmt.Sprintf("%s: in %d of %d rounds the session was alive afterwards, which it is not after a logout with nothing beside it", text, rounds, len(bouts))
			}, text+": the sessions are dead")
			if out.Verdict == Pass && late > 0 && plain.atOnce.class == Dead {
				out.Verdict = Finding
				out.Says = fmt.Sprintf("%s: %d requests that began after the answer to the logout were answered as alive, and later ones refused", text, late)
				for _, b := range bouts {
					if b.late > 0 {
						out.Evidence = r.evidence(append(b.answers, b.logout)...)
					}
				}
			}
			return []Result{out}, nil
		},
	}
}

// inFlight logs a session out while it sends requests on several connections.
func (r *run) inFlight(ctx context.Context, name string) (*bout, error) {
	instance := r.target.Instances[0]
	s, control, err := r.fresh(ctx, instance)
	if err != nil {
		return nil, err
	}
	held, rt := r.together(s), r.on(instance)
	b := &bout{session: s.copied(), answers: []*answer{control}}
	over := make(chan struct{})
	warm := make(chan struct{}, streams)
	answers := make([][]*answer, streams)
	all := newCrew(ctx)
	for i := range streams {
		all.Go(func() {
			for n := 0; ; n++ {
				var last bool
				select {
				case <-over:
					last = true // one more, which begins after the logout
				default:
				}
				a := r.ask(ctx, "request in flight", held, rt)
				answers[i] = append(answers[i], a)
				if n == 0 {
					warm <- struct{}{}
				}
				if last || a.err != nil || n >= maxInFlight {
					return
				}
			}
		})
	}
	for range streams {
		select {
		case <-warm:
		case <-ctx.Done():
		}
	}
	before := len(s.trail)
	logout, logoutErr := r.logout(ctx, s, instance)
	close(over)
	all.Wait()
	if logoutErr != nil {
		return nil, fmt.Errorf("logout beside other requests: %w", logoutErr)
	}
	b.logout = logout
	began := s.trail[before].began // where it redirects, the last answer is another
	end := *logout
	for _, of := range answers {
		for _, a := range of {
			if err := fatal(ctx, a.err); err != nil {
				return nil, err
			}
			switch {
			case a.began.After(logout.ended) && a.class == Alive:
				b.late++
				b.answers = append(b.answers, a)
			case a.began.Before(logout.ended) && a.ended.After(began):
				b.beside++
			}
			if a.ended.After(end.ended) {
				end.ended = a.ended
			}
		}
	}
	b.lives = r.remains(name, b.session, &end)
	return b, nil
}

// maxInFlight is how many requests one stream sends at most.
const maxInFlight = 300
