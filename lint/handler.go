package lint

import (
	"path"
	"slices"
	"strings"

	"github.com/rescind/rescind/lint/program"
)

// A chain is what runs for one kind of request, in order.
type chain struct {
	route  *program.Route // nil if only a function is known
	file   *program.File
	before []*program.Function // middleware and guards
	answer []*program.Function // what answers; several for a method of an interface
	calls  []*site             // handlers from outside of the parsed files
	range_ program.Range
	at     *program.File // of range_
	name   string        // for people
}

func (c *chain) all() []*program.Function { return slices.Concat(c.before, c.answer) }

// A logout is a chain that ought to end access.
type logout struct {
	chain
	reach *reach
}

// callables are the methods that make an instance of a class a handler or a guard.
var callables = []string{
	"canActivate", "use", "intercept", "handle", "handler", "ServeHTTP", "validate", "invoke", "execute", "__call__", "dispatch_request", "post", "get", "delete", "dispatch",
}

// handlers takes the handlers of a route apart: lists, wrappers, instances.
func (st *study) handlers(nodes []*program.Node, f *program.File) (before, answer []*program.Function, calls []*site) {
	for i, n := range nodes {
		s := st.scopeOf[n]
		if s == nil {
			s = st.program.Scope(st.program.Top(f))
			if n.Func != nil && st.program.Scope(n.Func) != nil && st.program.Scope(n.Func).Up != nil {
				s = st.program.Scope(n.Func).Up
			}
		}
		b, a, c := st.handler(n, s, 0)
		before, calls = append(before, b...), append(calls, c...)
		if i == len(nodes)-1 {
			answer = a
		} else {
			before = append(before, a...)
		}
	}
	return before, answer, calls
}

func (st *study) handler(n *program.Node, s *program.Scope, depth int) (before, answer []*program.Function, calls []*site) {
	if n == nil || s == nil || depth > 8 {
		return nil, nil, nil
	}
	switch n.Kind {
	case program.Func:
		return nil, []*program.Function{n.Func}, nil
	case program.Call:
		return st.wrapped(n, s, depth)
	case program.List:
		for i, item := range n.Args {
			b, a, c := st.handler(item, s, depth+1)
			before, calls = append(before, b...), append(calls, c...)
			if i == len(n.Args)-1 {
				answer = a
			} else {
				before = append(before, a...)
			}
		}
		return before, answer, calls
	}
	v := st.program.Value(n, s)
	switch {
	case len(v.Funcs) > 0:
		return nil, v.Funcs, nil
	case v.Class != nil:
		return nil, st.methods(v.Class), nil
	case v.Node != nil && v.Node.Kind == program.List && v.Scope != nil:
		return st.handler(v.Node, v.Scope, depth+1)
	case v.Node != nil && v.Node.Kind == program.Call && v.Scope != nil && v.Node != n:
		return st.wrapped(v.Node, v.Scope, depth+1)
	}
	return nil, nil, []*site{st.siteOf(n, n, s)}
}

// views are the methods of a class of Flask or Django that answer requests.
func (st *study) views(c *program.Class) []*program.Function {
	var out []*program.Function
	for _, name := range []string{"dispatch_request", "get", "post", "put", "patch", "delete"} {
		if m := c.Method(name); m != nil && m.Body != nil {
			out = append(out, m)
		}
	}
	return out
}

func (st *study) methods(c *program.Class) []*program.Function {
	for _, name := range callables {
		if m := c.Method(name); m != nil && m.Body != nil {
			return []*program.Function{m}
		}
	}
	return nil
}

