package probe

import (
	"context"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rescind/rescind/probe/target"
)

// A thousand replays take seconds, and never more at once than allowed.
func TestAThousandReplaysTakeSeconds(t *testing.T) {
	l := newLab(labFlaws{})
	handler := l.handler(0)
	var at, most atomic.Int64
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		n := at.Add(1)
		defer at.Add(-1)
		for m := most.Load(); n > m && !most.CompareAndSwap(m, n); m = most.Load() {
		}
		if strings.HasPrefix(q.URL.Path, "/route") {
			time.Sleep(time.Millisecond)
			q.URL.Path = "/me"
		}
		handler.ServeHTTP(w, q)
	}))
	defer server.Close()
	var routes, delays []string
	for i := range 16 {
		routes = append(routes, fmt.Sprintf("GET /route%d", i))
	}
	for i := range 16 {
		delays = append(delays, fmt.Sprintf("%dms", 20*i))
	}
	described, err := target.Parse([]byte(l.describe([]string{
		"protected: [" + strings.Join(routes, ", ") + "]", "delays: [" + strings.Join(delays, ", ") + "]", "limits: {parallel: 8, requests: 5000}",
		"identity: {request: GET /route0, find: {json: /user}}",
	})), nil)
	if err != nil {
		t.Fatal(err)
	}
	described.Instances = []string{server.URL, strings.Replace(server.URL, "127.0.0.1", "localhost", 1)}
	r, err := Run(t.Context(), described, Options{Only: mine[:10]})
	if err != nil {
		t.Fatal(err)
	}
	replays := 0
	for _, life := range r.Lives {
		if life.Kind == AccessToken {
			replays += len(life.Answers) - 1
		}
	}
	took := r.Ended.Sub(r.Started)
	t.Logf("%d replays, %d requests, %s", replays, r.Requests, took)
	if verdict(r, "access-token-alive-after-logout") != Pass || replays < 1000 {
		t.Errorf("%d replays\n%s", replays, describeResults(r))
	}
	if took > 2*time.Minute { // under the race detector, on a busy machine
		t.Errorf("it took %s", took)
	}
	if most.Load() > 8 {
		t.Errorf("%d requests at once", most.Load())
	}
}

// A run that is broken off logs out what it logged in, undoes what it changed, and
// reports what it has, never as a pass.
func TestARunThatIsBrokenOffCleansUp(t *testing.T) {
	l := newLab(labFlaws{})
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		go func() {
			time.Sleep(2 * time.Second)
			cancel()
		}()
		r := l.probeHere(t, ctx, Options{Only: mine})
		if !r.Interrupted || r.Verdict() != Inconclusive {
			t.Errorf("interrupted %t, %s\n%s", r.Interrupted, r.Verdict(), describeResults(r))
		}
		if took := r.Ended.Sub(r.Started); took > 4*time.Second {
			t.Errorf("it took %s", took)
		}
		for _, check := range mine {
			if verdict(r, check) == "" {
				t.Errorf("nothing is said of %s", check)
			}
		}
		if got := verdict(r, "access-token-alive-after-logout"); got != Inconclusive {
			t.Errorf("the logout came to %s", got)
		}
		for id, s := range l.sessions {
			if s.ended.IsZero() {
				t.Errorf("%s of %s is still logged in", id, s.user)
			}
		}
	})
}

// A target that answers every request just in time does not stretch a run: at the
// limit it ends, and what was not made is inconclusive.
func TestARunEndsAtItsLimit(t *testing.T) {
	for _, limit := range []time.Duration{20 * time.Second, 2 * time.Minute, 10 * time.Minute} {
		l := newLab(labFlaws{takes: 9900 * time.Millisecond})
		r := l.probe(t, Options{Only: mine}, logoutAll, fmt.Sprintf("limits: {duration: %s, parallel: 2}", limit))
		if r.Verdict() != Inconclusive || !r.Interrupted {
			t.Errorf("%s: %s, interrupted %t\n%s", limit, r.Verdict(), r.Interrupted, describeResults(r))
		}
		// Beside the limit: the longest delay, a request that is not broken off (10 s),
		// and the logouts.
		if took := r.Ended.Sub(r.Started); took < limit || took > limit+5*time.Second+3*time.Minute {
			t.Errorf("%s: it took %s", limit, took)
		}
		if !strings.Contains(strings.Join(r.Remarks, " "), "limits.duration") {
			t.Errorf("%s: %q", limit, r.Remarks)
		}
		for _, check := range mine {
			if v := verdict(r, check); v == "" || v == Finding || v == Pass && limit < 10*time.Minute && strings.Contains(check, "alive") {
				t.Errorf("%s: %s: %q\n%s", limit, check, v, describeResults(r))
			}
		}
		for id, s := range l.sessions {
			if s.ended.IsZero() {
				t.Errorf("%s: %s of %s is still logged in", limit, id, s.user)
			}
		}
	}
}

