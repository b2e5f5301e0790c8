package probe

import "testing"

func TestParallelRefreshes(t *testing.T) {
	const check = "parallel-refreshes"
	for name, c := range map[string]struct {
		flaws []string
		want  Verdict
	}{
		"strict":              {nil, Pass},
		"grace":               {[]string{"grace"}, Pass},
		"no rotation":         {[]string{"no rotation"}, Pass},
		"not atomic":          {[]string{"rotation reads, then writes"}, Finding},
		"seldom not atomic":   {[]string{"rotation reads, then writes", "the fourth meeting forks"}, Finding},
		"several, forgiven":   {[]string{"old refresh token"}, Note},
		"several, one logout": {[]string{"old refresh token", "keyed by text"}, Finding},
		"client only":         {[]string{"client only"}, NotApplicable},
		"lock-out":            {[]string{"locks at logout"}, Inconclusive},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			want(t, probed(t, bearerTarget, newService(t, c.flaws...), check), check, c.want)
		})
	}
}

func TestRequestsInFlight(t *testing.T) {
	const check = "request-in-flight"
	for name, c := range map[string]struct {
		flaws []string
		want  Verdict
	}{
		"atomic":              {nil, Pass},
		"request saves state": {[]string{"request saves the session"}, Finding},
		"client only":         {[]string{"client only"}, NotApplicable},
		"lock-out":            {[]string{"locks at logout"}, Inconclusive},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			want(t, probed(t, bearerTarget, newService(t, c.flaws...), check), check, c.want)
		})
	}
}
