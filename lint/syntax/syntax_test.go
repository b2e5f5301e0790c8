package syntax

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rescind/rescind/tests/need"
)

func parser(t testing.TB, limits Limits) *Parser {
	t.Helper()
	p := NewParser(limits)
	t.Cleanup(func() {
		if err := p.Close(context.Background()); err != nil {
			t.Error(err)
		}
	})
	return p
}

// shared has the usual limits: compiling takes its time under the race detector.
var shared = NewParser(Limits{})

func TestMain(m *testing.M) {
	code := m.Run()
	if err := shared.Close(context.Background()); err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = max(code, 1)
	}
	os.Exit(code)
}

func parse(t testing.TB, p *Parser, language Language, source string) *Tree {
	t.Helper()
	tree, err := p.Parse(t.Context(), language, []byte(source))
	if err != nil {
		t.Fatalf("%v: %.60q: %v", language, source, err)
	}
	return tree
}

// outline writes named nodes with their fields, and the text of those without
// named children.
func outline(n *Node) string {
	var b strings.Builder
	var write func(*Node)
	write = func(n *Node) {
		if n.Field != "" {
			b.WriteString(n.Field + ":")
		}
		b.WriteString(n.Kind)
		if n.Missing {
			b.WriteString("!")
		}
		inner := 0
		for _, c := range n.Children {
			if c.Named {
				b.WriteString([]string{"(", " "}[min(inner, 1)])
				write(c)
				inner++
			}
		}
		if inner > 0 {
			b.WriteString(")")
		} else if n.Start < n.End {
			fmt.Fprintf(&b, "%q", n.Text())
		}
	}
	write(n)
	return b.String()
}

func TestTreesAreThoseOfTheGrammars(t *testing.T) {
	p := shared
	for _, c := range []struct {
		language Language
		source   string
		want     string
	}{
		{JavaScript, "", `program`},
		{JavaScript, "const { verify: v } = require('x') // ok", `program(lexical_declaration(variable_declarator(name:object_pattern(pair_pattern(key:property_identifier"verify" value:identifier"v")) ` +
			`value:call_expression(function:identifier"require" arguments:arguments(string(string_fragment"x")))) comment"// ok"))`},
		{JavaScript, "async () => await a?.b(`x${c}`)", `program(expression_statement(arrow_function(parameters:formal_parameters"()" body:await_expression(call_expression(function:member_expression` +
			`(object:identifier"a" optional_chain:optional_chain"?." property:property_identifier"b") arguments:arguments(template_string(string_fragment"x" template_substitution(identifier"c"))))))))`},
		{JavaScript, "<a b={c}/>", `program(expression_statement(jsx_self_closing_element(name:identifier"a" attribute:jsx_attribute(property_identifier"b" jsx_expression(identifier"c")))))`},
		{JavaScript, "f(;", `program(expression_statement(call_expression(function:identifier"f" arguments:arguments"(")))`},
		{TypeScript, "@C('x') class A { constructor(private readonly b: B<D>) {} }", `program(class_declaration(decorator:decorator(call_expression(function:identifier"C" arguments:arguments(string(string_fragment"x")))) ` +
			`name:type_identifier"A" body:class_body(method_definition(name:property_identifier"constructor" parameters:formal_parameters(required_parameter(accessibility_modifier"private" pattern:identifier"b" ` +
			`type:type_annotation(generic_type(name:type_identifier"B" type_arguments:type_arguments(type_identifier"D"))))) body:statement_block"{}"))))`},
		{TypeScript, "let a = <B>c", `program(lexical_declaration(variable_declarator(name:identifier"a" value:type_assertion(type_arguments(type_identifier"B") identifier"c"))))`},
		{TSX, "let a: B = <b/>", `program(lexical_declaration(variable_declarator(name:identifier"a" type:type_annotation(type_identifier"B") value:jsx_self_closing_element(name:identifier"b"))))`},
		{Python, "@a.b('/x')\ndef f(c: D = 1):\n    return c\n", `module(decorated_definition(decorator(call(function:attribute(object:identifier"a" attribute:identifier"b") arguments:argument_list(string(string_start"'" string_content"/x" string_end"'")))) ` +
			`definition:function_definition(name:identifier"f" parameters:parameters(typed_default_parameter(name:identifier"c" type:type(identifier"D") value:integer"1")) body:block(return_statement(identifier"c")))))`},
		{Python, "if a:\n  pass\nb", `module(if_statement(condition:identifier"a" consequence:block(pass_statement"pass")) expression_statement(identifier"b"))`},
	} {
		tree := parse(t, p, c.language, c.source)
		if got := outline(tree.Root); got != c.want {
			t.Errorf("%v: %s\n got %s\nwant %s", c.language, c.source, got, c.want)
		}
		sound(t, tree)
	}
}

