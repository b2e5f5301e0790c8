package probe

import (
	"context"
	"sync"
	"time"
)

// backing is how soon after a refusal a live session must have got its answer for
// the refusal to mean anything.
const backing = time.Second

// A keeper keeps one live session for each user, which says whether the target
// works at the moment. It replaces a session that is about to expire, or that is
// refused.
type keeper struct {
	mu       sync.Mutex
	sessions map[int]*session
	lost     int // sessions that were refused before their time
}

// A pulse is the newest live control of a route.
type pulse struct {
	mu   sync.Mutex
	last map[int]*answer // by user; answers that were judged Alive
}

// ask presents an artefact on a route, once, and has the answer judged. The answer
// is never nil. A refusal is not yet backed; see confirm.
func (r *run) ask(ctx context.Context, role string, a artefact, rt *route) *answer {
	q, err := r.build(role, a, rt.request, rt.instance, rt.request.Carry.Or("all"))
	if err != nil {
		return &answer{request: request{role: role, session: a.session, artefact: a.name, method: rt.request.Method(), url: rt.base()}, err: err, class: Unclear, began: r.options.Now(), ended: r.options.Now()}
	}
	out := r.client.do(ctx, q)
	out.class, out.note = rt.judge(a.user, out)
	return out
}

// replay is ask, and if it is refused, confirm.
func (r *run) replay(ctx context.Context, a artefact, rt *route) *answer {
	out := r.ask(ctx, "replay", a, rt)
	r.confirm(ctx, rt, a.user, out)
	return out
}

// confirm asks the route with another, live session of the same user, and marks a
// refusal as backed if that got its answer within a second. One control serves all
// refusals that were read before it was begun. Answers that are no refusals are
// left alone. It returns the control, nil if there was none.
func (r *run) confirm(ctx context.Context, rt *route, user int, refusal *answer) *answer {
	if refusal.class != Dead {
		return nil
	}
	rt.pulse.mu.Lock()
	defer rt.pulse.mu.Unlock()
	serves := func(a *answer) bool {
		return a != nil && a.class == Alive && !a.began.Before(refusal.ended) && a.began.Sub(refusal.ended) <= backing
	}
	if last := rt.pulse.last[user]; serves(last) {
		refusal.backed = true
		return last
	}
	control := r.liveControl(ctx, rt, user)
	if control != nil && control.class == Alive {
		rt.pulse.last[user] = control
	}
	refusal.backed = serves(control)
	return control
}

// liveControl asks a route with the live session of a user, and with a new one if
// that is refused. Nil if no session could be had.
func (r *run) liveControl(ctx context.Context, rt *route, user int) *answer {
	for range 2 {
		s, err := r.live(ctx, user)
		if err != nil {
			return nil
		}
		a := r.ask(ctx, "live control", r.together(s), rt)
		if a.class == Alive {
			rt.teach(user, a)
			return a
		}
		if a.class != Dead {
			return a
		}
		r.keeper.drop(user, s)
	}
	return nil
}

// live is the kept session of a user. What it holds must not be changed.
func (r *run) live(ctx context.Context, user int) (*session, error) {
	r.keeper.mu.Lock()
	defer r.keeper.mu.Unlock()
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
	return !at.IsZero() && at.Sub(r.options.Now()) < 3*time.Second
}

func (k *keeper) drop(user int, s *session) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.sessions[user] == s {
		delete(k.sessions, user)
		k.lost++
	}
}
