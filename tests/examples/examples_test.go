package examples

import (
	"net/http"
	"os"
	"testing"
)

func TestMain(m *testing.M) { os.Exit(Main(m)) }

// each runs a test for every framework.
func each(t *testing.T, test func(t *testing.T, f Framework)) {
	for _, f := range Frameworks {
		t.Run(f.Name, func(t *testing.T) {
			t.Parallel()
			f.Needs(t)
			test(t, f)
		})
	}
}

// in expects that a token is good for every route, with every worker.
func (a *App) in(t *testing.T, g Grant) {
	t.Helper()
	for _, c := range guarded(g.AccessToken)[:4] {
		for _, answer := range a.Everywhere(t, c) {
			if answer.Err != nil || answer.Status/100 != 2 {
				t.Errorf("%s with a token that stands: %d %s (%v)", c, answer.Status, answer.Text, answer.Err)
			}
		}
	}
}

// out expects that neither token of a grant is good for anything, with any worker.
func (a *App) out(t *testing.T, g Grant) {
	t.Helper()
	for _, c := range append(guarded(g.AccessToken), post("/logout-all", g.AccessToken), refresh(g.RefreshToken)) {
		a.Everywhere(t, c).Are(t, http.StatusUnauthorized)
	}
}

func TestNobodyIsInWithoutAToken(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, f Framework) {
		a := f.Start(t, Cured, StartRescind(t, 0))
		for _, token := range []string{"", "x", "a.b.c"} {
			for _, c := range guarded(token) {
				a.Everywhere(t, c).Are(t, http.StatusUnauthorized)
			}
			a.Call(refresh(token+"x")).Is(t, http.StatusUnauthorized)
		}
		for _, body := range []any{nil, map[string]any{}, map[string]any{"user": "ada"}, map[string]any{"user": "ada", "password": "turing"},
			map[string]any{"user": "eve", "password": "undefined"}, map[string]any{"user": []string{"ada"}, "password": []string{"lovelace"}}} {
			a.Call(Call{"POST", "/login", "", body}).Is(t, http.StatusUnauthorized)
		}
	})
}

// TestLogoutEndsBothTokensInEveryWorker is the cure.
func TestLogoutEndsBothTokensInEveryWorker(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, f Framework) {
		a := f.Start(t, Cured, StartRescind(t, 0))
		phone, laptop, alan := a.Login(t, "ada"), a.Login(t, "ada"), a.Login(t, "alan")
		a.in(t, phone)
		a.Call(post("/logout", phone.AccessToken)).ok(t)
		a.out(t, phone)

		// A refresh token is enough, and every access token of the session ends.
		next := a.Refresh(t, laptop.RefreshToken)
		a.in(t, laptop)
		a.in(t, next)
		a.Call(Call{"POST", "/logout", "", map[string]any{"refresh_token": next.RefreshToken}}).ok(t)
		a.out(t, laptop)
		a.out(t, next)
		a.in(t, alan)
	})
}

// ok expects success.
func (a Answer) ok(t *testing.T) {
	t.Helper()
	if a.Err != nil || a.Status != http.StatusOK && a.Status != http.StatusNoContent {
		t.Errorf("%s: %d %s (%v)", a.Call, a.Status, a.Text, a.Err)
	}
}
