package docs

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// The sections of docs/design/dependencies.md.
const (
	shipped = "In the library and the server"
	tested  = "In tests only"
	tools   = "Tools"
	plugged = "What the packages for Node and Python plug into"
	aside   = "From npm and PyPI, for builds, tests and examples"
	debian  = "From Debian, for tests"
)

var (
	required = regexp.MustCompile(`(?m)^\s*(?:require )?(\S+\.\S+/\S+|\S+\.\S+) v\d`)
	tool     = regexp.MustCompile(`(?m)^tool (\S+)`)
	tableRow = regexp.MustCompile("(?m)^\\| `([^`]+)` \\|")
)

func TestEveryDependencyHasAReason(t *testing.T) {
	text, err := os.ReadFile(filepath.Join(root, "docs", "design", "dependencies.md"))
	if err != nil {
		t.Fatal(err)
	}
	have := imported(t)
	for _, wrong := range compare(have, listed(string(text))) {
		t.Error(wrong)
	}
	if len(have) < 10 {
		t.Errorf("%d dependencies: something was not read", len(have))
	}
}

func TestAMissingReasonTurnsRed(t *testing.T) {
	have := map[string]string{"example.org/a": shipped, "example.org/b": tested, "c": tools}
	page := "## " + shipped + "\n| `example.org/a` | x |\n## " + tested + "\n| `example.org/b` | x |\n## " + tools + "\n| `c` | x |\n"
	if wrong := compare(have, listed(page)); len(wrong) != 0 {
		t.Errorf("the page is right: %q", wrong)
	}
	for _, bad := range []string{
		strings.Replace(page, "| `example.org/a` | x |\n", "", 1),
		page + "| `d` | x |\n",
		strings.Replace(page, "example.org/a", "example.org/b", 1),
		strings.Replace(strings.Replace(page, "example.org/a", "e", 1), "example.org/b", "example.org/a", 1),
	} {
		if wrong := compare(have, listed(bad)); len(wrong) == 0 {
			t.Errorf("not noticed:\n%s", bad)
		}
	}
}

// compare says how a page differs from what is there; both map a dependency to
// its section.
func compare(have, page map[string]string) []string {
	var wrong []string
	for _, name := range slices.Sorted(maps.Keys(have)) {
		switch page[name] {
		case have[name]:
		case "":
			wrong = append(wrong, fmt.Sprintf("%s has no line under %q", name, have[name]))
		default:
			wrong = append(wrong, fmt.Sprintf("%s stands under %q and belongs under %q", name, page[name], have[name]))
		}
	}
	for _, name := range slices.Sorted(maps.Keys(page)) {
		if have[name] == "" {
			wrong = append(wrong, name+" is listed and not used")
		}
	}
	return wrong
}

// listed reads the tables of the page.
func listed(page string) map[string]string {
	found := map[string]string{}
	for _, section := range strings.Split("\n"+page, "\n## ")[1:] {
		title, rest, _ := strings.Cut(section, "\n")
		for _, row := range tableRow.FindAllStringSubmatch(rest, -1) {
			found[row[1]] = title
		}
	}
	return found
}

// imported asks go list which modules the code imports, as go mod tidy would,
// and reads which tools are pinned.
func imported(t *testing.T) map[string]string {
	t.Helper()
	modules := []string{}
	for _, match := range required.FindAllStringSubmatch(file(t, "go.mod"), -1) {
		modules = append(modules, match[1])
	}
	slices.SortFunc(modules, func(a, b string) int { return len(b) - len(a) }) // the longest that fits wins
	found := map[string]string{}
	add := func(section string, paths []string) {
		for _, path := range paths {
			first, _, _ := strings.Cut(path, "/")
			if !strings.Contains(first, ".") || strings.HasPrefix(path, "github.com/rescind/rescind") {
				continue
			}
			i := slices.IndexFunc(modules, func(m string) bool { return path == m || strings.HasPrefix(path, m+"/") })
			if i < 0 {
				t.Errorf("go.mod requires no module for %s", path)
			} else if found[modules[i]] != shipped {
				found[modules[i]] = section
			}
		}
	}
	cmd := exec.Command("go", "list", "-json=ImportPath,Imports,TestImports,XTestImports", "./...")
	cmd.Dir = root
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	for dec := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p struct {
			ImportPath                         string
			Imports, TestImports, XTestImports []string
		}
		if err := dec.Decode(&p); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		section := shipped
		for _, aside := range []string{"/tests/", "/bench", "/rescindtest", "/store/storetest"} {
			if strings.Contains(p.ImportPath, aside) {
				section = tested
			}
		}
		add(section, p.Imports)
		add(tested, p.TestImports)
		add(tested, p.XTestImports)
	}
	for _, match := range tool.FindAllStringSubmatch(file(t, "tools/go.mod"), -1) {
		name := match[1]
		for _, module := range required.FindAllStringSubmatch(file(t, "tools/go.mod"), -1) {
			if strings.HasPrefix(name, module[1]+"/") {
				name = module[1]
			}
		}
		found[name] = tools
	}
	maps.Copy(found, installed(t))
	return found
}

// file reads a file of the repository.
func file(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(root, filepath.FromSlash(path)))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}
