package golang

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/rescind/rescind/lint/program"
)

func parse(t *testing.T, source string) *program.File {
	t.Helper()
	f, err := Frontend{}.Parse(t.Context(), "app/main.go", []byte(source))
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// shape writes a tree as text: kind, text, and what is beneath in parentheses.
func shape(n *program.Node) string {
	out := string(n.Kind)
	if n.Text != "" {
		out += " " + n.Text
	}
	if n.Type != "" {
		out += ":" + n.Type
	}
	var inner []string
	n.Children(func(c *program.Node) { inner = append(inner, shape(c)) })
	if len(inner) > 0 {
		out += "(" + strings.Join(inner, ", ") + ")"
	}
	return out
}

func TestStatementsAndExpressions(t *testing.T) {
	for source, want := range map[string]string{
		`a.b.c("x", 1_000)`:            `call(member c(member b(name a)), string x, number 1000)`,
		`_, err := f()`:                `assign =(list(name _, name err), call(name f))`,
		`x = &T{A: 1, B: "b"}`:         `assign =(name x, object:T(number 1, string b))`,
		`m := map[string]any{"k": v}`:  `assign =(name m, object:map(name v))`,
		`s := []int{1, 2}`:             `assign =(name s, list:list(number 1, number 2))`,
		`m["k"] = true`:                `assign =(member k(name m), bool true)`,
		`delete(m, k)`:                 `call(name delete, name m, name k)`,
		`var x *store.Store`:           `other(assign =:store.Store(name x))`,
		`if err := f(); err != nil {}`: `block(assign =(name err, call(name f)), if(operator !=(name err, null), block))`,
		`for i := range 3 { f(i) }`:    `loop(assign =(list(name i), index(number 3)), block(call(name f, name i)))`,
		`switch x { case 1: f() }`:     `switch(name x, case(number 1, block(call(name f))))`,
		`go f(); defer g()`:            `call(name f); call(name g)`,
		`return string(b), c.(T)`:      `return(name b, name c)`,
		`x++`:                          `assign +=(name x, number 1)`,
		`f(xs...)`:                     `call(name f, spread(name xs))`,
		`h(func() { k() })`:            `call(name h, func(block(call(name k))))`,
		`<-done; ch <- 1`:              `operator <-(name done); operator <-(name ch, number 1)`,
		`select { case <-c: f() }`:     `switch(case(operator <-(name c), block(call(name f))))`,
		`x := a[1:2]`:                  `assign =(name x, index(name a, number 1, number 2))`,
	} {
		f := parse(t, "package p\nfunc f() {\n"+source+"\n}\n")
		var got []string
		for _, n := range f.Body.Args[0].Func.Body.Args {
			got = append(got, shape(n))
		}
		if strings.Join(got, "; ") != want {
			t.Errorf("%s\n got %s\nwant %s", source, strings.Join(got, "; "), want)
		}
	}
}

func TestTypesAndMethods(t *testing.T) {
	f := parse(t, `package p
import ("net/http"; jwt "github.com/golang-jwt/jwt/v5"; "github.com/redis/go-redis/v9"; . "x/y"; _ "z")
type Server struct { http.Handler; db *redis.Client; seen map[string]bool }
type Revoker interface { Revoke(id string) error }
func (s *Server) Logout(w http.ResponseWriter, r *http.Request) { s.db.Del(r.Context(), "x"); func(s int) { _ = s }(1) }
func New(db *redis.Client) (*Server, error) { return &Server{nil, db, nil}, nil }
`)
	var imports []string
	for _, i := range f.Imports {
		imports = append(imports, i.Local+"="+i.Module)
	}
	want := []string{"http=net/http", "jwt=github.com/golang-jwt/jwt/v5", "redis=github.com/redis/go-redis/v9", "=x/y"}
	if !slices.Equal(imports, want) {
		t.Errorf("imports %q, want %q", imports, want)
	}
	server, revoker := f.Body.Args[0].Class, f.Body.Args[1].Class
	if fields := fmt.Sprint(server.Fields[0].Name, server.Fields[1].Type, server.Fields[2].Type); fields != "Handler redis.Client map" && fields != "Handlerredis.Clientmap" {
		t.Errorf("fields: %s", fields)
	}
	if len(server.Bases) != 1 || !revoker.Interface || revoker.Method("Revoke") == nil || revoker.Method("Revoke").Body != nil {
		t.Error("bases and interfaces are not understood")
	}
	logout := server.Method("Logout")
	if logout == nil || logout.Params[1].Type != "http.Request" {
		t.Fatal("the method is not its type's")
	}
	if got := shape(logout.Body.Args[0]); got != "call(member Del(member db(this)), call(member Context(name r)), string x)" {
		t.Errorf("the receiver is %s", got)
	}
	if got := shape(logout.Body.Args[1]); strings.Contains(got, "this") {
		t.Errorf("a parameter of the receiver's name is taken for it: %s", got)
	}
	made := f.Body.Args[2].Func
	if object := made.Body.Args[0].Args[0]; made.Result != "Server" || object.Field("db") == nil {
		t.Errorf("a literal without keys: %s", shape(object))
	}
}

func TestRoutes(t *testing.T) {
	for source, want := range map[string]string{
		`http.HandleFunc("/logout", h)`:                                  ` /logout [h]`,
		`mux.Handle("POST example.com/logout", guard(h))`:                `POST /logout [guard]`,
		`r.POST("/auth/logout", mw, h.Logout)`:                           `POST /auth/logout [mw h.Logout]`,
		`r.Post(prefix+"/logout", h)`:                                    `POST /logout [h]`,
		`r.Method("DELETE", "/session", h)`:                              `DELETE /session [h]`,
		`r.Use(auth, log)`:                                               `USE  [auth log]`,
		`r.Group("/api", auth)`:                                          `USE /api [auth]`,
		`router.HandleFunc("/logout", h).Methods("POST")`:                ` /logout [h]`,
		`http.Get("https://example.com/logout")`:                         ``,
		`client.Get("/logout")`:                                          ``,
		`cache.Delete("logout", x)`:                                      ``,
		`r.With(auth).Get("/me", func(w http.ResponseWriter, r *R) { })`: `USE  [auth]; GET /me [func]`,
	} {
		f := parse(t, "package p\nfunc f() {\n"+source+"\n}\n")
		var got []string
		for _, r := range f.Routes {
			var handlers []string
			for _, h := range r.Handlers {
				name := strings.Join(program.Written(h), ".")
				if name == "" {
					name = string(h.Kind)
				}
				handlers = append(handlers, name)
			}
			got = append(got, r.Method+" "+r.Path+" ["+strings.Join(handlers, " ")+"]")
		}
		slices.SortFunc(got, func(a, b string) int { return strings.Compare(b, a) })
		if strings.Join(got, "; ") != want {
			t.Errorf("%s\n got %q\nwant %q", source, strings.Join(got, "; "), want)
		}
	}
	echo := parse(t, "package p\nimport \"github.com/labstack/echo/v4\"\nfunc f(e *echo.Echo) { e.POST(\"/logout\", h, mw) }\n")
	if h := echo.Routes[0].Handlers; len(h) != 2 || h[1].Text != "h" {
		t.Error("echo's handler stands first")
	}
}

// TestBrokenSourceIsReadAsFarAsItGoes: lines and columns are right, and errors few.
func TestBrokenSourceIsReadAsFarAsItGoes(t *testing.T) {
	f := parse(t, "package p\n\n//line elsewhere.go:900\nfunc Logout() {\n\tend()\n}\nfunc (((\n"+strings.Repeat(")\n", 100))
	if len(f.Errors) == 0 || len(f.Errors) > maxErrors {
		t.Errorf("%d errors", len(f.Errors))
	}
	fn := f.Body.Args[0].Func
	if fn.NameRange.Start.Line != 4 || fn.NameRange.Start.Column != 6 || string(f.Source[fn.NameRange.Start.Offset:fn.NameRange.End.Offset]) != "Logout" {
		t.Errorf("Logout is at %+v", fn.NameRange)
	}
	if f.Comments[0].Text != "line elsewhere.go:900" {
		t.Errorf("comments %+v", f.Comments)
	}
	deep := parse(t, "package p\nvar x = "+strings.Repeat("(", 3000)+"1"+strings.Repeat(")", 3000)+"\n")
	if len(deep.Errors) != 1 || !strings.Contains(deep.Errors[0].Message, "deep") {
		t.Errorf("deep nesting: %+v", deep.Errors)
	}
}

// files is a tree for Resolve.
type files struct {
	names   []string
	configs map[string]string
}

func (f files) Has(name string) bool { return slices.Contains(f.names, name) }

func (f files) Files(dir string) []string {
	return slices.DeleteFunc(slices.Clone(f.names), func(n string) bool { return n[:max(strings.LastIndexByte(n, '/'), 0)] != dir })
}

func (f files) Config(name string) []byte { return []byte(f.configs[name]) }

func TestPackagesOfTheModuleAreFound(t *testing.T) {
	tree := files{
		names:   []string{"/src/cmd/main.go", "/src/auth/auth.go", "/src/auth/more.go", "/src/auth/auth_test.go", "/src/auth/readme.py"},
		configs: map[string]string{"/src/go.mod": "// a module\nmodule example.com/app // its name\n\ngo 1.26\n"},
	}
	from := &program.File{Path: "/src/cmd/main.go", Language: program.Go}
	for module, want := range map[string][]string{
		"example.com/app/auth": {"/src/auth/auth.go", "/src/auth/more.go"}, "example.com/apple/auth": nil, "net/http": nil, "example.com/app/none": {},
	} {
		if got := (Frontend{}).Resolve(tree, from, module); !slices.Equal(got, want) {
			t.Errorf("%s: %q, want %q", module, got, want)
		}
	}
	if got := (Frontend{}).Resolve(files{}, from, "example.com/app/auth"); got != nil {
		t.Errorf("without go.mod: %q", got)
	}
}

// FuzzParse: no text makes the front-end panic, and no node lies outside of the file.
func FuzzParse(f *testing.F) {
	f.Add("package p\nfunc f(w http.ResponseWriter) { x, _ := a.b[c](func() {}); m[\"k\"] = T{1, K: 2} }\n")
	f.Add("package p\n//line x:1\ntype T struct{ *a.B; C map[string][]int }\nfunc (t *T[K]) M() { select { case x := <-c: } }\n")
	f.Add("package")
	f.Fuzz(func(t *testing.T, source string) {
		file, err := Frontend{}.Parse(t.Context(), "a.go", []byte(source))
		if err != nil {
			return
		}
		program.Walk(file.Body, func(n *program.Node) bool {
			if n.Range.Start.Offset < 0 || n.Range.End.Offset > len(source) {
				t.Fatalf("%s at %+v of %d bytes", n.Kind, n.Range, len(source))
			}
			return true
		})
	})
}
