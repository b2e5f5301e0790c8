package lint

import (
	"path"
	"slices"
	"strings"

	"github.com/rescind/rescind/lint/program"
)

// A purpose is what a token is verified for.
type purpose string

const (
	forAccess  purpose = "access"  // to let a request pass
	forRefresh purpose = "refresh" // to issue a new token
	forOther   purpose = "other"   // a link in an e-mail, the state of a login elsewhere, the id in a logout
	forUnknown purpose = "unknown"
)

// A check is a place where the signature of a token is verified, with the
// functions that use it for one purpose.
type check struct {
	verify *site
	root   *program.Function // that the request comes to
	why    purpose
	guard  bool // a route says that the root stands before others, or it is of such a shape
}

// checks finds what every verification is for.
func (st *study) checks() []check {
	if st.checked == nil {
		st.checked = []check{}
		for _, s := range st.sites {
			if st.verdict(s).verify != nil && st.ctx.Err() == nil {
				st.checked = append(st.checked, st.uses(s)...)
			}
		}
	}
	return st.checked
}

// Not more callers than this of one verification are looked at.
const maxCallers = 500

// uses finds the functions that come to a verification, from the nearest on.
func (st *study) uses(verify *site) []check {
	fn := verify.fn()
	if st.program.Enclosing(fn) == nil && fn.Name == "" && st.program.Top(st.fileOf[fn]) == fn {
		return nil // at the top level of a file: no request comes there
	}
	above := []*program.Function{fn}
	seen := map[*program.Function]bool{fn: true}
	for i := 0; i < len(above) && len(above) < maxCallers; i++ {
		for _, c := range st.callers[above[i]] {
			if !seen[c] && st.program.Top(st.fileOf[c]) != c {
				seen[c] = true
				above = append(above, c)
			}
		}
	}
	if st.other(verify, fn) {
		return []check{{verify, fn, forOther, false}}
	}
	var out []check
	for _, f := range above {
		if st.guards[f] || st.guardShape(f) {
			why := forAccess
			switch {
			case st.about("other-purpose", owner(f)):
				why = forOther
			case st.about("refresh-word", owner(f)):
				why = forRefresh
			}
			out = append(out, check{verify, f, why, true})
		}
	}
	// A helper that guards call is none by itself: they may look further.
	all := slices.Clone(out)
	out = slices.DeleteFunc(out, func(c check) bool {
		return !st.guards[c.root] && slices.ContainsFunc(all, func(above check) bool {
			return above.root != c.root && st.reach(above.root).has(c.root) && !st.reach(c.root).has(above.root)
		})
	})
	// Nor is one that handlers call themselves: what they do next counts.
	called := slices.ContainsFunc(st.chains, func(c *chain) bool {
		return slices.ContainsFunc(c.answer, func(f *program.Function) bool { return seen[f] })
	})
	out = slices.DeleteFunc(out, func(c check) bool { return called && !st.guards[c.root] && st.looksUp(st.reach(c.root)) != theState })
	guarded := len(out) > 0
	for _, c := range st.chains {
		i := slices.IndexFunc(c.answer, func(f *program.Function) bool { return seen[f] })
		if i < 0 || guarded && !st.isRefresh(c) {
			continue // a route that does it itself matters if there is no guard
		}
		root := c.answer[i]
		why := forAccess
		switch {
		case st.isLogout(c) || st.about("other-purpose", c.route.Path+" "+owner(root)) || st.about("login-path", c.route.Path):
			why = forOther
		case st.isRefresh(c) || st.about("refresh-word", owner(root)):
			why = forRefresh
		}
		out = append(out, check{verify, root, why, false})
	}
	if len(out) > 0 {
		return out
	}
	root := above[len(above)-1]
	for _, f := range above { // the first with a name that says what it is for
		switch {
		case st.about("logout-function", f.Name) || st.about("other-purpose", owner(f)):
			return []check{{verify, f, forOther, false}}
		case st.about("refresh-word", owner(f)):
			return []check{{verify, f, forRefresh, false}}
		case f.Name != "" && root.Name == "":
			root = f
		}
	}
	return []check{{verify, root, forUnknown, false}}
}

// owner is the name of a function, and of its class.
func owner(f *program.Function) string {
	if f.Class != nil {
		return f.Class.Name + " " + f.Name
	}
	return f.Name
}

func (st *study) isLogout(c *chain) bool {
	return slices.ContainsFunc(st.logouts, func(l *logout) bool { return l.route != nil && l.route == c.route })
}

func (st *study) isRefresh(c *chain) bool {
	return slices.ContainsFunc(st.refreshes, func(r *chain) bool { return r == c })
}

