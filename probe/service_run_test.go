package probe

import (
	"slices"
	"testing"
)

// All experiments together, on an application without a flaw: every check has a
// verdict, and none is a finding or in doubt.
func TestAnApplicationWithoutFlawsPasses(t *testing.T) {
	for name, c := range map[string]struct {
		description string
		flaws       []string
	}{
		"bearer":      {socketTarget, nil},
		"cookies":     {cookieTarget, []string{"cookies", "lax"}},
		"one session": {bearerTarget, []string{"one session"}},
		"grace":       {bearerTarget, []string{"grace", "refresh token is a JWT of the same kind"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			report := probed(t, c.description, newService(t, c.flaws...))
			for _, check := range Checks().Checks {
				if !slices.ContainsFunc(report.Results, func(result Result) bool { return result.Check == check.ID }) {
					t.Errorf("%s has no result", check.ID)
				}
			}
			for _, result := range report.Results {
				if result.Verdict == Finding || result.Verdict == Inconclusive {
					t.Errorf("%s, %q: %s (%s%s)", result.Check, result.Subject, result.Verdict, result.Says, result.Reason)
				}
			}
			if len(report.Remarks) > 0 && name != "one session" {
				t.Errorf("remarks: %q", report.Remarks)
			}
			t.Logf("%d requests", report.Requests)
		})
	}
}
