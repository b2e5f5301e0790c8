package examples

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// go test ./tests/examples -run TestTheCureIsSmall -update writes the diffs into the READMEs.
var update = flag.Bool("update", false, "write the differences between the forms into the READMEs")

// allowed is how many lines a cure may change.
const allowed = 10

// TestTheCureIsSmall holds each README against the real difference between the
// forms, and that against what a cure may cost. Nothing differs but what is shown:
// one file, and those that fall away.
func TestTheCureIsSmall(t *testing.T) {
	table, err := os.ReadFile(filepath.Join(root, "examples", "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range Frameworks {
		t.Run(f.Name, func(t *testing.T) {
			folder := filepath.Join(root, "examples", f.Name)
			broken, cured := sources(t, filepath.Join(folder, Broken)), sources(t, filepath.Join(folder, Cured))
			if want := append([]string{f.File}, f.BrokenOnly...); !slices.Equal(slices.Sorted(slices.Values(want)), broken) || !slices.Equal([]string{f.File}, cured) {
				t.Errorf("the broken form has %q, the cured one %q; want %q and %q", broken, cured, want, f.File)
			}
			hunks := difference(t, folder, f.File)
			changed := countChanged(hunks, comment(f.File))
			if changed > allowed || changed == 0 {
				t.Errorf("%d lines are changed, %d may be:\n%s", changed, allowed, hunks)
			}
			path := filepath.Join(folder, "README.md")
			text, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			page := string(text)
			if *update {
				page = show(page, hunks, changed)
				if err := os.WriteFile(path, []byte(page), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			if show(page, hunks, changed) != page {
				t.Errorf("%s shows another difference than there is: run this test with -update", path)
			}
			for _, form := range []string{Broken, Cured} {
				if command := "examples/run " + f.Name + " " + form; !strings.Contains(page, command) {
					t.Errorf("%s does not say %q", path, command)
				}
			}
			if row := regexp.MustCompile(`(?m)^\| \[[^\]]+\]\(` + f.Name + `\) \|.*\| ` + fmt.Sprint(changed) + ` \|$`); !row.Match(table) {
				t.Errorf("examples/README.md has no row for %s that ends with %d", f.Name, changed)
			}
		})
	}
}

// sources lists what is written by hand in a folder.
func sources(t *testing.T, folder string) []string {
	t.Helper()
	entries, err := os.ReadDir(folder)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		if e.Name() != "__pycache__" {
			names = append(names, e.Name())
		}
	}
	return names
}

// difference is what git says of the two forms of a file, without its headers.
func difference(t *testing.T, folder, file string) string {
	t.Helper()
	cmd := exec.Command("git", "diff", "--no-index", "--no-color", "--no-ext-diff", "--diff-algorithm=myers", "-U1", filepath.Join(Broken, file), filepath.Join(Cured, file))
	cmd.Dir = folder
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if code := cmd.ProcessState.ExitCode(); code != 1 { // 1: they differ
		t.Fatalf("git diff: %v %s", err, stderr.String())
	}
	_, hunks, _ := strings.Cut(string(out), "\n@@")
	return regexp.MustCompile(`(?m)^@@.*$`).ReplaceAllString("@@"+hunks, "@@")
}

var (
	diffBlock = regexp.MustCompile("(?s)```diff\n.*?```\n")
	sentence  = regexp.MustCompile(`\*\*\d+ lines\*\*`)
)

// show puts the difference and its size where a README shows them.
func show(page, hunks string, changed int) string {
	if !diffBlock.MatchString(page) || !sentence.MatchString(page) {
		return page + "\n(a README has a block of kind diff, and says **0 lines**)\n"
	}
	page = diffBlock.ReplaceAllLiteralString(page, "```diff\n"+hunks+"```\n")
	return sentence.ReplaceAllLiteralString(page, fmt.Sprintf("**%d lines**", changed))
}

// comment is what a comment begins with.
func comment(file string) string {
	if filepath.Ext(file) == ".py" {
		return "#"
	}
	return "//"
}

// countChanged counts lines of code that are added, or those that are removed if
// they are more: a line that is replaced is one. Blank lines and lines that are only
// a comment do not count.
func countChanged(hunks, comment string) int {
	removed, added := 0, 0
	for line := range strings.Lines(hunks) {
		code := strings.TrimSpace(line[1:])
		switch {
		case code == "" || strings.HasPrefix(code, comment):
		case line[0] == '-':
			removed++
		case line[0] == '+':
			added++
		}
	}
	return max(removed, added)
}

func TestChangedLinesAreCounted(t *testing.T) {
	for hunks, want := range map[string]int{
		"@@\n-a\n+b\n":                 1,
		"@@\n-a\n-b\n+c\n":             2,
		"@@\n-a\n+b\n+c\n c\n-d\n":     2,
		"@@\n+a\n-b\n-c\n-d\n@@\n+b\n": 3,
		"@@\n-// a\n+\n+  // b\n+c\n":  1,
		"@@\n x\n":                     0,
		"@@\n+a // not only a comment": 1,
	} {
		if got := countChanged(hunks, "//"); got != want {
			t.Errorf("%q: %d, want %d", hunks, got, want)
		}
	}
}
