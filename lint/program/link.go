package program

import (
	"slices"
	"strings"
)

// A Program is files tied together. It is not safe for concurrent use: resolving
// fills a memory.
type Program struct {
	Files     []*File
	Functions []*Function // of all files, in order; the top level of a file is one too

	frontends   map[Language]Frontend
	tree        Tree
	byPath      map[string]*File
	byPackage   map[string][]*File
	scopes      map[*Function]*Scope
	tops        map[*File]*Scope
	implemented map[memberKey][]*Function
	required    map[*File][]string // modules that are asked for in the midst of code
	tied        map[*File]*File
	literals    map[string][]binding // of types of Go, by the last part of the type's name
	classes     []*Class
	having      map[string][]*Class // by the names of their methods
	classIn     map[*Class]*Scope
	whole       map[*Class]*Class               // of a type of Go whose methods stand in several files: the one with its fields
	parts       map[*Class][]*Class             // the reverse
	members     map[*Class]map[string][]binding // what methods assign to this.name
	served      map[*Node]bool                  // handlers of routes
	resolved    map[resolution][]*File
	exports     map[*File]map[string][]Export
	exporting   map[exportKey]bool // being resolved: re-exports may go in circles
	known       map[*Node]*Value
	typing      map[named]bool // whose types are being resolved
	spreading   map[*Node]bool // objects that are being looked into
	depth       int
}

type resolution struct {
	from   *File
	module string
}

type named struct {
	scope *Scope
	name  string
}

type exportKey struct {
	file *File
	name string
}

// A Scope is where names are looked up: a function, or the top level of a file.
type Scope struct {
	File  *File
	Func  *Function
	Class *Class // whose this is
	Up    *Scope // nil at the top level
	names map[string][]binding
}

// A binding is one of the things that a name can stand for.
type binding struct {
	scope    *Scope // in which what follows is resolved
	node     *Node  // a value; nil for one that is only declared
	keys     []string
	typ      string
	param    *Param
	function *Function
	class    *Class
	imported *Import
}

// Link ties files together. The tree is what the front-ends' Resolve looks at.
func Link(files []*File, tree Tree, frontends ...Frontend) *Program {
	p := &Program{
		Files: files, tree: tree,
		frontends: map[Language]Frontend{}, byPath: map[string]*File{}, byPackage: map[string][]*File{},
		scopes: map[*Function]*Scope{}, tops: map[*File]*Scope{}, tied: map[*File]*File{}, implemented: map[memberKey][]*Function{}, required: map[*File][]string{}, having: map[string][]*Class{}, literals: map[string][]binding{}, classIn: map[*Class]*Scope{},
		whole: map[*Class]*Class{}, parts: map[*Class][]*Class{}, members: map[*Class]map[string][]binding{},
		served: map[*Node]bool{}, resolved: map[resolution][]*File{}, exports: map[*File]map[string][]Export{},
		exporting: map[exportKey]bool{}, known: map[*Node]*Value{}, typing: map[named]bool{}, spreading: map[*Node]bool{},
	}
	for _, f := range frontends {
		p.frontends[f.Language()] = f
	}
	for _, f := range files {
		p.byPath[f.Path] = f
		if f.Package != "" {
			p.byPackage[f.Package] = append(p.byPackage[f.Package], f)
		}
	}
	for _, files := range p.byPackage {
		p.join(files)
	}
	for _, f := range files {
		for i := range f.Routes {
			for _, h := range f.Routes[i].Handlers {
				p.served[h] = true
			}
		}
		p.bindFile(f)
	}
	p.tie()
	return p
}

// join finds the types of a package whose parts stand in several files.
func (p *Program) join(files []*File) {
	named := map[string][]*Class{}
	for _, f := range files {
		if f.Body == nil {
			continue
		}
		for _, n := range f.Body.Args {
			if n.Kind == Type && n.Class != nil {
				named[n.Class.Name] = append(named[n.Class.Name], n.Class)
			}
		}
	}
	for _, all := range named {
		if len(all) == 1 {
			continue
		}
		whole := all[0]
		for _, c := range all {
			if len(c.Fields) > 0 || len(c.Bases) > 0 || c.Interface {
				whole = c
				break
			}
		}
		for _, c := range all {
			p.whole[c] = whole
		}
		p.parts[whole] = all
	}
}

