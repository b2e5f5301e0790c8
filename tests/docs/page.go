// Package docs runs what the documentation shows. Every fenced block of the
// README and of the pages under docs does what the page says it does, or the
// test fails:
//
//	```sh            commands; the blocks of a page run in order, in one bash, with set -eu -o pipefail
//	```sh server     one command: a server, which runs until the page ends or shows the next one
//	```go            a whole program, built in this module and run; or, with package x_test, a test
//	```go server     a whole program that serves, until the page ends or shows the next one
//	```yaml [NAME]   a configuration for rescind serve, kept as NAME in the page's folder
//	```yaml probe NAME  a description for rescind probe, kept as NAME; a later block runs it
//	```sh app        one command: an application on port 8080, until the page ends or shows the next one
//	```sh redis      one command: a Redis on port 6379, likewise
//	```sh install    commands that install packages; see below
//	```js NAME       a file of the page's folder, which a later block runs or imports; also ts, python, json
//	```js NAME more  added to the end of that file
//	```json          one JSON value
//	```text          anything else; nothing is checked
//
// A comment "# → text" (in Go "// → text") behind a command, or alone on the lines
// below it, says what its output holds; "…" stands for anything in between.
// Ports 8470, 8471, 8080 and 6379 become free ones. A page runs in a folder of its
// own: an empty one; that of the README, and of a page whose commands name a path
// beneath examples/, holds a copy of the repository.
//
// What "sh install" installs is there without it: the packages of this repository,
// built as they would be published, beside those of tests/docs/package.json and of
// the system's Python. With RESCIND_SLOW=1 nothing is, the page's folder lies
// beside a copy of the repository, and the commands run.
//
// Links between the pages, and to files, must lead somewhere, and every page must
// be linked from another one. The list of dependencies in docs/design must be the
// list of those there are.
package docs

