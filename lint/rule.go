package lint

import (
	"bytes"
	"embed"
	"fmt"
	"io/fs"
	"path"
	"regexp"
	"slices"
	"strings"
	"sync"

	"github.com/goccy/go-yaml"

	"github.com/rescind/rescind/lint/program"
)

// A Severity says how bad it is when a finding is true.
type Severity string

// The severities, worst first.
const (
	High   Severity = "high"
	Medium Severity = "medium"
	Low    Severity = "low"
)

// A Confidence says how sure a finding is.
type Confidence string

// The confidences, surest first.
const (
	// Certain: the whole way lies in the parsed files, and the flaw is in it.
	Certain Confidence = "certain"
	// Likely: a strong sign, but something on the way was not followed.
	Likely Confidence = "likely"
	// Possible: what would cure it may happen outside of the parsed files.
	Possible Confidence = "possible"
)

var confidences = []Confidence{Certain, Likely, Possible}

// AtLeast reports whether c is as sure as other, or surer.
func (c Confidence) AtLeast(other Confidence) bool {
	return slices.Index(confidences, c) <= slices.Index(confidences, other)
}

// A Rule is one flaw that lint finds. Rules are the files beneath rules; their
// examples are tests.
type Rule struct {
	ID        string             `yaml:"id" json:"id"` // kebab-case, public and stable
	Title     string             `yaml:"title" json:"title"`
	Languages []program.Language `yaml:"languages" json:"languages"`
	Severity  Severity           `yaml:"severity" json:"severity"`
	CWE       []string           `yaml:"cwe" json:"cwe"`   // CWE-613
	ASVS      []string           `yaml:"asvs" json:"asvs"` // of version 5.0.0: 7.4.1
	Why       string             `yaml:"why" json:"why"`
	Cure      Cure               `yaml:"cure" json:"cure"`
	Match     match              `yaml:"match" json:"-"`
	Bad       []Example          `yaml:"bad" json:"-"`
	Good      []Example          `yaml:"good" json:"-"`
}

// A Cure says what to do about a finding: with Rescind, and without.
type Cure struct {
	Rescind   string `yaml:"rescind" json:"rescind"`
	Otherwise string `yaml:"otherwise" json:"otherwise"`
}

// An Example is a small program. In bad ones the lines of the findings end with a
// comment //! or #! and the confidence.
type Example struct {
	What  string            `yaml:"what"`
	Files map[string]string `yaml:"files"`
}

// A match says what makes a finding: Look is the name of one of the looks of this
// package, and the rest its parameters, see rules/README.md.
type match struct {
	Look     string            `yaml:"look"`
	Messages map[string]string `yaml:"messages"`
	Words    map[string]string `yaml:"words"` // expressions

	words map[string]*regexp.Regexp
}

// A ruleset is all rules with the vocabularies.
type ruleset struct {
	rules        []*Rule
	vocabularies map[program.Language]*vocabulary
	words        map[string]*regexp.Regexp // rules/words.yaml
}

//go:embed rules
var embedded embed.FS

// shipped are the rules of this package, read once: they are constants.
var shipped = sync.OnceValues(func() (*ruleset, error) {
	sub, err := fs.Sub(embedded, "rules")
	if err != nil {
		return nil, err
	}
	return readRules(sub)
})

// Rules returns all rules, in the order of their ids.
func Rules() ([]*Rule, error) {
	set, err := shipped()
	if err != nil {
		return nil, err
	}
	return slices.Clone(set.rules), nil
}

// readRules reads the files of a rules folder: the rules, words.yaml, and the
// vocabularies in vocabulary.
func readRules(dir fs.FS) (*ruleset, error) {
	set := &ruleset{vocabularies: map[program.Language]*vocabulary{}}
	files, err := fs.Glob(dir, "*.yaml")
	if err != nil {
		return nil, err
	}
	for _, name := range files {
		if name == "words.yaml" {
			continue
		}
		r := &Rule{}
		if err := readYAML(dir, name, r); err != nil {
			return nil, err
		}
		if err := r.check(strings.TrimSuffix(name, ".yaml")); err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		set.rules = append(set.rules, r)
	}
	slices.SortFunc(set.rules, func(a, b *Rule) int { return strings.Compare(a.ID, b.ID) })
	var words map[string]string
	if err := readYAML(dir, "words.yaml", &words); err != nil {
		return nil, err
	}
	if set.words, err = expressions(words); err != nil {
		return nil, fmt.Errorf("words.yaml: %w", err)
	}
	for _, language := range []program.Language{program.JavaScript, program.Python, program.Go} {
		v := &vocabulary{sets: map[string]*entries{}}
		name := path.Join("vocabulary", string(language)+".yaml")
		var sets map[string][]entry
		if err := readYAML(dir, name, &sets); err != nil {
			return nil, err
		}
		for set, list := range sets {
			if !slices.Contains(setNames, set) {
				return nil, fmt.Errorf("%s: there is no set %q", name, set)
			}
			v.sets[set] = &entries{byLast: map[string][]*entry{}}
			for i := range list {
				compiled, err := list[i].compile()
				if err != nil {
					return nil, fmt.Errorf("%s: %s: %w", name, set, err)
				}
				v.sets[set].add(compiled)
			}
		}
		set.vocabularies[language] = v
	}
	return set, nil
}

func readYAML(dir fs.FS, name string, into any) error {
	data, err := fs.ReadFile(dir, name)
	if err != nil {
		return err
	}
	if err := yaml.NewDecoder(bytes.NewReader(data), yaml.Strict()).Decode(into); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	return nil
}

func expressions(texts map[string]string) (map[string]*regexp.Regexp, error) {
	out := map[string]*regexp.Regexp{}
	for name, text := range texts {
		// Without regard to case, and with room to be read.
		e, err := regexp.Compile("(?i)" + strings.Join(strings.Fields(text), ""))
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		out[name] = e
	}
	return out, nil
}

func (r *Rule) check(file string) (err error) {
	switch {
	case r.ID != file:
		return fmt.Errorf("the rule %q stands in the file of %q", r.ID, file)
	case r.Title == "" || r.Why == "" || r.Cure.Otherwise == "" || len(r.CWE) == 0 || len(r.Languages) == 0:
		return fmt.Errorf("a rule has a title, languages, cwe, why and a cure")
	case !slices.Contains([]Severity{High, Medium, Low}, r.Severity):
		return fmt.Errorf("the severity is high, medium or low")
	case looks()[r.Match.Look] == nil:
		return fmt.Errorf("there is no look %q", r.Match.Look)
	case len(r.Match.Messages) == 0:
		return fmt.Errorf("a rule has messages")
	case len(r.Bad) == 0 || len(r.Good) == 0:
		return fmt.Errorf("a rule has bad and good examples")
	}
	r.Match.words, err = expressions(r.Match.Words)
	return err
}
