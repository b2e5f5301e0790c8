package lint

import (
	"fmt"
	"strings"

	"github.com/rescind/rescind/sarif"
)

// Count returns how many findings are at least that sure and not suppressed.
func (r *Report) Count(least Confidence) int {
	n := 0
	for i := range r.Findings {
		if f := &r.Findings[i]; f.Suppressed == "" && f.Confidence.AtLeast(least) {
			n++
		}
	}
	return n
}

// Suppressed returns how many findings a comment accepts.
func (r *Report) Suppressed() int {
	n := 0
	for i := range r.Findings {
		if r.Findings[i].Suppressed != "" {
			n++
		}
	}
	return n
}

// Blind reports that a file could not be read at all and nothing was found, so that
// nothing is known.
func (r *Report) Blind() bool {
	for i := range r.Errors {
		if r.Errors[i].Whole {
			return r.Count(Possible) == 0
		}
	}
	return false
}

// Rule returns the rule of a finding of this report.
func (r *Report) Rule(id string) *Rule {
	for _, rule := range r.Rules {
		if rule.ID == id {
			return rule
		}
	}
	return nil
}

type jsonReport struct {
	Findings   []jsonFinding      `json:"findings"`
	Counts     map[Confidence]int `json:"counts"` // of findings that are not suppressed
	Suppressed int                `json:"suppressed"`
	Files      int                `json:"files"`
	Skipped    int                `json:"skipped"`
	Errors     []jsonError        `json:"errors"`
}

type jsonFinding struct {
	Rule       string     `json:"rule"`
	Title      string     `json:"title"`
	Severity   Severity   `json:"severity"`
	Confidence Confidence `json:"confidence"`
	Path       string     `json:"path"`
	Line       int        `json:"line"`
	Column     int        `json:"column"`
	EndLine    int        `json:"end_line"`
	EndColumn  int        `json:"end_column"`
	Message    string     `json:"message"`
	Snippet    string     `json:"snippet"`
	Trace      []jsonStep `json:"trace,omitempty"`
	CWE        []string   `json:"cwe"`
	ASVS       []string   `json:"asvs,omitempty"`
	Suppressed string     `json:"suppressed,omitempty"`
}

type jsonStep struct {
	Path    string `json:"path"`
	Line    int    `json:"line"`
	Column  int    `json:"column"`
	Message string `json:"message"`
}

type jsonError struct {
	Path    string `json:"path"`
	Line    int    `json:"line,omitempty"`
	Message string `json:"message"`
}

// JSON returns what encodes as the report of rescind lint --json. Lines and columns
// begin at 1; columns count characters, and end_column is the first one after.
func (r *Report) JSON() any {
	out := jsonReport{
		Findings: []jsonFinding{}, Counts: map[Confidence]int{}, Suppressed: r.Suppressed(), Files: r.Files, Skipped: r.Skipped, Errors: []jsonError{},
	}
	for _, c := range confidences {
		out.Counts[c] = 0
	}
	for i := range r.Findings {
		f := &r.Findings[i]
		rule := r.Rule(f.Rule)
		j := jsonFinding{
			Rule: f.Rule, Title: rule.Title, Severity: f.Severity, Confidence: f.Confidence,
			Path: f.Path, Line: f.Range.Start.Line, Column: f.Columns[0], EndLine: f.Range.End.Line, EndColumn: f.Columns[1],
			Message: f.Message, Snippet: f.Snippet, CWE: rule.CWE, ASVS: rule.ASVS, Suppressed: f.Suppressed,
		}
		for _, s := range f.Trace {
			j.Trace = append(j.Trace, jsonStep{s.Path, s.Range.Start.Line, s.Column, s.What})
		}
		if f.Suppressed == "" {
			out.Counts[f.Confidence]++
		}
		out.Findings = append(out.Findings, j)
	}
	for _, e := range r.Errors {
		out.Errors = append(out.Errors, jsonError{e.Path, e.Line, e.Message})
	}
	return out
}

// The page that explains the rules.
const home = "https://github.com/rescind/rescind/blob/main/docs/lint.md"

// precisions are SARIF's words for how seldom a finding is false.
var precisions = map[Confidence]string{Certain: "very-high", Likely: "high", Possible: "medium"}

// SARIF returns the report as a SARIF log. Its paths are relative to the working
// directory, which should be the root of the repository.
func (r *Report) SARIF(version string) *sarif.Log {
	log := &sarif.Log{
		Name: "rescind lint", Version: version, Home: home, Category: "rescind-lint",
		Invocation: sarif.Invocation{Completed: true},
	}
	for _, rule := range r.Rules {
		s := sarif.Rule{
			ID: rule.ID, Title: rule.Title, Description: rule.Why, Help: rule.help(), HelpURI: home + "#" + rule.ID,
			Severity: sarif.Severity(rule.Severity), Precision: "high", CWE: rule.CWE,
		}
		for _, id := range rule.ASVS {
			s.ASVS = append(s.ASVS, "v5.0.0-"+id)
		}
		log.Rules = append(log.Rules, s)
	}
	seen := map[string]int{}
	for i := range r.Findings {
		f := &r.Findings[i]
		key := strings.Join([]string{f.Rule, f.Path, f.Snippet}, "\x00")
		seen[key]++
		result := sarif.Result{
			Rule: f.Rule, Message: f.Message,
			Locations: []sarif.Location{{
				Path:    f.Path,
				Range:   sarif.Range{StartLine: f.Range.Start.Line, StartColumn: f.Columns[0], EndLine: f.Range.End.Line, EndColumn: f.Columns[1]},
				Snippet: f.Snippet,
			}},
			// Not the line: what stands above it may change.
			Fingerprint: []string{f.Rule, f.Path, f.Snippet, fmt.Sprint(seen[key])},
			Properties:  map[string]any{"confidence": string(f.Confidence), "precision": precisions[f.Confidence]},
		}
		for _, s := range f.Trace {
			result.Steps = append(result.Steps, sarif.Location{
				Path: s.Path, Range: sarif.Range{StartLine: s.Range.Start.Line, StartColumn: s.Column}, Message: s.What,
			})
		}
		if f.Confidence == Possible {
			result.Severity = sarif.Low // it must not fail a build by itself
		}
		if f.Suppressed != "" {
			result.Suppressed = &sarif.Suppression{Why: f.Suppressed, InSource: true}
		}
		log.Results = append(log.Results, result)
	}
	for _, e := range r.Errors {
		text := e.Message
		if e.Line > 0 {
			text = fmt.Sprintf("line %d: %s", e.Line, text)
		}
		log.Invocation.Notices = append(log.Invocation.Notices, sarif.Notice{Message: text, Path: e.Path, Serious: e.Whole})
	}
	return log
}

func (r *Rule) help() string {
	text := r.Why + "\n\n**What to do:** " + r.Cure.Otherwise
	if r.Cure.Rescind != "" {
		text += "\n\n**With Rescind:** " + r.Cure.Rescind
	}
	return text
}