// other reports that names at a verification say that it lets no request pass: the
// function's, the key's.
func (st *study) other(verify *site, fn *program.Function) bool {
	file := path.Base(verify.scope.File.Path)
	if st.about("other-purpose", owner(fn)) || st.about("other-file", strings.TrimSuffix(file, path.Ext(file))) {
		return true
	}
	return slices.ContainsFunc(words(verify.node), func(w string) bool { return st.about("other-purpose", w) })
}

// guardShape reports that a function is what stands before handlers: it lets pass
// or refuses, and says whose the request is.
func (st *study) guardShape(f *program.Function) bool {
	if shape, ok := st.shapes[f]; ok {
		return shape
	}
	st.shapes[f] = false
	shape := st.guardLike(f)
	st.shapes[f] = shape
	return shape
}

func (st *study) guardLike(f *program.Function) bool {
	if f.Class != nil && (f.Name == "canActivate" || f.Name == "authenticate" || f.Name == "use" && st.about("guard", f.Class.Name)) {
		return true
	}
	if st.about("guard", f.Name) && len(f.Params) > 0 {
		for _, p := range f.Params {
			if p.Type == "context.Context" {
				continue
			}
			if st.about("request", p.Name) || st.about("pass", p.Name) || st.about("request-type", p.Type) || p.Default != nil && st.dependency(p.Default) {
				return true
			}
		}
	}
	for _, s := range st.own[f] {
		if s.call() && st.find(setPass, s) != nil {
			return true
		}
		if s.node.Kind == program.Assign && len(s.written) > 1 && st.about("identity", strings.Join(s.written, ".")) {
			return true
		}
	}
	return false
}

// dependency reports that a parameter's default is given by the framework for each
// request, as FastAPI's Depends is.
func (st *study) dependency(n *program.Node) bool {
	names := program.Written(n)
	return len(names) > 0 && st.about("dependency", names[len(names)-1])
}

// looked says what state a reach looks up.
type looked int

const (
	nothing looked = iota
	theUser        // but nothing that a logout changes
	theState
)

// looksUp follows a function and says whether what it finds can depend on a logout.
func (st *study) looksUp(r *reach) looked {
	found := nothing
	for _, s := range r.sites {
		v := st.verdict(s)
		if v.lookup && v.strong || v.asks || v.known && st.asksBeyond(s) {
			return theState
		}
		if v.lookup {
			found = theUser
		}
	}
	if found == theUser && st.comparesState(r) || st.usersKey(r) {
		return theState
	}
	return found
}

// usersKey reports that the key of the signature comes out of the user's record: a
// logout may change it.
func (st *study) usersKey(r *reach) bool {
	return slices.ContainsFunc(r.sites, func(s *site) bool {
		if st.about("users-key", strings.Join(s.written, ".")) {
			return true
		}
		return st.verdict(s).verify != nil && slices.ContainsFunc(s.node.Args, func(a *program.Node) bool {
			return st.about("users-key", strings.Join(program.Written(a), "."))
		})
	})
}

// asksBeyond reports that a parsed function whose name says that it looks a session
// up, as isBlocklisted does, calls what was not read.
func (st *study) asksBeyond(s *site) bool {
	if !s.call() || len(s.value.Funcs) == 0 || !st.about("could-look", s.last()) {
		return false
	}
	confidence, _ := st.unfollowed(st.reach(s.value.Funcs...), nil, func(verdict) bool { return false })
	return confidence != Certain
}

// comparesState reports that a value is compared that a logout may change: a
// version, a time since when tokens are good.
func (st *study) comparesState(r *reach) bool {
	found := false
	for _, f := range r.funcs {
		if f.Body == nil || found {
			continue
		}
		program.Walk(f.Body, func(n *program.Node) bool {
			switch {
			case n.Kind == program.Operator && (n.Text == "==" || n.Text == "!=" || n.Text == "<" || n.Text == ">" || n.Text == "<=" || n.Text == ">="),
				n.Kind == program.If, n.Kind == program.Operator && n.Text == "!",
				n.Kind == program.Call && n.On != nil && st.about("compares", n.On.Text):
				operands := n.Args
				if n.Kind == program.If {
					operands = []*program.Node{n.On}
				}
				for _, a := range operands {
					if a == nil { // the condition of broken source
						continue
					}
					// TokenType.ACCESS_TOKEN is a constant.
					if a.Kind == program.Member && a.Text != strings.ToUpper(a.Text) && st.about("state-field", a.Text) {
						found = true
					}
				}
			}
			return !found
		})
	}
	return found
}

