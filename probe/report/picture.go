package report

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/rescind/rescind/probe"
)

// A picture is the timeline of one experiment, in units of an SVG. Time runs to the
// right: before the end of the session in equal steps, after it by the logarithm,
// because milliseconds and seconds both matter.
type picture struct {
	Name          string
	Width, Height int
	Top, Bottom   int // of the rows
	Login, End    float64
	Fates, Edge   int
	Ticks         []tick
	Rows          []row
	Bad           int // lives that did what they must not
	Open          int // lives of which nothing is proven
	More          int // lives that are not drawn
}

type tick struct {
	X    float64
	Text string
}

// A row is one life.
type row struct {
	Artefact string // empty if it is that of the row above
	Above    int    // where its name stands
	Where    string
	Title    string // the whole of Where, and whose session it was
	Y        int
	Bars     []bar
	Dots     []dot
	Marks    []event
	Expires  float64 // 0 if it is not in the picture
	Fate     fate
}

type bar struct {
	X, Width float64
	Class    string // "live", "over", "dead", "unknown"
}

type dot struct {
	X     float64
	Class string // "live", "over", "dead", "unclear"
	Title string
}

type event struct {
	X     float64
	Title string
}

// The layout of a picture.
const (
	labels   = 290 // width of the column of names
	fates    = 250 // of that of what became of them
	plot     = 560
	before   = 96 // of the plot, for what was before the end
	lineHigh = 24
	nameHigh = 26
	head     = 36
	dotWide  = 9
	mostRows = 48 // more are told of and not drawn
	mostText = 40 // characters of a route and its instance
)

// pictures draws every experiment that watched a life.
func pictures(r *probe.Report) []picture {
	var out []picture
	for _, e := range experimentsOf(r) {
		out = append(out, draw(e))
	}
	return out
}

// A gallery is what is to be seen at once, and what is folded away: experiments
// other than the plain logout in which nothing went wrong.
type gallery struct{ Shown, Folded []picture }

// galleryOf is nil if there is nothing to be seen.
func galleryOf(all []picture) *gallery {
	if len(all) == 0 {
		return nil
	}
	var out gallery
	for i, p := range all {
		if i == 0 || p.Bad > 0 {
			out.Shown = append(out.Shown, p)
		} else {
			out.Folded = append(out.Folded, p)
		}
	}
	return &out
}

// A line is a life under the name of its artefact.
type line struct {
	artefact string
	life     probe.Life
}

// several reports whether others differ from a life by their session only.
func several(l probe.Life, others []line) bool {
	return slices.ContainsFunc(others, func(o line) bool {
		return o.life.Session != l.Session && o.life.Artefact == l.Artefact && o.life.Route == l.Route && o.life.Instance == l.Instance && o.life.Ended.IsZero() == l.Ended.IsZero()
	})
}

func draw(e experiment) picture {
	p := picture{Name: e.Name, Width: labels + plot + fates, Top: head, Fates: labels + plot + 6, Edge: labels + plot + fates - 16}
	var lines []line
	for _, g := range e.Groups {
		for _, l := range g.Lives {
			lines = append(lines, line{g.Artefact, l})
			switch fate := fateOf(l); {
			case fate.Bad:
				p.Bad++
			case !fate.Good:
				p.Open++
			}
		}
	}
	if len(lines) > mostRows {
		// What went wrong is drawn in any case, in its place.
		keep := map[int]bool{}
		for _, bad := range []bool{true, false} {
			for _, l := range lines {
				if len(keep) < mostRows && fateOf(l.life).Bad == bad {
					keep[l.life.ID] = true
				}
			}
		}
		p.More = len(lines) - len(keep)
		lines = slices.DeleteFunc(lines, func(l line) bool { return !keep[l.life.ID] })
	}
	var all []probe.Life
	for _, l := range lines {
		all = append(all, l.life)
	}
	scale := scaleOf(all)
	p.Login, p.End = scale.x(scale.first), scale.x(0)
	p.Ticks = scale.ticks()
	y, last := head, ""
	for i, l := range lines {
		row := scale.row(l.life)
		if several(l.life, lines) {
			row.Where += " · " + l.life.Session
		}
		if i == 0 || l.artefact != last {
			row.Artefact, last = l.artefact, l.artefact
			row.Above = y + nameHigh - 8
			y += nameHigh
		}
		row.Y = y + lineHigh/2
		y += lineHigh
		p.Rows = append(p.Rows, row)
	}
	p.Bottom = y
	p.Height = y + 14
	return p
}

// A scale maps times, counted from the end of a session, to places.
type scale struct {
	first, last time.Duration
	fine        float64   // seconds up to which it is about linear
	end         time.Time // of the first session that ended; zero if none did
}

