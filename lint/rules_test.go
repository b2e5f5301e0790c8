package lint

import (
	"fmt"
	"maps"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/rescind/rescind/lint/program"
)

// The lines of an example's findings end with this.
var marked = regexp.MustCompile(`[ \t]*(?://|#)! (certain|likely|possible)[ \t]*$`)

// found runs one rule over the files of an example, and returns what it found and
// what the example says, each as "file:line confidence".
func found(t *testing.T, fronts *frontends, set *ruleset, rule *Rule, files map[string]string) (got, want []string) {
	t.Helper()
	s := &sources{text: map[string][]byte{}}
	for name, text := range files {
		lines := strings.Split(text, "\n")
		for i, line := range lines {
			if m := marked.FindStringSubmatchIndex(line); m != nil {
				want = append(want, fmt.Sprintf("%s:%d %s", name, i+1, line[m[2]:m[3]]))
				lines[i] = line[:m[0]]
			}
		}
		s.text[name] = []byte(strings.Join(lines, "\n"))
		if fronts.byExtension[path.Ext(name)] != nil {
			s.names = append(s.names, name)
		}
	}
	s.index()
	r, err := inspect(t.Context(), s, fronts, set, []*Rule{rule}, nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range r.Errors {
		t.Errorf("%s:%d: %s", e.Path, e.Line, e.Message)
	}
	for _, f := range r.Findings {
		if f.Suppressed == "" {
			got = append(got, fmt.Sprintf("%s:%d %s", f.Path, f.Range.Start.Line, f.Confidence))
		}
	}
	slices.Sort(want)
	slices.Sort(got)
	return got, want
}

// TestExamplesOfRules: every rule finds what its bad examples mark, at that line and
// with that confidence, and nothing else; and nothing in the good ones.
func TestExamplesOfRules(t *testing.T) {
	set, err := shipped()
	if err != nil {
		t.Fatal(err)
	}
	fronts := shared()
	for _, rule := range set.rules {
		seen := map[program.Language]bool{}
		run := func(kind string, e Example) {
			t.Run(rule.ID+"/"+kind+"/"+e.What, func(t *testing.T) {
				got, want := found(t, fronts, set, rule, e.Files)
				if !slices.Equal(got, want) {
					t.Errorf("found %q, want %q", got, want)
				}
				if kind == "bad" == (len(want) == 0) {
					t.Errorf("a %s example marks %d lines", kind, len(want))
				}
			})
			for name := range e.Files {
				seen[languageOf(name)] = true
			}
		}
		for _, e := range rule.Bad {
			run("bad", e)
		}
		for _, language := range rule.Languages {
			if !seen[language] {
				t.Errorf("%s has no bad example in %s", rule.ID, language)
			}
		}
		for _, e := range rule.Good {
			run("good", e)
		}
	}
}

func languageOf(name string) program.Language {
	switch path.Ext(name) {
	case ".go":
		return program.Go
	case ".py":
		return program.Python
	case ".js", ".mjs", ".cjs", ".ts", ".tsx", ".jsx":
		return program.JavaScript
	}
	return ""
}

// TestExamplesNeedTheVocabulary: without the words of its sets no rule finds what it
// should, or it finds what it should not. A rule that does not notice does not look.
func TestExamplesNeedTheVocabulary(t *testing.T) {
	set, err := shipped()
	if err != nil {
		t.Fatal(err)
	}
	fronts := shared()
	none := regexp.MustCompile(`^\x00$`)
	broken := &ruleset{rules: set.rules, vocabularies: map[program.Language]*vocabulary{}, words: map[string]*regexp.Regexp{}}
	for name := range maps.Keys(set.words) {
		broken.words[name] = none
	}
	for _, rule := range set.rules {
		if rule.ID == ruleIgnoreWithoutReason {
			continue // it needs none
		}
		t.Run(rule.ID, func(t *testing.T) {
			for _, e := range slices.Concat(rule.Bad, rule.Good) {
				if got, want := found(t, fronts, broken, rule, e.Files); !slices.Equal(got, want) {
					return
				}
			}
			t.Error("all examples come out right without a vocabulary")
		})
	}
}

// TestEveryWordIsUsed: what no look asks for, and what a look asks for in vain, is a
// mistake in writing.
func TestEveryWordIsUsed(t *testing.T) {
	set, err := shipped()
	if err != nil {
		t.Fatal(err)
	}
	files, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	var source strings.Builder
	for _, name := range files {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		source.Write(text)
	}
	asked := regexp.MustCompile(`(?:about|words|named|mentions|mentionsIn|claimMissing)\([^"\n]*"([a-z-]+)"`).FindAllStringSubmatch(source.String(), -1)
	var used []string
	for _, m := range asked {
		used = append(used, m[1])
		if set.words[m[1]] == nil {
			t.Errorf("words.yaml lacks %s", m[1])
		}
	}
	for name := range set.words {
		if !slices.Contains(used, name) {
			t.Errorf("nothing asks for %s of words.yaml", name)
		}
	}
	for language, v := range set.vocabularies {
		for name := range v.sets {
			if !slices.Contains(setNames, name) {
				t.Errorf("%s: nothing asks for the set %s", language, name)
			}
		}
	}
}
