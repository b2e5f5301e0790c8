package probe

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"

	"github.com/rescind/rescind/probe/target"
)

// controlChecks are the checks that the controls answer.
var controlChecks = []string{"route-unprotected", "corrupted-token-accepted", "logout-hits-other-session"}

// controls learns what answers look like, to a valid session and to none, on every
// protected route of every instance; finds out which routes are protected; and
// whether a user can have several sessions at once. Without a route that is
// protected nothing can be judged, and the error says so.
func (r *run) controls(ctx context.Context) ([]Result, error) {
	r.considered = r.everyRoute()
	first, err := r.login(ctx, 0, r.target.Instances[0])
	if err != nil {
		return nil, err
	}
	if err := r.teachValid(ctx, first, 2); err != nil {
		return nil, err
	}
	results, err := r.teachDead(ctx, first)
	if err != nil {
		return results, err
	}
	// A second session, not only a second answer: what differs between sessions of
	// a user is no sign of life.
	second, err := r.login(ctx, 0, r.target.Instances[0])
	if err != nil {
		return results, err
	}
	if err := r.teachValid(ctx, second, 1); err != nil {
		return results, err
	}
	if other, is := r.bystander(); is {
		s, err := r.login(ctx, other, r.target.Instances[0])
		if err != nil {
			return results, err
		}
		if err := r.teachValid(ctx, s, 2); err != nil {
			return results, err
		}
		r.keeper.sessions[other] = s
	}
	for _, rt := range r.considered {
		if rt.identity != nil && rt.reason == "" && rt.ids[0] == "" {
			r.remark("identity: %s on %s answers a valid session without what %s looks for, so that nobody knows for whom an answer is", rt.line, rt.instance, rt.identity)
		}
		if reason := rt.indistinct(len(r.users)); rt.reason == "" && reason != "" {
			rt.fail("%s", reason)
		}
		if rt.reason == "" {
			r.routes = append(r.routes, rt)
		}
	}
	results = append(results, r.unprotected()...)
	if len(r.routes) == 0 {
		return results, fmt.Errorf("no route is protected: %s", r.considered[0].reason)
	}
	others, err := r.otherSessions(ctx, first, second)
	return append(results, others...), err
}

// everyRoute is each protected request on each instance; that of the identity too.
func (r *run) everyRoute() []*route {
	requests := make([]*target.Request, 0, len(r.target.Protected)+1)
	for i := range r.target.Protected {
		requests = append(requests, &r.target.Protected[i])
	}
	who := -1
	if id := r.target.Identity; id != nil {
		for i, q := range requests {
			if q.Line == id.Line {
				who = i
			}
		}
		if who < 0 {
			who = len(requests)
			requests = append(requests, &id.Request)
		}
	}
	var all []*route
	for _, instance := range r.target.Instances {
		for i, q := range requests {
			rt := newRoute(q, instance)
			if i == who {
				rt.identity = &r.target.Identity.Find
			}
			if !r.usable(q) {
				rt.reason = q.Method() + " is not among the methods that the description allows"
			}
			all = append(all, rt)
		}
	}
	return all
}

// teachValid asks every route with a session that nobody has ended.
func (r *run) teachValid(ctx context.Context, s *session, times int) error {
	all := r.together(s)
	return r.eachRoute(ctx, func(rt *route) error {
		for range times {
			a := r.ask(ctx, "valid control", all, rt)
			a.class, a.note = "", ""
			if err := fatal(ctx, a.err); err != nil {
				return err
			}
			rt.controls = append(rt.controls, a)
			switch {
			case a.err != nil:
				rt.fail("a valid session got no answer: %s", r.secrets.mask(a.err.Error()))
				return nil
			case !rt.request.Expect.Matches(a.status):
				rt.fail("a valid session got %d, expected %s", a.status, rt.request.Expect)
				return nil
			case r.leadsAway(a):
				rt.fail("a valid session is led to a host that the description does not name")
				return nil
			}
			a.class = Alive
			rt.teach(s.user, a)
			a.trim()
		}
		return nil
	})
}

// leadsAway reports whether an answer redirects to a host that is none of the
// target's.
func (r *run) leadsAway(a *answer) bool {
	location := a.header.Get("Location")
	if a.status < 300 || a.status > 399 || location == "" {
		return false
	}
	to, err := a.request.url.Parse(location)
	return err != nil || !r.client.allows(to)
}

// eachRoute calls f for all routes that are not left out yet, at the same time.
func (r *run) eachRoute(ctx context.Context, f func(*route) error) error {
	errs := make([]error, len(r.considered))
	all := newCrew(ctx)
	for i, rt := range r.considered {
		if rt.reason == "" {
			all.Go(func() { errs[i] = f(rt) })
		}
	}
	all.Wait()
	return errors.Join(errs...)
}

// A deadControl is a request that must be refused.
type deadControl struct {
	name     string
	artefact artefact
}

// deadControls are those that a session's artefacts make: without any, with each
// one corrupted, and with one of the same form that nobody was given.
func (r *run) deadControls(s *session) []deadControl {
	none := r.nobody(s)
	all := []deadControl{{"no session", none}}
	add := func(name string, a artefact, f func(string) string) {
		b := r.replaced(a, func(_, value string) string { return f(value) })
		b.session, b.name = "", name
		all = append(all, deadControl{name, b})
	}
	for _, a := range r.artefacts(s) {
		add("corrupted "+a.name, a, corrupted)
	}
	add("invented "+r.together(s).name, r.together(s), invented)
	return all
}

