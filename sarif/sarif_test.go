package sarif

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/santhosh-tekuri/jsonschema/v6"
)

var update = flag.Bool("update", false, "write the golden files anew")

// official is the schema that OASIS published with errata 01.
func official(t *testing.T) *jsonschema.Schema {
	t.Helper()
	schema, err := jsonschema.NewCompiler().Compile("testdata/sarif-schema-2.1.0.json")
	if err != nil {
		t.Fatal(err)
	}
	return schema
}

func written(t *testing.T, l Log) []byte {
	t.Helper()
	var out bytes.Buffer
	if err := l.Write(&out); err != nil {
		t.Fatal(err)
	}
	document, err := jsonschema.UnmarshalJSON(bytes.NewReader(out.Bytes()))
	if err != nil {
		t.Fatal(err)
	}
	if err := official(t).Validate(document); err != nil {
		t.Errorf("not SARIF 2.1.0: %v", err)
	}
	return out.Bytes()
}

func full() Log {
	return Log{
		Name: "rescind test", Version: "1.2.3", Home: "https://rescind.dev/", Category: "notes",
		Description: "everything at once",
		Rules: []Rule{
			{
				ID: "access-token-alive-after-logout", Title: "The access token outlives the logout",
				Description: "A token from before the logout was accepted after it.",
				Help:        "**Why:** whoever copied it keeps the access.\n", HelpURI: "https://rescind.dev/checks#access-token-alive-after-logout",
				Severity: High, Precision: "very-high", CWE: []string{"CWE-613"}, ASVS: []string{"v5.0.0-7.4.1"}, Tags: []string{"logout"},
			},
			{ID: "clear-site-data", Title: "The browser is not told to forget", Severity: Info, CWE: []string{"CWE-525"}},
		},
		Results: []Result{
			{
				Rule: "access-token-alive-after-logout", Message: "GET /api/me answered 200 after the logout",
				Locations:   []Location{{Path: "probe/notes.yaml", Range: Range{12, 5, 12, 20}, Snippet: "GET /api/me", Name: "GET http://127.0.0.1:3000/api/me"}},
				Related:     []Location{{Path: "probe/notes.yaml", Range: Range{StartLine: 30}, Message: "the logout"}},
				Steps:       []Location{{Path: "probe/notes.yaml", Message: "login"}, {Name: "POST /logout", Message: "logout"}},
				Fingerprint: []string{"access_token", "GET /api/me"},
				Request:     &Request{Method: "GET", Target: "http://127.0.0.1:3000/api/me", Headers: map[string]string{"Authorization": "Bearer $TOKEN"}},
				Response:    &Response{Status: 200, Body: `{"subject":"ada"}`},
				Properties:  map[string]any{"timeToDeathMs": nil},
			},
			{
				Rule: "clear-site-data", Severity: Low, Message: "no header",
				Locations: []Location{{Path: "a:b/ü c%.yaml"}}, Suppressed: &Suppression{Why: "an API without browsers", InSource: true},
				Response: &Response{},
			},
		},
		Invocation: Invocation{
			Arguments: []string{"probe", "notes.yaml"}, Start: time.Unix(1_790_000_000, 0), End: time.Unix(1_790_000_008, 5e8),
			ExitCode: 1, Completed: true,
			Notices: []Notice{{Rule: "clear-site-data", Message: "inconclusive", Path: "probe/notes.yaml"}, {Message: "half of it is missing", Serious: true}},
		},
	}
}

