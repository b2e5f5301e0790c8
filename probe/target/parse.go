package target

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"
	"github.com/goccy/go-yaml/token"
)

// MaxDescription is the largest description that Parse reads, in bytes.
const MaxDescription = 256 << 10

// maxNesting bounds how deep brackets and indentation of a description nest.
const maxNesting = 64

// Parse reads a description, fills in what it leaves out, resolves it with the
// environment (nil: that of the process), and validates it. Errors name line and
// column, or the key, and hold no value of the description.
func Parse(text []byte, environment func(string) (string, bool)) (*Target, error) {
	t, err := decode(text)
	if err != nil {
		return nil, err
	}
	if err := t.Resolve(environment); err != nil {
		return nil, err
	}
	return t, nil
}

// decode reads a description and validates it as far as that goes without the
// environment.
func decode(text []byte) (*Target, error) {
	if len(text) > MaxDescription {
		return nil, fmt.Errorf("the description has %d bytes, at most %d are read", len(text), MaxDescription)
	}
	if err := shallow(text); err != nil {
		return nil, err
	}
	file, err := parser.ParseBytes(text, 0)
	if err != nil {
		return nil, located(err)
	}
	if len(file.Docs) != 1 || file.Docs[0].Body == nil {
		return nil, errors.New("one description is expected, as one YAML document")
	}
	var shared aliases
	ast.Walk(&shared, file.Docs[0])
	if shared.at != nil {
		return nil, fmt.Errorf("[%d:%d] anchors, aliases and tags have no place in a description", shared.at.Position.Line, shared.at.Position.Column)
	}
	t := &Target{Limits: DefaultLimits()}
	dec := yaml.NewDecoder(bytes.NewReader(text), yaml.Strict())
	if err := dec.Decode(t); err != nil && !errors.Is(err, io.EOF) {
		return nil, located(err)
	}
	t.defaults()
	if err := t.Validate(); err != nil {
		return nil, err
	}
	return t, nil
}

// shallow refuses what nests so deep that a parser might not come back.
func shallow(text []byte) error {
	depth := 0
	for n, line := range bytes.Split(text, []byte("\n")) {
		indent := len(line) - len(bytes.TrimLeft(line, " -?:\t"))
		for _, c := range line {
			switch c {
			case '[', '{':
				depth++
			case ']', '}':
				depth = max(depth-1, 0)
			}
		}
		if depth > maxNesting || indent > 4*maxNesting {
			return fmt.Errorf("[%d:1] this nests too deep", n+1)
		}
	}
	return nil
}

// aliases finds what makes a small document large, or a value of a type that its
// reader does not expect.
type aliases struct{ at *token.Token }

func (a *aliases) Visit(n ast.Node) ast.Visitor {
	switch n.Type() {
	case ast.AnchorType, ast.AliasType, ast.MergeKeyType, ast.TagType:
		if a.at == nil {
			a.at = n.GetToken()
		}
	}
	return a
}

// located is an error of the YAML library with its position and without the lines
// that it would quote, which may hold a password.
func located(err error) error {
	return errors.New(strings.TrimSpace(yaml.FormatError(err, false, false)))
}

// Resolve reads the environment for every ${NAME} (nil: that of the process), and
// validates what only then can be: an instance or host that comes from there. All
// names that are not set are in one error.
func (t *Target) Resolve(environment func(string) (string, bool)) error {
	if environment == nil {
		environment = os.LookupEnv
	}
	values := map[string]Secret{}
	var missing []string
	for _, name := range t.Environment() {
		value, set := environment(name)
		if !set || value == "" {
			missing = append(missing, name)
			continue
		}
		values[name] = Secret(value)
	}
	if missing != nil {
		return fmt.Errorf("the description needs %s from the environment: set %s", count(len(missing), "variable"), strings.Join(missing, ", "))
	}
	t.environment = func() map[string]Secret { return values }
	for _, list := range [][]string{t.Instances, t.Hosts} {
		for i, text := range list {
			value, err := Template(text).Render(t.Vars(nil))
			if err != nil {
				return err
			}
			list[i] = value
		}
	}
	return t.Validate()
}

// Environment returns the names of the environment's variables that the
// description uses, sorted.
func (t *Target) Environment() []string {
	seen := map[string]bool{}
	t.templates(func(_ string, s Template) {
		for _, name := range s.Names() {
			if name, env := strings.CutPrefix(name, "$"); env {
				seen[name] = true
			}
		}
	})
	var names []string
	for name := range seen {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// Secrets returns the values that came from the environment: what no report may
// hold.
func (t *Target) Secrets() []Secret {
	if t.environment == nil {
		return nil
	}
	return slices.Collect(maps.Values(t.environment()))
}

// Marshal writes the description as YAML that Parse reads. It holds "${NAME}"
// where the description does.
func Marshal(t *Target) ([]byte, error) {
	short := *t
	if short.Limits == DefaultLimits() {
		short.Limits = Limits{}
	}
	if slices.Equal(short.Delays, DefaultDelays()) {
		short.Delays = nil
	}
	if slices.Equal(short.Allow.Methods, []string{"GET", "HEAD"}) {
		short.Allow.Methods = nil
	}
	return yaml.MarshalWithOptions(&short, yaml.Indent(2), yaml.IndentSequence(true))
}

func count(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

func index(key string, i int) string { return fmt.Sprintf("%s[%d]", key, i) }
