package program_test

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/rescind/rescind/lint/golang"
	"github.com/rescind/rescind/lint/javascript"
	"github.com/rescind/rescind/lint/program"
	"github.com/rescind/rescind/lint/python"
	"github.com/rescind/rescind/lint/syntax"
)

type tree map[string]string

func (t tree) Has(name string) bool { _, ok := t[name]; return ok }

func (t tree) Files(dir string) []string {
	var out []string
	for name := range t {
		if name[:max(strings.LastIndexByte(name, '/'), 0)] == dir {
			out = append(out, name)
		}
	}
	slices.Sort(out)
	return out
}

func (t tree) Config(name string) []byte {
	if text, ok := t[name]; ok {
		return []byte(text)
	}
	return nil
}

// parser is one for all tests: to compile it takes seconds under the race detector.
var parser = sync.OnceValue(func() *syntax.Parser { return syntax.NewParser(syntax.Limits{}) })

func link(t *testing.T, files tree) *program.Program {
	t.Helper()
	fronts := []program.Frontend{golang.Frontend{}, javascript.New(parser()), python.New(parser())}
	var names []string
	for name := range files {
		names = append(names, name)
	}
	slices.Sort(names)
	var parsed []*program.File
	for _, name := range names {
		for _, front := range fronts {
			if slices.ContainsFunc(front.Extensions(), func(e string) bool { return strings.HasSuffix(name, e) }) {
				f, err := front.Parse(t.Context(), name, []byte(files[name]))
				if err != nil {
					t.Fatal(err)
				}
				parsed = append(parsed, f)
			}
		}
	}
	return program.Link(parsed, files, fronts...)
}

// calls are the calls of the function with that name, in order: the names of the
// parsed functions, or the path.
func calls(t *testing.T, p *program.Program, name string) []string {
	t.Helper()
	var out []string
	for _, fn := range p.Functions {
		if fn.Name != name {
			continue
		}
		p.Each(fn, func(n *program.Node, s *program.Scope) bool {
			if n.Kind != program.Call {
				return true
			}
			v := p.Value(n.On, s)
			text := v.Path.String()
			for _, f := range v.Funcs {
				text = fmt.Sprintf("%s %s:%d", f.Name, p.Scope(f).File.Path, f.NameRange.Start.Line)
			}
			if v.Missing {
				text += " missing"
			}
			out = append(out, text)
			return true
		})
		return out
	}
	t.Fatalf("there is no function %s", name)
	return nil
}

