package program

import (
	"slices"
	"strings"
)

// A Value is what is known of an expression.
type Value struct {
	Path  Path
	Funcs []*Function // parsed functions that it may be; several for a method of an interface
	Class *Class      // the parsed class that it is, or is an instance of
	// Node is the literal that it comes to: String, Number, Bool, Null, Template, Object,
	// List; or the call of something outside. Scope is where that stands.
	Node  *Node
	Scope *Scope
	// Param is the parameter it is, of Scope.Func, if it is nothing else.
	Param *Param
	// Lasting reports that it is bound outside of functions, or in a field: it outlives
	// the request.
	Lasting bool
	// Missing reports that it should be in the parsed files, by a relative import, and
	// is not.
	Missing bool

	files  []*File // it is the namespace of these
	module string  // of a namespace, as it is imported
	from   *File
}

// Known reports whether it leads to a parsed function or class, to a literal, or to
// a module.
func (v Value) Known() bool {
	return len(v.Funcs) > 0 || v.Class != nil || v.Node != nil || v.Path.Module != "" || len(v.files) > 0
}

// Resolving is bounded in depth; each node is resolved once.
const maxResolve = 60

// Value returns what is known of an expression that stands in a scope.
func (p *Program) Value(n *Node, s *Scope) Value {
	if n == nil || s == nil {
		return Value{}
	}
	if v, ok := p.known[n]; ok {
		if v == nil { // it depends on itself
			return Value{}
		}
		return *v
	}
	if p.depth >= maxResolve {
		return Value{}
	}
	p.known[n] = nil
	p.depth++
	v := p.value(n, s)
	p.depth--
	p.known[n] = &v
	return v
}

func (p *Program) value(n *Node, s *Scope) Value {
	switch n.Kind {
	case Name:
		return p.name(n.Text, s)
	case This:
		if s.Class != nil {
			return Value{Class: s.Class, Scope: s, Path: Path{Names: []string{"this"}}, Lasting: true}
		}
		return Value{Path: Path{Names: []string{"this"}}}
	case Super:
		if s.Class != nil && len(s.Class.Bases) > 0 {
			return p.Value(s.Class.Bases[0], p.classIn[s.Class])
		}
		return Value{Path: Path{Names: []string{"super"}}}
	case Member:
		return p.member(p.Value(n.On, s), n.Text)
	case Index:
		v := p.member(p.Value(n.On, s), "[]")
		v.Node = nil
		return v
	case Call:
		return p.result(n, s)
	case Func:
		return Value{Funcs: []*Function{n.Func}, Scope: s, Path: Path{Names: []string{n.Func.Name}}}
	case String, Number, Bool, Null, Template, List:
		return Value{Node: n, Scope: s}
	case Object:
		v := Value{Node: n, Scope: s}
		if n.Type != "" {
			t := p.typed(n.Type, s)
			v.Class, v.Path = t.Class, t.Path
		}
		return v
	case Operator:
		// a || b, a ?? b, new X() and the like: the first that leads somewhere.
		if n.Text == "||" || n.Text == "??" || n.Text == "&&" {
			for _, arg := range n.Args {
				if v := p.Value(arg, s); len(v.Funcs) > 0 || v.Class != nil || v.Path.Module != "" {
					return v
				}
			}
			if last := len(n.Args); last > 0 {
				return p.Value(n.Args[last-1], s)
			}
		}
	case If:
		a, b := p.Value(n.Then, s), p.Value(n.Else, s)
		if !a.Known() || a.Node != nil && a.Node.Kind == Null {
			return b
		}
		a.Funcs = append(slices.Clone(a.Funcs), b.Funcs...)
		return a
	case Assign:
		return p.Value(first(n.Args), s)
	case Type:
		return Value{Class: n.Class, Scope: s, Path: Path{Names: []string{n.Class.Name}}}
	}
	return Value{}
}

