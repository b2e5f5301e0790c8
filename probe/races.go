package probe

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"
)

// soon is when what came out of a race is looked at: at the first delay, and at the
// last one that is not longer than a second.
func (r *run) soon() []time.Duration {
	last := r.delays[0]
	for _, d := range r.delays {
		if d > last && d <= time.Second {
			last = d
		}
	}
	return slices.Compact([]time.Duration{r.delays[0], last})
}

// remains are the lives of what a session holds, all of it together and its refresh
// token: what would let somebody in if the session lived.
func (r *run) remains(name string, s *session, logout *answer) []*life {
	together := r.together(s)
	lives := []*life{{experiment: name, artefact: together, route: r.on(s.instance)}}
	if r.target.Refresh != nil {
		all := r.refreshLives(name, s)
		i := slices.Index(r.target.Instances, s.instance)
		lives = append(lives, all[max(i, 0)])
	}
	for _, l := range lives {
		l.ended, l.endedAt = logout.ended, logout.request.url.Scheme+"://"+logout.request.url.Host
	}
	return lives
}

// A bout is one round of a race: what was done at the same time, and what was left.
type bout struct {
	session *session // what whoever loses the race holds
	answers []*answer
	logout  *answer // nil if it was refused
	atOnce  *answer // to the session right after a plain logout
	lives   []*life
	met     bool          // the refresh was in flight when the logout began
	won     bool          // the refresh was answered with new tokens
	took    time.Duration // the refresh
	late    int           // requests that began after the answer to the logout, and were alive
	beside  int           // requests that were in flight while the logout was
}

// plainly logs a session out with nothing beside it. A race proves something only
// where that ends it.
func (r *run) plainly(ctx context.Context, name, instance string) (*bout, error) {
	s, control, err := r.fresh(ctx, instance)
	if err != nil {
		return nil, err
	}
	b := &bout{session: s.copied(), answers: []*answer{control}}
	if b.logout, err = r.logout(ctx, s, instance); err != nil {
		return nil, err
	}
	b.lives = r.remains(name, b.session, b.logout)
	b.atOnce = r.ask(ctx, "replay", b.lives[0].artefact, b.lives[0].route)
	return b, fatal(ctx, b.atOnce.err)
}

// rounds makes bouts one after the other, and watches what they leave. The first is
// plain. Where sessions of a user end each other, each is watched before the next
// begins, and there are fewer.
func (r *run) rounds(ctx context.Context, name string, n int, make func(i, of int) (*bout, error)) (plain *bout, bouts []*bout, err error) {
	if plain, err = r.plainly(ctx, name, r.target.Instances[0]); err != nil {
		return nil, nil, err
	}
	if r.crowded {
		if err := r.watch(ctx, plain.lives, r.soon()...); err != nil {
			return nil, nil, err
		}
		n = min(n, crowdedRounds)
	}
	var lives []*life
	for i := range n {
		b, err := make(i, n)
		if err != nil {
			return nil, nil, err
		}
		bouts = append(bouts, b)
		if !r.crowded {
			lives = append(lives, b.lives...)
		} else if err := r.watch(ctx, b.lives, r.soon()...); err != nil {
			return nil, nil, err
		}
	}
	if !r.crowded {
		lives = append(lives, plain.lives...)
	}
	return plain, bouts, r.watch(ctx, lives, r.soon()...)
}

// attempts is how often rounds are made until requests have met in enough of them.
const (
	attempts = 3
	enough   = 3
)

// crowdedRounds is how many rounds a race has where each is watched by itself.
const crowdedRounds = 4

// survivors are the lives among those given that are alive at their end, and those
// that nothing is proved of. One that had expired by itself before it could be asked
// is neither.
func survivors(lives []*life) (alive, unclear []*life) {
	for _, l := range lives {
		switch last := l.last(); {
		case last == nil:
		case proves(last) == Unclear:
			unclear = append(unclear, l)
		case proves(last) == Alive:
			alive = append(alive, l)
		}
	}
	return alive, unclear
}

