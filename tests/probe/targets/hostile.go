package targets

import (
	"bytes"
	"compress/gzip"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/coder/websocket"
)

// A Hostile server is a sound application but for one kind of request, which it
// answers as nobody should.
type Hostile struct {
	Name  string
	At    string // "POST /login", or "" for all requests
	After int    // so many of them are answered well
	// Inside says that only who is logged in gets it, and that logout ends that: the
	// application is sound, and hard to read.
	Inside bool
	Does   func(*Trap, http.ResponseWriter, *http.Request)
}

// A Trap is a hostile server that runs.
type Trap struct {
	*Notes
	Written atomic.Int64 // bytes of hostile answers
	Sprung  atomic.Int64 // hostile answers
	Strange atomic.Int64 // connections to a host that nobody named

	strange string
	over    chan struct{}
}

// Spring starts the server, until the test ends.
func (h Hostile) Spring(t testing.TB) *Trap {
	t.Helper()
	trap := &Trap{Notes: Start(t, Options{Takes: 5 * time.Millisecond}), over: make(chan struct{})}
	inner := trap.instances[0].handler()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		spared := h.At != "" && h.At != r.Method+" "+r.URL.Path
		if !spared && h.Inside {
			_, err := trap.instances[0].check(r)
			spared = err != nil
		}
		if spared || trap.Sprung.Add(1) <= int64(h.After) {
			inner.ServeHTTP(w, r)
			return
		}
		h.Does(trap, w, r)
	}))
	trap.URLs = []string{s.URL}
	elsewhere, err := net.Listen("tcp", "127.0.0.2:0")
	if err != nil {
		t.Fatal(err)
	}
	trap.strange = "http://" + elsewhere.Addr().String()
	var accepting sync.WaitGroup
	accepting.Go(func() {
		for {
			c, err := elsewhere.Accept()
			if err != nil {
				return
			}
			trap.Strange.Add(1)
			_ = c.Close() // whoever it was
		}
	})
	t.Cleanup(func() {
		close(trap.over)
		s.CloseClientConnections()
		s.Close()
		_ = elsewhere.Close() // once
		accepting.Wait()
	})
	return trap
}

// write counts what goes out, and reports whether anybody still listens.
func (trap *Trap) write(w io.Writer, p []byte) bool {
	select {
	case <-trap.over:
		return false
	default:
	}
	n, err := w.Write(p)
	trap.Written.Add(int64(n))
	return err == nil
}

// pause waits, unless the test ends.
func (trap *Trap) pause(d time.Duration) {
	select {
	case <-trap.over:
	case <-time.After(d):
	}
}

// raw takes the connection out of the server's hands.
func raw(w http.ResponseWriter, do func(net.Conn)) {
	c, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		panic(err) // HTTP/1 has it
	}
	defer c.Close()
	do(c)
}

