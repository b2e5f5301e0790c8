package syntax

import "slices"

// A Tree is a parsed file. It may be read by any number of goroutines.
type Tree struct {
	Language Language
	Source   []byte
	// Root spans the file. Its kind is "program", or "module" in Python, also when
	// the file has errors; the error that nothing can be made of is an "ERROR" root.
	Root  *Node
	lines []int // where each line begins, in bytes
}

// A Node is a piece of the file, named as the grammar names it. Comments are
// nodes too, wherever they stand.
type Node struct {
	Kind  string // of the grammar: "call_expression"; of a token its text: "("; "ERROR" for what did not parse
	Field string // what it is to its parent: "function"; empty for most
	Named bool   // false for tokens that the grammar spells out: "(", "async", "+"
	// Missing nodes are empty: the parser put them where the grammar needs one.
	Missing bool
	// Extra nodes may stand anywhere: comments.
	Extra bool
	// Broken says that it, or something in it, is an error or missing.
	Broken     bool
	Start, End int // in bytes, End excluded
	Parent     *Node
	Children   []*Node // in the order of the file, tokens among them
	tree       *Tree
}

// Text is what the file says there.
func (n *Node) Text() string { return string(n.tree.Source[n.Start:n.End]) }

// Child is the first child that has a field, or nil. It takes a nil node.
func (n *Node) Child(field string) *Node {
	if n == nil {
		return nil
	}
	for _, c := range n.Children {
		if c.Field == field {
			return c
		}
	}
	return nil
}

// First is the first child of one of some kinds, or nil. It takes a nil node.
func (n *Node) First(kinds ...string) *Node {
	if n == nil {
		return nil
	}
	for _, c := range n.Children {
		if slices.Contains(kinds, c.Kind) {
			return c
		}
	}
	return nil
}

// Has says whether a token, such as "async", is among its children.
func (n *Node) Has(token string) bool { return n.First(token) != nil }

// Parts are the children that mean something: named and no comment.
func (n *Node) Parts() []*Node {
	if n == nil {
		return nil
	}
	var parts []*Node
	for _, c := range n.Children {
		if c.Named && !c.Extra {
			parts = append(parts, c)
		}
	}
	return parts
}

// Walk visits n and all within it, parents first. It leaves out what is within
// a node for which visit says false.
func (n *Node) Walk(visit func(*Node) bool) {
	if n == nil || !visit(n) {
		return
	}
	for _, c := range n.Children {
		c.Walk(visit)
	}
}

// Position says where n begins: see [Tree.Position].
func (n *Node) Position() (line, column int) { return n.tree.Position(n.Start) }

// EndPosition says where n ends: the place after its last character.
func (n *Node) EndPosition() (line, column int) { return n.tree.Position(n.End) }

// Position makes of an offset in bytes a line and a column, both from 1. Columns
// count bytes.
func (t *Tree) Position(offset int) (line, column int) {
	i, found := slices.BinarySearch(t.lines, offset)
	if !found {
		i--
	}
	return i + 1, offset - t.lines[i] + 1
}

func lineStarts(source []byte) []int {
	lines := []int{0}
	for i, b := range source {
		if b == '\n' {
			lines = append(lines, i+1)
		}
	}
	return lines
}