// outcome judges the lives that races left. plain is the round without a race.
func (r *run) outcome(check string, plain *bout, bouts []*bout, found func(rounds int) string, passed string) Result {
	var alive, unclear []*life
	rounds := 0
	asked := false
	var first *bout
	for _, b := range bouts {
		asked = asked || slices.ContainsFunc(b.lives, func(l *life) bool { return l.last() != nil })
		living, unknown := survivors(b.lives)
		alive, unclear = append(alive, living...), append(unclear, unknown...)
		if len(living) > 0 {
			rounds++
			if first == nil {
				first = b
			}
		}
	}
	plainAlive, plainUnclear := survivors(plain.lives)
	switch {
	case !asked:
		return r.result(check, "", NotApplicable, "what the session held had expired before it could be replayed", plain.logout)
	case len(plainAlive) > 0:
		l := plainAlive[0]
		return r.result(check, "", NotApplicable, "a logout with nothing beside it does not end the session either, which is another finding", plain.logout, l.last())
	case len(plainUnclear) > 0:
		return r.result(check, "", Inconclusive, "what a logout with nothing beside it does cannot be told: "+noteOf(plainUnclear[0]), plain.logout, plainUnclear[0].last())
	case len(alive) > 0:
		evidence := append(slices.Clone(first.answers), first.logout)
		out := r.result(check, "", Finding, found(rounds), append(evidence, alive[0].last(), alive[0].last().backing)...)
		for _, l := range firstOf(maxLives, alive) {
			out.Lives = append(out.Lives, r.file(l))
		}
		return out
	case len(unclear) > 0:
		return r.result(check, "", Inconclusive, fmt.Sprintf("%d replays proved nothing: %s", len(unclear), noteOf(unclear[0])), unclear[0].last())
	}
	evidence := append(slices.Clone(bouts[0].answers), bouts[0].logout)
	if len(bouts[0].lives) > 0 {
		evidence = append(evidence, bouts[0].lives[0].last())
	}
	return r.result(check, "", Pass, passed, evidence...)
}

// maxLives is how many lives a result of a race names.
const maxLives = 4

func noteOf(l *life) string {
	last := l.last()
	switch {
	case last == nil:
		return "it was not asked"
	case last.note != "":
		return last.note
	case last.class == Dead:
		return "it was refused, and so was a live session beside it"
	}
	return fmt.Sprintf("answered %d", last.status)
}

// racesOfRefresh is how many times refresh and logout are sent at the same time.
const racesOfRefresh = 12

// refreshRaceExperiment sends refresh and logout of one session at the same time,
// in all orders.
func refreshRaceExperiment() experiment {
	const check = "refresh-races-logout"
	return experiment{
		name: "refresh against logout", checks: []string{check}, lacks: needsRefresh,
		run: func(ctx context.Context, r *run) ([]Result, error) {
			refreshTook, logoutTook, err := r.durations(ctx)
			if err != nil {
				return nil, err
			}
			var plain *bout
			var bouts []*bout
			var met, won, ended int
			for n := 0; n < attempts && met < enough; n++ {
				aim := newAim(refreshTook, logoutTook)
				plain, bouts, err = r.rounds(ctx, "refresh against logout", racesOfRefresh, func(i, of int) (*bout, error) {
					offset := aim.offset(i, of)
					b, err := r.race(ctx, i, offset)
					if err == nil && b.logout != nil {
						aim.learn(offset, b.won, b.took)
					}
					return b, err
				})
				if err != nil {
					return nil, err
				}
				met, won, ended = 0, 0, 0
				bouts = slices.DeleteFunc(bouts, func(b *bout) bool {
					if b.logout == nil {
						return true
					}
					ended++
					if b.met {
						met++
					}
					if b.won {
						won++
					}
					return false
				})
			}
			switch {
			case ended == 0:
				return nil, errors.New("the logout was refused in every round")
			case met == 0:
				return nil, &errNone{fmt.Sprintf("in none of %d rounds was a refresh in flight when the logout began: the target is too fast for it", attempts*ended)}
			}
			return []Result{r.outcome(check, plain, bouts,
				func(rounds int) string {
					return fmt.Sprintf("in %d of %d rounds what came out of the refresh, or the session itself, was alive after both were answered", rounds, ended)
				},
				fmt.Sprintf("%d rounds, in %d of them the refresh was in flight when the logout began; it got tokens in %d, all of them dead after the logout", ended, met, won))}, nil
		},
	}
}

// An aim says by how much the logout of a round begins later than the refresh. In
// every other round the refresh is searched for the moment at which the target
// decides: the earliest logout that it did not heed, the latest that it did, and next
// time one in between. In the others the logout begins somewhere while the fastest
// refresh that was seen goes on. Where both are faster than that can be aimed at,
// they begin at the same moment.
type aim struct {
	refresh, logout time.Duration // the fastest
	heeded, not     time.Duration
}

