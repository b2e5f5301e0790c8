// Package linear holds histories of many clients and several nodes against a model
// that does one thing after another: whatever happens to nodes, to the ledger and
// to the network between, every answer is one that such a process could have given.
package linear

import (
	"os"
	"testing"
	"time"

	"github.com/rescind/rescind/tests/server"
)

var program server.Program

func TestMain(m *testing.M) { server.Main(m, &program) }

// length is how long everything fails. What has to fail once takes longer. Planted
// bugs are looked for in the short form: that variable is set for them.
func length() time.Duration {
	if _, planted := os.LookupEnv("RESCIND_PLANTED"); !planted && os.Getenv("RESCIND_SLOW") == "1" {
		return 3 * time.Minute
	}
	return time.Second
}

// enough is how many answers of each kind show something.
const enough = 500

// verdict fails the test if a history is not linearizable, and says which law it
// breaks.
func (st *storm) verdict(t *testing.T) {
	t.Helper()
	begun := time.Now()
	wrong := st.judge()
	operations := 0
	for _, s := range st.all {
		operations += len(s.history)
	}
	t.Logf("%d histories of %d operations judged in %s; answered %d yes, %d no, %d unknown", len(st.all), operations,
		time.Since(begun).Round(time.Millisecond), st.answered[yes].Load(), st.answered[no].Load(), st.answered[unknown].Load())
	for i, why := range wrong {
		if i == 3 {
			t.Errorf("and %d more", len(wrong)-i)
			break
		}
		t.Error(why)
	}
	if st.answered[yes].Load() < enough || st.answered[no].Load() < enough {
		t.Error("too few answers: this shows nothing")
	}
}

// stores are the kinds of shared ledgers.
var stores = []struct {
	name  string
	start func(*testing.T) *world
}{{"PostgreSQL", onPostgreSQL}, {"Redis", onRedis}, {"Cluster", onCluster}}

// TestNodesAnswerAsOne holds laws 1, 2, 3, 4 and 5 while nothing fails. Bugs that
// need no fault are found in it, and it says which law they break.
func TestNodesAnswerAsOne(t *testing.T) {
	for _, on := range stores {
		t.Run(on.name, func(t *testing.T) {
			on.start(t).storm(func(st *storm) { st.untilAnswered(yes, 2000) })
		})
	}
}

// TestNodesAnswerAsOneWhateverFails is the same while nodes, the ledger and the
// network fail in every way.
func TestNodesAnswerAsOneWhateverFails(t *testing.T) {
	for _, on := range stores {
		t.Run(on.name, func(t *testing.T) {
			t.Parallel() // they wait most of the time
			w := on.start(t)
			w.storm(func(*storm) { w.torment(length()) })
		})
	}
}

func (w *world) storm(during func(*storm)) {
	w.t.Helper()
	st := newStorm(w.t, w.nodes)
	feed := follow(w.t, w.url)
	st.run(func() {
		during(st)
		st.untilAnswered(yes, enough)
		st.untilAnswered(no, enough)
	})
	st.look()
	if _, err := feed(); err != nil {
		w.t.Error(err)
	}
	st.verdict(w.t)
}
