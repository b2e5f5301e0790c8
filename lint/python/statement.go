package python

import (
	"strings"

	"github.com/rescind/rescind/lint/program"
	"github.com/rescind/rescind/lint/syntax"
)

// block makes a Block of all statements beneath n.
func (r *reader) block(n *syntax.Node) *program.Node {
	if n == nil {
		return nil
	}
	b := r.node(n, program.Block, "")
	for _, part := range n.Parts() {
		b.Args = append(b.Args, r.statement(part)...)
	}
	return b
}

// statement makes the nodes of one statement: none for those that say nothing.
func (r *reader) statement(n *syntax.Node) []*program.Node {
	if r.tooDeep(n) {
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
		return r.expressionStatement(n)
	case "import_statement", "import_from_statement":
		r.imports(n)
	case "future_import_statement", "pass_statement":
	case "global_statement", "nonlocal_statement":
		if r.function != nil {
			for _, name := range n.Parts() {
				r.function.outer[name.Text()] = true
			}
		}
	case "return_statement":
		return one(r.with(n, program.Return, n.Parts()))
	case "raise_statement":
		return one(r.with(n, program.Throw, n.Parts()))
	case "break_statement", "continue_statement":
		return one(r.node(n, program.Jump, strings.TrimSuffix(n.Kind, "_statement")))
	case "delete_statement":
		d := r.node(n, program.Operator, "delete")
		parts := n.Parts()
		if len(parts) == 1 && parts[0].Kind == "expression_list" {
			parts = parts[0].Parts()
		}
		d.Args = r.expressions(parts)
		return one(d)
	case "if_statement":
		return one(r.ifStatement(n))
	case "for_statement":
		loop := r.node(n, program.Loop, "")
		loop.On = r.target(n.Child("left"), r.expression(n.Child("right")))
		loop.Then, loop.Else = r.block(n.Child("body")), r.elseOf(n)
		return one(loop)
	case "while_statement":
		loop := r.node(n, program.Loop, "")
		loop.On, loop.Then, loop.Else = r.expression(n.Child("condition")), r.block(n.Child("body")), r.elseOf(n)
		return one(loop)
	case "try_statement":
		return r.try(n)
	case "with_statement":
		return one(r.withStatement(n))
	case "match_statement":
		return one(r.match(n))
	case "function_definition", "class_definition":
		return one(r.definition(n, n, nil))
	case "decorated_definition":
		return one(r.definition(n.Child("definition"), n, r.decorators(n)))
	case "block":
		return one(r.block(n))
	case "ERROR":
		// What lies within a place that did not parse may still say something.
		o := r.node(n, program.Other, "")
		for _, part := range n.Parts() {
			o.Args = append(o.Args, r.statement(part)...)
		}
		return one(o)
	default:
		if strings.HasSuffix(n.Kind, "_statement") {
			return one(r.with(n, program.Other, n.Parts()))
		}
		return one(r.expression(n))
	}
	return nil
}

// tooDeep counts how deep nodes lie; after it says no, rise must follow.
func (r *reader) tooDeep(n *syntax.Node) bool {
	// One step of the reader is at most two nodes: a statement and its block.
	if r.depth >= program.MaxDepth/2-10 {
		if !r.deep {
			r.deep = true
			r.broken(n, "nested too deeply: what lies here was left out")
		}
		return true
	}
	r.depth++
	return false
}

func (r *reader) rise() { r.depth-- }

func (r *reader) with(n *syntax.Node, kind program.Kind, parts []*syntax.Node) *program.Node {
	s := r.node(n, kind, "")
	s.Args = r.expressions(parts)
	return s
}

func (r *reader) expressionStatement(n *syntax.Node) []*program.Node {
	var all []*program.Node
	for _, part := range n.Parts() {
		if part.Kind == "string" || part.Kind == "concatenated_string" {
			r.docString(n, part)
			continue
		}
		if e := r.expression(part); e != nil {
			all = append(all, e)
		}
	}
	return all
}

// docString keeps a string that stands alone: what people write as comment.
func (r *reader) docString(statement, n *syntax.Node) {
	if s := r.expression(n); s != nil && s.Kind == program.String {
		r.file.Comments = append(r.file.Comments, program.Comment{Text: strings.TrimSpace(s.Text), Range: r.at(statement)})
	}
}

func (r *reader) ifStatement(n *syntax.Node) *program.Node {
	first := r.node(n, program.If, "")
	first.On, first.Then = r.expression(n.Child("condition")), r.block(n.Child("consequence"))
	last := first
	opened := 0
	for _, c := range n.Children {
		if c.Field != "alternative" {
			continue
		}
		if c.Kind != "elif_clause" {
			last.Else = r.block(c.Child("body"))
			continue
		}
		if r.tooDeep(c) {
			break
		}
		opened++
		next := r.node(c, program.If, "")
		next.On, next.Then = r.expression(c.Child("condition")), r.block(c.Child("consequence"))
		last.Else, last = next, next
	}
	r.depth -= opened
	return first
}

