package main

import (
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"
	"time"
)

// contender is one side of a comparison. run does one round and returns its
// figure; rounds count from zero.
type contender struct {
	name string
	run  func(round int) (float64, error)
}

// contest lets the contenders take turns, A B A B, so that what disturbs the
// machine disturbs all of them alike. The first round warms up and does not count.
func contest(rounds int, all ...contender) ([]series, error) {
	got, _, err := contestBusy(rounds, 0, all...)
	return got, err
}

// contestBusy also returns the processor time that this process used for all the
// rounds of a contender that count, whatever else the machine had to do; zero
// where the system does not tell. With patience, a round ends only when the
// process is at rest, or patience is over: what a store puts off until later is
// its own cost, and nobody else's round suffers from it.
func contestBusy(rounds int, patience time.Duration, all ...contender) ([]series, []time.Duration, error) {
	results, busy := make([]series, len(all)), make([]time.Duration, len(all))
	for round := range rounds + 1 {
		for i, c := range all {
			runtime.GC() // nobody pays for what the one before has left
			before, _ := processTime()
			v, err := c.run(round)
			if err != nil {
				return nil, nil, fmt.Errorf("%s, round %d: %w", c.name, round, err)
			}
			settle(patience)
			after, _ := processTime()
			if round > 0 {
				results[i] = append(results[i], v)
				busy[i] += after - before
			}
		}
	}
	return results, busy, nil
}

// each is the processor time of one of the n operations of every round.
func each(busy time.Duration, rounds, n int) string {
	return nanoseconds.format(float64(busy) / float64(n*rounds))
}

// share returns the part of all that belongs to a round, so that no two rounds
// see the same.
func share[T any](all []T, round, rounds int) []T {
	n := len(all) / (rounds + 1)
	return all[round*n : (round+1)*n]
}

// crowd calls do for 0 to n-1, by so many workers at once, and returns how long
// that took. The first error ends it.
func crowd(workers, n int, do func(i int) error) (time.Duration, error) {
	var next atomic.Int64
	var failed atomic.Pointer[error]
	var all sync.WaitGroup
	begin := time.Now()
	for range workers {
		all.Go(func() {
			for failed.Load() == nil {
				i := int(next.Add(1)) - 1
				if i >= n {
					return
				}
				if err := do(i); err != nil {
					failed.CompareAndSwap(nil, &err)
				}
			}
		})
	}
	all.Wait()
	took := time.Since(begin)
	if err := failed.Load(); err != nil {
		return took, *err
	}
	return took, nil
}

// timed is the time of one call of do, in nanoseconds, by one goroutine.
func timed(n int, do func(i int) error) (float64, error) {
	begin := time.Now()
	for i := range n {
		if err := do(i); err != nil {
			return 0, err
		}
	}
	return float64(time.Since(begin)) / float64(n), nil
}

// timedOnAll is the time of one call of do on one core, in nanoseconds, when all
// cores are at it.
func timedOnAll(n int, do func(i int) error) (float64, error) {
	cores := runtime.GOMAXPROCS(0)
	took, err := crowd(cores, n, do)
	return float64(took) * float64(cores) / float64(n), err
}

// rate is how many calls of do end per second.
func rate(workers, n int, do func(i int) error) (float64, error) {
	took, err := crowd(workers, n, do)
	return float64(n) / took.Seconds(), err
}