// wrapped is a handler that a call makes: around others, if it is given any, or by
// itself.
func (st *study) wrapped(n *program.Node, s *program.Scope, depth int) (before, answer []*program.Function, calls []*site) {
	for _, a := range n.Args {
		if a.Kind == program.String || a.Kind == program.Object {
			continue
		}
		b, ans, c := st.handler(a, s, depth+1)
		if len(ans) == 0 {
			calls = append(calls, c...)
			continue
		}
		before, answer = append(append(before, answer...), b...), ans
	}
	if n.On != nil && n.On.Kind == program.Member && n.On.Text == "as_view" {
		if c := st.program.Value(n.On.On, s).Class; c != nil {
			return nil, st.views(c), nil
		}
	}
	callee := st.program.Value(n.On, s)
	switch {
	case len(answer) > 0:
		before = append(slices.Clone(callee.Funcs), before...)
		if len(callee.Funcs) == 0 && callee.Class == nil {
			calls = append(calls, st.siteOf(n, n.On, s))
		}
	case len(callee.Funcs) > 0:
		answer, calls = callee.Funcs, nil
	case callee.Class != nil:
		answer, calls = st.methods(callee.Class), nil
	default:
		calls = []*site{st.siteOf(n, n.On, s)}
	}
	return before, answer, calls
}

func (st *study) siteOf(n, target *program.Node, s *program.Scope) *site {
	v := st.program.Value(target, s)
	node := n
	if n.Kind != program.Call { // as if it were called
		node = &program.Node{Kind: program.Call, On: n, Range: n.Range}
	}
	return &site{
		node: node, scope: s, value: v,
		module: strings.ToLower(v.Path.Module), names: lower(v.Path.Names), written: lower(program.Written(target)),
	}
}

// find the chains: which routes log out, which refresh, and what stands before
// others.
func (st *study) survey() {
	taken, mounts := map[*program.Function]bool{}, st.mounts()
	for _, f := range st.program.Files {
		for i := range f.Routes {
			r := &f.Routes[i]
			if r.Method != "USE" {
				r = st.mounted(r, f, mounts)
			}
			c := chain{route: r, file: f, at: f, range_: r.Range}
			c.before, c.answer, c.calls = st.handlers(r.Handlers, f)
			for _, fn := range c.answer {
				for _, d := range fn.Decorators {
					c.before = append(c.before, st.program.Value(d, st.program.Scope(fn).Up).Funcs...)
					if d.Kind == program.Call {
						c.before = append(c.before, st.program.Value(d.On, st.program.Scope(fn).Up).Funcs...)
					}
				}
			}
			for _, fn := range c.before {
				st.guards[fn] = true
			}
			for _, fn := range c.answer {
				if f.Language == program.Go && st.servesOthers(fn) {
					st.guards[fn] = true
				}
			}
			if r.Method == "USE" {
				for _, fn := range c.answer {
					st.guards[fn] = true
				}
				continue
			}
			st.place(&c)
			st.chains = append(st.chains, &c)
			path := strings.ToLower(r.Path)
			switch {
			case st.about("logout-path", path) || r.Method == "DELETE" && st.about("session-path", path) || st.named(&c, "logout-function") && st.about("logout-near", path):
				st.logouts = append(st.logouts, &logout{chain: c})
				for _, fn := range c.answer {
					taken[fn] = true
				}
			case st.about("refresh-path", path):
				st.refreshes = append(st.refreshes, &c)
				for _, fn := range c.answer {
					taken[fn] = true
				}
			}
		}
	}
	st.events(taken)
	var roots []*program.Function
	for _, l := range st.logouts {
		roots = append(roots, l.all()...)
	}
	routed := st.reach(roots...)
	for _, fn := range st.program.Functions {
		if fn.Name == "" || fn.Body == nil || taken[fn] || routed.has(fn) {
			continue
		}
		f := st.fileOf[fn]
		c := &chain{file: f, at: f, range_: fn.NameRange, answer: []*program.Function{fn}, name: fn.Name}
		switch {
		case st.about("logout-function", fn.Name) && st.server(fn),
			fn.Name == "ServeHTTP" && st.about("logout-function", strings.TrimSuffix(path.Base(f.Path), path.Ext(f.Path))),
			fn.Class != nil && st.about("logout-class", fn.Class.Name) && st.about("class-handler", fn.Name) && !st.client(f):
			st.logouts = append(st.logouts, &logout{chain: *c})
		case st.about("refresh-function", fn.Name) && st.server(fn):
			st.refreshes = append(st.refreshes, c)
		}
	}
	for _, l := range st.logouts {
		l.reach = st.reach(l.all()...)
	}
}

