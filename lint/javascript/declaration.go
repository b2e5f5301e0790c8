package javascript

import (
	"strings"

	"github.com/rescind/rescind/lint/program"
	"github.com/rescind/rescind/lint/syntax"
)

// function makes a function, or a method of class.
func (r *reader) function(n *syntax.Node, name string, class *program.Class) *program.Function {
	f := &program.Function{Name: name, Class: class, Result: typeName(n.Child("return_type")), Range: r.span(n), NameRange: r.span(n)}
	if at := n.Child("name"); at != nil {
		f.NameRange = r.span(at)
		if f.Name == "" {
			f.Name = key(at)
		}
	} else {
		f.NameRange.End = r.pos(min(n.Start+1, n.End))
		for _, first := range n.Children[:min(1, len(n.Children))] {
			f.NameRange = r.span(first)
		}
	}
	f.Static = n.Has("static")
	r.within++
	defer func() { r.within-- }()
	if one := n.Child("parameter"); one != nil {
		f.Params = []program.Param{{Name: one.Text(), Range: r.span(one)}}
	} else {
		f.Params = r.params(n.Child("parameters"))
	}
	switch body := n.Child("body"); {
	case body == nil:
	case body.Kind == "statement_block":
		f.Body = r.block(body)
	default: // the expression of an arrow
		r.depth += 2
		defer func() { r.depth -= 2 }()
		f.Body = r.node(body, program.Block, "")
		back := r.node(body, program.Return, "")
		back.Args = r.expressions([]*syntax.Node{body})
		f.Body.Args = []*program.Node{back}
	}
	return f
}

func (r *reader) params(n *syntax.Node) []program.Param {
	var all []program.Param
	for _, c := range parts(n) {
		if p, ok := r.param(c); ok {
			all = append(all, p)
		}
	}
	return all
}

func (r *reader) param(n *syntax.Node) (program.Param, bool) {
	p := program.Param{Range: r.span(n)}
	pattern := n
	switch n.Kind {
	case "required_parameter", "optional_parameter": // of TypeScript
		pattern = n.Child("pattern")
		p.Type = typeName(n.Child("type"))
		p.Default = r.expression(n.Child("value"))
		p.Decorators = r.decorators(n)
	case "decorator":
		return p, false
	}
	if pattern != nil && pattern.Kind == "assignment_pattern" {
		p.Default = r.expression(pattern.Child("right"))
		pattern = pattern.Child("left")
	}
	if pattern != nil && pattern.Kind == "rest_pattern" {
		pattern = only(pattern)
	}
	switch {
	case pattern == nil || pattern.Kind == "this": // only says a type
		return p, false
	case pattern.Kind == "identifier":
		p.Name = pattern.Text()
	default:
		p.Pattern = r.expression(pattern)
	}
	return p, true
}

// decorators are those that n holds.
func (r *reader) decorators(n *syntax.Node) []*program.Node {
	var all []*program.Node
	for _, c := range n.Children {
		if c.Kind == "decorator" {
			all = append(all, r.expressions([]*syntax.Node{c})...)
		}
	}
	return all
}

// readClass makes a class; around may hold decorators of it, and name is what it is
// bound to.
func (r *reader) readClass(n, around *syntax.Node, name string) *program.Class {
	c := &program.Class{Name: name, Range: r.span(around), Decorators: r.decorators(n)}
	if around != n {
		c.Decorators = append(r.decorators(around), c.Decorators...)
	}
	if at := n.Child("name"); at != nil {
		c.Name = at.Text()
	}
	r.within++
	defer func() { r.within-- }()
	for _, h := range n.Children {
		if h.Kind == "class_heritage" {
			c.Bases = r.heritage(h)
		}
	}
	var pending []*program.Node // decorators stand before what they are for
	for _, m := range parts(n.Child("body")) {
		if m.Kind == "decorator" {
			pending = append(pending, r.expressions([]*syntax.Node{m})...)
			continue
		}
		r.classMember(c, m, append(pending, r.decorators(m)...))
		pending = nil
	}
	return c
}

func (r *reader) heritage(n *syntax.Node) []*program.Node {
	var bases []*program.Node
	for _, c := range parts(n) {
		switch c.Kind {
		case "extends_clause":
			bases = append(bases, r.expressions([]*syntax.Node{c.Child("value")})...)
		case "implements_clause":
			for _, t := range parts(c) {
				bases = append(bases, r.typeAsNode(t)...)
			}
		default:
			bases = append(bases, r.expressions([]*syntax.Node{c})...)
		}
	}
	return bases
}