// sound checks what holds for every tree.
func sound(t testing.TB, tree *Tree) {
	t.Helper()
	depth := 0
	var visit func(n *Node)
	visit = func(n *Node) {
		depth = max(depth, len(n.Children))
		if n.Start > n.End || n.End > len(tree.Source) {
			t.Fatalf("%s from %d to %d of %d bytes", n.Kind, n.Start, n.End, len(tree.Source))
		}
		if line, column := n.Position(); line < 1 || column < 1 || line > len(tree.lines) {
			t.Fatalf("%s at %d:%d", n.Kind, line, column)
		}
		at := n.Start
		for _, c := range n.Children {
			if c.Parent != n || c.Start < at || c.End > n.End {
				t.Fatalf("%s (%d to %d) is not in order within %s (%d to %d)", c.Kind, c.Start, c.End, n.Kind, n.Start, n.End)
			}
			at = c.End
			visit(c)
		}
	}
	visit(tree.Root)
}

func TestWhereThingsStand(t *testing.T) {
	tree := parse(t, shared, JavaScript, "a;\r\n  é(b, /* c */ async d => 1)\n")
	call := tree.Root.Children[1].First("call_expression")
	arguments := call.Child("arguments")
	if line, column := arguments.Position(); line != 2 || column != 5 {
		t.Errorf("%d:%d: é has two bytes", line, column)
	}
	if line, column := arguments.EndPosition(); line != 2 || column != 30 {
		t.Errorf("it ends at %d:%d", line, column)
	}
	if got := call.Child("function").Text(); got != "é" {
		t.Errorf("%q", got)
	}
	parts := arguments.Parts()
	if len(parts) != 2 || !parts[1].Has("async") || parts[0].Has("async") || arguments.First("comment") == nil {
		t.Errorf("%v", parts)
	}
	if none := call.Child("nothing"); none != nil || none.Child("x") != nil || none.First("x") != nil || none.Parts() != nil {
		t.Error("nil has children")
	}
	if line, column := tree.Position(len(tree.Source)); line != 3 || column != 1 {
		t.Errorf("the end is at %d:%d", line, column)
	}
	seen := 0
	tree.Root.Walk(func(n *Node) bool { seen++; return n.Kind != "call_expression" })
	if seen != 6 { // program, two statements, a, its semicolon, the call
		t.Errorf("%d nodes outside of the call", seen)
	}
}

func TestLanguagesByName(t *testing.T) {
	for name, want := range map[string]Language{
		"a.js": JavaScript, "a/b.mjs": JavaScript, "a.cjs": JavaScript, "a.jsx": JavaScript,
		"a.ts": TypeScript, "a.d.ts": TypeScript, "a.mts": TypeScript, "a.cts": TypeScript, "a.tsx": TSX, "a.py": Python,
	} {
		if got, ok := Of(name); !ok || got != want {
			t.Errorf("%s: %v, %v", name, got, ok)
		}
	}
	if _, ok := Of("a.go"); ok {
		t.Error("Go is not parsed here")
	}
}