// name looks a name up: outwards through the functions, then in the package, then
// in what is imported whole.
func (p *Program) name(name string, s *Scope) Value {
	for at := s; at != nil; at = at.Up {
		if all, ok := at.names[name]; ok {
			v := p.best(name, all)
			v.Lasting = at.Up == nil
			return v
		}
	}
	for _, f := range p.byPackage[s.File.Package] {
		if f != s.File {
			if v, ok := p.topLevel(f, name); ok {
				return v
			}
		}
	}
	if s.File.Package == "" || s.File.Language == Go {
		for i := range s.File.Imports {
			if imp := &s.File.Imports[i]; imp.Local == "" {
				for _, f := range p.resolve(s.File, imp.Module) {
					if v, ok := p.export(f, name); ok {
						return v
					}
				}
			}
		}
	}
	return Value{Path: Path{Names: []string{name}}}
}

func (p *Program) topLevel(f *File, name string) (Value, bool) {
	s := p.tops[f]
	if s == nil {
		return Value{}, false
	}
	all := slices.DeleteFunc(slices.Clone(s.names[name]), func(b binding) bool { return b.imported != nil && f.Package != "" })
	if len(all) == 0 {
		return Value{}, false
	}
	v := p.best(name, all)
	v.Lasting = true
	return v, true
}

// best takes, of all that is bound to a name, what says most.
func (p *Program) best(name string, all []binding) Value {
	best, score := Value{Path: Path{Names: []string{name}}}, -1
	for i, b := range all {
		if i >= 8 {
			break
		}
		v := p.bound(name, b)
		got := 0
		switch {
		case len(v.Funcs) > 0 || v.Class != nil || len(v.files) > 0:
			got = 4
		case v.Path.Module != "" || v.Missing:
			got = 3
		case v.Node != nil && v.Node.Kind != Null:
			got = 2
		case v.Param != nil:
			got = 1
		}
		if got > score {
			best, score = v, got
		}
	}
	return best
}

func (p *Program) bound(name string, b binding) Value {
	switch {
	case b.function != nil:
		return Value{Funcs: []*Function{b.function}, Scope: b.scope, Path: Path{Names: []string{name}}}
	case b.class != nil:
		return Value{Class: b.class, Scope: b.scope, Path: Path{Names: []string{name}}}
	case b.imported != nil:
		return p.imported(b.imported, b.scope.File)
	}
	if own := (named{b.scope, name}); b.typ != "" && !p.typing[own] {
		p.typing[own] = true
		v := p.typed(b.typ, b.scope)
		delete(p.typing, own)
		if v.Class != nil || v.Path.Module != "" || v.Missing {
			v.Param = b.param
			return v
		}
	}
	if b.node != nil && b.param == nil {
		v := p.Value(b.node, b.scope)
		for _, key := range b.keys {
			v = p.member(v, key)
		}
		if v.Known() || v.Missing || len(v.Path.Names) > 0 {
			return v
		}
	}
	return Value{Path: Path{Names: []string{name}}, Param: b.param, Scope: b.scope}
}

// typed is an instance of what a dotted name of a type stands for. In ui ui.Terminal
// the second ui is one from further out.
func (p *Program) typed(name string, s *Scope) Value {
	names := strings.Split(name, ".")
	for p.typing[named{s, names[0]}] {
		if s = s.Up; s == nil {
			return Value{}
		}
	}
	v := p.name(names[0], s)
	for _, n := range names[1:] {
		v = p.member(v, n)
	}
	v.Funcs = nil
	return v
}

func (p *Program) imported(imp *Import, from *File) Value {
	files := p.resolve(from, imp.Module)
	outside := Value{Path: p.outside(imp.Module, imp.Symbol, from.Language), Missing: len(files) == 0 && relative(imp.Module)}
	if imp.Symbol == "*" {
		if len(files) == 0 {
			outside.module, outside.from = imp.Module, from
			return outside
		}
		return p.namespace(files, imp.Module, from)
	}
	for _, f := range files {
		if v, ok := p.export(f, imp.Symbol); ok {
			return v
		}
	}
	if from.Language == Python { // a submodule
		module := strings.TrimSuffix(imp.Module, ".") + "." + imp.Symbol
		if strings.HasSuffix(imp.Module, ".") {
			module = imp.Module + imp.Symbol
		}
		if sub := p.resolve(from, module); len(sub) > 0 {
			return p.namespace(sub, module, from)
		}
	}
	outside.Missing = outside.Missing || len(files) > 0
	return outside
}

