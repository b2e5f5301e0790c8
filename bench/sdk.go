package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// The packages for other languages, beside an application that checks nothing and
// beside the classic recipes, in one run and in turns: go run ./bench sdk.

// applications are what is measured, each against the bare one of its framework,
// which comes first, and against the recipe with a blocklist in Redis.
var applications = []application{
	{Framework: "Express", Name: "bare route", kind: "bare"},
	{Framework: "Express", Name: "Rescind", kind: "rescind", token: "jwt"},
	{Framework: "Express", Name: "Rescind, opaque tokens", kind: "rescind", token: "opaque"},
	{Framework: "Express", Name: "HS256 + Redis, secret as KeyObject", kind: "key", token: "hs256", recipe: true},
	{Framework: "Express", Name: "HS256 + Redis, secret as text", kind: "text", token: "hs256"},
	{Framework: "Flask", Name: "bare route", kind: "bare"},
	{Framework: "Flask", Name: "Rescind", kind: "rescind", token: "jwt"},
	{Framework: "Flask", Name: "Rescind, opaque tokens", kind: "rescind", token: "opaque"},
	{Framework: "Flask", Name: "flask-jwt-extended + Redis", kind: "recipe", token: "hs256", recipe: true},
}

// application is one of them. Figures are for each request; CPU is processor time.
type application struct {
	Framework string  `json:"framework"`
	Name      string  `json:"name"`
	Rate      figure  `json:"per_second"`
	ToBare    figure  `json:"to_bare"`
	ToRecipe  *figure `json:"to_recipe,omitempty"`
	P50       float64 `json:"p50_ns"`
	P99       float64 `json:"p99_ns"`
	CPU       float64 `json:"cpu_ns"`
	Behind    float64 `json:"cpu_behind_ns"` // of what it asks: Rescind, or Redis
	Load      float64 `json:"cpu_load_ns"`   // of the load generator

	kind, token string
	recipe      bool // with which the others are compared

	addr, requests     string
	pid, asks          int // asks: whom it asks, if anybody
	p50, p99           series
	cpu, behind, loads series
}

