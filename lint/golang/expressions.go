package golang

import (
	"go/ast"
	"go/token"
	"strconv"
	"strings"

	"github.com/rescind/rescind/lint/program"
)

func (r *reader) exprs(list ...ast.Expr) []*program.Node {
	var out []*program.Node
	for _, x := range list {
		if x != nil {
			out = append(out, r.expr(x))
		}
	}
	return out
}

// expr never returns nil: of a place that has no expression it makes Other.
func (r *reader) expr(x ast.Expr) *program.Node {
	if x == nil {
		return &program.Node{Kind: program.Other}
	}
	at := r.span(x)
	if !r.enter(x) {
		return &program.Node{Kind: program.Other, Range: at}
	}
	defer r.leave()
	switch x := x.(type) {
	case *ast.ParenExpr:
		return r.expr(x.X)
	case *ast.StarExpr:
		return r.expr(x.X)
	case *ast.TypeAssertExpr:
		return r.expr(x.X)
	case *ast.Ident:
		switch x.Name {
		case "nil":
			return &program.Node{Kind: program.Null, Range: at}
		case "true", "false":
			return &program.Node{Kind: program.Bool, Text: x.Name, Range: at}
		}
		return &program.Node{Kind: program.Name, Text: x.Name, Range: at}
	case *ast.BasicLit:
		return literal(x, at)
	case *ast.SelectorExpr:
		if x.Sel == nil {
			return r.expr(x.X)
		}
		return &program.Node{Kind: program.Member, On: r.expr(x.X), Text: x.Sel.Name, Range: at}
	case *ast.IndexExpr:
		on, index := r.expr(x.X), r.expr(x.Index)
		if index.Kind == program.String {
			return &program.Node{Kind: program.Member, On: on, Text: index.Text, Range: at}
		}
		return &program.Node{Kind: program.Index, On: on, Args: []*program.Node{index}, Range: at}
	case *ast.IndexListExpr: // type arguments
		return r.expr(x.X)
	case *ast.SliceExpr:
		return &program.Node{Kind: program.Index, On: r.expr(x.X), Args: r.exprs(x.Low, x.High, x.Max), Range: at}
	case *ast.UnaryExpr:
		if x.Op == token.AND {
			return r.expr(x.X)
		}
		return &program.Node{Kind: program.Operator, Text: x.Op.String(), Args: r.exprs(x.X), Range: at}
	case *ast.BinaryExpr:
		return &program.Node{Kind: program.Operator, Text: x.Op.String(), Args: r.exprs(x.X, x.Y), Range: at}
	case *ast.FuncLit:
		return &program.Node{Kind: program.Func, Func: r.function(x.Type, x.Body, at), Range: at}
	case *ast.CompositeLit:
		return r.composite(x, at)
	case *ast.CallExpr:
		return r.call(x, at)
	case *ast.MapType, *ast.ArrayType, *ast.ChanType:
		return &program.Node{Kind: program.Name, Text: dotted(x), Range: at}
	case *ast.Ellipsis:
		return &program.Node{Kind: program.Spread, Args: r.exprs(x.Elt), Range: at}
	case *ast.KeyValueExpr:
		return &program.Node{Kind: program.Other, Args: r.exprs(x.Key, x.Value), Range: at}
	}
	return &program.Node{Kind: program.Other, Range: at}
}

func literal(x *ast.BasicLit, at program.Range) *program.Node {
	switch x.Kind {
	case token.STRING, token.CHAR:
		value, err := strconv.Unquote(x.Value)
		if err != nil {
			value = strings.Trim(x.Value, "\"`'") // the parser has said so
		}
		return &program.Node{Kind: program.String, Text: value, Range: at}
	}
	return &program.Node{Kind: program.Number, Text: strings.ReplaceAll(x.Value, "_", ""), Range: at}
}

func (r *reader) composite(x *ast.CompositeLit, at program.Range) *program.Node {
	typ := ""
	if x.Type != nil {
		typ = dotted(x.Type)
	}
	var names []program.Param
	if st := r.structs[typ]; st != nil {
		names = r.fields(st.Fields)
	}
	_, array := x.Type.(*ast.ArrayType)
	keyed := false
	for _, e := range x.Elts {
		if _, ok := e.(*ast.KeyValueExpr); ok {
			keyed = true
		}
	}
	if array || !keyed && len(x.Elts) > 0 && len(names) == 0 && typ == "" {
		return &program.Node{Kind: program.List, Type: typ, Args: r.exprs(x.Elts...), Range: at}
	}
	n := &program.Node{Kind: program.Object, Type: typ, Range: at}
	for i, e := range x.Elts {
		f := program.Field{Range: r.span(e)}
		kv, ok := e.(*ast.KeyValueExpr)
		switch {
		case !ok:
			f.Value = r.expr(e)
			if i < len(names) {
				f.Key = names[i].Name
			}
		default:
			switch key := kv.Key.(type) {
			case *ast.Ident:
				f.Key = key.Name
			case *ast.BasicLit:
				f.Key = literal(key, at).Text
			}
			f.Value = r.bound(f.Key, kv.Value)
		}
		n.Fields = append(n.Fields, f)
	}
	return n
}

func (r *reader) call(x *ast.CallExpr, at program.Range) *program.Node {
	switch fun := ast.Unparen(x.Fun).(type) {
	case *ast.ArrayType, *ast.MapType, *ast.ChanType, *ast.FuncType, *ast.InterfaceType, *ast.StarExpr: // a conversion
		if len(x.Args) == 1 {
			return r.expr(x.Args[0])
		}
	case *ast.Ident:
		if len(x.Args) == 1 && conversions[fun.Name] {
			return r.expr(x.Args[0])
		}
	}
	n := &program.Node{Kind: program.Call, On: r.expr(x.Fun), Args: r.exprs(x.Args...), Range: at}
	if x.Ellipsis.IsValid() && len(n.Args) > 0 {
		last := len(n.Args) - 1
		n.Args[last] = &program.Node{Kind: program.Spread, Args: []*program.Node{n.Args[last]}, Range: n.Args[last].Range}
	}
	if route, ok := r.route(n); ok {
		r.out.Routes = append(r.out.Routes, route)
	}
	return n
}

// Conversions say nothing; the value goes on.
var conversions = map[string]bool{
	"string": true, "int": true, "int64": true, "int32": true, "uint": true, "uint64": true, "uint32": true, "float64": true, "any": true,
}
