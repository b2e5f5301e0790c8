package probe_test

import (
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
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
		// Workers, each with a blocklist of its own, take turns behind one address.
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
			form := brokenForms[f.Name]
			if form.oneOf != nil {
				f.Processes, f.Workers = 3, 1
			}
			a := f.Start(t, examples.Broken, nil)
			if form.oneOf != nil {
				a.URLs = []string{inTurn(t, a.URLs)}
			}
			report := run(t, describe(t, f, a), probe.Options{})
			accused(t, report, append(slices.Clone(form.planted), form.besides...), append(slices.Clone(form.may), form.oneOf...))
			if form.oneOf != nil && !slices.ContainsFunc(form.oneOf, func(id string) bool { return verdicts(report, id)[probe.Finding] > 0 }) {
				t.Errorf("found %q, want one of %q\n%s", found(report), form.oneOf, table(report))
			}
		})
	}
}

// inTurn is one address for several: each answers what comes next.
func inTurn(t *testing.T, addresses []string) string {
	t.Helper()
	var all []*url.URL
	for _, address := range addresses {
		to, err := url.Parse(address)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, to)
	}
	var next atomic.Int64
	proxy := httptest.NewServer(&httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) { r.SetURL(all[int(next.Add(1))%len(all)]) }})
	t.Cleanup(proxy.Close)
	return proxy.URL
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
	report := run(t, description+"\ndelays: [0s, 200ms, 2m]\n", probe.Options{
		Only:  aliveLater,
		Sleep: insteadOfWaiting(func() { a.Redis.Kill(t) }),
	})
	if report.Verdict() != probe.Finding {
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
			cleared(t, report, brokenForms[f.Name].planted)
		})
	}
}

// accused expects findings of a run over sockets, and no others but those that may
// be. What a busy machine puts in doubt is inconclusive instead, and never a pass.
func accused(t *testing.T, report *probe.Report, finds, may []string) {
	t.Helper()
	begun(t, report)
	for _, id := range found(report) {
		if !slices.Contains(finds, id) && !slices.Contains(may, id) {
			t.Errorf("found %q, want %q\n%s", id, finds, table(report))
		}
	}
	for _, id := range finds {
		if v := verdicts(report, id); v[probe.Finding]+v[probe.Inconclusive] == 0 {
			t.Errorf("%s: %v\n%s", id, v, table(report))
		}
	}
}

// begun expects that a run got as far as to tell a valid session from none.
func begun(t *testing.T, report *probe.Report) {
	t.Helper()
	if slices.ContainsFunc(report.Remarks, func(remark string) bool { return strings.HasPrefix(remark, "the controls failed") }) {
		t.Errorf("nothing was tried\n%s", table(report))
	}
}

// cleared expects of a run over sockets that nothing is found, and that the named
// checks were made. What a busy machine puts in doubt is inconclusive, but nothing is
// taken after its end, and not everything is in doubt.
func cleared(t *testing.T, report *probe.Report, made []string) {
	t.Helper()
	begun(t, report)
	if got := found(report); len(got) != 0 {
		t.Errorf("found %q\n%s", got, table(report))
	}
	passed := 0
	for _, id := range made {
		v := verdicts(report, id)
		passed += v[probe.Pass] + v[probe.Note]
		if v[probe.Pass]+v[probe.Note]+v[probe.Inconclusive] == 0 {
			t.Errorf("%s: %v\n%s", id, v, table(report))
		}
	}
	if passed == 0 {
		t.Errorf("nothing has passed\n%s", table(report))
	}
	for _, result := range report.Results {
		if result.Verdict != probe.Inconclusive || !slices.Contains(made, result.Check) {
			continue
		}
		t.Logf("in doubt: %s: %s", result.Check, result.Reason)
		for _, id := range result.Lives {
			for _, answer := range report.Lives[id].Answers {
				if answer.After >= 0 && answer.Class == probe.Alive {
					t.Errorf("%s: taken %s after the end\n%s", result.Check, answer.After, table(report))
				}
			}
		}
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