func (r *reader) elseOf(n *syntax.Node) *program.Node {
	if clause := n.First("else_clause"); clause != nil {
		return r.block(clause.Child("body"))
	}
	return nil
}

// try makes a Try. What follows else runs after the body if nothing was raised, and
// what it raises is not caught: it stands behind the Try, unless there is a finally.
func (r *reader) try(n *syntax.Node) []*program.Node {
	t := r.node(n, program.Try, "")
	t.Then = r.block(n.Child("body"))
	var rest *program.Node
	for _, c := range n.Children {
		switch c.Kind {
		case "except_clause", "except_group_clause":
			t.Args = append(t.Args, r.except(c))
		case "else_clause":
			rest = r.block(c.Child("body"))
		case "finally_clause":
			t.Else = r.block(c.First("block"))
		}
	}
	if rest == nil {
		return []*program.Node{t}
	}
	if t.Else == nil {
		return []*program.Node{t, rest}
	}
	inner := *t
	inner.Else = nil
	t.Then = &program.Node{Kind: program.Block, Range: t.Range, Args: []*program.Node{&inner, rest}}
	t.Args = nil
	return []*program.Node{t}
}

func (r *reader) except(n *syntax.Node) *program.Node {
	c := r.node(n, program.Case, "")
	for _, part := range n.Parts() {
		switch part.Kind {
		case "block":
			c.Then = r.block(part)
		case "as_pattern":
			what, name := asPattern(part)
			c.Args = append(c.Args, r.expressions([]*syntax.Node{what})...)
			if name != nil {
				c.Text = name.Text()
			}
		default:
			c.Args = append(c.Args, r.expressions([]*syntax.Node{part})...)
		}
	}
	return c
}

// asPattern takes "what as name" apart; name is nil if it is missing.
func asPattern(n *syntax.Node) (what, name *syntax.Node) {
	for _, part := range n.Parts() {
		if part.Kind == "as_pattern_target" {
			if parts := part.Parts(); len(parts) > 0 {
				name = parts[0]
			}
		} else if what == nil {
			what = part
		}
	}
	return what, name
}

func (r *reader) withStatement(n *syntax.Node) *program.Node {
	b := r.node(n, program.Block, "")
	if clause := n.First("with_clause"); clause != nil {
		items := clause.Parts()
		if len(items) == 1 && items[0].Kind == "tuple" { // an older form of with (a as b, c as d):
			items = items[0].Parts()
		}
		for _, item := range items {
			value := item
			if item.Kind == "with_item" {
				value = item.Child("value")
			}
			if value == nil {
				continue
			}
			if value.Kind == "as_pattern" {
				what, name := asPattern(value)
				b.Args = append(b.Args, r.target(name, r.expression(what)))
			} else {
				b.Args = append(b.Args, r.expressions([]*syntax.Node{value})...)
			}
		}
	}
	if body := r.block(n.Child("body")); body != nil {
		b.Args = append(b.Args, body)
	}
	return b
}

func (r *reader) match(n *syntax.Node) *program.Node {
	s := r.node(n, program.Switch, "")
	s.On = r.expression(n.Child("subject"))
	body := n.Child("body")
	for _, c := range body.Parts() {
		if c.Kind != "case_clause" {
			continue
		}
		arm := r.node(c, program.Case, "")
		arm.Then = r.block(c.Child("consequence"))
		for _, part := range c.Parts() {
			if part.Kind == "case_pattern" && part.Text() != "_" {
				arm.Args = append(arm.Args, r.with(part, program.Other, part.Parts()))
			}
		}
		s.Args = append(s.Args, arm)
	}
	return s
}

// imports records what an import statement binds.
func (r *reader) imports(n *syntax.Node) {
	bind := func(local, module, symbol string, at *syntax.Node) {
		r.file.Imports = append(r.file.Imports, program.Import{Local: local, Module: module, Symbol: symbol, Range: r.at(at)})
	}
	from := n.Child("module_name")
	module := compact(from)
	if n.First("wildcard_import") != nil {
		bind("", module, "*", n)
	}
	for _, c := range n.Children {
		if c.Field != "name" {
			continue
		}
		name, alias := compact(c), ""
		if c.Kind == "aliased_import" {
			name, alias = compact(c.Child("name")), compact(c.Child("alias"))
		}
		switch {
		case from != nil && alias != "":
			bind(alias, module, name, c)
		case from != nil:
			bind(name, module, name, c)
		case alias != "":
			bind(alias, name, "*", c)
		default:
			first, _, _ := strings.Cut(name, ".")
			bind(first, first, "*", c)
		}
	}
}

// compact is the text of a dotted name, in which there may be spaces.
func compact(n *syntax.Node) string {
	if n == nil {
		return ""
	}
	return strings.Join(strings.Fields(n.Text()), "")
}
