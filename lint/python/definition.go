package python

import (
	"strings"

	"github.com/rescind/rescind/lint/program"
	"github.com/rescind/rescind/lint/syntax"
)

// decorators are those of a decorated_definition, the outermost first.
func (r *reader) decorators(n *syntax.Node) []*program.Node {
	var all []*program.Node
	for _, c := range n.Children {
		if c.Kind == "decorator" {
			all = append(all, r.expressions(c.Parts())...)
		}
	}
	return all
}

// definition makes the node of a function or class; whole has its decorators.
func (r *reader) definition(n, whole *syntax.Node, decorators []*program.Node) *program.Node {
	if n == nil {
		return nil
	}
	if n.Kind == "class_definition" {
		d := r.node(whole, program.Type, "")
		d.Class = r.class(n, whole, decorators)
		return d
	}
	d := r.node(whole, program.Func, "")
	d.Func = r.define(n, whole, decorators, nil)
	return d
}

// define makes a function, or a method of class.
func (r *reader) define(n, whole *syntax.Node, decorators []*program.Node, class *program.Class) *program.Function {
	f := &program.Function{
		Name: compact(n.Child("name")), Class: class, Decorators: decorators,
		Result: typeName(n.Child("return_type")), Range: r.at(whole), NameRange: r.at(n),
	}
	if name := n.Child("name"); name != nil {
		f.NameRange = r.at(name)
	}
	if class != nil && f.Name == "__init__" {
		f.Name = "constructor"
	}
	for _, d := range decorators {
		f.Static = f.Static || d.Kind == program.Name && d.Text == "staticmethod"
	}
	// Defaults are made outside of the function.
	f.Params = r.params(n.Child("parameters"))
	inner := &within{up: r.function, outer: map[string]bool{}}
	if class != nil && !f.Static && len(f.Params) > 0 {
		inner.self = f.Params[0].Name
		f.Params = f.Params[1:]
	}
	r.function = inner
	f.Body = r.block(n.Child("body"))
	r.function = inner.up
	return f
}

func (r *reader) lambda(n *syntax.Node) *program.Node {
	e := r.node(n, program.Func, "")
	e.Func = &program.Function{Params: r.params(n.Child("parameters")), Range: r.at(n), NameRange: r.at(n)}
	if first := n.First("lambda"); first != nil {
		e.Func.NameRange = r.at(first)
	}
	r.function = &within{up: r.function, outer: map[string]bool{}}
	body := n.Child("body")
	if value := r.expression(body); value != nil {
		back := r.node(body, program.Return, "")
		back.Args = []*program.Node{value}
		e.Func.Body = r.node(body, program.Block, "")
		e.Func.Body.Args = []*program.Node{back}
	}
	r.function = r.function.up
	return e
}

func (r *reader) params(n *syntax.Node) []program.Param {
	var all []program.Param
	for _, c := range n.Parts() {
		p := program.Param{Range: r.at(c)}
		name := c
		switch c.Kind {
		case "identifier":
		case "default_parameter", "typed_default_parameter":
			name = c.Child("name")
			p.Default = r.expression(c.Child("value"))
		case "typed_parameter":
			name = nil
			if parts := c.Parts(); len(parts) > 0 {
				name = parts[0]
			}
		case "list_splat_pattern", "dictionary_splat_pattern":
		default:
			continue // the marks / and *
		}
		if name != nil && strings.HasSuffix(name.Kind, "_splat_pattern") {
			if parts := name.Parts(); len(parts) > 0 {
				name = parts[0]
			}
		}
		if name != nil && name.Kind == "identifier" {
			p.Name = name.Text()
		} else if name != nil {
			p.Pattern = r.expression(name)
		}
		annotation := r.unalias(c.Child("type"))
		p.Type = typeName(annotation)
		if p.Default == nil {
			p.Default = r.annotated(annotation)
		}
		all = append(all, p)
	}
	return all
}

// aliases finds, at the top level of a file, names for annotated types, such as
// CurrentUser = Annotated[User, Depends(current_user)].
func aliases(root *syntax.Node) map[string]*syntax.Node {
	found := map[string]*syntax.Node{}
	for _, statement := range root.Parts() {
		for _, a := range statement.Parts() {
			left, right := a.Child("left"), a.Child("right")
			if a.Kind == "assignment" && left != nil && left.Kind == "identifier" && right != nil && right.Kind == "subscript" {
				if _, last, _ := cutLast(compact(right.Child("value")), "."); last == "Annotated" {
					found[left.Text()] = right
				}
			}
		}
	}
	return found
}

