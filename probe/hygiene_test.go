package probe

import (
	"net/http"
	"testing"
)

func TestHygiene(t *testing.T) {
	for name, c := range map[string]struct {
		cookies bool
		flaws   []string
		want    map[string]Verdict
	}{
		"clean": {false, nil, map[string]Verdict{
			"token-lifetime": Pass, "token-without-id": Pass, "token-in-url": Pass, "cookie-attributes": NotApplicable,
			"cache-control": Pass, "clear-site-data": NotApplicable,
		}},
		"clean, with cookies": {true, []string{"lax"}, map[string]Verdict{
			"token-lifetime": Pass, "token-without-id": Pass, "token-in-url": Pass, "cookie-attributes": Note, // without Secure, on a loopback address
			"cache-control": Pass, "clear-site-data": Pass,
		}},
		"no exp":             {false, []string{"no exp"}, map[string]Verdict{"token-lifetime": Finding}},
		"long":               {false, []string{"long"}, map[string]Verdict{"token-lifetime": Finding}},
		"no id, and ends":    {false, []string{"no id"}, map[string]Verdict{"token-without-id": Note}},
		"no id, and lives":   {false, []string{"no id", "client only"}, map[string]Verdict{"token-without-id": Finding}},
		"no id, and unknown": {false, []string{"no id", "locks at logout"}, map[string]Verdict{"token-without-id": Inconclusive}},
		"token in query":     {false, []string{"token in query"}, map[string]Verdict{"token-in-url": Finding}},
		"cookie in query":    {true, []string{"token in query"}, map[string]Verdict{"token-in-url": Finding}},
		"cookie for scripts": {true, []string{"cookie for scripts"}, map[string]Verdict{"token-without-id": Pass}},
		"cached":             {false, []string{"cached"}, map[string]Verdict{"cache-control": Finding}},
		"cached cookies":     {true, []string{"cached"}, map[string]Verdict{"cache-control": Finding}},
		"browser keeps":      {true, []string{"browser keeps"}, map[string]Verdict{"clear-site-data": Note}},
	} {
		t.Run(name, func(t *testing.T) {
			description := bearerTarget
			if c.cookies {
				description = cookieTarget
				c.flaws = append(c.flaws, "cookies")
			}
			report := probed(t, description, newService(t, c.flaws...), hygieneExperiment().checks...)
			for check, verdict := range c.want {
				want(t, report, check, verdict)
			}
			if name == "cookie for scripts" {
				found := 0
				for _, result := range report.Results {
					if result.Check == "cookie-attributes" && result.Verdict == Finding && result.Subject == `cookie "access"` {
						found++
					}
				}
				if found != 1 {
					t.Errorf("%+v", report.Results)
				}
			}
		})
	}
}

func TestCookieIsJudgedByWhereItTravels(t *testing.T) {
	for set, c := range map[string]struct {
		https, loopback bool
		flaws, notes    int
	}{
		"__Host-a=b; Path=/; Secure; HttpOnly; SameSite=Lax":       {true, false, 0, 0},
		"a=b; Path=/; Secure; HttpOnly; SameSite=Strict":           {true, true, 0, 1},
		"b=b; Path=/; HttpOnly; SameSite=Lax":                      {false, true, 0, 1},
		"c=b; Path=/; HttpOnly; SameSite=Lax":                      {false, false, 1, 0},
		"d=b; Path=/; HttpOnly; SameSite=Lax; Domain=.example.org": {true, true, 1, 2},
		"e=b":                                  {true, false, 3, 1},
		"__Secure-f=b; Secure; HttpOnly":       {true, false, 1, 0},
		"g=b; Secure; HttpOnly; SameSite=None": {false, true, 0, 1},
	} {
		cookie, err := http.ParseSetCookie(set)
		if err != nil {
			t.Fatal(err)
		}
		if flaws, notes := judgeCookie(cookie, c.https, c.loopback); len(flaws) != c.flaws || len(notes) != c.notes {
			t.Errorf("%s: %q, %q", set, flaws, notes)
		}
	}
}

func TestCacheControlIsRead(t *testing.T) {
	for text, want := range map[string]cachePolicy{
		"":                           {},
		"no-store":                   {noStore: true, refused: true},
		"NO-STORE, max-age=60":       {noStore: true, refused: true},
		"private, no-cache":          {refused: true},
		"private, max-age=60":        {refused: true},
		"max-age=0, must-revalidate": {refused: true},
		"max-age=60":                 {kept: true},
		"public":                     {kept: true},
		"s-maxage=10":                {kept: true},
		"s-maxage=0":                 {},
	} {
		if got := cacheOf(http.Header{"Cache-Control": {text}}); got != want {
			t.Errorf("%q: %+v", text, got)
		}
	}
}

func TestExpiresInIsRead(t *testing.T) {
	for text, want := range map[string]int64{`{"expires_in":300}`: 300, `{"expires_in":"300"}`: 300, `{"expiresIn":5}`: 5, `{"expires_in":-1}`: 0, `[]`: 0, ``: 0} {
		if got, says := expiresIn([]byte(text)); got != want || says != (want > 0) {
			t.Errorf("%s: %d, %v", text, got, says)
		}
	}
}