// one is the class that stands for all parts of it.
func (p *Program) one(c *Class) *Class {
	if whole := p.whole[c]; whole != nil {
		return whole
	}
	return c
}

// Top returns the top level of a file as a function.
func (p *Program) Top(f *File) *Function {
	if s := p.tops[f]; s != nil {
		return s.Func
	}
	return nil
}

// Together reports whether two files belong to one application: whether imports, or
// their package, tie them together, by whatever way. Several may be read in one run.
func (p *Program) Together(a, b *File) bool {
	return a == b || a.Language == b.Language && p.root(a) == p.root(b)
}

// root is the file that stands for all that are tied to f.
func (p *Program) root(f *File) *File {
	for p.tied[f] != nil {
		if up := p.tied[p.tied[f]]; up != nil {
			p.tied[f] = up // the way gets shorter each time
		}
		f = p.tied[f]
	}
	return f
}

// tie finds which files belong together.
func (p *Program) tie() {
	join := func(a, b *File) {
		a, b = p.root(a), p.root(b)
		if a != b {
			p.tied[b] = a
		}
	}
	for _, f := range p.Files {
		for i := range f.Imports {
			for _, other := range p.resolve(f, f.Imports[i].Module) {
				join(other, f)
			}
		}
		for _, module := range p.required[f] {
			for _, other := range p.resolve(f, module) {
				join(other, f)
			}
		}
		for i := range f.Exports {
			if module := f.Exports[i].Module; module != "" {
				for _, other := range p.resolve(f, module) {
					join(other, f)
				}
			}
		}
		if all := p.byPackage[f.Package]; len(all) > 0 {
			join(all[0], f)
		}
	}
}

// Classes returns the classes of all files.
func (p *Program) Classes() []*Class { return p.classes }

// ClassScope returns where a class stands; nil if it is not of the program.
func (p *Program) ClassScope(c *Class) *Scope { return p.classIn[c] }

// Scope returns the scope of a function of the program.
func (p *Program) Scope(f *Function) *Scope { return p.scopes[f] }

// Enclosing returns the function in which f stands, nil for the top level.
func (p *Program) Enclosing(f *Function) *Function {
	if s := p.scopes[f]; s != nil && s.Up != nil {
		return s.Up.Func
	}
	return nil
}

func (p *Program) bindFile(f *File) {
	top := &Function{Body: f.Body}
	if f.Body != nil {
		top.Range = f.Body.Range
	}
	s := &Scope{File: f, Func: top, names: map[string][]binding{}}
	p.scopes[top], p.tops[f] = s, s
	p.Functions = append(p.Functions, top)
	for i := range f.Imports {
		// Those of inner functions are seen everywhere: a local import shadows nothing
		// in practice, and circles are why it stands inside.
		s.bind(f.Imports[i].Local, binding{scope: s, imported: &f.Imports[i]})
	}
	p.bind(f.Body, s)
	p.rebind(f.Body, s)
	p.exports[f] = map[string][]Export{}
	for _, e := range f.Exports {
		p.exports[f][e.Name] = append(p.exports[f][e.Name], e)
	}
	// Handlers that the front-end took from decorators stand in no tree.
	for i := range f.Routes {
		for _, h := range f.Routes[i].Handlers {
			if h != nil && h.Func != nil && p.scopes[h.Func] == nil {
				p.enter(h.Func, s)
			}
		}
	}
}

func (s *Scope) bind(name string, b binding) {
	s.names[name] = append(s.names[name], b)
}

// bind fills s, and makes the scopes within, with everything that is declared.
func (p *Program) bind(n *Node, s *Scope) {
	Walk(n, func(n *Node) bool {
		switch n.Kind {
		case Block:
			for _, f := range n.Args {
				// Only a declaration binds its name: in { verify() { return verify(t) } } the
				// second is another one.
				if f.Kind == Func && f.Func != nil && f.Func.Name != "" {
					s.bind(f.Func.Name, binding{scope: s, function: f.Func})
				}
			}
		case Func:
			if n.Func == nil {
				return false
			}
			p.enter(n.Func, s)
			return false
		case Type:
			if n.Class != nil {
				p.enterClass(n.Class, s)
			}
			return false
		case Assign:
			if n.Declare {
				p.bindTarget(n.On, first(n.Args), n.Type, nil, s)
			}
		case Case:
			if n.Text != "" {
				s.bind(n.Text, binding{scope: s})
			}
		}
		return true
	})
}