// signatureOnlyCheck: messages: default, user, refresh, unknown, route, library,
// strategy.
func signatureOnlyCheck(st *study) {
	for _, s := range st.sites {
		if st.ctx.Err() != nil {
			return
		}
		if s.call() {
			st.libraryGuard(s)
			st.strategy(s)
		}
	}
	for _, c := range st.program.Classes() {
		st.strategyClass(c)
	}
	good := map[*site]bool{}
	type bad struct {
		check
		confidence Confidence
		message    string
	}
	// One for each place and purpose.
	type key struct {
		verify  *site
		refresh bool
	}
	found := map[key]bad{}
	var order []key
	for _, c := range st.checks() {
		if c.why == forOther {
			continue
		}
		r := st.reach(c.root)
		what := st.looksUp(r)
		if c.why == forRefresh && st.first(r, nil, func(s *site, v verdict) bool { return v.effect && st.exchanges(s) }) != nil {
			what = theState
		}
		if what != theState && st.companions(c.root) {
			what = theState
		}
		if what == theState {
			good[c.verify] = true
			continue
		}
		confidence, _ := st.unfollowed(r, nil, func(verdict) bool { return false })
		message := "default"
		switch {
		case c.why == forRefresh:
			message, confidence = "refresh", lesser(confidence, Likely)
		case c.why == forUnknown:
			message, confidence = "unknown", Possible
		case what != theUser && !st.guards[c.root] && c.root.Class == nil && c.guard && st.unused(c.root):
			confidence = lesser(confidence, Likely) // nobody was seen to use it
		case what == theUser:
			message, confidence = "user", lesser(confidence, Likely)
		case !c.guard:
			message, confidence = "route", lesser(confidence, Likely)
		}
		k := key{c.verify, c.why == forRefresh}
		if old, ok := found[k]; !ok {
			order = append(order, k)
			found[k] = bad{c, confidence, message}
		} else if old.confidence != confidence && confidence.AtLeast(old.confidence) {
			found[k] = bad{c, confidence, message}
		}
	}
	for _, k := range order {
		b, v := found[k], k.verify
		if good[v] { // who else comes here looks it up: the name of this one may mislead
			if b.why != forAccess || !b.guard {
				continue
			}
			b.confidence = lesser(b.confidence, Likely)
		}
		at := v
		if other, shared := found[key{v, false}]; k.refresh && (shared && other.why == forAccess || good[v]) {
			at = st.towards(b.root, v)
		}
		name := owner(b.root)
		if own := v.fn(); b.message == "user" && own.Name != "" {
			name = owner(own)
		}
		f := st.finding(at.scope.File, at.node.Range, b.confidence, b.message, v.name(), name)
		if at != v {
			st.step(f, v, "the signature is verified here")
		} else if b.root != v.fn() {
			f.Trace = append(f.Trace, Step{Path: st.fileOf[b.root].Path, Range: b.root.NameRange, What: "a request comes here first"})
		}
		st.emit(f)
	}
}

// unused reports that no parsed function calls fn or passes it on: the top level of a
// file, in which it stands, may export it.
func (st *study) unused(fn *program.Function) bool {
	return !slices.ContainsFunc(st.callers[fn], func(c *program.Function) bool {
		return st.program.Top(st.fileOf[c]) != c || slices.ContainsFunc(st.own[c], func(s *site) bool { return slices.Contains(st.leads(s), fn) })
	})
}

// towards is the place in a function, or in one within it, from where a verification
// is reached.
func (st *study) towards(root *program.Function, verify *site) *site {
	for f := verify.fn(); f != nil; f = st.program.Enclosing(f) {
		if f == root {
			return verify
		}
	}
	for _, f := range append([]*program.Function{root}, st.within[root]...) {
		for _, s := range st.own[f] {
			for _, next := range s.value.Funcs {
				if s.call() && st.reach(next).has(verify.fn()) {
					return s
				}
			}
		}
	}
	return verify
}

func lesser(a, b Confidence) Confidence {
	if a.AtLeast(b) {
		return b
	}
	return a
}

// exchanges reports that an effect takes something out of a store: in a refresh, that
// it was there decides.
func (st *study) exchanges(s *site) bool {
	return st.about("takes-out", s.last()) || strings.Contains(s.last(), "delete") || strings.Contains(s.last(), "remove")
}

// companions reports that wherever routes use a guard, another one stands beside it
// that looks the state up.
func (st *study) companions(guard *program.Function) bool {
	used := false
	for _, c := range st.chains {
		if !slices.Contains(c.before, guard) {
			continue
		}
		used = true
		if st.isLogout(c) {
			continue
		}
		beside := slices.ContainsFunc(c.before, func(f *program.Function) bool {
			return f != guard && st.looksUp(st.reach(f)) == theState
		})
		// The handler may take the token apart once more, and look it up.
		itself := slices.ContainsFunc(c.answer, func(f *program.Function) bool {
			r := st.reach(f)
			return st.looksUp(r) == theState && st.first(r, nil, func(_ *site, v verdict) bool { return v.verify != nil }) != nil
		})
		if !beside && !itself {
			return false
		}
	}
	return used
}
