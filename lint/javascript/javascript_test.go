package javascript

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/rescind/rescind/lint/program"
	"github.com/rescind/rescind/lint/syntax"
)

// shared compiles its parser once: that takes its time under the race detector.
var shared = syntax.NewParser(syntax.Limits{})

func TestMain(m *testing.M) {
	code := m.Run()
	if err := shared.Close(context.Background()); err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = max(code, 1)
	}
	os.Exit(code)
}

func parse(t testing.TB, f *Frontend, path, source string) *program.File {
	t.Helper()
	file, err := f.Parse(t.Context(), path, []byte(source))
	if err != nil {
		t.Fatalf("%.100s: %v", source, err)
	}
	return file
}

// show writes a node as the tables below have it: what it is, then its parts.
func show(n *program.Node) string {
	if n == nil {
		return "-"
	}
	switch n.Kind {
	case program.Name, program.Number, program.Bool:
		return n.Text
	case program.This, program.Super, program.Null, program.Jump:
		return string(n.Kind)
	case program.String:
		return fmt.Sprintf("%q", n.Text)
	case program.Member:
		return show(n.On) + "." + n.Text
	case program.Func:
		return function(n.Func)
	case program.Type:
		return class(n.Class)
	}
	words := []string{string(n.Kind)}
	for _, is := range []struct {
		word string
		set  bool
	}{{n.Text, n.Text != ""}, {"declare", n.Declare}, {":" + n.Type, n.Type != ""}, {"new", n.New}, {"await", n.Await}} {
		if is.set {
			words = append(words, is.word)
		}
	}
	if n.On != nil {
		words = append(words, show(n.On))
	}
	words = append(words, shown(n.Args)...)
	for _, f := range n.Fields {
		words = append(words, f.Key+":"+show(f.Value))
	}
	if n.Then != nil {
		words = append(words, "then", show(n.Then))
	}
	if n.Else != nil {
		words = append(words, "else", show(n.Else))
	}
	return "(" + strings.Join(words, " ") + ")"
}

func shown(nodes []*program.Node) []string {
	var all []string
	for _, n := range nodes {
		all = append(all, show(n))
	}
	return all
}

func variable(p program.Param) string {
	s := strings.Join(append(shown(p.Decorators), p.Name), "@")
	if p.Type != "" {
		s += ":" + p.Type
	}
	if p.Pattern != nil {
		s += show(p.Pattern)
	}
	if p.Default != nil {
		s += "=" + show(p.Default)
	}
	return s
}

func function(f *program.Function) string {
	var params []string
	for _, p := range f.Params {
		params = append(params, variable(p))
	}
	s := strings.Join(append(shown(f.Decorators), f.Name), "@") + "[" + strings.Join(params, ",") + "]" + f.Result
	if f.Static {
		s = "static " + s
	}
	if f.Body != nil {
		s += "{" + strings.Join(shown(f.Body.Args), "; ") + "}"
	}
	return s
}

func class(c *program.Class) string {
	s := strings.Join(append(shown(c.Decorators), "class "+c.Name), "@")
	if c.Interface {
		s = "interface " + c.Name
	}
	if len(c.Bases) > 0 {
		s += " of " + strings.Join(shown(c.Bases), ", ")
	}
	var members []string
	for _, f := range c.Fields {
		members = append(members, variable(f))
	}
	for _, m := range c.Methods {
		members = append(members, function(m))
	}
	return s + "{" + strings.Join(members, "; ") + "}"
}