func TestLogIsSARIF(t *testing.T) {
	got := append(written(t, full()), '\n')
	const golden = "testdata/full.sarif"
	if *update {
		if err := os.WriteFile(golden, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("differs from %s (go test ./sarif -update writes it anew):\n%s", golden, got)
	}
}

// The schema must be able to refuse: one that refuses nothing proves nothing.
func TestSchemaRefuses(t *testing.T) {
	for _, planted := range []string{
		`{"version":"2.1.0"}`,
		`{"version":"2.1.0","runs":[{"tool":{"driver":{}}}]}`,
		`{"version":"2.1.0","runs":[{"tool":{"driver":{"name":"x"}},"results":[{"message":{}}]}]}`,
	} {
		document, err := jsonschema.UnmarshalJSON(strings.NewReader(planted))
		if err != nil {
			t.Fatal(err)
		}
		if official(t).Validate(document) == nil {
			t.Errorf("passes: %s", planted)
		}
	}
}

func TestEmptyLogSaysThatNothingWasFound(t *testing.T) {
	out := written(t, Log{Name: "x", Home: "https://rescind.dev/", Invocation: Invocation{Completed: true}})
	// A missing member would mean that nothing was examined (3.14.23).
	if !bytes.Contains(out, []byte(`"results": []`)) {
		t.Errorf("no empty list of results:\n%s", out)
	}
}

func TestRefusesWhatReadersRefuse(t *testing.T) {
	rule := []Rule{{ID: "a"}}
	for name, l := range map[string]Log{
		"unknown rule":        {Rules: rule, Results: []Result{{Rule: "b", Locations: []Location{{Path: "x"}}}}},
		"no location":         {Rules: rule, Results: []Result{{Rule: "a"}}},
		"location in no file": {Rules: rule, Results: []Result{{Rule: "a", Locations: []Location{{Name: "GET http://x/"}}}}},
		"a rule twice":        {Rules: []Rule{{ID: "a"}, {ID: "a"}}},
		"unknown in a notice": {Rules: rule, Invocation: Invocation{Notices: []Notice{{Rule: "b"}}}},
	} {
		var out bytes.Buffer
		if err := l.Write(&out); err == nil || out.Len() > 0 {
			t.Errorf("%s: error %v, %d bytes written", name, err, out.Len())
		}
	}
}

func TestHostileTextStaysText(t *testing.T) {
	l := full()
	hostile := "\xff\x00\x1b[31m[click](http://evil.example) {0} \u202e <script>\\"
	l.Rules[0].Title, l.Rules[0].Help, l.Rules[0].Description = hostile, hostile, hostile
	r := &l.Results[0]
	r.Message, r.Locations[0].Snippet, r.Locations[0].Name, r.Locations[0].Path = hostile, hostile, hostile, hostile
	r.Request.Headers = map[string]string{hostile: hostile}
	r.Request.Target, r.Response.Body = hostile, hostile
	l.Results[1].Suppressed.Why = hostile
	l.Description, l.Invocation.Arguments = hostile, []string{hostile}
	l.Invocation.Notices[0].Message = hostile
	var parsed struct {
		Runs []struct {
			Results []struct{ Message struct{ Text string } }
		}
	}
	if err := json.Unmarshal(written(t, l), &parsed); err != nil {
		t.Fatal(err)
	}
	got := parsed.Runs[0].Results[0].Message.Text
	if want := "\uFFFD\x00\x1b\\[31m\\[click\\](http://evil.example) {{0}} \u202e <script>\\\\"; got != want {
		t.Errorf("the message became\n%q, want\n%q", got, want)
	}
}

// The limits are GitHub's; a file beyond them is refused there as a whole.
func TestUploadLimits(t *testing.T) {
	l := Log{Name: "x", Home: "https://rescind.dev/", Rules: []Rule{
		{ID: "low", Severity: Low, Title: strings.Repeat("ü", 5000), Tags: make([]string, 0)},
		{ID: "high", Severity: High},
	}}
	for i := range 30 {
		l.Rules[0].Tags = append(l.Rules[0].Tags, fmt.Sprint("tag", i))
	}
	many := make([]Location, MaxSteps+1)
	for i := range many {
		many[i] = Location{Path: "src/a.js", Range: Range{StartLine: i + 1}, Message: "here"}
	}
	l.Results = append(l.Results, Result{Rule: "low", Message: "long", Locations: many, Related: many, Steps: many})
	message := "jwt.verify decides alone in middleware/authenticate.js, and nothing asks whether the session still stands"
	const most = MaxResults / 25 // as many as there may be take long under the race detector
	for i := range most + 99 {
		l.Results = append(l.Results, Result{Rule: "low", Message: fmt.Sprint(i, message), Locations: []Location{{Path: fmt.Sprint("src/", i, ".js"), Range: Range{i + 1, 1, i + 1, 9}}}, Fingerprint: []string{fmt.Sprint(i)}})
	}
	l.Results = append(l.Results, Result{Rule: "high", Message: "the last one and the worst", Locations: []Location{{Path: "a"}}})

	var out bytes.Buffer
	if err := l.write(&out, most); err != nil {
		t.Fatal(err)
	}
	var parsed struct {
		Runs []struct {
			Tool struct {
				Driver struct {
					Rules []struct {
						ShortDescription struct{ Text string }
						Properties       struct{ Tags []string }
					}
				}
			}
			Results []struct {
				RuleID                      string `json:"ruleId"`
				Locations, RelatedLocations []any
				CodeFlows                   []struct {
					ThreadFlows []struct{ Locations []any }
				}
			}
			Invocations []struct {
				ToolExecutionNotifications []struct{ Message struct{ Text string } }
			}
		}
	}
	if err := json.Unmarshal(out.Bytes(), &parsed); err != nil {
		t.Fatal(err)
	}
	run := parsed.Runs[0]
	rule, first := run.Tool.Driver.Rules[0], run.Results[1]
	for what, got := range map[string][2]int{
		"results":            {len(run.Results), most},
		"tags":               {len(rule.Properties.Tags), MaxTags},
		"title":              {len([]rune(rule.ShortDescription.Text)), MaxText},
		"locations":          {len(first.Locations), MaxLocations},
		"related locations":  {len(first.RelatedLocations), MaxLocations},
		"steps":              {len(first.CodeFlows[0].ThreadFlows[0].Locations), MaxSteps},
		"notices of the cut": {len(run.Invocations[0].ToolExecutionNotifications), 1},
	} {
		if got[0] != got[1] {
			t.Errorf("%s: %d, want %d", what, got[0], got[1])
		}
	}
	if run.Results[0].RuleID != "high" {
		t.Errorf("the worst result does not come first: %s", run.Results[0].RuleID)
	}
	var packed bytes.Buffer
	z := gzip.NewWriter(&packed)
	if _, err := z.Write(out.Bytes()); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	if all := packed.Len() * MaxResults / most; all > 10<<20 {
		t.Errorf("%d results are about %d bytes compressed, an upload may have 10 MiB", MaxResults, all)
	}
}

func TestFingerprint(t *testing.T) {
	print := func(parts ...string) string { return fingerprint(parts) }
	if print("ab", "c") == print("a", "bc") {
		t.Error("two findings have one fingerprint")
	}
	if again := print("ab", "c"); print("ab", "c") != again {
		t.Error("one finding has two fingerprints")
	}
}

func TestRelativePaths(t *testing.T) {
	for path, want := range map[string]string{
		"src/a.js": "src/a.js", "a:b/c": "./a:b/c", "ü c%.js": "%C3%BC%20c%25.js", `src\a.js`: "src/a.js", "a?b#c": "a%3Fb%23c",
	} {
		if got := relative(path); got != want {
			t.Errorf("%q became %q, want %q", path, got, want)
		}
	}
}
