package main

import (
	"context"
	"sync/atomic"
	"testing"
	"time"
)

// TestEveryWorkerOfABenchmarkHasATurn: however slow the machine is, and however short
// the measurement.
func TestEveryWorkerOfABenchmarkHasATurn(t *testing.T) {
	var turns [3]atomic.Int64
	b := &bench{workers: len(turns), each: time.Nanosecond}
	got, err := b.measure(context.Background(), "call", func(w, _ int) (bool, error) {
		turns[w].Add(1)
		return true, nil
	})
	if err != nil || got.Calls < len(turns) {
		t.Errorf("%+v, %v", got, err)
	}
	for w := range turns {
		if turns[w].Load() == 0 {
			t.Errorf("worker %d had no turn", w)
		}
	}
}
