package report

import (
	"fmt"
	"time"

	"github.com/rescind/rescind/probe"
)

// sample is a report of a broken application on two instances, with one of
// everything that a report can hold.
func sample() *probe.Report {
	start := time.Date(2026, 11, 20, 16, 2, 3, 500_000_000, time.UTC)
	one, two := "http://127.0.0.1:3000", "http://127.0.0.1:3001"
	delays := []time.Duration{0, 50 * time.Millisecond, 200 * time.Millisecond, time.Second, 5 * time.Second}
	r := &probe.Report{
		Name: "notes", Instances: []string{one, two}, Started: start, Ended: start.Add(8_412 * time.Millisecond), Requests: 1_284,
		Remarks: []string{"GET /healthz is not protected: whoever has no session gets the same answer."},
	}
	end := start.Add(900 * time.Millisecond)
	// life adds one whose replays are answered as the letters say: a alive, d dead,
	// u dead without a live control, ? unclear.
	life := func(experiment, session, artefact string, kind probe.Kind, route, instance, answers string) int {
		l := probe.Life{
			ID: len(r.Lives), Experiment: experiment, Session: session, Artefact: artefact, Kind: kind, Route: route, Instance: instance,
			EndedAt: one, Born: start.Add(300 * time.Millisecond), Ended: end, Expires: end.Add(15 * time.Minute),
			Answers: []probe.Answer{{After: -420 * time.Millisecond, Took: 3 * time.Millisecond, Status: 200, Class: probe.Alive}},
		}
		for i, c := range answers {
			a := probe.Answer{After: delays[i] + 800*time.Microsecond, Took: 2 * time.Millisecond, Status: 200, Class: probe.Alive}
			switch c {
			case 'd':
				a.Status, a.Class, a.Backed = 401, probe.Dead, true
			case 'u':
				a.Status, a.Class = 401, probe.Dead
			case '?':
				a.Status, a.Class = 503, probe.Unclear
			}
			l.Answers = append(l.Answers, a)
		}
		r.Lives = append(r.Lives, l)
		return l.ID
	}
	var access []int
	for _, at := range []string{one, two} {
		for _, route := range []string{"GET /api/me", "GET /api/notes"} {
			access = append(access, life("logout", "ada#2", "access token", probe.AccessToken, route, at, map[string]string{one: "ddddd", two: "aaaaa"}[at]))
		}
	}
	refresh := life("logout", "ada#2", "refresh token", probe.RefreshToken, "POST /refresh", one, "aaaaa")
	r.Lives[refresh].Marks = []probe.Mark{{After: -200 * time.Millisecond, What: "refresh"}}
	life("logout", "ada#2", `cookie "sid"`, probe.Cookie, "GET /api/me", one, "aaadd")
	life("logout", "ada#2", `cookie "sid"`, probe.Cookie, "GET /api/me", two, "dddad")
	life("logout", "ada#2", "all together", probe.Together, "GET /api/me", one, "u?u?u")
	socket := life("logout", "ada#2", "WebSocket /ws", probe.Socket, "GET /ws", one, "aaaa")
	r.Lives[socket].Marks = []probe.Mark{{After: 1200 * time.Millisecond, What: "closed by the server"}}
	life("logout everywhere", "ada#5", "access token", probe.AccessToken, "GET /api/me", one, "ddddd")
	life("logout everywhere", "ada#6", "access token", probe.AccessToken, "GET /api/me", one, "ddddd")
	other := life("logout everywhere", "alan#1", "access token", probe.AccessToken, "GET /api/me", one, "aaaaa")
	r.Lives[other].Ended, r.Lives[other].EndedAt = time.Time{}, ""
	for i := range r.Lives[other].Answers {
		r.Lives[other].Answers[i].After += 600 * time.Millisecond
	}

	exchange := func(role, session, artefact string, after time.Duration, method, url string, status int, class probe.Class) probe.Exchange {
		x := probe.Exchange{
			Role: role, Session: session, Artefact: artefact, Began: end.Add(after), Took: 2100 * time.Microsecond,
			Request: probe.Request{Method: method, URL: url, Header: []probe.Field{{Name: "Accept", Value: "*/*"}}, Curl: "curl -i " + url},
			Status:  status, Header: []probe.Field{{Name: "Content-Type", Value: "application/json"}}, Body: `{"subject":"ada"}`, BodySize: 17, Class: class,
		}
		if session != "" {
			x.Request.Header = append(x.Request.Header, probe.Field{Name: "Authorization", Value: "Bearer eyJhbGci…(312 characters, sha256 1a2b3c4d)"})
			x.Request.Curl = `curl -i -H "Authorization: Bearer ${ACCESS_TOKEN}" ` + url
		}
		if status == 401 {
			x.Body, x.BodySize = `{"error":"unauthorized"}`, 24
		}
		return x
	}
	me := two + "/api/me"
	evidence := []probe.Exchange{
		exchange("valid control", "ada#2", "access token", -420*time.Millisecond, "GET", me, 200, probe.Alive),
		exchange("dead control", "", "", -400*time.Millisecond, "GET", me, 401, probe.Dead),
		exchange("logout", "ada#2", "", -4*time.Millisecond, "POST", one+"/logout", 204, ""),
		exchange("replay", "ada#2", "access token", 5*time.Second, "GET", me, 200, probe.Alive),
		exchange("live control", "ada#3", "access token", 5*time.Second+3*time.Millisecond, "GET", me, 200, probe.Alive),
	}
	lost := evidence[4]
	lost.Status, lost.Header, lost.Body, lost.BodySize, lost.Error, lost.Class, lost.Note = 0, nil, "", 0, "connection reset by peer", probe.Unclear, "the third time"
	r.Results = []probe.Result{
		{Check: "access-token-alive-after-logout", Verdict: probe.Finding, Says: "Alive on 2 of 4 routes and instances, last 5.0 s after the logout.", Evidence: evidence, Lives: access},
		{Check: "refresh-token-alive-after-logout", Verdict: probe.Finding, Says: "The refresh token gave a new access token 5.0 s after the logout.", Lives: []int{refresh}},
		{Check: "cookie-alive-after-logout", Subject: `cookie "sid"`, Verdict: probe.Pass, Says: "Refused on every route when the last delay was over."},
		{Check: "session-alive-after-logout", Verdict: probe.Inconclusive, Reason: "3 of 5 answers were 503: the target was not available.", Evidence: []probe.Exchange{lost}},
		{Check: "instance-disagrees", Subject: "access token", Verdict: probe.Finding, Says: "Dead at " + one + " and alive at " + two + ".", Evidence: evidence[3:4]},
		{Check: "death-is-late", Subject: `cookie "sid"`, Verdict: probe.Finding, Says: "Alive until 201 ms after the logout, dead from 1.0 s on."},
		{Check: "logout-twice", Verdict: probe.Pass, Says: "The second logout was answered with 204 and changed nothing."},
		{Check: "refresh-retry-survives", Verdict: probe.Note, Says: "A retry gets the same successor for 10 s."},
		{Check: "logout-everywhere-incomplete", Verdict: probe.Pass, Says: "All 2 sessions were dead after 1 ms."},
		{Check: "password-change-keeps-sessions", Verdict: probe.NotApplicable, Reason: "the description has no change_password"},
		{Check: "token-lifetime", Verdict: probe.Finding, Says: "The access token lives for 30 days."},
		{Check: "clear-site-data", Verdict: probe.NotApplicable, Reason: "the session is carried by no cookie"},
	}
	for _, at := range r.Instances {
		for _, path := range []string{"/api/me", "/api/notes", "/healthz"} {
			route := probe.Route{Request: "GET " + path, Instance: at, Protected: path != "/healthz", Controls: []probe.Exchange{
				exchange("valid control", "ada#1", "all together", -500*time.Millisecond, "GET", at+path, 200, probe.Alive),
				exchange("dead control", "", "", -490*time.Millisecond, "GET", at+path, 401, probe.Dead),
			}}
			if !route.Protected {
				route.Reason = "somebody without a session gets the same answer"
				route.Controls[1].Status, route.Controls[1].Class = 200, probe.Alive
			}
			r.Routes = append(r.Routes, route)
		}
	}
	return r
}

// crowd is a report with so many lives that not all of them can be drawn.
func crowd() *probe.Report {
	r := sample()
	l := r.Lives[0]
	for i := range 300 {
		l.ID, l.Route = len(r.Lives), fmt.Sprintf("GET /api/item%d", i)
		r.Lives = append(r.Lives, l)
	}
	return r
}
