package probe

import (
	"strings"
	"testing"
)

func TestRotation(t *testing.T) {
	const accepted, family, retry = "old-refresh-token-accepted", "refresh-reuse-ends-family", "refresh-retry-survives"
	for name, c := range map[string]struct {
		flaws []string
		want  map[string]Verdict
		says  string // of the retry
	}{
		"strict":            {nil, map[string]Verdict{accepted: Pass, family: Pass, retry: Note}, "ends the session"},
		"grace":             {[]string{"grace"}, map[string]Verdict{accepted: Pass, family: Pass, retry: Note}, "the same successor"},
		"old one accepted":  {[]string{"old refresh token"}, map[string]Verdict{accepted: Finding, family: NotApplicable, retry: Note}, "both successors live"},
		"no alarm":          {[]string{"reuse is no alarm"}, map[string]Verdict{accepted: Pass, family: Finding, retry: Note}, "goes on with the first successor"},
		"no rotation":       {[]string{"no rotation"}, map[string]Verdict{accepted: Note, family: NotApplicable, retry: NotApplicable}, ""},
		"access lives on":   {[]string{"reuse spares access"}, map[string]Verdict{accepted: Pass, family: Note, retry: Note}, "ends the session"},
		"outage at reuse":   {[]string{"refresh fails after reuse"}, map[string]Verdict{accepted: Inconclusive, family: Inconclusive, retry: Inconclusive}, ""},
		"lock-out at reuse": {[]string{"locks at reuse"}, map[string]Verdict{accepted: Inconclusive, family: Inconclusive}, ""},
	} {
		for kind, description := range map[string]string{"bearer": bearerTarget, "cookies": cookieTarget} {
			t.Run(name+", "+kind, func(t *testing.T) {
				flaws := c.flaws
				if kind == "cookies" {
					flaws = append(flaws, "cookies")
				}
				report := probed(t, description, newService(t, flaws...), accepted, family, retry)
				for check, verdict := range c.want {
					want(t, report, check, verdict)
				}
				for _, result := range report.Results {
					if result.Check == retry && !strings.Contains(result.Says, c.says) {
						t.Errorf("%q, want %q", result.Says, c.says)
					}
				}
			})
		}
	}
}

func TestTokenOfBeforeTheRefresh(t *testing.T) {
	const check = "access-token-of-before-refresh-alive-after-logout"
	for name, c := range map[string]struct {
		flaws []string
		want  Verdict
	}{
		"by session":  {nil, Pass},
		"by token":    {[]string{"keyed by text"}, Finding},
		"client only": {[]string{"client only"}, NotApplicable},
		"lock-out":    {[]string{"locks at logout"}, Inconclusive},
	} {
		t.Run(name, func(t *testing.T) {
			want(t, probed(t, bearerTarget, newService(t, c.flaws...), check), check, c.want)
		})
	}
}

func TestRefreshTokenAsBearer(t *testing.T) {
	const check = "refresh-token-as-bearer"
	for name, c := range map[string]struct {
		flaws []string
		want  Verdict
	}{
		"opaque":    {nil, Pass},
		"typed JWT": {[]string{"refresh token is a JWT of the same kind"}, Pass},
		"not typed": {[]string{"refresh token is a JWT of the same kind", "refresh token as bearer"}, Finding},
		"lock-out":  {[]string{"refresh token is a JWT of the same kind", "locks at refresh token"}, Inconclusive},
	} {
		for kind, description := range map[string]string{"bearer": bearerTarget, "cookies": cookieTarget} {
			t.Run(name+", "+kind, func(t *testing.T) {
				flaws := c.flaws
				if kind == "cookies" {
					flaws = append(flaws, "cookies")
				}
				want(t, probed(t, description, newService(t, flaws...), check), check, c.want)
			})
		}
	}
}