// Hostiles are all of them. Each kind is sent where it does most harm, and some at
// every stage of a run.
func Hostiles() []Hostile {
	var all []Hostile
	stages := map[string]string{"login": "POST /login", "route": "GET /api/notes", "refresh": "POST /refresh", "logout": "POST /logout"}
	for stage, at := range stages {
		all = append(all,
			Hostile{Name: "hangs-at-" + stage, At: at, Does: hang},
			Hostile{Name: "resets-at-" + stage, At: at, Does: reset},
			Hostile{Name: "endless-body-at-" + stage, At: at, Does: endless},
			Hostile{Name: "redirects-away-at-" + stage, At: at, Does: away},
		)
	}
	for name, does := range map[string]func(*Trap, http.ResponseWriter, *http.Request){
		"redirects-in-a-loop": func(_ *Trap, w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, r.URL.Path+"?again", http.StatusTemporaryRedirect)
		},
		"endless-header":     endlessHeader,
		"endless-early":      endlessEarly,
		"a-byte-at-a-time":   drip,
		"a-bomb":             bomb,
		"many-cookies":       manyCookies,
		"length-too-short":   wrongLength(5),
		"length-too-long":    wrongLength(5_000_000),
		"no-http":            noHTTP,
		"deep-json":          deep,
		"a-token-with-lines": lines,
		"a-huge-token":       huge,
		"all-tokens-alike":   alike,
	} {
		all = append(all, Hostile{Name: name, At: "POST /login", Does: does})
	}
	return append(all,
		Hostile{Name: "endless-body-inside", At: "GET /api/notes", Inside: true, Does: endless},
		Hostile{Name: "a-byte-at-a-time-inside", At: "GET /api/notes", Inside: true, Does: drip},
		Hostile{Name: "socket-hangs", At: "GET /socket", Does: hang},
		Hostile{Name: "socket-is-none", At: "GET /socket", Does: func(_ *Trap, w http.ResponseWriter, _ *http.Request) {
			reply(w, http.StatusOK, map[string]string{"subject": "ada"})
		}},
		Hostile{Name: "socket-floods", At: "GET /socket", Does: flood},
		Hostile{Name: "stream-hangs", At: "GET /events", Does: hang},
		Hostile{Name: "stream-without-lines", At: "GET /events", Does: func(trap *Trap, w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "text/event-stream")
			for chunk := bytes.Repeat([]byte("a"), 1<<20); trap.write(w, chunk); {
			}
		}},
		Hostile{Name: "hangs-later", At: "GET /api/me", After: 5, Does: hang},
		Hostile{Name: "says-yes-to-all", Does: func(_ *Trap, w http.ResponseWriter, _ *http.Request) {
			reply(w, http.StatusOK, map[string]string{"access_token": "yes", "refresh_token": "yes", "subject": "ada"})
		}},
		Hostile{Name: "says-no-to-all", Does: func(_ *Trap, w http.ResponseWriter, _ *http.Request) {
			reply(w, http.StatusUnauthorized, map[string]string{"error": "no"})
		}},
		Hostile{Name: "is-out-of-order", Does: func(_ *Trap, w http.ResponseWriter, _ *http.Request) {
			http.Error(w, "out of order", http.StatusServiceUnavailable)
		}},
		Hostile{Name: "breaks-at-logout", At: "POST /logout", Does: func(_ *Trap, w http.ResponseWriter, _ *http.Request) {
			http.Error(w, "out of order", http.StatusInternalServerError)
		}},
		Hostile{Name: "breaks-later", At: "GET /api/me", After: 8, Does: func(_ *Trap, w http.ResponseWriter, _ *http.Request) {
			http.Error(w, "out of order", http.StatusServiceUnavailable)
		}},
		Hostile{Name: "locks-everybody-out-later", At: "GET /api/me", After: 12, Does: func(_ *Trap, w http.ResponseWriter, _ *http.Request) {
			reply(w, http.StatusUnauthorized, map[string]any{"error": "please log in"})
		}},
	)
}

// hang says nothing.
func hang(trap *Trap, _ http.ResponseWriter, r *http.Request) {
	select {
	case <-trap.over:
	case <-r.Context().Done():
	}
}

// reset ends the connection in the middle of the body.
func reset(trap *Trap, w http.ResponseWriter, _ *http.Request) {
	raw(w, func(c net.Conn) {
		trap.write(c, []byte("HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 1000\r\n\r\n{\"access"))
		trap.pause(5 * time.Millisecond)
		_ = c.(*net.TCPConn).SetLinger(0) // RST instead of FIN
	})
}

// endless has a body of 10 GB, in a member that looks like a token.
func endless(trap *Trap, w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	chunk := bytes.Repeat([]byte("a"), 1<<20)
	if !trap.write(w, []byte(`{"access_token":"`)) {
		return
	}
	for range 10_000 {
		if !trap.write(w, chunk) {
			return
		}
	}
}

// away sends the caller to a host that nobody named, with what it has sent.
func away(trap *Trap, w http.ResponseWriter, r *http.Request) {
	http.Redirect(w, r, trap.strange+r.URL.Path, http.StatusPermanentRedirect)
}

