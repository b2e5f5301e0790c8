// Package report writes what a probe found out: for a terminal, as JSON, as JUnit
// XML, as SARIF 2.1.0, and as one HTML file with a picture of each token's life.
//
// The engine masks every secret before it gets into a [probe.Report]. Each writer
// here begins by masking again whatever looks like a token, and by making control
// characters visible, so that nothing that a hostile server answers can move a
// cursor, end an element, or carry a secret into a file.
package report

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/rescind/rescind/probe"
)

// Home is where the program is described.
const Home = "https://github.com/rescind/rescind"

// About is what a report says besides what the engine found out.
type About struct {
	Version   string   // of the program; may be empty
	File      string   // path of the description from the root of its repository; may be empty
	Arguments []string // of the command line; may be empty
}

// ExitCode is that of `rescind probe`: 0 if everything that applies has passed, 1
// if there is a finding, 3 if there is none and anything is inconclusive.
func ExitCode(r *probe.Report) int {
	switch r.Verdict() {
	case probe.Pass:
		return 0
	case probe.Finding:
		return 1
	default:
		return 3
	}
}

// headline is the answer to the one question.
func headline(r *probe.Report) string {
	catalogue := probe.Checks()
	asked := slices.ContainsFunc(r.Results, func(result probe.Result) bool {
		return result.Verdict == probe.Pass && slices.Contains(theQuestion, result.Check)
	})
	outlived := slices.ContainsFunc(r.Results, func(result probe.Result) bool {
		return result.Verdict == probe.Finding && slices.Contains(catalogue.Find(result.Check).ASVS, noFurtherUse)
	})
	switch verdict := r.Verdict(); {
	case verdict == probe.Inconclusive:
		return "Not shown whether logout ends access"
	case outlived:
		return "Logout does not end access"
	case verdict == probe.Finding && asked:
		return "Logout ends access, but something else is wrong"
	case verdict == probe.Finding:
		return "Something is wrong"
	case asked:
		return "Logout ends access"
	default:
		return "No finding" // it was not asked whether logout ends access
	}
}

// theQuestion are the checks that ask whether logout ends access. Others, as that
// of a token's other spellings, pass also where it ends nothing.
var theQuestion = []string{
	"access-token-alive-after-logout", "refresh-token-alive-after-logout", "cookie-alive-after-logout", "session-alive-after-logout",
}

// noFurtherUse is the requirement that "logout ends access" stands for.
const noFurtherUse = "v5.0.0-7.4.1"

// summary counts what came out, worst first.
func summary(r *probe.Report) string {
	var parts []string
	for _, kind := range []struct {
		verdict   probe.Verdict
		one, many string
	}{
		{probe.Finding, "finding", "findings"},
		{probe.Inconclusive, "inconclusive", "inconclusive"},
		{probe.Pass, "passed", "passed"},
		{probe.Note, "note", "notes"},
		{probe.NotApplicable, "not applicable", "not applicable"},
	} {
		switch n := r.Count(kind.verdict); {
		case n == 1:
			parts = append(parts, "1 "+kind.one)
		case n > 1:
			parts = append(parts, fmt.Sprint(n, " ", kind.many))
		}
	}
	return strings.Join(parts, ", ")
}

// An entry is a result with what the catalogue says of its check.
type entry struct {
	probe.Result
	Of probe.Check
}

// Name is the check's id and what it is about.
func (e entry) Name() string {
	if e.Subject == "" {
		return e.Check
	}
	return e.Check + " (" + e.Subject + ")"
}

// Text is what was seen, or why nothing was.
func (e entry) Text() string { return cmp.Or(e.Says, e.Reason) }

// Shown is the exchange that shows the finding: the last replay that was answered
// as if it were alive, else the last one of all.
func (e entry) Shown() *probe.Exchange {
	if len(e.Evidence) == 0 {
		return nil
	}
	for i, x := range slices.Backward(e.Evidence) {
		if x.Role == "replay" && x.Class == probe.Alive {
			return &e.Evidence[i]
		}
	}
	return &e.Evidence[len(e.Evidence)-1]
}

// A finding is what one check found, on one subject or several.
type finding struct {
	Of      probe.Check
	Entries []entry
}

// findings are all of them, the worst checks first.
func findings(r *probe.Report, catalogue probe.Catalogue) []finding {
	var out []finding
	for _, e := range entries(r, catalogue, probe.Finding) {
		i := slices.IndexFunc(out, func(f finding) bool { return f.Of.ID == e.Check })
		if i < 0 {
			i = len(out)
			out = append(out, finding{Of: e.Of})
		}
		out[i].Entries = append(out[i].Entries, e)
	}
	return out
}

