package sarif

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io"
	"net/url"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	v210 "github.com/owenrumney/go-sarif/v3/pkg/report/v210/sarif"
)

const (
	cwe  = "CWE"
	asvs = "OWASP ASVS"
)

// Write writes the log as indented JSON. It cuts what is over the limits of an
// upload, worst severity kept, and says in a notice what it left out. A log with
// an unknown rule, or a result in no file, is refused before anything is
// written.
func (l *Log) Write(w io.Writer) error { return l.write(w, MaxResults) }

func (l *Log) write(w io.Writer, most int) error {
	if err := l.check(); err != nil {
		return err
	}
	run := v210.NewRunWithInformationURI(l.Name, l.Home)
	if l.Version != "" {
		run.Tool.Driver.WithVersion(l.Version)
	}
	if l.Description != "" {
		run.WithProperties(v210.NewPropertyBag().Add("description", valid(l.Description)))
	}
	if l.Category != "" {
		run.WithAutomationDetails(v210.NewRunAutomationDetails().WithID(l.Category + "/"))
	}
	run.WithColumnKind("unicodeCodePoints")

	rules := make(map[string]int, len(l.Rules))
	taxa := taxonomies{}
	for i, r := range l.Rules {
		rules[r.ID] = i
		run.Tool.Driver.AddRule(taxa.rule(r))
	}
	taxa.addTo(run)

	severity := func(r Result) Severity { return cmp.Or(r.Severity, l.Rules[rules[r.Rule]].Severity) }
	results, notices := l.Results, slices.Clone(l.Invocation.Notices)
	if over := len(results) - most; over > 0 {
		results = slices.SortedStableFunc(slices.Values(results), func(a, b Result) int {
			return slices.Index(worst, severity(a)) - slices.Index(worst, severity(b))
		})[:most]
		notices = append(notices, Notice{Message: fmt.Sprintf("%d results more than an upload may have were left out, the least severe ones.", over)})
	}
	for _, r := range results {
		run.AddResult(result(r, rules[r.Rule], severity(r)))
	}
	run.AddInvocation(invocation(l.Invocation, notices, rules))

	return write(w, v210.NewReport().AddRun(run))
}

// write leaves out what the library writes for "nothing": empty lists and objects,
// and -1 for an index. They are most of a large file, and some readers complain.
func write(w io.Writer, report *v210.Report) error {
	text, err := json.Marshal(report)
	if err != nil {
		return fmt.Errorf("sarif: %w", err)
	}
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.UseNumber()
	var document any
	if err := decoder.Decode(&document); err != nil {
		return fmt.Errorf("sarif: %w", err)
	}
	encoder := json.NewEncoder(w)
	encoder.SetIndent("", "  ")
	return encoder.Encode(lean(document))
}

func lean(value any) any {
	switch value := value.(type) {
	case []any:
		for i := range value {
			value[i] = lean(value[i])
		}
	case map[string]any:
		for key, member := range value {
			member = lean(member)
			value[key] = member
			list, isList := member.([]any)
			object, isObject := member.(map[string]any)
			// A run without results would say that nothing was examined (3.14.23).
			if isList && len(list) == 0 && key != "results" || isObject && len(object) == 0 || member == json.Number("-1") {
				delete(value, key)
			}
		}
	}
	return value
}

var worst = []Severity{Critical, High, Medium, Low, Info}

// taxonomies collects the weaknesses and requirements that rules name.
type taxonomies struct{ cwe, asvs []string }

func (t *taxonomies) rule(r Rule) *v210.ReportingDescriptor {
	d := v210.NewRule(r.ID).WithDescription(short(r.Title)).
		WithFullDescription(v210.NewMultiformatMessageString().WithText(short(cmp.Or(r.Description, r.Title)))).
		WithDefaultConfiguration(v210.NewReportingConfiguration().WithLevel(r.Severity.Level()))
	if name := pascal(r.ID); !strings.EqualFold(name, r.ID) { // then it would say the same twice
		d.WithName(name)
	}
	d.WithMarkdownHelp(valid(cmp.Or(r.Help, r.Description, r.Title, r.ID))) // GitHub wants one
	if r.HelpURI != "" {
		d.WithHelpURI(r.HelpURI)
	}
	tags := []string{"security"}
	for _, id := range r.CWE {
		t.cwe = append(t.cwe, id)
		tags = append(tags, "external/cwe/"+strings.ToLower(id))
		d.AddRelationship(relationship(id, cwe))
	}
	for _, id := range r.ASVS {
		t.asvs = append(t.asvs, id)
		tags = append(tags, "external/asvs/"+id)
		d.AddRelationship(relationship(id, asvs))
	}
	tags = append(tags, r.Tags...)
	bag := v210.NewPropertyBag()
	bag.Tags = tags[:min(len(tags), MaxTags)]
	if r.Precision != "" {
		bag.Add("precision", r.Precision)
	}
	if score := r.Severity.Score(); score != "" {
		bag.Add("security-severity", score)
	}
	return d.WithProperties(bag)
}

