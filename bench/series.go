package main

import (
	"math"
	"slices"
	"time"
)

// series is what the rounds of one contender gave, in their order.
type series []float64

// figure is a series in three numbers. Min to Max is the machine's noise.
type figure struct {
	Median float64 `json:"median"`
	Min    float64 `json:"min"`
	Max    float64 `json:"max"`
}

func (s series) figure() figure {
	return figure{Median: median(s), Min: slices.Min(s), Max: slices.Max(s)}
}

// median is the middle value, or the mean of the two in the middle. The median
// of nothing is not a number.
func median(values []float64) float64 {
	if len(values) == 0 {
		return math.NaN()
	}
	sorted := slices.Sorted(slices.Values(values))
	half := len(sorted) / 2
	if len(sorted)%2 == 1 {
		return sorted[half]
	}
	return (sorted[half-1] + sorted[half]) / 2
}

// ratio is ours against theirs: the medians divided, and the least and the
// greatest quotient of one round, in which both ran side by side.
func ratio(ours, theirs series) figure {
	f := figure{Median: median(ours) / median(theirs), Min: math.Inf(1), Max: math.Inf(-1)}
	for i := range min(len(ours), len(theirs)) {
		q := ours[i] / theirs[i]
		f.Min, f.Max = math.Min(f.Min, q), math.Max(f.Max, q)
	}
	return f
}

// percentile is the value that a share p of all (0 to 1) does not exceed.
func percentile(values []time.Duration, p float64) time.Duration {
	if len(values) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(values))
	i := int(math.Ceil(p*float64(len(sorted)))) - 1
	return sorted[min(max(i, 0), len(sorted)-1)]
}

// bound is one side of a goal.
type bound string

const (
	atMost  bound = "≤"
	atLeast bound = "≥"
)

// goal is what a row is held against: its ratio where there is one, else its own
// figure.
type goal struct {
	Bound bound   `json:"bound"`
	Value float64 `json:"value"`
}

// verdict is how a row came out.
type verdict string

const (
	met        verdict = "met"
	missed     verdict = "missed"
	info       verdict = "–"            // there is no goal
	unmeasured verdict = "not measured" // in this run
)

// judge holds a value against the goal. What is no positive number was not
// measured properly and meets nothing.
func (g goal) judge(value float64) verdict {
	if !(value > 0) || math.IsInf(value, 0) {
		return missed
	}
	if (g.Bound == atMost && value <= g.Value) || (g.Bound == atLeast && value >= g.Value) {
		return met
	}
	return missed
}
