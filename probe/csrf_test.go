package probe

import (
	"net/http"
	"strings"
	"testing"

	"github.com/rescind/rescind/probe/target"
)

func TestForcedLogout(t *testing.T) {
	const get, cross = "logout-by-get", "logout-cross-origin"
	for name, c := range map[string]struct {
		cookies    bool
		flaws      []string
		get, cross Verdict
	}{
		"bearer":                {false, []string{"logout by GET"}, NotApplicable, NotApplicable},
		"refused":               {true, nil, Pass, Pass},
		"by GET":                {true, []string{"logout by GET", "cross origin"}, Finding, Finding},
		"cross origin":          {true, []string{"cross origin"}, Pass, Finding},
		"cross origin, but lax": {true, []string{"cross origin", "lax", "logout by GET"}, Finding, Note},
		"browser is cleared":    {true, []string{"cross origin", "client only"}, Pass, Finding},
		"everybody is refused":  {true, []string{"cross origin", "locks at logout", "logout by GET"}, Inconclusive, Inconclusive},
		"JSON from a form":      {true, []string{"cross origin", "logout wants JSON"}, Pass, Finding},
		"only its own type":     {true, []string{"cross origin", "logout wants its own type"}, Pass, Pass},
	} {
		t.Run(name, func(t *testing.T) {
			description := bearerTarget
			if c.cookies {
				description = cookieTarget
				c.flaws = append(c.flaws, "cookies")
			}
			want(t, probed(t, description, newService(t, c.flaws...), get), get, c.get)
			want(t, probed(t, description, newService(t, c.flaws...), cross), cross, c.cross)
		})
	}
}

func TestForgedLogoutHoldsNoSecret(t *testing.T) {
	q := &target.Request{
		Line: "POST /{{user.name}}/logout?token={{access_token}}&all={{later}}",
		Form: map[string]target.Template{"everywhere": "no", "csrf": "{{csrf}}"},
		JSON: map[string]any{"refresh_token": "{{refresh_token}}", "all": false},
	}
	to, err := logoutURL(q, "http://127.0.0.1:1", target.Vars{"user.name": "ada", "access_token": "secret"})
	if err != nil {
		t.Fatal(err)
	}
	if to.String() != "http://127.0.0.1:1/ada/logout?token=&all=" {
		t.Error(to)
	}
	form, text, err := formBodies(q)
	if err != nil || form != "everywhere=no" || text != `{"all":false}` {
		t.Error(form, text, err)
	}
	for set, want := range map[string]string{"a=b; SameSite=Strict": "", "a=b; SameSite=Lax": "GET", "a=b; SameSite=None": "GET POST", "a=b": "GET POST"} {
		raw, err := http.ParseSetCookie(set)
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, method := range []string{"GET", "POST"} {
			if crosses(cookie{raw: raw}, method) {
				got = append(got, method)
			}
		}
		if strings.Join(got, " ") != want {
			t.Errorf("%s: %q", set, got)
		}
	}
}
