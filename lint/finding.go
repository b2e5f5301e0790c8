package lint

import (
	"bytes"
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/rescind/rescind/lint/program"
)

// A Finding is one place where a rule's flaw is.
type Finding struct {
	Rule       string
	Severity   Severity
	Confidence Confidence
	Path       string
	Range      program.Range
	// Columns are those of Range in characters, from 1; Snippet is its first line.
	Columns [2]int
	Snippet string
	Message string
	Trace   []Step
	// Suppressed is the reason that a comment beside it gives; "" if there is none.
	Suppressed string
}

// A Step is a place that a finding's message speaks of, or that was passed on the
// way to it.
type Step struct {
	Path   string
	Range  program.Range
	Column int // of Range.Start, in characters
	What   string
}

// Of the way to one finding not more steps are kept.
const maxSteps = 20

// finding makes a finding of the rule that is running. In its message $1, $2 … are
// the arguments.
func (st *study) finding(file *program.File, at program.Range, confidence Confidence, message string, args ...string) *Finding {
	text := st.rule.Match.Messages[message]
	if text == "" {
		text = st.rule.Match.Messages["default"]
	}
	for i, a := range args {
		text = strings.ReplaceAll(text, fmt.Sprintf("$%d", i+1), a)
	}
	return &Finding{Rule: st.rule.ID, Severity: st.rule.Severity, Confidence: confidence, Path: file.Path, Range: at, Message: strings.TrimSpace(text)}
}

func (st *study) step(f *Finding, s *site, what string) {
	if len(f.Trace) < maxSteps {
		f.Trace = append(f.Trace, Step{Path: s.scope.File.Path, Range: s.node.Range, What: what})
	}
}

// A place is where one rule has at most one finding.
type place struct {
	rule, path string
	offset     int
}

// emit keeps a finding. Of one rule in one place the surest stays.
func (st *study) emit(f *Finding) {
	at := place{f.Rule, f.Path, f.Range.Start.Offset}
	if i, ok := st.places[at]; ok {
		if f.Confidence.AtLeast(st.findings[i].Confidence) {
			st.findings[i] = *f
		}
		return
	}
	st.places[at] = len(st.findings)
	st.findings = append(st.findings, *f)
}

// A snippet is not longer than this.
const maxSnippet = 200

// show fills in what a reader sees of the source.
func show(files []*program.File, findings []Finding) {
	byPath := map[string]*program.File{}
	for _, f := range files {
		byPath[f.Path] = f
	}
	for i := range findings {
		f := &findings[i]
		source := byPath[f.Path].Source
		f.Columns = [2]int{column(source, f.Range.Start), column(source, f.Range.End)}
		line := lineOf(source, f.Range.Start)
		if len(line) > maxSnippet {
			line = line[:maxSnippet]
		}
		f.Snippet = strings.ToValidUTF8(strings.TrimSpace(string(line)), "\uFFFD")
		for j := range f.Trace {
			f.Trace[j].Column = column(byPath[f.Trace[j].Path].Source, f.Trace[j].Range.Start)
		}
	}
}

// lineOf is the line on which a position lies.
func lineOf(source []byte, at program.Pos) []byte {
	start := min(max(at.Offset-at.Column+1, 0), len(source))
	line, _, _ := bytes.Cut(source[start:], []byte("\n"))
	return line
}

func column(source []byte, at program.Pos) int {
	line := lineOf(source, at)
	return utf8.RuneCount(line[:min(max(at.Column-1, 0), len(line))]) + 1
}
