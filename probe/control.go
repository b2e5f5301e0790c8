package probe

import (
	"context"
	"slices"
	"sync/atomic"
	"time"
)

// backing is how soon after a refusal a live session must have got its answer for
// the refusal to mean anything.
const backing = time.Second

// A keeper keeps one live session for each user, which says whether the target
// works at the moment. It replaces a session that is about to expire, or that is
// refused.
type keeper struct {
	latch    latch
	sessions map[int]*session
	lost     int // sessions that were refused before their time
}

// A pulse is what the live controls of a route say.
type pulse struct {
	latch  latch
	last   map[int]*answer // by user; the newest that was judged Alive
	asked  atomic.Int64
	failed atomic.Int64 // those that were not answered as a live session is
}

// unreliable reports whether so many live controls failed that a refusal may be
// one of the same.
func (p *pulse) unreliable() bool {
	return p.failed.Load()*10 > p.asked.Load()
}

// ask presents an artefact on a route, once, and has the answer judged. The answer
// is never nil. A refusal is not yet backed; see confirm.
func (r *run) ask(ctx context.Context, role string, a artefact, rt *route) *answer {
	q, err := r.build(role, a, rt.request, rt.instance, rt.request.Carry.Or("all"))
	if err != nil {
		now := r.options.Now()
		return &answer{
			request: request{role: role, session: a.session, artefact: a.name, method: rt.request.Method(), url: rt.base()},
			err:     err, class: Unclear, note: "the request cannot be made: " + err.Error(), began: now, ended: now,
		}
	}
	out := r.client.do(ctx, q)
	out.class, out.note = rt.judge(a.user, out)
	return out
}

// backer is the user whose live session backs refusals of a user's: the user
// itself, or, where a login ends a user's other sessions, another one. None if
// there is no other.
func (r *run) backer(user int) (int, bool) {
	if !r.single {
		return user, true
	}
	for other := range r.users {
		if other != user {
			return other, true
		}
	}
	return 0, false
}

// confirm asks the route with another, live session of the same user, and marks a
// refusal as backed if that got its answer within a second. One control serves all
// refusals that were read before it was begun. Answers that are no refusals are
// left alone. Where a user has one session at a time, a session of another user
// serves; without one nothing is backed before the end of the watch.
func (r *run) confirm(ctx context.Context, rt *route, user int, refusal *answer) {
	backer, is := r.backer(user)
	if refusal.class != Dead || !is {
		return
	}
	if rt.pulse.latch.lock(ctx) != nil {
		return
	}
	defer rt.pulse.latch.unlock()
	if last := rt.pulse.last[backer]; refusal.backedBy(last, backing) {
		return
	}
	began := r.options.Now()
	control := r.liveControl(ctx, rt, backer)
	if control == nil || control.class != Alive {
		return
	}
	control.trim()
	rt.pulse.last[backer] = control
	// A new login takes its time, and says all the while that the target works.
	refusal.backedBy(control, backing+control.began.Sub(began))
}

// backedBy marks a refusal as backed if the control was begun after it, and soon.
func (a *answer) backedBy(control *answer, within time.Duration) bool {
	if control == nil || control.class != Alive || control.began.Before(a.ended) || control.began.Sub(a.ended) > within {
		return false
	}
	a.backed, a.backing = true, control
	return true
}

// liveControl asks a route with the live session of a user. If that is refused it
// is asked once more: a target that refuses now and then is unreliable, and a
// session that is refused twice is taken for dead, and replaced by a new login. Nil
// if no session could be had. Its caller holds the route's pulse.
func (r *run) liveControl(ctx context.Context, rt *route, user int) *answer {
	var last *answer
	var dropped *session
	for range 2 {
		s, err := r.live(ctx, user)
		if err != nil {
			return last
		}
		if last = r.askTwice(ctx, s, rt); ctx.Err() != nil || last.class == Unclear {
			return last
		}
		if last.class == Alive {
			rt.teach(user, last)
			if dropped != nil && r.ask(ctx, liveControl, r.together(dropped), rt).class == Alive {
				rt.pulse.failed.Add(2) // it was not dead
			}
			return last
		}
		if r.keeper.drop(ctx, user, s) != nil {
			return last
		}
		dropped = s
	}
	rt.pulse.failed.Add(1)
	return last
}

// askTwice asks a route with a live session, and once more if that is refused. It
// counts what shows how reliable the route is.
func (r *run) askTwice(ctx context.Context, s *session, rt *route) *answer {
	var last *answer
	for again := range 2 {
		last = r.ask(ctx, liveControl, r.together(s), rt)
		rt.pulse.asked.Add(1)
		switch last.class {
		case Alive:
			rt.pulse.failed.Add(int64(again))
			return last
		case Unclear:
			rt.pulse.failed.Add(1)
			return last
		}
	}
	return last
}

// live is the kept session of a user. What it holds must not be changed.
func (r *run) live(ctx context.Context, user int) (*session, error) {
	if err := r.keeper.latch.lock(ctx); err != nil {
		return nil, err
	}
	defer r.keeper.latch.unlock()
	if s := r.keeper.sessions[user]; s != nil && !r.expiring(s) {
		return s, nil
	}
	s, err := r.login(ctx, user, r.target.Instances[0])
	if err != nil {
		return nil, err
	}
	r.keeper.sessions[user] = s
	return s, nil
}

// expiring reports whether something that a session holds expires soon.
func (r *run) expiring(s *session) bool {
	at := r.together(s).expires
	if at.IsZero() {
		return false
	}
	soon := min(max(at.Sub(s.born)/5, 200*time.Millisecond), 3*time.Second)
	return at.Sub(r.options.Now()) < soon
}

func (k *keeper) drop(ctx context.Context, user int, s *session) error {
	if err := k.latch.lock(ctx); err != nil {
		return err
	}
	defer k.latch.unlock()
	if k.sessions[user] == s {
		delete(k.sessions, user)
		k.lost++
	}
	return nil
}

// settle backs the refusals at the end of a watch where no live session could be
// had beside the one that was watched: a new login says that the target works. It
// backs the last refusal of a life, and the same ones that led up to it.
func (r *run) settle(ctx context.Context, lives []*life) {
	controls := map[*route]*answer{}
	began := r.options.Now()
	for _, l := range lives {
		user := l.artefact.user
		if _, is := r.backer(user); is || len(l.answers) == 0 || l.answers[len(l.answers)-1].class != Dead {
			continue
		}
		if _, asked := controls[l.route]; !asked {
			controls[l.route] = r.newControl(ctx, l)
		}
		control := controls[l.route]
		if control == nil || !l.answers[len(l.answers)-1].backedBy(control, backing+control.began.Sub(began)) {
			continue
		}
		for _, a := range slices.Backward(l.answers) {
			if a.class != Dead || a.status != l.answers[len(l.answers)-1].status {
				break
			}
			a.backed, a.backing = true, control
		}
	}
}

// newControl says by a new login whether the target takes what a life is.
func (r *run) newControl(ctx context.Context, l *life) *answer {
	latch := l.route.pulse.latch
	if l.artefact.kind == RefreshToken {
		latch = r.refresher.latch
	}
	if latch.lock(ctx) != nil {
		return nil
	}
	defer latch.unlock()
	if l.artefact.kind == RefreshToken {
		return r.liveRefresh(ctx, l.artefact.user, l.route.instance)
	}
	return r.liveControl(ctx, l.route, l.artefact.user)
}
