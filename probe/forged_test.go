package probe

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

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

// A JWT that the application does not look at is not forged: whatever stands in it,
// the session's own cookie gives access.
func TestATokenThatDoesNotMatterIsNotForged(t *testing.T) {
	description := strings.Replace(cookieTarget, "protected: [GET /me, GET /notes]",
		`protected: [GET /me, GET /notes]
present: {headers: {X-Also: "{{also}}"}}`, 1)
	description = strings.Replace(description, `password: "{{user.password}}"}}`, `password: "{{user.password}}"}, find: {also: {header: X-Also}}}`, 1)
	for name, flaws := range map[string][]string{
		"cookies":  {"cookies", "another JWT"},
		"combined": {"cookies", "another JWT", "needs both"},
	} {
		t.Run(name, func(t *testing.T) {
			about := cookieTarget
			if name == "combined" {
				about = description
			}
			report := probed(t, about, newService(t, flaws...), forgedExperiment().checks...)
			for _, result := range report.Results {
				if result.Verdict != Pass && result.Verdict != NotApplicable || strings.Contains(result.Subject, "looks") {
					t.Errorf("%s, %q: %s (%s%s)", result.Check, result.Subject, result.Verdict, result.Says, result.Reason)
				}
			}
		})
	}
}

func TestKeySetIsLookedForAtNamedHostsOnly(t *testing.T) {
	s := newService(t, "alg confusion")
	asked := 0
	other := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { asked++ }))
	defer other.Close()
	s.metadata = other.URL + "/keys"
	want(t, probed(t, bearerTarget, s, "token-alg-confusion"), "token-alg-confusion", Finding) // by /.well-known/jwks.json
	s.metadata = serviceURL + "/.well-known/jwks.json"
	want(t, probed(t, bearerTarget, s, "token-alg-confusion"), "token-alg-confusion", Finding)
	if asked != 0 {
		t.Errorf("%d requests to a host that the description does not name", asked)
	}
	if u := keySetOf([]byte(`{"jwks_uri":"https://example.org/keys"}`)); u == nil || u.String() != "https://example.org/keys" {
		t.Error(u)
	}
	for _, text := range []string{"", "[]", `{"jwks_uri":""}`, `{"jwks_uri":"%"}`} {
		if u := keySetOf([]byte(text)); u != nil {
			t.Errorf("%s: %s", text, u)
		}
	}
}
