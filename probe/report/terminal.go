package report

import (
	"cmp"
	"fmt"
	"io"
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
	begin := first
	for paragraph := range strings.SplitSeq(text, "\n") {
		line, used := begin, 0
		for word := range strings.FieldsSeq(paragraph) {
			n := utf8.RuneCountInString(word)
			if used > 0 && used+1+n > room {
				p.WriteString(line + "\n")
				line, used = indent, 0
			}
			if used > 0 {
				line += " "
				used++
			}
			line += word
			used += n
		}
		p.WriteString(strings.TrimRight(line, " ") + "\n")
		begin = indent
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
	p.routes(r)
	for _, e := range entries(r, catalogue, probe.Finding) {
		p.finding(e)
	}
	p.end(r)
	_, err := io.WriteString(w, p.String())
	return err
}

func (p *page) heading(text string) { p.WriteString("\n" + p.paint(bold, text) + "\n") }

func (p *page) verdicts(r *probe.Report, catalogue probe.Catalogue) {
	p.heading("Verdicts")
	all := entries(r, catalogue, probe.Finding, probe.Inconclusive, probe.Note, probe.Pass)
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
		if utf8.RuneCountInString(name) > width {
			p.WriteString(strings.TrimRight(first, " ") + "\n")
			first = strings.Repeat(" ", width+6)
		}
		p.wrap(first, strings.Repeat(" ", width+6), e.Text())
	}
	p.notApplicable(r)
}

// notApplicable lists by reason what does not apply: many checks lack the same.
func (p *page) notApplicable(r *probe.Report) {
	var reasons []string
	names := map[string][]string{}
	for _, result := range r.Results {
		if result.Verdict != probe.NotApplicable {
			continue
		}
		if names[result.Reason] == nil {
			reasons = append(reasons, result.Reason)
		}
		names[result.Reason] = append(names[result.Reason], entry{Result: result}.Name())
	}
	for _, reason := range reasons {
		p.wrap("  "+p.paint(faint, "·")+" ", "    ", "does not apply ("+reason+"): "+strings.Join(names[reason], ", "))
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
// all of them if they all came to what they should.
func (g group) rows(verbose bool) [][]string {
	all := slices.IndexFunc(g.Lives, func(l probe.Life) bool { return !fateOf(l).Good }) < 0
	if all && !verbose && len(g.Lives) > 1 {
		worst := slices.MaxFunc(g.Lives, func(a, b probe.Life) int {
			first, _ := a.FirstDead()
			other, _ := b.FirstDead()
			return cmp.Compare(first, other)
		})
		text := strings.Replace(fateOf(worst).Text, "dead at", "dead by", 1)
		return [][]string{{g.Artefact, fmt.Sprintf("on all %d", len(g.Lives)), "", text, string(green)}}
	}
	var rows [][]string
	for _, l := range g.Lives {
		fate := fateOf(l)
		color := yellow
		if fate.Bad {
			color = red
		} else if fate.Good {
			color = green
		}
		row := []string{g.Artefact, l.Route, place(l), fate.Text, string(color)}
		if len(rows) == 0 || verbose || !slices.ContainsFunc(rows, func(other []string) bool { return slices.Equal(other[1:], row[1:]) }) {
			rows = append(rows, row)
		}
	}
	for i := range rows[1:] {
		rows[i+1][0] = ""
	}
	return rows
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

// routes tells of those that could not be used.
func (p *page) routes(r *probe.Report) {
	var lines []string
	for _, route := range r.Routes {
		if !route.Protected {
			lines = append(lines, fmt.Sprintf("%s at %s is not used: %s", route.Request, route.Instance, route.Reason))
		}
	}
	lines = append(lines, r.Remarks...)
	if len(lines) == 0 {
		return
	}
	p.heading("Remarks")
	for _, line := range lines {
		p.wrap("  "+p.paint(yellow, "!")+" ", "    ", line)
	}
}

func (p *page) finding(e entry) {
	p.WriteString("\n" + p.paint(red, "✗ ") + p.paint(bold, e.Of.Title) + "  " + p.paint(faint, "["+string(e.Of.Severity)+"]") + "\n")
	named := e.Name()
	if more := references(e.Of); more != "" {
		named += ", " + more
	}
	p.wrap("  "+string(""), "  ", named)
	p.wrap("  ", "  ", e.Says)
	if p.Verbose {
		for _, x := range e.Evidence {
			p.wrap("    - ", "      ", sentence(x))
		}
	}
	if x := e.Shown(); x != nil && x.Request.Curl != "" {
		// In one piece, however wide: it is there to be copied.
		p.WriteString("  " + p.paint(faint, "see it:     ") + x.Request.Curl + "\n")
	}
	if e.Of.Cure != "" {
		p.wrap("  "+p.paint(faint, "what to do: "), "              ", e.Of.Cure)
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
