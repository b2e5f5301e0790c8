package probe

import (
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"
)

// Where logins are limited, every experiment gets its share of them.
func TestLimitedLoginsAreShared(t *testing.T) {
	report := probed(t, bearerTarget, newService(t, "ten logins"), "access-token-alive-after-logout", "refresh-token-alive-after-logout",
		"refresh-races-logout", "request-in-flight", "token-alg-none", "old-refresh-token-accepted", "logout-twice")
	for _, result := range report.Results {
		if result.Verdict != Pass {
			t.Errorf("%s: %s (%s%s)", result.Check, result.Verdict, result.Says, result.Reason)
		}
	}
	if !slices.ContainsFunc(report.Remarks, func(remark string) bool { return strings.Contains(remark, "429") }) {
		t.Errorf("nothing is said of the limit: %q", report.Remarks)
	}
}

func TestRetryAfterIsRead(t *testing.T) {
	now := time.Date(2026, 11, 20, 12, 0, 0, 0, time.UTC)
	for text, want := range map[string]time.Duration{
		"": 0, "30": 30 * time.Second, "-1": 0, "x": 0, "99999999999": 0, "Fri, 20 Nov 2026 12:00:05 GMT": 5 * time.Second, "Fri, 20 Nov 2026 11:00:00 GMT": 0,
	} {
		if got := retryAfter(&answer{header: http.Header{"Retry-After": {text}}, ended: now}); got != want {
			t.Errorf("%q: %s", text, got)
		}
	}
}