// unalias is the annotated type for which a name stands, or the annotation itself.
func (r *reader) unalias(n *syntax.Node) *syntax.Node {
	if n != nil {
		if real := r.aliases[compact(n)]; real != nil {
			return real
		}
	}
	return n
}

// annotated returns the call in Annotated[User, Depends(user)], which stands for the
// default value that FastAPI would call.
func (r *reader) annotated(n *syntax.Node) *program.Node {
	if n == nil || !strings.Contains(n.Text(), "Annotated") {
		return nil
	}
	var call *program.Node
	n.Walk(func(n *syntax.Node) bool {
		if call == nil && n.Kind == "call" {
			call = r.expression(n)
		}
		return call == nil
	})
	return call
}

// typeName makes a dotted name of an annotation: the first type in Optional[T], T |
// None, Annotated[T, …] and the like; the container of any other generic type.
func typeName(n *syntax.Node) string {
	if n == nil {
		return ""
	}
	switch n.Kind {
	case "identifier", "attribute", "member_type":
		return compact(n)
	case "string":
		if c := n.First("string_content"); c != nil {
			return plainType(c.Text())
		}
	case "none":
		return ""
	case "type", "type_parameter", "binary_operator", "union_type", "parenthesized_expression":
		for _, part := range n.Parts() {
			if t := typeName(part); t != "" {
				return t
			}
		}
	case "generic_type", "subscript":
		parts := n.Parts()
		if len(parts) == 0 {
			return ""
		}
		container := typeName(parts[0])
		_, last, _ := cutLast(container, ".")
		switch last {
		case "Optional", "Annotated", "Awaitable", "Final", "ClassVar", "Union":
			for _, part := range parts[1:] {
				if t := typeName(part); t != "" {
					return t
				}
			}
			return ""
		}
		return container
	}
	return ""
}

// cutLast cuts at the last separator; after is the whole if there is none.
func cutLast(s, separator string) (before, after string, found bool) {
	if i := strings.LastIndex(s, separator); i >= 0 {
		return s[:i], s[i+len(separator):], true
	}
	return "", s, false
}

// plainType reads an annotation in quotes, as far as it is a name.
func plainType(text string) string {
	text = strings.TrimSpace(text)
	if inner, ok := strings.CutPrefix(text, "Optional["); ok {
		text = strings.TrimSuffix(inner, "]")
	}
	text, _, _ = strings.Cut(text, "|")
	text = strings.TrimSpace(text)
	if strings.ContainsAny(text, "[](), \n") {
		return ""
	}
	return text
}

func (r *reader) class(n, whole *syntax.Node, decorators []*program.Node) *program.Class {
	c := &program.Class{Name: compact(n.Child("name")), Decorators: decorators, Range: r.at(whole)}
	for _, base := range n.Child("superclasses").Parts() {
		if base.Kind != "keyword_argument" {
			c.Bases = append(c.Bases, r.expressions([]*syntax.Node{base})...)
		}
	}
	r.function = &within{up: r.function, class: true, outer: map[string]bool{}}
	r.members(c, n.Child("body"))
	r.function = r.function.up
	return c
}

// members adds what stands in the body of a class, or beneath an if there.
func (r *reader) members(c *program.Class, body *syntax.Node) {
	for _, part := range body.Parts() {
		switch part.Kind {
		case "function_definition":
			c.Methods = append(c.Methods, r.define(part, part, nil, c))
		case "decorated_definition":
			if d := part.Child("definition"); d != nil && d.Kind == "function_definition" {
				c.Methods = append(c.Methods, r.define(d, part, r.decorators(part), c))
			}
		case "if_statement", "try_statement":
			for _, child := range part.Children {
				switch child.Kind {
				case "block":
					r.members(c, child)
				case "else_clause", "elif_clause", "except_clause":
					r.members(c, child.First("block"))
				}
			}
		case "expression_statement":
			for _, e := range r.expressionStatement(part) {
				if e.Kind == program.Assign && e.On != nil && e.On.Kind == program.Name {
					f := program.Param{Name: e.On.Text, Type: e.Type, Range: e.Range}
					if len(e.Args) > 0 {
						f.Default = e.Args[0]
					}
					c.Fields = append(c.Fields, f)
				}
			}
		}
	}
}
