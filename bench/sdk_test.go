package main

import (
	"errors"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"
)

// TestApplicationsAreComparedWithTheirOwn holds each against the bare route and the
// recipe of its own framework.
func TestApplicationsAreComparedWithTheirOwn(t *testing.T) {
	all := []application{
		{Framework: "A", Name: "bare", kind: "bare"}, {Framework: "A", Name: "ours", kind: "rescind", token: "jwt"},
		{Framework: "A", Name: "theirs", kind: "key", token: "hs256", recipe: true},
		{Framework: "B", Name: "bare", kind: "bare"}, {Framework: "B", Name: "ours", kind: "rescind", token: "jwt"},
	}
	for i := range all {
		all[i].cpu = series{float64(i+1) * 1e5}
	}
	summarize(all, []series{{100}, {60}, {80}, {10}, {8}})
	if a := all[1]; a.ToBare.Median != 0.6 || a.ToRecipe == nil || a.ToRecipe.Median != 0.75 || a.CPU != 2e5 {
		t.Errorf("A: %+v", a)
	}
	if a := all[2]; a.ToBare.Median != 0.8 || a.ToRecipe != nil {
		t.Errorf("the recipe: %+v", a)
	}
	if a := all[4]; a.ToBare.Median != 0.8 || a.ToRecipe != nil {
		t.Errorf("B: %+v", a)
	}
	var b strings.Builder
	if err := writeLines(&b, sdkTable(all), nil); err != nil {
		t.Fatal(err)
	}
	if want := "| A, ours     | 60/s     | 0.60× [0.60 – 0.60] | 0.75× [0.75 – 0.75] "; !strings.Contains(b.String(), want) {
		t.Errorf("no %q in\n%s", want, b.String())
	}
}

func TestEveryFrameworkHasOneBareRouteAndOneRecipe(t *testing.T) {
	bare, recipes := map[string]int{}, map[string]int{}
	for _, a := range applications {
		if a.kind == "bare" {
			bare[a.Framework]++
		}
		if a.recipe {
			recipes[a.Framework]++
		}
	}
	for _, a := range applications {
		if bare[a.Framework] != 1 || recipes[a.Framework] != 1 {
			t.Errorf("%s has %d bare routes and %d recipes to compare with", a.Framework, bare[a.Framework], recipes[a.Framework])
		}
	}
}

func TestTreeTimeCountsWhatAProcessHasStarted(t *testing.T) {
	if _, err := os.Stat("/proc/self/stat"); err != nil {
		if got := treeTime(os.Getpid()); got != 0 {
			t.Errorf("%v, and this system does not tell", got)
		}
		return
	}
	// The one that is busy is not the process itself, and it stays until its input ends.
	c := exec.Command("/bin/sh", "-c", `sh -c 'i=0; while [ $i -lt 200000 ]; do i=$((i+1)); done; read x'; true`)
	in, err := c.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(20 * time.Second); treeTime(c.Process.Pid) < 20*time.Millisecond; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Error("the child's time is not counted")
			break
		}
	}
	if err := errors.Join(in.Close(), c.Wait()); err != nil {
		t.Error(err)
	}
}
