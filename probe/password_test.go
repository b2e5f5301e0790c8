package probe

import (
	"context"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

func TestPasswordChange(t *testing.T) {
	const check = "password-change-keeps-sessions"
	for name, c := range map[string]struct {
		flaws []string
		want  Verdict
	}{
		"ends sessions":          {nil, Pass},
		"keeps sessions":         {[]string{"password change keeps sessions"}, Finding},
		"ends its own, too":      {[]string{"password change ends all"}, Pass},
		"is refused":             {[]string{"passwords stay"}, Inconclusive},
		"locks everybody out":    {[]string{"locks at password change"}, Inconclusive},
		"one session for a user": {[]string{"one session"}, NotApplicable},
	} {
		t.Run(name, func(t *testing.T) {
			s := newService(t, c.flaws...)
			report := probed(t, bearerTarget, s, check)
			want(t, report, check, c.want)
			if s.locked {
				if got := fmt.Sprint(report.Remarks); !strings.Contains(got, "the password of ada may still be") {
					t.Errorf("not told that the password may be another: %s", got)
				}
				return
			}
			if s.password["ada"] != "first-password" {
				t.Errorf("the password is %q: %q", s.password["ada"], report.Remarks)
			}
		})
	}
}

// Whenever the run is interrupted, the password is put back.
func TestInterruptedRunPutsThePasswordBack(t *testing.T) {
	var changed atomic.Int32
	for at := 5 * time.Millisecond; at < 60*time.Millisecond; at += 5 * time.Millisecond {
		s := newService(t)
		synctest.Test(t, func(t *testing.T) {
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			s.onPassword = func() {
				n := changed.Add(1)
				if at > 5*time.Millisecond {
					time.AfterFunc(at-5*time.Millisecond, cancel)
				} else if cancel(); n == 1 {
					time.Sleep(100 * time.Millisecond) // the answer never gets there
				}
			}
			probedHere(t, ctx, bearerTarget, s, "password-change-keeps-sessions")
			time.Sleep(time.Second) // of an answer that nobody waits for
		})
		if s.password["ada"] != "first-password" {
			t.Errorf("interrupted %s after the change: the password is %q", at, s.password["ada"])
		}
	}
	if changed.Load() == 0 {
		t.Error("no run came to the change of the password")
	}
}

// Nor does a run that is out of time leave it changed, when each request takes
// nearly as long as it may.
func TestARunOutOfTimePutsThePasswordBack(t *testing.T) {
	changed := 0
	for limit := 230 * time.Second; limit < 400*time.Second; limit += 7 * time.Second {
		s := newService(t, "slow")
		s.onPassword = func() { changed++ }
		description := bearerTarget + fmt.Sprintf("limits: {duration: %s}\n", limit)
		report := probed(t, description, s, "password-change-keeps-sessions")
		if v := verdict(report, "password-change-keeps-sessions"); v != Inconclusive && v != Pass || report.Interrupted == (report.Verdict() == Pass) {
			t.Errorf("at most %s: %s, interrupted %t\n%s", limit, v, report.Interrupted, describeResults(report))
		}
		if s.password["ada"] != "first-password" {
			t.Errorf("at most %s: the password is %q: %q", limit, s.password["ada"], report.Remarks)
		}
		for id, session := range s.sessions {
			if !session.ended {
				t.Errorf("at most %s: %s of %s is still logged in", limit, id, session.user)
			}
		}
	}
	if changed == 0 {
		t.Error("no run came to the change of the password")
	}
}

func TestLoginsOfOneSecond(t *testing.T) {
	const check = "same-second-login"
	for name, c := range map[string]struct {
		flaws         []string
		before, after Verdict
	}{
		"a number":        {nil, Pass, Pass},
		"kills the next":  {[]string{"cutoff in seconds kills the next login"}, Pass, Finding},
		"spares this one": {[]string{"cutoff in seconds spares this second"}, Finding, Pass},
		"ends nothing":    {[]string{"logout everywhere does nothing"}, NotApplicable, Pass},
		"one session":     {[]string{"one session"}, NotApplicable, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			report := probed(t, bearerTarget, newService(t, c.flaws...), check)
			for _, result := range report.Results {
				verdict := c.before
				if result.Subject == "the login of after" {
					verdict = c.after
				}
				if result.Verdict != verdict {
					t.Errorf("%s: %s, want %s: %s%s", result.Subject, result.Verdict, verdict, result.Says, result.Reason)
				}
			}
		})
	}
}
