package javascript

import (
	"slices"

	"github.com/rescind/rescind/lint/program"
	"github.com/rescind/rescind/lint/syntax"
)

func (r *reader) bring(local, module, symbol string, at *syntax.Node) {
	if local != "" && module != "" {
		r.file.Imports = append(r.file.Imports, program.Import{Local: local, Module: module, Symbol: symbol, Range: r.span(at)})
	}
}

func (r *reader) give(name string, value *program.Node) {
	// exports.x = undefined stands before the real one where a compiler wrote it.
	if name != "" && value != nil && value.Kind != program.Null {
		r.file.Exports = append(r.file.Exports, program.Export{Name: name, Value: value})
	}
}

func (r *reader) pass(name, module, symbol string) {
	if name != "" && module != "" && symbol != "" {
		r.file.Exports = append(r.file.Exports, program.Export{Name: name, Module: module, Symbol: symbol})
	}
}

// moduleOf is the string after from.
func moduleOf(n *syntax.Node) string {
	if source := n.Child("source"); source != nil {
		return unquoted(source)
	}
	return ""
}

func (r *reader) importStatement(n *syntax.Node) {
	module := moduleOf(n)
	if n.First("import_clause", "import_require_clause") == nil {
		r.bring("-", module, "*", n)
	}
	for _, clause := range parts(n) {
		switch clause.Kind {
		case "import_require_clause": // import x = require('y')
			r.bring(text(clause.First("identifier")), moduleOf(clause), "*", n)
		case "import_clause":
			for _, c := range parts(clause) {
				switch c.Kind {
				case "identifier":
					r.bring(c.Text(), module, "default", n)
				case "namespace_import":
					r.bring(text(only(c)), module, "*", n)
				case "named_imports":
					for _, s := range parts(c) {
						name, local := key(s.Child("name")), text(s.Child("alias"))
						if local == "" {
							local = name
						}
						r.bring(local, module, name, s)
					}
				}
			}
		}
	}
}

// exportStatement gives the statement that it exports, if it has one.
func (r *reader) exportStatement(n *syntax.Node) []*program.Node {
	module := moduleOf(n)
	if declared := n.Child("declaration"); declared != nil {
		return r.exportDeclaration(n, declared)
	}
	if value := n.Child("value"); value != nil { // export default
		e := r.expression(value)
		r.give("default", e)
		return []*program.Node{e}
	}
	if n.Has("=") { // export = x
		e := r.expression(only(n))
		r.give("*", e)
		return nil
	}
	for _, c := range parts(n) {
		switch c.Kind {
		case "namespace_export":
			r.pass(key(only(c)), module, "*")
		case "export_clause":
			for _, s := range parts(c) {
				name, alias := s.Child("name"), key(s.Child("alias"))
				if name == nil {
					continue
				}
				if alias == "" {
					alias = key(name)
				}
				if module != "" {
					r.pass(alias, module, key(name))
				} else {
					r.give(alias, r.node(name, program.Name, key(name)))
				}
			}
		}
	}
	if n.Has("*") {
		r.pass("*", module, "*")
	}
	return nil
}

func (r *reader) exportDeclaration(n, declared *syntax.Node) []*program.Node {
	var all []*program.Node
	if declared.Kind == "class_declaration" || declared.Kind == "abstract_class_declaration" {
		c := r.node(declared, program.Type, "")
		c.Class = r.readClass(declared, n, "")
		all = []*program.Node{c}
	} else {
		all = r.statement(declared)
	}
	if n.Has("default") {
		if len(all) == 1 {
			r.give("default", r.reference(all[0]))
		}
		return all
	}
	for _, s := range all {
		switch {
		case s.Kind == program.Assign:
			r.giveTarget(s.On)
		default:
			if name := r.reference(s); name.Kind == program.Name {
				r.give(name.Text, name)
			}
		}
	}
	// What was declared may have become an import.
	for _, d := range parts(declared) {
		if name := d.Child("name"); name != nil && d.Kind == "variable_declarator" && name.Kind == "identifier" {
			if i := slices.IndexFunc(r.file.Imports, func(i program.Import) bool { return i.Local == name.Text() }); i >= 0 {
				r.give(name.Text(), r.node(name, program.Name, name.Text()))
			}
		}
	}
	return all
}

