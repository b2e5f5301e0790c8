package python

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/rescind/rescind/lint/program"
	"github.com/rescind/rescind/lint/syntax"
)

func newFrontend(t testing.TB) *Frontend {
	t.Helper()
	parser := syntax.NewParser(syntax.Limits{})
	t.Cleanup(func() {
		if err := parser.Close(context.Background()); err != nil {
			t.Error(err)
		}
	})
	return New(parser)
}

func parse(t testing.TB, f *Frontend, path, source string) *program.File {
	t.Helper()
	file, err := f.Parse(t.Context(), path, []byte(source))
	if err != nil {
		t.Fatal(err)
	}
	return file
}

// show writes a node on one line, as the tests state what they want.
func show(n *program.Node) string {
	if n == nil {
		return "-"
	}
	list := func(nodes []*program.Node) string {
		var all []string
		for _, n := range nodes {
			all = append(all, show(n))
		}
		return strings.Join(all, " ")
	}
	var parts []string
	part := func(format string, args ...any) { parts = append(parts, fmt.Sprintf(format, args...)) }
	switch n.Kind {
	case program.Name, program.Number, program.Bool:
		return n.Text
	case program.This, program.Super, program.Null:
		return string(n.Kind)
	case program.String:
		return fmt.Sprintf("%q", n.Text)
	case program.Member:
		return show(n.On) + "." + n.Text
	}
	if n.Text != "" {
		part("%s", n.Text)
	}
	if n.Declare {
		part("new")
	}
	if n.Await {
		part("await")
	}
	if n.Type != "" {
		part("type=%s", n.Type)
	}
	if n.On != nil {
		part("on=%s", show(n.On))
	}
	if len(n.Args) > 0 {
		part("%s", list(n.Args))
	}
	for _, f := range n.Fields {
		part("%s:%s", f.Key, show(f.Value))
	}
	if n.Then != nil {
		part("then=%s", show(n.Then))
	}
	if n.Else != nil {
		part("else=%s", show(n.Else))
	}
	if n.Func != nil {
		part("%s", function(n.Func))
	}
	if n.Class != nil {
		part("%s bases=[%s]", n.Class.Name, list(n.Class.Bases))
		for _, f := range n.Class.Fields {
			part("field %s %s=%s", f.Name, f.Type, show(f.Default))
		}
		for _, m := range n.Class.Methods {
			part("method %s", function(m))
		}
	}
	return strings.TrimSpace(string(n.Kind) + "(" + strings.Join(parts, " ") + ")")
}

func function(f *program.Function) string {
	var params []string
	for _, p := range f.Params {
		text := p.Name
		if p.Type != "" {
			text += ":" + p.Type
		}
		if p.Default != nil {
			text += "=" + show(p.Default)
		}
		if p.Pattern != nil {
			text += show(p.Pattern)
		}
		params = append(params, text)
	}
	static := ""
	if f.Static {
		static = "static "
	}
	return fmt.Sprintf("%s%s[%s]%s %s", static, f.Name, strings.Join(params, ","), f.Result, show(f.Body))
}

