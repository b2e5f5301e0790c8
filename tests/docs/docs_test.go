package docs

import (
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/rescind/rescind/tests/need"
)

const root = "../.."

// bench returns a runner for the pages of this repository.
func bench(t *testing.T) *runner {
	t.Helper()
	need.Commands(t, "CURL", "the test of the documentation", "bash", "curl", "make")
	top, err := filepath.Abs(root)
	if err != nil {
		t.Fatal(err)
	}
	r, err := newRunner(t, top)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestPages(t *testing.T) {
	r := bench(t)
	t.Run("DoWhatTheyShow", func(t *testing.T) { testShown(t, r) })
	t.Run("WorkInCI", func(t *testing.T) { testCI(t, r) })
	t.Run("TurnRed", func(t *testing.T) { testPlanted(t, r) })
	t.Run("MoveNobodyOut", func(t *testing.T) { testMoving(t, r) })
	t.Run("NameEverySettingAndMetric", func(t *testing.T) { testSettings(t, r) })
}

func testShown(t *testing.T, r *runner) {
	all, err := pages(root)
	if err != nil {
		t.Fatal(err)
	}
	blocks := 0
	for _, p := range all {
		blocks += len(p.blocks)
		t.Run(p.path, func(t *testing.T) {
			requires(t, r, p)
			t.Parallel()
			for _, wrong := range r.run(p) {
				t.Error(wrong)
			}
		})
	}
	if len(all) < 2 || blocks == 0 {
		t.Fatalf("%d pages with %d blocks: this is not the documentation", len(all), blocks)
	}
}

func TestLinksLeadSomewhere(t *testing.T) {
	all, err := pages(root)
	if err != nil {
		t.Fatal(err)
	}
	for _, wrong := range checkLinks(root, all) {
		t.Error(wrong)
	}
}

// planted stands in the first line of a page under testdata that must turn red:
// the line of its problem, and what is said about it.
var planted = regexp.MustCompile(`^<!-- red: ([0-9]+): (.*) -->`)

// testPlanted shows that every kind of mistake is noticed, and where it is.
func testPlanted(t *testing.T, r *runner) {
	names, err := filepath.Glob("testdata/*.md")
	if err != nil {
		t.Fatal(err)
	}
	red := 0
	for _, name := range names {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		p := parse(filepath.ToSlash(name), string(text))
		match := planted.FindStringSubmatch(string(text))
		if match != nil {
			red++
		}
		t.Run(filepath.Base(name), func(t *testing.T) {
			requires(t, r, p)
			t.Parallel()
			found := append(r.run(p), checkLinks(".", []page{p})...)
			if match == nil {
				for _, wrong := range found {
					t.Error(wrong)
				}
				return
			}
			line, err := strconv.Atoi(match[1])
			if err != nil {
				t.Fatal(err)
			}
			if len(found) != 1 || found[0].line != line || !strings.Contains(found[0].what, match[2]) {
				t.Errorf("want one problem, in line %d, with %q; got %d: %v", line, match[2], len(found), found)
			}
		})
	}
	if red < 10 || red == len(names) {
		t.Errorf("%d red pages of %d", red, len(names))
	}
}