// reference is the name of what is declared, or the thing itself if it has none.
func (r *reader) reference(n *program.Node) *program.Node {
	switch {
	case n.Kind == program.Func && n.Func.Name != "":
		return &program.Node{Kind: program.Name, Text: n.Func.Name, Range: n.Func.NameRange}
	case n.Kind == program.Type && n.Class.Name != "":
		return &program.Node{Kind: program.Name, Text: n.Class.Name, Range: n.Class.Range}
	}
	return n
}

// giveTarget exports all names of a pattern.
func (r *reader) giveTarget(target *program.Node) {
	switch {
	case target == nil:
	case target.Kind == program.Name:
		r.give(target.Text, &program.Node{Kind: program.Name, Text: target.Text, Range: target.Range})
	case target.Kind == program.Assign:
		r.giveTarget(target.On)
	default:
		for i := range target.Fields {
			r.giveTarget(target.Fields[i].Value)
		}
		for _, a := range target.Args {
			r.giveTarget(a)
		}
	}
}

// commonExports reads module.exports = x, exports.a = x, and both in one line.
func (r *reader) commonExports(e *program.Node) {
	for e != nil && e.Kind == program.Assign && !e.Declare && len(e.Args) > 0 {
		value := e.Args[0]
		last := value
		for last.Kind == program.Assign && len(last.Args) > 0 {
			last = last.Args[0]
		}
		switch target := e.On; {
		case isExports(target):
			r.give("*", last)
		case target != nil && target.Kind == program.Member && isExports(target.On):
			r.give(target.Text, last)
		}
		e = value
	}
}

// isExports says whether n is exports or module.exports.
func isExports(n *program.Node) bool {
	if n == nil {
		return false
	}
	if n.Kind == program.Member {
		return n.Text == "exports" && n.On != nil && n.On.Kind == program.Name && n.On.Text == "module"
	}
	return n.Kind == program.Name && n.Text == "exports"
}

// isRequire is the module that require('x'), or what a compiler makes of it, gives;
// and await import('x').
func isRequire(n *program.Node) string {
	for n != nil && n.Kind == program.Call && !n.New && len(n.Args) > 0 {
		switch lastName(n.On) {
		case "require":
			if n.On.Kind == program.Name && n.Args[0].Kind == program.String {
				return n.Args[0].Text
			}
			return ""
		case "import":
			if n.Await && n.Args[0].Kind == program.String {
				return n.Args[0].Text
			}
			return ""
		case "__importDefault", "__importStar", "_interopRequireDefault", "_interopRequireWildcard":
			n = n.Args[0]
		default:
			return ""
		}
	}
	return ""
}

// required makes imports of const x = require('y') and the like, if they are all
// that it is.
func (r *reader) required(a *program.Node) bool {
	if len(a.Args) == 0 {
		return false
	}
	value, symbol := a.Args[0], "*"
	if value.Kind == program.Member {
		value, symbol = value.On, value.Text
	}
	module := isRequire(value)
	if module == "" {
		return false
	}
	var found []program.Import
	add := func(local, symbol string, at program.Range) {
		found = append(found, program.Import{Local: local, Module: module, Symbol: symbol, Range: at})
	}
	switch target := a.On; target.Kind {
	case program.Name:
		if wrapper := lastName(value.On); wrapper == "__importDefault" || wrapper == "_interopRequireDefault" {
			symbol = "default"
			r.defaults[target.Text] = true
		}
		add(target.Text, symbol, a.Range)
	case program.Object:
		if symbol != "*" {
			return false
		}
		for _, f := range target.Fields {
			bound := f.Value
			if bound.Kind == program.Assign {
				bound = bound.On
			}
			if f.Key == "" || bound == nil || bound.Kind != program.Name {
				return false
			}
			add(bound.Text, f.Key, f.Range)
		}
	default:
		return false
	}
	r.file.Imports = append(r.file.Imports, found...)
	return true
}

// remember keeps what routes need of names at top level.
func (r *reader) remember(a *program.Node) {
	if a.On.Kind != program.Name || len(a.Args) == 0 {
		return
	}
	switch value := a.Args[0]; value.Kind {
	case program.String, program.Object, program.Template:
		r.constants[a.On.Text] = value
	}
}