func TestStatementsAndExpressions(t *testing.T) {
	f := newFrontend(t)
	for _, c := range []struct{ source, want string }{
		{"x = f(1, *a, k=2, **m)", "assign(= new on=x call(on=f 1 spread(a) k:2 :spread(m)))"},
		{"x: T = 1", "assign(= new type=T on=x 1)"},
		{"x.y = 1", "assign(= on=x.y 1)"},
		{"x['y'] = z[i]", "assign(= on=x.y index(on=z i))"},
		{"x += 1", "assign(+= on=x 1)"},
		{"a, *b = c", "assign(= new on=list(a spread(b)) c)"},
		{"a = b = c", "assign(= new on=a assign(= new on=b c))"},
		{"del s[t], u", "operator(delete index(on=s t) u)"},
		{"return await g()", "return(call(await on=g))"},
		{"not a and b or c", "operator(|| operator(&& operator(! a) b) c)"},
		{"a is not None", "operator(!= a null)"},
		{"a < b <= c", "operator(&& operator(< a b) operator(<= b c))"},
		{"jti not in blocklist", "operator(not in jti blocklist)"},
		{"-x + y", "operator(+ operator(- x) y)"},
		{"x = y if z else w", "assign(= new on=x if(on=z then=y else=w))"},
		{`x = f"a{b!r:>{w}}c" "d"`, `assign(= new on=x template("a" b "cd"))`},
		{`x = "a\n" 'b'`, `assign(= new on=x "a\nb")`},
		{`x = b"a"`, `assign(= new on=x "a")`},
		{`{"k": 1, k: 2, **a}`, "object(k:1 :2 :spread(a))"},
		{"[a for b in c if d]", "other(loop(on=assign(= new on=b c) then=block(if(on=d then=block(a)))))"},
		{"(n := 3)", "assign(= new on=n 3)"},
		{"lambda x, y=1: x", "func([x,y=1] block(return(x)))"},
		{"yield x", "return(x)"},
		{"1_000", "1000"},
		{"True", "true"},
		{"pass", ""},
		{"raise X from e", "throw(X e)"},
		{"if a: b\nelif c: d\nelse: e", "if(on=a then=block(b) else=if(on=c then=block(d) else=block(e)))"},
		{"for i in k: b", "loop(on=assign(= new on=i k) then=block(b))"},
		{"while a: break", "loop(on=a then=block(jump(break)))"},
		{"with open(x) as f, y: z", "block(assign(= new on=f call(on=open x)) y block(z))"},
		{"try: a\nexcept (A, B) as e: b\nexcept: c\nfinally: d", "try(case(e list(A B) then=block(b)) case(then=block(c)) then=block(a) else=block(d))"},
		{"try: a\nexcept A: pass\nelse: q", "try(case(A then=block()) then=block(a)) block(q)"},
		{"try: a\nexcept A: pass\nelse: q\nfinally: z", "try(then=block(try(case(A then=block()) then=block(a)) block(q)) else=block(z))"},
		{"match x:\n  case {'a': 1}: y\n  case _: z", `switch(on=x case(other(other("a" other(1))) then=block(y)) case(then=block(z)))`},
		{"def f(a, b: int = 3, *args, k: Optional[X] = None, **kw) -> T | None: return a", "func(f[a,b:int=3,args,k:X=null,kw]T block(return(a)))"},
		{"def f(u: Annotated[User, Depends(g)]): pass", "func(f[u:User=call(on=Depends g)] block())"},
		{"U = Annotated[User, Depends(g)]\ndef f(u: U): pass", "assign(= new on=U index(on=Annotated User call(on=Depends g))) func(f[u:User=call(on=Depends g)] block())"},
		{"def f(u: 'Optional[models.User]'): pass", "func(f[u:models.User] block())"},
		{"class C(A, m=B):\n  z = 1\n  def __init__(self, s): self.s = s\n  @classmethod\n  def q(cls): return cls.z\n  @staticmethod\n  def r(a): return a",
			"class(C bases=[A] field z =1 method constructor[s] block(assign(= on=this.s s)) method q[] block(return(this.z)) method static r[a] block(return(a)))"},
		{"class C:\n  def m(self):\n    def inner(self2): return self\n    return inner", "class(C bases=[] method m[] block(func(inner[self2] block(return(this))) return(inner)))"},
		{"class C(B):\n  def m(self): super().m(1)", "class(C bases=[B] method m[] block(call(on=super.m 1)))"},
		{"class C:\n  if X:\n    def m(self): pass", "class(C bases=[] method m[] block())"},
		{"def f():\n  global g\n  g = 1", "func(f[] block(assign(= on=g 1)))"},
	} {
		file := parse(t, f, "a.py", c.source)
		var got []string
		for _, s := range file.Body.Args {
			got = append(got, show(s))
		}
		if text := strings.Join(got, " "); text != c.want {
			t.Errorf("%s\n got %s\nwant %s", c.source, text, c.want)
		}
		if len(file.Errors) > 0 {
			t.Errorf("%s: %v", c.source, file.Errors)
		}
	}
}

func TestImportsCommentsAndPlaces(t *testing.T) {
	file := parse(t, newFrontend(t), "a.py", `"""The module."""
import jwt, a.b, c.d as e  # why
from . import tokens
from ..x . y import z as w, v
from q import *
def f():
    "What f does."
    import late
`)
	var got []string
	for _, i := range file.Imports {
		got = append(got, i.Local+" "+i.Module+" "+i.Symbol)
	}
	want := []string{"jwt jwt *", "a a *", "e c.d *", "tokens . tokens", "w ..x.y z", "v ..x.y v", " q *", "late late *"}
	if !slices.Equal(got, want) {
		t.Errorf("imports %q, want %q", got, want)
	}
	got = nil
	for _, c := range file.Comments {
		got = append(got, fmt.Sprintf("%d:%d %s", c.Range.Start.Line, c.Range.Start.Column, c.Text))
	}
	if want := []string{"1:1 The module.", "2:28 why", "7:5 What f does."}; !slices.Equal(got, want) {
		t.Errorf("comments %q, want %q", got, want)
	}
	f := file.Body.Args[len(file.Body.Args)-1].Func
	if f.NameRange.Start != (program.Pos{Offset: 122, Line: 6, Column: 5}) {
		t.Errorf("f stands at %+v", f.NameRange)
	}
}

