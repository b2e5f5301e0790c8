package probe

import "testing"

func TestVariantsOfADeadToken(t *testing.T) {
	const check = "token-variant-alive-after-logout"
	for name, c := range map[string]struct {
		flaws []string
		want  Verdict
	}{
		"keyed by session": {nil, Pass},
		"keyed by text":    {[]string{"keyed by text"}, Finding},
		"client only":      {[]string{"client only"}, NotApplicable},
		"lock-out":         {[]string{"locks at logout"}, Inconclusive},
	} {
		t.Run(name, func(t *testing.T) {
			want(t, probed(t, bearerTarget, newService(t, c.flaws...), check), check, c.want)
		})
	}
	t.Run("in cookies", func(t *testing.T) {
		want(t, probed(t, cookieTarget, newService(t, "cookies", "keyed by text"), check), check, Finding)
	})
}
