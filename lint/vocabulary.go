package lint

import (
	"fmt"
	"regexp"
	"strings"

	"github.com/rescind/rescind/lint/program"
)

// A vocabulary says, for one language, which calls mean what: see rules/README.md
// for its sets and for the form of an entry.
type vocabulary struct {
	sets map[string]*entries
}

// entries are those of one set, by the last name of the pattern as far as that has
// no *.
type entries struct {
	byLast map[string][]*entry
	wild   []*entry
}

func (e *entries) add(list []entry) {
	for i := range list {
		names := list[i].pattern.names
		if len(names) == 0 || strings.Contains(names[len(names)-1], "*") {
			e.wild = append(e.wild, &list[i])
			continue
		}
		last := names[len(names)-1]
		e.byLast[last] = append(e.byLast[last], &list[i])
	}
}

// An entry is one pattern of a set. In YAML it is a mapping, or the pattern alone.
type entry struct {
	Call  string   `yaml:"call"`  // patterns, see there, with blanks between; a{b,c} is ab and ac
	Text  string   `yaml:"text"`  // and a constant string among the arguments matches this expression
	Not   string   `yaml:"not"`   // and none does this
	Needs []string `yaml:"needs"` // and a parsed file imports one of these modules
	As    string   `yaml:"as"`    // what else is known of it, where a set says so

	pattern   pattern
	text, not *regexp.Regexp
}

// UnmarshalYAML takes the short form too.
func (e *entry) UnmarshalYAML(unmarshal func(any) error) error {
	var short string
	if unmarshal(&short) == nil {
		*e = entry{Call: short}
		return nil
	}
	type plain entry
	var long plain
	if err := unmarshal(&long); err != nil {
		return err
	}
	*e = entry(long)
	return nil
}

// compile makes an entry for each pattern.
func (e *entry) compile() ([]entry, error) {
	text, err := optional(e.Text)
	if err != nil {
		return nil, err
	}
	not, err := optional(e.Not)
	if err != nil {
		return nil, err
	}
	var out []entry
	for word := range strings.FieldsSeq(e.Call) {
		for _, call := range braces(word) {
			one := *e
			one.Call, one.text, one.not = call, text, not
			if one.pattern, err = parsePattern(call); err != nil {
				return nil, err
			}
			out = append(out, one)
		}
	}
	return out, nil
}

// braces writes a{b,c}d out as abd and acd.
func braces(s string) []string {
	before, rest, ok := strings.Cut(s, "{")
	inside, after, closed := strings.Cut(rest, "}")
	if !ok || !closed {
		return []string{s}
	}
	var out []string
	for one := range strings.SplitSeq(inside, ",") {
		out = append(out, braces(before+one+after)...)
	}
	return out
}

func optional(expression string) (*regexp.Regexp, error) {
	if expression == "" {
		return nil, nil
	}
	return regexp.Compile(expression)
}

// A pattern matches paths, without regard to case: module:name.name. Without a
// module any will do, and what is written in the source as well as what it stands
// for. A * is any part of one name; ** in the place of a name is any number of names.
type pattern struct {
	module   string
	any      bool // any module
	names    []string
	specific int
}

func parsePattern(s string) (pattern, error) {
	var p pattern
	names := s
	if i := strings.LastIndexByte(s, ':'); i >= 0 {
		p.module, names = strings.ToLower(s[:i]), s[i+1:]
		p.specific = 1000
	} else {
		p.any = true
	}
	names = strings.ToLower(names)
	if names != "" {
		p.names = strings.Split(names, ".")
	}
	for _, n := range p.names {
		if n == "" || strings.Contains(n, "**") && n != "**" {
			return p, fmt.Errorf("%q is no pattern: it is module:name.name, with * in a name and ** for names", s)
		}
	}
	if p.any && (len(p.names) == 0 || len(p.names) == 1 && p.names[0] == "**") {
		return p, fmt.Errorf("%q would match everything", s)
	}
	for _, r := range p.module + names {
		if r != '*' {
			p.specific++
		}
	}
	if !p.any && names == "**" {
		// Of a framework comes the request, and of the request the session.
		p.specific = 1
	}
	return p, nil
}

