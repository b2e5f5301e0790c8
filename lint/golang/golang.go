// Package golang reads Go for lint: with the parser of the standard library, and
// without types, so that a file alone, or one that does not compile, will do.
package golang

import (
	"context"
	"errors"
	"go/ast"
	"go/parser"
	"go/scanner"
	"go/token"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/rescind/rescind/lint/program"
)

// Frontend is the front-end of Go.
type Frontend struct{}

var _ program.Frontend = Frontend{}

// Language returns Go.
func (Frontend) Language() program.Language { return program.Go }

// Extensions returns that of Go's files.
func (Frontend) Extensions() []string { return []string{".go"} }

// More errors than this in one file are not kept.
const maxErrors = 10

// Parse reads one file.
func (Frontend) Parse(ctx context.Context, name string, source []byte) (*program.File, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	set := token.NewFileSet()
	tree, err := parser.ParseFile(set, name, source, parser.ParseComments|parser.SkipObjectResolution)
	if tree == nil {
		return nil, err
	}
	r := &reader{file: set.File(tree.FileStart), out: &program.File{Path: name, Language: program.Go, Source: source}}
	r.out.Package = path.Dir(name) + ":" + tree.Name.Name
	r.errors(err)
	r.structs = structs(tree)
	r.imports(tree)
	r.out.Body = &program.Node{Kind: program.Block, Range: program.Range{Start: r.pos(tree.FileStart), End: r.pos(tree.FileEnd)}}
	r.declarations(tree)
	for _, group := range tree.Comments {
		for _, c := range group.List {
			r.out.Comments = append(r.out.Comments, program.Comment{Text: text(c.Text), Range: r.span(c)})
		}
	}
	return r.out, nil
}

// text takes the marks off a comment.
func text(comment string) string {
	if line, ok := strings.CutPrefix(comment, "//"); ok {
		return strings.TrimSpace(line)
	}
	return strings.TrimSpace(strings.TrimSuffix(strings.TrimPrefix(comment, "/*"), "*/"))
}

// Resolve finds the folder of a package of the same module, by go.mod.
func (Frontend) Resolve(tree program.Tree, from *program.File, module string) []string {
	for dir := path.Dir(from.Path); ; dir = path.Dir(dir) {
		if name, ok := moduleName(tree.Config(path.Join(dir, "go.mod"))); ok {
			if module != name && !strings.HasPrefix(module, name+"/") {
				return nil
			}
			files := tree.Files(path.Join(dir, strings.TrimPrefix(module, name)))
			return slices.DeleteFunc(slices.Clone(files), func(f string) bool {
				return path.Ext(f) != ".go" || strings.HasSuffix(f, "_test.go")
			})
		}
		if dir == path.Dir(dir) {
			return nil
		}
	}
}

func moduleName(mod []byte) (string, bool) {
	for line := range strings.Lines(string(mod)) {
		if rest, ok := strings.CutPrefix(strings.TrimSpace(line), "module "); ok {
			name, _, _ := strings.Cut(rest, "//")
			return strings.Trim(strings.TrimSpace(name), `"`), true
		}
	}
	return "", false
}

// reader turns the syntax tree of one file into the model.
type reader struct {
	file    *token.File
	out     *program.File
	structs map[string]*ast.StructType // of this file, for literals without keys
	depth   int
	deep    bool // the depth was exceeded, and that was said
}

func (r *reader) pos(p token.Pos) program.Pos {
	if !p.IsValid() {
		return program.Pos{Line: 1, Column: 1}
	}
	// Not adjusted by //line comments: they may say anything.
	at := r.file.PositionFor(r.clamp(p), false)
	return program.Pos{Offset: at.Offset, Line: at.Line, Column: at.Column}
}

// clamp keeps positions that the parser has made up within the file.
func (r *reader) clamp(p token.Pos) token.Pos {
	base := token.Pos(r.file.Base())
	return min(max(p, base), base+token.Pos(r.file.Size()))
}

