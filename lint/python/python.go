// Package python is lint's front-end for Python: it makes a [program.File] of a
// source file, by the tree-sitter parser of package syntax, and knows where the
// modules lie that a file imports.
//
// Routes are those of Flask and its relatives (Quart, Flask-RESTful), FastAPI and
// Starlette, Django and its REST framework, aiohttp and Sanic.
package python

import (
	"context"
	"path"
	"slices"
	"strings"

	"github.com/rescind/rescind/lint/program"
	"github.com/rescind/rescind/lint/syntax"
)

// A Frontend reads Python. It may be used by any number of goroutines.
type Frontend struct{ parser *syntax.Parser }

// New returns a Frontend that parses with parser, which it leaves open.
func New(parser *syntax.Parser) *Frontend { return &Frontend{parser} }

// Language implements [program.Frontend].
func (*Frontend) Language() program.Language { return program.Python }

// Extensions implements [program.Frontend].
func (*Frontend) Extensions() []string { return []string{".py"} }

// Parse implements [program.Frontend].
func (f *Frontend) Parse(ctx context.Context, name string, source []byte) (*program.File, error) {
	tree, err := f.parser.Parse(ctx, syntax.Python, source)
	if err != nil {
		return nil, err
	}
	r := &reader{
		file:     &program.File{Path: name, Language: program.Python, Source: source},
		lines:    lineStarts(source),
		prefixes: map[string]string{}, aliases: aliases(tree.Root),
	}
	r.file.Body = r.block(tree.Root)
	r.comments(tree.Root)
	r.routes()
	return r.file, nil
}

// Resolve implements [program.Frontend]. A relative module is looked for from the
// package that the file is in. Any other is looked for where Python would, if it was
// started at the top of the source: next to the outermost package that holds the
// file, then in each folder above. A file never stands for what it imports itself,
// which is why auth/jwt.py may import jwt.
func (*Frontend) Resolve(tree program.Tree, from *program.File, module string) []string {
	dir := path.Dir(from.Path)
	if rest := strings.TrimLeft(module, "."); rest != module {
		for range len(module) - len(rest) - 1 {
			dir = path.Dir(dir)
		}
		return found(tree, from, dir, rest)
	}
	if module == "" {
		return nil
	}
	for tree.Has(path.Join(dir, "__init__.py")) && path.Dir(dir) != dir {
		dir = path.Dir(dir)
	}
	for {
		if files := found(tree, from, dir, module); files != nil {
			return files
		}
		if path.Dir(dir) == dir {
			return nil
		}
		dir = path.Dir(dir)
	}
}

// found returns the file of a module beneath a folder: a.py, or a/__init__.py.
func found(tree program.Tree, from *program.File, dir, module string) []string {
	at := path.Join(dir, strings.ReplaceAll(module, ".", "/"))
	for _, name := range []string{at + ".py", path.Join(at, "__init__.py")} {
		if name != from.Path && tree.Has(name) {
			return []string{name}
		}
	}
	return nil
}

// A reader makes a File of a tree.
type reader struct {
	file     *program.File
	lines    []int // where each line begins
	depth    int
	deep     bool // something lay deeper than program.MaxDepth
	function *within
	// Of the blueprints and routers that are made at top level: their prefixes, by name.
	prefixes map[string]string
	aliases  map[string]*syntax.Node // of types: what stands right of X = Annotated[…], by X
}

// within says what names mean in a function.
type within struct {
	up    *within
	self  string          // the name of the first parameter of a method
	class bool            // it is the body of a class: self of a method around means nothing in it
	outer map[string]bool // declared global or nonlocal
}

// isSelf reports whether a name is the first parameter of the method around.
func (r *reader) isSelf(name string) bool {
	for w := r.function; w != nil; w = w.up {
		if w.self != "" || w.class {
			return w.self == name
		}
	}
	return false
}

func (r *reader) isOuter(name string) bool { return r.function != nil && r.function.outer[name] }

func lineStarts(source []byte) []int {
	lines := []int{0}
	for i, b := range source {
		if b == '\n' {
			lines = append(lines, i+1)
		}
	}
	return lines
}

func (r *reader) pos(offset int) program.Pos {
	i, ok := slices.BinarySearch(r.lines, offset)
	if !ok {
		i--
	}
	return program.Pos{Offset: offset, Line: i + 1, Column: offset - r.lines[i] + 1}
}

func (r *reader) at(n *syntax.Node) program.Range {
	return program.Range{Start: r.pos(n.Start), End: r.pos(n.End)}
}

func (r *reader) node(n *syntax.Node, kind program.Kind, text string) *program.Node {
	return &program.Node{Kind: kind, Text: text, Range: r.at(n)}
}

func (r *reader) broken(n *syntax.Node, message string) {
	// One file of another language would be nothing but these.
	if len(r.file.Errors) < 100 {
		r.file.Errors = append(r.file.Errors, program.ParseError{Message: message, Range: r.at(n)})
	}
}

// comments collects those that begin with #; doc strings are met on the way.
func (r *reader) comments(root *syntax.Node) {
	root.Walk(func(n *syntax.Node) bool {
		if n.Kind == "comment" {
			text := strings.TrimSpace(strings.TrimLeft(n.Text(), "#"))
			r.file.Comments = append(r.file.Comments, program.Comment{Text: text, Range: r.at(n)})
		}
		if n.Missing {
			r.broken(n, "missing "+n.Kind)
		} else if n.Kind == "ERROR" {
			r.broken(n, "not Python")
		}
		return true
	})
	slices.SortFunc(r.file.Comments, func(a, b program.Comment) int { return a.Range.Start.Offset - b.Range.Start.Offset })
}
