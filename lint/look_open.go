package lint

import (
	"slices"
	"strings"

	"github.com/rescind/rescind/lint/program"
)

// A polarity says which answer of a function lets a request pass.
type polarity int

const (
	passesByCall  polarity = iota // middleware: next()
	passesByTrue                  // canActivate, isValid
	passesByFalse                 // isRevoked
)

// revocationCheckFailsOpen: messages: default, ignored.
func revocationCheckFailsOpen(st *study) {
	looking := map[*program.Function]polarity{}
	for _, d := range st.deciders() {
		for _, fn := range d.funcs {
			looking[fn] = passesByFalse
		}
	}
	var roots []*program.Function
	for fn := range looking {
		roots = append(roots, fn)
	}
	for _, c := range st.checks() {
		if c.why == forAccess || c.why == forUnknown {
			roots = append(roots, c.root)
		}
	}
	for _, fn := range st.program.Functions {
		if st.guards[fn] || st.guardShape(fn) || fn.Name != "" && st.about("revoked-function", fn.Name) {
			roots = append(roots, fn)
		}
	}
	for _, fn := range st.reach(roots...).funcs {
		if st.ctx.Err() != nil {
			return
		}
		way, ok := looking[fn]
		if !ok {
			way = st.polarity(fn)
		}
		st.failsOpen(fn, way)
	}
}

// storesError reports that a catch may be for an error of a store: it is for all, or
// for one that is called like that.
func (st *study) storesError(c *program.Node) bool {
	return len(c.Args) == 0 || slices.ContainsFunc(c.Args, func(a *program.Node) bool {
		names := []string{last(program.Written(a))}
		if a.Kind == program.List {
			for _, item := range a.Args {
				names = append(names, last(program.Written(item)))
			}
		}
		return slices.ContainsFunc(names, func(n string) bool { return st.about("store-error", n) })
	})
}

func (st *study) polarity(fn *program.Function) polarity {
	name := fn.Name
	for up := fn; name == "" && up != nil; {
		if up = st.program.Enclosing(up); up != nil {
			name = up.Name
		}
	}
	switch {
	case st.about("revoked-function", name):
		return passesByFalse
	case st.about("valid-function", name):
		return passesByTrue
	}
	return passesByCall
}

// failsOpen looks at the catches of a function, and at the errors it drops.
func (st *study) failsOpen(fn *program.Function, way polarity) {
	st.program.Each(fn, func(n *program.Node, s *program.Scope) bool {
		switch n.Kind {
		case program.Func, program.Type:
			return false
		case program.Try:
			for _, c := range n.Args {
				if c.Then != nil && st.storesError(c) && st.holdsLookup(n.Then, s) != nil && st.letsPass(fn, n, c.Then, s, way) {
					f := st.finding(s.File, c.Range, Certain, "default")
					st.step(f, st.holdsLookup(n.Then, s), "when this fails, the request passes")
					st.emit(f)
				}
			}
		case program.Call: // lookup().catch(() => false)
			if n.On != nil && n.On.Kind == program.Member && n.On.Text == "catch" && len(n.Args) > 0 {
				look := st.holdsLookup(n.On.On, s)
				handler := st.program.Value(n.Args[0], s).Funcs
				if look != nil && len(handler) > 0 && handler[0].Body != nil && st.letsPass(fn, nil, handler[0].Body, s, way) {
					f := st.finding(s.File, n.Args[0].Range, Certain, "default")
					st.step(f, look, "when this fails, the request passes")
					st.emit(f)
				}
			}
		case program.Block:
			st.droppedErrors(fn, n, s, way)
		}
		return true
	})
}

// holdsLookup returns a look-up of state within some code, or one that it calls.
func (st *study) holdsLookup(n *program.Node, s *program.Scope) *site {
	var found *site
	if st.ctx.Err() != nil {
		return nil
	}
	for _, x := range st.own[s.Func] {
		if found != nil || n == nil || !n.Range.Contains(x.node.Range) {
			continue
		}
		if v := st.verdict(x); v.lookup && v.strong || v.asks {
			found = x
		} else if len(x.value.Funcs) > 0 && st.looksUp(st.reach(x.value.Funcs...)) == theState {
			found = x
		}
	}
	return found
}