// matches takes a path in lower case.
func (p *pattern) matches(module string, names []string) bool {
	if !p.any && !glob(p.module, module) {
		return false
	}
	return sequence(p.names, names)
}

// sequence matches names with ** for any of them.
func sequence(pattern, names []string) bool {
	return wild(len(pattern), len(names), func(i int) bool { return pattern[i] == "**" }, func(i, j int) bool { return glob(pattern[i], names[j]) })
}

// glob matches with * for any text.
func glob(pattern, s string) bool {
	return wild(len(pattern), len(s), func(i int) bool { return pattern[i] == '*' }, func(i, j int) bool { return pattern[i] == s[j] })
}

// wild matches a pattern of m parts with n others: several says whether a part stands
// for any number of them, same whether it stands for one. It takes time in
// proportion to the product of m and n at most.
func wild(m, n int, several func(i int) bool, same func(i, j int) bool) bool {
	star, mark := -1, 0
	i, j := 0, 0
	for j < n {
		switch {
		case i < m && several(i):
			star, mark = i, j
			i++
		case i < m && same(i, j):
			i++
			j++
		case star >= 0:
			mark++
			i, j = star+1, mark
		default:
			return false
		}
	}
	for i < m && several(i) {
		i++
	}
	return i == m
}

// matches reports whether a call, or what an assignment writes to, is an entry's.
func (e *entry) matches(s *site, imports map[string]bool) bool {
	p := &e.pattern
	if !p.matches(s.module, s.names) && !(p.any && p.matches("", s.written)) {
		return false
	}
	if len(e.Needs) > 0 {
		found := false
		for _, module := range e.Needs {
			found = found || imports[module]
		}
		if !found {
			return false
		}
	}
	if e.text != nil && !s.says(e.text) {
		return false
	}
	return e.not == nil || !s.says(e.not)
}

// find returns the most specific entry of a set that matches, nil without.
func (st *study) find(set string, s *site) *entry {
	vocabulary := st.rules.vocabularies[s.scope.File.Language]
	if vocabulary == nil || !s.call() && set != setMemory {
		return nil
	}
	list := vocabulary.sets[set]
	if list == nil {
		return nil
	}
	var best *entry
	try := func(some []*entry) {
		for _, e := range some {
			if (best == nil || e.pattern.specific > best.pattern.specific) && e.matches(s, st.imports) {
				best = e
			}
		}
	}
	try(list.wild)
	last := ""
	if n := len(s.names); n > 0 {
		last = s.names[n-1]
		try(list.byLast[last])
	}
	if n := len(s.written); n > 0 && s.written[n-1] != last {
		try(list.byLast[s.written[n-1]])
	}
	return best
}

// lower is a path in lower case.
func lower(names []string) []string {
	out := make([]string, len(names))
	for i, n := range names {
		out[i] = strings.ToLower(n)
	}
	return out
}

// words are the names and constant texts in the arguments of a call: of a member
// chain the last name alone, for token.userId speaks of a user.
func words(n *program.Node) []string {
	var out []string
	var visit func(*program.Node)
	visit = func(n *program.Node) {
		if len(out) > 200 {
			return
		}
		switch n.Kind {
		case program.Name, program.String, program.Member:
			out = append(out, n.Text)
		case program.Func, program.Type:
		case program.Call:
			if n.On != nil && (n.On.Kind == program.Member || n.On.Kind == program.Name) {
				out = append(out, n.On.Text)
			}
			for _, a := range n.Args {
				visit(a)
			}
			for _, f := range n.Fields {
				out = append(out, f.Key)
				visit(f.Value)
			}
		default:
			for _, f := range n.Fields {
				out = append(out, f.Key)
			}
			n.Children(visit)
		}
	}
	for _, a := range n.Args {
		visit(a)
	}
	for _, f := range n.Fields {
		out = append(out, f.Key)
		visit(f.Value)
	}
	return out
}