// pascal is an id as the name of a rule: "death-is-late" becomes "DeathIsLate".
func pascal(id string) string {
	var b strings.Builder
	for word := range strings.SplitSeq(id, "-") {
		first, size := utf8.DecodeRuneInString(word)
		if size > 0 {
			b.WriteRune(unicode.ToUpper(first))
			b.WriteString(word[size:])
		}
	}
	return b.String()
}

func relationship(id, component string) *v210.ReportingDescriptorRelationship {
	return v210.NewReportingDescriptorRelationship().WithTarget(v210.NewReportingDescriptorReference().
		WithID(id).WithToolComponent(v210.NewToolComponentReference().WithName(component)))
}

func (t *taxonomies) addTo(run *v210.Run) {
	add := func(ids []string, component *v210.ToolComponent) {
		slices.Sort(ids)
		for _, id := range slices.Compact(ids) {
			component.AddTaxa(v210.NewReportingDescriptor().WithID(id))
		}
		if len(ids) > 0 {
			run.AddTaxonomie(component)
			run.Tool.Driver.AddSupportedTaxonomie(v210.NewToolComponentReference().WithName(*component.Name))
		}
	}
	add(t.cwe, v210.NewToolComponent().WithName(cwe).WithOrganization("MITRE").
		WithInformationURI("https://cwe.mitre.org/").
		WithShortDescription(v210.NewMultiformatMessageString().WithText("The MITRE Common Weakness Enumeration")))
	add(t.asvs, v210.NewToolComponent().WithName(asvs).WithVersion("5.0.0").WithOrganization("OWASP").
		WithInformationURI("https://owasp.org/www-project-application-security-verification-standard/").
		WithShortDescription(v210.NewMultiformatMessageString().WithText("The OWASP Application Security Verification Standard")))
}

func result(r Result, index int, severity Severity) *v210.Result {
	out := v210.NewRuleResult(r.Rule).WithRuleIndex(index).WithLevel(severity.Level()).
		WithMessage(message(r.Message))
	for _, l := range r.Locations[:min(len(r.Locations), MaxLocations)] {
		out.AddLocation(location(l))
	}
	for i, l := range r.Related[:min(len(r.Related), MaxLocations)] {
		out.AddRelatedLocation(location(l).WithID(i))
	}
	if len(r.Steps) > 0 {
		flow := v210.NewThreadFlow()
		for _, l := range r.Steps[:min(len(r.Steps), MaxSteps)] {
			flow.AddLocation(v210.NewThreadFlowLocation().WithLocation(location(l)))
		}
		out.AddCodeFlow(v210.NewCodeFlow().AddThreadFlow(flow))
	}
	if len(r.Fingerprint) > 0 {
		// GitHub reads only the first key, and would otherwise compute it from the
		// text of the line, which for the probe is that of a description.
		print := fingerprint(append([]string{r.Rule}, r.Fingerprint...))
		out.WithPartialFingerprints(map[string]string{"primaryLocationLineHash": print, "rescind/v1": print})
	}
	if s := r.Suppressed; s != nil {
		kind := "external"
		if s.InSource {
			kind = "inSource"
		}
		out.AddSuppression(v210.NewSuppression().WithKind(kind).WithStatus("accepted").WithJustification(valid(s.Why)))
	}
	if q := r.Request; q != nil {
		out.WithWebRequest(v210.NewWebRequest().WithProtocol("http").WithMethod(q.Method).WithTarget(valid(q.Target)).
			WithHeaders(validValues(q.Headers)))
		if q.Body != "" {
			out.WebRequest.WithBody(content(q.Body))
		}
	}
	if a := r.Response; a != nil {
		response := v210.NewWebResponse().WithProtocol("http").WithHeaders(validValues(a.Headers))
		if a.Body != "" {
			response.WithBody(content(a.Body))
		}
		if a.Status == 0 {
			response.WithNoResponseReceived(true)
		} else {
			response.WithStatusCode(a.Status)
		}
		out.WithWebResponse(response)
	}
	if len(r.Properties) > 0 {
		bag := v210.NewPropertyBag()
		for key, value := range r.Properties {
			bag.Add(key, value)
		}
		out.WithProperties(bag)
	}
	return out
}

