package lint

import (
	"slices"

	"github.com/rescind/rescind/lint/program"
)

// presence says whether a condition holds because a name stands for something
// (+1: v, v != "", n > 0, v === '1'), or because it stands for nothing (-1: !v,
// v == nil, n == 0); 0 if neither can be told. Parts beside it count as they are.
func presence(n *program.Node, is func(*program.Node) bool) int {
	switch {
	case n == nil:
		return 0
	case is(n):
		return 1
	case n.Kind == program.Call && len(n.Args) == 1 && n.Args[0] != nil: // Boolean(v), bool(v), len(v)
		if l := program.Written(n.On); len(l) == 1 && slices.Contains([]string{"Boolean", "bool", "len", "Number", "int"}, l[0]) {
			return presence(n.Args[0], is)
		}
	case n.Kind == program.Operator && n.Text == "!" && len(n.Args) == 1:
		return -presence(n.Args[0], is)
	case n.Kind == program.Operator && len(n.Args) == 2:
		a, b := n.Args[0], n.Args[1]
		if n.Text == "&&" || n.Text == "||" {
			if p := presence(a, is); p != 0 {
				return p
			}
			return presence(b, is)
		}
		p := presence(a, is)
		if p <= 0 {
			return 0
		}
		empty := b.Kind == program.Null || b.Kind == program.String && b.Text == "" ||
			b.Kind == program.Name && b.Text == "undefined" || (b.Kind == program.Number || b.Kind == program.Bool) && (b.Text == "0" || b.Text == "false")
		switch {
		case n.Text == ">" || n.Text == ">=" && !empty, n.Text == "==" && !empty && constant(b), n.Text == "!=" && empty:
			return 1
		case n.Text == "==" && empty, n.Text == "!=" && constant(b), n.Text == "<" && !empty, n.Text == "<=" && empty:
			return -1
		}
	}
	return 0
}

func constant(n *program.Node) bool {
	return n.Kind == program.String || n.Kind == program.Number || n.Kind == program.Bool
}

// refusesIf finds the first condition of a function, within or behind some code,
// that tells whether what was found there is something, and says for which answer it
// refuses: as presence does.
func (st *study) refusesIf(fn *program.Function, from *program.Node, is func(*program.Node) bool) int {
	found := 0
	st.program.Each(fn, func(n *program.Node, s *program.Scope) bool {
		if n.Kind == program.Func || n.Kind == program.Type || found != 0 {
			return false
		}
		if n.Kind != program.If || n.Range.End.Offset <= from.Range.Start.Offset {
			return true
		}
		if p := presence(n.On, is); p != 0 && st.refuses(n.Then, s) {
			found = p
		} else if p != 0 && st.refuses(n.Else, s) {
			found = -p
		}
		return found == 0
	})
	return found
}

// refuses reports that some code refuses a request, and lets none pass.
func (st *study) refuses(n *program.Node, s *program.Scope) bool {
	refuses, passes := false, false
	program.Walk(n, func(n *program.Node) bool {
		switch n.Kind {
		case program.Func, program.Type:
			return false
		case program.Throw:
			refuses = true
		case program.Call:
			x := st.siteOf(n, n.On, s)
			if st.lets(x) {
				passes = true
			} else if st.find(setDeny, x) != nil || x.last() == "next" {
				refuses = true
			}
		}
		return true
	})
	return refuses && !passes
}

// lets reports that a call lets the request pass on; next(error) of JavaScript does not.
func (st *study) lets(x *site) bool {
	return st.find(setPass, x) != nil && (x.last() != "next" || len(x.node.Args) == 0 || x.scope.File.Language == program.Go)
}

// same says whether a node is the name, or the expression itself.
func same(name string, at *program.Node) func(*program.Node) bool {
	return func(n *program.Node) bool {
		return name != "" && n.Kind == program.Name && n.Text == name || at != nil && n == at
	}
}

