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
	for _, c := range st.program.Classes() {
		if fn, _ := st.validates(c); fn != nil {
			roots = append(roots, fn)
		}
	}
	for _, s := range st.sites {
		if e := st.find(setLibrary, s); s.call() && e != nil && e.As == "strategy" {
			roots = append(roots, st.given(s)...)
		}
	}
	st.judges = map[*program.Function]bool{}
	for _, fn := range roots {
		st.judges[fn] = true
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
				if look != nil && len(handler) > 0 && handler[0].Body != nil &&
					(st.letsPass(fn, nil, handler[0].Body, s, way) || way == passesByCall && st.caught(fn, n, handler[0].Body, s)) {
					f := st.finding(s.File, n.Args[0].Range, Certain, "default")
					st.step(f, look, "when this fails, the request passes")
					st.emit(f)
				}
			}
			if look := st.lookupAt(n, s); look != nil && len(n.Args) > 0 {
				st.calledBack(n, look, s, way)
			}
			st.valOnly(fn, n, s)
		case program.Block:
			st.droppedErrors(fn, n, s, way)
		}
		return true
	})
}

// lookupAt returns the look-up of tokens' or sessions' state that a call is.
func (st *study) lookupAt(n *program.Node, s *program.Scope) *site {
	for _, x := range st.own[s.Func] {
		if x.node == n {
			if v := st.verdict(x); v.lookup && v.strong {
				return x
			}
		}
	}
	return nil
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
	byReturn := way != passesByFalse && try != nil && try.Kind == program.Try && st.passesByReturn(fn, try)
	program.Walk(handler, func(n *program.Node) bool {
		switch n.Kind {
		case program.Func, program.Type:
			return false
		case program.If:
			if st.passesRefusalOn(n) {
				return false
			}
		case program.Throw:
			denies = true
		case program.Return:
			ends = true
			if byReturn && len(n.Args) > 0 && constantOf(n) == "" {
				passes = true
			}
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
			case st.about("a-logger", x.path()):
			case answers[x.last()]:
				if len(n.Args) > 1 && n.Args[0].Kind == program.Null && constantOf(&program.Node{Args: n.Args[1:2]}) == "false" && way == passesByFalse {
					passes = true
				} else if way != passesByFalse && len(n.Args) > 1 && n.Args[0].Kind == program.Null && constantOf(&program.Node{Args: n.Args[1:2]}) == "" {
					passes = true // done(null, user)
				} else {
					denies = true
				}
			case st.lets(x):
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
	switch {
	case way == passesByFalse:
		return true
	case byReturn:
		return !st.guest(fn, try) && st.givesAfter(fn, try)
	case way == passesByCall:
		return try != nil && !st.guest(fn, try) && st.passesAfter(fn, try, s)
	}
	return false
}

// passesRefusalOn reports that a condition within a catch throws the refusal on that
// the check itself has thrown: if (e instanceof UnauthorizedException) throw e.
func (st *study) passesRefusalOn(n *program.Node) bool {
	if n.On == nil || n.Else != nil || n.Then == nil || n.On.Kind != program.Operator || n.On.Text != "instanceof" || len(n.On.Args) != 2 {
		return false
	}
	return !st.about("store-error", last(program.Written(n.On.Args[1])))
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
	case program.Name:
		if v.Text == "undefined" {
			return "null"
		}
	}
	return ""
}

// passesAfter reports that behind a statement of a function the request passes on.
func (st *study) passesAfter(fn *program.Function, after *program.Node, _ *program.Scope) bool {
	return slices.ContainsFunc(st.own[fn], func(x *site) bool {
		return x.call() && x.node.Range.Start.Offset >= after.Range.End.Offset && st.lets(x)
	})
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
