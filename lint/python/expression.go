package python

import (
	"slices"
	"strings"

	"github.com/rescind/rescind/lint/program"
	"github.com/rescind/rescind/lint/syntax"
)

func (r *reader) expressions(nodes []*syntax.Node) []*program.Node {
	var all []*program.Node
	for _, n := range nodes {
		if e := r.expression(n); e != nil {
			all = append(all, e)
		}
	}
	return all
}

// expression makes the node of an expression; nil of nothing, and of what lies too
// deep.
func (r *reader) expression(n *syntax.Node) *program.Node {
	if n == nil || r.tooDeep(n) {
		return nil
	}
	defer r.rise()
	switch n.Kind {
	case "identifier":
		if r.isSelf(n.Text()) {
			return r.node(n, program.This, "")
		}
		return r.node(n, program.Name, n.Text())
	case "parenthesized_expression", "type", "interpolation":
		if parts := n.Parts(); len(parts) > 0 {
			return r.expression(parts[0])
		}
		return nil
	case "await":
		parts := n.Parts()
		if len(parts) == 0 {
			return nil
		}
		e := r.expression(parts[0])
		if e != nil && e.Kind == program.Call {
			e.Await = true
		}
		return e
	case "attribute":
		return r.member(n, n.Child("object"), compact(n.Child("attribute")))
	case "subscript":
		return r.subscript(n)
	case "call":
		return r.call(n)
	case "string":
		return r.text(n, []*syntax.Node{n})
	case "concatenated_string":
		return r.text(n, n.Parts())
	case "integer", "float":
		return r.node(n, program.Number, strings.ReplaceAll(n.Text(), "_", ""))
	case "true", "false":
		return r.node(n, program.Bool, n.Kind)
	case "none":
		return r.node(n, program.Null, "")
	case "list", "tuple", "set", "expression_list", "pattern_list", "tuple_pattern", "list_pattern":
		return r.with(n, program.List, n.Parts())
	case "dictionary":
		return r.dictionary(n)
	case "list_splat", "dictionary_splat", "list_splat_pattern", "dictionary_splat_pattern":
		return r.with(n, program.Spread, n.Parts())
	case "lambda":
		return r.lambda(n)
	case "boolean_operator":
		return r.operator(n, map[string]string{"and": "&&", "or": "||"}[operatorOf(n)], n.Child("left"), n.Child("right"))
	case "binary_operator":
		return r.operator(n, operatorOf(n), n.Child("left"), n.Child("right"))
	case "not_operator":
		return r.operator(n, "!", n.Child("argument"))
	case "unary_operator":
		return r.operator(n, operatorOf(n), n.Child("argument"))
	case "comparison_operator":
		return r.comparison(n)
	case "conditional_expression":
		parts := n.Parts()
		if len(parts) != 3 {
			return r.with(n, program.Other, parts)
		}
		e := r.node(n, program.If, "")
		e.Then, e.On, e.Else = r.expression(parts[0]), r.expression(parts[1]), r.expression(parts[2])
		return e
	case "assignment":
		return r.assignment(n)
	case "augmented_assignment":
		a := r.node(n, program.Assign, operatorOf(n))
		a.On, a.Args = r.expression(n.Child("left")), r.expressions([]*syntax.Node{n.Child("right")})
		return a
	case "named_expression":
		return r.target(n.Child("name"), r.expression(n.Child("value")))
	case "yield":
		return r.with(n, program.Return, n.Parts())
	case "list_comprehension", "set_comprehension", "dictionary_comprehension", "generator_expression":
		return r.comprehension(n)
	case "function_definition", "class_definition":
		return r.definition(n, n, nil)
	case "ERROR":
		return r.with(n, program.Other, n.Parts())
	}
	if !n.Named || n.Extra {
		return nil
	}
	return r.with(n, program.Other, n.Parts())
}

func operatorOf(n *syntax.Node) string { return compact(n.Child("operator")) }

