package imports

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// A pkg is a package of the module as the rules see it. Paths of this module
// begin with a dot: "." is the root, "./keys" a package; all others stand as
// they are imported.
type pkg struct {
	path, name string
	imports    []string // by the package itself
	inner      []string // by its tests in the same package
	outer      []string // by its tests in package name_test
	deep       []string // by the package and by all it imports, without tests
}

func (p pkg) ships() []string { return p.imports }
func (p pkg) own() []string   { return slices.Concat(p.imports, p.inner) }
func (p pkg) every() []string { return slices.Concat(p.imports, p.inner, p.outer) }
func (p pkg) reach() []string { return p.deep }

// A rule binds the packages that match of and not but. Either it forbids, among
// the imports that sees gives, those that match never and not unless; or wrong
// says what is wrong with a package as such.
//
// Patterns: "std" is the standard library, "x" the path x itself, "x/..." also
// all beneath it, and "..." everything.
type rule struct {
	name          string
	of, but       []string
	sees          func(pkg) []string
	never, unless []string
	wrong         func(pkg) string
}

var rules = []rule{
	{
		name: "the root imports the standard library only",
		of:   []string{"."}, sees: pkg.reach,
		never: []string{"..."}, unless: []string{"std"},
	},
	{
		name: "the root does not import net/http",
		of:   []string{"."}, sees: pkg.reach,
		never: []string{"net/http/..."},
	},
	{
		name: "a store imports the root and drivers only",
		of:   []string{"./store/..."}, but: []string{"./store", "./store/storetest"}, sees: pkg.ships,
		never: []string{"./..."}, unless: []string{"."},
	},
	{
		name: "stores never see each other",
		of:   []string{"./store/..."}, but: []string{"./store"}, sees: pkg.every,
		never: []string{"./store/..."}, unless: []string{"./store/storetest"},
	},
	{
		name: "httpapi never reaches a store",
		of:   []string{"./httpapi/..."}, sees: pkg.reach,
		never: []string{"./store/..."},
	},
	{
		// Tests in package name_test, and the examples among them, wire as an
		// application would: they may import any store.
		name: "only wiring imports a store",
		of:   []string{"./..."}, but: []string{"./store/...", "./cmd/...", "./rescindtest", "./bench/...", "./tests/..."}, sees: pkg.own,
		never: []string{"./store/..."},
	},
	{
		name: "what serves tests never ships",
		of:   []string{"./..."}, but: []string{"./store/storetest", "./rescindtest", "./bench/...", "./tests/..."}, sees: pkg.reach,
		never: []string{"./store/storetest", "./rescindtest"},
	},
	{
		// It judges any application, Rescind among them, by what it answers.
		name: "the probe knows nothing else of ours",
		of:   []string{"./probe/..."}, sees: pkg.reach,
		never: []string{"./..."}, unless: []string{"./probe/...", "./sarif"},
	},
	{
		name: "the linter knows nothing else of ours",
		of:   []string{"./lint/..."}, sees: pkg.reach,
		never: []string{"./..."}, unless: []string{"./lint/...", "./sarif"},
	},
	{
		name: "sarif knows nothing of ours",
		of:   []string{"./sarif"}, sees: pkg.every,
		never: []string{"./..."},
	},
	{
		name: "no cgo",
		of:   []string{"./..."}, sees: pkg.every,
		never: []string{"C"},
	},
	{
		name: "two levels deep",
		of:   []string{"./..."}, wrong: tooDeep,
	},
	{
		name: "a noun of its own",
		of:   []string{"./..."}, wrong: emptyName,
	},
}

// tooDeep allows a third level only where a second one is the rule.
func tooDeep(p pkg) string {
	most := 2
	if matches(p.path, []string{"./store/...", "./cmd/...", "./examples/...", "./tests/..."}) {
		most = 3
	}
	if depth := strings.Count(p.path, "/"); depth > most {
		return fmt.Sprintf("is %d levels deep, %d are allowed", depth, most)
	}
	return ""
}

// Names that say nothing of what a package is for, alone or at the end.
var saysNothing = regexp.MustCompile(`(util|common|manager|helper)s?$`)

func emptyName(p pkg) string {
	for _, name := range append(strings.Split(p.path, "/"), strings.TrimSuffix(p.name, "_test")) {
		if saysNothing.MatchString(name) {
			return fmt.Sprintf("is called %q, which says nothing of what it is for", name)
		}
	}
	return ""
}

// A violation is a rule broken by a package.
type violation struct{ rule, path, what string }

func (v violation) String() string { return fmt.Sprintf("%s: %s %s", v.rule, v.path, v.what) }

// check holds every rule against every package.
func check(graph []pkg) []violation {
	var found []violation
	for _, r := range rules {
		for _, p := range graph {
			if !matches(p.path, r.of) || matches(p.path, r.but) {
				continue
			}
			if r.wrong != nil {
				if what := r.wrong(p); what != "" {
					found = append(found, violation{r.name, p.path, what})
				}
				continue
			}
			for _, path := range r.sees(p) {
				// A test in package name_test imports the package it tests.
				if path != p.path && matches(path, r.never) && !matches(path, r.unless) {
					found = append(found, violation{r.name, p.path, "imports " + path})
				}
			}
		}
	}
	return found
}

func matches(path string, patterns []string) bool {
	return slices.ContainsFunc(patterns, func(pattern string) bool {
		switch tree, below := strings.CutSuffix(pattern, "/..."); {
		case pattern == "...":
			return true
		case pattern == "std":
			// Only paths outside it have a dot in their first element, and "C" is none.
			first, _, _ := strings.Cut(path, "/")
			return !strings.Contains(first, ".") && path != "C"
		case below:
			return path == tree || strings.HasPrefix(path, tree+"/")
		default:
			return path == pattern
		}
	})
}
