package examples

import (
	"net/http"
	"os"
	"slices"
	"testing"
	"time"
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

// TestTheCure asks one running application after another everything, in order.
func TestTheCure(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, f Framework) {
		a := f.Start(t, Cured, StartRescind(t, 0))
		t.Run("NobodyIsInWithoutAToken", a.testNobodyIsInWithoutAToken)
		t.Run("LogoutEndsBothTokensInEveryWorker", a.testLogoutEndsBothTokensInEveryWorker)
		t.Run("LogoutEverywhereAndEndingADevice", a.testLogoutEverywhereAndEndingADevice)
		t.Run("AnOutageIsNeitherAYesNorANo", a.testAnOutageIsNeitherAYesNorANo)
	})
}

func (a *App) testNobodyIsInWithoutAToken(t *testing.T) {
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
}

// testLogoutEndsBothTokensInEveryWorker is the cure.
func (a *App) testLogoutEndsBothTokensInEveryWorker(t *testing.T) {
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
}

// ok expects success.
func (a Answer) ok(t *testing.T) {
	t.Helper()
	if a.Err != nil || a.Status != http.StatusOK && a.Status != http.StatusNoContent {
		t.Errorf("%s: %d %s (%v)", a.Call, a.Status, a.Text, a.Err)
	}
}

func (a *App) testLogoutEverywhereAndEndingADevice(t *testing.T) {
	alan, phone := a.Login(t, "alan"), a.Login(t, "ada")
	before := a.devices(t, phone)
	tablet := a.Login(t, "ada")
	both := a.devices(t, phone)
	added := slices.DeleteFunc(slices.Clone(both), func(id string) bool { return slices.Contains(before, id) })
	if len(before) != 1 || len(both) != 2 || len(added) != 1 {
		t.Fatalf("devices: %q, then %q", before, both)
	}

	// What is not hers is not there for her.
	foreign := Call{"DELETE", "/api/devices/" + added[0], alan.AccessToken, nil}
	a.Call(foreign).Is(t, http.StatusNotFound)
	a.in(t, tablet)
	a.Call(Call{"DELETE", "/api/devices/" + added[0], phone.AccessToken, nil}).ok(t)
	a.out(t, tablet)
	a.in(t, phone)
	if left := a.devices(t, phone); !slices.Equal(left, before) {
		t.Errorf("devices after one has ended: %q, want %q", left, before)
	}

	desk := a.Login(t, "ada")
	a.Call(post("/logout-all", phone.AccessToken)).ok(t)
	a.out(t, phone)
	a.out(t, desk)
	a.in(t, alan)
}

// devices lists the ids of a user's sessions.
func (a *App) devices(t *testing.T, g Grant) (ids []string) {
	t.Helper()
	var list []struct{ ID string }
	a.Call(get("/api/devices", g.AccessToken)).Is(t, http.StatusOK).JSON(t, &list)
	for _, d := range list {
		ids = append(ids, d.ID)
	}
	return ids
}

func TestAnExpiredTokenLogsOut(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, f Framework) {
		f.Processes, f.Workers = 1, 1
		a := f.Start(t, Cured, StartRescind(t, 2*time.Second))
		stays, leaves := a.Login(t, "ada"), a.Login(t, "ada")
		me := get("/api/me", leaves.AccessToken)
		for deadline := time.Now().Add(patience); a.Call(me).Status != http.StatusUnauthorized; time.Sleep(100 * time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatal("the token does not expire")
			}
		}
		a.Call(post("/logout", leaves.AccessToken)).ok(t)
		a.out(t, leaves)
		a.Refresh(t, stays.RefreshToken) // expired is not logged out
	})
}

// testAnOutageIsNeitherAYesNorANo is about a server that is frozen, gone and back.
func (a *App) testAnOutageIsNeitherAYesNorANo(t *testing.T) {
	stays, other, gone := a.Login(t, "ada"), a.Login(t, "ada"), a.Login(t, "ada")
	a.Call(post("/logout", gone.AccessToken)).ok(t)
	workers := a.workersOf(a.Everywhere(t, get("/api/me", stays.AccessToken)))

	for _, outage := range []struct {
		name     string
		down, up func(t testing.TB)
	}{
		{"frozen", a.Rescind.Freeze, a.Rescind.Thaw},
		{"killed", a.Rescind.Kill, a.Rescind.Start},
	} {
		outage.down(t)
		a.outage = true
		a.unavailable(t, outage.name, stays, gone)
		outage.up(t)
		a.outage = false
		// Nothing was restarted but Rescind.
		a.in(t, stays)
		if now := a.workersOf(a.Everywhere(t, get("/api/me", stays.AccessToken))); !slices.Equal(now, workers) {
			t.Errorf("%s: the workers were %q and are %q", outage.name, workers, now)
		}
		a.out(t, gone)
		stays = a.Refresh(t, stays.RefreshToken)
	}
	a.Call(post("/logout", other.RefreshToken))
	a.Call(post("/logout", other.AccessToken)).ok(t)
	a.out(t, other)
}

// unavailable expects 503 with Retry-After from all routes, whatever the token, and
// from none that it waits for ever (see atMost).
func (a *App) unavailable(t *testing.T, what string, stays, gone Grant) {
	t.Helper()
	calls := append(guarded(stays.AccessToken),
		Call{"POST", "/login", "", map[string]any{"user": "ada", "password": "lovelace"}},
		refresh(stays.RefreshToken), refresh(gone.RefreshToken),
		get("/api/notes", gone.AccessToken), post("/logout", gone.AccessToken), post("/logout-all", gone.AccessToken),
	)
	var everywhere Answers
	at := []func() Answer{func() Answer {
		everywhere = a.Everywhere(t, get("/api/notes", stays.AccessToken))
		return everywhere[0]
	}}
	for _, c := range calls {
		at = append(at, func() Answer { return a.Call(c) })
	}
	answers := atOnce(at)
	for _, answer := range append(answers, everywhere...) {
		answer.Is(t, http.StatusServiceUnavailable)
		if answer.Header.Get("Retry-After") == "" {
			t.Errorf("%s: %s has no Retry-After", what, answer.Call)
		}
	}
}

// workersOf lists who has answered.
func (a *App) workersOf(answers Answers) []string {
	var ids []string
	for _, answer := range answers {
		ids = append(ids, answer.Header.Get("X-Worker"))
	}
	slices.Sort(ids)
	return slices.Compact(ids)
}