// fingerprint is unambiguous: no two lists of parts have the same joined form.
func fingerprint(parts []string) string {
	hash := sha256.New()
	for _, part := range parts {
		fmt.Fprintf(hash, "%d:%s", len(part), part)
	}
	return fmt.Sprintf("%x:1", hash.Sum(nil)[:16])
}

func location(l Location) *v210.Location {
	out := v210.NewLocation()
	if l.Path != "" {
		physical := v210.NewPhysicalLocation().WithArtifactLocation(v210.NewSimpleArtifactLocation(relative(l.Path)))
		if l.Range.StartLine > 0 {
			region := v210.NewRegion().WithStartLine(l.Range.StartLine)
			if l.Range.StartColumn > 0 {
				region.WithStartColumn(l.Range.StartColumn)
			}
			if l.Range.EndLine > 0 {
				region.WithEndLine(l.Range.EndLine)
			}
			if l.Range.EndColumn > 0 {
				region.WithEndColumn(l.Range.EndColumn)
			}
			if l.Snippet != "" {
				region.WithSnippet(content(l.Snippet))
			}
			physical.WithRegion(region)
		}
		out.WithPhysicalLocation(physical)
	}
	if l.Name != "" {
		out.AddLogicalLocation(v210.NewLogicalLocation().WithFullyQualifiedName(valid(l.Name)).WithKind(cmp.Or(l.Kind, "resource")))
	}
	if l.Message != "" {
		out.WithMessage(message(l.Message))
	}
	return out
}

// relative writes a path as a relative reference by RFC 3986: percent-encoded,
// and with "./" in front where its first segment would read as a scheme.
func relative(path string) string {
	return (&url.URL{Path: strings.ToValidUTF8(strings.ReplaceAll(path, `\`, "/"), "\uFFFD")}).String()
}

func invocation(i Invocation, notices []Notice, rules map[string]int) *v210.Invocation {
	out := v210.NewInvocation().WithExecutionSuccessful(i.Completed).WithExitCode(i.ExitCode)
	for _, argument := range i.Arguments {
		out.AddArgument(valid(argument))
	}
	if !i.Start.IsZero() {
		out.WithStartTimeUtc(i.Start.UTC().Format(time.RFC3339Nano))
	}
	if !i.End.IsZero() {
		out.WithEndTimeUtc(i.End.UTC().Format(time.RFC3339Nano))
	}
	for _, n := range notices {
		notice := v210.NewNotification().WithMessage(message(n.Message))
		if n.Serious {
			notice.WithLevel("error")
		}
		if n.Rule != "" {
			notice.WithAssociatedRule(v210.NewReportingDescriptorReference().WithID(n.Rule).WithIndex(rules[n.Rule]))
		}
		if n.Path != "" {
			notice.AddLocation(location(Location{Path: n.Path}))
		}
		out.AddToolExecutionNotification(notice)
	}
	return out
}

// A message's brackets are links and its braces placeholders (SARIF 2.1.0,
// 3.11.5 and 3.11.6); here they are text.
var literal = strings.NewReplacer(`\`, `\\`, "[", `\[`, "]", `\]`, "{", "{{", "}", "}}")

func message(text string) *v210.Message { return v210.NewTextMessage(literal.Replace(valid(text))) }

func content(text string) *v210.ArtifactContent {
	return v210.NewArtifactContent().WithText(valid(text))
}

func valid(text string) string { return strings.ToValidUTF8(text, "\uFFFD") }

func validValues(values map[string]string) map[string]string {
	out := make(map[string]string, len(values))
	for key, value := range values {
		out[valid(key)] = valid(value)
	}
	return out
}

// short cuts at the limit, on a whole character.
func short(text string) string {
	text = valid(text)
	if utf8.RuneCountInString(text) <= MaxText {
		return text
	}
	return string([]rune(text)[:MaxText-1]) + "…"
}