// Whatever a file holds, there is an answer within bounded time, and the next
// file finds the parser as it was.
func TestHostileFilesAreSurvived(t *testing.T) {
	size := 5_000
	if os.Getenv("RESCIND_SLOW") == "1" {
		size = 2 << 20
	}
	p := shared
	repeat := func(s string) string { return strings.Repeat(s, size/len(s)) }
	for _, c := range []struct {
		name, source string
		languages    []Language
	}{
		{"brackets", repeat("["), nil},
		{"nested brackets", strings.Repeat("[", 4*size) + strings.Repeat("]", 4*size), nil},
		{"calls", repeat("f("), nil},
		{"generic types", repeat("a<"), nil},
		{"elements", repeat("<a"), nil},
		{"arrows", repeat("async(a,"), nil},
		{"template literals in each other", "`" + repeat("${`"), nil},
		{"an endless template literal", "x = `" + repeat("a"), nil},
		{"an endless string of Python", `"""` + repeat("a\n"), nil},
		{"format strings in each other", repeat("f'{"), nil},
		{"indentation", repeat("if x:\n "), nil},
		{"comments that never end", repeat("a\n/* "), []Language{JavaScript}}, // all read them with one scanner
		{"garbage", repeat("] } ) ' \" /"), nil},
		{"NUL", repeat("\x00"), nil},
		{"NUL in code", repeat("f(\x00)\n"), nil},
		{"no UTF-8", repeat("\xff"), nil},
		{"no UTF-8 in code", repeat("'\xc3('\n"), nil},
		{"UTF-16", "\xff\xfe" + repeat("a\x00;\x00"), nil},
		{"a mark of the order of bytes", "\ufeffvar a = 1", nil},
	} {
		if c.languages == nil {
			c.languages = []Language{JavaScript, TypeScript, TSX, Python}
		}
		for _, l := range c.languages {
			began := time.Now()
			tree, err := p.Parse(t.Context(), l, []byte(c.source))
			took := time.Since(began)
			switch {
			case err == nil:
				sound(t, tree)
			case !errors.Is(err, ErrTooDeep) && !errors.Is(err, ErrTooLarge) && !errors.Is(err, ErrTooLong) && !errors.Is(err, ErrGaveUp):
				t.Errorf("%s in %v: %v", c.name, l, err)
			case strings.Contains(err.Error(), "\n"):
				t.Errorf("%s in %v: a message of several lines: %q", c.name, l, err)
			}
			if took > 5*time.Minute {
				t.Errorf("%s in %v took %v", c.name, l, took)
			}
		}
		parse(t, p, JavaScript, "var a = 1")
	}
}

func TestEachLimitHolds(t *testing.T) {
	deep := strings.Repeat("[", 300) + strings.Repeat("]", 300)
	many := strings.Repeat("a;", 20_000)
	whole := shared
	limits := whole.limits
	defer func() { whole.limits = limits }()
	for _, c := range []struct {
		name   string
		limits Limits
		source string
		want   error
	}{
		{"none", Limits{}, many, nil},
		{"size", Limits{Size: 100}, many, ErrTooLarge},
		{"nodes", Limits{Nodes: 10_000}, many, ErrTooLarge},
		{"depth", Limits{Depth: 100}, deep, ErrTooDeep},
		{"enough depth", Limits{Depth: 1000}, deep, nil},
		{"memory", Limits{Memory: 6 << 20}, many, ErrGaveUp},
		{"time", Limits{Time: time.Microsecond}, many, ErrTooLong},
		{"work", Limits{}, strings.Repeat("a\n/* ", 60_000), ErrTooLong},
	} {
		p := whole
		if c.limits.Memory > 0 { // of the runtime, from its beginning
			p = parser(t, c.limits)
		}
		p.limits = NewParser(c.limits).limits
		times := 2
		if errors.Is(c.want, ErrTooLong) {
			times = 1 // a second and more
		}
		for range times { // the second time with an instance that has failed before, or a new one
			if _, err := p.Parse(t.Context(), JavaScript, []byte(c.source)); !errors.Is(err, c.want) {
				t.Errorf("%s: %v, want %v", c.name, err, c.want)
			}
		}
		if c.want != nil && !errors.Is(c.want, ErrTooLong) {
			parse(t, p, JavaScript, "a")
		}
	}
}

func TestCancelledParsingStops(t *testing.T) {
	p := shared
	parse(t, p, JavaScript, "a")
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	began := time.Now()
	_, err := p.Parse(ctx, TypeScript, bytes.Repeat([]byte("a(b, c => { return [d] })\n"), 60_000))
	if took := time.Since(began); !errors.Is(err, context.DeadlineExceeded) || took > 5*time.Second {
		t.Errorf("%v after %v", err, took)
	}
	parse(t, p, JavaScript, "a")
}