func (r *reader) operator(n *syntax.Node, text string, operands ...*syntax.Node) *program.Node {
	o := r.node(n, program.Operator, text)
	o.Args = r.expressions(operands)
	return o
}

// comparison makes a && of a chain: a < b < c.
func (r *reader) comparison(n *syntax.Node) *program.Node {
	var whole, left *program.Node
	text := ""
	for _, c := range n.Children {
		if c.Field == "operators" {
			text = map[string]string{"is": "==", "is not": "!=", "<>": "!="}[strings.Join(strings.Fields(c.Text()), " ")]
			if text == "" {
				text = strings.Join(strings.Fields(c.Text()), " ")
			}
			continue
		}
		if !c.Named || c.Extra {
			continue
		}
		right := r.expression(c)
		if right == nil {
			continue
		}
		if left != nil {
			if whole != nil { // a node stands in one place: the operand in the middle is read again
				left = r.expression(before(n, c))
			}
			pair := &program.Node{Kind: program.Operator, Text: text, Args: []*program.Node{left, right}}
			pair.Range = program.Range{Start: left.Range.Start, End: right.Range.End}
			if whole == nil {
				whole = pair
			} else {
				whole = &program.Node{Kind: program.Operator, Text: "&&", Args: []*program.Node{whole, pair}, Range: r.at(n)}
			}
		}
		left = right
	}
	if whole == nil {
		return left
	}
	return whole
}

// before is the operand that stands before another one.
func before(n, operand *syntax.Node) *syntax.Node {
	var last *syntax.Node
	for _, c := range n.Parts() {
		if c == operand {
			return last
		}
		if c.Field != "operators" {
			last = c
		}
	}
	return nil
}

func (r *reader) member(n, on *syntax.Node, name string) *program.Node {
	if on != nil && on.Kind == "call" && compact(on.Child("function")) == "super" {
		m := r.node(n, program.Member, name)
		m.On = r.node(on, program.Super, "")
		return m
	}
	m := r.node(n, program.Member, name)
	m.On = r.expression(on)
	return m
}

func (r *reader) subscript(n *syntax.Node) *program.Node {
	var keys []*syntax.Node
	for _, c := range n.Children {
		if c.Field == "subscript" {
			keys = append(keys, c)
		}
	}
	if len(keys) == 1 && keys[0].Kind == "string" {
		if key := r.expression(keys[0]); key != nil && key.Kind == program.String {
			return r.member(n, n.Child("value"), key.Text)
		}
	}
	i := r.node(n, program.Index, "")
	i.On, i.Args = r.expression(n.Child("value")), r.expressions(keys)
	return i
}

func (r *reader) call(n *syntax.Node) *program.Node {
	function, arguments := n.Child("function"), n.Child("arguments")
	if compact(function) == "super" {
		return r.node(n, program.Super, "")
	}
	c := r.node(n, program.Call, "")
	c.On = r.expression(function)
	if arguments != nil && arguments.Kind == "generator_expression" {
		c.Args = r.expressions([]*syntax.Node{arguments})
		return c
	}
	for _, a := range arguments.Parts() {
		switch a.Kind {
		case "keyword_argument":
			if v := r.expression(a.Child("value")); v != nil {
				c.Fields = append(c.Fields, program.Field{Key: compact(a.Child("name")), Value: v, Range: r.at(a)})
			}
		case "dictionary_splat":
			if v := r.expression(a); v != nil {
				c.Fields = append(c.Fields, program.Field{Value: v, Range: r.at(a)})
			}
		default:
			c.Args = append(c.Args, r.expressions([]*syntax.Node{a})...)
		}
	}
	return c
}

