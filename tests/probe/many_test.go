package probe_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/rescind/rescind/probe"
	"github.com/rescind/rescind/tests/probe/targets"
)

// TestAThousandReplaysAreMadeFewAtATime counts replays of a sound application with
// many routes, and the requests that were in flight at the same time.
func TestAThousandReplaysAreMadeFewAtATime(t *testing.T) {
	t.Parallel()
	const parallel = 6
	a := targets.Start(t, targets.Options{Instances: 4})
	var routes []string
	for n := range 15 {
		routes = append(routes, fmt.Sprintf("GET /api/pages/%d", n))
	}
	description := strings.Replace(a.Describe(short, fmt.Sprintf("limits: {parallel: %d, requests: 100000, timeout: 1m}", parallel)),
		"protected: [", "protected: ["+strings.Join(routes, ", ")+", ", 1)
	began := time.Now()
	report := run(t, description, probe.Options{Only: []string{"access-token-alive-after-logout"}})
	took := time.Since(began)
	cleared(t, report, []string{"access-token-alive-after-logout"})
	replays, dead := 0, 0
	for _, life := range report.Lives {
		for _, answer := range life.Answers {
			if answer.After < 0 {
				continue
			}
			replays++
			if answer.Class == probe.Dead {
				dead++
			}
		}
	}
	all, most := a.Requests()
	t.Logf("%d replays, all of %d requests in %s, at most %d at once", replays, all, took.Round(10*time.Millisecond), most)
	if replays < 1000 || dead != replays {
		t.Errorf("%d replays, %d of them refused", replays, dead)
	}
	if most > parallel {
		t.Errorf("%d requests were in flight at once, %d may be", most, parallel)
	}
	if report.Requests != all {
		t.Errorf("the report says %d requests, there were %d", report.Requests, all)
	}
}
