package lint

import (
	"context"
	"regexp"
	"slices"
	"strings"

	"github.com/rescind/rescind/lint/program"
)

// A study is one program looked at with one set of rules. What the looks share is
// found once, and kept.
type study struct {
	ctx     context.Context
	program *program.Program
	rules   *ruleset
	imports map[string]bool // modules that some file imports

	own      map[*program.Function][]*site             // what stands in a function, without those within
	within   map[*program.Function][]*program.Function // functions within, those that routes call apart
	calls    map[*program.Function][]*program.Function // that a function calls, passes on, or has within
	callers  map[*program.Function][]*program.Function
	scopeOf  map[*program.Node]*program.Scope // of the handlers and routers of routes
	fileOf   map[*program.Function]*program.File
	verdicts map[*site]verdict
	reached  map[*program.Function]*reach
	reachAll int
	sites    []*site
	places   map[place]int // of the findings

	checked   []check
	signed    []signing
	shapes    map[*program.Function]bool
	chains    []*chain // of all routes that answer
	logouts   []*logout
	guards    map[*program.Function]bool // of which routes say that they stand before handlers
	refreshes []*chain
	judges    map[*program.Function]bool // that requests come to, to be refused or not
	findings  []Finding
	rule      *Rule // whose look is running
}

// A site is a place where something is called, or written to.
type site struct {
	node    *program.Node // a Call; an Assign that declares nothing; an Operator delete, in, not in; an Index
	scope   *program.Scope
	value   program.Value // of what is called, or written to
	module  string        // its path, in lower case
	names   []string
	written []string // and as the source has it
}

// fn is the function in which the site stands.
func (s *site) fn() *program.Function { return s.scope.Func }

// call reports whether the site is a call.
func (s *site) call() bool { return s.node.Kind == program.Call }

// name is what the source writes, for people.
func (s *site) name() string {
	target := s.node.On
	if target == nil && len(s.node.Args) > 0 {
		target = s.node.Args[len(s.node.Args)-1]
	}
	return strings.Join(program.Written(target), ".")
}

// path is what the source writes, in lower case.
func (s *site) path() string { return strings.Join(s.written, ".") }

// last is the last name of what is called, in lower case.
func (s *site) last() string {
	return last(s.written)
}

// says reports whether a constant text among the arguments matches, or, of a call
// that goes on from others (db.query("…").run()), among theirs.
func (s *site) says(e *regexp.Regexp) bool {
	for n, i := s.node, 0; n != nil && i < 16; i++ {
		found := false
		for _, a := range n.Args {
			program.Walk(a, func(n *program.Node) bool {
				if n.Kind == program.String && e.MatchString(n.Text) {
					found = true
				}
				return !found && n.Kind != program.Func
			})
		}
		for _, f := range n.Fields {
			if found = found || e.MatchString(f.Key) || f.Value != nil && f.Value.Kind == program.String && e.MatchString(f.Value.Text); found {
				break
			}
		}
		if found {
			return true
		}
		n = n.On
		for n != nil && n.Kind == program.Member {
			n = n.On
		}
	}
	return false
}

func newStudy(ctx context.Context, p *program.Program, rules *ruleset) *study {
	st := &study{
		ctx: ctx, program: p, rules: rules, imports: map[string]bool{},
		own: map[*program.Function][]*site{}, within: map[*program.Function][]*program.Function{},
		calls: map[*program.Function][]*program.Function{}, callers: map[*program.Function][]*program.Function{},
		scopeOf: map[*program.Node]*program.Scope{}, fileOf: map[*program.Function]*program.File{},
		verdicts: map[*site]verdict{}, places: map[place]int{}, reached: map[*program.Function]*reach{}, guards: map[*program.Function]bool{}, shapes: map[*program.Function]bool{},
	}
	for _, f := range p.Files {
		for i := range f.Imports {
			st.imports[f.Imports[i].Module] = true
		}
		for i := range f.Routes {
			st.scopeOf[f.Routes[i].Router] = nil
			for _, h := range f.Routes[i].Handlers {
				st.scopeOf[h] = nil
				if h.Kind == program.Func && h.Func != nil { // Each leaves it out
					if up := p.Enclosing(h.Func); up != nil {
						st.scopeOf[h] = p.Scope(up)
					}
				}
			}
		}
	}
	for _, fn := range p.Functions {
		if ctx.Err() != nil {
			return st
		}
		st.index(fn)
	}
	st.decorators()
	for _, fn := range p.Functions {
		st.connect(fn)
	}
	return st
}

