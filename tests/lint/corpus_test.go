// Package lint_test runs lint on the source of public packages that nobody here
// wrote, and on the examples, and holds what it finds against corpus/*.yaml: what a
// person found who read the code before lint did. docs/design/lint.md states the
// precision and recall that come out, and these tests that they do.
package lint_test

import (
	"fmt"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"

	"github.com/rescind/rescind/tests/lint/source"
)

const root = "../.."

// An entry is one package of the corpus.
type entry struct {
	source.Package `yaml:",inline"`
	About          string   `yaml:"about"`
	Source         []string `yaml:"source"` // the folders that lint gets; what lies elsewhere is no server code
	Part           string   `yaml:"part"`   // which part of the package, if not the whole
	Slow           bool     `yaml:"slow"`   // only with RESCIND_SLOW=1
	Held           bool     `yaml:"held"`   // nobody changed lint after seeing what it says of this one
	Labels         []*label `yaml:"labels"`
	name           string   // of its file
}

// A label says what is true of one rule in one place.
type label struct {
	At      []string `yaml:"at"` // PATH:FROM-TO, PATH:LINE or PATH; where a finding may stand, any of them
	Rule    string   `yaml:"rule"`
	Verdict string   `yaml:"verdict"` // flaw; clean; either, if a finding is right and none is no loss
	Why     string   `yaml:"why"`
	Missed  string   `yaml:"missed"`  // of a flaw: why lint does not find it
	Flagged string   `yaml:"flagged"` // of what is clean: why lint says otherwise
	After   bool     `yaml:"after"`   // it was read only because lint pointed at it
	places  []place
}

type place struct {
	path     string
	from, to int
}

var at = regexp.MustCompile(`^([^:]+)(?::(\d+)(?:-(\d+))?)?$`)

func corpus(t *testing.T) []*entry {
	t.Helper()
	files, err := filepath.Glob("corpus/*.yaml")
	if err != nil || len(files) == 0 {
		t.Fatalf("no corpus: %v", err)
	}
	var all []*entry
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		e := &entry{name: strings.TrimSuffix(filepath.Base(file), ".yaml")}
		if err := yaml.UnmarshalWithOptions(text, e, yaml.Strict()); err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		for _, l := range e.Labels {
			for _, text := range l.At {
				p, err := parsePlace(text)
				if err != nil {
					t.Errorf("%s: %v", file, err)
				}
				l.places = append(l.places, p)
			}
		}
		all = append(all, e)
	}
	return all
}

func parsePlace(text string) (place, error) {
	m := at.FindStringSubmatch(text)
	if m == nil || path.Clean(m[1]) != m[1] {
		return place{}, fmt.Errorf("%q is no place", text)
	}
	p := place{path: m[1], from: 1, to: 1 << 30}
	if m[2] != "" {
		p.from, _ = strconv.Atoi(m[2])
		p.to = p.from
	}
	if m[3] != "" {
		p.to, _ = strconv.Atoi(m[3])
	}
	if p.to < p.from {
		return p, fmt.Errorf("%q goes backwards", text)
	}
	return p, nil
}

func (l *label) covers(file string, line int) bool {
	return slices.ContainsFunc(l.places, func(p place) bool { return p.path == file && p.from <= line && line <= p.to })
}

func (l *label) String() string { return l.Rule + " at " + strings.Join(l.At, ", ") }

func TestEveryLabelSaysSomething(t *testing.T) {
	rules := ruleIDs(t)
	packages := 0
	for _, e := range corpus(t) {
		if e.From != source.Repository {
			packages++
		}
		if e.About == "" || len(e.Source) == 0 || len(e.Labels) == 0 {
			t.Errorf("%s says too little", e.name)
		}
		for _, l := range e.Labels {
			switch {
			case !slices.Contains([]string{"flaw", "clean", "either"}, l.Verdict):
				t.Errorf("%s: %v: the verdict is %q", e.name, l, l.Verdict)
			case len(l.At) == 0 || l.Why == "":
				t.Errorf("%s: %v: no place, or no reason", e.name, l)
			case l.Missed != "" && l.Verdict != "flaw", l.Flagged != "" && l.Verdict != "clean":
				t.Errorf("%s: %v: only a flaw is missed, only what is clean is flagged", e.name, l)
			case !slices.Contains(rules, l.Rule):
				t.Errorf("%s: %v: there is no such rule", e.name, l)
			}
		}
	}
	if packages < 10 {
		t.Errorf("%d packages, ten are promised", packages)
	}
}
