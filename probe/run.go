package probe

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/rescind/rescind/probe/target"
)

// Run makes every experiment that the description has what it takes for, and
// reports what they found. The error is of a description that nothing can be done
// with; everything that happens at the target stands in the report. If the context
// ends, the run logs out what it logged in, undoes what it changed at the target,
// and reports what it has, as interrupted.
func Run(ctx context.Context, t *target.Target, o Options) (*Report, error) {
	if err := t.Validate(); err != nil {
		return nil, err
	}
	o = o.withDefaults(t)
	r := newRun(t, o)
	r.report.Started = o.Now()
	chosen := choose(experiments(), o)
	running, stop := context.WithTimeoutCause(ctx, r.allotted(), ErrDuration)
	defer stop()
	var results []Result
	err := r.contained(running, func(ctx context.Context) error {
		results = r.all(ctx, chosen)
		return nil
	})
	for _, e := range chosen {
		results = e.conclude(results, err)
	}
	if r.report.Interrupted = running.Err() != nil; context.Cause(running) == ErrDuration {
		r.remark("%s, which is %s: what was not made by then is inconclusive", ErrDuration, time.Duration(t.Limits.Duration))
	}
	r.end(ctx)
	r.report.Ended = o.Now()
	r.report.Requests = int(r.client.sent.Load())
	for _, rt := range r.considered {
		r.report.Routes = append(r.report.Routes, rt.report(r))
	}
	r.report.Results = inOrder(results, o)
	return r.report, nil
}

// allotted is how long the run may take: as long as the description says, and what
// it is told to wait. With patience experiments wait, one after the other if need be:
// that of the logout, that of the expired token, and the first one again.
func (r *run) allotted() time.Duration {
	d := time.Duration(r.target.Limits.Duration) + slices.Max(r.delays)
	if r.options.Patient {
		d += 3 * r.options.Patience
	}
	return d
}

func (o Options) withDefaults(t *target.Target) Options {
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Sleep == nil {
		o.Sleep = sleep
	}
	if o.Dial == nil {
		o.Dial = (&net.Dialer{Timeout: time.Duration(t.Limits.Timeout)}).DialContext
	}
	if o.Patience == 0 {
		o.Patience = time.Hour
	}
	if o.Progress == nil {
		o.Progress = func(Progress) {}
	}
	return o
}