func TestRoutes(t *testing.T) {
	f := newFrontend(t)
	for _, c := range []struct {
		source string
		want   []string
	}{
		{"@app.route('/logout', methods=['POST'])\n@jwt_required()\ndef logout(): pass", []string{"POST /logout app: call(on=jwt_required) logout"}},
		{"@jwt_required()\n@app.get('/me')\ndef me(): pass", []string{"GET /me app: me"}},
		{"@app.route('/x', methods=['POST', 'GET'])\ndef x(): pass", []string{" /x app: x"}},
		{"api = Blueprint('api', __name__, url_prefix='/api')\n@api.delete('/s')\ndef s(): pass", []string{"DELETE /api/s api: s"}},
		{"app.post('/logout')(rescind.logout)", []string{"POST /logout app: rescind.logout"}},
		{"api.before_request(tokens.required)", []string{"USE  api: tokens.required"}},
		{"@app.before_request\ndef check(): pass", []string{"USE  app: check"}},
		{"app.register_blueprint(api, url_prefix='/v1')", []string{"USE /v1 app: api"}},
		{"app.add_url_rule('/out', view_func=LogoutView.as_view('logout'))", []string{" /out app: LogoutView"}},
		{"api.add_resource(Logout, '/logout', '/signout')", []string{" /logout api: Logout", " /signout api: Logout"}},
		{"r = APIRouter(prefix='/auth', dependencies=[Depends(user)])\n@r.post('/logout', dependencies=[Depends(csrf)])\nasync def out(u: User = Depends(current)): pass",
			[]string{"USE  r: user", "POST /auth/logout r: csrf current out"}},
		{"app.include_router(auth.router, prefix='/auth')", []string{"USE /auth app: auth.router"}},
		{"@app.middleware('http')\nasync def m(request, call_next): pass", []string{"USE  app: m"}},
		{"urlpatterns = [path('logout/', csrf_exempt(views.LogoutView.as_view())), re_path(r'^out/$', views.out), path('x/', include('x.urls'))]",
			[]string{" /logout -: csrf_exempt views.LogoutView", " /out -: views.out"}},
		{"class V(ViewSet):\n  @action(detail=False, methods=['post'])\n  def logout(self, request): pass", []string{"POST /logout -: logout"}},
		{"@blp.route('/logout')\nclass Logout(MethodView):\n  @jwt_required()\n  def post(self): pass\n  def other(self): pass", []string{"POST /logout blp: call(on=jwt_required) post"}},
		{"class V:\n  @cherrypy.expose\n  def logout(self): pass", []string{" /logout cherrypy: logout"}},
		{"app.router.add_post('/logout', logout)", []string{"POST /logout app.router: logout"}},
		{"app.add_routes([web.post('/logout', logout)])", []string{"POST /logout web: logout"}},
		{"routes = [Route('/logout', logout, methods=['POST'])]", []string{"POST /logout -: logout"}},
		{"@mock.patch('os.path')\ndef test(): pass", nil},
		{"x = d.get('/a')", nil},
	} {
		var got []string
		for _, r := range parse(t, f, "a.py", c.source).Routes {
			line := r.Method + " " + r.Path + " " + show(r.Router) + ":"
			for _, h := range r.Handlers {
				if h.Func != nil {
					line += " " + h.Func.Name
				} else {
					line += " " + show(h)
				}
			}
			got = append(got, line)
		}
		if !slices.Equal(got, c.want) {
			t.Errorf("%s\n got %q\nwant %q", c.source, got, c.want)
		}
	}
}

type tree []string

func (t tree) Has(path string) bool  { return slices.Contains(t, path) }
func (t tree) Files(string) []string { return nil }
func (t tree) Config(string) []byte  { return nil }