// index finds the sites of a function.
func (st *study) index(fn *program.Function) {
	st.fileOf[fn] = st.program.Scope(fn).File
	targets := map[*program.Node]bool{} // what is written to is not read
	st.program.Each(fn, func(n *program.Node, s *program.Scope) bool {
		if at, ok := st.scopeOf[n]; ok && at == nil {
			st.scopeOf[n] = s
		}
		switch n.Kind {
		case program.Func:
			st.within[fn] = append(st.within[fn], n.Func)
			return false
		case program.Type:
			return false
		case program.Call:
			st.add(fn, n, n.On, s)
		case program.Assign:
			if !n.Declare {
				st.add(fn, n, n.On, s)
			}
			targets[n.On] = true
		case program.Operator:
			switch {
			case n.Text == "delete" && len(n.Args) > 0:
				st.add(fn, n, n.Args[0], s)
			case (n.Text == "in" || n.Text == "not in") && len(n.Args) > 1:
				st.add(fn, n, n.Args[1], s)
			}
		case program.Index:
			if !targets[n] {
				st.add(fn, n, n.On, s)
			}
		}
		return true
	})
}

// decorators are calls of the function, or of the top level, in which what they
// decorate stands.
func (st *study) decorators() {
	take := func(list []*program.Node, s *program.Scope) {
		for _, d := range list {
			program.Walk(d, func(n *program.Node) bool {
				if n.Kind == program.Call {
					st.add(s.Func, n, n.On, s)
				}
				return n.Kind != program.Func && n.Kind != program.Type
			})
		}
	}
	for _, c := range st.program.Classes() {
		if s := st.program.ClassScope(c); s != nil {
			take(c.Decorators, s)
		}
	}
	for _, fn := range st.program.Functions {
		if s := st.program.Scope(fn); s.Up != nil {
			take(fn.Decorators, s.Up)
		}
	}
}

func (st *study) add(fn *program.Function, n, target *program.Node, s *program.Scope) {
	v := st.program.Value(target, s)
	x := &site{
		node: n, scope: s, value: v,
		module: strings.ToLower(v.Path.Module), names: lower(v.Path.Names), written: lower(program.Written(target)),
	}
	st.own[fn] = append(st.own[fn], x)
	st.sites = append(st.sites, x)
}

// connect finds where a function leads.
func (st *study) connect(fn *program.Function) {
	seen := map[*program.Function]bool{}
	to := func(list ...*program.Function) {
		for _, f := range list {
			if f != nil && !seen[f] && f != fn {
				seen[f] = true
				st.calls[fn] = append(st.calls[fn], f)
				st.callers[f] = append(st.callers[f], fn)
			}
		}
	}
	to(st.within[fn]...)
	for _, s := range st.own[fn] {
		to(st.leads(s)...)
	}
}

// leads are the parsed functions that a site calls, makes an object with, or passes
// on to what it calls.
func (st *study) leads(s *site) []*program.Function {
	if !s.call() {
		return nil
	}
	out := slices.Clone(s.value.Funcs)
	if c := s.value.Class; c != nil && len(out) == 0 {
		for _, name := range []string{"constructor", "__init__"} {
			if m := c.Method(name); m != nil {
				out = append(out, m)
			}
		}
	}
	pass := func(n *program.Node) {
		if n != nil && (n.Kind == program.Name || n.Kind == program.Member) {
			out = append(out, st.program.Value(n, s.scope).Funcs...)
		}
	}
	for _, a := range s.node.Args {
		pass(a)
	}
	for i := range s.node.Fields {
		pass(s.node.Fields[i].Value)
	}
	return out
}

// A reach is everything that may run once a function is called.
type reach struct {
	sites []*site
	funcs []*program.Function
	via   map[*program.Function]*program.Function // from where a function was reached first
	cut   bool                                    // there is more than was looked at
}

// Of one function more than this is not followed, and of all of them together.
const (
	maxReach    = 2_000
	maxReachAll = 20_000_000
)

// reach follows the calls from functions on.
func (st *study) reach(from ...*program.Function) *reach {
	if len(from) == 1 {
		if r := st.reached[from[0]]; r != nil {
			return r
		}
	}
	r := &reach{via: map[*program.Function]*program.Function{}}
	for _, f := range from {
		if _, ok := r.via[f]; !ok {
			r.via[f] = nil
			r.funcs = append(r.funcs, f)
		}
	}
	for i := 0; i < len(r.funcs); i++ {
		fn := r.funcs[i]
		r.sites = append(r.sites, st.own[fn]...)
		for _, next := range st.calls[fn] {
			if _, ok := r.via[next]; ok {
				continue
			}
			if len(r.funcs) >= maxReach || st.reachAll > maxReachAll || st.ctx.Err() != nil {
				r.cut = true
				break
			}
			r.via[next] = fn
			r.funcs = append(r.funcs, next)
		}
	}
	st.reachAll += len(r.funcs) + len(r.sites)
	if len(from) == 1 {
		st.reached[from[0]] = r
	}
	return r
}

// has reports whether a reach comes to a function.
func (r *reach) has(f *program.Function) bool {
	_, ok := r.via[f]
	return ok
}

// words is the expression of words.yaml with that name; a rule may have its own.
func (st *study) words(name string) *regexp.Regexp {
	if st.rule != nil {
		if e := st.rule.Match.words[name]; e != nil {
			return e
		}
	}
	if e := st.rules.words[name]; e != nil {
		return e
	}
	panic("lint: words.yaml lacks " + name) // a test of the rules shows it
}

func (st *study) about(name, text string) bool { return st.words(name).MatchString(text) }
