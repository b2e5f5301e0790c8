package linear

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/rescind/rescind"
	"github.com/rescind/rescind/tests/nodes"
	"github.com/rescind/rescind/tests/redis"
)

// TestWritesThatALedgerLosesAreSeen shows that the judge notices a Redis that
// syncs once a second, on a machine that fails: what it acknowledged in the last
// second is gone. It needs a flag to be used at all. The nodes notice it too.
func TestWritesThatALedgerLosesAreSeen(t *testing.T) {
	s := redis.Start(t, "--appendfsync", "everysec")
	w := &world{t: t, url: s.URL() + "?accept=loss"}
	w.nodes = nodes.Start(t, program, []string{w.url, w.url, w.url})
	st := newStorm(t, w.nodes)
	st.run(func() {
		st.untilAnswered(yes, 500)
		log := newestLog(t, s)
		synced, err := os.Stat(log)
		must(t, err)
		st.untilAnswered(yes, st.answered[yes].Load()+1000) // endings among them
		s.Kill()
		must(t, os.Truncate(log, synced.Size()))
		s.Restart()
		st.untilAnswered(yes, st.answered[yes].Load()+500)
	})
	st.look()
	wrong := st.judge()
	if len(wrong) == 0 {
		t.Fatal("writes of a second were lost, and every history is linearizable")
	}
	t.Logf("%d of %d histories are wrong, as in\n%s", len(wrong), len(st.all), wrong[0])
	for until := time.Now().Add(time.Minute); ; time.Sleep(20 * time.Millisecond) {
		events, err := st.asker.Events(t.Context(), w.nodes[0].URL, rescind.EventStoreWentBack)
		must(t, err)
		if len(events) > 0 {
			return
		}
		if time.Now().After(until) {
			t.Fatal("the nodes have not noticed that the ledger went back in time")
		}
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// newestLog is the file that Redis appends to.
func newestLog(t *testing.T, s *redis.Server) string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(s.Dir(), "appendonlydir", "*.incr.aof"))
	if err != nil || len(files) != 1 {
		t.Fatalf("the server's log: %v, %v", files, err)
	}
	return files[0]
}
