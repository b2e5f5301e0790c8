package main

import (
	"encoding/json"
	"fmt"
	"io"
	"math"
	"strings"
	"unicode/utf8"
)

// row is one line of the table. A row without Ours was not measured in this run.
type row struct {
	Key     string   `json:"key"` // the name that -rows knows
	What    string   `json:"what"`
	Unit    unit     `json:"unit"`
	Ours    *figure  `json:"ours,omitempty"`
	Against *figure  `json:"against,omitempty"`
	Versus  string   `json:"versus,omitempty"` // what Against is
	Ratio   *figure  `json:"ratio,omitempty"`
	Goal    *goal    `json:"goal,omitempty"`
	Notes   []string `json:"notes,omitempty"`
}

// unit is that of a row's figures.
type unit string

const (
	nanoseconds unit = "ns"
	perSecond   unit = "1/s"
	octets      unit = "B"
)

// against makes a row of two contenders that ran in the same rounds.
func against(key, what string, u unit, ours series, versus string, theirs series, g *goal) row {
	a, b, r := ours.figure(), theirs.figure(), ratio(ours, theirs)
	return row{Key: key, What: what, Unit: u, Ours: &a, Against: &b, Versus: versus, Ratio: &r, Goal: g}
}

// alone makes a row of one contender.
func alone(key, what string, u unit, ours series, g *goal) row {
	a := ours.figure()
	return row{Key: key, What: what, Unit: u, Ours: &a, Goal: g}
}

// note adds a line that is printed beneath the table.
func (r row) note(format string, args ...any) row {
	r.Notes = append(r.Notes, fmt.Sprintf(format, args...))
	return r
}

func (r *row) verdict() verdict {
	switch {
	case r.Ours == nil:
		return unmeasured
	case r.Goal == nil:
		return info
	case r.Ratio != nil:
		return r.Goal.judge(r.Ratio.Median)
	}
	return r.Goal.judge(r.Ours.Median)
}

// MarshalJSON adds the verdict.
func (r row) MarshalJSON() ([]byte, error) {
	type plain row
	return json.Marshal(struct {
		plain
		Verdict verdict `json:"verdict"`
	}{plain(r), r.verdict()})
}

func (u unit) format(v float64) string {
	switch u {
	case nanoseconds:
		switch {
		case v >= 1e9:
			return fmt.Sprintf("%.2f s", v/1e9)
		case v >= 1e6:
			return fmt.Sprintf("%.2f ms", v/1e6)
		}
		return fmt.Sprintf("%.2f µs", v/1e3)
	case octets:
		switch {
		case v >= 1<<30:
			return fmt.Sprintf("%.2f GiB", v/(1<<30))
		case v >= 1<<20:
			return fmt.Sprintf("%.0f MiB", v/(1<<20))
		}
		return fmt.Sprintf("%.0f B", v)
	}
	return thousands(v) + "/s"
}

// thousands groups digits by threes.
func thousands(v float64) string {
	s := fmt.Sprintf("%.0f", math.Abs(v))
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + " " + s[i:]
	}
	if v < 0 {
		return "-" + s
	}
	return s
}

func (u unit) figure(f *figure) string {
	if f == nil {
		return ""
	}
	if f.Min == f.Max {
		return u.format(f.Median)
	}
	return fmt.Sprintf("%s [%s – %s]", u.format(f.Median), u.format(f.Min), u.format(f.Max))
}

func (r *row) cells() []string {
	versus, quotient, aim := "", "", ""
	if r.Against != nil {
		versus = r.Versus + ": " + r.Unit.figure(r.Against)
	}
	if r.Ratio != nil {
		quotient = fmt.Sprintf("%.2f× [%.2f – %.2f]", r.Ratio.Median, r.Ratio.Min, r.Ratio.Max)
	}
	if g := r.Goal; g != nil {
		if aim = string(g.Bound) + " " + r.Unit.format(g.Value); r.Versus != "" {
			aim = fmt.Sprintf("%s %g×", g.Bound, g.Value)
		}
	}
	return []string{r.What, r.Unit.figure(r.Ours), versus, quotient, aim, string(r.verdict())}
}

// writeTable prints the rows with their notes beneath.
func writeTable(w io.Writer, rows []row) error {
	lines := [][]string{{"what", "Rescind", "against", "ratio", "goal", "verdict"}}
	var notes []string
	for i := range rows {
		lines = append(lines, rows[i].cells())
		for _, n := range rows[i].Notes {
			notes = append(notes, rows[i].Key+": "+n)
		}
	}
	return writeLines(w, lines, notes)
}

// writeLines prints cells, of which the first line is the head, and notes beneath.
func writeLines(w io.Writer, lines [][]string, notes []string) error {
	widths := make([]int, len(lines[0]))
	for _, cells := range lines {
		for i, c := range cells {
			widths[i] = max(widths[i], utf8.RuneCountInString(c))
		}
	}
	var b strings.Builder
	for n, cells := range lines {
		for i, c := range cells {
			b.WriteString("| " + c + strings.Repeat(" ", widths[i]-utf8.RuneCountInString(c)+1))
		}
		b.WriteString("|\n")
		if n == 0 {
			for _, width := range widths {
				b.WriteString("|" + strings.Repeat("-", width+2))
			}
			b.WriteString("|\n")
		}
	}
	if len(notes) > 0 {
		b.WriteString("\n")
	}
	for _, n := range notes {
		b.WriteString("- " + n + "\n")
	}
	_, err := io.WriteString(w, b.String())
	return err
}
