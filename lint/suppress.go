package lint

import (
	"regexp"
	"slices"
	"strings"

	"github.com/rescind/rescind/lint/program"
)

// An ignore is a comment rescind:ignore reason, or rescind:ignore[rule, rule] reason.
type ignore struct {
	rules  []string // none: all
	reason string
	at     program.Range
	lines  [2]int // its own, and the one it stands above
}

var ignoring = regexp.MustCompile(`(?m)^[\s*]*rescind:ignore(?:\[([^\]\n]*)\])?([^\n]*)$`)

// ignores finds the comments of a file.
func ignores(f *program.File) []ignore {
	var out []ignore
	for _, c := range f.Comments {
		m := ignoring.FindStringSubmatch(c.Text)
		if m == nil {
			continue
		}
		i := ignore{reason: strings.TrimSpace(strings.TrimLeft(m[2], " \t:-")), at: c.Range, lines: [2]int{c.Range.Start.Line, c.Range.End.Line + 1}}
		for rule := range strings.SplitSeq(m[1], ",") {
			if rule = strings.TrimSpace(rule); rule != "" {
				i.rules = append(i.rules, rule)
			}
		}
		out = append(out, i)
	}
	return out
}

// suppress marks the findings that a comment with a reason stands beside.
func suppress(files []*program.File, findings []Finding) []Finding {
	byPath := map[string][]ignore{}
	for _, f := range files {
		if list := ignores(f); len(list) > 0 {
			byPath[f.Path] = list
		}
	}
	for i := range findings {
		f := &findings[i]
		for _, ig := range byPath[f.Path] {
			line := f.Range.Start.Line
			if f.Rule != ruleIgnoreWithoutReason && ig.reason != "" && (line >= ig.lines[0] && line <= ig.lines[1]) &&
				(len(ig.rules) == 0 || slices.Contains(ig.rules, f.Rule)) {
				f.Suppressed = ig.reason
			}
		}
	}
	return findings
}

// A comment cannot suppress what is said of such comments.
const ruleIgnoreWithoutReason = "ignore-without-reason"

// ignoreWithoutReason: messages: default, unknown.
func ignoreWithoutReason(st *study) {
	for _, f := range st.program.Files {
		for _, ig := range ignores(f) {
			if ig.reason == "" {
				st.emit(st.finding(f, ig.at, Certain, "default"))
			}
			for _, id := range ig.rules {
				if !slices.ContainsFunc(st.rules.rules, func(r *Rule) bool { return r.ID == id }) {
					st.emit(st.finding(f, ig.at, Certain, "unknown", id))
				}
			}
		}
	}
}
