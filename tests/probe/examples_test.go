package probe_test

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/rescind/rescind/probe"
	"github.com/rescind/rescind/tests/examples"
)

// describe is the description that lies beside an example, for one that runs.
func describe(t *testing.T, f examples.Framework, a *examples.App) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("..", "..", "examples", f.Name, "probe.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	const users = "instances: [http://127.0.0.1:8080]"
	if !strings.Contains(string(text), users) {
		t.Fatalf("the description of %s is not for %s", f.Name, users)
	}
	return strings.Replace(string(text), users, "instances: ["+strings.Join(a.URLs, ", ")+"]", 1) + usual()
}

// In the broken forms all tokens but what a blocklist has are good until they
// expire, and refresh tokens are not rotated.
var stateless = []string{
	"access-token-alive-after-logout", "refresh-token-alive-after-logout", "old-refresh-token-accepted",
	"logout-everywhere-incomplete",
}

// brokenFinds are the checks that find what is broken on purpose.
var brokenFinds = map[string][]string{
	"go":      stateless,
	"nestjs":  stateless,
	"flask":   stateless,
	"express": stateless[1:],
}

// TestBrokenExamplesAreFound expects every planted flaw of the broken forms.
func TestBrokenExamplesAreFound(t *testing.T) {
	t.Parallel()
	for _, f := range examples.Frameworks {
		t.Run(f.Name, func(t *testing.T) {
			t.Parallel()
			f.Needs(t)
			a := f.Start(t, examples.Broken, nil)
			report := run(t, describe(t, f, a), probe.Options{})
			got := found(report)
			for _, id := range brokenFinds[f.Name] {
				if !slices.Contains(got, id) {
					t.Errorf("%s is not found in %q\n%s", id, got, table(report))
				}
			}
		})
	}
}

// TestCuredExamplesHaveNoFinding expects nothing of the cured forms, and that the
// checks which find the flaws of the broken forms were made.
func TestCuredExamplesHaveNoFinding(t *testing.T) {
	t.Parallel()
	for _, f := range examples.Frameworks {
		t.Run(f.Name, func(t *testing.T) {
			t.Parallel()
			f.Needs(t)
			a := f.Start(t, examples.Cured, examples.StartRescind(t, 0))
			report := run(t, describe(t, f, a), probe.Options{})
			sound(t, report, brokenFinds[f.Name])
		})
	}
}

// sound expects no finding, and that the named checks were made and passed.
func sound(t *testing.T, report *probe.Report, made []string) {
	t.Helper()
	if got := found(report); len(got) != 0 {
		t.Errorf("found %q\n%s", got, table(report))
	}
	for _, id := range made {
		n := 0
		for _, result := range report.Results {
			if result.Check == id {
				n++
				if result.Verdict != probe.Pass && result.Verdict != probe.Note {
					t.Errorf("%s: %s: %s%s\n%s", id, result.Verdict, result.Says, result.Reason, table(report))
				}
			}
		}
		if n == 0 {
			t.Errorf("%s was not made", id)
		}
	}
}