// servesOthers reports that a handler of Go, or a function within it, passes requests
// on to another: it stands before that, though the route cannot tell.
func (st *study) servesOthers(fn *program.Function) bool {
	for _, f := range append([]*program.Function{fn}, st.within[fn]...) {
		if slices.ContainsFunc(st.own[f], func(s *site) bool { return s.call() && s.last() == "servehttp" }) {
			return true
		}
	}
	return false
}

// events are the handlers of a socket's messages: socket.on("logout", …).
func (st *study) events(taken map[*program.Function]bool) {
	for _, s := range st.sites {
		if !s.call() || s.last() != "on" || len(s.written) < 2 || len(s.node.Args) < 2 || s.node.Args[0].Kind != program.String ||
			!st.about("socket", s.written[len(s.written)-2]) {
			continue
		}
		name := s.node.Args[0].Text
		before, answer, calls := st.handlers(s.node.Args[1:], s.scope.File)
		c := chain{
			route: &program.Route{Method: "ON", Path: name, Range: s.node.Range}, file: s.scope.File, at: s.scope.File, range_: s.node.Range,
			before: before, answer: answer, calls: calls, name: "the message " + name,
		}
		st.chains = append(st.chains, &c)
		for _, fn := range answer {
			taken[fn] = true
		}
		if st.about("logout-function", name) {
			st.logouts = append(st.logouts, &logout{chain: c})
		}
	}
}

func (st *study) named(c *chain, words string) bool {
	return slices.ContainsFunc(c.answer, func(f *program.Function) bool { return f.Name != "" && st.about(words, f.Name) })
}

// place says where a chain's finding stands: at the function that answers if it is
// that request's own, and otherwise at the route.
func (st *study) place(c *chain) {
	c.name = strings.TrimSpace(c.route.Method + " " + c.route.Path)
	if len(c.answer) == 0 {
		return
	}
	// Of several the last is the one that a wrapper was given; methods of one interface
	// are alike.
	fn := c.answer[len(c.answer)-1]
	if len(c.answer) > 1 && fn.Class != nil {
		return
	}
	file := st.fileOf[fn]
	inline := file == c.file && c.range_.Contains(fn.Range)
	switch {
	case fn.Name != "" && (st.about("logout-function", fn.Name) || inline && len(fn.Decorators) > 0):
		c.at, c.range_ = file, fn.NameRange
	case fn.Name == "" && !inline:
		c.at, c.range_ = file, program.Range{Start: fn.Range.Start, End: fn.Range.Start}
	}
}

// server reports that a function is one that a server calls for a request: by its
// parameters, by what it calls, or by its decorators.
func (st *study) server(fn *program.Function) bool {
	if st.client(st.fileOf[fn]) || slices.ContainsFunc(st.own[fn], func(s *site) bool { return st.find(setClient, s) != nil }) {
		return false
	}
	if len(fn.Decorators) > 0 && slices.ContainsFunc(fn.Decorators, func(d *program.Node) bool {
		return st.about("server-decorator", strings.Join(program.Written(d), "."))
	}) {
		return true
	}
	responds := 0
	for _, p := range fn.Params {
		if st.about("response", p.Name) || st.about("response-type", p.Type) {
			responds++
		}
	}
	if responds == 0 {
		return false
	}
	for _, s := range st.own[fn] {
		if len(s.written) > 1 && st.about("response", s.written[0]) {
			return true
		}
	}
	return responds > 1
}

// client reports that a file runs in a browser.
func (st *study) client(f *program.File) bool {
	for i := range f.Imports {
		if st.about("client-module", f.Imports[i].Module) {
			return true
		}
	}
	return false
}