func relative(module string) bool { return strings.HasPrefix(module, ".") }

// outside is the path of what a module gives that was not parsed. A default import
// and the module itself are one: the ways to import a CommonJS package are alike. Of
// Python, the module is the first part of the dotted name.
func (p *Program) outside(module, symbol string, language Language) Path {
	path := Path{Module: strings.TrimPrefix(module, "node:")}
	if language == Python && !relative(module) {
		parts := strings.Split(module, ".")
		path = Path{Module: parts[0], Names: parts[1:]}
	}
	if symbol != "*" && symbol != "default" {
		path = path.with(symbol)
	}
	return path
}

func (p *Program) resolve(from *File, module string) []*File {
	key := resolution{from, module}
	if files, ok := p.resolved[key]; ok {
		return files
	}
	var files []*File
	if front := p.frontends[from.Language]; front != nil {
		for _, path := range front.Resolve(p.tree, from, module) {
			if f := p.byPath[path]; f != nil {
				files = append(files, f)
			}
		}
	}
	p.resolved[key] = files
	return files
}

// namespace is a module as a value.
func (p *Program) namespace(files []*File, module string, from *File) Value {
	for _, f := range files {
		for _, e := range p.exports[f]["*"] {
			if e.Module == "" { // module.exports = …
				if v := p.Value(e.Value, p.tops[f]); v.Known() {
					v.Lasting = true
					if len(v.files) == 0 {
						v.files, v.module, v.from = files, module, from
					}
					return v
				}
			}
		}
	}
	return Value{files: files, module: module, from: from, Path: Path{Names: []string{module}}, Lasting: true}
}

// export is what a parsed file gives under a name.
func (p *Program) export(f *File, name string) (Value, bool) {
	key := exportKey{f, name}
	if p.exporting[key] {
		return Value{}, false
	}
	p.exporting[key] = true
	defer delete(p.exporting, key)
	if f.Language != JavaScript {
		return p.topLevel(f, name)
	}
	if same := p.exports[f][name]; len(same) > 0 {
		e := same[0]
		if e.Module != "" {
			imp := Import{Module: e.Module, Symbol: e.Symbol}
			return p.imported(&imp, f), true
		}
		v := p.Value(e.Value, p.tops[f])
		v.Lasting = true
		return v, true
	}
	for _, e := range p.exports[f]["*"] {
		if e.Module != "" {
			for _, from := range p.resolve(f, e.Module) {
				if v, ok := p.export(from, name); ok {
					return v, true
				}
			}
			continue
		}
		v := p.Value(e.Value, p.tops[f])
		if name == "default" {
			v.Lasting = true
			return v, true
		}
		if v = p.member(v, name); v.Known() {
			return v, true
		}
	}
	if name == "default" && len(p.exports[f]) > 0 && len(p.exports[f]["default"]) == 0 {
		return Value{files: []*File{f}, Lasting: true, Path: Path{Names: []string{"default"}}}, true
	}
	return Value{}, false
}