func first(nodes []*Node) *Node {
	if len(nodes) > 0 {
		return nodes[0]
	}
	return nil
}

// bindTarget binds the names of the left side of an assignment, or of a parameter.
func (p *Program) bindTarget(target, value *Node, typ string, keys []string, s *Scope) {
	if target == nil {
		return
	}
	switch target.Kind {
	case Name:
		s.bind(target.Text, binding{scope: s, node: value, typ: typ, keys: keys})
	case Assign: // with a default
		p.bindTarget(target.On, value, typ, keys, s)
	case Object:
		for i := range target.Fields {
			f := &target.Fields[i]
			key := f.Key
			if key == "" {
				key = "*"
			}
			p.bindTarget(f.Value, value, "", append(slices.Clone(keys), key), s)
		}
	case List:
		for i, item := range target.Args {
			at := keys
			// The first of several results stands for the call, as in Go's x, err := f().
			if value == nil || value.Kind == List || i > 0 {
				at = append(slices.Clone(keys), "["+itoa(i)+"]")
			}
			p.bindTarget(item, value, "", at, s)
		}
	case Spread:
		if len(target.Args) > 0 {
			p.bindTarget(target.Args[0], nil, "", nil, s)
		}
	}
}

func itoa(i int) string {
	if i > 9 {
		return "n"
	}
	return string(rune('0' + i))
}

func (p *Program) enter(f *Function, up *Scope) {
	if p.scopes[f] != nil {
		return
	}
	s := &Scope{File: up.File, Func: f, Up: up, Class: up.Class, names: map[string][]binding{}}
	if f.Class != nil {
		s.Class = p.one(f.Class)
	}
	p.scopes[f] = s
	p.Functions = append(p.Functions, f)
	for _, d := range f.Decorators {
		p.bind(d, up)
	}
	for i := range f.Params {
		param := &f.Params[i]
		if param.Name != "" {
			s.bind(param.Name, binding{scope: s, param: param, typ: param.Type, node: param.Default})
		}
		p.bindTarget(param.Pattern, nil, "", nil, s)
		p.bind(param.Default, s)
	}
	p.bind(f.Body, s)
}

func (p *Program) enterClass(c *Class, s *Scope) {
	if p.classIn[c] != nil {
		return
	}
	p.classIn[c] = s
	p.classes = append(p.classes, c)
	if c.Name != "" {
		s.bind(c.Name, binding{scope: s, class: p.one(c)})
	}
	within := &Scope{File: s.File, Func: s.Func, Up: s.Up, Class: c, names: s.names}
	for _, d := range c.Decorators {
		p.bind(d, s)
	}
	for _, b := range c.Bases {
		p.bind(b, s)
	}
	for i := range c.Fields {
		p.bind(c.Fields[i].Default, within)
		for _, d := range c.Fields[i].Decorators {
			p.bind(d, s)
		}
	}
	for _, m := range c.Methods {
		if one := p.one(c); !slices.Contains(p.having[m.Name], one) {
			p.having[m.Name] = append(p.having[m.Name], one)
		}
		if m.Class == nil {
			m.Class = c
		}
		p.enter(m, within)
	}
}

// rebind adds what is assigned later to the names it is assigned to.
func (p *Program) rebind(n *Node, top *Scope) {
	var visit func(n *Node, s *Scope)
	visit = func(n *Node, s *Scope) {
		if n.Kind == Assign && !n.Declare && n.On != nil && len(n.Args) > 0 && n.Text == "=" {
			p.assign(n.On, n.Args[0], s)
		}
		if n.Kind == Call && n.On != nil && n.On.Kind == Name && n.On.Text == "require" && len(n.Args) > 0 && n.Args[0].Kind == String {
			p.required[s.File] = append(p.required[s.File], n.Args[0].Text)
		}
		if n.Kind == Object && n.Type != "" {
			name := n.Type[strings.LastIndexByte(n.Type, '.')+1:]
			p.literals[name] = append(p.literals[name], binding{scope: s, node: n})
		}
		p.step(n, s, visit)
	}
	if n != nil {
		visit(n, top)
	}
}

