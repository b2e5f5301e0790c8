package fault

import (
	"math/rand/v2"
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
			close(srv.ending)
			before, doubtful = st.answered.Load(), st.unavailable.Load()
			if err := srv.cmd.Process.Signal(syscall.SIGTERM); err != nil {
				t.Error(err)
			}
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
