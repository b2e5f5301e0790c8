package golang

import (
	"go/ast"
	"go/token"

	"github.com/rescind/rescind/lint/program"
)

// enter counts the depth; at the limit it says so, once, and refuses.
func (r *reader) enter(n ast.Node) bool {
	if r.depth >= program.MaxDepth {
		if !r.deep {
			r.deep = true
			r.out.Errors = append(r.out.Errors, program.ParseError{Message: "nested too deeply: what lies deeper was not read", Range: r.span(n)})
		}
		return false
	}
	r.depth++
	return true
}

func (r *reader) leave() { r.depth-- }

func (r *reader) block(b *ast.BlockStmt) *program.Node {
	if b == nil {
		return nil
	}
	return &program.Node{Kind: program.Block, Range: r.span(b), Args: r.list(b.List)}
}

func (r *reader) list(list []ast.Stmt) []*program.Node {
	var out []*program.Node
	for _, s := range list {
		if n := r.stmt(s); n != nil {
			out = append(out, n)
		}
	}
	return out
}

// with puts an init statement before what it belongs to.
func (r *reader) with(init ast.Stmt, n *program.Node) *program.Node {
	if init == nil {
		return n
	}
	return &program.Node{Kind: program.Block, Range: n.Range, Args: append(r.list([]ast.Stmt{init}), n)}
}

func (r *reader) stmt(s ast.Stmt) *program.Node {
	if s == nil || !r.enter(s) {
		return nil
	}
	defer r.leave()
	at := r.span(s)
	switch s := s.(type) {
	case *ast.BlockStmt:
		return r.block(s)
	case *ast.ExprStmt:
		return r.expr(s.X)
	case *ast.GoStmt:
		return r.expr(s.Call)
	case *ast.DeferStmt:
		return r.expr(s.Call)
	case *ast.LabeledStmt:
		return r.stmt(s.Stmt)
	case *ast.SendStmt:
		return &program.Node{Kind: program.Operator, Text: "<-", Args: r.exprs(s.Chan, s.Value), Range: at}
	case *ast.IncDecStmt:
		op := "+="
		if s.Tok == token.DEC {
			op = "-="
		}
		return &program.Node{Kind: program.Assign, On: r.expr(s.X), Text: op, Args: []*program.Node{{Kind: program.Number, Text: "1", Range: at}}, Range: at}
	case *ast.AssignStmt:
		return r.assign(s)
	case *ast.ReturnStmt:
		return &program.Node{Kind: program.Return, Args: r.exprs(s.Results...), Range: at}
	case *ast.BranchStmt:
		return &program.Node{Kind: program.Jump, Text: s.Tok.String(), Range: at}
	case *ast.DeclStmt:
		if g, ok := s.Decl.(*ast.GenDecl); ok {
			return &program.Node{Kind: program.Other, Args: r.generic(g), Range: at}
		}
		return nil
	case *ast.IfStmt:
		return r.with(s.Init, &program.Node{Kind: program.If, On: r.expr(s.Cond), Then: r.block(s.Body), Else: r.stmt(s.Else), Range: at})
	case *ast.ForStmt:
		n := &program.Node{Kind: program.Loop, Then: r.block(s.Body), Args: r.list([]ast.Stmt{s.Init, s.Post}), Range: at}
		if s.Cond != nil {
			n.On = r.expr(s.Cond)
		}
		return n
	case *ast.RangeStmt:
		over := r.expr(s.X)
		var targets []*program.Node
		for _, x := range []ast.Expr{s.Key, s.Value} {
			if x != nil {
				targets = append(targets, r.expr(x))
			}
		}
		if len(targets) > 0 {
			// The element is no value of the list: nothing is known of it.
			element := &program.Node{Kind: program.Index, On: over, Args: nil, Range: over.Range}
			over = &program.Node{
				Kind: program.Assign, On: &program.Node{Kind: program.List, Args: targets, Range: at}, Text: "=", Args: []*program.Node{element},
				Declare: s.Tok == token.DEFINE, Range: at,
			}
		}
		return &program.Node{Kind: program.Loop, On: over, Then: r.block(s.Body), Range: at}
	case *ast.SwitchStmt:
		n := &program.Node{Kind: program.Switch, Args: r.cases(s.Body), Range: at}
		if s.Tag != nil {
			n.On = r.expr(s.Tag)
		}
		return r.with(s.Init, n)
	case *ast.TypeSwitchStmt:
		return r.with(s.Init, &program.Node{Kind: program.Switch, On: r.stmt(s.Assign), Args: r.cases(s.Body), Range: at})
	case *ast.SelectStmt:
		return &program.Node{Kind: program.Switch, Args: r.cases(s.Body), Range: at}
	}
	return nil
}

func (r *reader) cases(body *ast.BlockStmt) []*program.Node {
	var out []*program.Node
	if body == nil {
		return nil
	}
	for _, s := range body.List {
		at := r.span(s)
		n := &program.Node{Kind: program.Case, Range: at, Then: &program.Node{Kind: program.Block, Range: at}}
		switch s := s.(type) {
		case *ast.CaseClause:
			n.Args, n.Then.Args = r.exprs(s.List...), r.list(s.Body)
		case *ast.CommClause:
			n.Args, n.Then.Args = r.list([]ast.Stmt{s.Comm}), r.list(s.Body)
		default:
			continue
		}
		out = append(out, n)
	}
	return out
}

func (r *reader) assign(s *ast.AssignStmt) *program.Node {
	n := &program.Node{Kind: program.Assign, Text: s.Tok.String(), Declare: s.Tok == token.DEFINE, Range: r.span(s)}
	if n.Declare {
		n.Text = "="
	}
	if len(s.Lhs) == 1 {
		n.On = r.expr(s.Lhs[0])
	} else {
		n.On = &program.Node{Kind: program.List, Args: r.exprs(s.Lhs...), Range: n.Range}
	}
	switch {
	case len(s.Rhs) == 1 && len(s.Lhs) > 0:
		name := ""
		if id, ok := s.Lhs[0].(*ast.Ident); ok {
			name = id.Name
		}
		n.Args = []*program.Node{r.bound(name, s.Rhs[0])}
	case len(s.Rhs) > 1:
		n.Args = []*program.Node{{Kind: program.List, Args: r.exprs(s.Rhs...), Range: n.Range}}
	}
	return n
}
