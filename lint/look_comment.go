package lint

import "github.com/rescind/rescind/lint/program"

// Comments this far above a logout speak of it, in lines.
const commentReach = 6

// commentPromisesExpiry: messages: default; words: promise.
func commentPromisesExpiry(st *study) {
	for _, f := range st.program.Files {
		if st.client(f) {
			continue
		}
		for _, c := range f.Comments {
			if !st.about("promise", c.Text) {
				continue
			}
			if l := st.logoutNear(f, c.Range); l != nil {
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