func (r *reader) span(n ast.Node) program.Range {
	return program.Range{Start: r.pos(n.Pos()), End: r.pos(n.End())}
}

func (r *reader) errors(err error) {
	var list scanner.ErrorList
	if !errors.As(err, &list) {
		return
	}
	for i, e := range list {
		if i == maxErrors {
			return
		}
		at := r.pos(token.Pos(r.file.Base() + e.Pos.Offset))
		r.out.Errors = append(r.out.Errors, program.ParseError{Message: e.Msg, Range: program.Range{Start: at, End: at}})
	}
}

func structs(tree *ast.File) map[string]*ast.StructType {
	found := map[string]*ast.StructType{}
	for _, d := range tree.Decls {
		if g, ok := d.(*ast.GenDecl); ok {
			for _, s := range g.Specs {
				if t, ok := s.(*ast.TypeSpec); ok && t.Name != nil {
					if st, ok := t.Type.(*ast.StructType); ok {
						found[t.Name.Name] = st
					}
				}
			}
		}
	}
	return found
}

var version = regexp.MustCompile(`^v[0-9]+$`)

// imports names the packages. What a package is called stands in its source, which
// is not here; so of the usual names the first is taken that the file uses.
func (r *reader) imports(tree *ast.File) {
	used := map[string]bool{}
	ast.Inspect(tree, func(n ast.Node) bool {
		if s, ok := n.(*ast.SelectorExpr); ok {
			if id, ok := s.X.(*ast.Ident); ok {
				used[id.Name] = true
			}
		}
		return true
	})
	for _, spec := range tree.Imports {
		module, err := strconv.Unquote(spec.Path.Value)
		if err != nil {
			continue // the parser has said so
		}
		imp := program.Import{Module: module, Symbol: "*", Range: r.span(spec)}
		switch {
		case spec.Name != nil && spec.Name.Name == "_":
			continue
		case spec.Name != nil && spec.Name.Name == ".":
		case spec.Name != nil:
			imp.Local = spec.Name.Name
		default:
			names := packageNames(module)
			imp.Local = names[0]
			if i := slices.IndexFunc(names, func(n string) bool { return used[n] }); i >= 0 {
				imp.Local = names[i]
			}
		}
		r.out.Imports = append(r.out.Imports, imp)
	}
}

func packageNames(module string) []string {
	last := path.Base(module)
	if version.MatchString(last) && strings.Contains(module, "/") {
		last = path.Base(path.Dir(module))
	}
	if base, v, ok := strings.Cut(last, "."); ok && version.MatchString(v) {
		last = base
	}
	names := []string{
		last, strings.TrimPrefix(last, "go-"), strings.TrimSuffix(last, "-go"), strings.TrimSuffix(last, ".go"),
		strings.NewReplacer("-", "", ".", "").Replace(last), strings.NewReplacer("-", "_").Replace(last),
	}
	if _, after, ok := strings.Cut(last, "-"); ok {
		names = append(names, after)
	}
	return names
}

// dotted is a type as the model writes it.
func dotted(t ast.Expr) string {
	for range program.MaxDepth {
		switch x := t.(type) {
		case *ast.StarExpr:
			t = x.X
		case *ast.ParenExpr:
			t = x.X
		case *ast.IndexExpr:
			t = x.X
		case *ast.IndexListExpr:
			t = x.X
		case *ast.Ellipsis:
			return "list"
		case *ast.Ident:
			return x.Name
		case *ast.SelectorExpr:
			if id, ok := x.X.(*ast.Ident); ok && x.Sel != nil {
				return id.Name + "." + x.Sel.Name
			}
			return ""
		case *ast.MapType:
			return "map"
		case *ast.ArrayType:
			return "list"
		case *ast.ChanType:
			return "chan"
		default:
			return ""
		}
	}
	return ""
}
