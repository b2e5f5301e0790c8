package javascript

import (
	"github.com/rescind/rescind/lint/program"
	"github.com/rescind/rescind/lint/syntax"
)

func (r *reader) statements(n *syntax.Node) []*program.Node {
	var all []*program.Node
	for _, c := range parts(n) {
		all = append(all, r.statement(c)...)
	}
	return all
}

// block makes a Block of a body, or of the one statement that stands for it.
func (r *reader) block(n *syntax.Node) *program.Node {
	if n == nil {
		return nil
	}
	b := r.node(n, program.Block, "")
	r.depth++
	defer r.rise()
	if n.Kind == "statement_block" {
		b.Args = r.statements(n)
	} else {
		b.Args = r.statement(n)
	}
	return b
}

// statement makes the nodes of a statement, several of one that declares several
// names.
func (r *reader) statement(n *syntax.Node) []*program.Node {
	if !r.sink(n) {
		return nil
	}
	defer r.rise()
	one := func(s *program.Node) []*program.Node {
		if s == nil {
			return nil
		}
		return []*program.Node{s}
	}
	switch n.Kind {
	case "expression_statement":
		if inner := only(n); inner != nil && inner.Kind == "internal_module" {
			return r.statement(inner)
		}
		e := r.expression(only(n))
		r.commonExports(e)
		return one(e)
	case "lexical_declaration", "variable_declaration":
		return r.declaration(n)
	case "class_declaration", "abstract_class_declaration", "function_declaration", "generator_function_declaration":
		return one(r.expression(n))
	case "interface_declaration":
		return one(r.declareInterface(n))
	case "enum_declaration":
		return one(r.enum(n))
	case "import_statement":
		r.importStatement(n)
		return nil
	case "export_statement":
		return r.exportStatement(n)
	case "internal_module", "module":
		return one(r.block(n.Child("body")))
	case "return_statement":
		return one(r.with(n, program.Return, "", parts(n)...))
	case "throw_statement":
		return one(r.with(n, program.Throw, "", parts(n)...))
	case "if_statement":
		s := r.node(n, program.If, "")
		s.On, s.Then = r.expression(n.Child("condition")), r.block(n.Child("consequence"))
		if other := n.Child("alternative"); other != nil {
			s.Else = r.block(only(other))
		}
		return one(s)
	case "for_statement", "for_in_statement", "while_statement", "do_statement":
		return one(r.loop(n))
	case "switch_statement":
		return one(r.choice(n))
	case "try_statement":
		return one(r.try(n))
	case "statement_block":
		return one(r.block(n))
	case "labeled_statement":
		if body := n.Child("body"); body != nil {
			return r.statement(body)
		}
		return nil
	case "break_statement", "continue_statement":
		return one(r.node(n, program.Jump, n.Kind))
	case "empty_statement", "debugger_statement", "function_signature", "ambient_declaration", "type_alias_declaration", "import_alias", "hash_bang_line":
		return nil
	case "ERROR": // whatever of it can be read
		s := r.node(n, program.Other, "")
		s.Args = r.statements(n)
		return one(s)
	case "with_statement":
		return one(r.block(n.Child("body")))
	}
	return one(r.expression(n))
}

// declaration declares names, or imports them.
func (r *reader) declaration(n *syntax.Node) []*program.Node {
	var all []*program.Node
	for _, d := range parts(n) {
		if d.Kind != "variable_declarator" {
			all = append(all, r.statement(d)...)
			continue
		}
		a := r.node(d, program.Assign, "=")
		a.Declare, a.Type = true, typeName(d.Child("type"))
		a.On = r.expression(d.Child("name"))
		if value := r.named(d.Child("value"), lastName(a.On)); value != nil {
			a.Args = []*program.Node{value}
		}
		if a.On == nil || r.required(a) {
			continue
		}
		if r.within == 0 {
			r.remember(a)
		}
		all = append(all, a)
		if len(a.Args) > 0 && a.Args[0].Kind == program.Assign { // const x = exports.x = …
			r.commonExports(a.Args[0])
		}
	}
	return all
}

// enum declares an object.
func (r *reader) enum(n *syntax.Node) *program.Node {
	name := n.Child("name")
	if name == nil {
		return nil
	}
	a := r.node(n, program.Assign, "=")
	a.Declare, a.On = true, r.node(name, program.Name, name.Text())
	members := r.node(n, program.Object, "")
	for _, m := range parts(n.Child("body")) {
		f := program.Field{Key: key(m), Range: r.span(m)}
		if m.Kind == "enum_assignment" {
			f.Key, f.Value = key(m.Child("name")), r.expression(m.Child("value"))
		}
		if f.Value == nil {
			f.Value = r.node(m, program.Other, "")
		}
		members.Fields = append(members.Fields, f)
	}
	a.Args = []*program.Node{members}
	if r.within == 0 {
		r.remember(a)
	}
	return a
}

func (r *reader) loop(n *syntax.Node) *program.Node {
	l := r.node(n, program.Loop, "")
	switch n.Kind {
	case "for_in_statement":
		element := r.node(n, program.Assign, "=")
		element.Range.End = r.span(n).Start
		if right := n.Child("right"); right != nil {
			element.Range.End = r.pos(right.End)
		}
		element.Declare = n.Child("kind") != nil
		element.On, element.Args = r.expression(n.Child("left")), r.expressions([]*syntax.Node{n.Child("right")})
		l.On = element
	case "for_statement":
		if first := n.Child("initializer"); first != nil {
			l.Args = append(l.Args, r.statement(first)...)
		}
		if condition := n.Child("condition"); condition != nil && condition.Named && condition.Kind != "empty_statement" {
			l.On = r.expression(condition)
		}
		l.Args = append(l.Args, r.expressions([]*syntax.Node{n.Child("increment")})...)
	default:
		l.On = r.expression(n.Child("condition"))
	}
	l.Then = r.block(n.Child("body"))
	return l
}

func (r *reader) choice(n *syntax.Node) *program.Node {
	s := r.node(n, program.Switch, "")
	r.depth += 2 // a case and its block
	defer func() { r.depth -= 2 }()
	s.On = r.expression(n.Child("value"))
	for _, c := range parts(n.Child("body")) {
		one := r.node(c, program.Case, "")
		if c.Kind == "switch_case" {
			one.Args = r.expressions([]*syntax.Node{c.Child("value")})
		}
		one.Then = r.node(c, program.Block, "")
		for _, b := range parts(c) {
			if b.Field != "value" {
				one.Then.Args = append(one.Then.Args, r.statement(b)...)
			}
		}
		s.Args = append(s.Args, one)
	}
	return s
}

func (r *reader) try(n *syntax.Node) *program.Node {
	t := r.node(n, program.Try, "")
	r.depth++ // a case
	defer r.rise()
	t.Then = r.block(n.Child("body"))
	if handler := n.Child("handler"); handler != nil {
		c := r.node(handler, program.Case, "")
		if name := handler.Child("parameter"); name != nil && name.Kind == "identifier" {
			c.Text = name.Text()
		}
		c.Then = r.block(handler.Child("body"))
		t.Args = []*program.Node{c}
	}
	if last := n.Child("finalizer"); last != nil {
		t.Else = r.block(last.Child("body"))
	}
	return t
}
