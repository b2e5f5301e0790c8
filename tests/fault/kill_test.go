package fault

import (
	"context"
	"errors"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/rescind/rescind/keys"
)

// perFolder is how many processes follow one another on one folder. Then every
// session that was ever opened there is looked at, and a new folder is begun.
const perFolder = 50

// TestAcknowledgedHoldsAfterSIGKILL kills a process that keeps the ledger, again
// and again, while many callers log in, refresh, check and log out. Each next
// process on the same folder must know every ending that was acknowledged and
// every one that was seen, and must honour every session that nobody tried to end.
func TestAcknowledgedHoldsAfterSIGKILL(t *testing.T) {
	kills := 20
	if slow() {
		kills = 500
	}
	t.Run("process", func(t *testing.T) {
		t.Parallel()
		killAgainAndAgain(t, kills, func(dir string) living { return startChild(t, dir, false) })
	})
	t.Run("process, unsynced writes lost", func(t *testing.T) {
		t.Parallel()
		killAgainAndAgain(t, kills, func(dir string) living { return startChild(t, dir, true) })
	})
}

func killAgainAndAgain(t *testing.T, kills int, start func(dir string) living) {
	began, n := time.Now(), 0
	for n < kills {
		n += oneFolder(t, min(perFolder, kills-n), start)
		t.Logf("%d kills, %.0f a minute", n, float64(n)/time.Since(began).Minutes())
	}
}

// oneFolder kills so many processes on one folder, and lets a last one say what
// became of everything.
func oneFolder(t *testing.T, kills int, start func(dir string) living) int {
	dir := t.TempDir()
	if _, err := keys.CreateMaster(filepath.Join(dir, "master.key")); err != nil {
		t.Fatal(err)
	}
	l := newLedger()
	for n := range kills + 1 {
		last := n == kills
		srv := start(dir)
		p := srv.proc()
		// Now and then it dies while it starts, and mostly so on an empty folder.
		if !last && (n < 2 || rand.IntN(12) == 0) {
			time.Sleep(rand.N(60 * time.Millisecond))
			l.end(t, p.kill())
			continue
		}
		p.await(t, l.life)
		st := &storm{l: l, srv: srv}
		// Or while it is asked what it knows.
		var early *time.Timer
		if !last && rand.IntN(12) == 0 {
			early = time.AfterFunc(rand.N(30*time.Millisecond), func() { _ = p.cmd.Process.Kill() })
		}
		err := st.look(last)
		if err != nil && (early == nil || !errors.Is(err, errDied)) {
			t.Errorf("life %d: %v", l.life, err)
		}
		if err == nil && !last {
			st.run(func() { st.killAfter(rand.Int64N(400), p) })
		}
		if early != nil {
			early.Stop()
		}
		l.end(t, p.kill())
	}
	t.Logf("%d sessions; %v", len(l.sessions), l.counts)
	if err := os.RemoveAll(dir); err != nil {
		t.Error(err)
	}
	return kills
}

// await waits until the process is ready.
func (p *process) await(t *testing.T, life int) {
	t.Helper()
	select {
	case <-p.ready:
	case <-p.died:
		t.Fatalf("life %d does not start: %v", life, p.kill())
	case <-time.After(patience):
		t.Fatalf("life %d is not ready in time: %v", life, p.kill())
	}
}

// killAfter kills the process when so many calls were answered with success: at
// once then, or mostly in the middle of one more ending, begun for this.
func (st *storm) killAfter(answers int64, p *process) {
	late := time.After(10 * time.Second)
	tick := time.NewTicker(100 * time.Microsecond)
	defer tick.Stop()
	for st.answered.Load() < answers {
		select {
		case <-tick.C:
			continue
		case <-late:
		case <-p.died:
		}
		break
	}
	var under sync.WaitGroup
	if rand.IntN(4) > 0 {
		endings := []func(context.Context) error{
			st.logout, st.revokeSession, st.replay, st.sweepSubject, st.sweepOthers, st.logoutEverywhere, st.sweepClient, st.sweepAll,
		}
		under.Go(func() {
			ctx, cancel := context.WithTimeout(context.Background(), patience)
			defer cancel()
			_ = endings[rand.IntN(len(endings))](ctx) // the ledger has noted it
		})
		time.Sleep(rand.N(3 * time.Millisecond))
	}
	_ = p.cmd.Process.Kill() // kill reports what there is to report
	under.Wait()
}

// end closes a life and reports what was wrong with it.
func (l *ledger) end(t *testing.T, err error) {
	t.Helper()
	l.died()
	if err != nil {
		t.Errorf("life %d: %v", l.life-1, err)
	}
	for _, w := range l.wrong {
		t.Error(w)
	}
	if t.Failed() {
		t.FailNow()
	}
}