import (
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

// A page is one file of the documentation.
type page struct {
	path     string // from the top of the repository, with slashes
	blocks   []block
	links    []link
	anchors  []string
	problems []problem // of the text itself
}

// A block is what stands between two fences.
type block struct {
	line int      // of its first line, from 1
	info []string // the words behind the opening fence
	text string
}

// A link leads from a line to a target, which is empty for the page itself.
type link struct {
	line           int
	target, anchor string
}

// has reports whether the page has a block of a kind.
func (p page) has(kind string) bool {
	return slices.ContainsFunc(p.blocks, func(b block) bool { return strings.Join(b.info, " ") == kind })
}

// mentions reports whether a block of commands has a text.
func (p page) mentions(text string) bool {
	return slices.ContainsFunc(p.blocks, func(b block) bool {
		return len(b.info) > 0 && b.info[0] == "sh" && strings.Contains(b.text, text)
	})
}

// A problem is something that the documentation gets wrong.
type problem struct {
	page string
	line int
	what string
}

func (p problem) String() string { return fmt.Sprintf("%s:%d: %s", p.page, p.line, p.what) }

var (
	fence     = regexp.MustCompile("^[ \t]*(```+|~~~+)[ \t]*([^`]*)$")
	heading   = regexp.MustCompile(`^ {0,3}#{1,6}[ \t]+(.*?)[ \t]*#*$`)
	inline    = regexp.MustCompile(`\]\(<?([^)\s>]*)>?(?:\s+"[^"]*")?\)`)
	reference = regexp.MustCompile(`^ {0,3}\[[^\]]+\]:[ \t]*<?([^\s>]+)>?`)
	codeSpan  = regexp.MustCompile("``[^`].*?``|`[^`]*`")
	scheme    = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9+.-]*:`)
	indented  = regexp.MustCompile(`^(?: {4,}|\t)\S`)
	listItem  = regexp.MustCompile(`^\s*(?:[-*+]|[0-9]+[.)])\s`)
)

// read reads a page of the repository at root.
func read(root, path string) (page, error) {
	text, err := os.ReadFile(filepath.Join(root, filepath.FromSlash(path)))
	if err != nil {
		return page{}, err
	}
	return parse(path, string(text)), nil
}

// parse finds the blocks, links and headings of a page.
func parse(path, text string) page {
	p := page{path: path}
	var open *block
	opening, before, inList := "", "", false
	lines := strings.Split(strings.ReplaceAll(text, "\r\n", "\n"), "\n")
	for i, line := range lines {
		match := fence.FindStringSubmatch(line)
		switch {
		case open != nil && match != nil && strings.HasPrefix(match[1], opening) && match[2] == "":
			p.blocks = append(p.blocks, *open)
			open = nil
		case open != nil:
			open.text += line + "\n"
		case match != nil:
			open = &block{line: i + 2, info: strings.Fields(match[2])}
			opening = match[1]
		default:
			if listItem.MatchString(line) {
				inList = true
			} else if line != "" && !strings.HasPrefix(line, " ") {
				inList = false
			}
			if before == "" && !inList && indented.MatchString(line) {
				p.problem(i+1, "code that is only indented is not run: put it between fences")
			}
			p.prose(i+1, line)
		}
		before = strings.TrimSpace(line)
	}
	if open != nil {
		p.problem(open.line-1, "the block has no end")
	}
	return p
}

func (p *page) problem(line int, format string, args ...any) {
	p.problems = append(p.problems, problem{p.path, line, fmt.Sprintf(format, args...)})
}

// prose takes the links and the heading out of a line.
func (p *page) prose(n int, line string) {
	if match := heading.FindStringSubmatch(line); match != nil {
		p.anchors = append(p.anchors, p.slug(match[1]))
	}
	line = codeSpan.ReplaceAllString(line, "code")
	found := inline.FindAllStringSubmatch(line, -1)
	if match := reference.FindStringSubmatch(line); match != nil {
		found = append(found, match)
	}
	for _, match := range found {
		if scheme.MatchString(match[1]) {
			continue // somebody else's
		}
		target, anchor, _ := strings.Cut(match[1], "#")
		if decoded, err := url.PathUnescape(target); err == nil {
			target = decoded
		}
		p.links = append(p.links, link{n, target, anchor})
	}
}

// slug is the anchor that GitHub gives a heading.
func (p *page) slug(title string) string {
	title = regexp.MustCompile(`\[([^\]]*)\]\([^)]*\)`).ReplaceAllString(title, "$1")
	slug := strings.Map(func(r rune) rune {
		switch {
		case r == ' ':
			return '-'
		case r == '-', r == '_', r >= '0' && r <= '9', r >= 'a' && r <= 'z', r > 127:
			return r
		}
		return -1
	}, strings.ToLower(title))
	for n, one := 1, slug; slices.Contains(p.anchors, slug); n++ {
		slug = fmt.Sprintf("%s-%d", one, n)
	}
	return slug
}

// pages reads the Markdown files at the top of the repository and under docs.
func pages(root string) ([]page, error) {
	tops, err := filepath.Glob(filepath.Join(root, "*.md"))
	if err != nil {
		return nil, err
	}
	var all []page
	add := func(path string) error {
		rel, err := filepath.Rel(root, path)
		if err != nil {
			return err
		}
		p, err := read(root, filepath.ToSlash(rel))
		all = append(all, p)
		return err
	}
	for _, path := range tops {
		if err := add(path); err != nil {
			return nil, err
		}
	}
	return all, filepath.WalkDir(filepath.Join(root, "docs"), func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() || filepath.Ext(path) != ".md" {
			return err
		}
		return add(path)
	})
}

// checkLinks finds links that lead nowhere, and pages to which none leads.
func checkLinks(root string, all []page) []problem {
	var found []problem
	byPath, linked := map[string]*page{}, map[string]bool{}
	for i := range all {
		byPath[all[i].path] = &all[i]
	}
	for _, p := range all {
		for _, l := range p.links {
			to := p.path
			if l.target != "" {
				to = filepath.ToSlash(filepath.Join(filepath.Dir(filepath.FromSlash(p.path)), filepath.FromSlash(l.target)))
			}
			info, err := os.Stat(filepath.Join(root, filepath.FromSlash(to)))
			switch {
			case strings.HasPrefix(to, "../") || strings.HasPrefix(l.target, "/"):
				found = append(found, problem{p.path, l.line, fmt.Sprintf("the link to %s leaves the repository", l.target)})
				continue
			case err != nil:
				found = append(found, problem{p.path, l.line, fmt.Sprintf("the link to %s leads nowhere", l.target)})
				continue
			case info.IsDir():
				to = strings.TrimPrefix(to+"/README.md", "./")
			}
			if to != p.path {
				linked[to] = true
			}
			if other := byPath[to]; l.anchor != "" && (other == nil || !slices.Contains(other.anchors, l.anchor)) {
				found = append(found, problem{p.path, l.line, fmt.Sprintf("%s has no heading #%s", to, l.anchor)})
			}
		}
	}
	for _, p := range all {
		if strings.HasPrefix(p.path, "docs/") && !linked[p.path] {
			found = append(found, problem{p.path, 1, "no other page leads here"})
		}
	}
	return found
}
