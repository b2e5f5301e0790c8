package golang

import (
	"go/ast"
	"strings"

	"github.com/rescind/rescind/lint/program"
)

func (r *reader) declarations(tree *ast.File) {
	classes := map[string]*program.Class{}
	class := func(name string, at program.Range) *program.Class {
		c := classes[name]
		if c == nil {
			c = &program.Class{Name: name, Range: at}
			classes[name] = c
			r.add(&program.Node{Kind: program.Type, Class: c, Range: at})
		}
		return c
	}
	// Types first: the fields must be there when methods come.
	for _, d := range tree.Decls {
		if g, ok := d.(*ast.GenDecl); ok {
			for _, s := range g.Specs {
				if t, ok := s.(*ast.TypeSpec); ok && t.Name != nil {
					r.class(class(t.Name.Name, r.span(t)), t)
				}
			}
		}
	}
	for _, d := range tree.Decls {
		switch d := d.(type) {
		case *ast.GenDecl:
			r.add(r.generic(d)...)
		case *ast.FuncDecl:
			f := r.function(d.Type, d.Body, r.span(d))
			if d.Name != nil {
				f.Name, f.NameRange = d.Name.Name, r.span(d.Name)
			}
			if d.Recv == nil || len(d.Recv.List) == 0 {
				r.add(&program.Node{Kind: program.Func, Func: f, Range: f.Range})
				continue
			}
			recv := d.Recv.List[0]
			f.Class = class(dotted(recv.Type), f.Range)
			f.Class.Methods = append(f.Class.Methods, f)
			if len(recv.Names) > 0 && recv.Names[0].Name != "_" {
				receiver(f.Body, recv.Names[0].Name)
			}
		}
	}
}

func (r *reader) add(nodes ...*program.Node) { r.out.Body.Args = append(r.out.Body.Args, nodes...) }

// receiver makes the receiver's name what other languages call this.
func receiver(body *program.Node, name string) {
	program.Walk(body, func(n *program.Node) bool {
		if n.Kind == program.Name && n.Text == name {
			n.Kind, n.Text = program.This, ""
		}
		if n.Kind == program.Func && n.Func != nil {
			for i := range n.Func.Params {
				if n.Func.Params[i].Name == name {
					return false
				}
			}
		}
		return true
	})
}

func (r *reader) class(c *program.Class, t *ast.TypeSpec) {
	switch x := t.Type.(type) {
	case *ast.StructType:
		c.Fields = r.fields(x.Fields)
		if x.Fields == nil {
			return
		}
		for _, f := range x.Fields.List {
			if len(f.Names) == 0 {
				c.Bases = append(c.Bases, r.name(dotted(f.Type), r.span(f)))
			}
		}
	case *ast.InterfaceType:
		c.Interface = true
		if x.Methods == nil {
			return
		}
		for _, m := range x.Methods.List {
			if ft, ok := m.Type.(*ast.FuncType); ok && len(m.Names) > 0 {
				f := r.function(ft, nil, r.span(m))
				f.Name, f.NameRange, f.Class = m.Names[0].Name, r.span(m.Names[0]), c
				c.Methods = append(c.Methods, f)
			} else if name := dotted(m.Type); name != "" {
				c.Bases = append(c.Bases, r.name(name, r.span(m)))
			}
		}
	case *ast.Ident, *ast.SelectorExpr, *ast.StarExpr:
		c.Bases = append(c.Bases, r.name(dotted(t.Type), r.span(t)))
	}
}

// fields are those of a struct; an embedded one has the name of its type.
func (r *reader) fields(list *ast.FieldList) []program.Param {
	var out []program.Param
	if list == nil {
		return nil
	}
	for _, f := range list.List {
		typ := dotted(f.Type)
		if len(f.Names) == 0 {
			out = append(out, program.Param{Name: typ[strings.LastIndexByte(typ, '.')+1:], Type: typ, Range: r.span(f)})
		}
		for _, name := range f.Names {
			out = append(out, program.Param{Name: name.Name, Type: typ, Range: r.span(name)})
		}
	}
	return out
}

func (r *reader) function(t *ast.FuncType, body *ast.BlockStmt, at program.Range) *program.Function {
	f := &program.Function{Range: at, NameRange: program.Range{Start: at.Start, End: at.Start}}
	if t != nil && t.Params != nil {
		for _, p := range t.Params.List {
			typ := dotted(p.Type)
			if len(p.Names) == 0 {
				f.Params = append(f.Params, program.Param{Type: typ, Range: r.span(p)})
			}
			for _, name := range p.Names {
				f.Params = append(f.Params, program.Param{Name: name.Name, Type: typ, Range: r.span(name)})
			}
		}
	}
	if t != nil && t.Results != nil && len(t.Results.List) > 0 {
		f.Result = dotted(t.Results.List[0].Type)
	}
	if body != nil {
		f.Body = r.block(body)
		if t != nil && t.Results != nil { // named results are variables
			for _, p := range t.Results.List {
				for _, name := range p.Names {
					f.Body.Args = append([]*program.Node{{
						Kind: program.Assign, On: r.name(name.Name, r.span(name)), Text: "=", Type: dotted(p.Type), Declare: true, Range: r.span(name),
					}}, f.Body.Args...)
				}
			}
		}
	}
	return f
}

// generic is var and const; types at top level are done.
func (r *reader) generic(d *ast.GenDecl) []*program.Node {
	var out []*program.Node
	for _, s := range d.Specs {
		v, ok := s.(*ast.ValueSpec)
		if !ok {
			continue
		}
		typ := ""
		if v.Type != nil {
			typ = dotted(v.Type)
		}
		for i, name := range v.Names {
			n := &program.Node{Kind: program.Assign, On: r.name(name.Name, r.span(name)), Text: "=", Type: typ, Declare: true, Range: r.span(v)}
			switch {
			case i < len(v.Values):
				n.Args = []*program.Node{r.bound(name.Name, v.Values[i])}
			case i == 0 || len(v.Values) == 0:
			default:
				continue // a further result of one call
			}
			out = append(out, n)
		}
	}
	return out
}

// bound is a value that gets a name: a function takes it.
func (r *reader) bound(name string, x ast.Expr) *program.Node {
	n := r.expr(x)
	if n.Kind == program.Func && n.Func.Name == "" {
		n.Func.Name = name
	}
	return n
}

func (r *reader) name(name string, at program.Range) *program.Node {
	var n *program.Node
	for part := range strings.SplitSeq(name, ".") {
		if n == nil {
			n = &program.Node{Kind: program.Name, Text: part, Range: at}
		} else {
			n = &program.Node{Kind: program.Member, Text: part, On: n, Range: at}
		}
	}
	return n
}
