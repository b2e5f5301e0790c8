package docs

import (
	"fmt"
	"reflect"
	"strings"
	"testing"
)

func TestBlocksAreFound(t *testing.T) {
	p := parse("docs/a.md", strings.Join([]string{
		"# One thing", "", "```sh server", "rescind serve", "```", "text", "~~~~text", "```", "~~~", "~~~~", "## One thing",
		"- item", "", "  ```go", "  package a", "  ```",
	}, "\n"))
	want := []block{
		{4, []string{"sh", "server"}, "rescind serve\n"},
		{8, []string{"text"}, "```\n~~~\n"},
		{15, []string{"go"}, "  package a\n"},
	}
	if !reflect.DeepEqual(p.blocks, want) {
		t.Errorf("blocks: %v", p.blocks)
	}
	if want := []string{"one-thing", "one-thing-1"}; !reflect.DeepEqual(p.anchors, want) {
		t.Errorf("anchors: %q", p.anchors)
	}
	if len(p.problems) != 0 {
		t.Errorf("problems: %v", p.problems)
	}
}

func TestLinksAreFound(t *testing.T) {
	p := parse("docs/a.md", "[a](b.md) and [c](../README.md#x \"title\"), `[no](code.md)`, [web](https://example.org), [here](#y)\n"+
		"```text\n[no](fence.md)\n```\n[ref]: c.md\n[ref]: mailto:a@example.org\n")
	want := []link{{1, "b.md", ""}, {1, "../README.md", "x"}, {1, "", "y"}, {5, "c.md", ""}}
	if !reflect.DeepEqual(p.links, want) {
		t.Errorf("links: %v", p.links)
	}
}

func TestPagesThatNobodyLinksAreFound(t *testing.T) {
	all := []page{
		parse("docs/a.md", "[b](b.md), [d](design)"), parse("docs/b.md", "[myself](b.md)"), parse("docs/c.md", "[a](a.md)"),
		parse("docs/design/README.md", "[c](../c.md#none)"),
	}
	var said []string
	for _, wrong := range checkLinks("testdata/links", all) {
		said = append(said, wrong.String())
	}
	want := []string{"docs/design/README.md:1: docs/c.md has no heading #none"}
	if !reflect.DeepEqual(said, want) {
		t.Errorf("all linked: %q", said)
	}
	said = nil
	for _, wrong := range checkLinks("testdata/links", all[1:3]) {
		said = append(said, wrong.String())
	}
	if want := []string{"docs/b.md:1: no other page leads here", "docs/c.md:1: no other page leads here"}; !reflect.DeepEqual(said, want) {
		t.Errorf("b and c not linked: %q", said)
	}
}

func TestStatementsEndWhereBashSays(t *testing.T) {
	steps, err := statements(block{line: 10, text: strings.Join([]string{
		"# a remark", "", "one # → first", "two \\", "  three # → second", "# → third", "cat <<'EOF'", "x", "EOF",
		"for i in 1 2", "do echo $i", "done | sort", `four "five`, `six"`,
	}, "\n") + "\n"})
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, s := range steps {
		got = append(got, fmt.Sprintf("%d %d %q", s.line, strings.Count(s.script, "\n"), s.expect))
	}
	want := []string{`12 1 ["first"]`, `13 2 ["second" "third"]`, `16 3 []`, `19 3 []`, `22 2 []`}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("%s", strings.Join(got, "\n"))
	}
	for _, bad := range []string{"if true\n", "cat <<EOF\nx\n", "# → something\n", "echo 'a\n", "echo a \\\n"} {
		if steps, err := statements(block{line: 1, text: bad}); err == nil {
			t.Errorf("%q is taken for whole: %v", bad, steps)
		}
	}
}

func TestExpectationsAreHeld(t *testing.T) {
	for _, c := range []struct {
		said, want string
		holds      bool
	}{
		{`{"active":true}`, `"active":true`, true},
		{`{"active":true}`, `"active":false`, false},
		{"abc", "a…c", true},
		{"abc", "c…a", false},
		{"", "x", false},
	} {
		if holds(c.said, c.want) != c.holds {
			t.Errorf("%q holds %q: %v", c.said, c.want, !c.holds)
		}
	}
}
