package program

// A Kind says what a Node is, and which of its members are set.
type Kind string

// Expressions. Parentheses, casts, type assertions, awaits, the non-null mark and
// Go's * and & are not there: their operand stands in their place. A literal's Text
// is its value: of a number, as written, without _ and suffix.
const (
	Name     Kind = "name"     // Text
	This     Kind = "this"     // this, self and cls in methods, the receiver in Go
	Super    Kind = "super"    // super, super()
	Member   Kind = "member"   // On.Text, also On?.Text and On["Text"]
	Index    Kind = "index"    // On[Args[0]] where that is no constant string
	Call     Kind = "call"     // On(Args…, Fields…): Fields are named arguments; New, Await
	String   Kind = "string"   // Text
	Template Kind = "template" // Args: String for the text between, and expressions
	Number   Kind = "number"   // Text
	Bool     Kind = "bool"     // Text: true or false
	Null     Kind = "null"     // null, undefined, None, nil
	Object   Kind = "object"   // Fields; Type for a composite literal of Go. Methods are fields with a Func
	List     Kind = "list"     // Args: array, tuple, set, slice; Type in Go
	Func     Kind = "func"     // Func; at statement level a declaration, which binds its name
	Operator Kind = "operator" // Text, Args: one or two operands
	Assign   Kind = "assign"   // On = Args[0]; Text the operator (= or += …); Declare. No Args: declared only
	Spread   Kind = "spread"   // ...Args[0], *a, **a
	Other    Kind = "other"    // Args: whatever expressions or statements are inside
)

// Statements. An expression that stands as a statement is itself.
const (
	Block  Kind = "block"  // Args
	Return Kind = "return" // Args: the values; yield is one too
	Throw  Kind = "throw"  // Args: throw, raise; panic stays a Call
	If     Kind = "if"     // On, Then, Else: the conditional expression is one too
	Loop   Kind = "loop"   // On: the condition, or an Assign of the element; Then; Args: the rest of a for's head
	Switch Kind = "switch" // On, Args: Cases
	Case   Kind = "case"   // Args: what it matches, none for default; Then
	Try    Kind = "try"    // Then; Args: a Case for each catch, whose Text is the error's name; Else: finally
	Jump   Kind = "jump"   // break, continue, goto
	Type   Kind = "class"  // Class: its declaration
)

// A Node is an expression or a statement. Which members are set depends on Kind,
// see there; all others are zero. A node stands in one place of one tree.
//
// Operators are written alike in all languages: && || ! ?? == != < <= > >= + - * / %
// in, "not in"; === is ==, and is &&, is is ==. Others stand as they are.
//
// Python's with is a Block: an Assign (or the expression), then the body. Its
// comprehension is a Loop within Other. Go's if and switch with an init statement
// are a Block with that first; go f() and defer f() are the Call; <-c is an
// Operator; a select is a Switch without On.
type Node struct {
	Kind       Kind
	Range      Range
	Text       string
	On         *Node
	Args       []*Node
	Fields     []Field
	Then, Else *Node
	Func       *Function
	Class      *Class
	// Type is a dotted name as in Param: of an Object or List in Go, of an Assign that
	// declares with a type.
	Type    string
	New     bool // a Call with new
	Await   bool // a Call whose result is awaited
	Declare bool // an Assign that declares its names: const, let, var, :=, and every one in Python
}

// A Field is a field of an Object, or a named argument of a Call. In an Object on
// the left side of an Assign, or in a Pattern, Value is the name that is bound: a
// Name, an Assign of a Name with its default, or a further pattern.
type Field struct {
	Key   string // "" if computed or spread
	Value *Node  // a Spread for ...x and **x
	Range Range
}

// Field returns the value of the field, or the named argument, with that key; nil
// without.
func (n *Node) Field(key string) *Node {
	if n == nil {
		return nil
	}
	for i := range n.Fields {
		if n.Fields[i].Key == key {
			return n.Fields[i].Value
		}
	}
	return nil
}

// Open reports whether an Object or a Call may have more fields than can be seen:
// spread or computed ones.
func (n *Node) Open() bool {
	for i := range n.Fields {
		if n.Fields[i].Key == "" {
			return true
		}
	}
	return false
}

// Children calls visit for each node right beneath n, in the order of the source.
// The bodies of functions and the members of classes are beneath it too.
func (n *Node) Children(visit func(*Node)) {
	give := func(nodes ...*Node) {
		for _, child := range nodes {
			if child != nil {
				visit(child)
			}
		}
	}
	if n == nil {
		return
	}
	give(n.On)
	if n.Kind == Try {
		give(n.Then)
	}
	give(n.Args...)
	for i := range n.Fields {
		give(n.Fields[i].Value)
	}
	if n.Kind != Try {
		give(n.Then)
	}
	give(n.Else)
	n.Func.children(visit)
	if c := n.Class; c != nil {
		give(c.Decorators...)
		give(c.Bases...)
		for i := range c.Fields {
			c.Fields[i].children(visit)
		}
		for _, m := range c.Methods {
			m.children(visit)
		}
	}
}

func (f *Function) children(visit func(*Node)) {
	if f == nil {
		return
	}
	for _, d := range f.Decorators {
		visit(d)
	}
	for i := range f.Params {
		f.Params[i].children(visit)
	}
	if f.Body != nil {
		visit(f.Body)
	}
}

func (p *Param) children(visit func(*Node)) {
	for _, d := range p.Decorators {
		visit(d)
	}
	for _, n := range []*Node{p.Pattern, p.Default} {
		if n != nil {
			visit(n)
		}
	}
}

// Walk calls visit for n and all beneath it, parents first. Where visit returns
// false it does not go deeper. It needs no stack of its own: a front-end bounds the
// depth of what it makes (see MaxDepth).
func Walk(n *Node, visit func(*Node) bool) {
	if n == nil || !visit(n) {
		return
	}
	n.Children(func(child *Node) { Walk(child, visit) })
}

// MaxDepth is how deep a front-end may nest nodes. What lies deeper it leaves out,
// and says so in File.Errors.
const MaxDepth = 500
