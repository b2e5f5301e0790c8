package probe

import (
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// The checks that these tests are about: the others need a target that takes its
// time, or look at other things than sessions.
var mine = []string{
	"route-unprotected", "corrupted-token-accepted", "access-token-alive-after-logout", "refresh-token-alive-after-logout", "cookie-alive-after-logout",
	"session-alive-after-logout", "instance-disagrees", "route-disagrees", "death-is-late", "revives", "logout-with-refresh-token-only",
	"logout-with-expired-access-token", "logout-twice", "logout-everywhere-incomplete", "logout-everywhere-hits-others", "logout-hits-other-session",
}

const logoutAll = `logout_all: {request: POST /logout-all}`

func since(s *labSession) time.Duration { return time.Since(s.ended) }

// Each flaw is found by the checks that are about it, and by no others.
func TestFlawsOfLogoutAreFoundAndNothingElseIs(t *testing.T) {
	for name, test := range map[string]struct {
		flaws   labFlaws
		more    []string
		patient bool
		found   []string
		passes  []string // among others
		says    string   // in one of the findings
	}{
		"none": {
			passes: []string{
				"access-token-alive-after-logout", "refresh-token-alive-after-logout", "route-disagrees", "death-is-late", "revives", "logout-twice",
				"logout-everywhere-incomplete", "logout-everywhere-hits-others", "logout-hits-other-session", "route-unprotected", "corrupted-token-accepted",
			},
			more: []string{logoutAll},
		},
		"none, with opaque tokens": {
			flaws: labFlaws{opaque: true}, more: []string{logoutAll},
			passes: []string{"access-token-alive-after-logout", "refresh-token-alive-after-logout", "logout-everywhere-incomplete"},
		},
		"none, with cookies": {
			flaws: labFlaws{cookies: true}, more: []string{logoutAll},
			passes: []string{"cookie-alive-after-logout", "logout-everywhere-incomplete"},
		},
		"none, where only all together give access": {
			flaws: labFlaws{bearerAndAll: true}, passes: []string{"session-alive-after-logout"},
		},
		"none, with two instances": {
			flaws: labFlaws{instances: 2}, passes: []string{"access-token-alive-after-logout", "instance-disagrees"},
		},
		"none, with refusals that say 200": {
			flaws: labFlaws{polite: true}, passes: []string{"access-token-alive-after-logout"},
		},
		"logout does nothing": {
			flaws: labFlaws{noLogout: true}, found: []string{"access-token-alive-after-logout", "refresh-token-alive-after-logout"}, says: "still alive 5s",
		},
		"logout does nothing, with cookies": {
			flaws: labFlaws{noLogout: true, cookies: true}, found: []string{"cookie-alive-after-logout", "session-alive-after-logout"},
		},
		"logout does nothing, where only all together give access": {
			flaws: labFlaws{noLogout: true, bearerAndAll: true}, found: []string{"refresh-token-alive-after-logout", "session-alive-after-logout"},
		},
		"logout does nothing, with refusals that say 200": {
			flaws: labFlaws{noLogout: true, polite: true}, found: []string{"access-token-alive-after-logout", "refresh-token-alive-after-logout"},
		},
		"logout does nothing, and tokens expire soon": {
			flaws: labFlaws{noLogout: true, lifetime: 4 * time.Second}, found: []string{"access-token-alive-after-logout", "refresh-token-alive-after-logout"},
		},
		"none, and tokens expire soon": {
			flaws: labFlaws{lifetime: 4 * time.Second}, passes: []string{"access-token-alive-after-logout", "logout-with-expired-access-token"},
		},
		"access tokens live on": {
			flaws: labFlaws{alive: func(*lab, *labSession, int, string) bool { return true }}, found: []string{"access-token-alive-after-logout"},
			passes: []string{"refresh-token-alive-after-logout"},
		},
		"access tokens live on, and the clock is wrong": {
			flaws: labFlaws{skew: -time.Hour, alive: func(*lab, *labSession, int, string) bool { return true }}, found: []string{"access-token-alive-after-logout"},
		},
		"refresh tokens live on": {
			flaws: labFlaws{refreshAlive: true}, found: []string{"refresh-token-alive-after-logout"}, passes: []string{"access-token-alive-after-logout"},
		},
		"one route does not look": {
			flaws: labFlaws{alive: func(_ *lab, _ *labSession, _ int, path string) bool { return path == "/files" }},
			more:  []string{"protected: [GET /me, GET /notes, GET /files]"},
			found: []string{"access-token-alive-after-logout", "route-disagrees"}, says: "on GET /files",
		},
		"one instance does not know": {
			flaws: labFlaws{instances: 2, alive: func(_ *lab, s *labSession, at int, _ string) bool { return at != s.endedAt }},
			found: []string{"access-token-alive-after-logout", "instance-disagrees"}, says: "refused at http://notes.test:8000, alive at http://notes.test:8001",
		},
		"verdicts are kept for a while": {
			flaws: labFlaws{alive: func(_ *lab, s *labSession, _ int, _ string) bool { return since(s) < 700*time.Millisecond }},
			found: []string{"death-is-late"}, says: "still alive 200ms after the logout, refused from 1s on",
		},
		"verdicts are kept for longer than was looked": {
			flaws: labFlaws{alive: func(_ *lab, s *labSession, _ int, _ string) bool { return since(s) < 30*time.Second }},
			found: []string{"access-token-alive-after-logout"},
		},
		"verdicts are kept for long, seen with patience": {
			flaws:   labFlaws{alive: func(_ *lab, s *labSession, _ int, _ string) bool { return since(s) < 30*time.Second }},
			patient: true, found: []string{"death-is-late"}, says: "still alive 20s after the logout, refused from 40s on",
		},
		"it revives soon": {
			flaws: labFlaws{alive: func(_ *lab, s *labSession, _ int, _ string) bool { return since(s) > 4*time.Second }},
			found: []string{"access-token-alive-after-logout", "revives"}, says: "refused 0s after the logout, and taken after 5s",
		},
		"a list forgets before the token expires": {
			flaws:   labFlaws{alive: func(_ *lab, s *labSession, _ int, _ string) bool { return since(s) > 10*time.Minute }},
			patient: true, found: []string{"access-token-alive-after-logout", "revives"}, says: "taken after 14m",
		},
		"logout everywhere forgets the others": {
			flaws: labFlaws{everywhere: func(l *lab, user string) {
				for _, s := range l.sessions {
					if s.user == user && s.ended.IsZero() && strings.HasSuffix(s.id, "1") {
						s.ended = time.Now()
					}
				}
			}},
			more: []string{logoutAll}, found: []string{"logout-everywhere-incomplete"},
		},
		"logout everywhere ends everybody": {
			flaws: labFlaws{everywhere: func(l *lab, _ string) { l.endAll("ada", 0); l.endAll("alan", 0) }},
			more:  []string{logoutAll}, found: []string{"logout-everywhere-hits-others"}, passes: []string{"logout-everywhere-incomplete"},
		},
		"logout ends all sessions of the user": {
			flaws: labFlaws{logoutEndsAll: true}, found: []string{"logout-hits-other-session"},
			passes: []string{"access-token-alive-after-logout", "refresh-token-alive-after-logout"}, says: "refused (401)",
		},
		"logout ends everybody's sessions": {
			flaws: labFlaws{logoutEndsSome: true}, found: []string{"logout-hits-other-session"}, passes: []string{"access-token-alive-after-logout"},
		},
		"a second logout fails": {
			flaws: labFlaws{second: func(w http.ResponseWriter) bool { w.WriteHeader(http.StatusInternalServerError); return true }},
			found: []string{"logout-twice"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			r := newLab(test.flaws).probe(t, Options{Patient: test.patient, Only: mine}, test.more...)
			slices.Sort(test.found)
			got := found(r)
			slices.Sort(got)
			if !slices.Equal(got, test.found) {
				t.Errorf("found %q, want %q\n%s", got, test.found, describeResults(r))
			}
			for _, check := range test.passes {
				if verdict(r, check) != Pass {
					t.Errorf("%s: %s, want a pass\n%s", check, verdict(r, check), describeResults(r))
				}
			}
			if len(test.found) == 0 && r.Verdict() != Pass {
				t.Errorf("the run came to %s\n%s", r.Verdict(), describeResults(r))
			}
			if !strings.Contains(describeResults(r), test.says) {
				t.Errorf("nothing says %q\n%s", test.says, describeResults(r))
			}
		})
	}
}

// A target that cannot be judged ends as inconclusive, and says why.
func TestWhatProvesNothingIsInconclusive(t *testing.T) {
	const access = "access-token-alive-after-logout"
	ended := func(l *lab) bool { // the controls are through, and the first experiment has logged out
		l.mu.Lock()
		defer l.mu.Unlock()
		return l.requests["/logout"] >= 2
	}
	answer := func(status int) func(*lab, http.ResponseWriter, *http.Request) bool {
		return func(l *lab, w http.ResponseWriter, q *http.Request) bool {
			if q.Method == http.MethodGet && ended(l) {
				w.WriteHeader(status)
				return true
			}
			return false
		}
	}
	dice := func(share float64, status int) func(*lab, http.ResponseWriter, *http.Request) bool {
		random := rand.New(rand.NewPCG(1, 2))
		return func(l *lab, w http.ResponseWriter, q *http.Request) bool {
			if q.Method != http.MethodGet || !ended(l) {
				return false
			}
			l.mu.Lock()
			defer l.mu.Unlock()
			if random.Float64() < share {
				w.WriteHeader(status)
				return true
			}
			return false
		}
	}
	// Of five requests of a session on a route it refuses two.
	byTurns := func() func(*lab, http.ResponseWriter, *http.Request) bool {
		turn := map[string]int{}
		return func(l *lab, w http.ResponseWriter, q *http.Request) bool {
			s := l.session(q, "access")
			if q.Method != http.MethodGet || s == nil || !ended(l) {
				return false
			}
			l.mu.Lock()
			defer l.mu.Unlock()
			turn[s.id+q.URL.Path]++
			if n := turn[s.id+q.URL.Path] % 5; n != 2 && n != 4 {
				return false
			}
			w.WriteHeader(http.StatusUnauthorized)
			return true
		}
	}
	for name, test := range map[string]struct {
		flaws  labFlaws
		more   []string
		check  string
		reason string
	}{
		"an outage after the logout":                 {flaws: labFlaws{disturb: answer(http.StatusServiceUnavailable)}, reason: "503"},
		"errors after the logout":                    {flaws: labFlaws{disturb: answer(http.StatusInternalServerError)}, reason: "500"},
		"a lock-out after the logout":                {flaws: labFlaws{disturb: answer(http.StatusUnauthorized)}, reason: "refused"},
		"a rate limit after the logout":              {flaws: labFlaws{disturb: answer(http.StatusTooManyRequests)}, reason: "429"},
		"a logout that does nothing behind refusals": {flaws: labFlaws{noLogout: true, disturb: dice(0.7, http.StatusUnauthorized)}, reason: "", check: ""},
		"refusals now and then":                      {flaws: labFlaws{disturb: byTurns()}, reason: "live controls fail now and then"},
		"a login that is refused":                    {more: []string{"users: [{name: ada, password: wrong-password}]"}, reason: "answered 401"},
		"a logout that is refused":                   {more: []string{"logout: {request: POST /nowhere}"}, reason: "answered 404"},
		"routes that are open":                       {flaws: labFlaws{unprotected: []string{"/me", "/notes"}}, reason: "answers without a session as with one"},
		"routes that are not there":                  {more: []string{"protected: [GET /nothing]", "identity: {request: GET /nobody, find: {json: /user}}"}, reason: "a valid session got 404"},
		"too few requests":                           {more: []string{"limits: {requests: 40}"}, reason: "limit of requests"},
	} {
		t.Run(name, func(t *testing.T) {
			r := newLab(test.flaws).probe(t, Options{Only: []string{access, "route-unprotected"}}, test.more...)
			if got := verdict(r, access); got != Inconclusive && !(test.flaws.noLogout && got == Finding) {
				t.Errorf("%s: %s\n%s", access, got, describeResults(r))
			}
			if v := r.Verdict(); v == Pass {
				t.Errorf("the run came to %s", v)
			}
			if !strings.Contains(describeResults(r), test.reason) {
				t.Errorf("nothing says %q\n%s", test.reason, describeResults(r))
			}
		})
	}
}

// A description without a logout leaves the question open, whatever else passes.
func TestWithoutALogoutNothingPasses(t *testing.T) {
	r := newLab(labFlaws{}).probe(t, Options{Only: []string{"access-token-alive-after-logout", "token-in-url"}}, "logout: none")
	if got := verdict(r, "access-token-alive-after-logout"); got != Inconclusive {
		t.Errorf("%s\n%s", got, describeResults(r))
	}
	if r.Verdict() != Inconclusive {
		t.Errorf("the run came to %s", r.Verdict())
	}
}

// One route that is open is left out, and said.
func TestARouteThatIsOpenIsLeftOut(t *testing.T) {
	r := newLab(labFlaws{unprotected: []string{"/notes"}, noLogout: true}).probe(t, Options{Only: mine})
	if verdict(r, "route-unprotected") != Note || verdict(r, "access-token-alive-after-logout") != Finding {
		t.Error(describeResults(r))
	}
	for _, l := range r.Lives {
		if l.Route == "GET /notes" {
			t.Errorf("the open route was used: %+v", l)
		}
	}
	for _, route := range r.Routes {
		if route.Protected != (route.Request == "GET /me") {
			t.Errorf("%s: protected %t (%s)", route.Request, route.Protected, route.Reason)
		}
	}
}

// Users who may have one session, or a few, are probed one session at a time, and
// what a login ended is not taken for what a logout ended.
func TestFewSessionsAreToldFromLogout(t *testing.T) {
	one := "users: [{name: ada, password: lovelace-1815}]"
	for name, test := range map[string]struct {
		sessions int
		idle     bool
		noLogout bool
		more     []string
		want     Verdict
	}{
		"few sessions, the idle ones end":                       {sessions: 3, idle: true, want: Pass},
		"few sessions, the idle ones end, logout does nothing":  {sessions: 3, idle: true, noLogout: true, want: Finding},
		"more sessions, the idle ones end, logout does nothing": {sessions: 5, idle: true, noLogout: true, want: Finding},
		"more sessions, logout does nothing":                    {sessions: 5, noLogout: true, want: Finding},
		"one session":                                           {sessions: 1, want: Pass},
		"one session, one user":                                 {sessions: 1, more: []string{one}, want: Pass},
		"one session, logout does nothing":                      {sessions: 1, noLogout: true, want: Finding},
		"one session, one user, logout does nothing":            {sessions: 1, noLogout: true, more: []string{one}, want: Finding},
		"few sessions":                                          {sessions: 3, want: Pass},
		"few sessions, logout does nothing":                     {sessions: 3, noLogout: true, want: Finding},
		"few sessions, one user, logout does nothing":           {sessions: 3, noLogout: true, more: []string{one}, want: Finding},
	} {
		t.Run(name, func(t *testing.T) {
			r := newLab(labFlaws{onlyOne: test.sessions, endsIdle: test.idle, noLogout: test.noLogout, takes: time.Millisecond}).probe(t, Options{Only: mine}, test.more...)
			if got := verdict(r, "access-token-alive-after-logout"); got != test.want {
				t.Errorf("%s, want %s\n%s", got, test.want, describeResults(r))
			}
			if len(r.Remarks) == 0 && test.sessions < 5 {
				t.Error("nothing was remarked")
			}
		})
	}
}

// The session that nobody uses tells of an application that makes room for new
// sessions by ending idle ones.
func TestAnIdleSessionTellsOfEvictions(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLab(labFlaws{})
		described, o := l.start(t, Options{})
		r := newRun(described, o.withDefaults(described))
		if _, err := r.controls(t.Context()); err != nil {
			t.Fatal(err)
		}
		if r.canaryDied(t.Context()) {
			t.Error("nobody was ended")
		}
		if r.canary == nil {
			t.Fatal("there is no such session")
		}
		l.mu.Lock()
		for _, s := range l.sessions {
			if s.user == "ada" {
				s.ended = time.Now()
			}
		}
		l.mu.Unlock()
		if !r.canaryDied(t.Context()) {
			t.Error("it is not noticed")
		}
		r.end(t.Context())
	})
}