// typeAsNode makes a name of a type, as a base needs it.
func (r *reader) typeAsNode(t *syntax.Node) []*program.Node {
	if t != nil && t.Kind == "generic_type" {
		t = t.Child("name")
	}
	if t == nil || t.Kind != "type_identifier" && t.Kind != "nested_type_identifier" {
		return nil
	}
	return r.expressions([]*syntax.Node{t})
}

func (r *reader) classMember(c *program.Class, m *syntax.Node, decorators []*program.Node) {
	switch m.Kind {
	case "method_definition", "abstract_method_signature", "method_signature":
		if m.Has("set") {
			return
		}
		f := r.function(m, key(m.Child("name")), c)
		r.method(c, f, decorators)
		if f.Name == "constructor" {
			r.properties(c, m.Child("parameters"))
		}
	case "field_definition", "public_field_definition", "property_signature":
		name := m.Child("name")
		if name == nil {
			name = m.Child("property")
		}
		value := r.named(m.Child("value"), key(name))
		if value != nil && value.Kind == program.Func { // logout = async () => {}
			value.Func.Class, value.Func.Static = c, m.Has("static")
			value.Func.Range = r.span(m)
			if name != nil {
				value.Func.NameRange = r.span(name)
			}
			r.method(c, value.Func, decorators)
			return
		}
		c.Fields = append(c.Fields, program.Param{Name: key(name), Type: typeName(m.Child("type")), Default: value, Decorators: decorators, Range: r.span(m)})
	case "class_static_block":
		body := r.block(m.Child("body"))
		c.Methods = append(c.Methods, &program.Function{Class: c, Static: true, Body: body, Range: r.span(m), NameRange: r.span(m)})
	}
}

func (r *reader) method(c *program.Class, f *program.Function, decorators []*program.Node) {
	f.Decorators = decorators
	if len(decorators) > 0 && decorators[0].Range.Start.Offset < f.Range.Start.Offset {
		f.Range.Start = decorators[0].Range.Start
	}
	c.Methods = append(c.Methods, f)
}

// properties are the parameters of a constructor that are fields too.
func (r *reader) properties(c *program.Class, params *syntax.Node) {
	for _, n := range parts(params) {
		if n.First("accessibility_modifier", "override_modifier", "readonly") == nil {
			continue
		}
		if pattern := n.Child("pattern"); pattern != nil && pattern.Kind == "identifier" {
			c.Fields = append(c.Fields, program.Param{Name: pattern.Text(), Type: typeName(n.Child("type")), Range: r.span(n)})
		}
	}
}

// declareInterface makes a class that only says what methods there are.
func (r *reader) declareInterface(n *syntax.Node) *program.Node {
	d := r.node(n, program.Type, "")
	d.Class = &program.Class{Name: text(n.Child("name")), Interface: true, Range: r.span(n)}
	if extends := n.First("extends_type_clause"); extends != nil {
		for _, t := range parts(extends) {
			d.Class.Bases = append(d.Class.Bases, r.typeAsNode(t)...)
		}
	}
	r.within++
	defer func() { r.within-- }()
	for _, m := range parts(n.Child("body")) {
		r.classMember(d.Class, m, nil)
	}
	return d
}

// Types that stand for what they are of.
var transparent = map[string]bool{
	"Promise": true, "PromiseLike": true, "Observable": true, "Readonly": true, "Required": true, "Partial": true, "Awaited": true, "NonNullable": true,
	"DeepPartial": true, "Mutable": true,
}

// typeName is the dotted name of a type: see [program.Param].
func typeName(n *syntax.Node) string {
	for n != nil {
		switch n.Kind {
		case "type_annotation", "parenthesized_type", "readonly_type":
			n = only(n)
		case "type_identifier", "nested_type_identifier", "identifier", "nested_identifier":
			return strings.Join(strings.Fields(n.Text()), "")
		case "generic_type":
			name := typeName(n.Child("name"))
			if !transparent[name] {
				return name
			}
			n = only(n.Child("type_arguments"))
		case "union_type", "intersection_type":
			var known string
			for _, t := range parts(n) {
				if known = typeName(t); known != "" {
					break
				}
			}
			return known
		default:
			return ""
		}
	}
	return ""
}
