package fault

import (
	"bufio"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/rescind/rescind/keys"
)

// TestServerKeepsItsWord does to the real server, over HTTP, what
// TestAcknowledgedHoldsAfterSIGKILL does to a process of this test's own, and
// then asks it to end in the middle of the storm.
func TestServerKeepsItsWord(t *testing.T) {
	kills, ends := 8, 3
	if slow() {
		kills, ends = 100, 50
	}
	exe := buildServer(t)
	t.Run("SIGKILL", func(t *testing.T) {
		killAgainAndAgain(t, kills, func(dir string) living { return startServer(t, exe, dir) })
	})
	t.Run("SIGTERM", func(t *testing.T) { endAgainAndAgain(t, ends, exe) })
}

// endAgainAndAgain asks the server to end while many callers are at it. Each call
// gets its answer or no answer at all, never a part of one; the exit code is 0;
// and what was answered holds.
func endAgainAndAgain(t *testing.T, ends int, exe string) {
	dir := t.TempDir()
	if _, err := keys.CreateMaster(filepath.Join(dir, "master.key")); err != nil {
		t.Fatal(err)
	}
	l := newLedger()
	for n := range ends + 1 {
		srv := startServer(t, exe, dir)
		srv.await(t, l.life)
		st := &storm{l: l, srv: srv}
		if err := st.look(n == ends); err != nil {
			t.Fatal(err)
		}
		before, doubtful := int64(0), int64(0)
		sigterm := func() {
			for enough := rand.Int64N(400); n < ends && st.answered.Load() < enough; {
				time.Sleep(time.Millisecond)
			}
			finish := srv.halfway(t)
			close(srv.ending)
			before, doubtful = st.answered.Load(), st.unavailable.Load()
			if err := srv.cmd.Process.Signal(syscall.SIGTERM); err != nil {
				t.Error(err)
			}
			srv.awaitClosed(t)
			finish()
			select {
			case <-srv.died:
			case <-time.After(patience):
				t.Errorf("the server does not end: %v", srv.kill())
			}
		}
		if n < ends {
			st.run(sigterm)
		} else {
			sigterm()
		}
		if err := srv.cmd.Wait(); err != nil {
			t.Fatalf("after SIGTERM: %v\n%s", err, srv.stderr)
		}
		if text := srv.stderr.String(); strings.Contains(text, "level=ERROR") {
			t.Errorf("the server ended with errors:\n%s", text)
		}
		if n < ends {
			t.Logf("%d calls were answered after SIGTERM, %d before", st.answered.Load()-before, before)
			if more := st.unavailable.Load() - doubtful; more > 0 {
				t.Errorf("%d calls under way were not ended: unavailable", more)
			}
		}
		l.end(t, nil)
	}
}

// awaitClosed waits until the server takes no new connections: it has begun to end.
func (s *served) awaitClosed(t *testing.T) {
	t.Helper()
	for late := time.Now().Add(patience); time.Now().Before(late); time.Sleep(time.Millisecond) {
		conn, err := net.Dial("tcp", strings.TrimPrefix(s.url, "http://"))
		if err != nil {
			return
		}
		_ = conn.Close() // nothing was sent
	}
	t.Error("after SIGTERM the server still takes connections")
}

// halfway begins a request and stops in its middle, when the server is waiting for
// the rest. The function that it returns sends that and expects the whole answer.
func (s *served) halfway(t *testing.T) (finish func()) {
	t.Helper()
	const form = "token=none-of-ours"
	conn, err := net.Dial("tcp", strings.TrimPrefix(s.url, "http://"))
	if err != nil {
		t.Error(err)
		return func() {}
	}
	req, err := http.NewRequest(http.MethodPost, s.url+"/oauth/introspect", nil)
	if err != nil {
		t.Error(err)
		return func() {}
	}
	req.SetBasicAuth("admin", adminSecret)
	fmt.Fprintf(conn, "POST /oauth/introspect HTTP/1.1\r\nHost: %s\r\nAuthorization: %s\r\n"+
		"Content-Type: application/x-www-form-urlencoded\r\nContent-Length: %d\r\nExpect: 100-continue\r\n\r\n",
		req.Host, req.Header.Get("Authorization"), len(form))
	in := bufio.NewReader(conn)
	proceed, err := http.ReadResponse(in, req)
	if err != nil || proceed.StatusCode != http.StatusContinue {
		t.Errorf("the server does not ask for the body: %v", err)
	}
	return func() {
		defer conn.Close()
		if _, err := io.WriteString(conn, form); err != nil {
			t.Errorf("a request under way was cut off: %v", err)
			return
		}
		resp, err := http.ReadResponse(in, req)
		if err != nil {
			t.Errorf("a request under way was cut off: %v", err)
			return
		}
		defer resp.Body.Close()
		text, err := io.ReadAll(resp.Body)
		if err != nil || resp.StatusCode != http.StatusOK || string(text) != `{"active":false}` || !resp.Close {
			t.Errorf("a request under way was answered with %s %q (closing: %t): %v", resp.Status, text, resp.Close, err)
		}
	}
}
