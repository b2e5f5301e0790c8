// Package repo checks what is committed to the repository: the files git tracks,
// as they lie in the working tree. The checks are in checks.go;
// TestEachCheckTurnsRed shows that every one of them can fail.
package repo

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

func TestRepositoryIsClean(t *testing.T) {
	for _, f := range tracked(t) {
		for _, c := range checks {
			for _, what := range c.find(f) {
				t.Errorf("%s: %s: %s", c.name, f.path, what)
			}
		}
	}
}

// tracked reads every file that git tracks.
func tracked(t *testing.T) []file {
	t.Helper()
	if _, err := exec.LookPath("git"); err != nil {
		t.Fatalf("this test asks git which files are committed, and git is not installed: %v", err)
	}
	root, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	// A checkout may belong to another user, as in a container. git is told to
	// read it all the same: this test, which lies in it, is running already.
	cmd := exec.Command("git", "-c", "safe.directory="+root, "-C", root, "ls-files", "--stage", "-z")
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("this test needs a git checkout of the repository: git ls-files: %v\n%s", err, stderr.String())
	}
	var files []file
	for entry := range strings.SplitSeq(strings.TrimSuffix(string(out), "\x00"), "\x00") {
		// Mode, object and stage, then a tab, then the path.
		about, path, ok := strings.Cut(entry, "\t")
		mode, _, _ := strings.Cut(about, " ")
		if !ok {
			t.Fatalf("git ls-files wrote %q", entry)
		}
		f := file{path: path, mode: mode}
		if linked(f) == nil {
			if f.text, err = os.ReadFile(filepath.Join(root, path)); err != nil {
				t.Fatalf("git tracks what cannot be read: %v", err)
			}
			if bytes.IndexByte(f.text, 0) >= 0 {
				f.text = nil
			}
		}
		files = append(files, f)
	}
	if len(files) < 2 {
		t.Fatalf("git tracks %d files: this is not the repository", len(files))
	}
	return files
}

const (
	plain      = "100644"
	executable = "100755"
)

func TestEachCheckTurnsRed(t *testing.T) {
	planted := map[string][]file{
		"plain files only": {
			{path: "docs/link.md", mode: "120000"},
			{path: "sdk/other", mode: "160000"},
		},
		"Go files are short": {
			goFile("long.go", strings.Repeat("// line\n", maxLines)),
		},
		"Go files are formatted": {
			goFile("a.go", "var  a = 1\n"),
			goFile("b.go", "func {\n"),
		},
		"nothing is left for later": {
			goFile("a.go", "// TO"+"DO: later\n"),
			goFile("a.go", "var ctx = context.TO"+"DO()\n"),
			{path: "README.md", mode: plain, text: []byte("- FIX" + "ME\n")},
			{path: ".ci/run", mode: executable, text: []byte("#!/bin/sh\n# XX" + "X\n")},
		},
		"no path of one machine": {
			{path: "docs/a.md", mode: plain, text: []byte("see /ho" + "me/ada/rescind\n")},
			{path: "docs/a.md", mode: plain, text: []byte("/wo" + "rk/main is it\n")},
			{path: "docs/a.md", mode: plain, text: []byte(`at C:\Us` + "ers\\ada\n")},
			goFile("a.go", "const dir = \"/ro"+"ot/go\"\n"),
			{path: "lint/testdata/a.txt", mode: plain, text: []byte("dir=/Us" + "ers/ada\n")},
		},
		"no registry address": {
			{path: "tests/e2e/package-lock.json", mode: plain, text: []byte(`"resolved": "https:` + `//packages.example/a.tgz"` + "\n")},
			{path: "sdk/node/yarn.lock", mode: plain, text: []byte(`  resolved "https:` + `//packages.example/a.tgz"` + "\n")},
			{path: "sdk/node/pnpm-lock.yaml", mode: plain, text: []byte(`{tarball: https:` + `//packages.example/a.tgz}` + "\n")},
			{path: "sdk/python/uv.lock", mode: plain, text: []byte(`source = { registry = "https:` + `//packages.example/simple" }` + "\n")},
			{path: ".npmrc", mode: plain, text: []byte("registry=http:" + "//packages.example\n")},
			{path: "Makefile", mode: plain, text: []byte("export GOPROXY = https:" + "//modules.example\n")},
			{path: "requirements.txt", mode: plain, text: []byte("--index-url https:" + "//packages.example\n")},
		},
		"scripts are executable": {
			{path: ".ci/run", mode: plain, text: []byte("#!/bin/sh\n")},
			goFileMode("a.go", executable, "var a = 1\n"),
		},
		"tests skip in one place": {
			goFile("a_test.go", "func TestA(t *testing.T) { t."+"Skip(\"no database\") }\n"),
			goFile("keys/a_test.go", "func TestA(t *testing.T) { t."+"SkipNow() }\n"),
			goFile("keys/rescindtest/a.go", "func need(tb testing.TB) { tb."+"Skipf(\"no\") }\n"),
		},
	}
	for _, c := range checks {
		if len(planted[c.name]) == 0 {
			t.Errorf("nothing is planted against %q: nobody has seen it fail", c.name)
		}
	}
	for name, files := range planted {
		for _, f := range files {
			noticed := false
			for _, c := range checks {
				if found := c.find(f); len(found) > 0 && c.name == name {
					noticed = true
				} else if len(found) > 0 {
					t.Errorf("planted against %q, reported by %q: %s: %q", name, c.name, f.path, found)
				}
			}
			if !noticed {
				t.Errorf("%s: not noticed: %s: %q", name, f.path, f.text)
			}
		}
	}
}

func TestCleanFilesPass(t *testing.T) {
	for _, f := range []file{
		goFile("a.go", strings.Repeat("// line\n", maxLines-2)),
		goFile("pb.go", "// Code generated by protoc-gen-go. DO NOT EDIT.\n\n"+strings.Repeat("// line\n", maxLines)),
		goFile("a_test.go", "func f(s *bufio.Scanner) { list.Skip(1) }\n"),
		goFile("rescindtest/need.go", "func need(t testing.TB) { t."+"Skip() }\n"),
		goFile("tests/e2e/skip.go", "func need(t testing.TB) { t."+"Skip() }\n"),
		{path: "go.sum", mode: plain, text: []byte("h1:a/XX" + "X/b=\n")},
		{path: "keys/testdata/vectors.json", mode: plain, text: []byte(`"XX` + `X"` + "\n")},
		{path: "tests/e2e/package-lock.json", mode: plain, text: []byte(`"integrity": "sha512-a", "funding": {"url": "https://example.org"}` + "\n")},
		{path: "docs/a.md", mode: plain, text: []byte("https://example.org/home/a, homework/a and /var/lib/rescind; mktemp a.XXXXXX\n")},
		{path: ".ci/run", mode: executable, text: []byte("#!/bin/sh\n")},
		{path: "docs/picture.png", mode: plain},
	} {
		for _, c := range checks {
			for _, what := range c.find(f) {
				t.Errorf("%s: %s: %s", c.name, f.path, what)
			}
		}
	}
}

func goFile(path, body string) file { return goFileMode(path, plain, body) }

func goFileMode(path, mode, body string) file {
	return file{path: path, mode: mode, text: []byte("package a\n\n" + body)}
}