// What gave no access before the logout proves nothing after it.
func TestWhatNeverWorkedIsLeftOut(t *testing.T) {
	r := newLab(labFlaws{cookies: true}).probe(t, Options{Only: mine})
	for _, l := range r.Lives {
		if l.Artefact == `cookie "theme"` {
			t.Errorf("a cookie that gives no access has a life: %+v", l)
		}
		if l.Answers[0].Class != Alive || l.Answers[0].After > 0 {
			t.Errorf("%s was not seen alive before", l.Artefact)
		}
	}
}

// The expired access token: where the logout refuses it the refresh token lives on.
func TestLogoutWithAnExpiredAccessToken(t *testing.T) {
	const check = "logout-with-expired-access-token"
	for name, test := range map[string]struct {
		lifetime time.Duration
		strict   bool
		patient  bool
		more     []string
		want     Verdict
	}{
		"refused":                        {lifetime: 5 * time.Second, strict: true, want: Finding},
		"taken":                          {lifetime: 5 * time.Second, want: Pass},
		"later":                          {lifetime: 15 * time.Minute, strict: true, want: NotApplicable},
		"later, with patience":           {lifetime: 15 * time.Minute, strict: true, patient: true, want: Finding},
		"taken later, with patience":     {lifetime: 15 * time.Minute, patient: true, want: Pass},
		"the refresh token does instead": {lifetime: 5 * time.Second, strict: true, more: []string{`logout: {request: POST /revoke, json: {refresh_token: "{{refresh_token}}"}, carry: nothing}`}, want: Pass},
	} {
		t.Run(name, func(t *testing.T) {
			r := newLab(labFlaws{lifetime: test.lifetime, strictLogout: test.strict}).probe(t, Options{Only: []string{check}, Patient: test.patient}, test.more...)
			if got := verdict(r, check); got != test.want {
				t.Errorf("%s, want %s\n%s", got, test.want, describeResults(r))
			}
		})
	}
}

