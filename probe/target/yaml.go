package target

import (
	"fmt"

	"github.com/goccy/go-yaml/ast"
)

// UnmarshalYAML reads text, and what YAML takes for a number or a truth value as
// it is written: a password 0123 is not 83.
func (t *Template) UnmarshalYAML(n ast.Node) error {
	switch n := n.(type) {
	case *ast.StringNode:
		*t = Template(n.Value)
	case *ast.LiteralNode:
		*t = Template(n.Value.Value)
	case *ast.IntegerNode, *ast.FloatNode, *ast.BoolNode, *ast.InfinityNode, *ast.NanNode:
		*t = Template(n.GetToken().Value)
	default:
		at := n.GetToken().Position
		return fmt.Errorf("[%d:%d] text is expected; for none write \"\"", at.Line, at.Column)
	}
	return nil
}

// bare is a request without its ways of writing.
type bare Request

// UnmarshalYAML reads one request, or a list of them.
func (s *Steps) UnmarshalYAML(unmarshal func(any) error) error {
	var shape any
	if err := unmarshal(&shape); err != nil {
		return err
	}
	if _, isList := shape.([]any); isList {
		var list []Request
		if err := unmarshal(&list); err != nil {
			return err
		}
		*s = list
		return nil
	}
	var one Request
	if err := unmarshal(&one); err != nil {
		return err
	}
	*s = Steps{one}
	return nil
}

// MarshalYAML writes a single step without a list.
func (s Steps) MarshalYAML() (any, error) {
	if len(s) == 1 {
		return s[0], nil
	}
	return []Request(s), nil
}

// UnmarshalYAML reads a request, or its line alone.
func (r *Request) UnmarshalYAML(unmarshal func(any) error) error {
	var shape any
	if err := unmarshal(&shape); err != nil {
		return err
	}
	if line, isLine := shape.(string); isLine {
		*r = Request{Line: Template(line)}
		return nil
	}
	return unmarshal((*bare)(r))
}

// MarshalYAML writes the line alone where there is no more.
func (r Request) MarshalYAML() (any, error) {
	if r.Headers == nil && r.Basic == "" && r.JSON == nil && r.Form == nil && r.Multipart == nil && r.Body == "" &&
		r.Expect == nil && r.Finds == nil && r.Carry == "" {
		return string(r.Line), nil
	}
	return bare(r), nil
}

// UnmarshalYAML reads a request and its finder, or a request line alone, which
// Validate then finds incomplete.
func (i *Identity) UnmarshalYAML(unmarshal func(any) error) error {
	var all struct {
		Line    Template            `yaml:"request"`
		Headers map[string]Template `yaml:"headers"`
		Basic   Template            `yaml:"basic"`
		Expect  Expect              `yaml:"expect"`
		Find    Finder              `yaml:"find"`
	}
	if err := unmarshal(&all); err != nil {
		return err
	}
	*i = Identity{Request: Request{Line: all.Line, Headers: all.Headers, Basic: all.Basic, Expect: all.Expect}, Find: all.Find}
	return nil
}

// MarshalYAML writes it as it is read.
func (i Identity) MarshalYAML() (any, error) {
	return struct {
		Line    Template            `yaml:"request"`
		Headers map[string]Template `yaml:"headers,omitempty"`
		Basic   Template            `yaml:"basic,omitempty"`
		Expect  Expect              `yaml:"expect,omitempty"`
		Find    Finder              `yaml:"find"`
	}{i.Line, i.Headers, i.Basic, i.Expect, i.Find}, nil
}

// change is a PasswordChange as it is written.
type change struct {
	Request bare     `yaml:",inline"`
	Restore *Request `yaml:"restore,omitempty"`
}

// UnmarshalYAML reads a request with its restore.
func (p *PasswordChange) UnmarshalYAML(unmarshal func(any) error) error {
	var all change
	if err := unmarshal(&all); err != nil {
		return err
	}
	*p = PasswordChange{Request: Request(all.Request), Restore: all.Restore}
	return nil
}

// MarshalYAML writes it as it is read.
func (p PasswordChange) MarshalYAML() (any, error) {
	return change{Request: bare(p.Request), Restore: p.Restore}, nil
}
