package report

import (
	"testing"

	"github.com/rescind/rescind/probe"
)

// That a token has no other spelling says nothing of the logout.
func TestOnlyWhatAsksForTheLogoutAnswersForIt(t *testing.T) {
	for check, want := range map[string]string{
		"token-variant-alive-after-logout":                  "No finding",
		"access-token-of-before-refresh-alive-after-logout": "No finding",
		"access-token-alive-after-logout":                   "Logout ends access",
		"cookie-alive-after-logout":                         "Logout ends access",
	} {
		if got := headline(&probe.Report{Results: []probe.Result{{Check: check, Verdict: probe.Pass}}}); got != want {
			t.Errorf("%s: %q, want %q", check, got, want)
		}
	}
	for _, check := range theQuestion {
		if probe.Checks().Find(check).Matters == "" {
			t.Errorf("there is no check %s", check)
		}
	}
}
