package probe

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/rescind/rescind/probe/target"
)

// variantExperiment replays a session's tokens after its logout in the spellings
// that the target took before it.
func variantExperiment() experiment {
	const check = "token-variant-alive-after-logout"
	return experiment{
		name: "other spellings", checks: []string{check}, lacks: needsLogout,
		run: func(ctx context.Context, r *run) ([]Result, error) {
			instance := r.target.Instances[0]
			s, control, err := r.fresh(ctx, instance)
			if err != nil {
				return nil, err
			}
			rt := r.on(instance)
			values, err := r.values(ctx, s, rt)
			if err != nil {
				return nil, err
			}
			var sets []*spelled
			for _, v := range values {
				set, err := r.spellings(ctx, v, rt)
				if err != nil {
					return nil, err
				}
				sets = append(sets, set)
			}
			// What was refused above was refused for its spelling only if the session
			// still lives.
			if _, err := r.proven(ctx, r.together(s), rt); err != nil {
				return nil, err
			}
			logout, err := r.logout(ctx, s, instance)
			if err != nil {
				return nil, err
			}
			var lives []*life
			for _, set := range sets {
				lives = append(lives, set.follow(r, logout.ended, instance)...)
			}
			if err := r.watch(ctx, lives, r.delays[0], r.delays[len(r.delays)-1]); err != nil {
				return nil, err
			}
			var results []Result
			for _, set := range sets {
				results = append(results, set.judge(r, check, control, logout))
			}
			return results, nil
		},
	}
}

// spelled is a value of a session and its spellings.
type spelled struct {
	value   value
	tried   int
	taken   []artefact // other spellings that the target took
	plain   []*life    // in its own spelling
	variant []*life
}

// routesOfVariants is how many routes of each instance variants are tried on.
const routesOfVariants = 3

// spellings finds out which of a value's spellings the target takes.
func (r *run) spellings(ctx context.Context, v value, rt *route) (*spelled, error) {
	set := &spelled{value: v}
	all := r.otherSpellings(v)
	taken := make([]bool, len(all))
	set.tried = len(all)
	err := r.atOnce(ctx, len(all), func(i int) error {
		out, err := r.heard(ctx, "spelling before the logout", all[i], rt)
		taken[i] = out.class == Alive
		return err
	})
	for i, a := range all {
		if taken[i] {
			set.taken = append(set.taken, a)
		}
	}
	return set, err
}

func (r *run) otherSpellings(v value) []artefact {
	var all []artefact
	for _, other := range variants(v.text) {
		all = append(all, r.with(v, other.name, other.text))
	}
	if v.cookie != "" {
		for _, other := range cookieVariants(v.text) {
			all = append(all, r.with(v, other.name, other.text))
		}
		return all
	}
	headers, _ := r.presented(v.base.vars)
	for field, t := range headers {
		if !carries(t, v.variable) {
			continue
		}
		sent, err := t.Render(v.base.vars)
		if err != nil {
			continue // v.base does not carry it
		}
		for _, other := range headerVariants(sent) {
			a := v.base
			a.name = v.name + ", " + other.name
			a.alter = func(q *request) {
				q.header.Set(field, other.text)
				for _, inShell := range headerVariants(q.shell.header.Get(field)) {
					if inShell.name == other.name {
						q.shell.header.Set(field, inShell.text)
					}
				}
			}
			all = append(all, a)
		}
	}
	return all
}

// follow makes the lives that are watched after the logout.
func (s *spelled) follow(r *run, ended time.Time, instance string) []*life {
	if len(s.taken) == 0 {
		return nil
	}
	for _, rt := range r.sample(routesOfVariants) {
		s.plain = append(s.plain, &life{experiment: "other spellings", artefact: s.value.base, route: rt, ended: ended, endedAt: instance})
		for _, a := range s.taken {
			s.variant = append(s.variant, &life{experiment: "other spellings", artefact: a, route: rt, ended: ended, endedAt: instance})
		}
	}
	return append(append([]*life(nil), s.plain...), s.variant...)
}

// judge compares the spellings with the plain one, which has to be dead: where it
// is not, the others say nothing more.
func (s *spelled) judge(r *run, check string, control, logout *answer) Result {
	if len(s.taken) == 0 {
		return r.result(check, s.value.name, Pass, fmt.Sprintf("the target takes no other spelling of it: %d were tried while it was alive", s.tried), control)
	}
	dead := map[*route]*answer{}
	for _, l := range s.plain {
		if last := l.last(); last != nil && proves(last) == Dead {
			dead[l.route] = last
		}
	}
	var alive, unclear []*life
	judged := 0
	for _, l := range s.variant {
		last := l.last()
		switch {
		case dead[l.route] == nil || last == nil:
		case proves(last) == Alive:
			alive, judged = append(alive, l), judged+1
		case proves(last) == Unclear:
			unclear, judged = append(unclear, l), judged+1
		default:
			judged++
		}
	}
	switch {
	case len(alive) > 0:
		l := alive[0]
		out := r.result(check, s.value.name, Finding, fmt.Sprintf("dead after the logout as it was issued, and alive with %s (on %d of %d routes that were tried)",
			spellingsOf(alive), len(routesIn(alive)), len(dead)), control, logout, dead[l.route], l.last())
		out.Lives = []int{r.file(l)}
		return out
	case len(dead) == 0 && s.anyAlive():
		return r.result(check, s.value.name, NotApplicable, "the token is alive after the logout as it was issued, so that other spellings say nothing more", control, logout)
	case len(dead) == 0 || len(unclear) > 0:
		return r.result(check, s.value.name, Inconclusive, fmt.Sprintf("%d of %d replays proved nothing", len(unclear)+len(s.variant)-judged, len(s.variant)), control, logout, firstUnclear(unclear))
	}
	return r.result(check, s.value.name, Pass, fmt.Sprintf("%d of %d other spellings were taken before the logout, none after it", len(s.taken), s.tried), control, logout)
}

func (s *spelled) anyAlive() bool {
	for _, l := range s.plain {
		if last := l.last(); last != nil && last.class == Alive {
			return true
		}
	}
	return false
}

func firstUnclear(lives []*life) *answer {
	if len(lives) == 0 {
		return nil
	}
	return lives[0].last()
}

// last is the last answer of a life; nil if there is none.
func (l *life) last() *answer {
	if len(l.answers) == 0 {
		return nil
	}
	return l.answers[len(l.answers)-1]
}

// spellingsOf names the spellings of lives, each once.
func spellingsOf(lives []*life) string {
	var all []string
	seen := map[string]bool{}
	for _, l := range lives {
		_, name, _ := strings.Cut(l.artefact.name, ", ")
		if !seen[name] {
			all, seen[name] = append(all, name), true
		}
	}
	return strings.Join(all, "; ")
}

func routesIn(lives []*life) map[*route]bool {
	all := map[*route]bool{}
	for _, l := range lives {
		all[l.route] = true
	}
	return all
}

// carries reports whether a template stands for a variable.
func carries(t target.Template, variable string) bool {
	for _, name := range t.Names() {
		if name == variable {
			return true
		}
	}
	return false
}
