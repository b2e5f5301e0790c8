package report

import (
	"encoding/xml"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/rescind/rescind/probe"
)

type junitSuites struct {
	XMLName  xml.Name   `xml:"testsuites"`
	Name     string     `xml:"name,attr"`
	Tests    int        `xml:"tests,attr"`
	Failures int        `xml:"failures,attr"`
	Errors   int        `xml:"errors,attr"`
	Skipped  int        `xml:"skipped,attr"`
	Time     string     `xml:"time,attr"`
	Suite    junitSuite `xml:"testsuite"`
}

type junitSuite struct {
	Name       string          `xml:"name,attr"`
	Tests      int             `xml:"tests,attr"`
	Failures   int             `xml:"failures,attr"`
	Errors     int             `xml:"errors,attr"`
	Skipped    int             `xml:"skipped,attr"`
	Time       string          `xml:"time,attr"`
	Timestamp  string          `xml:"timestamp,attr"`
	Properties []junitProperty `xml:"properties>property"`
	Cases      []junitCase     `xml:"testcase"`
	Out        string          `xml:"system-out,omitempty"`
}

type junitProperty struct {
	Name  string `xml:"name,attr"`
	Value string `xml:"value,attr"`
}

type junitCase struct {
	Class   string        `xml:"classname,attr"`
	Name    string        `xml:"name,attr"`
	Time    string        `xml:"time,attr"`
	Skipped *junitProblem `xml:"skipped"`
	Error   *junitProblem `xml:"error"`
	Failure *junitProblem `xml:"failure"`
	Out     string        `xml:"system-out,omitempty"`
}

type junitProblem struct {
	Message string `xml:"message,attr"`
	Type    string `xml:"type,attr,omitempty"`
	Text    string `xml:",chardata"`
}

// JUnit writes the report as JUnit XML, one test case for each result: a finding is
// a failure, what is inconclusive an error, what does not apply skipped.
func JUnit(w io.Writer, r *probe.Report, about About) error {
	r = clean(r)
	catalogue := probe.Checks()
	suite := junitSuite{
		Name: "rescind probe " + r.Name, Tests: len(r.Results), Failures: r.Count(probe.Finding), Errors: r.Count(probe.Inconclusive),
		Skipped: r.Count(probe.NotApplicable), Time: seconds(r.Ended.Sub(r.Started)), Timestamp: r.Started.UTC().Format(time.RFC3339),
		Properties: []junitProperty{{"verdict", headline(r)}, {"requests", fmt.Sprint(r.Requests)}},
	}
	for _, instance := range r.Instances {
		suite.Properties = append(suite.Properties, junitProperty{"instance", instance})
	}
	if about.Version != "" {
		suite.Properties = append(suite.Properties, junitProperty{"version", about.Version})
	}
	for _, result := range r.Results {
		suite.Cases = append(suite.Cases, junitCaseOf(entry{result, catalogue.Find(result.Check)}))
	}
	if r.Interrupted {
		// Without this a run that was cut short could look like a clean one.
		suite.Tests++
		suite.Errors++
		suite.Cases = append(suite.Cases, junitCase{Class: "rescind.probe", Name: "the whole run", Time: "0.000",
			Error: &junitProblem{Message: "the run was interrupted", Type: string(probe.Inconclusive)}})
	}
	suite.Out = strings.Join(r.Remarks, "\n")
	out := junitSuites{Name: "rescind probe", Tests: suite.Tests, Failures: suite.Failures, Errors: suite.Errors, Skipped: suite.Skipped, Time: suite.Time, Suite: suite}

	if _, err := io.WriteString(w, xml.Header); err != nil {
		return err
	}
	encoder := xml.NewEncoder(w)
	encoder.Indent("", "  ")
	if err := encoder.Encode(out); err != nil {
		return err
	}
	_, err := io.WriteString(w, "\n")
	return err
}

func junitCaseOf(e entry) junitCase {
	out := junitCase{Class: "rescind.probe." + string(e.Of.Severity), Name: e.Name(), Time: seconds(took(e.Evidence))}
	switch e.Verdict {
	case probe.Finding:
		out.Failure = &junitProblem{Message: e.Of.Title + ": " + e.Says, Type: string(e.Of.Severity), Text: plain(e)}
	case probe.Inconclusive:
		out.Error = &junitProblem{Message: e.Text(), Type: string(e.Verdict), Text: plain(e)}
	case probe.NotApplicable:
		out.Skipped = &junitProblem{Message: e.Text()}
	default:
		out.Out = e.Text()
	}
	return out
}

// plain is a result as running text: what was seen, by which requests, and what to
// do about it.
func plain(e entry) string {
	var b strings.Builder
	line := func(format string, a ...any) { fmt.Fprintf(&b, format+"\n", a...) }
	line("%s", e.Of.Title)
	line("%s", e.Text())
	if named := references(e.Of); named != "" {
		line("%s", named)
	}
	if len(e.Evidence) > 0 {
		line("\nEvidence:")
		for _, x := range e.Evidence {
			line("  %s", sentence(x))
		}
	}
	if x := e.Shown(); x != nil {
		line("\nTo see it again, put the secrets into the variables and run:\n  %s", x.Request.Curl)
	}
	if e.Verdict == probe.Finding {
		line("\nWhy it matters: %s", e.Of.Matters)
		line("What to do: %s", e.Of.Cure)
		line("With Rescind: %s", e.Of.Rescind)
	}
	return b.String()
}

// references names the weaknesses and requirements of a check.
func references(c probe.Check) string {
	var parts []string
	parts = append(parts, c.CWE...)
	for _, id := range c.ASVS {
		parts = append(parts, "ASVS "+strings.TrimPrefix(id, "v5.0.0-"))
	}
	return strings.Join(parts, ", ")
}

// sentence is an exchange in one line.
func sentence(x probe.Exchange) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s: ", x.Role)
	if x.Session != "" {
		fmt.Fprintf(&b, "[%s] ", x.Session)
	}
	fmt.Fprintf(&b, "%s %s", x.Request.Method, x.Request.URL)
	if x.Artefact != "" {
		fmt.Fprintf(&b, " with %s", x.Artefact)
	}
	switch {
	case x.Status != 0:
		fmt.Fprintf(&b, " → %d", x.Status)
	case x.Error != "":
		fmt.Fprintf(&b, " → no answer (%s)", x.Error)
	}
	if x.Class != "" {
		fmt.Fprintf(&b, ", %s", x.Class)
	}
	if x.Took > 0 {
		fmt.Fprintf(&b, ", in %s", span(x.Took))
	}
	if x.Note != "" {
		fmt.Fprintf(&b, " (%s)", x.Note)
	}
	return b.String()
}

// took is the time between the first request and the last answer of the evidence.
func took(evidence []probe.Exchange) time.Duration {
	if len(evidence) == 0 {
		return 0
	}
	last := evidence[len(evidence)-1]
	return max(0, last.Began.Add(last.Took).Sub(evidence[0].Began))
}

func seconds(d time.Duration) string { return fmt.Sprintf("%.3f", d.Seconds()) }
