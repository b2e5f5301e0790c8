package probe

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"

	"github.com/rescind/rescind/probe/target"
)

// result makes a result. The text says what was seen, or why there is no verdict.
func (r *run) result(check, subject string, v Verdict, text string, answers ...*answer) Result {
	out := Result{Check: check, Subject: subject, Verdict: v, Evidence: r.evidence(answers...)}
	if v == Inconclusive || v == NotApplicable {
		out.Reason = text
	} else {
		out.Says = text
	}
	return out
}

// sample is at most n protected routes of each instance, in the description's
// order.
func (r *run) sample(n int) []*route {
	count := map[string]int{}
	var some []*route
	for _, rt := range r.routes {
		if count[rt.instance]++; count[rt.instance] <= n {
			some = append(some, rt)
		}
	}
	return some
}

// on is the first protected route of an instance, or of any if that has none.
func (r *run) on(instance string) *route {
	for _, rt := range r.routes {
		if rt.instance == instance {
			return rt
		}
	}
	return r.routes[0]
}

// proven sees that an artefact works on a route. Without that its death would mean
// nothing: the error is errLost.
func (r *run) proven(ctx context.Context, a artefact, rt *route) (*answer, error) {
	out := r.ask(ctx, "valid control", a, rt)
	for n := 0; n < again && out.class == Unclear && fatal(ctx, out.err) == nil; n++ {
		if err := r.options.Sleep(ctx, pause); err != nil {
			return out, err
		}
		out = r.ask(ctx, "valid control", a, rt)
	}
	if err := fatal(ctx, out.err); err != nil {
		return out, err
	}
	if out.class != Alive {
		return out, fmt.Errorf("%w: %s on %s of %s was answered %d", errLost, a.name, rt.line, rt.instance, out.status)
	}
	return out, nil
}

// try presents an artefact that should be refused, and repeats it while the answer
// proves nothing. A server error to what no client would send (a token that cannot
// be decoded) is a refusal too, if a live session gets its answer beside it.
func (r *run) try(ctx context.Context, role string, a artefact, rt *route) (*answer, error) {
	for n := 0; ; n++ {
		out := r.ask(ctx, role, a, rt)
		if out.class == Unclear && out.status == http.StatusInternalServerError {
			out.class = Dead
			if out.note != "" {
				out.note += "; it gave no access"
			}
		}
		r.confirm(ctx, rt, a.user, out)
		if err := fatal(ctx, out.err); err != nil || proves(out) != Unclear || n == again {
			return out, err
		}
		if err := r.options.Sleep(ctx, pause); err != nil {
			return out, err
		}
	}
}

// heard presents an artefact of which is not known whether it is taken, and repeats
// it while a rate limit or an outage answers. If nothing else does it is an error:
// what was not answered was not refused.
func (r *run) heard(ctx context.Context, role string, a artefact, rt *route) (*answer, error) {
	for n := 0; ; n++ {
		out := r.ask(ctx, role, a, rt)
		switch err := fatal(ctx, out.err); {
		case err != nil:
			return out, err
		case !out.silent():
			return out, nil
		case n == again && out.err != nil:
			return out, nil // it breaks off whenever it sees this
		case n == again:
			return out, fmt.Errorf("%s on %s of %s was answered %d, each of %d times", a.name, rt.line, rt.instance, out.status, again+1)
		}
		if err := r.options.Sleep(ctx, pause); err != nil {
			return out, err
		}
	}
}

// atOnce calls f for 0 to n-1, as many at once as there are workers.
func (r *run) atOnce(ctx context.Context, n int, f func(i int) error) error {
	errs := make([]error, n)
	all := newCrew(ctx)
	for i := range n {
		all.Go(func() {
			release, err := r.work(ctx)
			if err != nil {
				errs[i] = err
				return
			}
			defer release()
			errs[i] = f(i)
		})
	}
	all.Wait()
	return errors.Join(errs...)
}

// needsLogout is what an experiment lacks that ends sessions.
func needsLogout(t *target.Target) string {
	if len(t.Logout) == 0 {
		return "the description has no logout"
	}
	return ""
}

// needsRefresh is what an experiment lacks that refreshes sessions and ends them.
func needsRefresh(t *target.Target) string {
	if len(t.Refresh) == 0 {
		return "the description has no refresh"
	}
	return needsLogout(t)
}

// fresh logs the first user in, and sees that the session works.
func (r *run) fresh(ctx context.Context, instance string) (*session, *answer, error) {
	s, err := r.login(ctx, 0, instance)
	if err != nil {
		return nil, nil, err
	}
	control, err := r.proven(ctx, r.together(s), r.on(instance))
	return s, control, err
}

// A value is one that a session holds, as it is carried: by itself if it gives
// access alone or, where only all together do, among the others, which stay as they
// are.
type value struct {
	name     string // as the artefact is called: "access token"
	text     string
	variable string // "access_token"; empty for a cookie
	cookie   string // its name
	base     artefact
}

// values returns those of a session's values that give access, as seen on a route.
// Where each of two gives access alone, both are in it.
func (r *run) values(ctx context.Context, s *session, rt *route) ([]value, error) {
	var all, alone []value
	for _, a := range r.artefacts(s) {
		if a.kind == Together {
			continue
		}
		v := value{name: a.name, base: a}
		for name, secret := range a.vars {
			if r.credential(name) {
				v.variable, v.text = name, secret.Reveal()
			}
		}
		for _, c := range a.cookies {
			v.cookie, v.text = c.name, c.value
		}
		out, err := r.heard(ctx, "valid control", a, rt)
		if err != nil {
			return nil, err
		}
		if out.class == Alive {
			alone = append(alone, v)
		}
		v.base = r.together(s)
		all = append(all, v)
	}
	if len(alone) > 0 {
		return alone, nil
	}
	return all, nil
}

// with is what carries the value, with another text in its place.
func (r *run) with(v value, name, text string) artefact {
	a := r.replaced(v.base, func(n, old string) string {
		if old == v.text && (n == v.variable || n == v.cookie) {
			return text
		}
		return old
	})
	a.name = v.name + ", " + name
	return a
}

// firstOf returns at most n of them.
func firstOf[T any](n int, all []T) []T { return slices.Clone(all[:min(n, len(all))]) }

// sorted returns them in order.
func sorted[T cmp.Ordered](all []T) []T {
	slices.Sort(all)
	return all
}