func TestParallelFilesDoNotMix(t *testing.T) {
	p := shared
	var wait sync.WaitGroup
	for i := range 16 {
		wait.Go(func() {
			for j := range 25 {
				l := Language(uint32(i+j) % uint32(languages))
				source := fmt.Sprintf("f%d_%d(%q)\n%s", i, j, strings.Repeat("x", i*j), strings.Repeat("y\n", j))
				tree, err := p.Parse(t.Context(), l, []byte(source))
				if err != nil {
					t.Error(err)
					return
				}
				call := tree.Root.Children[0].Children[0]
				if tree.Root.Broken || call.Child("function").Text() != fmt.Sprintf("f%d_%d", i, j) || len(tree.Root.Parts()) != 1+j {
					t.Errorf("%v: %s", l, outline(tree.Root))
				}
			}
		})
	}
	wait.Wait()
	if n := len(p.idle); n == 0 || n > keptIdle {
		t.Errorf("%d instances are kept", n)
	}
}

// One file after another takes no more memory than one.
func TestFilesLeaveNothingBehind(t *testing.T) {
	p := parser(t, Limits{})
	source := strings.Repeat("f(a, b => c);\n", 2_000)
	parse(t, p, JavaScript, source)
	first := p.idle[0]
	size := first.memory.Size()
	for range 30 {
		parse(t, p, JavaScript, source)
	}
	if len(p.idle) != 1 || p.idle[0] != first || first.memory.Size() > 2*size {
		t.Errorf("%d instances with %d bytes; after the first file it was %d", len(p.idle), p.idle[0].memory.Size(), size)
	}
}

func TestClosedParserRefuses(t *testing.T) {
	p := NewParser(Limits{})
	parse(t, p, Python, "a")
	if err := p.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := p.Parse(t.Context(), Python, []byte("a")); err == nil {
		t.Error("a closed parser parses")
	}
	if _, err := shared.Parse(t.Context(), languages, nil); err == nil {
		t.Error("a language that is none is parsed")
	}
}

// What the module could reach it would have to import.
func TestModuleImportsNothing(t *testing.T) {
	p := shared
	parse(t, p, JavaScript, "")
	if n := len(p.code.ImportedFunctions()) + len(p.code.ImportedMemories()); n != 0 {
		t.Errorf("the module imports %d things", n)
	}
}

// The module is what the sources make.
func TestModuleIsWhatItsSourcesMake(t *testing.T) {
	if os.Getenv("RESCIND_SLOW") != "1" {
		return
	}
	need.Commands(t, "CLANG", "the test that builds the parser of lint anew", "clang-14", "wasm-ld-14", "npm", "openssl")
	built := filepath.Join(t.TempDir(), "module.gz")
	if out, err := exec.Command("wasm/build", built).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	packed, err := os.ReadFile(built)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(unpack(t, packed), unpack(t, module)) {
		t.Error("wasm/tree-sitter.wasm.gz is not what wasm/build makes")
	}
}

func unpack(t *testing.T, packed []byte) []byte {
	t.Helper()
	r, err := gzip.NewReader(bytes.NewReader(packed))
	if err != nil {
		t.Fatal(err)
	}
	data, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func FuzzParse(f *testing.F) {
	p := shared
	for _, seed := range []string{
		"", "\x00", "\ufeffa", "a\xff(", "`${`${", "<a>{", "class A { @B() c?: D<E> }", "def f(a, *b, **c): return f'{a!r:{b}}'",
		"/*", "a\n/*", "'\\", "/[/", "a ? b : c => d", "match x:\n case [a, *_] if b: pass", "\r\n\u2028;",
	} {
		for l := range languages {
			f.Add(uint32(l), []byte(seed))
		}
	}
	f.Fuzz(func(t *testing.T, language uint32, source []byte) {
		tree, err := p.Parse(t.Context(), Language(language%uint32(languages)), source[:min(len(source), 64<<10)])
		switch {
		case err == nil:
			sound(t, tree)
		case !errors.Is(err, ErrTooLarge) && !errors.Is(err, ErrTooDeep):
			t.Fatal(err)
		}
	})
}