func endlessHeader(trap *Trap, w http.ResponseWriter, _ *http.Request) {
	raw(w, func(c net.Conn) {
		if !trap.write(c, []byte("HTTP/1.1 200 OK\r\n")) {
			return
		}
		for n := 0; trap.write(c, fmt.Appendf(nil, "X-%d: %s\r\n", n, strings.Repeat("a", 1000))); n++ {
		}
	})
}

// endlessEarly promises an answer again and again (RFC 8297).
func endlessEarly(trap *Trap, w http.ResponseWriter, _ *http.Request) {
	raw(w, func(c net.Conn) {
		for trap.write(c, []byte("HTTP/1.1 103 Early Hints\r\nLink: </a.css>\r\n\r\n")) {
			trap.pause(time.Millisecond)
		}
	})
}

// drip sends a body that never gets longer than a time-out lets it.
func drip(trap *Trap, w http.ResponseWriter, _ *http.Request) {
	for trap.write(w, []byte(" ")) && http.NewResponseController(w).Flush() == nil {
		trap.pause(20 * time.Millisecond)
	}
}

// bomb has 1 GB in 1 MB.
func bomb(trap *Trap, w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Content-Encoding", "gzip")
	z := gzip.NewWriter(writer(func(p []byte) (int, error) {
		if !trap.write(w, p) {
			return 0, io.ErrClosedPipe
		}
		return len(p), nil
	}))
	chunk := make([]byte, 1<<20)
	for range 1000 {
		if _, err := z.Write(chunk); err != nil {
			return
		}
	}
	_ = z.Close() // the caller may have gone
}

type writer func([]byte) (int, error)

func (w writer) Write(p []byte) (int, error) { return w(p) }

// flood sends large messages for as long as anybody listens, and hears nothing.
func flood(trap *Trap, w http.ResponseWriter, r *http.Request) {
	c, err := websocket.Accept(w, r, nil)
	if err != nil {
		return // who asked knows
	}
	defer c.CloseNow()
	for chunk := bytes.Repeat([]byte("a"), 1<<20); trap.write(message{c, r.Context()}, chunk); {
	}
}

// A message is what is written to a socket at once.
type message struct {
	*websocket.Conn
	ctx context.Context
}

func (m message) Write(p []byte) (int, error) {
	return len(p), m.Conn.Write(m.ctx, websocket.MessageText, p)
}

func manyCookies(_ *Trap, w http.ResponseWriter, _ *http.Request) {
	for n := range 1200 {
		http.SetCookie(w, &http.Cookie{Name: fmt.Sprintf("c%d", n), Value: "v"})
	}
	reply(w, http.StatusOK, map[string]string{"welcome": "ada"})
}

func wrongLength(says int) func(*Trap, http.ResponseWriter, *http.Request) {
	return func(trap *Trap, w http.ResponseWriter, _ *http.Request) {
		raw(w, func(c net.Conn) {
			trap.write(c, fmt.Appendf(nil, "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n{\"access_token\":\"a.b.c\"}", says))
		})
	}
}

func noHTTP(trap *Trap, w http.ResponseWriter, _ *http.Request) {
	raw(w, func(c net.Conn) { trap.write(c, []byte("220 mail.example ESMTP\r\n\x00\xff\r\n\r\n")) })
}

func deep(_ *Trap, w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	fmt.Fprint(w, strings.Repeat(`{"token":`, 100_000)+`"a"`+strings.Repeat("}", 100_000))
}

// lines has a token that would be several lines of a header.
func lines(_ *Trap, w http.ResponseWriter, _ *http.Request) {
	reply(w, http.StatusOK, map[string]string{"access_token": "a\r\nX-Injected: yes\r\n\r\nGET /strange HTTP/1.1", "refresh_token": "b\x00c"})
}

func huge(_ *Trap, w http.ResponseWriter, _ *http.Request) {
	reply(w, http.StatusOK, map[string]string{"access_token": strings.Repeat("a", 900_000)})
}

func alike(_ *Trap, w http.ResponseWriter, _ *http.Request) {
	reply(w, http.StatusOK, map[string]string{"access_token": "the-one-and-only", "refresh_token": "the-one-and-only"})
}
