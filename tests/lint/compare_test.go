package lint_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/rescind/rescind/lint"
)

// A score counts what lint made of a part of the corpus.
type score struct {
	flaws  int // labels with that verdict
	found  int // of them, those with a finding
	claims int // findings, without those of which nobody says that they are right or wrong
	right  int // of them, those on a flaw
}

func (s *score) add(other score) {
	s.flaws += other.flaws
	s.found += other.found
	s.claims += other.claims
	s.right += other.right
}

func (s score) recall() string    { return ratio(s.found, s.flaws) }
func (s score) precision() string { return ratio(s.right, s.claims) }

func ratio(part, whole int) string {
	if whole == 0 {
		return "–"
	}
	return fmt.Sprintf("%.2f", float64(part)/float64(whole))
}

// row is the line of docs/design/lint.md that states two scores: of all findings,
// and of those that are likely at least, which fail a build.
func row(name string, all, likely score) string {
	return fmt.Sprintf("| %s | %d | %d | %d | %s | %s | %d | %d | %s | %s |", name,
		all.flaws, all.found, all.claims-all.right, all.recall(), all.precision(),
		likely.found, likely.claims-likely.right, likely.recall(), likely.precision())
}

// compare holds findings against labels. Findings on one label are one: a flaw that
// is seen from two sides is no two flaws. wrong says where the labels and the
// findings disagree in a way that the labels do not tell of.
func compare(e *entry, findings []lint.Finding, least lint.Confidence) (s score, wrong []string) {
	hit := map[*label]bool{}
	say := func(format string, args ...any) { wrong = append(wrong, fmt.Sprintf(format, args...)) }
	for _, f := range findings {
		if !f.Confidence.AtLeast(least) || f.Suppressed != "" {
			continue
		}
		labels := covering(e, f)
		if len(labels) == 0 {
			s.claims++
			say("%s:%d: %s (%s) has no label: read the code, and say what is true of it\n\t%s", f.Path, f.Range.Start.Line, f.Rule, f.Confidence, f.Message)
		}
		for _, l := range labels {
			hit[l] = true
		}
	}
	for _, l := range e.Labels {
		switch {
		case l.Verdict == "flaw":
			s.flaws++
			if hit[l] {
				s.found++
				s.claims++
				s.right++
			}
		case l.Verdict == "clean" && hit[l]:
			s.claims++
		}
	}
	if least == lint.Possible {
		for _, l := range e.Labels {
			switch {
			case l.Verdict == "flaw" && !hit[l] && l.Missed == "":
				say("%v is not found: %s", l, l.Why)
			case l.Verdict == "flaw" && hit[l] && l.Missed != "":
				say("%v is found by now: take away missed", l)
			case l.Verdict == "clean" && hit[l] && l.Flagged == "":
				say("%v is a false alarm: %s", l, l.Why)
			case l.Verdict == "clean" && !hit[l] && l.Flagged != "":
				say("%v is no false alarm any more: take away flagged", l)
			}
		}
	}
	return s, wrong
}

// covering are the labels that a finding falls on: flaws if there are any, for a
// place may be right in one way and wrong in another.
func covering(e *entry, f lint.Finding) []*label {
	var flaws, others []*label
	for _, l := range e.Labels {
		if l.Rule != f.Rule || !l.covers(f.Path, f.Range.Start.Line) {
			continue
		}
		if l.Verdict == "flaw" {
			flaws = append(flaws, l)
		} else {
			others = append(others, l)
		}
	}
	if len(flaws) > 0 {
		return flaws
	}
	return others
}

func TestTheComparisonSeesEveryDisagreement(t *testing.T) {
	in := func(rule, path string, line int) lint.Finding {
		f := lint.Finding{Rule: rule, Path: path, Confidence: lint.Likely}
		f.Range.Start.Line = line
		return f
	}
	on := func(verdict, missed, flagged string) *label {
		return &label{At: []string{"a.js:5-9"}, places: []place{{"a.js", 5, 9}}, Rule: "r", Verdict: verdict, Why: "w", Missed: missed, Flagged: flagged}
	}
	for name, c := range map[string]struct {
		label    *label
		findings []lint.Finding
		score    score
		wrong    string
	}{
		"found":                 {on("flaw", "", ""), []lint.Finding{in("r", "a.js", 5), in("r", "a.js", 9)}, score{1, 1, 1, 1}, ""},
		"missed":                {on("flaw", "", ""), nil, score{1, 0, 0, 0}, "is not found"},
		"known to be missed":    {on("flaw", "too hard", ""), nil, score{1, 0, 0, 0}, ""},
		"not missed any more":   {on("flaw", "too hard", ""), []lint.Finding{in("r", "a.js", 7)}, score{1, 1, 1, 1}, "found by now"},
		"false alarm":           {on("clean", "", ""), []lint.Finding{in("r", "a.js", 7)}, score{0, 0, 1, 0}, "false alarm"},
		"known false alarm":     {on("clean", "", "why"), []lint.Finding{in("r", "a.js", 7)}, score{0, 0, 1, 0}, ""},
		"no alarm any more":     {on("clean", "", "why"), nil, score{}, "any more"},
		"clean":                 {on("clean", "", ""), nil, score{}, ""},
		"right and no loss":     {on("either", "", ""), []lint.Finding{in("r", "a.js", 7)}, score{}, ""},
		"of another rule":       {on("flaw", "too hard", ""), []lint.Finding{in("q", "a.js", 7)}, score{1, 0, 1, 0}, "no label"},
		"in another place":      {on("flaw", "too hard", ""), []lint.Finding{in("r", "a.js", 10)}, score{1, 0, 1, 0}, "no label"},
		"in another file":       {on("flaw", "too hard", ""), []lint.Finding{in("r", "b.js", 7)}, score{1, 0, 1, 0}, "no label"},
		"told to be no finding": {on("flaw", "too hard", ""), []lint.Finding{{Rule: "r", Path: "a.js", Confidence: lint.Likely, Suppressed: "why"}}, score{1, 0, 0, 0}, ""},
	} {
		s, wrong := compare(&entry{Labels: []*label{c.label}}, c.findings, lint.Possible)
		if text := strings.Join(wrong, "\n"); s != c.score || (text == "") != (c.wrong == "") || !strings.Contains(text, c.wrong) {
			t.Errorf("%s: %+v and %q, want %+v and %q", name, s, text, c.score, c.wrong)
		}
	}
}