// The refresh token alone: refused, taken, and taken without effect.
func TestLogoutWithTheRefreshTokenOnly(t *testing.T) {
	const check = "logout-with-refresh-token-only"
	for name, test := range map[string]struct {
		path string
		want Verdict
	}{
		"refused":                   {"/logout", Note},
		"taken":                     {"/revoke", Pass},
		"answered, without effect":  {"/pretend", Finding},
		"not read, without effect":  {"/yes", Note},
		"answered with a 5xx error": {"/broken", Inconclusive},
	} {
		t.Run(name, func(t *testing.T) {
			r := newLab(labFlaws{}).probe(t, Options{Only: []string{check}}, "logout: {request: POST "+test.path+"}")
			if got := verdict(r, check); got != test.want {
				t.Errorf("%s, want %s\n%s", got, test.want, describeResults(r))
			}
		})
	}
}

// The whole run takes little more than the longest delay.
func TestDelaysOverlap(t *testing.T) {
	r := newLab(labFlaws{instances: 2}).probe(t, Options{Only: mine}, logoutAll)
	if took := r.Ended.Sub(r.Started); took > 20*time.Second {
		t.Errorf("the run took %s", took)
	}
}

// A run that may send few requests a second takes its time, and comes to the same.
func TestASlowRunComesToTheSame(t *testing.T) {
	r := newLab(labFlaws{}).probe(t, Options{Only: mine}, "limits: {per_second: 4}", logoutAll)
	if r.Verdict() != Pass {
		t.Error(describeResults(r))
	}
	if rate := float64(r.Requests) / r.Ended.Sub(r.Started).Seconds(); rate > 4.1 {
		t.Errorf("%.1f requests a second", rate)
	}
	r = newLab(labFlaws{noLogout: true}).probe(t, Options{Only: mine}, "limits: {per_second: 4}")
	if verdict(r, "access-token-alive-after-logout") != Finding {
		t.Error(describeResults(r))
	}
}
