package probe

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/coder/websocket"

	"github.com/rescind/rescind/probe/target"
)

// A refresh that gives nothing to anybody, or what nobody takes, says nothing of
// those whose session has ended.
func TestARefreshThatGivesNothingIsNoRefusal(t *testing.T) {
	for name, answer := range map[string]string{
		"nothing":              `{"ok": true}`,
		"under another name":   `{"at": "%d-0123456789abcdef"}`,
		"what is not accepted": `{"access_token": "other-%d-0123456789abcdef"}`,
	} {
		t.Run(name, func(t *testing.T) {
			var n atomic.Int64
			l := newLab(labFlaws{disturb: func(_ *lab, w http.ResponseWriter, q *http.Request) bool {
				if q.URL.Path != "/refresh" {
					return false
				}
				w.Header().Set("Content-Type", "application/json")
				_, _ = w.Write([]byte(strings.ReplaceAll(answer, "%d", fmt.Sprint(n.Add(1)))))
				return true
			}})
			r := l.probe(t, Options{Only: []string{"refresh-token-alive-after-logout"}})
			if got := verdict(r, "refresh-token-alive-after-logout"); got != Inconclusive {
				t.Errorf("%s\n%s", got, describeResults(r))
			}
		})
	}
}

// Refusals count to the end: what answers in another way at the last look has not
// been shown to be dead.
func TestALifeWhoseEndIsUnclearProvesNothing(t *testing.T) {
	l := newLab(labFlaws{disturb: func(l *lab, w http.ResponseWriter, q *http.Request) bool {
		s := l.session(q, "access")
		if q.URL.Path != "/notes" || s == nil || s.ended.IsZero() || time.Since(s.ended) < 4*time.Second {
			return false
		}
		w.WriteHeader(http.StatusPartialContent)
		return true
	}})
	r := l.probe(t, Options{Only: []string{"access-token-alive-after-logout"}})
	if got := verdict(r, "access-token-alive-after-logout"); got != Inconclusive {
		t.Errorf("%s\n%s", got, describeResults(r))
	}
}

// A route whose control before the logout got no answer is not left out in silence.
func TestARouteWithoutAnswerBeforeTheLogoutIsInconclusive(t *testing.T) {
	for _, status := range []int{http.StatusTooManyRequests, http.StatusServiceUnavailable} {
		var n atomic.Int64
		l := newLab(labFlaws{disturb: func(l *lab, w http.ResponseWriter, q *http.Request) bool {
			if q.URL.Path != "/notes" || n.Add(1) < 13 {
				return false
			}
			w.WriteHeader(status)
			return true
		}})
		r := l.probe(t, Options{Only: []string{"access-token-alive-after-logout", "route-disagrees"}})
		if got := verdict(r, "access-token-alive-after-logout"); got != Inconclusive {
			t.Errorf("%d: %s\n%s", status, got, describeResults(r))
		}
	}
}

// Tokens that live for a second: nothing of them is left to look at when a session
// has been ended by a change of the password.
func TestWhatExpiresAtOnceIsNoProofOfAnything(t *testing.T) {
	l := newLab(labFlaws{lifetime: time.Second, disturb: func(l *lab, w http.ResponseWriter, q *http.Request) bool {
		body, _ := io.ReadAll(q.Body)
		q.Body = io.NopCloser(bytes.NewReader(bytes.ReplaceAll(body, []byte("second-password"), []byte("lovelace-1815"))))
		if q.URL.Path == "/password" {
			w.WriteHeader(http.StatusNoContent)
		}
		return q.URL.Path == "/password"
	}})
	all := []string{"password-change-keeps-sessions", "request-in-flight"}
	var r *Report
	synctest.Test(t, func(t *testing.T) {
		described, o := l.start(t, Options{Only: all},
			`users: [{name: ada, password: lovelace-1815, new_password: second-password}, {name: alan, password: turing-1912, new_password: x}]`,
			`change_password: {request: POST /password, json: {old: "{{user.password}}", new: "{{user.new_password}}"}}`)
		described.Refresh = nil
		var err error
		if r, err = Run(t.Context(), described, o); err != nil {
			t.Fatal(err)
		}
	})
	if got := verdict(r, all[0]); got != Inconclusive && got != NotApplicable {
		t.Errorf("%s\n%s", got, describeResults(r))
	}
}

