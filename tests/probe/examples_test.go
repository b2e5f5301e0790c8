package probe_test

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

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

// A flawed is what the probe finds in a broken example: what is planted, each by
// its README, and what comes with it.
type flawed struct {
	planted, besides []string
	// may are findings that depend on the moment, or on which worker has answered; at
	// least one of oneOf is there.
	may, oneOf []string
}

// In the broken forms all tokens but what a blocklist has are good until they
// expire, refresh tokens are not bound to anything, and nothing forbids to keep the
// answers that hold tokens.
var (
	stateless = []string{
		"access-token-alive-after-logout", "refresh-token-alive-after-logout", "logout-everywhere-incomplete",
	}
	kept = []string{"cache-control"}
	// A refresh within the second of the login gives the same text again, if tokens
	// have no id: then it is not called rotation.
	repeats = []string{"old-refresh-token-accepted"}
)

var brokenForms = map[string]flawed{
	"go":     {planted: append(stateless, repeats...), besides: kept},
	"nestjs": {planted: stateless, besides: append(kept, "token-without-id"), may: repeats},
	"flask": {planted: append(stateless[1:], repeats...), besides: kept,
		// Four workers, each with a blocklist of its own, take turns behind one address.
		oneOf: []string{"access-token-alive-after-logout", "revives", "death-is-late"},
		may:   []string{"route-disagrees", "access-token-of-before-refresh-alive-after-logout", "logout-twice", "token-variant-alive-after-logout"}},
	// Its blocklist has the access token that logged out, and no other.
	"express": {planted: stateless[1:], besides: append(kept, "access-token-of-before-refresh-alive-after-logout"), may: repeats},
}

// TestBrokenExamplesAreFound expects every planted flaw of the broken forms, and no
// finding that is not true.
func TestBrokenExamplesAreFound(t *testing.T) {
	t.Parallel()
	for _, f := range examples.Frameworks {
		t.Run(f.Name, func(t *testing.T) {
			t.Parallel()
			f.Needs(t)
			report := run(t, describe(t, f, f.Start(t, examples.Broken, nil)), probe.Options{})
			form := brokenForms[f.Name]
			got, want := found(report), append(slices.Clone(form.planted), form.besides...)
			slices.Sort(want)
			isOne := func(id string) bool { return slices.Contains(form.oneOf, id) }
			if form.oneOf != nil && !slices.ContainsFunc(got, isOne) {
				t.Errorf("found %q, want one of %q\n%s", got, form.oneOf, table(report))
			}
			got = slices.DeleteFunc(got, func(id string) bool {
				return (slices.Contains(form.may, id) || isOne(id)) && !slices.Contains(want, id)
			})
			if !slices.Equal(got, want) {
				t.Errorf("found %q, want %q\n%s", got, want, table(report))
			}
		})
	}
}

// TestABlocklistThatFailsOpenIsFound is about the flaw of the broken form for
// Express that does not show as long as its Redis runs.
func TestABlocklistThatFailsOpenIsFound(t *testing.T) {
	t.Parallel()
	i := slices.IndexFunc(examples.Frameworks, func(f examples.Framework) bool { return f.Redis })
	f := examples.Frameworks[i]
	f.Needs(t)
	a := f.Start(t, examples.Broken, nil)
	description := strings.Replace(describe(t, f, a), "\n"+short, "", 1)
	var once sync.Once
	report := run(t, description+"\ndelays: [0s, 200ms, 3s]\n", probe.Options{
		Only: []string{"access-token-alive-after-logout", "revives"},
		Progress: func(p probe.Progress) {
			if p.Experiment == "logout" {
				once.Do(func() { time.AfterFunc(1500*time.Millisecond, func() { a.Redis.Kill(t) }) })
			}
		},
	})
	if verdicts(report, "revives")[probe.Finding] == 0 {
		t.Errorf("a token that a dead Redis has forgotten is not found\n%s", table(report))
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
			sound(t, report, brokenForms[f.Name].planted)
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
