package lint

import (
	"bytes"
	"strings"

	"github.com/rescind/rescind/lint/program"
)

// Comments this far above a logout speak of it, in lines.
const commentReach = 6

// commentPromisesExpiry: messages: default; words: promise.
func commentPromisesExpiry(st *study) {
	touched := map[*program.File]bool{} // of all files few have a logout
	for _, l := range st.logouts {
		touched[l.at], touched[l.file] = true, true
		for _, fn := range l.answer {
			touched[st.fileOf[fn]] = true
		}
	}
	for _, f := range st.program.Files {
		if !touched[f] || st.client(f) {
			continue
		}
		for _, c := range f.Comments {
			where := st.words("promise").FindStringIndex(c.Text)
			if where == nil {
				continue
			}
			if l := st.logoutNear(f, c.Range); l != nil {
				c.Range = within(f, c, where[0])
				if st.first(l.reach, l.calls, effective) == nil {
					st.emit(st.finding(f, c.Range, Likely, "default", l.name))
				}
			}
		}
	}
}

// logoutNear returns the logout that a comment stands in, or right above; nil
// without.
func (st *study) logoutNear(f *program.File, at program.Range) *logout {
	if st.ctx.Err() != nil {
		return nil
	}
	for _, l := range st.logouts {
		near := func(file *program.File, r program.Range) bool {
			return file == f && at.Start.Line >= r.Start.Line-commentReach && at.Start.Line <= r.End.Line
		}
		if near(l.at, l.range_) || l.route != nil && near(l.file, l.route.Range) {
			return l
		}
		for _, fn := range l.answer {
			if near(st.fileOf[fn], fn.Range) {
				return l
			}
		}
	}
	return nil
}

// within is the line of a comment on which a place of its text lies. The marks of a
// comment are not in its text, so the line is looked for.
func within(f *program.File, c program.Comment, at int) program.Range {
	start := c.Range.Start
	source := f.Source[min(start.Offset, len(f.Source)):min(c.Range.End.Offset, len(f.Source))]
	begin := strings.LastIndexByte(c.Text[:at], '\n') + 1
	line, _, _ := strings.Cut(c.Text[begin:], "\n")
	i := bytes.Index(source, []byte(strings.TrimSpace(line)))
	if above := bytes.Count(source[:max(i, 0)], []byte("\n")); above > 0 {
		i = bytes.LastIndexByte(source[:i], '\n') + 1
		start = program.Pos{Offset: start.Offset + i, Line: start.Line + above, Column: 1}
	}
	return program.Range{Start: start, End: c.Range.End}
}
