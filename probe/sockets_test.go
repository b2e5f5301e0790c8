package probe

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"
)

// sockets are a WebSocket that echoes, and an event stream.
func (s *service) sockets(mux *http.ServeMux) {
	mux.HandleFunc("GET /ws", func(w http.ResponseWriter, q *http.Request) {
		session := s.caller(w, q)
		if session == nil {
			return
		}
		conn, err := websocket.Accept(w, q, nil)
		if err != nil {
			s.t.Log(err)
			return
		}
		s.onEnd(session, func() {
			if !s.flaws["socket says it is over"] {
				_ = conn.CloseNow()
			}
		})
		for {
			kind, text, err := conn.Read(q.Context())
			if err != nil {
				return
			}
			answer := fmt.Sprintf(`{"echo":%q}`, text)
			if s.flaws["socket says it is over"] && s.over(session) {
				answer = `{"error":"log in first"}`
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
	t.Run("says it is over", func(t *testing.T) {
		t.Parallel()
		description := strings.Replace(socketTarget, ", {sse: /events}", "", 1)
		want(t, probed(t, description, newService(t, "socket says it is over"), check), check, Pass)
	})
}