// letsPass reports that what follows an error lets the request go on.
func (st *study) letsPass(fn *program.Function, try, handler *program.Node, s *program.Scope, way polarity) bool {
	passes, denies, ends := false, false, false
	program.Walk(handler, func(n *program.Node) bool {
		switch n.Kind {
		case program.Func, program.Type:
			return false
		case program.Throw:
			denies = true
		case program.Return:
			ends = true
			switch v := constantOf(n); {
			case way == passesByFalse && (v == "false" || v == "null" || v == "0"),
				way == passesByTrue && v == "true":
				passes = true
			case way == passesByFalse && v == "true", way == passesByTrue && (v == "false" || v == "null"):
				denies = true
			}
		case program.Call:
			x := st.siteOf(n, n.On, s)
			switch {
			case answers[x.last()]:
				if len(n.Args) > 1 && n.Args[0].Kind == program.Null && constantOf(&program.Node{Args: n.Args[1:2]}) == "false" && way == passesByFalse {
					passes = true
				} else {
					denies = true
				}
			case st.find(setPass, x) != nil && (len(n.Args) == 0 || x.last() != "next"):
				passes = true
			case st.find(setPass, x) != nil: // next(error)
				denies = denies || n.Args[0].Kind != program.Null
			case st.find(setDeny, x) != nil:
				denies = true
			}
		}
		return true
	})
	if denies || passes {
		return passes && !denies
	}
	if ends {
		return false // it gives something else; nothing is known of that
	}
	// The error is swallowed, and the function goes on.
	switch way {
	case passesByFalse:
		return true
	case passesByCall:
		return try != nil && !st.guest(fn, try) && st.passesAfter(fn, try, s)
	}
	return false
}

// guest reports that only within a statement, where its error is caught, it is
// written down whose the request is: after an error it passes as nobody's.
func (st *study) guest(fn *program.Function, n *program.Node) bool {
	inside, outside := false, false
	for _, x := range st.own[fn] {
		if x.node.Kind == program.Assign && len(x.written) > 1 && st.about("identity", strings.Join(x.written, ".")) {
			if n.Range.Contains(x.node.Range) {
				inside = true
			} else {
				outside = true
			}
		}
	}
	return inside && !outside
}

// What Node calls a function that an answer, or an error, is given to.
var answers = map[string]bool{"done": true, "cb": true, "callback": true}

// constantOf is the constant that a return gives: true, false, null, a number; null
// for nothing, "" for what is no constant.
func constantOf(n *program.Node) string {
	if len(n.Args) == 0 {
		return "null"
	}
	switch v := n.Args[0]; v.Kind {
	case program.Bool, program.Number:
		return v.Text
	case program.Null:
		return "null"
	}
	return ""
}

// passesAfter reports that behind a statement of a function the request passes on.
func (st *study) passesAfter(fn *program.Function, after *program.Node, _ *program.Scope) bool {
	return slices.ContainsFunc(st.own[fn], func(x *site) bool {
		// next(error) refuses, and observers have a next of their own.
		return x.call() && x.node.Range.Start.Offset >= after.Range.End.Offset && st.find(setPass, x) != nil && (x.last() != "next" || len(x.node.Args) == 0)
	})
}

