package lint_test

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/rescind/rescind/lint"
	"github.com/rescind/rescind/tests/lint/source"
)

var page = filepath.Join(root, "docs", "design", "lint.md")

// update asks to write the part anew; it needs all packages.
func update() bool { return os.Getenv("RESCIND_UPDATE") == "1" }

func slow() bool { return os.Getenv("RESCIND_SLOW") == "1" }

// The part of docs/design/lint.md that these tests state.
const (
	begin = "<!-- what follows is checked by tests/lint -->\n"
	end   = "<!-- until here -->\n"
)

const header = `
| package | flaws | found | false alarms | recall | precision | likely: found | false alarms | recall | precision |
|---|---|---|---|---|---|---|---|---|---|
`

// TestLintFindsWhatPeopleFound runs lint on every package, and holds the outcome
// against the labels, and the figures against docs/design/lint.md.
func TestLintFindsWhatPeopleFound(t *testing.T) {
	stated, all := part(t), corpus(t)
	var wanted strings.Builder
	wanted.WriteString(header)
	whole := true
	for _, held := range []bool{false, true} {
		var sum, sumLikely score
		for _, e := range all {
			switch {
			case e.Held != held:
				continue
			case e.Slow && !slow():
				whole = false
				continue
			}
			t.Run(e.name, func(t *testing.T) {
				findings := scan(t, e)
				s, wrong := compare(e, findings, lint.Possible)
				for _, w := range wrong {
					t.Error(w)
				}
				likely, _ := compare(e, findings, lint.Likely)
				line := row(strings.Join(strings.Fields("`"+e.Name+"` "+e.Version+" "+e.Part), " "), s, likely)
				if !strings.Contains(stated, line+"\n") && !update() {
					t.Errorf("docs/design/lint.md does not say\n%s", line)
				}
				wanted.WriteString(line + "\n")
				sum.add(s)
				sumLikely.add(likely)
			})
		}
		name := "**all of these, seen while lint was written**"
		if held {
			name = "**all of these, held out**"
		}
		wanted.WriteString(row(name, sum, sumLikely) + "\n")
	}
	if !whole {
		return
	}
	wanted.WriteString(explained(all))
	switch {
	case update():
		text, err := os.ReadFile(page)
		if err == nil {
			err = os.WriteFile(page, []byte(strings.Replace(string(text), begin+stated+end, begin+wanted.String()+end, 1)), 0o644)
		}
		if err != nil {
			t.Fatal(err)
		}
	case wanted.String() != stated:
		t.Errorf("docs/design/lint.md is not what came out: RESCIND_SLOW=1 RESCIND_UPDATE=1 go test ./tests/lint writes it anew\n%s", wanted.String())
	}
}

// TestEveryMissAndFalseAlarmIsExplained holds what the labels say of lint's faults
// against docs/design/lint.md.
func TestEveryMissAndFalseAlarmIsExplained(t *testing.T) {
	stated, want := part(t), explained(corpus(t))
	if !strings.HasSuffix(stated, want) {
		t.Errorf("docs/design/lint.md should say, before its last mark:\n%s", want)
	}
}

// explained lists what is missed and what is flagged in error.
func explained(all []*entry) string {
	var missed, flagged strings.Builder
	for _, e := range all {
		for _, l := range e.Labels {
			line := "- `" + e.Name + "`, `" + short(l.At[0]) + "`, `" + l.Rule + "`: "
			if l.Missed != "" {
				missed.WriteString(line + l.Missed + "\n")
			}
			if l.Flagged != "" {
				flagged.WriteString(line + l.Flagged + "\n")
			}
		}
	}
	return "\n**Missed**\n\n" + missed.String() + "\n**False alarms**\n\n" + flagged.String()
}

// short is a place with the last two names of its path.
func short(at string) string {
	names := strings.Split(at, "/")
	return strings.Join(names[max(0, len(names)-2):], "/")
}

// part is what a page says between the marks.
func part(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	_, after, ok := strings.Cut(string(text), begin)
	inside, _, closed := strings.Cut(after, end)
	if !ok || !closed {
		t.Fatalf("%s has no part between %q and %q", page, begin, end)
	}
	return inside
}

// scan runs lint as a user would, and gives paths as the labels do.
func scan(t *testing.T, e *entry) []lint.Finding {
	t.Helper()
	dir := root
	if e.From != source.Repository {
		dir = source.Fetch(t, e.Package)
	}
	dir, err := filepath.Abs(dir)
	if err == nil {
		dir, err = filepath.EvalSymlinks(dir)
	}
	if err != nil {
		t.Fatal(err)
	}
	o := lint.Options{}
	for _, folder := range e.Source {
		o.Paths = append(o.Paths, filepath.Join(dir, filepath.FromSlash(folder)))
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
	defer cancel()
	start := time.Now()
	r, err := lint.Check(ctx, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%d files in %v", r.Files, time.Since(start).Round(time.Millisecond))
	if r.Files == 0 {
		t.Fatal("nothing was read")
	}
	for _, problem := range r.Errors {
		t.Logf("%s:%d: %s", problem.Path, problem.Line, problem.Message)
	}
	here, err := filepath.Abs(".")
	if err != nil {
		t.Fatal(err)
	}
	for i := range r.Findings {
		f := &r.Findings[i]
		file := filepath.FromSlash(f.Path)
		if !filepath.IsAbs(file) {
			file = filepath.Join(here, file)
		}
		rel, err := filepath.Rel(dir, file)
		if err != nil {
			t.Fatal(err)
		}
		f.Path = filepath.ToSlash(rel)
	}
	return r.Findings
}

func ruleIDs(t *testing.T) []string {
	t.Helper()
	all, err := lint.Rules()
	if err != nil {
		t.Fatal(err)
	}
	var ids []string
	for _, r := range all {
		ids = append(ids, r.ID)
	}
	return ids
}
