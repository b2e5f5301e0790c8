package probe

import (
	"context"
	"slices"
	"time"
)

// A life is an artefact on a route under observation.
type life struct {
	experiment string
	artefact   artefact
	route      *route
	// ended is when the answer to the logout had been read; zero if the artefact is
	// not to end. endedAt is the instance that was told.
	ended   time.Time
	endedAt string
	// look makes one request; nil means: replay the artefact on the route.
	// anew says whether over a new connection.
	look func(ctx context.Context, anew bool) *answer
	// byOther: a session of another user backs refusals, if there is one, because
	// those of the same user ended too.
	byOther bool
	before  *answer   // the control before the end; nil if there was none
	answers []*answer // of what was begun after it
	// spread is over how many new connections at once it is replayed at the last delay,
	// beside the replay of every delay.
	spread int

	id    int // in the report, once filed
	filed bool
}

// again is how often a replay is repeated whose answer proves nothing, and pause
// how long it waits between two.
const (
	again = 3
	pause = 250 * time.Millisecond
)

// watch replays every life at every delay after its end, at most as many at once
// as the description allows, and returns when the last is done. Delays of lives
// that ended at different times overlap. Without delays it takes those of the
// description and, for a patient run, those until just before the artefact
// expires. What would come after an artefact has expired by itself is left out. A
// last replay that proves nothing is repeated. Every other replay is made over a
// connection of its own. The error is that of the context, or of a limit that is
// reached.
func (r *run) watch(ctx context.Context, lives []*life, delays ...time.Duration) error {
	all := newCrew(ctx)
	errs := make([]error, len(lives))
	horizon := r.horizon(lives)
	for i, l := range lives {
		all.Go(func() { errs[i] = r.follow(ctx, l, r.schedule(l, delays, horizon)) })
	}
	all.Wait()
	r.settle(ctx, lives)
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

// horizon is how long a patient run looks at all. Refresh tokens may live for
// weeks: they are looked at for as long as what expires sooner.
func (r *run) horizon(lives []*life) time.Duration {
	most := time.Duration(0)
	for _, l := range lives {
		if l.artefact.kind != RefreshToken && !l.artefact.expires.IsZero() {
			most = max(most, l.artefact.expires.Sub(l.ended))
		}
	}
	if most == 0 {
		return r.options.Patience
	}
	return min(most, r.options.Patience)
}

// schedule is when a life is looked at, counted from its end.
func (r *run) schedule(l *life, delays []time.Duration, horizon time.Duration) []time.Duration {
	asked := delays != nil
	if !asked {
		delays = r.delays
	}
	all := slices.Sorted(slices.Values(delays))
	if l.artefact.expires.IsZero() {
		return all
	}
	lifetime := l.artefact.expires.Sub(l.artefact.born)
	margin := min(max(lifetime/20, 200*time.Millisecond), 2*time.Second)
	left := l.artefact.expires.Add(-margin).Sub(l.ended)
	all = slices.DeleteFunc(all, func(d time.Duration) bool { return d > left })
	if !r.options.Patient || asked {
		return all
	}
	end := min(left, horizon)
	for d := 10 * time.Second; d < end*9/10; d *= 2 {
		all = append(all, d)
	}
	if n := len(all); end > 0 && (n == 0 || end > all[n-1]) {
		all = append(all, end)
	}
	return slices.Compact(slices.Sorted(slices.Values(all)))
}

func (r *run) follow(ctx context.Context, l *life, delays []time.Duration) error {
	for i, delay := range delays {
		if err := r.options.Sleep(ctx, l.ended.Add(delay).Sub(r.options.Now())); err != nil {
			return err
		}
		if l.expired(r.options.Now()) {
			return nil // the run was late
		}
		if i == len(delays)-1 {
			if err := r.spread(ctx, l); err != nil {
				return err
			}
		}
		a, err := r.once(ctx, l, i%2 == 1)
		if err != nil {
			return err
		}
		_, backable := r.backer(l.artefact.user)
		for n := 0; i == len(delays)-1 && backable && n < again && proves(a) == Unclear; n++ {
			if err := r.options.Sleep(ctx, pause); err != nil {
				return err
			}
			if a, err = r.once(ctx, l, false); err != nil {
				return err
			}
		}
	}
	return nil
}

// spread replays a life over several new connections at the same moment. Workers
// behind one address may each have a memory of their own, and which of them answers
// is a matter of luck: mostly that of the connection.
func (r *run) spread(ctx context.Context, l *life) error {
	answers, errs := make([]*answer, l.spread), make([]error, l.spread)
	all := newCrew(ctx)
	for i := range answers {
		all.Go(func() { answers[i], errs[i] = r.replay(ctx, l, true) })
	}
	all.Wait()
	answers = slices.DeleteFunc(answers, func(a *answer) bool { return a == nil })
	slices.SortStableFunc(answers, func(a, b *answer) int { return a.began.Compare(b.began) })
	for _, a := range answers {
		a.spread = true
	}
	l.answers = append(l.answers, answers...)
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

// spreadOver is over how many new connections at once an artefact is replayed at an
// instance, on all its routes together. If one of two workers knows of the logout, all
// of them meet it once in four thousand runs. Refresh tokens get fewer: each refusal of
// one takes the refresh of another session to count.
const (
	spreadOver      = 12
	spreadRefreshes = 4
)

// spreadOut shares the connections of each artefact at an instance among its routes.
func spreadOut(lives []*life) {
	of := func(l *life) string {
		return l.artefact.session + " " + l.artefact.name + " " + l.route.instance
	}
	count := map[string]int{}
	for _, l := range lives {
		count[of(l)]++
	}
	for _, l := range lives {
		n := count[of(l)]
		if l.spread = (spreadOver + n - 1) / n; l.artefact.kind == RefreshToken {
			l.spread = spreadRefreshes
		}
	}
}

// work waits for a free worker. There are as many as requests may be in flight, so
// that a live control never waits behind a crowd of replays.
func (r *run) work(ctx context.Context) (release func(), err error) {
	select {
	case r.workers <- struct{}{}:
		return func() { <-r.workers }, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// once makes one request of a life, and notes the answer.
func (r *run) once(ctx context.Context, l *life, anew bool) (*answer, error) {
	a, err := r.replay(ctx, l, anew)
	if a != nil {
		l.answers = append(l.answers, a)
	}
	return a, err
}

// replay makes one request of a life, when a worker is free. The answer is nil if
// the context ends before.
func (r *run) replay(ctx context.Context, l *life, anew bool) (*answer, error) {
	release, err := r.work(ctx)
	if err != nil {
		return nil, err
	}
	defer release()
	var a *answer
	if l.look != nil {
		a = l.look(ctx, anew)
	} else {
		held := l.artefact
		held.anew = anew
		a = r.ask(ctx, "replay", held, l.route)
		user := l.artefact.user
		if other, is := r.bystander(); l.byOther && is {
			user = other
		}
		r.confirm(ctx, l.route, user, a)
	}
	if a.class == Dead && l.expired(a.ended) {
		a.class, a.note = Unclear, "it had expired by itself by then"
	}
	a.trim()
	return a, fatal(ctx, a.err)
}

// expired reports whether the artefact had expired by itself.
func (l *life) expired(at time.Time) bool {
	return !l.artefact.expires.IsZero() && !at.Before(l.artefact.expires)
}

// all are the control before the end and the answers after it.
func (l *life) all() []*answer {
	if l.before == nil {
		return l.answers
	}
	return append([]*answer{l.before}, l.answers...)
}

// proves is the class of an answer, if it means anything: a refusal that is not
// backed does not.
func proves(a *answer) Class {
	if a.class == Dead && !a.backed {
		return Unclear
	}
	return a.class
}

// file puts a life into the report, and returns its number.
func (r *run) file(l *life) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	if l.filed {
		return l.id
	}
	out := Life{
		Experiment: l.experiment, Session: l.artefact.session, Artefact: l.artefact.name, Kind: l.artefact.kind,
		Route: l.route.line, Instance: l.route.instance, EndedAt: l.endedAt,
		Born: l.artefact.born, Ended: l.ended, Expires: l.artefact.expires,
	}
	from := l.ended
	if from.IsZero() {
		from = l.artefact.born
	}
	for _, a := range l.all() {
		out.Answers = append(out.Answers, Answer{After: a.began.Sub(from), Took: a.ended.Sub(a.began), Status: a.status, Class: a.class, Backed: a.backed})
	}
	for _, m := range l.artefact.marks {
		out.Marks = append(out.Marks, Mark{After: m.at.Sub(from), What: m.what})
	}
	l.id, l.filed = r.report.add(out), true
	return l.id
}