// TestCallsLeadWhereTheyGo: through imports, re-exports, fields, constructors,
// interfaces and injected services; and to the path of what lies outside.
func TestCallsLeadWhereTheyGo(t *testing.T) {
	for name, c := range map[string]struct {
		files tree
		of    string
		want  []string
	}{
		"Go": {tree{
			"go.mod": "module example.com/app\n",
			"main.go": "package main\nimport (\"example.com/app/auth\"; \"github.com/redis/go-redis/v9\")\ntype server struct { auth *auth.Service; rdb *redis.Client; list lister; end func() }\n" +
				"type lister interface { Add() }\nfunc (s *server) logout() { s.auth.End(); s.rdb.Set(nil); s.list.Add(); s.end(); helper() }\nfunc make2() { _ = &server{end: auth.Final} }\n",
			"more.go":      "package main\ntype memory struct{}\nfunc (m memory) Add() {}\nfunc helper() {}\n",
			"auth/auth.go": "package auth\ntype Service struct{}\nfunc (s *Service) End() {}\nfunc Final() {}\n",
		}, "logout", []string{"End auth/auth.go:3", "github.com/redis/go-redis/v9:Client.Set", "Add more.go:3", "Final auth/auth.go:4", "helper more.go:4"}},
		"ES modules": {tree{
			"app.js":   "import jwt from 'jsonwebtoken'\nimport { end, Redis } from './index.js'\nimport * as all from './index.js'\nconst redis = new Redis()\nexport function logout() { jwt.verify(); end(); all.end(); redis.set(); gone(); other.x() }\nimport { gone } from './gone.js'\n",
			"index.js": "export { finish as end } from './end.js'\nexport { Redis } from 'ioredis'\n", "end.js": "export const finish = () => {}\n",
		}, "logout", []string{"jsonwebtoken:verify", "finish end.js:1", "finish end.js:1", "ioredis:Redis.set", ":gone missing", ":other.x"}},
		"CommonJS": {tree{
			"app.js":  "const { verify } = require('jsonwebtoken')\nconst auth = require('./auth')\nfunction logout() { verify(); auth.end(); auth.both.end(); require('./auth').end() }\n",
			"auth.js": "const end = function () {}\nmodule.exports = { end, both: { end } }\n",
		}, "logout", []string{"jsonwebtoken:verify", "end auth.js:1", "end auth.js:1", "end auth.js:1"}},
		"injection": {tree{
			"a.ts":    "import { Auth } from './auth'\nexport class C { constructor(private readonly auth: Auth, private jwt: JwtService) {}\n logout() { this.auth.end(); this.jwt.sign() } }\nimport { JwtService } from '@nestjs/jwt'\n",
			"auth.ts": "export class Base { end() {} }\nexport class Auth extends Base {}\n",
		}, "logout", []string{"end auth.ts:1", "@nestjs/jwt:JwtService.sign"}},
		"Python": {tree{
			"app.py":          "from . import auth\nfrom .store import redis as r, Tokens\nimport jose.jwt\nclass V:\n    def __init__(self):\n        self.t = Tokens()\n    def logout(self):\n        auth.end()\n        r.delete('x')\n        self.t.end()\n        jose.jwt.decode('x')\n",
			"auth.py":         "def end(): pass\n",
			"store.py":        "from redis import Redis\nredis = Redis()\nclass Tokens:\n    def end(self): pass\n",
			"__init__.py":     "",
			"other/module.py": "",
		}, "logout", []string{"end auth.py:1", "redis:Redis.delete", "end store.py:4", "jose:jwt.decode"}},
	} {
		t.Run(name, func(t *testing.T) {
			got := calls(t, link(t, c.files), c.of)
			for i, w := range c.want {
				if i >= len(got) || got[i] != w && !(strings.HasSuffix(w, " missing") && strings.HasSuffix(got[i], " missing")) {
					t.Fatalf("calls lead to\n%q, want\n%q", got, c.want)
				}
			}
		})
	}
}

// TestCirclesEnd: what depends on itself is unknown, and no more.
func TestCirclesEnd(t *testing.T) {
	p := link(t, tree{
		"a.js": "import { b } from './b.js'\nexport const a = b\nexport * from './b.js'\nfunction f() { a(); x(); y.z() }\nlet x = x\nconst y = { ...y }\nclass A extends B {}\nclass B extends A {}\nfunction g() { return g() }\n",
		"b.js": "import { a } from './a.js'\nexport const b = a\nexport * from './a.js'\n",
	})
	if got := calls(t, p, "f"); len(got) != 3 {
		t.Errorf("calls: %q", got)
	}
}

// TestApplicationsAreToldApart: files that imports tie together are one application,
// others of the same run are not.
func TestApplicationsAreToldApart(t *testing.T) {
	p := link(t, tree{
		"one/app.js": "import './auth.js'\n", "one/auth.js": "export const x = 1\n", "one/more.js": "export { x } from './auth.js'\n",
		"two/app.js": "const x = 1\n", "two/app.py": "x = 1\n",
	})
	together := func(a, b string) bool {
		var files [2]*program.File
		for _, f := range p.Files {
			for i, name := range []string{a, b} {
				if f.Path == name {
					files[i] = f
				}
			}
		}
		return p.Together(files[0], files[1])
	}
	if !together("one/app.js", "one/more.js") || together("one/app.js", "two/app.js") || together("two/app.js", "two/app.py") {
		t.Error("files are tied together wrongly")
	}
}