// caught looks at what a promise's catch gives in place of the look-up, where that
// is then told apart: const revoked = await find().catch(() => null).
func (st *study) caught(fn *program.Function, call, handler *program.Node, s *program.Scope) bool {
	gives := ""
	if handler.Kind != program.Block {
		gives = constantOf(&program.Node{Args: []*program.Node{handler}})
	} else {
		gives = "null"
		program.Walk(handler, func(n *program.Node) bool {
			switch {
			case n.Kind == program.Func || n.Kind == program.Type:
				return false
			case n.Kind == program.Throw, n.Kind == program.Call && st.find(setDeny, st.siteOf(n, n.On, s)) != nil && !st.about("a-logger", st.siteOf(n, n.On, s).path()):
				gives = ""
				return false
			case n.Kind == program.Return:
				gives = constantOf(n)
			}
			return true
		})
	}
	if gives != "null" && gives != "false" && gives != "0" {
		return false
	}
	name := ""
	st.program.Each(fn, func(n *program.Node, _ *program.Scope) bool {
		if n.Kind == program.Assign && n.On != nil && n.On.Kind == program.Name && len(n.Args) == 1 && n.Args[0] == call {
			name = n.On.Text
		}
		return n.Kind != program.Func && n.Kind != program.Type
	})
	return st.refusesIf(fn, call, same(name, call)) > 0 && st.passesAfter(fn, call, s)
}

// calledBack looks at a function that a look-up gives its error to, (err, found) => ….
func (st *study) calledBack(x *program.Node, look *site, s *program.Scope, way polarity) {
	back := x.Args[len(x.Args)-1]
	if back.Kind != program.Func || back.Func == nil || back.Func.Body == nil || len(back.Func.Params) < 2 || !st.about("error-name", back.Func.Params[0].Name) {
		return
	}
	fn, err := back.Func, back.Func.Params[0].Name
	in := st.program.Scope(fn)
	seen := false
	st.program.Each(fn, func(n *program.Node, s *program.Scope) bool {
		if n.Kind == program.Name && n.Text == err {
			seen = true
		}
		if n.Kind == program.If && n.On != nil && n.On.Text != "||" && presence(n.On, same(err, nil)) > 0 && st.letsPass(fn, n, n.Then, in, way) {
			f := st.finding(s.File, n.Range, Certain, "default")
			st.step(f, look, "when this fails, the request passes")
			st.emit(f)
		}
		return true
	})
	if found := fn.Params[1].Name; !seen && found != "" && st.refusesIf(fn, fn.Body, same(found, nil)) > 0 &&
		slices.ContainsFunc(st.own[fn], func(x *site) bool { return x.call() && st.lets(x) }) {
		st.emit(st.finding(s.File, x.Range, Likely, "ignored", look.name()))
	}
}

// passesByReturn reports that a function refuses, within a statement, by an error that
// it throws, and else gives its answer: FastAPI's dependencies, strategies of passport.
func (st *study) passesByReturn(fn *program.Function, try *program.Node) bool {
	if !st.judges[fn] {
		return false
	}
	refuses := st.replies(fn) && st.refuses(try.Then, st.program.Scope(fn))
	program.Walk(try.Then, func(n *program.Node) bool {
		if n.Kind == program.Call && last(program.Written(n.On)) == "abort" { // of Flask, which throws
			refuses = true
		}
		if n.Kind == program.Throw && len(n.Args) > 0 {
			names := program.Written(n.Args[0])
			if n.Args[0].Kind == program.Call {
				names = append(program.Written(n.Args[0].On), words(n.Args[0])...)
			}
			refuses = refuses || slices.ContainsFunc(names, func(w string) bool { return st.about("refusal", w) })
		}
		return n.Kind != program.Func && n.Kind != program.Type
	})
	return refuses && !slices.ContainsFunc(st.own[fn], func(x *site) bool { return x.call() && st.find(setPass, x) != nil })
}

// replies reports that a function has the parameters of an asynchronous hook of
// Fastify: without an answer of its own, the request passes.
func (st *study) replies(fn *program.Function) bool {
	return len(fn.Params) == 2 && fn.Params[1].Name == "reply"
}

// givesAfter reports that behind a statement a function gives something, and refuses
// no more; in Python, and in a hook of Fastify, it need give nothing.
func (st *study) givesAfter(fn *program.Function, after *program.Node) bool {
	gives, decided := st.fileOf[fn].Language == program.Python || st.replies(fn), false
	st.program.Each(fn, func(n *program.Node, _ *program.Scope) bool {
		if n.Kind == program.Func || n.Kind == program.Type {
			return false
		}
		if !decided && n.Range.Start.Offset >= after.Range.End.Offset && (n.Kind == program.Return || n.Kind == program.Throw) {
			v := constantOf(n)
			gives, decided = n.Kind == program.Return && v != "false" && v != "null", true
		}
		return true
	})
	return gives
}
