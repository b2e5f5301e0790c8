// Package linear holds histories of many clients and several nodes against a model
// that does one thing after another: whatever happens to nodes, to the ledger and
// to the network between, every answer is one that such a process could have given.
package linear

import (
	"os"
	"testing"
	"time"

	"github.com/rescind/rescind/tests/nodes"
	"github.com/rescind/rescind/tests/redis"
	"github.com/rescind/rescind/tests/server"
)

var program server.Program

func TestMain(m *testing.M) { server.Main(m, &program) }

// length is how long a storm lasts: short where a planted bug is looked for, in
// the suites that tests/planted runs.
func length() time.Duration {
	if _, planted := os.LookupEnv("RESCIND_PLANTED"); !planted && os.Getenv("RESCIND_SLOW") == "1" {
		return 3 * time.Minute
	}
	return 10 * time.Second
}

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
	for _, is := range []struct {
		what string
		n    int64
	}{{"yes", st.answered[yes].Load()}, {"no", st.answered[no].Load()}} {
		if is.n < 500 {
			t.Errorf("only %d answers were %s: this shows nothing", is.n, is.what)
		}
	}
}

func TestHistoriesAreLinearizable(t *testing.T) {
	t.Run("Redis", func(t *testing.T) {
		s := redis.Start(t)
		all := nodes.Start(t, program, []string{s.URL(), s.URL(), s.URL()})
		st := newStorm(t, urls(all))
		st.run(func() { time.Sleep(length()) })
		st.look()
		st.verdict(t)
	})
}

func urls(all []*nodes.Node) []string {
	var list []string
	for _, n := range all {
		list = append(list, n.URL)
	}
	return list
}
