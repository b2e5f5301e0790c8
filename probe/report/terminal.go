package report

import (
	"cmp"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/rescind/rescind/probe"
)

// Terminal is how the text for a terminal is to look. The zero value writes plain
// text, 80 columns wide.
type Terminal struct {
	Color   bool
	Width   int  // columns; 0 for 80
	Verbose bool // every life and every passed check, and the whole evidence
}

// A style is a colour of the terminal (ECMA-48, SGR).
type style string

const (
	bold   style = "1"
	faint  style = "2"
	red    style = "31"
	green  style = "32"
	yellow style = "33"
	cyan   style = "36"
)

var sgr = regexp.MustCompile("\x1b\\[[0-9;]*m")

// A page collects the text.
type page struct {
	Terminal
	strings.Builder
}

func (p *page) paint(s style, text string) string {
	if !p.Color || s == "" || text == "" {
		return text
	}
	return "\x1b[" + string(s) + "m" + text + "\x1b[0m"
}

// wrap writes a text in lines that begin with indent, the first one with first.
func (p *page) wrap(first, indent, text string) {
	room := max(20, p.Width-utf8.RuneCountInString(indent))
	begin, taken := first, utf8.RuneCountInString(sgr.ReplaceAllString(first, ""))-utf8.RuneCountInString(indent)
	for paragraph := range strings.SplitSeq(text, "\n") {
		line, used := begin, max(0, taken)
		fresh := true
		for word := range strings.FieldsSeq(paragraph) {
			n := utf8.RuneCountInString(word)
			if !fresh && used+1+n > room {
				p.WriteString(line + "\n")
				line, used, fresh = indent, 0, true
			}
			if !fresh {
				line += " "
				used++
			}
			line += word
			used += n
			fresh = false
		}
		p.WriteString(strings.TrimRight(line, " ") + "\n")
		begin, taken = indent, 0
	}
}

// sign is how a verdict is marked.
func sign(v probe.Verdict) (string, style) {
	switch v {
	case probe.Finding:
		return "✗", red
	case probe.Inconclusive:
		return "?", yellow
	case probe.Pass:
		return "✓", green
	case probe.Note:
		return "i", cyan
	default:
		return "·", faint
	}
}

// Write writes the report.
func (t Terminal) Write(w io.Writer, r *probe.Report) error {
	r = cleaner{flat: true}.report(r)
	if t.Width <= 0 {
		t.Width = 80
	}
	p := &page{Terminal: t}
	catalogue := probe.Checks()
	p.verdicts(r, catalogue)
	p.deaths(r)
	p.remarks(r)
	for _, f := range findings(r, catalogue) {
		p.finding(f)
	}
	p.end(r)
	_, err := io.WriteString(w, p.String())
	return err
}

func (p *page) heading(text string) { p.WriteString("\n" + p.paint(bold, text) + "\n") }

func (p *page) verdicts(r *probe.Report, catalogue probe.Catalogue) {
	p.heading("Verdicts")
	shown := []probe.Verdict{probe.Finding, probe.Inconclusive, probe.Note}
	if p.Verbose {
		shown = append(shown, probe.Pass, probe.NotApplicable)
	}
	all := entries(r, catalogue, shown...)
	width := 0
	for _, e := range all {
		width = max(width, utf8.RuneCountInString(e.Name()))
	}
	width = min(width, p.Width/2)
	for _, e := range all {
		mark, style := sign(e.Verdict)
		name := e.Name()
		pad := strings.Repeat(" ", max(0, width-utf8.RuneCountInString(name)))
		first := fmt.Sprintf("  %s %s%s  ", p.paint(style, mark), name, pad)
		indent := strings.Repeat(" ", width+6)
		if utf8.RuneCountInString(name) > width {
			p.WriteString(strings.TrimRight(first, " ") + "\n")
			first, indent = "      ", "      "
		}
		p.wrap(first, indent, e.Text())
	}
	if p.Verbose {
		return
	}
	for _, rest := range []struct {
		verdict probe.Verdict
		what    string
	}{{probe.Pass, "passed: "}, {probe.NotApplicable, "does not apply: "}} {
		var names []string
		for _, check := range checksOf(r, catalogue) {
			if slices.ContainsFunc(r.Results, func(result probe.Result) bool { return result.Check == check.ID && result.Verdict == rest.verdict }) {
				names = append(names, check.ID)
			}
		}
		if names != nil {
			mark, style := sign(rest.verdict)
			p.wrap("  "+p.paint(style, mark)+" ", "    ", rest.what+strings.Join(names, ", "))
		}
	}
}

// deaths is the table of times to death.
func (p *page) deaths(r *probe.Report) {
	if len(r.Lives) == 0 {
		return
	}
	p.heading("Time to death")
	for _, experiment := range experimentsOf(r) {
		p.WriteString("  " + p.paint(bold, experiment.Name) + "\n")
		var rows [][]string
		for _, group := range experiment.Groups {
			rows = append(rows, group.rows(p.Verbose)...)
		}
		p.table(rows)
	}
}

