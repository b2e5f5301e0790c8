package probe

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/rescind/rescind/probe/target"
)

// passwordExperiment changes the password in one session, looks what becomes of
// another, and puts it back.
func passwordExperiment() experiment {
	const check = "password-change-keeps-sessions"
	return experiment{
		name: "password change", checks: []string{check}, alone: true,
		lacks: func(t *target.Target) string {
			if t.Password == nil {
				return "the description has no change of password"
			}
			return ""
		},
		run: func(ctx context.Context, r *run) ([]Result, error) {
			if r.single {
				return nil, &errNone{"a login ends the user's other sessions, so that there is none that a change of password could leave alive"}
			}
			p, err := r.changePassword(ctx)
			if err != nil {
				return nil, err
			}
			result, err := p.judge(ctx, check)
			// Put back at once, and not only at the end of the run: other experiments
			// log in with it.
			if back := p.restore(ctx); back != nil {
				// The end of the run tries once more, and says so if that fails too.
				err = errors.Join(err, back)
			}
			r.keep(0, nil)
			if err != nil {
				return nil, err
			}
			return []Result{result}, nil
		},
	}
}

// A passwordChange is a password that is not what the description says.
type passwordChange struct {
	run      *run
	changer  *session
	other    *session // of the same user
	lives    []*life  // what the other session holds
	control  *answer
	change   *answer
	instance string

	mu   sync.Mutex
	back bool // it is what it was
}

// changePassword logs in twice and changes the password in one of the sessions.
// From before the request is sent until the password is back, the end of the run
// sees to it.
func (r *run) changePassword(ctx context.Context) (*passwordChange, error) {
	p := &passwordChange{run: r, instance: r.target.Instances[0]}
	var err error
	if p.changer, p.control, err = r.fresh(ctx, p.instance); err != nil {
		return nil, err
	}
	if p.other, _, err = r.fresh(ctx, p.instance); err != nil {
		return nil, err
	}
	p.lives, err = r.livesOf(ctx, "password change", p.other)
	if err != nil {
		return nil, err
	}
	if r.target.Refresh != nil {
		p.lives = append(p.lives, r.refreshLives("password change", p.other)[0]) // at p.instance
	}
	r.finally(p.restore)
	p.change, err = r.perform(ctx, "password change", p.changer, target.Steps{r.target.Password.Request}, p.instance, target.CarryAll)
	if err != nil && p.change != nil && errors.Is(err, errRefused) && p.change.status < 500 {
		p.done() // it says that it has not changed it
	}
	if err != nil {
		return nil, fmt.Errorf("the change of the password: %w", err)
	}
	return p, nil
}

func (p *passwordChange) done() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.back = true
}

// changed are the user's variables while the password is the new one.
func (p *passwordChange) changed() target.Vars {
	return p.run.target.Vars(p.run.users[0]).SwapPasswords()
}

// judge replays what the other session holds, while sessions with the new password
// back the refusals.
func (p *passwordChange) judge(ctx context.Context, check string) (Result, error) {
	r := p.run
	backer, err := r.loginWith(ctx, 0, p.instance, p.changed())
	if err != nil {
		return Result{}, fmt.Errorf("with the new password: %w", err)
	}
	r.keep(0, backer)
	if r.target.Refresh != nil {
		// What backs a refused refresh has the new password, too.
		if r.refresher.sessions[p.instance], err = r.loginWith(ctx, 0, p.instance, p.changed()); err != nil {
			return Result{}, fmt.Errorf("with the new password: %w", err)
		}
		defer delete(r.refresher.sessions, p.instance)
	}
	for _, l := range p.lives {
		l.ended, l.endedAt = p.change.ended, p.instance
	}
	delays := r.soon()
	if err := r.watch(ctx, p.lives, delays[len(delays)-1]); err != nil {
		return Result{}, err
	}
	p.lives = slices.DeleteFunc(p.lives, func(l *life) bool { return l.last() == nil })
	if len(p.lives) == 0 {
		return r.result(check, "", Inconclusive, "what the other session held had expired before it could be replayed", p.control, p.change), nil
	}
	evidence := []*answer{p.control, p.change}
	show := func(l *life) []*answer { return append(evidence, l.before, l.last(), l.last().backing) }
	alive, unclear := survivors(p.lives)
	switch {
	case len(alive) > 0:
		out := r.result(check, "", Finding, fmt.Sprintf("another session of the user is alive %s after the change: %s on %s", round(delays[len(delays)-1]), alive[0].artefact.name, alive[0].route.line), show(alive[0])...)
		for _, l := range firstOf(maxLives, alive) {
			out.Lives = append(out.Lives, r.file(l))
		}
		return out, nil
	case len(unclear) > 0:
		return r.result(check, "", Inconclusive, fmt.Sprintf("%d replays prove nothing: %s", len(unclear), noteOf(unclear[0])), show(unclear[0])...), nil
	}
	return r.result(check, "", Pass, "the change ends another session of the user", show(p.lives[0])...), nil
}

// restore puts the password back, and sees that it is: with the session that
// changed it or, if that is dead, with a new one.
func (p *passwordChange) restore(ctx context.Context) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.back {
		return nil
	}
	r := p.run
	// Whatever interrupted the run must not keep the password from being put back.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), restoring*time.Duration(r.target.Limits.Timeout))
	defer cancel()
	s := p.changer.copied()
	err := p.request(ctx, s)
	if err != nil {
		if s, err = r.loginWith(ctx, 0, p.instance, p.changed()); err == nil {
			err = p.request(ctx, s)
		}
	}
	_, loginErr := r.loginWith(ctx, 0, p.instance, r.target.Vars(r.users[0]))
	if loginErr == nil {
		p.back = true
		return nil
	}
	return fmt.Errorf("the password of %s may still be {{user.new_password}}: putting it back: %w; a login with the old one: %w", r.userName(0), cmp.Or(err, errors.New("was answered well")), loginErr)
}

// restoring is how many requests putting a password back may need: one with the
// session that changed it, a login with the new password and one with that session, a
// login with the old one; and two for logins of several steps.
const restoring = 6

// request asks for the old password, with a session.
func (p *passwordChange) request(ctx context.Context, s *session) error {
	r := p.run
	q := r.target.Password.Request
	if r.target.Password.Restore != nil {
		q = *r.target.Password.Restore
	} else {
		for _, key := range []string{"user.password", "user.new_password"} {
			s.vars[key] = p.changed()[key]
		}
	}
	_, err := r.perform(ctx, "password put back", s, target.Steps{q}, p.instance, target.CarryAll)
	return err
}
