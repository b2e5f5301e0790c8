package report

import (
	"bytes"
	"encoding/xml"
	"errors"
	"flag"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/rescind/rescind/probe"
)

var update = flag.Bool("update", false, "write the golden files anew")

// writers are all forms of a report, by the names of their golden files.
func writers() map[string]func(io.Writer, *probe.Report) error {
	about := About{Version: "1.2.3", File: "ci/notes.yaml", Arguments: []string{"probe", "ci/notes.yaml"}}
	return map[string]func(io.Writer, *probe.Report) error{
		"report.txt":   Terminal{}.Write,
		"verbose.txt":  Terminal{Verbose: true, Width: 120, Color: true}.Write,
		"report.json":  func(w io.Writer, r *probe.Report) error { return JSON(w, r, about) },
		"report.xml":   func(w io.Writer, r *probe.Report) error { return JUnit(w, r, about) },
		"report.sarif": func(w io.Writer, r *probe.Report) error { return SARIF(w, r, about) },
		"report.html":  func(w io.Writer, r *probe.Report) error { return HTML(w, r, about) },
	}
}

func TestGolden(t *testing.T) {
	for name, write := range writers() {
		t.Run(name, func(t *testing.T) {
			var out bytes.Buffer
			if err := write(&out, sample()); err != nil {
				t.Fatal(err)
			}
			golden := filepath.Join("testdata", name)
			if *update {
				if err := os.WriteFile(golden, out.Bytes(), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(out.Bytes(), want) {
				t.Errorf("differs from %s; go test ./probe/report -update writes it anew. It is\n%s", golden, out.Bytes())
			}
		})
	}
}

// Each writer passes on what its output says.
func TestWriteErrorsAreReturned(t *testing.T) {
	full := errors.New("no space left")
	for name, write := range writers() {
		if err := write(failing{full}, sample()); !errors.Is(err, full) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

type failing struct{ err error }

func (f failing) Write([]byte) (int, error) { return 0, f.err }

func TestJSONKeepsItsSchema(t *testing.T) {
	schema, err := jsonschema.NewCompiler().Compile("schema.json")
	if err != nil {
		t.Fatal(err)
	}
	for what, r := range map[string]*probe.Report{"full": sample(), "empty": {}, "crowd": crowd()} {
		var out bytes.Buffer
		if err := JSON(&out, r, About{}); err != nil {
			t.Fatal(err)
		}
		document, err := jsonschema.UnmarshalJSON(&out)
		if err != nil {
			t.Fatal(err)
		}
		if err := schema.Validate(document); err != nil {
			t.Errorf("%s: %v", what, err)
		}
	}
	// It must be able to refuse.
	for _, planted := range []string{`{}`, `{"format":"rescind-probe-report","version":2}`} {
		document, err := jsonschema.UnmarshalJSON(strings.NewReader(planted))
		if err != nil {
			t.Fatal(err)
		}
		if schema.Validate(document) == nil {
			t.Errorf("passes: %s", planted)
		}
	}
}

func TestSARIFIsSARIF(t *testing.T) {
	schema, err := jsonschema.NewCompiler().Compile("../../sarif/testdata/sarif-schema-2.1.0.json")
	if err != nil {
		t.Fatal(err)
	}
	for what, r := range map[string]*probe.Report{"full": sample(), "empty": {}} {
		var out bytes.Buffer
		if err := SARIF(&out, r, About{}); err != nil {
			t.Fatal(err)
		}
		document, err := jsonschema.UnmarshalJSON(&out)
		if err != nil {
			t.Fatal(err)
		}
		if err := schema.Validate(document); err != nil {
			t.Errorf("%s: %v", what, err)
		}
	}
}

func TestJUnitCounts(t *testing.T) {
	r := sample()
	r.Interrupted = true
	var out bytes.Buffer
	if err := JUnit(&out, r, About{}); err != nil {
		t.Fatal(err)
	}
	var parsed junitSuites
	if err := xml.Unmarshal(out.Bytes(), &parsed); err != nil {
		t.Fatal(err)
	}
	var failures, failed, skipped int
	for _, c := range parsed.Suite.Cases {
		switch {
		case c.Failure != nil:
			failures++
		case c.Error != nil:
			failed++
		case c.Skipped != nil:
			skipped++
		}
	}
	if parsed.Tests != len(parsed.Suite.Cases) || parsed.Failures != failures || parsed.Errors != failed || parsed.Skipped != skipped || failed == 0 {
		t.Errorf("says %d tests, %d failures, %d errors, %d skipped; has %d, %d, %d, %d", parsed.Tests, parsed.Failures, parsed.Errors, parsed.Skipped,
			len(parsed.Suite.Cases), failures, failed, skipped)
	}
}

// What is inconclusive is never a pass, in any form.
func TestInconclusiveIsNeverAPass(t *testing.T) {
	r := &probe.Report{Name: "x", Results: []probe.Result{
		{Check: "logout-twice", Verdict: probe.Pass, Says: "fine"},
		{Check: "revives", Verdict: probe.Inconclusive, Reason: "rate limited"},
	}}
	for _, interrupted := range []bool{false, true} {
		r.Interrupted = interrupted
		if ExitCode(r) != 3 || headline(r) == headline(&probe.Report{Results: r.Results[:1]}) {
			t.Errorf("exit code %d, %q", ExitCode(r), headline(r))
		}
		var xml, sarif bytes.Buffer
		if err := errors.Join(JUnit(&xml, r, About{}), SARIF(&sarif, r, About{})); err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(xml.String(), "<error ") {
			t.Errorf("no error in JUnit:\n%s", xml.String())
		}
		if !strings.Contains(sarif.String(), `"toolExecutionNotifications"`) || strings.Contains(sarif.String(), `"executionSuccessful": true`) == interrupted {
			t.Errorf("SARIF does not say so:\n%s", sarif.String())
		}
		r.Results = r.Results[:1] // then only the interruption is left
	}
	if code := ExitCode(&probe.Report{Results: r.Results}); code != 0 {
		t.Errorf("a clean report: exit code %d", code)
	}
	if code := ExitCode(&probe.Report{}); code != 3 {
		t.Errorf("a report of nothing: exit code %d", code)
	}
	if code := ExitCode(sample()); code != 1 {
		t.Errorf("a report with findings: exit code %d", code)
	}
}

func TestDescriptionsAreNamedFromTheRepository(t *testing.T) {
	for path, want := range map[string]string{
		"": "probe.yaml", "ci/notes.yaml": "ci/notes.yaml", "./ci/../notes.yaml": "notes.yaml", "/srv/secret-project/notes.yaml": "notes.yaml", "../other/notes.yaml": "notes.yaml",
	} {
		if got := inRepository(path); got != want {
			t.Errorf("%q became %q, want %q", path, got, want)
		}
	}
}

// On a terminal there is one line, which goes away; elsewhere one line for each
// experiment.
func TestMeter(t *testing.T) {
	steps := []probe.Progress{
		{Experiment: "logout", Requests: 12, Left: 3},
		{Experiment: "logout\x1b[2J\n", Ended: true, Results: sample().Results, Requests: 40, Left: 2},
		{Experiment: "hygiene", Ended: true, Requests: 41, Left: 1},
	}
	show := func(live bool) string {
		var out bytes.Buffer
		m := NewMeter(&out, Terminal{Width: 40}, live)
		for _, step := range steps {
			m.Show(step)
		}
		m.Clear()
		m.Clear()
		return out.String()
	}
	if got, want := show(false), "logout\\x1b[2J\\x0a: 5 findings, 1 inconclusive, 3 passed, 1 note, 2 not applicable\nhygiene: done\n"; got != want {
		t.Errorf("elsewhere:\n%q, want\n%q", got, want)
	}
	got := show(true)
	lines := strings.Split(got, "\r\x1b[K")
	if len(lines) != len(steps)+2 || lines[0] != "" || lines[len(lines)-1] != "" {
		t.Fatalf("on a terminal: %q", got)
	}
	for _, line := range lines {
		if len([]rune(line)) > 39 || strings.ContainsAny(line, "\n\r\x1b") {
			t.Errorf("on a terminal: %q", line)
		}
	}
}

// The answer is to what was asked.
func TestHeadline(t *testing.T) {
	pass := func(id string) probe.Result { return probe.Result{Check: id, Verdict: probe.Pass} }
	finding := func(id string) probe.Result { return probe.Result{Check: id, Verdict: probe.Finding} }
	for want, results := range map[string][]probe.Result{
		"Logout ends access":         {pass("access-token-alive-after-logout"), {Check: "revives", Verdict: probe.NotApplicable}},
		"No finding":                 {pass("token-lifetime"), {Check: "session-alive-after-logout", Verdict: probe.NotApplicable}},
		"Logout does not end access": {pass("access-token-alive-after-logout"), finding("logout-everywhere-incomplete"), finding("cache-control")},
		"Logout ends access, but something else is wrong": {finding("token-without-id"), finding("logout-twice"), pass("access-token-alive-after-logout")},
		"Something is wrong":                              {finding("token-alg-none"), pass("token-lifetime")},
		"Not shown whether logout ends access":            {pass("access-token-alive-after-logout"), {Check: "revives", Verdict: probe.Inconclusive}},
	} {
		if got := headline(&probe.Report{Results: results}); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}

func TestFates(t *testing.T) {
	for want, l := range map[string]probe.Life{
		"dead at 1.2 ms":                    life(probe.AccessToken, true, "-5a 1.2d 50d 5000d"),
		"still alive at 5 s":                life(probe.AccessToken, true, "-5a 1.2a 50a 5000a"),
		"alive until 50 ms, dead at 200 ms": life(probe.AccessToken, true, "-5a 1.2a 50a 200d 5000d"),
		"dead, and alive again at 5 s":      life(probe.AccessToken, true, "-5a 1.2d 50d 5000a"),
		"unclear":                           life(probe.AccessToken, true, "-5a 1.2u 50?"),
		"not asked":                         life(probe.AccessToken, true, "-5a"),
		"lives on":                          life(probe.AccessToken, false, "5a 5000a"),
		"dead, though nobody ended it":      life(probe.AccessToken, false, "5a 5000d"),
		"closed at once":                    life(probe.Socket, true, "-5a -0.1d"),
		"closed at 30 ms":                   life(probe.Socket, true, "-5a 10a 30d"),
		"closed at 4 s":                     life(probe.Socket, true, "-5a 10a 3000a 4000d"),
		"still open at 5 s":                 life(probe.Socket, true, "-5a 10a 5000a"),
		"open, and silent":                  life(probe.Socket, true, "-5a 10a"),
	} {
		bad := map[string]bool{"still alive at 5 s": true, "alive until 50 ms, dead at 200 ms": true, "dead, and alive again at 5 s": true,
			"dead, though nobody ended it": true, "closed at 4 s": true, "still open at 5 s": true}[want]
		neither := map[string]bool{"unclear": true, "not asked": true, "open, and silent": true}[want]
		if got := fateOf(l); got != (fate{Bad: bad, Good: !bad && !neither, Text: want}) {
			t.Errorf("%q: %+v", want, got)
		}
	}
}

// life makes one of its answers: milliseconds after the end, and a for alive, d for
// dead, u for dead without a live control, ? for unclear.
func life(kind probe.Kind, ends bool, answers string) probe.Life {
	l := probe.Life{Kind: kind, Session: "ada#1"}
	if ends {
		l.Ended = time.Unix(1_790_000_000, 0)
	}
	for word := range strings.FieldsSeq(answers) {
		after, err := time.ParseDuration(word[:len(word)-1] + "ms")
		if err != nil {
			panic(err)
		}
		a := probe.Answer{After: after, Class: map[byte]probe.Class{'a': probe.Alive, 'd': probe.Dead, 'u': probe.Dead, '?': probe.Unclear}[word[len(word)-1]]}
		a.Backed = word[len(word)-1] == 'd'
		l.Answers = append(l.Answers, a)
	}
	return l
}