func sdkMain(ctx context.Context, args []string) (err error) {
	f := flag.NewFlagSet("bench sdk", flag.ContinueOnError)
	asJSON := f.Bool("json", false, "print JSON")
	dir := f.String("dir", ".", "where the data folder is made; it is removed at the end")
	rounds := f.Int("rounds", 9, "rounds of every application, after one that warms up")
	if err := f.Parse(args); err != nil {
		return err
	}
	if f.NArg() > 0 || *rounds < 1 {
		return errors.New("usage: bench sdk [flags]; at least one round")
	}
	folder, err := os.MkdirTemp(*dir, "rescind-data-bench-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(folder)) }()
	if folder, err = filepath.Abs(folder); err != nil {
		return err
	}
	m, err := describe(folder)
	if err != nil {
		return err
	}
	begin := time.Now()
	r := rig{dir: folder}
	defer func() { err = errors.Join(err, r.stop()) }()
	if err := r.start(ctx); err != nil {
		return err
	}
	all := r.applications
	var sides []contender
	for i := range all {
		a := &all[i]
		sides = append(sides, contender{a.Framework + ", " + a.Name, func(round int) (float64, error) { return a.measure(ctx, round) }})
	}
	rates, err := contest(*rounds, sides...)
	if err != nil {
		return err
	}
	summarize(all, rates)
	if *asJSON {
		e := json.NewEncoder(os.Stdout)
		e.SetIndent("", "  ")
		return e.Encode(struct {
			Machine      machine       `json:"machine"`
			Software     []string      `json:"software"`
			Applications []application `json:"applications"`
		}{m, r.software, all})
	}
	fmt.Printf("%s\n%s\n%d rounds of %v, %d connections; median [least – greatest] of the rounds; took %s\n\n",
		m, strings.Join(r.software, ", "), *rounds, loadFor, connections, time.Since(begin).Round(time.Second))
	return writeLines(os.Stdout, sdkTable(all), nil)
}

// measure lets the load generator loose on an application and returns answers per
// second.
func (a *application) measure(ctx context.Context, round int) (float64, error) {
	before, behindBefore := treeTime(a.pid), treeTime(a.asks)
	var r loadResult
	err := again(ctx, &r, "load", "-addr", a.addr, "-requests", a.requests, "-connections", strconv.Itoa(connections), "-want", "ok")
	if err != nil {
		return 0, err
	}
	if r.Requests == 0 {
		return 0, errors.New("no answers")
	}
	if round > 0 {
		a.p50, a.p99 = append(a.p50, float64(r.P50)), append(a.p99, float64(r.P99))
		a.cpu = append(a.cpu, float64(treeTime(a.pid)-before)/float64(r.All))
		a.behind = append(a.behind, float64(treeTime(a.asks)-behindBefore)/float64(r.All))
		a.loads = append(a.loads, float64(r.Busy)/float64(r.All))
	}
	return float64(r.Requests) / r.Seconds, nil
}

// summarize writes down what the rounds gave.
func summarize(all []application, rates []series) {
	for i := range all {
		a := &all[i]
		a.Rate, a.P50, a.P99 = rates[i].figure(), median(a.p50), median(a.p99)
		a.CPU, a.Behind, a.Load = median(a.cpu), median(a.behind), median(a.loads)
		for j, other := range all {
			switch {
			case other.Framework != a.Framework:
			case other.kind == "bare":
				a.ToBare = ratio(rates[i], rates[j])
			case other.recipe && a.kind == "rescind":
				f := ratio(rates[i], rates[j])
				a.ToRecipe = &f
			}
		}
	}
}

func sdkTable(all []application) [][]string {
	lines := [][]string{{"application", "requests", "× bare", "× recipe with Redis", "p50", "p99", "processor time a request", "of Rescind or Redis"}}
	times := func(f figure) string { return fmt.Sprintf("%.2f× [%.2f – %.2f]", f.Median, f.Min, f.Max) }
	for _, a := range all {
		bare, recipe, behind := "", "", ""
		if a.kind != "bare" {
			bare = times(a.ToBare)
		}
		if a.ToRecipe != nil {
			recipe = times(*a.ToRecipe)
		}
		if a.token != "" {
			behind = nanoseconds.format(a.Behind)
		}
		lines = append(lines, []string{
			a.Framework + ", " + a.Name, perSecond.figure(&a.Rate), bare, recipe,
			nanoseconds.format(a.P50), nanoseconds.format(a.P99), nanoseconds.format(a.CPU), behind,
		})
	}
	return lines
}

// treeTime is the processor time that a process and those that it has started have
// used, or nothing where the system does not tell.
func treeTime(pid int) time.Duration {
	stats, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil || pid == 0 {
		return 0
	}
	parents, times := map[int]int{}, map[int]time.Duration{}
	for _, path := range stats {
		text, err := os.ReadFile(path)
		if err != nil {
			continue // it has ended meanwhile
		}
		id, err := strconv.Atoi(filepath.Base(filepath.Dir(path)))
		// The name, in brackets, may hold anything.
		fields := bytes.Fields(text[bytes.LastIndexByte(text, ')')+1:])
		if err != nil || len(fields) < 13 {
			continue
		}
		parent, _ := strconv.Atoi(string(fields[1])) // 0 has no parent, and is nobody's
		parents[id] = parent
		for _, f := range fields[11:13] {
			ticks, _ := strconv.ParseInt(string(f), 10, 64)
			times[id] += time.Duration(ticks) * 10 * time.Millisecond
		}
	}
	var sum time.Duration
	for id, used := range times {
		for up := id; up != 0; up = parents[up] {
			if up == pid {
				sum += used
				break
			}
		}
	}
	return sum
}
