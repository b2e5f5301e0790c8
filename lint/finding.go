package lint

import (
	"fmt"
	"strings"

	"github.com/rescind/rescind/lint/program"
)

// A Finding is one place where a rule's flaw is.
type Finding struct {
	Rule       string
	Severity   Severity
	Confidence Confidence
	Path       string
	Range      program.Range
	Message    string
	Trace      []Step
	// Suppressed is the reason that a comment beside it gives; "" if there is none.
	Suppressed string
}

// A Step is a place that a finding's message speaks of, or that was passed on the
// way to it.
type Step struct {
	Path  string
	Range program.Range
	What  string
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

// emit keeps a finding. Of one rule in one place the surest stays.
func (st *study) emit(f *Finding) {
	for i := range st.findings {
		old := &st.findings[i]
		if old.Rule == f.Rule && old.Path == f.Path && old.Range.Start == f.Range.Start {
			if f.Confidence.AtLeast(old.Confidence) {
				*old = *f
			}
			return
		}
	}
	st.findings = append(st.findings, *f)
}