// What an answer is remembered by is never much larger than the answer.
func TestTraitsAreNoBomb(t *testing.T) {
	deep := strings.Repeat(`{"`+strings.Repeat("k", 200)+`":`, 4000) + "1" + strings.Repeat("}", 4000)
	var wide strings.Builder
	wide.WriteString(`{"` + strings.Repeat("k", 50_000) + `":{"a":1`)
	for i := range 40_000 {
		fmt.Fprintf(&wide, `,"%d":{}`, i)
	}
	wide.WriteString("}}")
	for name, body := range map[string]string{"deep": deep, "wide": wide.String(), "one line": strings.Repeat("x", 1<<20)} {
		if name != "one line" && !json.Valid([]byte(body)) {
			t.Fatal(name)
		}
		size := 0
		for trait := range traitsOf(&answer{body: []byte(body)}) {
			size += len(trait)
		}
		if size > 8<<20 {
			t.Errorf("%s: %d MiB of traits of an answer of %d KiB", name, size>>20, len(body)>>10)
		}
		if shape := shapeOf("", []byte(body)); len(shape) > 1<<10 {
			t.Errorf("%s: a shape of %d KiB", name, len(shape)>>10)
		}
	}
}

func TestDelaysMayNotBeNone(t *testing.T) {
	_, err := target.Parse([]byte(newLab(labFlaws{}).describe([]string{"delays: []"})), nil)
	if err == nil || !strings.Contains(err.Error(), "delays") {
		t.Errorf("%v", err)
	}
}

// Some applications give milliseconds where seconds are meant.
func TestACookieOfAThousandYears(t *testing.T) {
	j, u := &jar{}, &url.URL{Scheme: "http", Host: "a.test", Path: "/"}
	j.store(u, http.Header{"Set-Cookie": {"sid=1; Path=/; Max-Age=31536000000"}}, time.Now())
	if len(j.of(u, time.Now().Add(time.Hour))) != 1 {
		t.Error("it is gone")
	}
}

// A check that is made alone does not pass because another one would have found it.
func TestACheckAloneDoesNotPassWhatAnotherFinds(t *testing.T) {
	const check = "access-token-alive-after-logout"
	for name, test := range map[string]struct {
		flaws labFlaws
		other string
	}{
		"revives": {labFlaws{alive: func(_ *lab, s *labSession, _ int, _ string) bool { return time.Since(s.ended) > 3*time.Second }}, "revives"},
		"late":    {labFlaws{alive: func(_ *lab, s *labSession, _ int, _ string) bool { return time.Since(s.ended) < 500*time.Millisecond }}, "death-is-late"},
	} {
		t.Run(name, func(t *testing.T) {
			for _, o := range []Options{{Only: []string{check}}, {Skip: []string{test.other}}} {
				if r := newLab(test.flaws).probe(t, o); verdict(r, check) != Finding {
					t.Errorf("%s\n%s", verdict(r, check), describeResults(r))
				}
			}
			r := newLab(test.flaws).probe(t, Options{Only: mine})
			want := []string{test.other}
			if name == "revives" { // what is taken again is alive, whatever else is said of it
				want = []string{check, test.other}
			}
			if found := found(r); !slices.Equal(found, want) {
				t.Errorf("%q, want %q\n%s", found, want, describeResults(r))
			}
		})
	}
}

// A route that could not be learned is no pass either where one check is made only.
func TestARouteThatCannotBeLearnedIsInconclusive(t *testing.T) {
	for _, o := range []Options{{Only: mine}, {Only: []string{"access-token-alive-after-logout"}}} {
		r := newLab(labFlaws{disturb: func(_ *lab, w http.ResponseWriter, q *http.Request) bool {
			if q.URL.Path == "/notes" {
				w.WriteHeader(http.StatusServiceUnavailable)
			}
			return q.URL.Path == "/notes"
		}}).probe(t, o)
		if r.Verdict() != Inconclusive {
			t.Errorf("%s\n%s", r.Verdict(), describeResults(r))
		}
	}
}

// A change of the password that ends the access token of another session, and not
// its refresh token, ends nothing.
func TestAPasswordChangeThatSparesRefreshTokensIsFound(t *testing.T) {
	s := newService(t, "refresh outlives the password")
	report := probed(t, bearerTarget, s, "password-change-keeps-sessions")
	want(t, report, "password-change-keeps-sessions", Finding)
	if s.password["ada"] != "first-password" {
		t.Errorf("the password is %q: %q", s.password["ada"], report.Remarks)
	}
}