// droppedErrors finds, in Go, look-ups whose error is not looked at, or only where
// there is none.
func (st *study) droppedErrors(fn *program.Function, block *program.Node, s *program.Scope, way polarity) {
	if s.File.Language != program.Go {
		return
	}
	for i, n := range block.Args {
		if n.Kind != program.Assign || n.On == nil || n.On.Kind != program.List || len(n.On.Args) < 2 || len(n.Args) == 0 {
			continue
		}
		look := st.holdsLookup(n.Args[0], s)
		last := n.On.Args[len(n.On.Args)-1]
		if look == nil || last.Kind != program.Name || n.Args[0].Kind != program.Call {
			continue
		}
		if last.Text == "_" {
			if v := st.verdict(look); !v.lookup && !v.asks && !st.about("revoked-function", look.last()) {
				continue // who else it calls may have looked at it
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
	for _, n := range rest {
		switch n.Kind {
		case program.If:
			switch test := errorTest(n.On, name); {
			case test == "!=": // if err != nil { … }; with an else, what follows differs
				return n.Else == nil && st.letsPass(fn, n, n.Then, s, way)
			case test == "==" && n.Else == nil: // if err == nil && revoked { refuse }
				refuses := false
				program.Walk(n.Then, func(n *program.Node) bool {
					refuses = refuses || n.Kind == program.Return
					return true
				})
				return refuses && (way == passesByFalse || st.passesAfter(fn, n, s))
			}
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

// logoutSwallowsErrors: messages: default, dropped.
func logoutSwallowsErrors(st *study) {
	seen := map[*program.Function]bool{}
	look := func(fn *program.Function) {
		if seen[fn] {
			return
		}
		seen[fn] = true
		st.program.Each(fn, func(n *program.Node, s *program.Scope) bool {
			switch n.Kind {
			case program.Func, program.Type:
				return false
			case program.Try:
				effect := st.holdsEffect(n.Then, s)
				for _, c := range n.Args {
					if effect != nil && c.Then != nil && st.storesError(c) && !st.tells(c.Then, s) {
						f := st.finding(s.File, c.Range, Likely, "default")
						st.step(f, effect, "when this fails, the user is told that all is well")
						st.emit(f)
					}
				}
			case program.Block:
				st.droppedEffects(n, s)
			}
			return true
		})
	}
	for _, l := range st.logouts {
		for _, fn := range l.reach.funcs {
			look(fn)
		}
	}
	for _, fn := range st.program.Functions {
		if fn.Name != "" && st.about("revokes", fn.Name) && !st.client(st.fileOf[fn]) {
			look(fn)
		}
	}
}

// droppedEffects finds, in Go, effects whose error goes nowhere, or into the log.
func (st *study) droppedEffects(block *program.Node, s *program.Scope) {
	if s.File.Language != program.Go {
		return
	}
	for i, n := range block.Args {
		if n.Kind != program.Assign || n.On == nil || len(n.Args) == 0 || n.Args[0].Kind != program.Call {
			continue
		}
		target := n.On
		if target.Kind == program.List && len(target.Args) > 0 {
			target = target.Args[len(target.Args)-1]
		}
		effect := st.holdsEffect(n.Args[0], s)
		if effect == nil || target.Kind != program.Name {
			continue
		}
		if target.Text == "_" {
			st.emit(st.finding(s.File, n.Range, Likely, "dropped", effect.name()))
			continue
		}
		if i+1 < len(block.Args) && block.Args[i+1].Kind == program.If && errorTest(block.Args[i+1].On, target.Text) == "!=" && !st.tells(block.Args[i+1].Then, s) {
			f := st.finding(s.File, n.Range, Likely, "default")
			st.step(f, effect, "when this fails, the user is told that all is well")
			st.emit(f)
		}
	}
}

// holdsEffect returns what ends a session within some code, or what it calls.
func (st *study) holdsEffect(n *program.Node, s *program.Scope) *site {
	ends := func(_ *site, v verdict) bool { return v.effect && !v.memory }
	if st.ctx.Err() != nil {
		return nil
	}
	for _, x := range st.own[s.Func] {
		if n == nil || !n.Range.Contains(x.node.Range) {
			continue
		}
		v := st.verdict(x)
		if v.effect && !v.memory || v.suspect && st.about("revokes", x.last()) {
			return x
		}
		if len(x.value.Funcs) > 0 && st.first(st.reach(x.value.Funcs...), nil, ends) != nil {
			return x
		}
	}
	return nil
}

// tells reports that a catch passes the error on, in some way.
func (st *study) tells(n *program.Node, s *program.Scope) bool {
	told := false
	program.Walk(n, func(n *program.Node) bool {
		switch n.Kind {
		case program.Func, program.Type:
			return false
		case program.Throw, program.Return:
			told = told || n.Kind == program.Throw || len(n.Args) > 0
		case program.Call:
			x := st.siteOf(n, n.On, s)
			told = told || st.find(setDeny, x) != nil || x.last() == "next" || !st.about("logs", strings.Join(x.written, "."))
		}
		return !told
	})
	return told
}
