// Package probe finds out by experiment whether logout ends access to an HTTP API,
// and what else keeps it open. It needs nothing of the API but its description
// (package target).
//
// An experiment logs in, sees that what it got works, logs out, and presents
// everything again that the session held: each artefact, on each protected route
// of each instance, at once and later. A refusal counts only if another live
// session got its answer within the same second; otherwise it may have been an
// outage, a lock-out or a rate limit. An answer is judged by comparing it with
// those to a valid session and to none, never by its words.
//
// What proves nothing is Inconclusive, and never a pass.
package probe

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/rescind/rescind/probe/target"
)

// Options are what a run may do beside what its target describes. The zero value
// is good.
type Options struct {
	// Patient replays artefacts until just before they expire, but for no longer
	// than Patience (default: one hour).
	Patient  bool
	Patience time.Duration
	// Only, if it is not empty, are the ids of the checks that are wanted; Skip are
	// those that are not.
	Only, Skip []string
	// Insecure accepts any TLS certificate.
	Insecure bool
	// Proxy is asked for the proxy of each request. Nil: none is used, whatever the
	// environment says. With a proxy, the host of a URL is checked, but not what the
	// proxy connects to.
	Proxy func(*http.Request) (*url.URL, error)
	// Progress, if it is not nil, is told how the run goes on. It must return soon,
	// and may be called from several goroutines at once.
	Progress func(Progress)

	// Dial makes connections. Now and Sleep are the clock: Sleep returns the
	// context's error if that ends first. Default: those of the machine.
	Dial  func(ctx context.Context, network, address string) (net.Conn, error)
	Now   func() time.Time
	Sleep func(context.Context, time.Duration) error
}

// Progress is one step of a run.
type Progress struct {
	Experiment string   // that was begun or has ended; "controls" at the beginning
	Ended      bool     // it has ended
	Results    []Result // of what has ended
	Requests   int      // sent so far
	Running    int      // experiments that run
	Left       int      // experiments that have not ended
}

// A run is one run of the experiments against one target.
type run struct {
	target  *target.Target
	options Options
	client  *client
	secrets *secrets
	users   []target.User
	delays  []time.Duration
	// considered are all routes of the description, on every instance; routes are
	// those of them that are protected.
	considered, routes []*route
	// crowded: sessions of a user end when others are begun or ended. Experiments
	// are made one after the other.
	crowded bool
	// single: a login may end another session of its user.
	single bool
	// outlive is what an ordinary logout leaves alive, by life.key.
	outlive   map[string]bool
	keeper    keeper
	refresher refresher
	canary    *session      // see canaryDied
	workers   chan struct{} // one for each replay in flight
	failed    atomic.Int32  // logins
	ration    *ration       // of logins
	numbers   []atomic.Int32

	mu     sync.Mutex
	open   []*session // logged in, and not logged out by the run
	atEnd  []func(context.Context) error
	report *Report
}

// userName is how reports call a user.
func (r *run) userName(user int) string {
	if name := r.users[user].Name(); name != "" {
		return r.secrets.mask(name)
	}
	return fmt.Sprintf("user %d", user+1)
}

// bystander is the index of another user than the one that logs out, and whether
// there is one.
func (r *run) bystander() (int, bool) { return 1, len(r.users) > 1 }

// finally has f called when the run ends, however it ends, with a context of its
// own. The newest is called first.
func (r *run) finally(f func(context.Context) error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.atEnd = append(r.atEnd, f)
}

// evidence is the printed form of answers, in the order in which they were begun.
// Nil ones are left out, and of many only the first and the last.
func (r *run) evidence(answers ...*answer) []Exchange {
	answers = slices.DeleteFunc(slices.Clone(answers), func(a *answer) bool { return a == nil })
	slices.SortStableFunc(answers, func(a, b *answer) int { return a.began.Compare(b.began) })
	answers = slices.Compact(answers)
	if len(answers) > maxEvidence {
		answers = slices.Concat(answers[:maxEvidence/2], answers[len(answers)-maxEvidence/2:])
	}
	all := make([]Exchange, 0, len(answers))
	for _, a := range answers {
		all = append(all, r.client.exchange(a))
	}
	return all
}

// maxEvidence is how many exchanges one result shows.
const maxEvidence = 12

// fatal is an error after which an experiment has to stop: that of its context, or
// a limit of the run.
func fatal(ctx context.Context, err error) error {
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case errors.Is(err, ErrBudget), errors.Is(err, ErrFailedLogins):
		return err
	}
	return nil
}

// instanceHosts are the host names of the instances.
func (r *run) instanceHosts() []string {
	var hosts []string
	for _, instance := range r.target.Instances {
		if u, err := url.Parse(instance); err == nil {
			hosts = append(hosts, strings.ToLower(u.Hostname()))
		}
	}
	return hosts
}

// base is the URL of the route's instance.
func (rt *route) base() *url.URL {
	u, err := url.Parse(rt.instance)
	if err != nil {
		return &url.URL{}
	}
	return u
}
