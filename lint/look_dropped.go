package lint

import (
	"slices"

	"github.com/rescind/rescind/lint/program"
)

// valOnly finds, in Go, the Val() of go-redis, which drops the error of a command.
func (st *study) valOnly(fn *program.Function, n *program.Node, s *program.Scope) {
	if s.File.Language != program.Go || n.On == nil || n.On.Kind != program.Member || n.On.Text != "Val" || len(n.Args) > 0 {
		return
	}
	if look := st.lookupAt(n.On.On, s); look != nil && st.refusesIf(fn, n, same("", n)) > 0 {
		st.emit(st.finding(s.File, n.Range, Likely, "ignored", look.name()))
	}
}

// droppedErrors finds, in Go, look-ups whose error is not looked at, or only where
// there is none.
func (st *study) droppedErrors(fn *program.Function, block *program.Node, s *program.Scope, way polarity) {
	if s.File.Language != program.Go {
		return
	}
	for i, n := range block.Args {
		if n.Kind != program.Assign || n.On == nil || len(n.Args) == 0 {
			continue
		}
		last, from := n.On, n.Args[0]
		if n.On.Kind == program.List && len(n.On.Args) > 1 {
			last = n.On.Args[len(n.On.Args)-1]
		} else if from.Kind == program.Member && (from.Text == "Error" || from.Text == "Err") { // of GORM
			from = from.On
		} else if from.Kind != program.Call || from.On == nil || !slices.Contains([]string{"Scan", "Err", "Get", "Decode", "StructScan"}, from.On.Text) {
			continue // it need not be the error of a look-up
		}
		if last.Kind != program.Name || from == nil || from.Kind != program.Call {
			continue
		}
		look := st.holdsLookup(from, s)
		if look == nil {
			continue
		}
		if last.Text == "_" {
			if v := st.verdict(look); !v.lookup && !v.asks && !st.about("revoked-function", look.last()) {
				continue // who else it calls may have looked at it
			}
			if n.On.Kind == program.List && n.On.Args[0].Kind == program.Name && st.refusesIf(fn, n, same(n.On.Args[0].Text, nil)) < 0 {
				continue // nothing is no answer: it refuses
			}
			st.emit(st.finding(s.File, n.Range, Likely, "ignored", look.name()))
			continue
		}
		if st.about("error-name", last.Text) && st.errorPasses(block.Args[i+1:], last.Text, s, way, fn) {
			f := st.finding(s.File, n.Range, Likely, "default")
			st.step(f, look, "when this fails, the request passes")
			st.emit(f)
		}
	}
}

// errorPasses follows the statements behind a look-up in Go.
func (st *study) errorPasses(rest []*program.Node, name string, s *program.Scope, way polarity, fn *program.Function) bool {
	for i, n := range rest {
		switch n.Kind {
		case program.If:
			switch test := errorTest(n.On, name); {
			case test == "" && st.refusesOn(rest[i:i+1], name, s):
				return false // if err != nil && !errors.Is(err, sql.ErrNoRows) { refuse }
			case test == "!=": // if err != nil { … }; with an else, that must be what refuses
				return (n.Else == nil || st.refuses(n.Else, s)) && st.letsPass(fn, n, n.Then, s, way)
			case test == "==" && n.Else == nil: // if err == nil && revoked { refuse }
				refuses := st.refuses(n.Then, s)
				if way == passesByFalse {
					program.Walk(n.Then, func(n *program.Node) bool {
						refuses = refuses || n.Kind == program.Return
						return true
					})
				}
				return refuses && !st.refusesOn(rest[i+1:], name, s) && (way == passesByFalse || st.passesAfter(fn, n, s))
			}
		case program.Switch: // switch { case err != nil: … case revoked: refuse }
			if n.On != nil {
				continue
			}
			opens, refuses := false, false
			for _, c := range n.Args {
				if len(c.Args) == 1 && errorTest(c.Args[0], name) == "!=" {
					opens = c.Then != nil && st.letsPass(fn, n, c.Then, s, way)
				} else {
					refuses = refuses || st.refuses(c.Then, s)
				}
			}
			return opens && refuses
		case program.Return:
			return false
		case program.Assign:
			if n.On != nil && slices.Contains(program.Written(n.On), name) {
				return false
			}
		}
	}
	return false
}

// refusesOn reports that some of the statements look at an error, and then refuse:
// if !errors.Is(err, sql.ErrNoRows) { … }.
func (st *study) refusesOn(rest []*program.Node, name string, s *program.Scope) bool {
	return slices.ContainsFunc(rest, func(n *program.Node) bool {
		if n.Kind != program.If {
			return false
		}
		looks := false
		program.Walk(n.On, func(n *program.Node) bool {
			looks = looks || n.Kind == program.Name && n.Text == name
			return !looks
		})
		returns := false
		program.Walk(n.Then, func(n *program.Node) bool {
			returns = returns || n.Kind == program.Return && constantOf(n) != "false"
			return true
		})
		return looks && (st.refuses(n.Then, s) || returns)
	})
}

// errorTest is how a condition compares an error with nil: == or !=; "" if it does
// not, or if it tells errors apart.
func errorTest(n *program.Node, name string) string {
	if n == nil || n.Kind != program.Operator || len(n.Args) != 2 {
		return ""
	}
	if n.Text == "&&" {
		if t := errorTest(n.Args[0], name); t == "==" {
			return t
		}
		return errorTest(n.Args[1], name)
	}
	a, b := n.Args[0], n.Args[1]
	if (n.Text == "==" || n.Text == "!=") && a.Kind == program.Name && a.Text == name && b.Kind == program.Null {
		return n.Text
	}
	return ""
}
