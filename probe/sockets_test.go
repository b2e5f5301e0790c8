package probe

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"

	"github.com/rescind/rescind/probe/target"
)

// sockets are a WebSocket that echoes, and an event stream.
func (s *service) sockets(mux *http.ServeMux) {
	mux.HandleFunc("GET /ws", func(w http.ResponseWriter, q *http.Request) {
		session := s.late(q)
		if session == nil {
			if session = s.caller(w, q); session == nil {
				return
			}
		}
		conn, err := websocket.Accept(w, q, nil)
		if err != nil {
			s.t.Log(err)
			return
		}
		beats := s.flaws["socket beats for everybody"]
		if session.id == "" && !beats {
			if err := conn.Write(q.Context(), websocket.MessageText, []byte(s.farewell())); err != nil {
				s.t.Log(err)
			}
			_ = conn.Close(websocket.StatusPolicyViolation, "log in first") // it may be gone
			return
		}
		s.onEnd(session, func() {
			if !s.flaws["socket says it is over"] && !s.flaws["socket beats for everybody"] {
				_ = conn.CloseNow()
			}
		})
		for s.flaws["socket floods"] {
			if conn.Write(q.Context(), websocket.MessageText, make([]byte, 64<<10)) != nil {
				return
			}
		}
		for {
			kind, text, err := conn.Read(q.Context())
			if err != nil {
				return
			}
			if beats {
				if conn.Write(q.Context(), kind, []byte(`{"beat":1}`)) != nil {
					return
				}
				if session.id == "" || s.over(session) {
					continue
				}
			}
			answer := fmt.Sprintf(`{"echo":%q}`, text)
			if s.flaws["socket speaks text"] {
				answer = "echo " + string(text)
			}
			if s.flaws["socket never says the same"] {
				answer = fmt.Sprintf(`{%q:1}`, randomText())
			}
			if s.flaws["socket says it is over"] && s.over(session) {
				answer = s.farewell()
			}
			if s.flaws["silent"] {
				continue
			}
			if conn.Write(q.Context(), kind, []byte(answer)) != nil {
				return
			}
		}
	})
	mux.HandleFunc("GET /events", func(w http.ResponseWriter, q *http.Request) {
		session := s.caller(w, q)
		if session == nil {
			return
		}
		end := make(chan struct{})
		s.onEnd(session, func() { close(end) })
		w.Header().Set("Content-Type", "text/event-stream")
		for s.flaws["socket floods"] {
			if _, err := w.Write(make([]byte, 64<<10)); err != nil { // an event that never ends
				return
			}
		}
		for {
			if !s.flaws["silent"] {
				fmt.Fprint(w, "data: {\"n\":1}\n\n")
			}
			if err := http.NewResponseController(w).Flush(); err != nil {
				return
			}
			select {
			case <-end:
				return
			case <-q.Context().Done():
				return
			case <-time.After(20 * time.Millisecond):
			}
		}
	})
}

// late is the session of a socket that is opened to everybody, and closed again to
// those who have none; nil if it is another kind of socket.
func (s *service) late(q *http.Request) *serviceSession {
	if !s.flaws["handshake for everybody"] {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if session, _ := s.session(q); session != nil {
		return session
	}
	return &serviceSession{}
}

// farewell is what a socket says to those who have no session.
func (s *service) farewell() string {
	if s.flaws["socket speaks text"] {
		return "log in first"
	}
	return `{"error":"log in first"}`
}

// caller is the session that opens a socket.
func (s *service) caller(w http.ResponseWriter, q *http.Request) *serviceSession {
	if s.flaws["socket for everybody"] {
		return &serviceSession{id: "nobody"}
	}
	if s.flaws["dead sessions open sockets"] {
		s.mu.Lock()
		defer s.mu.Unlock()
		if claims, ok := s.verify(bearer(q)); ok {
			return s.sessions[fmt.Sprint(claims["s"])]
		}
		s.refuse(w)
		return nil
	}
	return s.user(w, q)
}

func (s *service) over(session *serviceSession) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return session.ended
}

// onEnd has f called when the session ends.
func (s *service) onEnd(session *serviceSession, f func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closers[session.id] = append(s.closers[session.id], f)
}

const socketTarget = bearerTarget + `
sockets: [{websocket: /ws, send: "ping", every: 20ms}, {sse: /events}]
`

