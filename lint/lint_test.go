package lint

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"
)

// tree writes files into a fresh folder and goes there.
func tree(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		file := filepath.Join(dir, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	t.Chdir(dir)
	return dir
}

func mustCheck(t *testing.T, o Options) *Report {
	t.Helper()
	r, err := run(t.Context(), o, shared())
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// shared are front-ends for all tests: to compile the parser takes a second under the
// race detector.
var shared = sync.OnceValue(newFrontends)

// places are the findings that are not suppressed, as "path:line rule confidence".
func places(r *Report) []string {
	var out []string
	for _, f := range r.Findings {
		if f.Suppressed == "" {
			out = append(out, fmt.Sprintf("%s:%d %s %s", f.Path, f.Range.Start.Line, f.Rule, f.Confidence))
		}
	}
	return out
}

const hollow = "const app = require('express')()\napp.post('/logout', (req, res) => res.sendStatus(204))\n"

// TestExamplesOfTheRepository: the flaws of the broken forms are found, and the cured
// forms have no finding.
func TestExamplesOfTheRepository(t *testing.T) {
	t.Chdir(filepath.Join("..", "examples"))
	for folder, want := range map[string][]string{
		"express/broken": {
			"tokens.js:17 token-without-id certain", "tokens.js:34 signature-only-check likely", "tokens.js:51 revocation-check-fails-open certain",
			"tokens.js:60 logout-keeps-refresh-token likely", "tokens.js:66 logout-keeps-refresh-token likely",
		},
		"nestjs/broken": {
			"main.ts:28 logout-without-effect certain", "main.ts:29 logout-without-effect certain", "tokens.ts:21 token-without-id certain",
			"tokens.ts:22 token-without-id certain", "tokens.ts:28 signature-only-check likely", "tokens.ts:40 signature-only-check certain",
		},
		"flask/broken": {
			"app.py:25 logout-keeps-refresh-token likely", "app.py:30 logout-keeps-refresh-token likely", "tokens.py:45 blocklist-in-memory certain",
		},
		"go/broken": {
			"main.go:36 logout-without-effect certain", "main.go:37 logout-without-effect certain", "tokens.go:62 signature-only-check likely",
			"tokens.go:100 signature-only-check certain",
		},
		"express/cured": nil, "nestjs/cured": nil, "flask/cured": nil, "go/cured": nil,
	} {
		t.Run(folder, func(t *testing.T) {
			r := mustCheck(t, Options{Paths: []string{filepath.FromSlash(folder)}})
			for _, w := range want {
				if !slices.Contains(places(r), folder+"/"+w) {
					t.Errorf("%s is not found, but %q", w, places(r))
				}
			}
			if len(want) == 0 && len(r.Findings) > 0 {
				t.Errorf("found %q", places(r))
			}
			if r.Files == 0 || len(r.Errors) > 0 {
				t.Errorf("%d files, errors %v", r.Files, r.Errors)
			}
		})
	}
}

// TestRescindItselfHasNoFinding: what issues, checks and revokes here.
func TestRescindItselfHasNoFinding(t *testing.T) {
	t.Chdir("..")
	r := mustCheck(t, Options{Paths: []string{"client", "cmd", "extauthz", "guard", "httpapi", "keys", "sdk", "store"}})
	if r.Files < 100 || len(r.Findings) > 0 {
		t.Errorf("%d files, found %q", r.Files, places(r))
	}
}

// TestWhatOthersWroteIsNotRead: dependencies, tests, and what a machine wrote; but a
// path that is named is read.
func TestWhatOthersWroteIsNotRead(t *testing.T) {
	tree(t, map[string]string{
		"src/app.js": hollow, "node_modules/x/index.js": hollow, "dist/app.js": hollow, ".hidden/app.js": hollow, "test/app.js": hollow,
		"src/app.test.js": hollow, "src/app.min.js": hollow, "src/types.d.ts": hollow, "legacy/old/app.js": hollow, "legacy2/app.js": hollow,
		"src/long.js":  hollow + "const data = '" + strings.Repeat("x", 20_000) + "'\n",
		"src/large.js": hollow + strings.Repeat("// a comment\n", MaxFileSize/10), "README.md": hollow,
	})
	r := mustCheck(t, Options{Paths: []string{"."}, Exclude: []string{"legacy/**", "legacy2"}})
	if want := []string{"src/app.js:2 logout-without-effect certain"}; !slices.Equal(places(r), want) {
		t.Errorf("found %q, want %q", places(r), want)
	}
	if r.Files != 1 || r.Skipped != 2 {
		t.Errorf("%d files read, %d skipped, want 1 and 2", r.Files, r.Skipped)
	}
	if len(r.Errors) != 1 || r.Errors[0].Path != "src/large.js" {
		t.Errorf("errors: %v", r.Errors)
	}
	r = mustCheck(t, Options{Paths: []string{"node_modules/x", "src/app.test.js"}})
	if r.Files != 2 || r.Count(Certain) != 2 {
		t.Errorf("of paths that are named %d files were read, want 2", r.Files)
	}
	if r = mustCheck(t, Options{Paths: []string{"test"}, Tests: true}); r.Files != 1 {
		t.Errorf("with tests %d files were read, want 1", r.Files)
	}
}

// TestLinksAreNotFollowed: neither out of the tree nor in circles.
func TestLinksAreNotFollowed(t *testing.T) {
	outside := t.TempDir()
	if err := os.WriteFile(filepath.Join(outside, "app.js"), []byte(hollow), 0o600); err != nil {
		t.Fatal(err)
	}
	dir := tree(t, map[string]string{"src/app.py": "x = 1\n"})
	for link, to := range map[string]string{"src/out": outside, "src/circle": dir, "src/file.js": filepath.Join(outside, "app.js")} {
		if err := os.Symlink(to, filepath.Join(dir, filepath.FromSlash(link))); err != nil {
			t.Fatal(err)
		}
	}
	if r := mustCheck(t, Options{Paths: []string{"."}}); r.Files != 1 || len(r.Findings) > 0 {
		t.Errorf("%d files, found %q", r.Files, places(r))
	}
}

// TestACommentWithAReasonAccepts: on the line, above it, for one rule or all; without
// a reason it accepts nothing.
func TestACommentWithAReasonAccepts(t *testing.T) {
	tree(t, map[string]string{
		"a.js": "const app = require('express')()\n" +
			"// rescind:ignore the gateway ends the session\napp.post('/logout', (q, s) => s.end())\n\n" +
			"app.post('/v1/logout', (q, s) => s.end()) // rescind:ignore[logout-without-effect] it is switched off\n\n" +
			"// rescind:ignore[token-without-id] another rule\napp.post('/v2/logout', (q, s) => s.end())\n\n" +
			"// rescind:ignore\napp.post('/v3/logout', (q, s) => s.end())\n",
	})
	r := mustCheck(t, Options{Paths: []string{"a.js"}})
	want := []string{"a.js:8 logout-without-effect certain", "a.js:10 ignore-without-reason certain", "a.js:11 logout-without-effect certain"}
	if !slices.Equal(places(r), want) {
		t.Errorf("found %q, want %q", places(r), want)
	}
	if r.Suppressed() != 2 {
		t.Errorf("%d suppressed, want 2", r.Suppressed())
	}
}

// TestBrokenSourceIsReadAsFarAsItGoes: and what cannot be read at all is said.
func TestBrokenSourceIsReadAsFarAsItGoes(t *testing.T) {
	dir := tree(t, map[string]string{"a.js": hollow + "function (((\n", "b.go": "package b\nfunc Logout(w http.ResponseWriter, r *http.Request) { w.WriteHeader(204) }\nfunc (\n", "c.py": "x = 1\n"})
	r := mustCheck(t, Options{Paths: []string{"."}})
	if got := places(r); !slices.Contains(got, "a.js:2 logout-without-effect certain") || !slices.Contains(got, "b.go:2 logout-without-effect likely") {
		t.Errorf("found %q", got)
	}
	if len(r.Errors) < 1 || r.Blind() {
		t.Errorf("errors %v", r.Errors)
	}
	fronts := shared()
	file, problems, _ := parseOne(t.Context(), &sources{disk: true}, fronts, filepath.ToSlash(filepath.Join(dir, "gone.js")))
	if file != nil || len(problems) != 1 || !problems[0].Whole {
		t.Errorf("a file that is gone: %v", problems)
	}
	blind := &Report{Errors: []FileError{{Path: "x.js", Message: "permission denied", Whole: true}}}
	if !blind.Blind() {
		t.Error("a run that could not read and found nothing says that all is well")
	}
}

func TestBadOptionsAreRefused(t *testing.T) {
	tree(t, map[string]string{"a.js": hollow})
	for _, o := range []Options{
		{Paths: []string{"."}, Only: []string{"no-such-rule"}}, {Paths: []string{"."}, Skip: []string{"x"}}, {Paths: []string{"."}, Exclude: []string{"[a"}},
	} {
		if _, err := Check(t.Context(), o); !errors.Is(err, ErrUsage) {
			t.Errorf("%+v: %v", o, err)
		}
	}
	if _, err := Check(t.Context(), Options{Paths: []string{"nowhere"}}); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a path that is not there: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Check(ctx, Options{Paths: []string{"."}}); !errors.Is(err, context.Canceled) {
		t.Errorf("interrupted: %v", err)
	}
}

func TestOnlyAndSkipChooseRules(t *testing.T) {
	tree(t, map[string]string{"a.js": hollow + "const jwt = require('jsonwebtoken')\nconst sign = u => jwt.sign({ id: u }, 'x')\n"})
	if got := places(mustCheck(t, Options{Paths: []string{"."}, Only: []string{"token-without-id"}})); len(got) != 1 || !strings.Contains(got[0], "token-without-id") {
		t.Errorf("one rule alone found %q", got)
	}
	if got := places(mustCheck(t, Options{Paths: []string{"."}, Skip: []string{"token-without-id", "token-without-expiry"}})); len(got) != 1 || !strings.Contains(got[0], "logout-without-effect") {
		t.Errorf("without two rules found %q", got)
	}
}

// TestSARIFIsValid: by the official schema, with columns in characters, and with
// suppressed findings as such.
func TestSARIFIsValid(t *testing.T) {
	tree(t, map[string]string{
		"a.js": "const app = require('express')()\n/* ü */ app.post('/logout', (q, s) => s.end())\n" +
			"app.post('/x/logout', (q, s) => s.end()) // rescind:ignore for the {0} [test](x)\n",
		"b.go": "package b\nfunc (\n",
	})
	r := mustCheck(t, Options{Paths: []string{"."}})
	var out bytes.Buffer
	if err := r.SARIF("v0").Write(&out); err != nil {
		t.Fatal(err)
	}
	schemas, err := filepath.Glob(filepath.Join(packageDir, "..", "sarif", "testdata", "*.json"))
	if err != nil || len(schemas) == 0 {
		t.Fatalf("no schema: %v", err)
	}
	schema, err := jsonschema.NewCompiler().Compile(schemas[0])
	if err != nil {
		t.Fatal(err)
	}
	value, err := jsonschema.UnmarshalJSON(&out)
	if err != nil {
		t.Fatal(err)
	}
	if err := schema.Validate(value); err != nil {
		t.Error(err)
	}
	if len(r.Findings) != 2 || r.Findings[0].Columns[0] != 9 || r.Findings[0].Range.Start.Column != 10 {
		t.Errorf("columns are not in characters: %+v", r.Findings)
	}
	text, err := json.Marshal(r.JSON())
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{`"rule":"logout-without-effect"`, `"confidence":"certain"`, `"line":2,"column":9`, `"suppressed":"for the {0} [test](x)"`, `"certain":1`, `"path":"b.go"`} {
		if !strings.Contains(string(text), want) {
			t.Errorf("the JSON lacks %s: %s", want, text)
		}
	}
}

// packageDir is where this package's tests begin.
var packageDir = func() string {
	dir, err := os.Getwd()
	if err != nil {
		panic(err)
	}
	return dir
}()
