package lint

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/rescind/rescind/lint/program"
)

// FuzzCheck: whatever a file holds, every rule comes to an end, and none panics.
func FuzzCheck(f *testing.F) {
	set, err := shipped()
	if err != nil {
		f.Fatal(err)
	}
	names := []string{"main.go", "app.js", "app.ts", "app.tsx", "app.py"}
	for _, rule := range set.rules {
		for _, e := range append(rule.Bad, rule.Good...) {
			for name, text := range e.Files {
				for i, n := range names {
					if filepath.Ext(n) == filepath.Ext(name) {
						f.Add(uint8(i), []byte(text))
					}
				}
			}
		}
	}
	for _, name := range []string{"go/broken/tokens.go", "go/broken/main.go"} {
		text, err := os.ReadFile(filepath.Join("..", "examples", name))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(uint8(0), text)
	}
	fronts := shared()
	f.Fuzz(func(t *testing.T, which uint8, source []byte) {
		if len(source) > 64<<10 {
			return
		}
		name := names[int(which)%len(names)]
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
		defer cancel()
		// Not by parseOne, which would forgive a panic.
		file, err := fronts.byExtension[filepath.Ext(name)].Parse(ctx, name, source)
		if err != nil {
			return
		}
		s := &sources{text: map[string][]byte{name: source}, names: []string{name}}
		s.index()
		findings, err := examine(ctx, program.Link([]*program.File{file}, s, fronts.all...), set, set.rules)
		if err != nil {
			t.Fatalf("after two minutes: %v", err)
		}
		show([]*program.File{file}, suppress([]*program.File{file}, findings))
	})
}

// TestHostileSourceIsBounded: source that is made to take long, or to go round in
// circles, comes to an end.
func TestHostileSourceIsBounded(t *testing.T) {
	many := func(n int, text string) string { return strings.Repeat(text, n) }
	n := 500 // a file of the largest size has a hundred times as much
	if os.Getenv("RESCIND_SLOW") == "1" {
		n = 10_000
	}
	for name, files := range map[string]map[string]string{
		"routes":         {"a.js": "const app = require('express')()\n" + many(n, "app.post('/logout', (q, s) => { s.end() })\n")},
		"one handler":    {"a.js": "const app = require('express')()\nconst h = (q, s) => { f(); s.end() }\nfunction f() { f() }\n" + many(n, "app.post('/logout', h)\n")},
		"tries":          {"a.js": "function isRevoked(j) {" + many(n, "try { redis.get(j) } catch { }\n") + "}"},
		"circle":         {"a.js": "import { a } from './b.js'\nexport { a }\nconst x = x.y; x.z()\n", "b.js": "export { a } from './a.js'\nexport * from './b.js'\n"},
		"classes":        {"a.py": "class A(B):\n    def m(self):\n        return self.m().m()\nclass B(A):\n    pass\ndef logout(request, response):\n    A().x.y()\n    response.ok()\n"},
		"deep calls":     {"a.go": "package a\nvar x = " + many(2*n, "f(") + "1" + many(2*n, ")") + "\n"},
		"deep blocks":    {"a.go": "package a\nfunc f() {" + many(2*n, "{") + many(2*n, "}") + "}\n"},
		"long chain":     {"a.go": "package a\nvar x = a" + many(2*n, ".b()") + "\n"},
		"interfaces":     {"a.go": "package a\ntype I interface{ M() }\n" + many(n, "type T struct{}\nfunc (T) M() { var i I; i.M() }\n")},
		"comments":       {"a.go": "package a\n" + many(2*n, "// the token will expire\n")},
		"half of a file": {"a.go": "package a\nfunc f(", "a.js": "app.post('/logout', (", "a.py": "def logout(\n"},
		"not text":       {"a.go": "\x00\xff\xfe", "a.js": "\x00\xff\xfe", "a.py": "\x00\xff\xfe"},
		"nothing":        {"a.go": "", "a.js": "", "a.py": "", "a.ts": ""},
	} {
		t.Run(name, func(t *testing.T) {
			set, err := shipped()
			if err != nil {
				t.Fatal(err)
			}
			fronts := shared()
			s := &sources{text: map[string][]byte{}}
			for name, text := range files {
				s.text[name], s.names = []byte(text), append(s.names, name)
			}
			s.index()
			ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
			defer cancel()
			begun := time.Now()
			r, err := inspect(ctx, s, fronts, set, set.rules, nil)
			if err != nil {
				t.Fatal(err)
			}
			for _, e := range r.Errors {
				if strings.Contains(e.Message, "fault of lint") {
					t.Error(e.Message)
				}
			}
			t.Logf("%d findings in %s", len(r.Findings), time.Since(begun).Round(time.Millisecond))
		})
	}
}