func TestSockets(t *testing.T) {
	const check = "socket-open-after-logout"
	for name, c := range map[string]struct {
		flaws     []string
		want, new Verdict // of the open one, and of one opened after the logout
	}{
		"closed":          {nil, Pass, Pass},
		"left open":       {[]string{"socket left open"}, Finding, Pass},
		"opened anew":     {[]string{"dead sessions open sockets"}, Pass, Finding},
		"closed late":     {[]string{"sockets close late"}, Finding, Pass},
		"for everybody":   {[]string{"socket for everybody"}, Note, ""},
		"silent":          {[]string{"silent", "socket left open"}, Inconclusive, ""},
		"silent, closed":  {[]string{"silent"}, Pass, Pass},
		"everybody's end": {[]string{"logout closes all sockets"}, Inconclusive, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			report := probed(t, socketTarget, newService(t, c.flaws...), check)
			seen := 0
			for _, result := range report.Results {
				verdict := c.want
				if strings.HasSuffix(result.Subject, "opened after the logout") {
					verdict = c.new
				}
				seen++
				if result.Verdict != verdict {
					t.Errorf("%s: %s, want %s: %s%s", result.Subject, result.Verdict, verdict, result.Says, result.Reason)
				}
			}
			if least := map[bool]int{true: 2, false: 4}[c.new == ""]; seen != least {
				t.Errorf("%d results, want %d", seen, least)
			}
		})
	}
	for name, c := range map[string]struct {
		flaws []string
		want  Verdict
	}{
		"says it is over":            {[]string{"socket says it is over"}, Pass},
		"says it is over, in text":   {[]string{"socket says it is over", "socket speaks text"}, Pass},
		"refuses later":              {[]string{"handshake for everybody"}, Pass},
		"refuses later, left open":   {[]string{"handshake for everybody", "socket left open"}, Finding},
		"left open, in text":         {[]string{"handshake for everybody", "socket left open", "socket speaks text"}, Finding},
		"beats for everybody":        {[]string{"handshake for everybody", "socket beats for everybody"}, Pass},
		"never the same":             {[]string{"socket never says the same", "socket left open"}, Inconclusive},
		"never the same, and closed": {[]string{"socket never says the same"}, Pass},
	} {
		t.Run("WebSocket: "+name, func(t *testing.T) {
			t.Parallel()
			description := strings.Replace(socketTarget, ", {sse: /events}", "", 1)
			report := probed(t, description, newService(t, c.flaws...), check)
			report.Results = slices.DeleteFunc(report.Results, func(result Result) bool { return strings.HasSuffix(result.Subject, "opened after the logout") })
			want(t, report, check, c.want)
		})
	}
}

// Sockets that never stop are listened to no longer than others, and no more of
// them is kept.
func TestFloodsOfSocketsAreSurvived(t *testing.T) {
	server := httptest.NewServer(newService(t, "socket floods", "socket left open").handler)
	defer server.Close()
	described, err := target.Parse(fmt.Appendf(nil, socketTarget, server.URL), nil)
	if err != nil {
		t.Fatal(err)
	}
	report, err := Run(t.Context(), described, Options{Only: []string{"socket-open-after-logout"}})
	if err != nil {
		t.Fatal(err)
	}
	if took := report.Ended.Sub(report.Started); took > 2*time.Minute { // on a busy machine
		t.Errorf("it took %s", took)
	}
	for _, result := range report.Results {
		if strings.HasPrefix(result.Subject, "event stream") && result.Verdict == Pass {
			t.Errorf("%s passes: %s", result.Subject, result.Says)
		}
		for _, x := range result.Evidence {
			if x.BodySize > maxShown {
				t.Errorf("%d bytes of a message are kept", x.BodySize)
			}
		}
	}
}

func TestShapesOfMessages(t *testing.T) {
	for _, c := range []struct {
		a, b string
		same bool
	}{
		{`{"n":1}`, `{"n":2}`, true},
		{`{"n":1}`, `{"n":"x"}`, false},
		{`{"type":"ping"}`, `{"type":"error"}`, false},
		{`{"type":"ping","id":"a"}`, `{"type":"ping","id":"b"}`, true},
		{"tick 41", "tick 1042", true},
		{"tick 41", "log in first", false},
		{"", "x", false},
	} {
		if same := shapeOf("", []byte(c.a)) == shapeOf("", []byte(c.b)); same != c.same {
			t.Errorf("%s, %s: %v", c.a, c.b, same)
		}
	}
	if shapeOf("news", []byte("1")) == shapeOf("end", []byte("1")) {
		t.Error("the kind of an event does not count")
	}
}

// Over TLS the client speaks HTTP/2, which WebSockets have to be kept from.
func TestSocketsOverTLS(t *testing.T) {
	for flaw, verdict := range map[string]Verdict{"none": Pass, "socket left open": Finding} {
		t.Run(flaw, func(t *testing.T) {
			t.Parallel()
			server := httptest.NewUnstartedServer(newService(t, flaw).handler)
			server.EnableHTTP2 = true
			server.StartTLS()
			defer server.Close()
			// A server has half of the longest delay to close a socket.
			text := strings.Replace(socketTarget, "delays: [0s, 100ms]", "delays: [0s, 2s]", 1)
			described, err := target.Parse(fmt.Appendf(nil, text, server.URL), nil)
			if err != nil {
				t.Fatal(err)
			}
			report, err := Run(t.Context(), described, Options{Only: []string{"socket-open-after-logout"}, Insecure: true})
			if err != nil {
				t.Fatal(err)
			}
			report.Results = slices.DeleteFunc(report.Results, func(result Result) bool { return strings.HasSuffix(result.Subject, "opened after the logout") })
			want(t, report, "socket-open-after-logout", verdict)
		})
	}
}
