package report

import (
	"cmp"
	"io"
	"path/filepath"
	"strings"

	"github.com/rescind/rescind/probe"
	"github.com/rescind/rescind/sarif"
)

// SARIF writes the findings as SARIF 2.1.0. Each stands in the file of the
// description, because GitHub takes no result that stands at an http URL; which
// request it was stands beside it. What is inconclusive is a notice of the run.
func SARIF(w io.Writer, r *probe.Report, about About) error {
	r = clean(r)
	catalogue := probe.Checks()
	out := sarif.Log{
		Name: "rescind probe", Version: about.Version, Home: Home, Category: "rescind-probe", Description: r.Name,
		Invocation: sarif.Invocation{Start: r.Started, End: r.Ended, ExitCode: ExitCode(r), Completed: !r.Interrupted},
	}
	c := cleaner{}
	for _, argument := range about.Arguments {
		out.Invocation.Arguments = append(out.Invocation.Arguments, c.text(argument))
	}
	for _, check := range checksOf(r, catalogue) {
		out.Rules = append(out.Rules, ruleOf(check))
	}
	for _, e := range entries(r, catalogue, probe.Finding) {
		out.Results = append(out.Results, resultOf(e, r, inRepository(about.File)))
	}
	for _, e := range entries(r, catalogue, probe.Inconclusive) {
		text := "inconclusive: " + e.Text()
		if e.Subject != "" {
			text = e.Subject + ": " + text
		}
		out.Invocation.Notices = append(out.Invocation.Notices, sarif.Notice{Rule: e.Check, Message: text})
	}
	if r.Interrupted {
		out.Invocation.Notices = append(out.Invocation.Notices, sarif.Notice{Message: "the run was interrupted", Serious: true})
	}
	for _, remark := range r.Remarks {
		out.Invocation.Notices = append(out.Invocation.Notices, sarif.Notice{Message: remark})
	}
	return out.Write(w)
}

// inRepository is a path as code scanning knows it. One that leads elsewhere gives
// no more than its name: where it is on this machine concerns nobody.
func inRepository(path string) string {
	switch path = filepath.ToSlash(filepath.Clean(path)); {
	case path == ".":
		return "probe.yaml" // derived, and never written
	case filepath.IsLocal(path):
		return path
	default:
		return filepath.Base(path)
	}
}

func ruleOf(c probe.Check) sarif.Rule {
	return sarif.Rule{
		ID: c.ID, Title: c.Title, Description: cmp.Or(c.Tests, c.Title),
		Help: strings.Join([]string{
			"**Why it matters.** " + c.Matters, "**What to do.** " + c.Cure, "**With Rescind.** " + c.Rescind,
		}, "\n\n"),
		HelpURI:  Home + "/blob/main/docs/checks.md#" + c.ID,
		Severity: sarif.Severity(c.Severity), Precision: "very-high", CWE: c.CWE, ASVS: c.ASVS,
	}
}

func resultOf(e entry, r *probe.Report, file string) sarif.Result {
	at := sarif.Location{Path: file, Range: sarif.Range{StartLine: 1}}
	out := sarif.Result{
		Rule: e.Check, Message: e.Of.Title + ": " + e.Says, Locations: []sarif.Location{at},
		Fingerprint: []string{r.Name, e.Subject},
		Properties:  map[string]any{"instances": r.Instances},
	}
	if e.Subject != "" {
		out.Properties["subject"] = e.Subject
	}
	var fates []map[string]any
	for _, id := range e.Lives {
		if id >= 0 && id < len(r.Lives) {
			l := r.Lives[id]
			fates = append(fates, map[string]any{"artefact": l.Artefact, "route": l.Route, "instance": l.Instance, "fate": fateOf(l).Text})
		}
	}
	if len(fates) > 0 {
		out.Properties["lives"] = fates
	}
	for _, x := range e.Evidence {
		out.Steps = append(out.Steps, sarif.Location{Path: file, Range: at.Range, Name: x.Request.Method + " " + x.Request.URL, Message: sentence(x)})
	}
	if x := e.Shown(); x != nil {
		out.Locations[0].Name = x.Request.Method + " " + x.Request.URL
		out.Request = &sarif.Request{Method: x.Request.Method, Target: x.Request.URL, Body: x.Request.Body, Headers: headers(x.Request.Header)}
		out.Response = &sarif.Response{Status: x.Status, Body: x.Body, Headers: headers(x.Header)}
		out.Properties["curl"] = x.Request.Curl
	}
	return out
}

// headers joins the fields of one name, as HTTP allows (RFC 9110, section 5.3).
func headers(fields []probe.Field) map[string]string {
	out := map[string]string{}
	for _, f := range fields {
		if have, ok := out[f.Name]; ok {
			out[f.Name] = have + ", " + f.Value
		} else {
			out[f.Name] = f.Value
		}
	}
	return out
}
