package main

import (
	"encoding/json"
	"errors"
	"math"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

func TestMedian(t *testing.T) {
	for _, c := range []struct {
		in   []float64
		want float64
	}{
		{[]float64{3}, 3},
		{[]float64{9, 1, 5}, 5},
		{[]float64{4, 1, 3, 2}, 2.5},
		{[]float64{1, 1, 1000}, 1},
	} {
		if got := median(c.in); got != c.want {
			t.Errorf("median(%v) = %v, want %v", c.in, got, c.want)
		}
	}
	if !math.IsNaN(median(nil)) {
		t.Error("the median of nothing is a number")
	}
	in := []float64{3, 1, 2}
	median(in)
	if !slices.Equal(in, []float64{3, 1, 2}) {
		t.Error("median sorts what belongs to its caller")
	}
}

func TestRatioDividesMediansAndPairsRounds(t *testing.T) {
	// The machine was twice as slow in the second round, for both.
	got := ratio(series{10, 22, 30}, series{5, 10, 15})
	if want := (figure{Median: 2.2, Min: 2, Max: 2.2}); got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
}

func TestPercentile(t *testing.T) {
	var all []time.Duration
	for i := 100; i > 0; i-- {
		all = append(all, time.Duration(i))
	}
	for p, want := range map[float64]time.Duration{0: 1, 0.01: 1, 0.5: 50, 0.99: 99, 1: 100} {
		if got := percentile(all, p); got != want {
			t.Errorf("p%v = %d, want %d", p*100, got, want)
		}
	}
	if percentile(nil, 0.5) != 0 {
		t.Error("a percentile of nothing")
	}
}

func TestVerdict(t *testing.T) {
	f := func(v float64) *figure { return &figure{Median: v} }
	for name, c := range map[string]struct {
		row  row
		want verdict
	}{
		"below at most":           {row{Ours: f(1), Ratio: f(1.09), Goal: &goal{atMost, 1.1}}, met},
		"at most itself":          {row{Ours: f(1), Ratio: f(1.1), Goal: &goal{atMost, 1.1}}, met},
		"above at most":           {row{Ours: f(1), Ratio: f(1.11), Goal: &goal{atMost, 1.1}}, missed},
		"above at least":          {row{Ours: f(1), Ratio: f(0.51), Goal: &goal{atLeast, 0.5}}, met},
		"below at least":          {row{Ours: f(1), Ratio: f(0.49), Goal: &goal{atLeast, 0.5}}, missed},
		"its own figure":          {row{Ours: f(9999), Goal: &goal{atMost, 10_000}}, met},
		"its own figure, too big": {row{Ours: f(10_001), Goal: &goal{atMost, 10_000}}, missed},
		"nothing was counted":     {row{Ours: f(0), Goal: &goal{atMost, 10_000}}, missed},
		"less than nothing":       {row{Ours: f(-1), Goal: &goal{atMost, 10_000}}, missed},
		"against nothing":         {row{Ours: f(1), Ratio: f(math.Inf(1)), Goal: &goal{atLeast, 0.5}}, missed},
		"no number":               {row{Ours: f(1), Ratio: f(math.NaN()), Goal: &goal{atMost, 1.1}}, missed},
		"no goal":                 {row{Ours: f(1)}, info},
		"not run":                 {row{Goal: &goal{atMost, 1}}, unmeasured},
	} {
		if got := c.row.verdict(); got != c.want {
			t.Errorf("%s: %s, want %s", name, got, c.want)
		}
	}
}

func TestContestTakesTurnsAndForgetsTheFirstRound(t *testing.T) {
	var order []string
	side := func(name string, base float64) contender {
		return contender{name, func(round int) (float64, error) {
			order = append(order, name)
			return base + float64(round), nil
		}}
	}
	got, err := contest(2, side("A", 10), side("B", 20))
	if err != nil {
		t.Fatal(err)
	}
	if strings.Join(order, "") != "ABABAB" {
		t.Errorf("order %v", order)
	}
	if !slices.Equal(got[0], series{11, 12}) || !slices.Equal(got[1], series{21, 22}) {
		t.Errorf("results %v", got)
	}
	broken := errors.New("broken")
	if _, err := contest(1, contender{"C", func(int) (float64, error) { return 0, broken }}); !errors.Is(err, broken) {
		t.Errorf("a failed round gave %v", err)
	}
}

func TestShareGivesNoTokenTwice(t *testing.T) {
	all := make([]int, 103)
	for i := range all {
		all[i] = i
	}
	seen := map[int]bool{}
	for round := range 5 {
		part := share(all, round, 4)
		if len(part) != 20 {
			t.Fatalf("round %d has %d", round, len(part))
		}
		for _, v := range part {
			if seen[v] {
				t.Fatalf("%d came twice", v)
			}
			seen[v] = true
		}
	}
}

func TestCrowdCallsEachOnceAndReportsFailure(t *testing.T) {
	calls := make([]atomic.Int32, 1000)
	if _, err := crowd(8, len(calls), func(i int) error { calls[i].Add(1); return nil }); err != nil {
		t.Fatal(err)
	}
	for i := range calls {
		if n := calls[i].Load(); n != 1 {
			t.Fatalf("%d was called %d times", i, n)
		}
	}
	broken := errors.New("broken")
	_, err := crowd(8, 1000, func(i int) error {
		if i == 500 {
			return broken
		}
		return nil
	})
	if !errors.Is(err, broken) {
		t.Errorf("a failure was lost: %v", err)
	}
}

func TestTable(t *testing.T) {
	rows := []row{
		against("jwt", "check", nanoseconds, series{80_000, 82_000, 84_000}, "golang-jwt", series{79_000, 80_000, 81_000}, &goal{atMost, 1.1}),
		alone("subject", "100,000 sessions", nanoseconds, series{11_000_000}, &goal{atMost, 10e6}),
		{Key: "growth", What: "10 M", Versus: "10 k", Goal: &goal{atMost, 2}, Notes: []string{"only with -full"}},
	}
	var b strings.Builder
	if err := writeTable(&b, rows); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"82.00 µs [80.00 µs – 84.00 µs]", "golang-jwt: 80.00 µs", "1.02× [1.01 – 1.04]", "≤ 1.1×", "| met ",
		"11.00 ms", "≤ 10.00 ms", "| missed ", "| not measured |", "- growth: only with -full",
	} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("no %q in\n%s", want, b.String())
		}
	}
	out, err := json.Marshal(rows[1])
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(out), `"verdict":"missed"`) {
		t.Errorf("no verdict in %s", out)
	}
}

func TestUnits(t *testing.T) {
	for _, c := range []struct {
		u    unit
		v    float64
		want string
	}{
		{perSecond, 1_234_567, "1 234 567/s"}, {perSecond, 12, "12/s"}, {perSecond, 999, "999/s"}, {perSecond, 1000, "1 000/s"},
		{nanoseconds, 2_500, "2.50 µs"}, {nanoseconds, 2_500_000, "2.50 ms"}, {nanoseconds, 2_500_000_000, "2.50 s"},
		{octets, 480, "480 B"}, {octets, 1 << 29, "512 MiB"}, {octets, 1 << 30, "1.00 GiB"},
	} {
		if got := c.u.format(c.v); got != c.want {
			t.Errorf("%v %s: %q, want %q", c.v, c.u, got, c.want)
		}
	}
}