func TestResolve(t *testing.T) {
	files := tree{"src/app/__init__.py", "src/app/jwt.py", "src/app/auth/__init__.py", "src/app/auth/views.py", "src/app/auth/jwt.py", "src/tokens.py", "flat/app.py", "flat/tokens.py", "flat/jwt.py", "ns/core/security.py", "ns/api/login.py"}
	for _, c := range []struct {
		from, module string
		want         []string
	}{
		{"src/app/auth/views.py", ".jwt", []string{"src/app/auth/jwt.py"}},
		{"src/app/auth/views.py", "..jwt", []string{"src/app/jwt.py"}},
		{"src/app/auth/views.py", ".", []string{"src/app/auth/__init__.py"}},
		{"src/app/auth/views.py", "..auth", []string{"src/app/auth/__init__.py"}},
		{"src/app/auth/views.py", "app.auth.jwt", []string{"src/app/auth/jwt.py"}},
		{"src/app/auth/views.py", "tokens", []string{"src/tokens.py"}},
		{"src/app/auth/views.py", "jwt", nil}, // the library: a package's own modules need a dot or its name
		{"src/app/auth/jwt.py", "jwt", nil},
		{"flat/jwt.py", "jwt", nil},
		{"flat/app.py", "tokens", []string{"flat/tokens.py"}},
		{"ns/api/login.py", "ns.core.security", []string{"ns/core/security.py"}},
		{"ns/api/login.py", "core.security", []string{"ns/core/security.py"}},
		{"flat/app.py", "flask", nil},
	} {
		got := (*Frontend)(nil).Resolve(files, &program.File{Path: c.from}, c.module)
		if !slices.Equal(got, c.want) {
			t.Errorf("%s in %s: %q, want %q", c.module, c.from, got, c.want)
		}
	}
}

func TestBrokenSourceIsReadAsFarAsItGoes(t *testing.T) {
	file := parse(t, newFrontend(t), "a.py", "def logout():\n    session.clear()\n\nx = = (\n\ndef other(): pass\n")
	if len(file.Errors) == 0 {
		t.Error("no error is told of")
	}
	var names []string
	program.Walk(file.Body, func(n *program.Node) bool {
		if n.Func != nil {
			names = append(names, n.Func.Name)
		}
		return true
	})
	if !slices.Contains(names, "logout") {
		t.Errorf("functions %q", names)
	}
}

func TestDepthIsBounded(t *testing.T) {
	f := newFrontend(t)
	for _, source := range []string{
		strings.Repeat("(", 1500) + "x" + strings.Repeat(")", 1500),
		strings.Repeat("[", 1500) + strings.Repeat("]", 1500),
		"x = " + strings.Repeat("not ", 1500) + "y",
		"x = a" + strings.Repeat(" + a", 1500),
		"x = a" + strings.Repeat(".b()", 900),
		"if a: b\n" + strings.Repeat("elif a: b\n", 2000),
	} {
		file := parse(t, f, "a.py", source)
		if deepest(file.Body) > program.MaxDepth {
			t.Errorf("%.30s…: %d nodes deep", source, deepest(file.Body))
		}
		if len(file.Errors) == 0 {
			t.Errorf("%.30s…: nobody is told that something was left out", source)
		}
	}
}

func deepest(n *program.Node) int {
	most := 0
	n.Children(func(child *program.Node) { most = max(most, deepest(child)) })
	return most + 1
}

// A node that stands in two places would be judged in the wrong one.
func TestEachNodeStandsOnce(t *testing.T) {
	paths, err := filepath.Glob("../../examples/flask/*/*.py")
	if err != nil || len(paths) < 3 {
		t.Fatal(paths, err)
	}
	f := newFrontend(t)
	for _, path := range paths {
		source, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		once(t, parse(t, f, path, string(source)).Body)
	}
	once(t, parse(t, f, "a.py", "try: a\nexcept A: pass\nelse: q\nfinally: z\nx = a < b < c").Body)
}

func once(t *testing.T, root *program.Node) {
	t.Helper()
	seen := map[*program.Node]bool{}
	program.Walk(root, func(n *program.Node) bool {
		if seen[n] {
			t.Errorf("%s twice, at line %d", show(n), n.Range.Start.Line)
		}
		seen[n] = true
		return true
	})
}

func FuzzParse(f *testing.F) {
	for _, seed := range []string{"", "@a.route('/')\ndef f(self, *, a=b): pass", "class A(B):\n x: int = 1", "f'{a}{'", "try:\n", "match a:\n case", "@\n", "def", "import", "from . import", "with a as", "lambda *: 0", "\x00\xff", "x[", "except:"} {
		f.Add(seed)
	}
	front := newFrontend(f)
	f.Fuzz(func(t *testing.T, source string) {
		file, err := front.Parse(t.Context(), "a.py", []byte(source))
		if err != nil {
			return
		}
		program.Walk(file.Body, func(n *program.Node) bool {
			if n.Range.Start.Offset > n.Range.End.Offset || n.Range.End.Offset > len(source) {
				t.Errorf("%s lies at %+v of %d bytes", n.Kind, n.Range, len(source))
			}
			return true
		})
		program.Link([]*program.File{file}, tree{}, front)
	})
}
