package probe

import (
	"testing"
	"time"
)

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

// A refresh decides at some moment whether the session has ended, and writes some
// time later. One of the rounds has to hit what is between.
func TestRacesAreAimed(t *testing.T) {
	const refresh, logout, window = 60 * time.Millisecond, 2 * time.Millisecond, 4 * time.Millisecond
	for decides := time.Millisecond; decides < refresh-window; decides += time.Millisecond {
		a := newAim(refresh, logout)
		hit := false
		for i := range racesOfRefresh {
			offset := a.offset(i, racesOfRefresh)
			hit = hit || offset > decides && offset < decides+window
			a.learn(offset, offset > decides, refresh)
		}
		if !hit {
			t.Errorf("a refresh that decides after %s and writes %s later is missed", decides, window)
		}
	}
	a := newAim(time.Millisecond, time.Millisecond)
	for i := range 4 {
		if offset := a.offset(i, 4); offset != 0 {
			t.Errorf("%s is aimed at", offset)
		}
	}
}
