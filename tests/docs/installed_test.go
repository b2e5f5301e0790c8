package docs

import (
	"encoding/json"
	"errors"
	"io/fs"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

var (
	// What .ci/test installs: the third word of its need.
	needed = regexp.MustCompile(`(?m)^[ \t]*need \w+[ \t]+(?:"[^"]*"|\S+)[ \t]+(?:"([^"]*)"|(\S+))[ \t]+"`)
	// What a line of pyproject.toml or requirements.txt asks for.
	pyList  = regexp.MustCompile(`(?m)^(requires|dependencies|flask) = \[(.*)\]$`)
	pyNamed = regexp.MustCompile(`(?m)(?:^|")([a-z][a-z0-9-]*)`)
)

// installed maps what npm, pip and apt-get install to its section of the page.
func installed(t *testing.T) map[string]string {
	t.Helper()
	found := map[string]string{}
	// One name has one line: the first of the page's sections.
	order := []string{"", debian, aside, plugged}
	add := func(section, name string) {
		if slices.Index(order, section) > slices.Index(order, found[name]) {
			found[name] = section
		}
	}
	manifests := 0
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		switch {
		case errors.Is(err, fs.ErrNotExist) && path != root:
			return nil // another test's, and gone since it was seen
		case err != nil:
			return err
		case d.IsDir() && (d.Name() == "node_modules" || d.Name() == "dist" || d.Name() == ".git" || d.Name() == "testdata"):
			return fs.SkipDir
		}
		rel, err := filepath.Rel(root, path)
		if err != nil {
			return err
		}
		rel = filepath.ToSlash(rel)
		switch d.Name() {
		case "package.json":
			manifests++
			readNode(t, rel, add)
		case "requirements.txt":
			for _, match := range pyNamed.FindAllStringSubmatch(file(t, rel), -1) {
				add(aside, match[1])
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if manifests < 3 {
		t.Errorf("%d package.json: something was not read", manifests)
	}
	readPython(t, add)
	for _, match := range needed.FindAllStringSubmatch(strings.ReplaceAll(file(t, ".ci/test"), "\\\n", ""), -1) {
		for name := range strings.FieldsSeq(match[1] + match[2]) {
			add(debian, name)
		}
	}
	return found
}

// readNode reads a package.json.
func readNode(t *testing.T, path string, add func(section, name string)) {
	t.Helper()
	var said struct {
		Name                                                                  string
		Dependencies, DevDependencies, OptionalDependencies, PeerDependencies map[string]string
	}
	if err := json.Unmarshal([]byte(file(t, path)), &said); err != nil {
		t.Fatalf("%s: %v", path, err)
	}
	if said.Name == "@rescind/node" && len(said.Dependencies)+len(said.OptionalDependencies) > 0 {
		t.Errorf("%s promises to depend on nothing, and does on %v %v", path, said.Dependencies, said.OptionalDependencies)
	}
	for name := range said.PeerDependencies {
		add(plugged, name)
	}
	for _, each := range []map[string]string{said.Dependencies, said.DevDependencies, said.OptionalDependencies} {
		for name, version := range each {
			if real, ok := strings.CutPrefix(version, "npm:"); ok { // under another name
				name = real[:strings.LastIndex(real, "@")]
			}
			if !strings.HasPrefix(version, "file:") {
				add(aside, name)
			}
		}
	}
}

// readPython reads sdk/python/pyproject.toml.
func readPython(t *testing.T, add func(section, name string)) {
	t.Helper()
	lists := 0
	for _, match := range pyList.FindAllStringSubmatch(file(t, "sdk/python/pyproject.toml"), -1) {
		lists++
		for _, name := range pyNamed.FindAllStringSubmatch(match[2], -1) {
			switch match[1] {
			case "dependencies":
				t.Errorf("the package for Python promises to depend on nothing, and does on %s", name[1])
			case "flask":
				add(plugged, name[1])
			default:
				add(aside, name[1])
			}
		}
	}
	if lists != 3 {
		t.Errorf("pyproject.toml has %d lists: something was not read", lists)
	}
}

func TestWhatIsInstalledIsRead(t *testing.T) {
	for _, c := range []struct{ text, want string }{
		{`need NGINX nginx nginx-light "the configuration for nginx"`, "nginx-light"},
		{"\t\tneed RACE \"$cc\" \"gcc libc6-dev\" \"the race detector\"", "gcc libc6-dev"},
		{`need PYTHON "openssl python:flask" 	"openssl python3" "the tests"`, "openssl python3"},
		{`need() {`, ""},
	} {
		got := ""
		if match := needed.FindStringSubmatch(c.text); match != nil {
			got = match[1] + match[2]
		}
		if got != c.want {
			t.Errorf("%s: %q, want %q", c.text, got, c.want)
		}
	}
}