func (r *reader) dictionary(n *syntax.Node) *program.Node {
	o := r.node(n, program.Object, "")
	for _, part := range n.Parts() {
		f := program.Field{Range: r.at(part)}
		switch part.Kind {
		case "pair":
			if key := part.Child("key"); key != nil && (key.Kind == "string" || key.Kind == "concatenated_string") {
				if k := r.expression(key); k != nil && k.Kind == program.String {
					f.Key = k.Text
				}
			}
			f.Value = r.expression(part.Child("value"))
		default:
			f.Value = r.expression(part)
		}
		if f.Value != nil {
			o.Fields = append(o.Fields, f)
		}
	}
	return o
}

// text makes a String of literals that stand in a row, or a Template if there is an
// expression in one of them.
func (r *reader) text(n *syntax.Node, literals []*syntax.Node) *program.Node {
	t := r.node(n, program.Template, "")
	var b strings.Builder
	flush := func() {
		if b.Len() > 0 {
			t.Args = append(t.Args, r.node(n, program.String, b.String()))
			b.Reset()
		}
	}
	open := false
	for _, literal := range literals {
		if literal.Kind != "string" {
			continue
		}
		start := literal.First("string_start")
		raw := start != nil && strings.ContainsAny(start.Text(), "rR")
		for _, c := range literal.Children {
			switch c.Kind {
			case "string_content":
				b.WriteString(unescape(c.Text(), raw))
			case "interpolation":
				open = true
				flush()
				t.Args = append(t.Args, r.expressions([]*syntax.Node{c.Child("expression")})...)
			}
		}
	}
	if !open {
		return r.node(n, program.String, b.String())
	}
	flush()
	return t
}

// Escapes of which a path, a claim or a key might have one; others stand as they are.
var escapes = strings.NewReplacer(`\\`, `\`, `\"`, `"`, `\'`, `'`, `\n`, "\n", `\t`, "\t", `\r`, "\r", "\\\n", "")

func unescape(text string, raw bool) string {
	if raw || !strings.Contains(text, `\`) {
		return text
	}
	return escapes.Replace(text)
}

// target makes the Assign of a value to what stands on the left side.
func (r *reader) target(left *syntax.Node, value *program.Node) *program.Node {
	if left == nil {
		return value
	}
	a := r.node(left, program.Assign, "=")
	a.On = r.expression(left)
	if a.On == nil {
		return value
	}
	a.Declare = r.declares(a.On)
	if value != nil {
		a.Args = []*program.Node{value}
		if value.Range.End.Offset > a.Range.End.Offset {
			a.Range.End = value.Range.End
		}
	}
	return a
}

// declares reports whether an assignment to something makes names: not of members,
// and not of names that are declared elsewhere.
func (r *reader) declares(target *program.Node) bool {
	switch target.Kind {
	case program.Name:
		return !r.isOuter(target.Text)
	case program.List, program.Spread:
		return slices.ContainsFunc(target.Args, r.declares)
	}
	return false
}

func (r *reader) assignment(n *syntax.Node) *program.Node {
	a := r.target(n.Child("left"), r.expression(n.Child("right")))
	if a != nil && a.Kind == program.Assign {
		a.Range = r.at(n)
		a.Type = typeName(n.Child("type"))
	}
	return a
}

// comprehension makes an Other of loops within loops, the body in the innermost.
func (r *reader) comprehension(n *syntax.Node) *program.Node {
	o := r.node(n, program.Other, "")
	into := &o.Args
	for _, c := range n.Children {
		var next *program.Node
		switch c.Kind {
		case "for_in_clause":
			next = r.node(c, program.Loop, "")
			next.On = r.target(c.Child("left"), r.expression(c.Child("right")))
		case "if_clause":
			next = r.node(c, program.If, "")
			if parts := c.Parts(); len(parts) > 0 {
				next.On = r.expression(parts[0])
			}
		default:
			continue
		}
		next.Then = r.node(c, program.Block, "")
		*into = append(*into, next)
		into = &next.Then.Args
	}
	body := n.Child("body")
	if body != nil && body.Kind == "pair" {
		*into = append(*into, r.expressions(body.Parts())...)
	} else {
		*into = append(*into, r.expressions([]*syntax.Node{body})...)
	}
	return o
}