// What is waited for as the description or --patient say is no part of it.
func TestWaitingIsNoPartOfTheLimit(t *testing.T) {
	for _, o := range []Options{{Only: mine, Patient: true}, {Only: mine}} {
		r := newLab(labFlaws{}).probe(t, o, "limits: {duration: 30s}", "delays: [0s, 10m]")
		if took := r.Ended.Sub(r.Started); r.Verdict() != Pass || r.Interrupted || took < 10*time.Minute {
			t.Errorf("%s after %s\n%s", r.Verdict(), took, describeResults(r))
		}
	}
}

// Whatever a login or a refresh under way brings when the run is broken off is
// ended too.
func TestAnInterruptionLosesNoSession(t *testing.T) {
	const takes = 300 * time.Millisecond
	lost := 0
	for after := takes / 2; after < 20*takes; after += takes * 2 / 3 {
		l := newLab(labFlaws{disturb: func(l *lab, w http.ResponseWriter, q *http.Request) bool {
			answer := httptest.NewRecorder()
			switch q.URL.Path {
			case "/login":
				l.login(answer, q)
			case "/refresh":
				l.refresh(answer, q)
			default:
				return false
			}
			time.Sleep(takes)
			maps.Copy(w.Header(), answer.Header())
			w.WriteHeader(answer.Code)
			if _, err := w.Write(answer.Body.Bytes()); err != nil {
				lost++
			}
			return true
		}})
		synctest.Test(t, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), after)
			defer cancel()
			r := l.probeHere(t, ctx, Options{Only: mine})
			time.Sleep(takes) // of an answer that nobody waits for
			if took := r.Ended.Sub(r.Started); took > after+takes+time.Second {
				t.Errorf("interrupted after %s, it took %s", after, took)
			}
			for id, s := range l.sessions {
				if s.ended.IsZero() {
					t.Errorf("interrupted after %s: %s of %s is still logged in", after, id, s.user)
				}
			}
		})
	}
	if lost > 0 {
		t.Errorf("%d answers were not read", lost)
	}
}

// At the end of any run nothing is left logged in.
func TestARunLeavesNothingLoggedIn(t *testing.T) {
	l := newLab(labFlaws{})
	r := l.probe(t, Options{Only: mine}, logoutAll)
	for id, s := range l.sessions {
		if s.ended.IsZero() {
			t.Errorf("%s of %s is still logged in\n%s", id, s.user, describeResults(r))
		}
	}
}

// What a run has changed is undone in the opposite order, with time to do it.
func TestWhatWasChangedIsUndone(t *testing.T) {
	r := testRun(t, "http://127.0.0.1:1")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	var order []int
	for n := range 3 {
		r.finally(func(ctx context.Context) error {
			if ctx.Err() != nil {
				t.Error("there is no time left to undo anything")
			}
			order = append(order, n)
			if n == 1 {
				return fmt.Errorf("the password is still lovelace-1815")
			}
			return nil
		})
	}
	r.secrets.learn("password", "lovelace-1815")
	r.end(ctx)
	if !slices.Equal(order, []int{2, 1, 0}) {
		t.Errorf("undone in the order %v", order)
	}
	if text := strings.Join(r.report.Remarks, " "); !strings.Contains(text, "not undone") || strings.Contains(text, "lovelace") {
		t.Error(text)
	}
}

