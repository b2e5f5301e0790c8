package probe

import "testing"

func TestRefreshAgainstLogout(t *testing.T) {
	const check = "refresh-races-logout"
	for name, c := range map[string]struct {
		flaws []string
		want  Verdict
	}{
		"atomic":               {nil, Pass},
		"reads, then writes":   {[]string{"refresh reads, then writes"}, Finding},
		"client only":          {[]string{"client only"}, NotApplicable},
		"lock-out":             {[]string{"locks at logout"}, Inconclusive},
		"no answer":            {[]string{"503 for ended sessions"}, Inconclusive},
		"one session a user":   {[]string{"one session"}, Pass},
		"one session, planted": {[]string{"one session", "refresh reads, then writes"}, Finding},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			want(t, probed(t, bearerTarget, newService(t, c.flaws...), check), check, c.want)
		})
	}
}