// teachDead asks every route with each dead control, twice, and reports the routes
// that answer a corrupted token.
func (r *run) teachDead(ctx context.Context, s *session) ([]Result, error) {
	controls := r.deadControls(s)
	var mu sync.Mutex
	accepted := map[string][]*answer{}
	err := r.eachRoute(ctx, func(rt *route) error {
		for i, c := range controls {
			answers, err := r.teachRefusal(ctx, s, c, rt)
			if err != nil || rt.reason != "" {
				return err
			}
			if answers[0].class == Dead {
				continue
			}
			if i == 0 {
				rt.reason = "it answers without a session as with one"
				return nil
			}
			mu.Lock()
			accepted[c.name] = append(accepted[c.name], answers[0])
			mu.Unlock()
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	var results []Result
	for _, c := range controls[1:] {
		if answers := accepted[c.name]; len(answers) > 0 {
			results = append(results, Result{
				Check: "corrupted-token-accepted", Subject: c.name, Verdict: Finding,
				Says:     fmt.Sprintf("%d of %d routes give for one that is %s what they give for a valid one, and refuse a request without any", len(answers), len(r.considered), c.name),
				Evidence: r.evidence(answers...),
			})
		}
	}
	if results == nil {
		results = []Result{{Check: "corrupted-token-accepted", Verdict: Pass, Says: "refused: " + names(controls[1:])}}
	}
	return results, nil
}

// teachRefusal asks a route twice with a dead control. The answers are of class
// Dead, and learned from, unless they cannot be told from valid ones.
func (r *run) teachRefusal(ctx context.Context, s *session, c deadControl, rt *route) ([]*answer, error) {
	var answers []*answer
	for range 2 {
		a := r.ask(ctx, "dead control", c.artefact, rt)
		a.class, a.note = "", c.name
		if err := fatal(ctx, a.err); err != nil {
			return nil, err
		}
		rt.controls = append(rt.controls, a)
		answers = append(answers, a)
		if a.err != nil || a.status == http.StatusTooManyRequests || a.status == http.StatusServiceUnavailable {
			rt.fail("the control with %s got no answer that could be learned from", c.name)
			return answers, nil
		}
	}
	if !rt.passes(s.user, answers) {
		for _, a := range answers {
			a.class = Dead
		}
		rt.teach(-1, answers...)
	}
	for _, a := range answers {
		a.trim()
	}
	return answers, nil
}

func names(controls []deadControl) string {
	var all []string
	for _, c := range controls {
		all = append(all, c.name)
	}
	return strings.Join(all, ", ")
}

// indistinct says why answers to valid sessions cannot be told from refusals;
// empty if they can.
func (rt *route) indistinct(users int) string {
	rt.mu.Lock()
	defer rt.mu.Unlock()
	for user := range users {
		l := rt.likeness(user)
		if len(l.alive) > 0 || len(rt.alive[user]) == 0 {
			continue
		}
		for _, d := range l.dead {
			if len(d) == 0 {
				return "what it answers to a valid session varies so much that it cannot be told from a refusal"
			}
		}
	}
	return ""
}

// unprotected reports the routes that are left out.
func (r *run) unprotected() []Result {
	var lines []string
	failed := false
	for _, rt := range r.considered {
		if rt.reason != "" {
			lines = append(lines, fmt.Sprintf("%s on %s (%s)", rt.line, rt.instance, rt.reason))
			failed = failed || rt.failed
		}
	}
	result := Result{Check: "route-unprotected"}
	switch {
	case lines == nil:
		result.Verdict, result.Says = Pass, fmt.Sprintf("%d of %d routes tell a valid session from none", len(r.routes), len(r.considered))
	case failed:
		result.Verdict, result.Reason = Inconclusive, "left out: "+strings.Join(lines, "; ")
	default:
		result.Verdict, result.Says = Note, "left out: "+strings.Join(lines, "; ")
	}
	return []Result{result}
}

// fail leaves a route out that should have answered its controls.
func (rt *route) fail(format string, args ...any) {
	rt.reason, rt.failed = fmt.Sprintf(format, args...), true
}

// corrupted is a token with four characters changed in its middle, for a JWT in
// the middle of its signature. It is never the token itself.
func corrupted(value string) string {
	b := []byte(value)
	from := 0
	if i := strings.LastIndexByte(value, '.'); i >= 0 && len(value)-i > 8 {
		from = i + 1
	}
	middle := from + (len(b)-from)/2
	changed := 0
	for i := max(middle-2, 0); i < len(b) && changed < 4; i++ {
		if other := another(b[i]); other != b[i] {
			b[i] = other
			changed++
		}
	}
	if changed == 0 {
		return value + "0"
	}
	return string(b)
}

// another is a character of the same kind.
func another(c byte) byte {
	switch {
	case c >= '0' && c <= '9':
		return '0' + (c-'0'+5)%10
	case c >= 'a' && c <= 'z':
		return 'a' + (c-'a'+13)%26
	case c >= 'A' && c <= 'Z':
		return 'A' + (c-'A'+13)%26
	}
	return c
}

// invented is a token of the same form as value, that nobody was given: a JWT
// with a signature that nobody made, or other letters and digits in every place.
func invented(value string) string {
	from := 0
	if readJWT(value) != nil {
		from = strings.LastIndexByte(value, '.') + 1
	}
	b := []byte(value)
	noise := make([]byte, len(b))
	_, _ = rand.Read(noise) // never fails, by its contract
	for i := from; i < len(b); i++ {
		switch c, n := b[i], noise[i]; {
		case c >= '0' && c <= '9':
			b[i] = '0' + n%10
		case c >= 'a' && c <= 'z':
			b[i] = 'a' + n%26
		case c >= 'A' && c <= 'Z':
			b[i] = 'A' + n%26
		}
	}
	if string(b) == value {
		return value + "0"
	}
	return string(b)
}