// What is refused after it has expired by itself says nothing of the logout.
func TestWhatDiedOfAgeIsNoRefusal(t *testing.T) {
	l := newLab(labFlaws{noLogout: true, lifetime: 3 * time.Second})
	synctest.Test(t, func(t *testing.T) {
		described, o := l.start(t, Options{}, "identity: {request: GET /me, find: {json: /user}}")
		r := newRun(described, o.withDefaults(described))
		if _, err := r.controls(t.Context()); err != nil {
			t.Fatal(err)
		}
		e, err := r.loginAndLogout(t.Context(), "late", described.Instances[0])
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(4 * time.Second) // the probe was kept waiting
		if err := r.watch(t.Context(), e.before[:1]); err != nil {
			t.Fatal(err)
		}
		if f := e.before[0].fate(); f != unknown {
			t.Errorf("fate %d of a token whose logout did nothing: %+v", f, e.before[0].answers)
		}
		r.end(t.Context())
	})
}

// A socket that this side closed, because a message was too large, was not closed by
// the server.
func TestASocketClosedByThisSideIsNoPass(t *testing.T) {
	l := &line{now: time.Now, opened: &answer{class: Alive}}
	l.end(fmt.Errorf("read: %w", websocket.ErrMessageTooBig))
	if !l.flooded() || strings.Contains(l.reason(), "server") {
		t.Errorf("%v, %q", l.flooded(), l.why)
	}
	flood := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		for n := 0; n < 16; n++ {
			_, _ = fmt.Fprintf(w, "data: %s\n\n", strings.Repeat("x", 1<<10))
		}
	}))
	defer flood.Close()
	for name, body := range map[string]string{"events": "2KiB", "one event": "1KiB"} {
		r := testRun(t, flood.URL, "limits: {body: "+body+"}")
		line, err := r.dial(t.Context(), "socket", &target.Socket{SSE: "/events"}, flood.URL, artefact{})
		if err != nil {
			t.Fatal(err)
		}
		<-line.done
		if name == "one event" && !line.flooded() {
			t.Errorf("%s: %q", name, line.why)
		}
		line.close()
	}
}

// An identity that no answer has is said to be none.
func TestAnIdentityThatIsNotFoundIsSaid(t *testing.T) {
	for find, said := range map[string]bool{"/user": false, "/data/user": true} {
		r := newLab(labFlaws{}).probe(t, Options{Only: mine[:3]}, "identity: {request: GET /me, find: {json: "+find+"}}")
		if got := strings.Contains(fmt.Sprint(r.Remarks), `json "`+find+`"`); got != said {
			t.Errorf("%s: %q", find, r.Remarks)
		}
	}
}

// Of the answers that a route was learned from no more is kept than is shown.
func TestControlsAreTrimmed(t *testing.T) {
	l := newLab(labFlaws{disturb: func(l *lab, w http.ResponseWriter, q *http.Request) bool {
		if s := l.session(q, "access"); q.URL.Path == "/notes" && s != nil {
			_, _ = w.Write(bytes.Repeat([]byte("note\n"), 100_000))
			return true
		}
		return false
	}})
	synctest.Test(t, func(t *testing.T) {
		described, o := l.start(t, Options{})
		r := newRun(described, o.withDefaults(described))
		if _, err := r.controls(t.Context()); err != nil {
			t.Fatal(err)
		}
		for _, rt := range r.considered {
			for _, a := range rt.controls {
				if len(a.body) > bodyRead || cap(a.body) > 2*bodyRead {
					t.Errorf("%s %s: %d bytes are kept", rt.line, a.note, cap(a.body))
				}
			}
		}
		r.end(t.Context())
	})
}

// A spelling that meets a rate limit before the logout was not refused.
func TestASpellingWithoutAnswerIsInconclusive(t *testing.T) {
	const check = "token-variant-alive-after-logout"
	for _, status := range []int{http.StatusTooManyRequests, http.StatusUnauthorized} {
		l := newLab(labFlaws{disturb: func(l *lab, w http.ResponseWriter, q *http.Request) bool {
			scheme, token, _ := strings.Cut(q.Header.Get("Authorization"), " ")
			l.mu.Lock()
			known, learned := l.issued[token], l.requests["/login"] >= 4 // by the controls
			l.mu.Unlock()
			if q.URL.Path != "/me" || known && scheme == "Bearer" || !learned {
				return false
			}
			w.WriteHeader(status)
			return true
		}})
		r := l.probe(t, Options{Only: []string{check}})
		if got, want := verdict(r, check), map[int]Verdict{429: Inconclusive, 401: Pass}[status]; got != want {
			t.Errorf("%d: %s, want %s\n%s", status, got, want, describeResults(r))
		}
	}
}
