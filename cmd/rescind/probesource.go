package main

import (
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/rescind/rescind/probe/target"
)

// probeSource is where the description of a target comes from: one of them.
type probeSource struct {
	file, openapi, har, curl string
	base                     string
}

func (s *probeSource) derived() bool { return s.openapi != "" || s.har != "" || s.curl != "" }

// target reads the description or derives it, and resolves it. With only print
// set it prints what it derived and returns no target.
func (s *probeSource) target(c *cli, print bool) (*target.Target, error) {
	named := 0
	for _, path := range []string{s.file, s.openapi, s.har, s.curl} {
		if path != "" {
			named++
		}
	}
	if named != 1 {
		return nil, usagef("name one description: TARGET.yaml, --openapi, --har or --curl\nSee rescind probe --help; rescind probe init writes one by asking")
	}
	if strings.Contains(s.file, "://") {
		return nil, usagef("%s is an address and no description of what is there: rescind probe init writes one by asking", clean(s.file))
	}
	if s.file != "" {
		text, err := c.readInput(s.file, target.MaxDescription)
		if err != nil {
			return nil, err
		}
		t, err := target.Parse(text, c.env)
		if err != nil {
			return nil, usagef("%s: %w", s.file, err)
		}
		return t, nil
	}
	draft, err := s.draft(c)
	if err != nil {
		return nil, err
	}
	if print {
		return nil, c.printDraft(draft)
	}
	for _, remark := range draft.Remarks {
		c.out.note("%s", clean(remark))
	}
	if err := draft.Target.Resolve(c.env); err != nil {
		return nil, usagef("%w\n%s", err, variables(draft.Target))
	}
	return draft.Target, nil
}

// draft derives the description.
func (s *probeSource) draft(c *cli) (*target.Draft, error) {
	path, most, derive := s.openapi, target.MaxOpenAPI, target.FromOpenAPI
	switch {
	case s.har != "":
		path, most, derive = s.har, target.MaxHAR, target.FromHAR
	case s.curl != "":
		path, most, derive = s.curl, target.MaxCurl, target.FromCurl
	}
	text, err := c.readInput(path, most)
	if err != nil {
		return nil, err
	}
	draft, err := derive(text, s.base)
	if err != nil {
		return nil, usagef("%s: %w", path, err)
	}
	return draft, nil
}

// readInput reads a file, - for standard input, up to a limit.
func (c *cli) readInput(path string, most int) ([]byte, error) {
	in := c.stdin
	if path != "-" {
		f, err := os.Open(path)
		if err != nil {
			return nil, usagef("%w", err)
		}
		defer f.Close()
		in = f
	}
	text, err := io.ReadAll(io.LimitReader(in, int64(most)+1))
	switch {
	case err != nil:
		return nil, usagef("%s: %w", path, err)
	case len(text) > most:
		return nil, usagef("%s: it has more than %d bytes, which is all that is read", path, most)
	}
	return text, nil
}

// variables says what has to be set, one line for each.
func variables(t *target.Target) string {
	var lines []string
	for _, v := range t.Variables() {
		lines = append(lines, fmt.Sprintf("  %s, for %s", v.Name, v.For))
	}
	return strings.Join(lines, "\n")
}

// printDraft prints a derived description, with what is to be known of it as
// comments at its head.
func (c *cli) printDraft(d *target.Draft) error {
	text, err := d.Write()
	if err != nil {
		return err
	}
	if !c.out.json {
		return c.out.printf("%s", text)
	}
	type variable struct {
		Name string `json:"name"`
		For  string `json:"for"`
	}
	out := struct {
		Description string     `json:"description"`
		Remarks     []string   `json:"remarks"`
		Environment []variable `json:"environment"`
	}{Description: string(text), Remarks: append([]string{}, d.Remarks...), Environment: []variable{}}
	for _, v := range d.Target.Variables() {
		out.Environment = append(out.Environment, variable(v))
	}
	return c.out.emit(out)
}
