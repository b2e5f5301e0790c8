package probe

import (
	"maps"
	"regexp"
	"slices"
	"strings"
	"testing"
)

func TestCatalogue(t *testing.T) {
	c := Checks()
	kebab := regexp.MustCompile(`^[a-z0-9]+(-[a-z0-9]+)*$`)
	seen, weaknesses, requirements := map[string]bool{}, map[string]bool{}, map[string]bool{}
	for _, check := range c.Checks {
		if !kebab.MatchString(check.ID) || seen[check.ID] {
			t.Errorf("%q is no id, or stands there twice", check.ID)
		}
		seen[check.ID] = true
		if !slices.Contains([]Severity{High, Medium, Low, Info}, check.Severity) {
			t.Errorf("%s: severity %q", check.ID, check.Severity)
		}
		for what, text := range map[string]string{"title": check.Title, "tests": check.Tests, "matters": check.Matters, "cure": check.Cure, "rescind": check.Rescind} {
			if text == "" || text != strings.TrimSpace(text) || strings.Contains(text, "\n") {
				t.Errorf("%s: %s is %q", check.ID, what, text)
			}
			if what != "title" && !strings.HasSuffix(text, ".") {
				t.Errorf("%s: %s does not end: %q", check.ID, what, text)
			}
		}
		if len(check.Title) > 80 || strings.HasSuffix(check.Title, ".") {
			t.Errorf("%s: title %q", check.ID, check.Title)
		}
		if len(check.CWE) == 0 && check.Severity != Info {
			t.Errorf("%s: a finding without a CWE", check.ID)
		}
		for _, id := range check.CWE {
			weaknesses[id] = true
		}
		for _, id := range check.ASVS {
			requirements[id] = true
		}
	}
	if got := slices.Sorted(maps.Keys(weaknesses)); !slices.Equal(got, slices.Sorted(maps.Keys(c.Weaknesses))) {
		t.Errorf("weaknesses named by checks: %v; in the table: %v", got, slices.Sorted(maps.Keys(c.Weaknesses)))
	}
	if got := slices.Sorted(maps.Keys(requirements)); !slices.Equal(got, slices.Sorted(maps.Keys(c.Requirements))) {
		t.Errorf("requirements named by checks: %v; in the table: %v", got, slices.Sorted(maps.Keys(c.Requirements)))
	}
	for id, r := range c.Requirements {
		if r.Level < 1 || r.Level > 3 || r.About == "" || !strings.HasPrefix(id, "v5.0.0-") {
			t.Errorf("%s: %+v", id, r)
		}
	}
}

func TestUnknownCheckHasATitle(t *testing.T) {
	if got := Checks().Find("made-up"); got.ID != "made-up" || got.Title == "" || got.Severity != Info {
		t.Errorf("%+v", got)
	}
}

// Whatever the engine can report is explained, and what is explained can be
// reported.
func TestCatalogueIsComplete(t *testing.T) {
	made := slices.Clone(controlChecks)
	for _, e := range experiments() {
		made = append(made, e.checks...)
	}
	slices.Sort(made)
	var explained []string
	for _, check := range Checks().Checks {
		explained = append(explained, check.ID)
	}
	slices.Sort(explained)
	if made = slices.Compact(made); !slices.Equal(made, explained) {
		t.Errorf("the engine makes\n%v, the catalogue has\n%v", made, explained)
	}
}
