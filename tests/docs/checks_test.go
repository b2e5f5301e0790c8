package docs

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/rescind/rescind/probe"
)

// TestChecksPageIsTheCatalogue: docs/checks.md says of each check of rescind probe
// what the program itself says. With RESCIND_UPDATE=1 the page is written anew.
func TestChecksPageIsTheCatalogue(t *testing.T) {
	path := filepath.Join(root, "docs", "checks.md")
	want := checksPage(probe.Checks())
	if os.Getenv("RESCIND_UPDATE") == "1" {
		if err := os.WriteFile(path, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if string(got) != want {
		t.Error("docs/checks.md is not what probe/checks.yaml says: RESCIND_UPDATE=1 go test ./tests/docs -run ChecksPage writes it anew")
	}
}

const checksIntro = `# What the probe checks

Every check of [rescind probe](probe.md): what is done, why it matters, and what to do about a finding, without Rescind and with it.
The ids are public and stay as they are; ` + "`rescind probe checks ID`" + ` prints the same. What "ASVS 7.4.1 (1)" asks for, and from which level on,
stands [at the end](#weaknesses-and-requirements).

A finding means that the flaw was seen, with the controls that rule out an accident. A check that could not be made, or whose answers contradict each
other, is inconclusive; it is never a pass. A check that the application has nothing for does not apply.

`

// checksPage is the whole page. This file and probe/checks.yaml are where to
// change it.
func checksPage(c probe.Catalogue) string {
	var b strings.Builder
	b.WriteString(checksIntro)
	b.WriteString("| check | finds | severity |\n|---|---|---|\n")
	for _, check := range c.Checks {
		fmt.Fprintf(&b, "| [%s](#%s) | %s | %s |\n", check.ID, check.ID, cell(check.Title), check.Severity)
	}
	for _, check := range c.Checks {
		fmt.Fprintf(&b, "\n## %s\n\n", check.ID)
		fmt.Fprintf(&b, "**%s** · %s%s\n\n", check.Title, check.Severity, named(c, check))
		fmt.Fprintf(&b, "%s\n\n", folded(check.Tests))
		fmt.Fprintf(&b, "%s\n\n", folded("*Why it matters:* "+check.Matters))
		fmt.Fprintf(&b, "%s\n\n", folded("*What to do:* "+check.Cure))
		fmt.Fprintf(&b, "%s\n", folded("*With Rescind:* "+check.Rescind))
	}
	b.WriteString("\n## Weaknesses and requirements\n\n| | |\n|---|---|\n")
	seen := map[string]bool{}
	for _, check := range c.Checks {
		for _, id := range check.CWE {
			if !seen[id] {
				seen[id] = true
				fmt.Fprintf(&b, "| [%s](https://cwe.mitre.org/data/definitions/%s.html) | %s |\n", id, strings.TrimPrefix(id, "CWE-"), cell(c.Weaknesses[id]))
			}
		}
	}
	for _, check := range c.Checks {
		for _, id := range check.ASVS {
			if !seen[id] {
				seen[id] = true
				fmt.Fprintf(&b, "| OWASP ASVS %s, level %d | %s |\n", id, c.Requirements[id].Level, cell(c.Requirements[id].About))
			}
		}
	}
	return b.String()
}

func named(c probe.Catalogue, check probe.Check) string {
	var b strings.Builder
	for _, id := range check.CWE {
		b.WriteString(" · " + id)
	}
	for _, id := range check.ASVS {
		fmt.Fprintf(&b, " · ASVS %s (%d)", strings.TrimPrefix(id, "v5.0.0-"), c.Requirements[id].Level)
	}
	return b.String()
}

func cell(text string) string { return strings.ReplaceAll(text, "|", `\|`) }

// folded breaks a paragraph into lines of at most 140 characters.
func folded(text string) string {
	var lines []string
	line := ""
	for word := range strings.FieldsSeq(text) {
		if line != "" && len(line)+1+len(word) > 140 {
			lines = append(lines, line)
			line = ""
		}
		if line != "" {
			line += " "
		}
		line += word
	}
	return strings.Join(append(lines, line), "\n")
}