func TestStatementsAndExpressions(t *testing.T) {
	f := New(shared)
	for _, c := range []struct{ source, want string }{
		{"f(1, ...a)", "(call f 1 (spread a))"},
		{"await (a?.b)!['c'].d(x as T)", "(call await a.b.c.d x)"},
		{"a[b]", "(index a b)"},
		{"new A.B", "(call new A.B)"},
		{"(0, a.b)(`x`)", `(call a.b "x")`},
		{"`x${a}y`", `(template "x" a "y")`},
		{"sql`select ${a}`", `(call sql (template "select " a))`},
		{`'a\n\x41\u{1F600}\'\\'`, `"a\nA😀'\\"`},
		{"1_000n; -2; 0x1F", "1000 -2 0x1F"},
		{"x = void 0", "(assign = x null)"},
		{"a === undefined || !b", "(operator || (operator == a null) (operator ! b))"},
		{"a ?? b && c", "(operator ?? a (operator && b c))"},
		{"delete a.b", "(operator delete a.b)"},
		{"a ? b : null", "(if a then b else null)"},
		{"a ||= b; c += 1", "(assign ||= a b) (assign += c 1)"},
		{"({ a, b: 1, 'c': 2, [d]: 3, ['e']: 4, ...f, g() {}, async h() {}, i: () => 1 })",
			"(object a:a b:1 c:2 :3 e:4 :(spread f) g:g[]{} h:h[]{} i:i[]{(return 1)})"},
		{"[, a, ...b]", "(list (other) a (spread b))"},
		{"const { a, b: c = 1, ...d } = e, f = 2", "(assign = declare (object a:a b:(assign = c 1) :(spread d)) e) (assign = declare f 2)"},
		{"let x: Repository<User> | null", "(assign = declare :Repository x)"},
		{"const g = async ({ a }, [b], c = 1, ...d) => c", "(assign = declare g g[(object a:a),(list b),c=1,d]{(return c)})"},
		{"const out = wrap(async (q, s) => {})", "(assign = declare out (call wrap out[q,s]{}))"},
		{"function f(this: X, a?: Promise<A.B>): Promise<C | undefined> { return }", "f[a:A.B]C{(return)}"},
		{"const v = promisify(jwt.verify)", "(assign = declare v jwt.verify)"},
		{"const end = util.promisify((q, cb) => q.session.destroy(cb))", "(assign = declare end end[q,cb]{(return (call q.session.destroy cb))})"},
		{"const s = Container.get(Service), t = this.moduleRef.get(T, { strict: false }), u = map.get(U), v = container.get('v')",
			`(assign = declare s (call new Service)) (assign = declare t (call new T)) (assign = declare u (call map.get U)) (assign = declare v (call container.get "v"))`},
		{"fastify.decorate('authenticate', async (request, reply) => {})", `(call fastify.decorate "authenticate" authenticate[request,reply]{})`},
		{"if (a) b(); else if (c) { d() } else e()", "(if a then (block (call b)) else (block (if c then (block (call d)) else (block (call e)))))"},
		{"for (const [k, v] of await m()) f(k)", "(loop (assign = declare (list k v) (call await m)) then (block (call f k)))"},
		{"for (x in y) break", "(loop (assign = x y) then (block jump))"},
		{"for (let i = 0; i < 2; i++) a()", "(loop (operator < i 2) (assign = declare i 0) (operator ++ i) then (block (call a)))"},
		{"for (;;) {} while (a) b(); do c(); while (d)", "(loop then (block)) (loop a then (block (call b))) (loop d then (block (call c)))"},
		{"switch (a) { case 1: b(); break; default: c() }", "(switch a (case 1 then (block (call b) jump)) (case then (block (call c))))"},
		{"try { a() } catch (e) { b(e) } finally { c() }", "(try (case e then (block (call b e))) then (block (call a)) else (block (call c)))"},
		{"try { a() } catch { next() }", "(try (case then (block (call next))) then (block (call a)))"},
		{"throw new E('x')", `(throw (call new E "x"))`},
		{"out: { continue out }", "(block jump)"},
		{"function* f() { yield a }", "f[]{(return a)}"},
		{"a().then(x => b).catch(() => next())", "(call (call (call a).then [x]{(return b)}).catch []{(return (call next))})"},
		{"class A extends B(C) implements D.E<F> { #p = 1; q: Q; r = async () => {}; static s() {}; set t(v) {} constructor(private readonly u: U, v?: V, @I(W) protected w: W) { super(u) } }",
			"class A of (call B C), D.E{#p=1; q:Q; u:U; w:W; r[]{}; static s[]{}; constructor[u:U,v:V,(call I W)@w:W]{(call super u)}}"},
		{"@M() class A { @P('x') @G(H) m(@B() b: C): Promise<void> {} @F() f: T }", `(call M)@class A{(call F)@f:T; (call P "x")@(call G H)@m[(call B)@b:C]{}}`},
		{"interface I extends J<K> { a(b: string): Promise<X>; c: D }", "interface I of J{c:D; a[b]X}"},
		{"abstract class A { abstract m(): B; n() {} }", "class A{m[]B; n[]{}}"},
		{"enum E { A = 'x', B }", `(assign = declare E (object A:"x" B:(other)))`},
		{"namespace N { a() }", "(block (call a))"},
		{"type A = B; declare module 'x' {}; import type { T } from './t'", ""},
		{"function f(a: string): void; function f(a) { b() }", "f[a]{(call b)}"},
		{"/x/.test(a)", "(call -.test a)"},
		{"tick = setInterval(() => {}, 5)", "(assign = tick (call setInterval []{} 5))"},
	} {
		file := parse(t, f, "a.ts", c.source)
		if got := strings.Join(shown(file.Body.Args), " "); got != c.want {
			t.Errorf("%s\n got %s\nwant %s", c.source, got, c.want)
		}
		if len(file.Errors) > 0 {
			t.Errorf("%s: %v", c.source, file.Errors)
		}
	}
	if styled := parse(t, f, "a.tsx", "const A = styled.div<{ $x: boolean }>`color: ${p => p.x}`; const B = styled(C)<D>`e`"); len(styled.Errors) > 0 {
		t.Errorf("templates with types: %+v", styled.Errors)
	}
	jsx := parse(t, f, "a.jsx", "const a = <b c={() => d()}>{e && <f/>}</b>")
	if got, want := show(jsx.Body.Args[0]), "(assign = declare a (other (other (other []{(return (call d))})) (operator && e (other))))"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

func TestImportsAndExports(t *testing.T) {
	f := New(shared)
	for _, c := range []struct{ source, imports, exports, body string }{
		{"import a, { b, c as d } from 'x'; import * as e from './y.js'; import 'z'; import g = require('h')",
			"a=x:default b=x:b d=x:c e=./y.js:* -=z:* g=h:*", "", ""},
		{"const a = require('x'); const { b, c: d, e = 1 } = require('y'); const f = require('z').g; const h = require('i')()",
			"a=x:* b=y:b d=y:c e=y:e f=z:g", "", `(assign = declare h (call (call require "i")))`},
		{"const { a } = await import('x'), b = __importDefault(require('y')); b.default.z()", "a=x:a b=y:default", "", "(call b.z)"},
		{"const { a: { b } } = require('x')", "", "", `(assign = declare (object a:(object b:b)) (call require "x"))`},
		{"export const a = 1, { b, c: [d] } = e; export function f() {} export class G {}", "", "a b d f G",
			"(assign = declare a 1) (assign = declare (object b:b c:(list d)) e) f[]{} class G{}"},
		{"export default class A {}", "", "default=A", "class A{}"},
		{"export default async (q) => {}", "", "default=[q]{}", "[q]{}"},
		{"export default router", "", "default=router", "router"},
		{"export { a, b as c }; export { d as default, e } from './x'; export * from './y'; export * as z from './z'",
			"", "a c=b default=./x:d e=./x:e *=./y:* z=./z:*", ""},
		{"export = a", "", "*=a", ""},
		{"module.exports = { a, b() {} }", "", "*=(object a:a b:b[]{})", "(assign = module.exports (object a:a b:b[]{}))"},
		{"exports.a = exports.b = void 0; exports.a = async () => {}; module.exports.c = c", "", "a=a[]{} c",
			"(assign = exports.a (assign = exports.b null)) (assign = exports.a a[]{}) (assign = module.exports.c c)"},
		{"module.exports = exports = x", "", "*=x *=x", "(assign = module.exports (assign = exports x))"},
		{"const a = exports.a = () => {}", "", "a=a[]{}", "(assign = declare a (assign = exports.a a[]{}))"},
		{"@D() export class A {}", "", "A", "(call D)@class A{}"},
		{"export const a = require('x')", "a=x:*", "a", ""},
	} {
		file := parse(t, f, "a.ts", c.source)
		var imports, exports []string
		for _, i := range file.Imports {
			imports = append(imports, i.Local+"="+i.Module+":"+i.Symbol)
		}
		for _, e := range file.Exports {
			switch {
			case e.Module != "":
				exports = append(exports, e.Name+"="+e.Module+":"+e.Symbol)
			case show(e.Value) == e.Name:
				exports = append(exports, e.Name)
			default:
				exports = append(exports, e.Name+"="+show(e.Value))
			}
		}
		for _, is := range []struct{ what, got, want string }{
			{"imports", strings.Join(imports, " "), c.imports}, {"exports", strings.Join(exports, " "), c.exports},
			{"statements", strings.Join(shown(file.Body.Args), " "), c.body},
		} {
			if is.got != is.want {
				t.Errorf("%s\n%s: got %s\nwant %s", c.source, is.what, is.got, is.want)
			}
		}
	}
}

func TestCommentsAndPlaces(t *testing.T) {
	file := parse(t, New(shared), "a.js", "#!/usr/bin/env node\n// one\nf() /* two */\n/**\n * three\n *  four\n */\nfunction g() {}\n")
	var got []string
	for _, c := range file.Comments {
		got = append(got, fmt.Sprintf("%d:%d %s", c.Range.Start.Line, c.Range.Start.Column, c.Text))
	}
	if want := []string{"2:1 one", "3:5 two", "4:1 three\nfour"}; !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
	g := file.Body.Args[1].Func
	if at := g.NameRange; at.Start.Line != 8 || at.Start.Column != 10 || at.End.Column != 11 || g.Range.End.Column != 16 {
		t.Errorf("%+v in %+v", at, g.Range)
	}
}

// Broken source is read as far as it goes.
func TestBrokenSourceIsReadAsFarAsItGoes(t *testing.T) {
	f := New(shared)
	file := parse(t, f, "a.js", "app.post('/logout', (q, s) => { s.end() })\nlet = = ;\napp.get('/x', h)\n")
	if len(file.Errors) == 0 || len(file.Routes) != 2 {
		t.Errorf("%d errors, %d routes", len(file.Errors), len(file.Routes))
	}
	flow := parse(t, f, "a.js", "// @flow\nimport type { A } from './a'\nfunction f(a: A, b: ?string): void { g(a) }\n")
	if got := show(flow.Body.Args[0]); got != "f[a:A,b]{(call g a)}" {
		t.Errorf("types in JavaScript: %s %v", got, flow.Errors)
	}
	if _, err := f.Parse(t.Context(), "a.js", []byte(strings.Repeat("[", 20_000)+strings.Repeat("]", 20_000))); err == nil {
		t.Error("20,000 brackets in each other are no error")
	}
}

func TestDepthIsBounded(t *testing.T) {
	f := New(shared)
	for _, c := range []struct{ before, after string }{
		{"f(", ")"}, {"a => ", ""}, {"() => {", "}"}, {"if (a) ", ""}, {"if (a) {", "}"}, {"switch (a) { default: ", "}"}, {"try { } catch { ", "}"},
		{"({ a() { return ", "} })"}, {"class A { a() { ", "} }"}, {"(class { a = ", "})"}, {"[", "]"}, {"a + (", ")"}, {"for (;;) ", ""}, {"`${", "}`"}, {"a ? b : ", ""},
	} {
		file := parse(t, f, "a.ts", strings.Repeat(c.before, 600)+"z"+strings.Repeat(c.after, 600)+"; g()")
		depth := 0
		var measure func(*program.Node, int)
		measure = func(n *program.Node, d int) {
			depth = max(depth, d)
			n.Children(func(c *program.Node) { measure(c, d+1) })
		}
		measure(file.Body, 0)
		if depth > program.MaxDepth || depth < program.MaxDepth/2 {
			t.Errorf("%s: nodes are %d deep", c.before, depth)
		}
		if last := file.Body.Args[len(file.Body.Args)-1]; c.after != "" && show(last) != "(call g)" || len(file.Errors) == 0 {
			t.Errorf("%s: what stands beside something too deep is lost: %v", c.before, file.Errors)
		}
	}
}

// files is a tree in memory.
type files map[string]string

func (f files) Has(p string) bool { _, ok := f[p]; return ok && filepath.Ext(p) != ".json" }

func (f files) Files(dir string) []string {
	var all []string
	for p := range f {
		if filepath.Dir(p) == dir && f.Has(p) {
			all = append(all, p)
		}
	}
	slices.Sort(all)
	return all
}

func (f files) Config(p string) []byte {
	if text, ok := f[p]; ok {
		return []byte(text)
	}
	return nil
}

func TestModulesAreFound(t *testing.T) {
	tree := files{
		"tsconfig.json": "{ // comments\n \"extends\": \"./base\", \"compilerOptions\": { \"baseUrl\": \"./src\", /* and */ \"paths\": { \"@auth/*\": [\"auth/*\"], \"config\": [\"settings.ts\"], }, }, }",
		"base.json":     `{"compilerOptions": {"paths": {"lost": ["x"]}}}`,
		"src/main.ts":   "", "src/auth/service.ts": "", "src/auth/index.ts": "", "src/settings.ts": "", "src/view.tsx": "", "src/old.cjs": "", "src/jwt.ts": "",
		"web/jsconfig.json":  `{"extends": "../tsconfig.json"}`,
		"web/a.js":           "",
		"plain/src/lib/x.js": "", "plain/src/a.js": "", "plain/package.json": `{"imports": {"#lib/*": "./src/lib/*.js", "#x": {"default": "./src/lib/x.js"}}}`,
		"mono/apps/api/a.ts": "", "mono/packages/tokens/package.json": `{"name": "@acme/tokens", "main": "dist/index.js"}`, "mono/packages/tokens/src/index.ts": "",
		"mono/packages/tokens/src/b.ts":  "",
		"mono/packages/tokens/README.md": "",
		"broken/tsconfig.json":           `{"compilerOptions": "no"`, "broken/a.ts": "", "broken/b.ts": "",
		"main/a.js": "", "main/lib/package.json": `{"main": "./core.js"}`, "main/lib/core.js": "",
	}
	f := &Frontend{}
	for _, c := range []struct{ from, module, want string }{
		{"src/main.ts", "./auth/service", "src/auth/service.ts"},
		{"src/main.ts", "./auth/service.js", "src/auth/service.ts"},
		{"src/main.ts", "./auth", "src/auth/index.ts"},
		{"src/main.ts", "./auth/", "src/auth/index.ts"},
		{"src/auth/service.ts", "..", ""},
		{"src/auth/service.ts", "../view.jsx", "src/view.tsx"},
		{"src/main.ts", "./old", "src/old.cjs"},
		{"src/main.ts", "@auth/service", "src/auth/service.ts"},
		{"src/main.ts", "config", "src/settings.ts"},
		{"src/main.ts", "auth/service", "src/auth/service.ts"},
		{"src/main.ts", "@/auth/service", "src/auth/service.ts"},
		{"src/main.ts", "src/auth/service", "src/auth/service.ts"},
		{"src/main.ts", "express", ""},
		{"src/jwt.ts", "jwt", ""}, // not itself
		{"src/main.ts", "node:fs", ""},
		{"src/main.ts", "./none", ""},
		{"src/main.ts", "", ""},
		{"plain/src/a.js", "#lib/x", "plain/src/lib/x.js"},
		{"plain/src/a.js", "#x", "plain/src/lib/x.js"},
		{"plain/src/a.js", "~/lib/x", "plain/src/lib/x.js"},
		{"mono/apps/api/a.ts", "@acme/tokens", "mono/packages/tokens/src/index.ts"},
		{"mono/apps/api/a.ts", "@acme/tokens/b", "mono/packages/tokens/src/b.ts"},
		{"mono/apps/api/a.ts", "@other/tokens", ""},
		{"broken/a.ts", "./b", "broken/b.ts"},
		{"broken/a.ts", "b", ""},
		{"main/a.js", "./lib", "main/lib/core.js"},
		{"web/a.js", "@auth/service", "src/auth/service.ts"},
	} {
		got := strings.Join(f.Resolve(tree, &program.File{Path: c.from}, c.module), " ")
		if got != c.want {
			t.Errorf("%q in %s is %q, want %q", c.module, c.from, got, c.want)
		}
	}
}

// The front-end answers for every text, and in bounded time.
func FuzzParse(f *testing.F) {
	front := New(shared)
	for _, seed := range []string{
		"", "\x00", "a?.b[`c${d}`](...e)", "class A { @B() #c = 1; static {} get d() {} }", "export { default as x } from 'y'; export default function () {}",
		"const { a: { b = 1 } = {}, ...c } = require('x').y, [, d] = await import(e)", "exports.a = module.exports = b = void 0", "app.route('/x').get(a).post([b, ...c], d)",
		"app.post(['/a', `/${b}`], { preHandler: c, handler: d })", "@Controller({ path: 'x' }) class A { @Post(['y']) m() {} }", "for (;;) switch (a) { case b: default: }",
		"({ [a]: b, 'c': d, ...e, async *f() {} })", "enum A { B = 'c', D }", "const enum = ;", "<a {...b}>{/* c */}</a>", "'\\u{110000}\\x'", "new Router({ prefix: p }).use(q)",
	} {
		f.Add("a.ts", []byte(seed))
		f.Add("pages/api/x.js", []byte(seed))
		f.Add("app/x/route.tsx", []byte(seed))
	}
	f.Fuzz(func(t *testing.T, name string, source []byte) {
		if len(source) > 32<<10 {
			return
		}
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
		defer cancel()
		file, err := front.Parse(ctx, name, source)
		if ctx.Err() != nil {
			t.Fatal("it takes too long")
		}
		if err != nil {
			return
		}
		program.Walk(file.Body, func(n *program.Node) bool {
			if n.Range.Start.Offset > n.Range.End.Offset || n.Range.End.Offset > len(source) {
				t.Fatalf("%s from %d to %d of %d bytes", n.Kind, n.Range.Start.Offset, n.Range.End.Offset, len(source))
			}
			return true
		})
		p := program.Link([]*program.File{file}, files{name: string(source)}, front)
		for _, fn := range p.Functions {
			p.Each(fn, func(n *program.Node, s *program.Scope) bool { p.Value(n, s); return true })
		}
	})
}

// Real files, those of this repository, are read without errors.
func TestRealFilesAreRead(t *testing.T) {
	f := New(shared)
	n := 0
	for _, pattern := range []string{"../../examples/*/[bc]*/*.[jt]s", "../../sdk/node/src/*.ts", "../../tests/*/*.mjs"} {
		names, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range names {
			source, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			if file := parse(t, f, name, string(source)); len(file.Errors) > 0 {
				t.Errorf("%s: %+v", name, file.Errors[0])
			}
			n++
		}
	}
	if n < 10 {
		t.Errorf("%d files: something was not found", n)
	}
}
