package linear

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/rescind/rescind"
	"github.com/rescind/rescind/tests/nodes"
	"github.com/rescind/rescind/tests/postgres"
	"github.com/rescind/rescind/tests/redis"
)

// TestWritesThatALedgerLosesAreSeen shows that the judge notices a ledger that
// acknowledges what is not durable, on a machine that fails: what it acknowledged
// last is gone. Each needs a flag to be used at all. The nodes notice it too.
func TestWritesThatALedgerLosesAreSeen(t *testing.T) {
	t.Run("Redis", func(t *testing.T) {
		s := redis.Start(t, "--appendfsync", "everysec")
		loses(t, s.URL()+"?accept=loss", func() {
			log := newestLog(t, s)
			synced, err := os.Stat(log)
			must(t, err)
			time.Sleep(time.Second)
			s.Kill()
			must(t, os.Truncate(log, synced.Size()))
			s.Restart()
		})
	})
	t.Run("PostgreSQL", func(t *testing.T) {
		s := postgres.Start(t, postgres.With("wal_writer_delay", "10s"), postgres.With("wal_writer_flush_after", "1GB"), postgres.With("wal_buffers", "64MB"))
		loses(t, s.URL("synchronous_commit=off&allow_data_loss=true"), func() {
			execute(t, s.URL(""), "CHECKPOINT")
			time.Sleep(time.Second)
			s.Kill() // with what it has in memory
			s.Restart()
		})
	})
}

func loses(t *testing.T, url string, crash func()) {
	t.Helper()
	w := &world{t: t, url: url, nodes: nodes.Start(t, program, []string{url, url, url})}
	st := newStorm(t, w.nodes)
	st.run(func() {
		st.untilAnswered(500)
		crash()
		st.untilAnswered(st.answered[yes].Load() + 500)
	})
	st.look()
	wrong := st.judge()
	if len(wrong) == 0 {
		t.Fatal("what had been acknowledged was lost, and every history is linearizable")
	}
	t.Logf("%d of %d histories are wrong, as in\n%s", len(wrong), len(st.all), wrong[0])
	for until := time.Now().Add(3 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		events, err := st.asker.Events(t.Context(), w.nodes[0].URL, rescind.EventStoreWentBack)
		if err != nil || len(events) > 0 {
			must(t, err)
			return
		}
		if time.Now().After(until) {
			t.Fatal("the nodes have not noticed that the ledger went back in time")
		}
	}
}

func execute(t *testing.T, url, sql string) {
	t.Helper()
	c, err := pgx.Connect(t.Context(), url)
	must(t, err)
	_, err = c.Exec(t.Context(), sql)
	must(t, errors.Join(err, c.Close(t.Context())))
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