func (p *Program) assign(target, value *Node, s *Scope) {
	switch {
	case target.Kind == Name:
		for at := s; at != nil; at = at.Up {
			if _, ok := at.names[target.Text]; ok {
				at.bind(target.Text, binding{scope: s, node: value})
				return
			}
		}
	case target.Kind == Member && target.On != nil && target.On.Kind == This && s.Class != nil:
		all := p.members[s.Class]
		if all == nil {
			all = map[string][]binding{}
			p.members[s.Class] = all
		}
		all[target.Text] = append(all[target.Text], binding{scope: s, node: value})
	case target.Kind == List && value != nil && value.Kind == List:
		for i, item := range target.Args {
			if i < len(value.Args) {
				p.assign(item, value.Args[i], s)
			}
		}
	case target.Kind == List && len(target.Args) > 0: // the first of several results
		p.assign(target.Args[0], value, s)
	}
}

// step visits what lies right beneath n, each with the scope it stands in.
func (p *Program) step(n *Node, s *Scope, visit func(*Node, *Scope)) {
	function := func(f *Function, outer *Scope) {
		inner := p.scopes[f]
		if inner == nil {
			return
		}
		for _, d := range f.Decorators {
			visit(d, outer)
		}
		for i := range f.Params {
			f.Params[i].children(func(n *Node) { visit(n, inner) })
		}
		if f.Body != nil {
			visit(f.Body, inner)
		}
	}
	switch {
	case n.Func != nil:
		function(n.Func, s)
	case n.Class != nil:
		c := n.Class
		within := &Scope{File: s.File, Func: s.Func, Up: s.Up, Class: c, names: s.names}
		for _, d := range slices.Concat(c.Decorators, c.Bases) {
			visit(d, s)
		}
		for i := range c.Fields {
			c.Fields[i].children(func(n *Node) { visit(n, within) })
		}
		for _, m := range c.Methods {
			function(m, within)
		}
	default:
		n.Children(func(child *Node) { visit(child, s) })
	}
}

// Each calls visit for the nodes of a function, those of the functions within it
// too, each with the scope it stands in; where visit returns false it does not go
// deeper. A function within that a route calls is left out: reaching the one that
// registers it does not reach it.
func (p *Program) Each(f *Function, visit func(*Node, *Scope) bool) {
	s := p.scopes[f]
	if s == nil || f.Body == nil {
		return
	}
	var down func(*Node, *Scope)
	down = func(n *Node, s *Scope) {
		if n.Kind == Func && p.served[n] {
			return
		}
		if visit(n, s) {
			p.step(n, s, down)
		}
	}
	for i := range f.Params {
		if d := f.Params[i].Default; d != nil {
			down(d, s)
		}
	}
	down(f.Body, s)
}

// Written returns the names of an expression as they stand in the source, without
// calls: db.session.query(x).first is db, session, query, first. A base that has no
// name is left out.
func Written(n *Node) []string {
	var names []string
	for n != nil {
		switch n.Kind {
		case Name:
			names = append(names, n.Text)
			n = nil
		case This:
			names = append(names, "this")
			n = nil
		case Super:
			names = append(names, "super")
			n = nil
		case Member:
			names = append(names, n.Text)
			n = n.On
		case Call, Index:
			n = n.On
		default:
			n = nil
		}
		if len(names) > 64 {
			break
		}
	}
	slices.Reverse(names)
	return names
}

// A Path names something by the module it comes from and the names from there on:
// jsonwebtoken and verify. Without module the names are those of the source, or
// global ones. Calls on the way are not seen in it: after r := redis.NewClient(o),
// r.Set is github.com/redis/go-redis/v9 and NewClient, Set. So an instance has the
// path of its class.
type Path struct {
	Module string
	Names  []string
}

// String is module:names, as vocabularies write it.
func (p Path) String() string { return p.Module + ":" + strings.Join(p.Names, ".") }

func (p Path) with(name string) Path {
	if len(p.Names) >= 16 { // more says nothing, and may go on for ever
		return p
	}
	return Path{p.Module, append(slices.Clone(p.Names), name)}
}
