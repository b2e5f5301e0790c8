package repo

import (
	"bytes"
	"fmt"
	"go/format"
	"path"
	"regexp"
	"slices"
	"strings"
)

// maxLines is the hard limit for a file of Go source. Aim for 500.
const maxLines = 600

// A file is one that git tracks.
type file struct {
	path string
	mode string // as git writes it: 100644, 100755, 120000, …
	text []byte // empty if it is binary
}

func (f file) isGo() bool { return path.Ext(f.path) == ".go" }

// isData reports whether nobody wrote the file by hand, so that words in it
// mean nothing.
func (f file) isData() bool {
	return lockFile.MatchString(f.path) || slices.Contains(strings.Split(f.path, "/"), "testdata")
}

// A check finds what is wrong with a file, one line for each.
type check struct {
	name string
	find func(file) []string
}

var checks = []check{
	{"plain files only", linked},
	{"Go files are short", long},
	{"Go files are formatted", unformatted},
	{"nothing is left for later", matching(unfinished, file.isData)},
	{"no path of one machine", matching(machinePath, nil)},
	{"no registry address", matching(registryAddress, nil)},
	{"scripts are executable", notExecutable},
	{"tests skip in one place", matching(skipCall, maySkip)},
}

// The patterns are written so that they do not match their own source.
var (
	unfinished  = regexp.MustCompile(`\b(TO` + `DO|FIX` + `ME|XX` + `X)\b`)
	machinePath = regexp.MustCompile("(?:^|[\\s\"'`=(:,])" + `(?:/(?:home|Users|root|work|workspace|builds)/\w|[A-Za-z]:\\+Users\\)`)
	// What a lock file or a tool's settings say about where packages come from.
	// That is for each machine to decide; hashes say what they must be.
	registryAddress = regexp.MustCompile(`(?i)(?:resolved|registry|registry-url|tarball|index-url|goproxy)["']?\s*[:=\s]\s*["']?[a-z+]+://`)
	lockFile        = regexp.MustCompile(`(?:^|/)(?:go\.sum|[\w.-]+[.-]lock(?:\.json|\.yaml)?|npm-shrinkwrap\.json)$`)
	skipCall        = regexp.MustCompile(`\b(?:t|b|f|tb|rt)\.Skip(?:f|Now)?\(`)
	generated       = regexp.MustCompile(`(?m)^// Code generated .* DO NOT EDIT\.$`)
)

// maySkip names the one place where a test may decide to skip. There the reason
// is looked up, and in CI it is a failure.
func maySkip(f file) bool {
	return !f.isGo() || strings.HasPrefix(f.path, "rescindtest/") || strings.HasPrefix(f.path, "tests/need/") || path.Base(f.path) == "skip.go"
}

func matching(pattern *regexp.Regexp, but func(file) bool) func(file) []string {
	return func(f file) []string {
		if but != nil && but(f) {
			return nil
		}
		var found []string
		n := 0
		for line := range bytes.Lines(f.text) {
			n++
			if match := pattern.Find(line); match != nil {
				found = append(found, fmt.Sprintf("line %d: %s", n, bytes.TrimSpace(match)))
			}
		}
		return found
	}
}

func linked(f file) []string {
	if f.mode != "100644" && f.mode != "100755" {
		return []string{"a link or a module of another repository (mode " + f.mode + ")"}
	}
	return nil
}

func long(f file) []string {
	if lines := bytes.Count(f.text, []byte("\n")); f.isGo() && lines > maxLines && !generated.Match(f.text) {
		return []string{fmt.Sprintf("%d lines, %d are allowed", lines, maxLines)}
	}
	return nil
}

func unformatted(f file) []string {
	if !f.isGo() || f.isData() {
		return nil
	}
	formatted, err := format.Source(f.text)
	if err != nil {
		return []string{err.Error()}
	}
	if !bytes.Equal(formatted, f.text) {
		return []string{"gofmt would change it"}
	}
	return nil
}

func notExecutable(f file) []string {
	if script := bytes.HasPrefix(f.text, []byte("#!")); script && f.mode != "100755" {
		return []string{"begins with #! and is not executable"}
	} else if !script && f.mode == "100755" {
		return []string{"is executable and does not begin with #!"}
	}
	return nil
}
