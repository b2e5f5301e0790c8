package lint

import (
	"slices"

	"github.com/rescind/rescind/lint/program"
)

// libraryGuard is middleware of a package that verifies signatures alone.
func (st *study) libraryGuard(s *site) {
	e := st.find(setGuard, s)
	if e == nil || e.As != "" {
		return
	}
	// What the application gives it to call may look something up.
	if fns := st.given(s); len(fns) > 0 && st.looksUp(st.reach(fns...)) == theState {
		return
	}
	confidence := Likely
	if st.followed(s.scope.File) {
		confidence = Possible
	}
	st.emit(st.finding(s.scope.File, s.node.Range, confidence, "library", s.name()))
}

// given are the functions among the arguments of a call, in its options too.
func (st *study) given(s *site) []*program.Function {
	var out []*program.Function
	take := func(n *program.Node) { out = append(out, st.program.Value(n, s.scope).Funcs...) }
	for _, a := range s.node.Args {
		take(a)
		if v := st.program.Value(a, s.scope); v.Node != nil && v.Node.Kind == program.Object {
			for i := range v.Node.Fields {
				if f := v.Node.Fields[i].Value; f != nil {
					out = append(out, st.program.Value(f, v.Scope).Funcs...)
				}
			}
		}
	}
	for i := range s.node.Fields {
		if f := s.node.Fields[i].Value; f != nil {
			take(f)
		}
	}
	return out
}

// strategy is new Strategy(options, verify) of passport-jwt.
func (st *study) strategy(s *site) {
	e := st.find(setLibrary, s)
	if e == nil || e.As != "strategy" {
		return
	}
	fns := st.given(s)
	if len(fns) == 0 {
		return
	}
	st.judgeStrategy(fns, s.scope.File, s.node.Range, s.name(), "")
}

// strategyClass is a class that extends the strategy, as in NestJS.
func (st *study) strategyClass(c *program.Class) {
	if validate, called := st.validates(c); validate != nil {
		st.judgeStrategy([]*program.Function{validate}, st.fileOf[validate], validate.NameRange, c.Name+"."+validate.Name, called)
	}
}

// validates is the method of a class by which it is a strategy, nil if it is none,
// and the name by which guards call it.
func (st *study) validates(c *program.Class) (validate *program.Function, called string) {
	in := st.program.ClassScope(c)
	validate = c.Method("validate")
	if validate == nil || validate.Body == nil || in == nil {
		return nil, ""
	}
	for _, b := range c.Bases {
		for _, n := range append([]*program.Node{b}, b.Args...) {
			if e := st.find(setLibrary, st.siteOf(n, n, in)); e != nil && e.As == "strategy" {
				if len(b.Args) > 1 && b.Args[1].Kind == program.String {
					called = b.Args[1].Text
				}
				return validate, called
			}
		}
	}
	return nil, ""
}

func (st *study) judgeStrategy(fns []*program.Function, file *program.File, at program.Range, name, called string) {
	r := st.reach(fns...)
	what := st.looksUp(r)
	if what == theState {
		return
	}
	// What stands before a refresh may leave the look-up to it.
	if (st.about("refresh-word", name) || st.about("refresh-word", called)) && slices.ContainsFunc(st.refreshes, func(c *chain) bool {
		return st.looksUp(st.reach(c.all()...)) == theState
	}) {
		return
	}
	confidence, _ := st.unfollowed(r, nil, func(verdict) bool { return false })
	message := "strategy"
	if what == theUser {
		message, confidence = "user", lesser(confidence, Likely)
	}
	st.emit(st.finding(file, at, confidence, message, name, name))
}