func sleep(ctx context.Context, d time.Duration) error {
	if d <= 0 {
		return ctx.Err()
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func newRun(t *target.Target, o Options) *run {
	s := newSecrets()
	users := t.Users
	if len(users) == 0 {
		users = []target.User{{}} // its login needs no variables of a user
	}
	for _, value := range t.Secrets() {
		s.learn("secret", value.Reveal())
	}
	r := &run{
		target: t, options: o, secrets: s, users: users, client: newClient(t, o, s),
		workers: make(chan struct{}, t.Limits.Parallel), numbers: make([]atomic.Int32, len(users)),
		ration: newRation(), report: &Report{Name: t.Name, Instances: slices.Clone(t.Instances)},
	}
	r.keeper = keeper{latch: newLatch(), sessions: map[int]*session{}}
	r.refresher = refresher{latch: newLatch(), sessions: map[string]*session{}, last: map[string]*answer{}}
	for _, d := range t.Delays {
		r.delays = append(r.delays, time.Duration(d))
	}
	return r
}

// choose leaves out what is not wanted.
func choose(all []experiment, o Options) []experiment {
	return slices.DeleteFunc(slices.Clone(all), func(e experiment) bool { return !slices.ContainsFunc(e.checks, o.wants) })
}

// wants reports whether a check is one of those that are wanted.
func (o Options) wants(id string) bool {
	return (len(o.Only) == 0 || slices.Contains(o.Only, id)) && !slices.Contains(o.Skip, id)
}

// inOrder sorts results as the catalogue does, and leaves out those of checks that
// were only made beside others. That a route could not be judged is never left out.
func inOrder(results []Result, o Options) []Result {
	place := map[string]int{}
	for i, check := range Checks().Checks {
		place[check.ID] = i
	}
	results = slices.DeleteFunc(results, func(result Result) bool {
		return !o.wants(result.Check) && (result.Check != "route-unprotected" || result.Verdict != Inconclusive)
	})
	slices.SortStableFunc(results, func(a, b Result) int { return place[a.Check] - place[b.Check] })
	return results
}

// errControls stands where the reason would be the same for every check; a remark
// has it.
var errControls = errors.New("the controls failed (see the remarks)")

// all makes the controls and the experiments.
func (r *run) all(ctx context.Context, chosen []experiment) []Result {
	r.options.Progress(Progress{Experiment: "controls", Left: len(chosen)})
	var results []Result
	err := r.contained(ctx, func(ctx context.Context) (err error) {
		results, err = r.controls(ctx)
		return err
	})
	r.options.Progress(Progress{Experiment: "controls", Ended: true, Results: results, Requests: int(r.client.sent.Load()), Left: len(chosen)})
	if err != nil {
		r.remark("the controls failed: %s", r.secrets.mask(err.Error()))
		results = experiment{checks: controlChecks}.conclude(results, errControls)
		for _, e := range chosen {
			results = append(results, e.conclude(nil, errControls)...)
		}
		return results
	}
	var beside, alone []experiment
	for _, e := range chosen {
		if e.alone || r.crowded {
			alone = append(alone, e)
		} else {
			beside = append(beside, e)
		}
	}
	p := &parade{run: r, left: len(chosen)}
	lost := r.keeper.lost
	all := newCrew(ctx)
	for _, e := range beside {
		all.Go(func() { p.make(ctx, e) })
	}
	all.Wait()
	if (r.keeper.lost > lost || p.lost || r.canaryDied(ctx)) && ctx.Err() == nil {
		// Somebody's sessions ended without their logout. What was found may be
		// nobody's fault but that of too many sessions at once.
		r.remark("sessions were refused that nobody had logged out: the application may allow a user few at a time, or refuse now and then. The experiments were made again, one after the other.")
		p.results, p.left, r.report.Lives = nil, len(chosen), nil
		r.crowded, r.single = true, true
		alone = chosen
	}
	for i, e := range alone {
		// An application that compares seconds may refuse a login in the second of
		// the last logout everywhere. One experiment is about that; the others wait.
		if i > 0 && alone[i-1].alone {
			if err := r.options.Sleep(ctx, tick); err != nil {
				r.remark("the run was broken off")
			}
		}
		p.make(ctx, e)
	}
	return append(results, p.results...)
}

// A parade is the experiments of a run on their way.
type parade struct {
	run *run

	mu            sync.Mutex
	results       []Result
	left, running int
	lost          bool // an experiment's session died before its time
}

// make makes one experiment.
func (p *parade) make(ctx context.Context, e experiment) {
	p.step(e, nil, false)
	var results []Result
	if e.lacks != nil {
		if reason := e.lacks(p.run.target); reason != "" {
			p.step(e, e.conclude(nil, &errNone{reason}), true)
			return
		}
	}
	err := ctx.Err()
	if err == nil {
		results, err = p.try(ctx, e)
	}
	if errors.Is(err, errLost) {
		p.mu.Lock()
		p.lost = true
		p.mu.Unlock()
	}
	switch {
	case errors.As(err, new(*errNone)):
	case (errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded)) && context.Cause(ctx) == ErrDuration:
		err = ErrDuration
	case errors.Is(err, context.Canceled):
		err = errors.New("the run was interrupted")
	case errors.Is(err, context.DeadlineExceeded) && ctx.Err() != nil:
		err = errors.New("the run was out of time")
	case err != nil:
		err = errors.New(p.run.secrets.mask(err.Error()))
	}
	p.step(e, e.conclude(results, err), true)
}

// try makes an experiment. With a fault it has no results.
func (p *parade) try(ctx context.Context, e experiment) (results []Result, err error) {
	err = p.run.contained(ctx, func(ctx context.Context) (err error) {
		results, err = e.run(ctx, p.run)
		return err
	})
	if errors.As(err, new(*faultError)) {
		results = nil
	}
	return results, err
}

func (p *parade) step(e experiment, results []Result, ended bool) {
	p.mu.Lock()
	p.results = append(p.results, results...)
	if ended {
		p.left--
		p.running--
	} else {
		p.running++
	}
	progress := Progress{Experiment: e.name, Ended: ended, Results: results, Requests: int(p.run.client.sent.Load()), Running: p.running, Left: p.left}
	p.mu.Unlock()
	p.run.options.Progress(progress)
}

// cleanup is how long the end of a run goes on without an answer of the target, or
// for as long as one request may take.
const cleanup = 10 * time.Second

// end undoes what the run did to the target: what experiments asked for, then the
// sessions that are still open. It goes on although the run's context has ended,
// and for as long as the target answers.
func (r *run) end(ctx context.Context) {
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	r.client.budget.Store(r.client.limit)
	for _, f := range slices.Backward(r.atEnd) {
		if err := r.contained(ctx, f); err != nil {
			r.remark("not undone: %s", r.secrets.mask(err.Error()))
		}
	}
	if r.target.Logout == nil {
		return
	}
	left := slices.Clone(r.open)
	silence := max(cleanup, time.Duration(r.target.Limits.Timeout))
	timer := time.AfterFunc(silence, cancel)
	defer timer.Stop()
	all := newCrew(ctx)
	for _, s := range left {
		all.Go(func() {
			// Most of them were ended by what they were for: a refusal is no news.
			err := r.contained(ctx, func(ctx context.Context) error {
				a, err := r.logout(ctx, s, s.instance)
				if a != nil && a.err == nil {
					timer.Reset(silence)
				}
				return err
			})
			if err == nil {
				r.closed(s)
			}
		})
	}
	all.Wait()
	r.client.http.CloseIdleConnections()
}

func (r *run) remark(format string, args ...any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if text := fmt.Sprintf(format, args...); !slices.Contains(r.report.Remarks, text) {
		r.report.Remarks = append(r.report.Remarks, text)
	}
}

func (rt *route) report(r *run) Route {
	return Route{Request: rt.line, Instance: rt.instance, Protected: rt.reason == "", Reason: rt.reason, Controls: r.evidence(rt.controls...)}
}

// usable reports whether the methods that the description allows for protected
// routes include the request's.
func (r *run) usable(q *target.Request) bool {
	allowed := r.target.Allow.Methods
	if allowed == nil {
		allowed = []string{http.MethodGet, http.MethodHead}
	}
	return slices.Contains(allowed, q.Method())
}
