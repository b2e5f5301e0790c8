// Package sarif writes what the probe and the linter found as SARIF 2.1.0, in
// the subset that GitHub's code scanning reads and within the limits of its
// uploads, so that both name rules, weaknesses and requirements alike.
//
// A Log is plain data; Write turns it into JSON. Text of a Log may come from a
// hostile server or source file: it arrives in the output as text, never as a
// link or a placeholder.
package sarif

import (
	"fmt"
	"time"
)

// The limits of an upload to GitHub's code scanning, as its documentation
// states them. Beyond the first four the whole file is refused there.
const (
	MaxResults   = 25_000 // in one run; it shows 5,000 of them
	MaxLocations = 1_000  // of one result; it shows 100
	MaxSteps     = 10_000 // in the flow of one result; it shows 1,000
	MaxTags      = 20     // of one rule; it shows 10
	MaxText      = 1_024  // characters of a rule's title and description
)

// Severity says how bad it is when a rule's finding is true.
type Severity string

// The severities, worst first.
const (
	Critical Severity = "critical"
	High     Severity = "high"
	Medium   Severity = "medium"
	Low      Severity = "low"
	Info     Severity = "info" // worth knowing; nobody is attacked by it
)

// Level is the SARIF level that code-scanning tools fail a build by.
func (s Severity) Level() string {
	switch s {
	case Critical, High:
		return "error"
	case Medium, Low:
		return "warning"
	default:
		return "note"
	}
}

// Score is GitHub's security-severity, a number on the scale of CVSS, as text.
// It is empty for Info.
func (s Severity) Score() string {
	switch s {
	case Critical:
		return "9.1"
	case High:
		return "8.1"
	case Medium:
		return "5.9"
	case Low:
		return "3.1"
	default:
		return ""
	}
}

// A Log is one run of one tool.
type Log struct {
	Name        string // of the tool, such as "rescind probe"
	Version     string // of the program; may be empty
	Home        string // where the tool is described: an absolute URI
	Category    string // tells runs of one tool on one commit apart; may be empty
	Rules       []Rule
	Results     []Result
	Invocation  Invocation
	Description string // of what was examined; may be empty
}

// A Rule is one kind of finding.
type Rule struct {
	ID          string // kebab-case, public and stable
	Title       string // one line
	Description string // what it means: one paragraph
	Help        string // why it matters and what to do, as Markdown
	HelpURI     string // where that can be read; may be empty
	Severity    Severity
	Precision   string   // "very-high", "high", "medium" or "low": how seldom a finding is false
	CWE         []string // "CWE-613"
	ASVS        []string // requirements of OWASP ASVS, as it wants to be cited: "v5.0.0-7.4.1"
	Tags        []string // further ones
}

// A Result is one finding.
type Result struct {
	Rule        string   // the id of one of the log's rules
	Severity    Severity // if it is another one than the rule's
	Message     string
	Locations   []Location // the first one is where the finding is shown
	Related     []Location // places that the message speaks of
	Steps       []Location // the way there, in order, each with its Message
	Fingerprint []string   // what makes this the same finding in the next run: never a time, a line or a token
	Suppressed  *Suppression
	Request     *Request
	Response    *Response
	Properties  map[string]any // must be marshallable as JSON
}

// A Location is a place in a file, or a thing with a name such as a route, or
// both.
type Location struct {
	// Path is the file, relative to the repository's root. GitHub refuses a
	// whole upload for a result without a file, and for one that stands at an
	// http URI; the address of a request therefore belongs into Name.
	Path    string
	Range   Range
	Snippet string // the source text of the range; may be empty

	Name string // fully qualified name of a function, or "GET http://host/route"
	Kind string // "function", "member", "resource" ...

	Message string
}

// A Range is a piece of a file. Lines and columns count from 1; columns in
// Unicode code points, EndColumn is the first one after the piece. A zero
// number is not known, and with StartLine 0 the whole file is meant.
type Range struct{ StartLine, StartColumn, EndLine, EndColumn int }

// A Suppression says who accepted a finding and why.
type Suppression struct {
	Why      string
	InSource bool // by a comment beside it
}

// A Request is what was sent, with its secrets already masked.
type Request struct {
	Method, Target, Body string
	Headers              map[string]string
}

// A Response is what came back, with its secrets already masked.
type Response struct {
	Status  int // 0: nothing came back
	Headers map[string]string
	Body    string
}

// An Invocation says how the run went.
type Invocation struct {
	Arguments []string // of the command line; may be empty
	Start     time.Time
	End       time.Time
	ExitCode  int
	Completed bool     // false: it ended early, and the results are not all
	Notices   []Notice // what kept the tool from judging
}

// A Notice is something about the run itself: a check that was inconclusive, a
// file that could not be parsed.
type Notice struct {
	Rule    string // the rule it is about; may be empty
	Message string
	Serious bool // an error, not a warning
	Path    string
}

// check refuses a log that a reader would refuse as a whole.
func (l *Log) check() error {
	rules := make(map[string]bool, len(l.Rules))
	for _, r := range l.Rules {
		if r.ID == "" || rules[r.ID] {
			return fmt.Errorf("sarif: rule %q stands there twice, or has no id", r.ID)
		}
		rules[r.ID] = true
	}
	for _, r := range l.Results {
		if !rules[r.Rule] {
			return fmt.Errorf("sarif: a result of the unknown rule %q", r.Rule)
		}
		if len(r.Locations) == 0 || r.Locations[0].Path == "" {
			return fmt.Errorf("sarif: a result of rule %q is in no file", r.Rule)
		}
	}
	for _, n := range l.Invocation.Notices {
		if n.Rule != "" && !rules[n.Rule] {
			return fmt.Errorf("sarif: a notice about the unknown rule %q", n.Rule)
		}
	}
	return nil
}