// A fault in an experiment costs its verdict, and not the password that it changed.
func TestAFaultOfTheProbeIsInconclusive(t *testing.T) {
	r := testRun(t, "http://127.0.0.1:1")
	p := &parade{run: r, left: 1}
	p.make(t.Context(), experiment{name: "faulty", checks: []string{"revives"}, run: func(context.Context, *run) ([]Result, error) {
		var s *session
		return nil, fmt.Errorf("%s", s.label)
	}})
	if len(p.results) != 1 || p.results[0].Verdict != Inconclusive || !strings.Contains(p.results[0].Reason, "fault") {
		t.Errorf("%+v", p.results)
	}
}

// Progress is told of the beginning and the end of each experiment.
func TestProgressIsTold(t *testing.T) {
	var mu sync.Mutex
	begun, ended := map[string]int{}, map[string]int{}
	left := -1
	newLab(labFlaws{}).probe(t, Options{Only: mine, Progress: func(p Progress) {
		mu.Lock()
		defer mu.Unlock()
		left = p.Left
		if p.Ended {
			ended[p.Experiment]++
		} else {
			begun[p.Experiment]++
		}
	}})
	for _, name := range []string{"controls", "logout", "logout twice", "logout everywhere"} {
		if begun[name] != 1 || ended[name] != 1 {
			t.Errorf("%s: begun %d, ended %d times", name, begun[name], ended[name])
		}
	}
	if left != 0 {
		t.Errorf("%d were left at the end", left)
	}
}

// Only and Skip choose checks; what a chosen one needs is made beside it, and not
// reported.
func TestChecksCanBeChosen(t *testing.T) {
	r := newLab(labFlaws{noLogout: true}).probe(t, Options{Only: []string{"refresh-token-alive-after-logout"}})
	if got := found(r); !slices.Equal(got, []string{"refresh-token-alive-after-logout"}) || len(r.Results) != 1 {
		t.Error(describeResults(r))
	}
	r = newLab(labFlaws{noLogout: true}).probe(t, Options{Only: mine, Skip: []string{"access-token-alive-after-logout"}})
	if verdict(r, "access-token-alive-after-logout") != "" || verdict(r, "refresh-token-alive-after-logout") != Finding {
		t.Error(describeResults(r))
	}
}

// No token, cookie or password is in any part of a report.
func TestAReportHoldsNoSecret(t *testing.T) {
	for _, flaws := range []labFlaws{{}, {noLogout: true, bearerAndAll: true}, {cookies: true, noLogout: true}, {opaque: true, noLogout: true}} {
		l := newLab(flaws)
		r := l.probe(t, Options{Only: mine}, logoutAll)
		text := fmt.Sprintf("%+v", *r)
		for token := range l.issued {
			if strings.Contains(text, token) {
				t.Fatalf("a token is in the report of %+v", flaws)
			}
		}
		for _, password := range []string{"lovelace-1815", "turing-1912"} {
			if strings.Contains(text, password) {
				t.Fatalf("a password is in the report of %+v", flaws)
			}
		}
		if !strings.Contains(text, "curl -i") || !strings.Contains(text, "ACCESS_TOKEN") && !strings.Contains(text, "COOKIE_SID") {
			t.Error("there is no command to repeat a request")
		}
	}
}

// Each finding shows what it rests on: the control before, the logout, and the
// replay.
func TestEvidenceShowsTheWholeExperiment(t *testing.T) {
	r := newLab(labFlaws{noLogout: true}).probe(t, Options{Only: mine})
	for _, result := range r.Results {
		if result.Check != "access-token-alive-after-logout" {
			continue
		}
		var roles []string
		for _, x := range result.Evidence {
			roles = append(roles, x.Role)
			if x.Request.Curl == "" || x.Status == 0 || x.Session == "" {
				t.Errorf("%+v", x)
			}
		}
		for _, role := range []string{"valid control", "logout", "replay"} {
			if !slices.Contains(roles, role) {
				t.Errorf("no %s among %q", role, roles)
			}
		}
		for _, id := range result.Lives {
			if life := r.Lives[id]; life.ID != id || life.Kind != AccessToken || len(life.Answers) < 6 || life.Answers[0].After > 0 {
				t.Errorf("life %d: %+v", id, life)
			}
			if at, alive := r.Lives[id].LastAlive(); !alive || at != 5*time.Second {
				t.Errorf("last alive %s, %t", at, alive)
			}
		}
	}
}
