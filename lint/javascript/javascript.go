// Package javascript is lint's front-end for JavaScript and TypeScript: it makes a
// [program.File] of a source file, by the tree-sitter parser of package syntax, and
// knows where the modules lie that a file imports.
//
// Routes are those of Express and what is like it (Koa, Hono, Polka, restify), of
// Fastify and hapi, of NestJS and others with decorators, of tRPC, and those that
// Next.js, SvelteKit, Nuxt and Remix find by the names of files.
package javascript

import (
	"context"
	"slices"
	"strings"

	"github.com/rescind/rescind/lint/program"
	"github.com/rescind/rescind/lint/syntax"
)

// A Frontend reads JavaScript and TypeScript. It may be used by any number of
// goroutines.
type Frontend struct{ parser *syntax.Parser }

var _ program.Frontend = (*Frontend)(nil)

// New returns a Frontend that parses with parser, which it leaves open.
func New(parser *syntax.Parser) *Frontend { return &Frontend{parser} }

// Language implements [program.Frontend].
func (*Frontend) Language() program.Language { return program.JavaScript }

// Extensions implements [program.Frontend].
func (*Frontend) Extensions() []string {
	return []string{".js", ".mjs", ".cjs", ".jsx", ".ts", ".mts", ".cts", ".tsx"}
}

// Parse implements [program.Frontend].
func (f *Frontend) Parse(ctx context.Context, name string, source []byte) (*program.File, error) {
	language, _ := syntax.Of(name)
	tree, err := f.parser.Parse(ctx, language, source)
	if err != nil {
		return nil, err
	}
	// Types in files that are called .js, those of Flow for instance, are mostly those
	// of TypeScript too.
	if language == syntax.JavaScript && tree.Root.Broken {
		if typed, err := f.parser.Parse(ctx, syntax.TSX, source); err == nil && breaks(typed) < breaks(tree) {
			tree = typed
		}
	}
	r := &reader{
		tree: tree, file: &program.File{Path: name, Language: program.JavaScript, Source: source},
		defaults: map[string]bool{}, constants: map[string]*program.Node{}, made: map[string]bool{}, prefixes: map[string]string{},
	}
	r.file.Body = r.node(tree.Root, program.Block, "")
	r.file.Body.Args = r.statements(tree.Root)
	r.remarks(tree.Root)
	r.routes()
	return r.file, nil
}

// breaks counts the errors of a tree.
func breaks(tree *syntax.Tree) int {
	n := 0
	tree.Root.Walk(func(node *syntax.Node) bool {
		if node.Missing || node.Kind == "ERROR" {
			n++
		}
		return node.Broken
	})
	return n
}

// A reader makes a File of a tree.
type reader struct {
	tree     *syntax.Tree
	file     *program.File
	depth    int
	deep     bool            // something lay deeper than program.MaxDepth
	within   int             // how many functions and classes stand around
	defaults map[string]bool // names whose .default is what was imported
	// What routes need to know of names at top level.
	constants map[string]*program.Node // strings and objects
	made      map[string]bool          // whether something that can have routes, or cannot, was bound to it
	prefixes  map[string]string        // of routers, as they were made
}

func (r *reader) pos(offset int) program.Pos {
	line, column := r.tree.Position(offset)
	return program.Pos{Offset: offset, Line: line, Column: column}
}

func (r *reader) span(n *syntax.Node) program.Range {
	return program.Range{Start: r.pos(n.Start), End: r.pos(n.End)}
}

func (r *reader) node(n *syntax.Node, kind program.Kind, text string) *program.Node {
	return &program.Node{Kind: kind, Text: text, Range: r.span(n)}
}

// sink goes one level deeper, unless that is too deep; rise comes back. Who makes
// more than one node for a level counts the others.
func (r *reader) sink(n *syntax.Node) bool {
	if r.depth >= program.MaxDepth-5 {
		if !r.deep {
			r.deep = true
			r.broken(n, "nested too deeply: what is inside was left out")
		}
		return false
	}
	r.depth++
	return true
}

func (r *reader) rise() { r.depth-- }

// A file with more errors than this is another language.
const maxErrors = 100

func (r *reader) broken(n *syntax.Node, message string) {
	if len(r.file.Errors) < maxErrors {
		r.file.Errors = append(r.file.Errors, program.ParseError{Message: message, Range: r.span(n)})
	}
}

// remarks collects comments and errors.
func (r *reader) remarks(root *syntax.Node) {
	root.Walk(func(n *syntax.Node) bool {
		switch {
		case n.Kind == "comment" || n.Kind == "html_comment":
			r.file.Comments = append(r.file.Comments, program.Comment{Text: remark(n.Text()), Range: r.span(n)})
		case n.Missing && n.Kind == "!": // the grammar's own, in styled.div<Props>`…`
		case n.Missing:
			r.broken(n, "missing "+n.Kind)
		case n.Kind == "ERROR":
			r.broken(n, "not "+r.tree.Language.String())
		}
		return true
	})
}

// remark takes the marks off a comment, those at the beginning of its lines too.
func remark(comment string) string {
	if line, ok := strings.CutPrefix(comment, "//"); ok {
		return strings.TrimSpace(line)
	}
	text := strings.TrimPrefix(strings.TrimSuffix(strings.TrimPrefix(comment, "/*"), "*/"), "<!--")
	lines := strings.Split(text, "\n")
	for i, line := range lines {
		lines[i] = strings.TrimSpace(strings.TrimLeft(strings.TrimSpace(line), "*"))
	}
	return strings.TrimSpace(strings.Join(lines, "\n"))
}

// parts are the children that mean something, also where the parser gave up.
func parts(n *syntax.Node) []*syntax.Node {
	if n == nil {
		return nil
	}
	return slices.DeleteFunc(slices.Clone(n.Children), func(c *syntax.Node) bool {
		return !c.Named || c.Kind == "comment" || c.Kind == "html_comment"
	})
}

func only(n *syntax.Node) *syntax.Node {
	if inner := parts(n); len(inner) > 0 {
		return inner[0]
	}
	return nil
}

// text of a node, "" of none.
func text(n *syntax.Node) string {
	if n == nil {
		return ""
	}
	return n.Text()
}
