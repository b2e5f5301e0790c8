package examples

import (
	"net/http"
	"slices"
	"testing"
)

// TestBrokenFormsLetReplaysThrough shows the flaw that each cure is for, and that
// the questions of the other tests can be answered otherwise.
func TestBrokenFormsLetReplaysThrough(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, f Framework) {
		a := f.Start(t, Broken, nil)
		phone, laptop := a.Login(t, "ada"), a.Login(t, "ada")
		a.in(t, phone)
		a.in(t, a.Refresh(t, laptop.RefreshToken))
		a.Call(post("/logout", phone.AccessToken)).ok(t)
		var found Passes
		found.Access = a.passes(t, phone.AccessToken)
		found.Refresh = a.refreshes(t, phone)

		before := a.devices(t, laptop)
		tablet := a.Login(t, "ada")
		for _, id := range a.devices(t, laptop) {
			if !slices.Contains(before, id) {
				a.Call(Call{"DELETE", "/api/devices/" + id, laptop.AccessToken, nil}).ok(t)
			}
		}
		found.Device = a.refreshes(t, tablet)
		desk := a.Login(t, "ada")
		a.Call(post("/logout-all", laptop.AccessToken)).ok(t)
		found.Everywhere = a.refreshes(t, desk)

		if f.Redis {
			a.Redis.Kill(t)
			found.Outage = a.passes(t, phone.AccessToken)
		}
		if found != f.Passes {
			t.Errorf("after a logout the broken form lets through %+v, want %+v", found, f.Passes)
		}
	})
}

// passes reports whether some worker takes an access token.
func (a *App) passes(t *testing.T, token string) bool {
	t.Helper()
	answers := a.Everywhere(t, get("/api/notes", token))
	for _, answer := range answers {
		if answer.Err != nil || answer.Status != http.StatusOK && answer.Status != http.StatusUnauthorized {
			t.Errorf("%s: %d %s (%v)", answer.Call, answer.Status, answer.Text, answer.Err)
		}
	}
	return slices.ContainsFunc(answers, func(answer Answer) bool { return answer.Status == http.StatusOK })
}

// refreshes reports whether a refresh token still brings tokens that are taken.
func (a *App) refreshes(t *testing.T, g Grant) bool {
	t.Helper()
	answer := a.Call(refresh(g.RefreshToken))
	if answer.Status == http.StatusUnauthorized {
		return false
	}
	var next Grant
	answer.Is(t, http.StatusOK).JSON(t, &next)
	return a.passes(t, next.AccessToken)
}