// aimed is what the beginnings of two requests can be kept apart by.
const aimed = 5 * time.Millisecond

func newAim(refresh, logout time.Duration) *aim {
	a := &aim{refresh: refresh, logout: logout}
	a.widen()
	return a
}

func (a *aim) widen() { a.heeded, a.not = -a.logout, a.refresh }

func (a *aim) offset(i, of int) time.Duration {
	switch {
	case a.refresh+a.logout < aimed:
		return 0
	case i%2 == 0:
		return (a.heeded + a.not) / 2
	}
	return a.refresh * time.Duration(i) / time.Duration(of)
}

// learn takes what became of a round: whether the refresh got tokens, and how long
// it took.
func (a *aim) learn(offset time.Duration, won bool, took time.Duration) {
	if won {
		a.refresh = min(a.refresh, took)
		a.not = min(a.not, offset)
	} else {
		a.heeded = max(a.heeded, offset)
	}
	if a.not-a.heeded < time.Millisecond {
		a.widen() // the target takes longer now, or shorter
	}
}

// durations is how long a refresh and a logout take at least.
func (r *run) durations(ctx context.Context) (refresh, logout time.Duration, err error) {
	_, s, _, err := r.refreshed(ctx, r.target.Instances[0])
	if err != nil {
		return 0, 0, err
	}
	last := s.last()
	refresh = last.ended.Sub(last.began)
	if a, err := r.refresh(ctx, "refresh", s, s.instance); err == nil {
		refresh = min(refresh, a.ended.Sub(a.began))
	} else if err := fatal(ctx, err); err != nil {
		return 0, 0, err
	}
	ended, err := r.logout(ctx, s, s.instance)
	if err != nil {
		return 0, 0, err
	}
	return refresh, ended.ended.Sub(ended.began), nil
}

// race refreshes and logs out, the logout by offset later, on different instances
// in every other round.
func (r *run) race(ctx context.Context, i int, offset time.Duration) (*bout, error) {
	instance := r.target.Instances[0]
	s, control, err := r.fresh(ctx, instance)
	if err != nil {
		return nil, err
	}
	winner, loser := s.copied(), s.copied() // the answer to the logout takes the cookies out of s
	b := &bout{session: winner, answers: []*answer{control}}
	at := r.target.Instances[i%len(r.target.Instances)]
	var refresh, logout *answer
	var refreshErr, logoutErr error
	before := len(s.trail)
	start, first := make(chan struct{}), make(chan struct{})
	// Of two that begin at the same moment, each is the first in every other round.
	begin := func(isFirst bool) {
		<-start
		if isFirst {
			close(first)
		}
		<-first
	}
	all := newCrew(ctx)
	all.Go(func() {
		begin(i%2 == 0)
		if refreshErr = r.options.Sleep(ctx, -offset); refreshErr == nil {
			refresh, refreshErr = r.refresh(ctx, "refresh beside the logout", winner, at)
		}
	})
	all.Go(func() {
		begin(i%2 != 0)
		if logoutErr = r.options.Sleep(ctx, offset); logoutErr == nil {
			logout, logoutErr = r.logout(ctx, s, instance)
		}
	})
	close(start)
	all.Wait()
	for _, err := range []error{refreshErr, logoutErr} {
		if err := fatal(ctx, err); err != nil {
			return nil, err
		}
	}
	if logoutErr != nil && !errors.Is(logoutErr, errRefused) {
		return nil, fmt.Errorf("logout beside the refresh: %w", logoutErr)
	}
	b.answers = append(b.answers, refresh)
	b.won = refreshErr == nil
	if logoutErr != nil {
		return b, nil
	}
	b.logout = logout
	if refresh != nil {
		b.took = refresh.ended.Sub(refresh.began)
		began := s.trail[before].began // where it redirects, the last answer is another
		b.met = !refresh.began.After(began) && !refresh.ended.Before(began)
	}
	// Both have been answered: that counts as the end, for a refresh that was slower
	// than the logout.
	end := *logout
	if refresh != nil && refresh.ended.After(end.ended) {
		end.ended = refresh.ended
	}
	b.lives = r.remains("refresh against logout", winner, &end)
	if b.won {
		// The tokens of before, as well.
		b.lives = append(b.lives, r.remains("refresh against logout", loser, &end)[0])
	}
	return b, nil
}
