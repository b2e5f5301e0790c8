package javascript

import (
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

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

// bare takes off what stands around an expression and changes nothing.
func bare(n *syntax.Node) *syntax.Node {
	for n != nil {
		inner := only(n)
		switch n.Kind {
		case "parenthesized_expression", "as_expression", "satisfies_expression", "non_null_expression", "instantiation_expression", "decorator", "jsx_expression", "else_clause":
		case "type_assertion": // <T>x
			if all := parts(n); len(all) > 1 {
				inner = all[len(all)-1]
			}
		case "sequence_expression": // (0, x.f)(): what compilers write to call x.f without this
			all := parts(n)
			if len(all) != 2 || all[0].Kind != "number" {
				return n
			}
			inner = all[1]
		default:
			return n
		}
		n = inner
	}
	return nil
}

// expression makes the node of an expression; nil of nothing, of types, and of what
// lies too deep.
func (r *reader) expression(n *syntax.Node) *program.Node {
	if n = bare(n); n == nil || !r.sink(n) {
		return nil
	}
	defer r.rise()
	switch n.Kind {
	case "identifier", "property_identifier", "shorthand_property_identifier", "shorthand_property_identifier_pattern", "private_property_identifier",
		"type_identifier", "statement_identifier":
		if n.Text() == "undefined" {
			return r.node(n, program.Null, "")
		}
		return r.node(n, program.Name, n.Text())
	case "import", "meta_property":
		return r.node(n, program.Name, n.Text())
	case "this":
		return r.node(n, program.This, "")
	case "super":
		return r.node(n, program.Super, "")
	case "member_expression", "nested_identifier", "nested_type_identifier":
		return r.member(n)
	case "subscript_expression":
		return r.subscript(n)
	case "call_expression", "new_expression":
		return r.call(n)
	case "await_expression":
		e := r.expression(only(n))
		if e != nil && e.Kind == program.Call {
			e.Await = true
		}
		return e
	case "string":
		return r.node(n, program.String, unquoted(n))
	case "template_string":
		return r.template(n)
	case "number":
		return r.node(n, program.Number, number(n.Text()))
	case "true", "false":
		return r.node(n, program.Bool, n.Kind)
	case "null", "undefined":
		return r.node(n, program.Null, "")
	case "object", "object_pattern":
		return r.object(n)
	case "array", "array_pattern":
		return r.list(n)
	case "spread_element", "rest_pattern":
		return r.with(n, program.Spread, "", parts(n)...)
	case "arrow_function", "function_expression", "function", "generator_function", "function_declaration", "generator_function_declaration", "method_definition":
		f := r.node(n, program.Func, "")
		f.Func = r.function(n, "", nil)
		return f
	case "class", "class_declaration", "abstract_class_declaration":
		c := r.node(n, program.Type, "")
		c.Class = r.readClass(n, n, "")
		return c
	case "unary_expression", "update_expression":
		return r.unary(n)
	case "binary_expression":
		return r.with(n, program.Operator, operator(n), n.Child("left"), n.Child("right"))
	case "ternary_expression":
		e := r.node(n, program.If, "")
		e.On, e.Then, e.Else = r.expression(n.Child("condition")), r.expression(n.Child("consequence")), r.expression(n.Child("alternative"))
		return e
	case "assignment_expression", "augmented_assignment_expression", "assignment_pattern", "object_assignment_pattern":
		return r.assignment(n)
	case "yield_expression":
		return r.with(n, program.Return, "", parts(n)...)
	case "jsx_opening_element", "jsx_self_closing_element", "jsx_attribute":
		all := parts(n)
		return r.with(n, program.Other, "", all[min(1, len(all)):]...) // without the name
	case "regex", "jsx_text", "jsx_closing_element", "comment", "html_comment", "type_annotation", "type_arguments", "type_parameters", "optional_chain", "hash_bang_line":
		return nil
	}
	return r.with(n, program.Other, "", parts(n)...)
}

func (r *reader) with(n *syntax.Node, kind program.Kind, text string, args ...*syntax.Node) *program.Node {
	e := r.node(n, kind, text)
	e.Args = r.expressions(args)
	return e
}

func (r *reader) member(n *syntax.Node) *program.Node {
	object, property := n.Child("object"), n.Child("property")
	if object == nil { // of a type
		object, property = n.Child("module"), n.Child("name")
	}
	on := r.expression(object)
	name := text(property)
	// What a module is by default stands for it, when its importer has been compiled.
	if name == "default" && on != nil && (on.Kind == program.Name && r.defaults[on.Text] || isRequire(on) != "") {
		return on
	}
	e := r.node(n, program.Member, name)
	e.On = on
	return e
}

func (r *reader) subscript(n *syntax.Node) *program.Node {
	index := r.expression(n.Child("index"))
	if index != nil && index.Kind == program.String {
		e := r.node(n, program.Member, index.Text)
		e.On = r.expression(n.Child("object"))
		return e
	}
	e := r.node(n, program.Index, "")
	e.On = r.expression(n.Child("object"))
	if index != nil {
		e.Args = []*program.Node{index}
	}
	return e
}

func (r *reader) call(n *syntax.Node) *program.Node {
	e := r.node(n, program.Call, "")
	on := n.Child("function")
	if n.Kind == "new_expression" {
		on, e.New = n.Child("constructor"), true
	}
	e.On = r.expression(on)
	arguments := n.Child("arguments")
	if arguments != nil && arguments.Kind == "template_string" { // sql`…`
		e.Args = r.expressions([]*syntax.Node{arguments})
	} else {
		e.Args = r.expressions(parts(arguments))
	}
	// fastify.decorate('authenticate', f) gives f its name.
	if lastName(e.On) == "decorate" && len(e.Args) > 1 && e.Args[0].Kind == program.String && e.Args[1].Kind == program.Func && e.Args[1].Func.Name == "" {
		e.Args[1].Func.Name = e.Args[0].Text
	}
	// container.get(Service) is an instance of it, as if it had been made here.
	if injects(e) {
		e.On, e.Args, e.New = e.Args[0], nil, true
		return e
	}
	// promisify(f) is f, for all that matters here.
	if !e.New && lastName(e.On) == "promisify" && len(e.Args) == 1 && slices.Contains([]program.Kind{program.Name, program.Member, program.Func}, e.Args[0].Kind) {
		return e.Args[0]
	}
	return e
}

var containers = regexp.MustCompile(`(?i)^(container|iocContainer|injector|moduleRef|di)$`)

// injects says whether a call asks a container for a class: of TypeDI, TSyringe,
// Inversify, NestJS.
func injects(call *program.Node) bool {
	if call.On == nil || call.On.Kind != program.Member || call.New || len(call.Args) == 0 || call.Args[0].Kind != program.Name {
		return false
	}
	name := call.Args[0].Text
	return (call.On.Text == "get" || call.On.Text == "resolve") && containers.MatchString(lastName(call.On.On)) && name[:1] != strings.ToLower(name[:1])
}

// lastName is the name at the end of a.b.c.
func lastName(n *program.Node) string {
	if n != nil && (n.Kind == program.Name || n.Kind == program.Member) {
		return n.Text
	}
	return ""
}

// template makes a string of one without expressions in it.
func (r *reader) template(n *syntax.Node) *program.Node {
	t := r.node(n, program.Template, "")
	constant := true
	var piece strings.Builder
	start := 0
	flush := func(end int) {
		if piece.Len() > 0 {
			t.Args = append(t.Args, &program.Node{Kind: program.String, Text: piece.String(), Range: program.Range{Start: r.pos(start), End: r.pos(end)}})
			piece.Reset()
		}
	}
	for _, c := range parts(n) {
		if c.Kind == "template_substitution" {
			flush(c.Start)
			constant = false
			if e := r.expression(only(c)); e != nil {
				t.Args = append(t.Args, e)
			}
			continue
		}
		if piece.Len() == 0 {
			start = c.Start
		}
		piece.WriteString(fragment(c))
	}
	if constant {
		return r.node(n, program.String, piece.String())
	}
	flush(n.End)
	return t
}

func (r *reader) object(n *syntax.Node) *program.Node {
	o := r.node(n, program.Object, "")
	for _, c := range parts(n) {
		f := program.Field{Range: r.span(c)}
		switch c.Kind {
		case "pair", "pair_pattern":
			f.Key = key(c.Child("key"))
			f.Value = r.named(c.Child("value"), f.Key)
		case "method_definition":
			f.Key = key(c.Child("name"))
			f.Value = r.named(c, f.Key)
		case "shorthand_property_identifier", "shorthand_property_identifier_pattern":
			f.Key, f.Value = c.Text(), r.expression(c)
		case "object_assignment_pattern":
			f.Key, f.Value = text(c.Child("left")), r.expression(c)
		default: // spread
			f.Value = r.expression(c)
		}
		if f.Value != nil {
			o.Fields = append(o.Fields, f)
		}
	}
	return o
}

// key is the name of a property, "" if it is computed.
func key(n *syntax.Node) string {
	if n != nil && n.Kind == "computed_property_name" {
		n = only(n)
		if n == nil || n.Kind != "string" {
			return ""
		}
	}
	if n != nil && n.Kind == "string" {
		return unquoted(n)
	}
	return text(n)
}

// list keeps the places of elements that are left out.
func (r *reader) list(n *syntax.Node) *program.Node {
	l := r.node(n, program.List, "")
	filled := false
	for _, c := range n.Children {
		switch {
		case c.Kind == "," && !filled:
			l.Args = append(l.Args, r.node(c, program.Other, ""))
		case c.Kind == ",":
			filled = false
		case c.Named && !c.Extra:
			if e := r.expression(c); e != nil {
				l.Args = append(l.Args, e)
				filled = true
			}
		}
	}
	return l
}

// operators that are written in one way in all languages.
var operators = map[string]string{"===": "==", "!==": "!="}

func operator(n *syntax.Node) string {
	o := text(n.Child("operator"))
	if same, ok := operators[o]; ok {
		return same
	}
	return o
}

func (r *reader) unary(n *syntax.Node) *program.Node {
	o, argument := operator(n), n.Child("argument")
	if o == "void" && argument != nil && argument.Kind == "number" {
		return r.node(n, program.Null, "")
	}
	if o == "-" && argument != nil && argument.Kind == "number" {
		return r.node(n, program.Number, "-"+number(argument.Text()))
	}
	return r.with(n, program.Operator, o, argument)
}

func (r *reader) assignment(n *syntax.Node) *program.Node {
	a := r.node(n, program.Assign, "=")
	if n.Kind == "augmented_assignment_expression" {
		a.Text = operator(n)
	}
	a.On = r.expression(n.Child("left"))
	if value := r.named(n.Child("right"), lastName(a.On)); value != nil {
		a.Args = []*program.Node{value}
	}
	return a
}

// named reads a value that is bound to a name, which a function or class takes, also
// one that is wrapped: logout = handler(async () => {}).
func (r *reader) named(n *syntax.Node, name string) *program.Node {
	e := r.expression(n)
	at := e
	if e != nil && e.Kind == program.Call && !e.New && len(e.Args) == 1 {
		at = e.Args[0]
	}
	switch {
	case at == nil || name == "":
	case at.Kind == program.Func && at.Func.Name == "":
		at.Func.Name = name
	case at == e && at.Kind == program.Type && at.Class.Name == "":
		at.Class.Name = name
	}
	return e
}

// unquoted is the value of a string.
func unquoted(n *syntax.Node) string {
	var b strings.Builder
	for _, c := range parts(n) {
		b.WriteString(fragment(c))
	}
	return b.String()
}

var escapes = map[string]string{"n": "\n", "t": "\t", "r": "\r", "b": "\b", "f": "\f", "v": "\v", "0": "\x00", "\n": "", "\r\n": ""}

// fragment is the value of a piece of a string.
func fragment(n *syntax.Node) string {
	t := n.Text()
	escape, ok := strings.CutPrefix(t, `\`)
	if !ok || n.Kind != "escape_sequence" {
		return t
	}
	if known, ok := escapes[escape]; ok {
		return known
	}
	if escape != "" && (escape[0] == 'x' || escape[0] == 'u') {
		code, err := strconv.ParseUint(strings.Trim(escape[1:], "{}"), 16, 32)
		if err != nil || code > utf8.MaxRune {
			return string(utf8.RuneError)
		}
		return string(rune(code))
	}
	return escape
}

// number is a number without what Go does not know.
func number(t string) string {
	return strings.TrimSuffix(strings.ReplaceAll(t, "_", ""), "n")
}
