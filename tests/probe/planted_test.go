// Package probe_test holds the probe against what it is for: applications with
// planted flaws and their sound twins, the examples, Rescind itself, software that
// nobody here wrote, and servers that mean harm.
package probe_test

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
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
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	return probe.Run(ctx, t, o)
}

// short is what is waited after a logout, where nothing takes longer.
const short = "delays: [0s, 50ms, 200ms, 900ms]"

// usual is what users wait, in the slow suite.
func usual() string {
	if os.Getenv("RESCIND_SLOW") == "1" {
		return ""
	}
	return short
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
const patience = 7 * time.Second

// atOnce is how many runs go on at the same time: most of a run is waiting.
const atOnce = 8

// plants are those of this suite: all of them in the slow one.
func plants() []targets.Plant {
	return slices.DeleteFunc(targets.Plants(), func(p targets.Plant) bool { return p.Slow && os.Getenv("RESCIND_SLOW") != "1" })
}

// TestPlantedFlawsAreFound expects of each planted flaw that the probe finds it,
// and nothing else.
func TestPlantedFlawsAreFound(t *testing.T) {
	plants := plants()
	one := func(n int) (*probe.Report, error) {
		p := plants[n]
		return try(t.Context(), p.Broken(t).Describe(append(p.Parts, short)...), probe.Options{Patient: p.Patient, Patience: patience})
	}
	reports := beside(t, len(plants), one)
	for n, p := range plants {
		t.Run(p.Name, func(t *testing.T) {
			missed := func(id string) bool { return !slices.Contains(found(reports[n]), id) }
			if slices.ContainsFunc(p.Finds, missed) {
				reports[n] = again(t, reports[n], func() (*probe.Report, error) { return one(n) })
			}
			t.Logf("%d requests in %s", reports[n].Requests, reports[n].Ended.Sub(reports[n].Started).Round(10*time.Millisecond))
			got, want := found(reports[n]), slices.Sorted(slices.Values(p.Finds))
			got = slices.DeleteFunc(got, func(id string) bool { return slices.Contains(p.May, id) })
			if !slices.Equal(got, want) {
				t.Errorf("found %q, want %q\n%s", got, want, table(reports[n]))
			}
			for _, id := range p.Notes {
				if verdicts(reports[n], id)[probe.Note] == 0 {
					t.Errorf("no note of %s\n%s", id, table(reports[n]))
				}
			}
		})
	}
}

// TestTwinsHaveNoFinding expects of the same applications without a flaw, and with
// all that they have described, that nothing is found, that nothing is in doubt,
// and that each check which finds a flaw of such an application was made.
func TestTwinsHaveNoFinding(t *testing.T) {
	twins := map[string]*twin{}
	var names []string
	for _, p := range plants() {
		name := shape(p.Sound)
		if twins[name] == nil {
			twins[name] = &twin{sound: p.Sound}
			names = append(names, name)
		}
		w := twins[name]
		w.checks, w.patient = append(w.checks, append(p.Finds, p.Notes...)...), w.patient || p.Patient
		for _, part := range p.Parts {
			if !slices.Contains(w.parts, part) {
				w.parts = append(w.parts, part)
			}
		}
	}
	one := func(n int) (*probe.Report, error) {
		w := twins[names[n]]
		return try(t.Context(), targets.Start(t, w.sound).Describe(append(w.parts, short)...), probe.Options{Patient: w.patient, Patience: patience})
	}
	reports := beside(t, len(names), one)
	for n, name := range names {
		t.Run(name, func(t *testing.T) {
			made := func(id string) bool {
				v := verdicts(reports[n], id)
				return v[probe.Pass]+v[probe.Note]+v[probe.Finding] > 0
			}
			if reports[n].Verdict() == probe.Inconclusive || !allOf(twins[name].checks, made) {
				reports[n] = again(t, reports[n], func() (*probe.Report, error) { return one(n) })
			}
			t.Logf("%d requests in %s", reports[n].Requests, reports[n].Ended.Sub(reports[n].Started).Round(10*time.Millisecond))
			sound(t, reports[n], twins[name].checks)
			if got := reports[n].Verdict(); got != probe.Pass {
				t.Errorf("%s\n%s", got, table(reports[n]))
			}
		})
	}
}

// again makes a run once more, with nothing beside it. What a busy machine puts in
// doubt may be so; a finding never is.
func again(t *testing.T, before *probe.Report, run func() (*probe.Report, error)) *probe.Report {
	t.Helper()
	t.Logf("once more, after\n%s", table(before))
	report, err := run()
	if err != nil {
		t.Fatal(err)
	}
	return report
}

func allOf(ids []string, is func(string) bool) bool {
	return !slices.ContainsFunc(ids, func(id string) bool { return !is(id) })
}

// A twin is a sound application, and what is to be probed of it.
type twin struct {
	sound   targets.Options
	parts   []string
	checks  []string
	patient bool
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

// beside makes runs, some at the same time. An error ends the test.
func beside(t *testing.T, n int, run func(int) (*probe.Report, error)) []*probe.Report {
	t.Helper()
	reports, errs := make([]*probe.Report, n), make([]error, n)
	slots := make(chan struct{}, atOnce)
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() {
			slots <- struct{}{}
			defer func() { <-slots }()
			reports[i], errs[i] = run(i)
		})
	}
	wg.Wait()
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
	return reports
}
