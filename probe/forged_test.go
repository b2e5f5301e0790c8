package probe

import "testing"

func TestForgedTokens(t *testing.T) {
	const stripped, none, confusion = "token-signature-stripped", "token-alg-none", "token-alg-confusion"
	for name, c := range map[string]struct {
		flaws []string
		want  map[string]Verdict
	}{
		"verified":      {nil, map[string]Verdict{stripped: Pass, none: Pass, confusion: Pass}},
		"unverified":    {[]string{"unverified"}, map[string]Verdict{stripped: Finding}},
		"alg none":      {[]string{"alg none"}, map[string]Verdict{stripped: Pass, none: Finding, confusion: Pass}},
		"lock-out":      {[]string{"locks at forged tokens"}, map[string]Verdict{stripped: Inconclusive, none: Inconclusive, confusion: Inconclusive}},
		"alg confusion": {[]string{"alg confusion"}, map[string]Verdict{stripped: Pass, none: Pass, confusion: Finding}},
	} {
		for kind, description := range map[string]string{"bearer": bearerTarget, "cookies": cookieTarget} {
			t.Run(name+", "+kind, func(t *testing.T) {
				flaws := c.flaws
				if kind == "cookies" {
					flaws = append(flaws, "cookies")
				}
				report := probed(t, description, newService(t, flaws...), stripped, none, confusion)
				for check, verdict := range c.want {
					want(t, report, check, verdict)
				}
			})
		}
	}
}
