package probe_test

import (
	"runtime/metrics"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rescind/rescind/probe"
	"github.com/rescind/rescind/tests/probe/targets"
)

// A run against a server that means harm may take so long, have so much on the
// heap together with all that go on beside it and with the servers, and read so
// much of one answer, which is what the description allows and what the kernel
// holds on the way.
const (
	mostTime   = 5 * time.Minute
	mostHeap   = 256 << 20
	mostAnswer = 64<<10 + 16<<20
)

// mayEnd says what else than inconclusive a run against a hostile server may come to.
func mayEnd(h targets.Hostile) []probe.Verdict {
	switch {
	case h.Inside || h.Name == "endless-body-at-route" || h.Name == "redirects-away-at-route":
		// As much as is read of it tells who is logged in, or that it is for anybody.
		return []probe.Verdict{probe.Pass}
	case h.Name == "redirects-away-at-logout" || h.Name == "endless-body-at-logout":
		// It says that it logs out, and does not.
		return []probe.Verdict{probe.Finding}
	case h.Name == "socket-floods" || h.Name == "stream-without-lines":
		// What comes after the logout comes from a connection that was left open.
		return []probe.Verdict{probe.Finding}
	}
	return nil
}

// atOnce is how many runs go on at the same time: most of a run is waiting.
const atOnce = 8

// TestHostileTargetsAreSurvived expects of each that the run ends, soon and small,
// that no host is contacted that was not named, and that nothing has passed.
func TestHostileTargetsAreSurvived(t *testing.T) {
	hostiles := targets.Hostiles()
	type outcome struct {
		trap   *targets.Trap
		report *probe.Report
		err    error
		took   time.Duration
	}
	outcomes := make([]outcome, len(hostiles))
	heap := peak(t)
	slots := make(chan struct{}, atOnce)
	var wg sync.WaitGroup
	for n, h := range hostiles {
		o := &outcomes[n]
		o.trap = h.Spring(t)
		parts := []string{"refresh", "logout_all", short}
		switch h.At {
		case "GET /socket":
			parts = append(parts, "websocket")
		case "GET /events":
			parts = append(parts, "sse")
		}
		wg.Go(func() {
			slots <- struct{}{}
			defer func() { <-slots }()
			// On a busy machine what comes before the trap may take long.
			for _, timeout := range []string{"500ms", "5s", "1m"} {
				limits := "limits: {timeout: " + timeout + ", body: 64KiB, requests: 3000}"
				began := time.Now()
				o.report, o.err = try(t.Context(), o.trap.Describe(append(parts, limits)...), probe.Options{})
				o.took = time.Since(began)
				if o.trap.Sprung.Load() > int64(h.After) {
					return
				}
			}
		})
	}
	wg.Wait()
	if most := heap(); most > mostHeap {
		t.Errorf("there were %d MB on the heap", most>>20)
	} else {
		t.Logf("at most %d MB on the heap", most>>20)
	}
	for n, h := range hostiles {
		t.Run(h.Name, func(t *testing.T) {
			o := &outcomes[n]
			if o.err != nil {
				t.Fatal(o.err)
			}
			if v := o.report.Verdict(); v != probe.Inconclusive && !slices.Contains(mayEnd(h), v) {
				t.Errorf("%s\n%s", v, table(o.report))
			}
			t.Logf("%d requests in %s", o.report.Requests, o.took.Round(10*time.Millisecond))
			if o.took > mostTime {
				t.Errorf("it took %s", o.took)
			}
			if o.trap.Strange.Load() != 0 {
				t.Error("a host was contacted that nobody named")
			}
			if answers := o.trap.Sprung.Load() - int64(h.After); answers < 1 {
				t.Error("the trap was not sprung")
			} else if each := o.trap.Written.Load() / answers; each > mostAnswer {
				t.Errorf("%d bytes of an answer went out", each)
			}
			if strings.Contains(table(o.report), "X-Injected") {
				t.Error("what the server sent stands in the report as it was")
			}
		})
	}
}

// peak measures the heap until its result is called, which says the most.
func peak(t *testing.T) func() uint64 {
	over, most := make(chan struct{}), make(chan uint64)
	go func() {
		var highest uint64
		sample := []metrics.Sample{{Name: "/memory/classes/heap/objects:bytes"}}
		for {
			select {
			case <-over:
				most <- highest
				return
			case <-time.After(10 * time.Millisecond):
				metrics.Read(sample)
				highest = max(highest, sample[0].Value.Uint64())
			}
		}
	}()
	return func() uint64 {
		close(over)
		return <-most
	}
}

// TestTroubleHidesNothing is about targets that refuse for reasons of their own: what
// is broken does not pass, and what is sound is not found fault with. Where a
// limit is waited for, a sound target may pass.
func TestTroubleHidesNothing(t *testing.T) {
	for name, trouble := range map[string]targets.Trouble{
		"flaky":   {Every: 7},
		"limited": {Limit: 40},
		"locked":  {Locks: 6},
	} {
		for form, forgets := range map[string]bool{"broken": true, "sound": false} {
			t.Run(name+"/"+form, func(t *testing.T) {
				t.Parallel()
				application := targets.Options{Trouble: trouble, LogoutForgets: forgets}
				report := inquiry{application: application, parts: []string{"refresh", "logout_all"}}.inMemory(t)
				wrong := probe.Finding
				if forgets {
					wrong = probe.Pass
				}
				if v := report.Verdict(); v == wrong || v == probe.Pass && trouble.Locks > 0 {
					t.Errorf("%s\n%s", v, table(report))
				}
			})
		}
	}
}
