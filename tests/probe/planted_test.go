// Package probe_test holds the probe against what it is for: applications with
// planted flaws and their sound twins, the examples, Rescind itself, software that
// nobody here wrote, and servers that mean harm.
package probe_test

import (
	"cmp"
	"context"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rescind/rescind/probe"
	"github.com/rescind/rescind/probe/target"
	"github.com/rescind/rescind/tests/examples"
	"github.com/rescind/rescind/tests/probe/targets"
)

func TestMain(m *testing.M) { os.Exit(examples.Main(m)) }

// run probes what a description describes. Its environment consists of pairs.
func run(t testing.TB, description string, o probe.Options, environment ...string) *probe.Report {
	t.Helper()
	report, err := try(t.Context(), description, o, environment...)
	if err != nil {
		t.Fatalf("%v\n%s", err, description)
	}
	return report
}

func try(ctx context.Context, description string, o probe.Options, environment ...string) (*probe.Report, error) {
	t, err := target.Parse([]byte(description), func(name string) (string, bool) {
		i := slices.Index(environment, name)
		if i < 0 {
			return "", false
		}
		return environment[i+1], true
	})
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, hung)
	defer cancel()
	return probe.Run(ctx, t, o)
}

// hung is how long no run goes on, however busy the machine is.
const hung = 10 * time.Minute

// short is what is waited after a logout where time is not that of a bubble.
const short = "delays: [0s, 50ms, 200ms, 900ms]"

// usual is what users wait, in the slow suite, but for answers of a busy machine.
func usual() string {
	const limits = "\nlimits: {timeout: 1m}\n"
	if os.Getenv("RESCIND_SLOW") == "1" {
		return limits
	}
	return short + limits
}

// found are the checks with a finding, each once, in order.
func found(r *probe.Report) []string {
	var ids []string
	for _, result := range r.Results {
		if result.Verdict == probe.Finding {
			ids = append(ids, result.Check)
		}
	}
	slices.Sort(ids)
	return slices.Compact(ids)
}

// verdicts counts those of a check.
func verdicts(r *probe.Report, id string) map[probe.Verdict]int {
	count := map[probe.Verdict]int{}
	for _, result := range r.Results {
		if result.Check == id {
			count[result.Verdict]++
		}
	}
	return count
}

// table is a report in lines, for a test that has failed.
func table(r *probe.Report) string {
	var b strings.Builder
	for _, remark := range r.Remarks {
		fmt.Fprintf(&b, "remark: %s\n", remark)
	}
	for _, route := range r.Routes {
		fmt.Fprintf(&b, "route %s%s protected=%v %s\n", route.Instance, strings.TrimPrefix(route.Request, "GET "), route.Protected, route.Reason)
	}
	said := map[string]bool{}
	for _, result := range r.Results {
		if result.Verdict != probe.NotApplicable && !said[result.Reason] {
			said[result.Reason] = result.Reason != ""
			fmt.Fprintf(&b, "%-14s %s %s: %s%s\n", result.Verdict, result.Check, result.Subject, result.Says, result.Reason)
		}
	}
	return b.String()
}

// patience is how long a patient run waits: longer than access tokens live where
// that matters.
const patience = 20 * time.Second

// plants are those of this suite: all of them in the slow one.
func plants() []targets.Plant {
	return slices.DeleteFunc(targets.Plants(), func(p targets.Plant) bool { return p.Slow && os.Getenv("RESCIND_SLOW") != "1" })
}

// An inquiry is a run against an application, and what is described of it.
type inquiry struct {
	application targets.Options
	parts       []string
	patient     bool
}

// inMemory makes the run in a bubble, over pipes: time goes on there only when
// everybody waits, so that no verdict hangs on how busy the machine is.
func (q inquiry) inMemory(t *testing.T) (report *probe.Report) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		q.application.Pipes = true
		report = q.make(t)
	})
	return report
}

// onLoopback makes the run over sockets, on the machine's own time.
func (q inquiry) onLoopback(t *testing.T) *probe.Report {
	q.parts = append(slices.Clone(q.parts), usual())
	return q.make(t)
}

func (q inquiry) make(t *testing.T) *probe.Report {
	t.Helper()
	a := targets.Start(t, q.application)
	report := run(t, a.Describe(q.parts...), probe.Options{Patient: q.patient, Patience: patience, Dial: a.Dial})
	t.Logf("%d requests in %s", report.Requests, report.Ended.Sub(report.Started).Round(10*time.Millisecond))
	return report
}