// After says when an exchange of the evidence was begun, counted from the answer to
// the first logout in it; empty if there is none, or it came before.
func (e entry) After(x probe.Exchange) string {
	for _, end := range e.Evidence {
		if strings.HasPrefix(end.Role, "logout") && end.Status != 0 {
			if after := x.Began.Sub(end.Began.Add(end.Took)); after >= 0 {
				return span(after) + " after the logout"
			}
			return ""
		}
	}
	return ""
}

var severities = []probe.Severity{probe.High, probe.Medium, probe.Low, probe.Info}

// entries are the results with one of the verdicts; findings come worst first.
func entries(r *probe.Report, catalogue probe.Catalogue, verdicts ...probe.Verdict) []entry {
	var out []entry
	for _, result := range r.Results {
		if slices.Contains(verdicts, result.Verdict) {
			out = append(out, entry{result, catalogue.Find(result.Check)})
		}
	}
	slices.SortStableFunc(out, func(a, b entry) int {
		if a.Verdict != probe.Finding || b.Verdict != probe.Finding {
			return 0
		}
		return slices.Index(severities, a.Of.Severity) - slices.Index(severities, b.Of.Severity)
	})
	return out
}

// span prints a duration as somebody would say it.
func span(d time.Duration) string {
	sign := ""
	if d < 0 {
		sign, d = "−", -d
	}
	switch {
	case d < 10*time.Millisecond:
		return sign + trimmed(float64(d)/1e6, 1) + " ms"
	case d < time.Second:
		return sign + trimmed(float64(d)/1e6, 0) + " ms"
	case d < time.Minute:
		return sign + trimmed(d.Seconds(), 1) + " s"
	case d < time.Hour:
		return sign + trimmed(d.Minutes(), 1) + " min"
	default:
		return sign + trimmed(d.Hours(), 1) + " h"
	}
}

func trimmed(number float64, digits int) string {
	text := fmt.Sprintf("%.*f", digits, number)
	if digits > 0 {
		text = strings.TrimSuffix(text, ".0")
	}
	return text
}

// A fate is what became of a life, in words.
type fate struct {
	Bad  bool // it did what the end of its session forbids
	Good bool
	Text string
}

// fateOf judges one life by its answers alone; what follows from it is the
// engine's to say.
func fateOf(l probe.Life) fate {
	if l.Ended.IsZero() {
		return bystander(l)
	}
	if l.Kind == probe.Socket {
		return socketFate(l)
	}
	last, lived := l.LastAlive()
	first, died := l.FirstDead()
	switch {
	case l.Revived():
		return fate{Bad: true, Text: "dead, and alive again at " + span(last)}
	case lived && died:
		return fate{Bad: true, Text: "alive until " + span(last) + ", dead at " + span(first)}
	case lived:
		return fate{Bad: true, Text: "still alive at " + span(last)}
	case died:
		return fate{Good: true, Text: "dead at " + span(first)}
	}
	if slices.ContainsFunc(l.Answers, func(a probe.Answer) bool { return a.After >= 0 }) {
		return fate{Text: "unclear"}
	}
	return fate{Text: "not asked"}
}

// promptly is how long a server may take to close a socket: the engine's own
// tolerance.
const promptly = time.Second

// socketFate is that of a WebSocket or event stream. Its answers are messages that
// came by themselves, and its end.
func socketFate(l probe.Life) fate {
	last, carried := l.LastAlive()
	if n := len(l.Answers); n > 0 && l.Answers[n-1].Class == probe.Dead {
		switch at := l.Answers[n-1].After; {
		case at <= 0:
			return fate{Good: true, Text: "closed at once"}
		default:
			return fate{Good: at <= promptly, Bad: at > promptly && carried, Text: "closed at " + span(at)}
		}
	}
	if carried && last > promptly {
		return fate{Bad: true, Text: "still open at " + span(last)}
	}
	return fate{Text: "open, and silent"}
}

// bystander is the fate of a life that was to go on.
func bystander(l probe.Life) fate {
	if len(l.Answers) == 0 {
		return fate{Text: "not asked"}
	}
	switch final := l.Answers[len(l.Answers)-1]; final.Class {
	case probe.Alive:
		return fate{Good: true, Text: "lives on"}
	case probe.Dead:
		return fate{Bad: true, Text: "dead, though nobody ended it"}
	default:
		return fate{Text: "unclear"}
	}
}
