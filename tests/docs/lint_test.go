package docs

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/rescind/rescind/lint"
)

// The part of docs/lint.md that is written from the rules.
const (
	rulesBegin = "<!-- what follows is written by tests/docs -->\n"
	rulesEnd   = "<!-- until here -->\n"
)

// TestLintPageSaysTheRules: docs/lint.md says of each rule of rescind lint what the
// program itself says. With RESCIND_UPDATE=1 that part of it is written anew.
func TestLintPageSaysTheRules(t *testing.T) {
	rules, err := lint.Rules()
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(root, "docs", "lint.md")
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	before, rest, opened := strings.Cut(string(text), rulesBegin)
	got, after, closed := strings.Cut(rest, rulesEnd)
	if !opened || !closed {
		t.Fatalf("docs/lint.md has no part between %q and %q", rulesBegin, rulesEnd)
	}
	want := rulesPart(t, rules)
	if os.Getenv("RESCIND_UPDATE") == "1" {
		if err := os.WriteFile(path, []byte(before+rulesBegin+want+rulesEnd+after), 0o644); err != nil {
			t.Fatal(err)
		}
	} else if got != want {
		t.Error("docs/lint.md is not what lint/rules say: RESCIND_UPDATE=1 go test ./tests/docs -run LintPage writes it anew")
	}
}

func rulesPart(t *testing.T, rules []*lint.Rule) string {
	t.Helper()
	var b strings.Builder
	b.WriteString("\n| rule | finds | severity |\n|---|---|---|\n")
	for _, r := range rules {
		fmt.Fprintf(&b, "| [%s](#%s) | %s | %s |\n", r.ID, r.ID, cell(r.Title), r.Severity)
	}
	for _, r := range rules {
		fmt.Fprintf(&b, "\n### %s\n\n", r.ID)
		about := []string{"**" + r.Title + "**", string(r.Severity)}
		about = append(about, r.CWE...)
		for _, id := range r.ASVS {
			about = append(about, "ASVS "+id)
		}
		fmt.Fprintf(&b, "%s\n\n", strings.Join(about, " · "))
		if name, example := shortest(r.Bad); example != "" {
			fmt.Fprintf(&b, "```text\n%s```\n\n", strings.TrimLeft(example, "\n"))
		} else {
			t.Errorf("%s has no example that is short enough to be shown: %s", r.ID, name)
		}
		fmt.Fprintf(&b, "%s\n\n", folded("*Why it matters:* "+r.Why))
		fmt.Fprintf(&b, "%s\n", folded("*What to do:* "+r.Cure.Otherwise))
		if r.Cure.Rescind != "" {
			fmt.Fprintf(&b, "\n%s\n", folded("*With Rescind:* "+r.Cure.Rescind))
		}
	}
	b.WriteString("\n")
	return b.String()
}

// found is the mark at the end of a line in an example on which a finding stands.
var found = regexp.MustCompile(`(//|#)! (?:certain|likely|possible)`)

// shortest is the shortest file with a finding: of those that need no other, or, if
// there are none, of all.
func shortest(examples []lint.Example) (name, text string) {
	for _, alone := range []bool{true, false} {
		for _, e := range examples {
			names := slices.Sorted(maps.Keys(e.Files))
			names = slices.DeleteFunc(names, func(n string) bool {
				return filepath.Ext(n) == ".mod" || filepath.Ext(n) == ".json" || e.Files[n] == ""
			})
			for _, n := range names {
				if found.MatchString(e.Files[n]) && (len(names) == 1 || !alone) && (text == "" || len(e.Files[n]) < len(text)) {
					name, text = n, e.Files[n]
				}
			}
		}
		if text != "" {
			break
		}
	}
	return name, found.ReplaceAllString(text, "$1 <- here")
}