// TestPlantedFlawsAreFound expects of each planted flaw that the probe finds it,
// and nothing else.
func TestPlantedFlawsAreFound(t *testing.T) {
	for _, p := range plants() {
		t.Run(p.Name, func(t *testing.T) {
			t.Parallel()
			report := inquiry{p.Broken(), p.Parts, p.Patient}.inMemory(t)
			got, want := found(report), slices.Sorted(slices.Values(p.Finds))
			got = slices.DeleteFunc(got, func(id string) bool { return slices.Contains(p.May, id) })
			if !slices.Equal(got, want) {
				t.Errorf("found %q, want %q\n%s", got, want, table(report))
			}
			for _, id := range p.Notes {
				if verdicts(report, id)[probe.Note] == 0 {
					t.Errorf("no note of %s\n%s", id, table(report))
				}
			}
		})
	}
}

// TestTwinsHaveNoFinding expects of the same applications without a flaw, and with
// all that they have described, that nothing is found, that nothing is in doubt,
// and that each check which finds a flaw of such an application was made.
func TestTwinsHaveNoFinding(t *testing.T) {
	names, twins := twins()
	for _, name := range names {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			report := twins[name].inMemory(t)
			sound(t, report, twins[name].checks)
			if got := report.Verdict(); got != probe.Pass {
				t.Errorf("%s\n%s", got, table(report))
			}
		})
	}
}

// momentary are checks that find something only if they come in time.
var momentary = []string{"death-is-late", "revives", "refresh-races-logout", "parallel-refreshes", "request-in-flight", "same-second-login"}

// TestSocketsTurnNoVerdict makes the same runs over sockets. There a machine may be
// so busy that a verdict is in doubt; it is never the opposite.
func TestSocketsTurnNoVerdict(t *testing.T) {
	t.Parallel()
	some := func(string) bool { return true }
	if os.Getenv("RESCIND_SLOW") != "1" {
		some = func(name string) bool {
			return slices.Contains([]string{"client-only-logout", "blocklist-of-one-instance", "form-session-alive", "socket-left-open", "stream-left-open"}, name)
		}
	}
	sounds := map[string]bool{}
	for _, p := range targets.Plants() {
		if !some(p.Name) {
			continue
		}
		t.Run(p.Name, func(t *testing.T) {
			t.Parallel()
			finds, may := slices.Clone(p.Finds), slices.Clone(p.May)
			finds = slices.DeleteFunc(finds, func(id string) bool {
				if slices.Contains(momentary, id) {
					may = append(may, id)
				}
				return slices.Contains(momentary, id)
			})
			accused(t, inquiry{p.Broken(), p.Parts, p.Patient}.onLoopback(t), finds, may)
		})
		if name := shape(p.Sound); !sounds[name] {
			sounds[name] = true
			t.Run("twin/"+name, func(t *testing.T) {
				t.Parallel()
				cleared(t, inquiry{p.Sound, p.Parts, p.Patient}.onLoopback(t), p.Finds)
			})
		}
	}
}

// A twin is a sound application, and what is to be probed of it.
type twin struct {
	inquiry
	checks []string
}

// twins are those of the plants, by their shapes.
func twins() (names []string, all map[string]*twin) {
	all = map[string]*twin{}
	for _, p := range plants() {
		name := shape(p.Sound)
		if all[name] == nil {
			all[name] = &twin{inquiry: inquiry{application: p.Sound}}
			names = append(names, name)
		}
		w := all[name]
		w.checks, w.patient = append(w.checks, append(p.Finds, p.Notes...)...), w.patient || p.Patient
		for _, part := range p.Parts {
			if !slices.Contains(w.parts, part) {
				w.parts = append(w.parts, part)
			}
		}
	}
	return names, all
}

// shape is a name for how an application is built: what of it is not as usual.
func shape(o targets.Options) string {
	var parts []string
	if o.Blocklist != nil {
		parts, o.Blocklist = append(parts, "Blocklist"), nil
	}
	usual := strings.Fields(fmt.Sprintf("%+v", targets.Options{}))
	for n, field := range strings.Fields(fmt.Sprintf("%+v", o)) {
		if field != usual[n] {
			parts = append(parts, strings.Trim(field[strings.LastIndexByte(field, '{')+1:], "}"))
		}
	}
	return cmp.Or(strings.Join(parts, " "), "Plain")
}