// rows are the lines of one artefact: one for each route and instance, or one for
// all of them if they came to the same.
func (g group) rows(verbose bool) [][]string {
	fates := make([]fate, len(g.Lives))
	same, good := true, true
	for i, l := range g.Lives {
		fates[i] = fateOf(l)
		same = same && fates[i].Text == fates[0].Text
		good = good && fates[i].Good
	}
	if len(g.Lives) > 1 && !verbose && (same || good) {
		text := fates[0].Text
		if !same {
			worst := slices.MaxFunc(g.Lives, func(a, b probe.Life) int {
				first, _ := a.FirstDead()
				other, _ := b.FirstDead()
				return cmp.Compare(first, other)
			})
			text = strings.Replace(fateOf(worst).Text, "dead at", "dead by", 1)
		}
		return [][]string{{g.Artefact, fmt.Sprintf("on all %d", len(g.Lives)), "", text, string(fates[0].color())}}
	}
	var rows [][]string
	for _, l := range g.Lives {
		fate := fateOf(l)
		row := []string{g.Artefact, l.Route, place(l), fate.Text, string(fate.color())}
		if len(rows) == 0 || verbose || !slices.ContainsFunc(rows, func(other []string) bool { return slices.Equal(other[1:], row[1:]) }) {
			rows = append(rows, row)
		}
	}
	for i := range rows[1:] {
		rows[i+1][0] = ""
	}
	return rows
}

func (f fate) color() style {
	switch {
	case f.Bad:
		return red
	case f.Good:
		return green
	default:
		return yellow
	}
}

// table writes rows whose last cell is the colour of the one before it.
func (p *page) table(rows [][]string) {
	widths := make([]int, 4)
	for _, row := range rows {
		for i, cell := range row[:4] {
			widths[i] = max(widths[i], utf8.RuneCountInString(cell))
		}
	}
	for _, row := range rows {
		var line strings.Builder
		for i, cell := range row[:3] {
			line.WriteString(cell + strings.Repeat(" ", widths[i]-utf8.RuneCountInString(cell)+2))
		}
		p.WriteString("    " + line.String() + p.paint(style(row[4]), row[3]) + "\n")
	}
}

func (p *page) remarks(r *probe.Report) {
	if len(r.Remarks) == 0 {
		return
	}
	p.heading("Remarks")
	for _, line := range r.Remarks {
		p.wrap("  "+p.paint(yellow, "!")+" ", "    ", line)
	}
}

func (p *page) finding(f finding) {
	p.WriteString("\n" + p.paint(red, "✗ ") + p.paint(bold, f.Of.Title) + "  " + p.paint(faint, "["+string(f.Of.Severity)+"]") + "\n")
	named := f.Of.ID
	if more := references(f.Of); more != "" {
		named += ", " + more
	}
	p.wrap("  ", "  ", named)
	for _, e := range f.Entries {
		text := e.Says
		if e.Subject != "" {
			text = e.Subject + ": " + text
		}
		p.wrap("  - ", "    ", text)
		if p.Verbose {
			for _, x := range e.Evidence {
				p.wrap("      - ", "        ", strings.Join(slices.DeleteFunc([]string{sentence(x), e.After(x)}, func(s string) bool { return s == "" }), ", "))
			}
		}
		if x := e.Shown(); x != nil && x.Request.Curl != "" {
			// In one piece, however wide: it is there to be copied.
			p.WriteString("    " + p.paint(faint, x.Request.Curl) + "\n")
		}
	}
	if f.Of.Cure != "" {
		p.wrap("  "+p.paint(bold, "What to do:")+" ", "  ", f.Of.Cure)
	}
}

func (p *page) end(r *probe.Report) {
	color := green
	switch r.Verdict() {
	case probe.Finding:
		color = red
	case probe.Inconclusive:
		color = yellow
	}
	p.WriteString("\n" + p.paint(color, headline(r)) + ": " + summary(r) + "\n")
	p.wrap("", "", fmt.Sprintf("%s at %s: %d requests in %s%s", r.Name, strings.Join(r.Instances, ", "), r.Requests,
		span(r.Ended.Sub(r.Started)), map[bool]string{true: ", interrupted"}[r.Interrupted]))
}

// A Meter shows how a run goes on: on a terminal one line that is written over, else
// one line for each experiment that has ended. Use it from one goroutine at a time.
type Meter struct {
	w     io.Writer
	t     Terminal
	live  bool
	shown bool
}

// NewMeter returns a meter that writes to w; live says that it is a terminal.
func NewMeter(w io.Writer, t Terminal, live bool) *Meter {
	if t.Width <= 0 {
		t.Width = 80
	}
	return &Meter{w: w, t: t, live: live}
}

// Show shows one step. What cannot be written is not shown, and no error: it is
// only the progress.
func (m *Meter) Show(step probe.Progress) {
	c := cleaner{flat: true}
	if m.live {
		line := fmt.Sprintf("%s · %d left · %d requests", c.text(step.Experiment), step.Left, step.Requests)
		if runes := []rune(line); len(runes) > m.t.Width-1 {
			line = string(runes[:m.t.Width-1])
		}
		fmt.Fprint(m.w, "\r\x1b[K"+line)
		m.shown = true
		return
	}
	if !step.Ended {
		return
	}
	fmt.Fprintf(m.w, "%s: %s\n", c.text(step.Experiment), outcome(step.Results))
}

// Clear takes the line away, for what is written next.
func (m *Meter) Clear() {
	if m.shown {
		fmt.Fprint(m.w, "\r\x1b[K")
		m.shown = false
	}
}

func outcome(results []probe.Result) string {
	if len(results) == 0 {
		return "done"
	}
	return summary(&probe.Report{Results: results})
}
