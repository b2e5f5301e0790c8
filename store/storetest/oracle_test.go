package storetest

import (
	"strconv"
	"testing"
	"time"

	"github.com/rescind/rescind"
)

// TestOracleKeepsTheContract also shows that the suite can be passed.
func TestOracleKeepsTheContract(t *testing.T) {
	Run(t, func(_ testing.TB, now func() time.Time) Instance { return NewOracle(now) })
}

// TestShardedOracleKeepsTheContract: so does one of several shards.
func TestShardedOracleKeepsTheContract(t *testing.T) {
	for _, shards := range []int{2, 5} {
		t.Run(strconv.Itoa(shards), func(t *testing.T) {
			Run(t, func(_ testing.TB, now func() time.Time) Instance {
				return instanceOf(newShardedOracle(now, shards), func(o *oracle) rescind.Store { return o })
			})
		})
	}
}

// BenchmarkOracle shows what the benchmark itself costs.
func BenchmarkOracle(b *testing.B) {
	Bench(b, func(_ testing.TB, now func() time.Time) Instance { return NewOracle(now) })
}
