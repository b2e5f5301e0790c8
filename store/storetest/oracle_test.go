package storetest

import (
	"testing"
	"time"
)

// TestOracleKeepsTheContract also shows that the suite can be passed.
func TestOracleKeepsTheContract(t *testing.T) {
	Run(t, func(_ testing.TB, now func() time.Time) Instance { return NewOracle(now) })
}

// BenchmarkOracle shows what the benchmark itself costs.
func BenchmarkOracle(b *testing.B) {
	Bench(b, func(_ testing.TB, now func() time.Time) Instance { return NewOracle(now) })
}