func scaleOf(lives []probe.Life) scale {
	s := scale{fine: 0.02}
	for _, l := range lives {
		if !l.Ended.IsZero() && (s.end.IsZero() || l.Ended.Before(s.end)) {
			s.end = l.Ended
		}
	}
	for _, l := range lives {
		s.first = min(s.first, s.born(l))
		for _, a := range l.Answers {
			at := s.since(l, a.After)
			s.first, s.last = min(s.first, at), max(s.last, at+a.Took)
		}
	}
	s.last = max(s.last, 100*time.Millisecond)
	return s
}

// since counts a moment of a life from the end of the session. One that was not to
// end counts its own moments from its birth: it stands where it was then.
func (s scale) since(l probe.Life, after time.Duration) time.Duration {
	if !l.Ended.IsZero() || s.end.IsZero() || l.Born.IsZero() {
		return after
	}
	return l.Born.Add(after).Sub(s.end)
}

// born is the birth of a life, counted from the end of the session.
func (s scale) born(l probe.Life) time.Duration {
	if s.end.IsZero() || l.Born.IsZero() {
		return 0
	}
	return l.Born.Sub(s.end)
}

func (s scale) x(at time.Duration) float64 {
	zero := float64(labels + before)
	if at <= 0 {
		if s.first == 0 {
			return zero
		}
		return zero - (before-20)*math.Min(1, float64(at)/float64(s.first))
	}
	share := math.Log1p(at.Seconds()/s.fine) / math.Log1p(s.last.Seconds()/s.fine)
	return zero + (plot-before-16)*math.Min(1, share)
}

func (s scale) ticks() []tick {
	var out []tick
	room := 0.0
	for _, at := range []time.Duration{
		0, 50 * time.Millisecond, 200 * time.Millisecond, time.Second, 5 * time.Second, 30 * time.Second, 2 * time.Minute,
		10 * time.Minute, time.Hour, 6 * time.Hour, 24 * time.Hour,
	} {
		if at > s.last {
			break
		}
		if x := s.x(at); x >= room {
			out = append(out, tick{x, span(at)})
			room = x + 44
		}
	}
	if len(out) > 0 {
		out[0].Text = "end"
	}
	return out
}

func (s scale) row(l probe.Life) row {
	out := row{Where: l.Route + " · " + place(l), Fate: fateOf(l)}
	out.Title = out.Where + ", session " + l.Session
	if runes := []rune(out.Where); len(runes) > mostText {
		out.Where = string(runes[:mostText-1]) + "…"
	}
	ends := !l.Ended.IsZero()
	answers := slices.SortedStableFunc(slices.Values(l.Answers), func(a, b probe.Answer) int { return cmp.Compare(a.After, b.After) })
	class := func(a probe.Answer) string {
		switch {
		case a.Class == probe.Unclear, a.Class == probe.Dead && !a.Backed:
			return "unclear"
		case a.Class == probe.Dead:
			return "dead"
		case ends && a.After >= 0:
			return "over"
		default:
			return "live"
		}
	}
	start := s.x(s.born(l))
	if ends && start < s.x(0) {
		out.Bars = append(out.Bars, bar{start, s.x(0) - start, "live"})
	}
	from, is := s.x(0), ""
	for i, a := range answers {
		at, now := s.x(s.since(l, a.After)), class(a)
		// A socket has many messages: what would lie upon its neighbour is left out.
		if n := len(out.Dots); n == 0 || i == len(answers)-1 || out.Dots[n-1].Class != now || at-out.Dots[n-1].X >= dotWide {
			out.Dots = append(out.Dots, dot{at, now, fmt.Sprintf("%s: %s, %s", when(a.After, ends), status(a), a.Class)})
		}
		if ends && a.After < 0 {
			continue
		}
		// Between an answer that was alive and one that was not, nobody knows.
		between := now
		if is != "" && is != now || now == "unclear" {
			between = "unknown"
		}
		if is == "" && !ends {
			from, between = at, ""
		}
		if between != "" && at > from {
			out.Bars = append(out.Bars, bar{from, at - from, between})
		}
		from, is = at, now
	}
	for _, m := range l.Marks {
		out.Marks = append(out.Marks, event{s.x(s.since(l, m.After)), when(m.After, ends) + ": " + m.What})
	}
	if ends && !l.Expires.IsZero() {
		if left := l.Expires.Sub(l.Ended); left > 0 && left <= s.last {
			out.Expires = s.x(left)
		}
	}
	return out
}

func when(after time.Duration, ends bool) string {
	switch {
	case !ends:
		return span(after) + " after it began"
	case after < 0:
		return span(-after) + " before the end"
	default:
		return span(after) + " after the end"
	}
}

func status(a probe.Answer) string {
	if a.Status == 0 {
		return "no answer"
	}
	return fmt.Sprint(a.Status)
}