// member is v.name.
func (p *Program) member(v Value, name string) Value {
	if v.Class != nil {
		if m, ok := p.ofClass(v.Class, name, 0); ok {
			return m
		}
	}
	if v.Node != nil && v.Node.Kind == Object {
		if m, ok := p.ofObject(v, name); ok {
			return m
		}
	}
	for _, f := range v.files {
		if m, ok := p.export(f, name); ok {
			return m
		}
	}
	if v.from != nil && v.from.Language == Python {
		if sub := p.resolve(v.from, v.module+"."+name); len(sub) > 0 {
			return p.namespace(sub, v.module+"."+name, v.from)
		}
	}
	if len(v.Funcs) > 0 && (name == "bind" || name == "call" || name == "apply") {
		return v
	}
	m := Value{Path: v.Path.with(name), Missing: v.Missing || len(v.files) > 0, Lasting: v.Lasting}
	if v.from != nil && len(v.files) == 0 {
		m.from, m.module = v.from, v.module+"."+name
	}
	if v.Param != nil {
		m.Param, m.Scope = v.Param, v.Scope
	}
	return m
}

// Objects within objects are looked into so deep, by what they spread.
const maxSpread = 5

func (p *Program) ofObject(v Value, name string) (Value, bool) {
	if p.spreading[v.Node] || len(p.spreading) > maxSpread { // d = {**d}
		return Value{}, false
	}
	p.spreading[v.Node] = true
	defer delete(p.spreading, v.Node)
	if f := v.Node.Field(name); f != nil {
		m := p.Value(f, v.Scope)
		m.Lasting = m.Lasting || v.Lasting
		return m, true
	}
	for i := range v.Node.Fields {
		if f := v.Node.Fields[i].Value; f != nil && f.Kind == Spread && len(f.Args) > 0 {
			if m := p.member(p.Value(f.Args[0], v.Scope), name); m.Known() {
				return m, true
			}
		}
	}
	return Value{}, false
}

// result is what a call gives.
func (p *Program) result(n *Node, s *Scope) Value {
	if n.On != nil && n.On.Kind == Name && n.On.Text == "require" && len(n.Args) > 0 && n.Args[0].Kind == String {
		return p.imported(&Import{Module: n.Args[0].Text, Symbol: "*"}, s.File)
	}
	if s.File.Language == Go && n.On != nil && n.On.Kind == Name && n.On.Text == "new" && len(n.Args) == 1 {
		return p.Value(n.Args[0], s) // an instance has the value of its class
	}
	callee := p.Value(n.On, s)
	if callee.Class != nil && len(callee.Funcs) == 0 {
		return Value{Class: callee.Class, Path: callee.Path, Scope: s}
	}
	if m := n.On; m != nil && m.Kind == Member && m.Text == "bind" && len(callee.Funcs) > 0 {
		return callee
	}
	for _, f := range callee.Funcs {
		if v := p.returned(f); v.Known() || v.Missing {
			if len(v.Funcs) > 0 && v.Node == nil {
				// A function that is made of others calls them: catchAsync(handler).
				v.Funcs = append(slices.Clone(v.Funcs), p.given(n, s)...)
			}
			return v
		}
	}
	v := Value{Path: callee.Path, Missing: callee.Missing, Scope: s}
	if callee.Path.Module != "" || n.New || len(callee.Funcs) == 0 {
		v.Node = n
	}
	return v
}

// given are the functions among the arguments of a call.
func (p *Program) given(n *Node, s *Scope) []*Function {
	var all []*Function
	for _, a := range n.Args {
		switch a.Kind {
		case Func:
			all = append(all, a.Func)
		case Name, Member:
			all = append(all, p.Value(a, s).Funcs...)
		}
	}
	return all
}

// returned is what a function gives back, as far as one return says it.
func (p *Program) returned(f *Function) Value {
	s := p.scopes[f]
	if s == nil || f.Body == nil {
		return Value{}
	}
	if f.Result != "" {
		if v := p.typed(f.Result, s); v.Class != nil {
			return v
		}
	}
	var found Value
	var look func(*Node)
	look = func(n *Node) {
		if found.Known() || n.Kind == Func || n.Kind == Type {
			return
		}
		if n.Kind == Return && len(n.Args) > 0 {
			v := p.Value(n.Args[0], s)
			if v.Known() && (v.Node == nil || v.Node.Kind != Null) {
				found = v
			}
			return
		}
		n.Children(look)
	}
	look(f.Body)
	return found
}
