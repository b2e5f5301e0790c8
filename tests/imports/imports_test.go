// Package imports checks which package of this module may import which, where
// packages may stand, and what they may be called. The rules are data in
// rules.go; TestEachRuleTurnsRed shows that every one of them can fail.
package imports

import (
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

func TestPackagesKeepTheLayout(t *testing.T) {
	graph := load(t)
	if !slices.ContainsFunc(graph, func(p pkg) bool { return p.path == "." }) {
		t.Fatal("go list did not name the root package: the rules would hold of nothing")
	}
	for _, violation := range check(graph) {
		t.Error(violation)
	}
}

// load asks go list for the packages of the module. Cgo is on, so that files
// which import "C" are not passed over in silence.
func load(t *testing.T) []pkg {
	t.Helper()
	cmd := exec.Command("go", "list", "-json", "./...")
	cmd.Dir = "../.."
	cmd.Env = append(os.Environ(), "CGO_ENABLED=1")
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list: %v\n%s", err, stderr.String())
	}
	var graph []pkg
	for dec := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p struct {
			ImportPath, Name                         string
			Module                                   struct{ Path string }
			Imports, TestImports, XTestImports, Deps []string
		}
		if err := dec.Decode(&p); errors.Is(err, io.EOF) {
			return graph
		} else if err != nil {
			t.Fatalf("go list: %v", err)
		}
		local := func(path string) string {
			if rest, ok := strings.CutPrefix(path, p.Module.Path); ok && (rest == "" || rest[0] == '/') {
				return "." + rest
			}
			return path
		}
		all := func(paths []string) []string {
			var out []string
			for _, path := range paths {
				out = append(out, local(path))
			}
			return out
		}
		graph = append(graph, pkg{
			path: local(p.ImportPath), name: p.Name, imports: all(p.Imports),
			inner: all(p.TestImports), outer: all(p.XTestImports), deep: all(p.Deps),
		})
	}
}

// TestEachRuleTurnsRed plants violations of every rule in a graph of its own,
// and sees that rule, and no other, report each of them.
func TestEachRuleTurnsRed(t *testing.T) {
	planted := map[string][]pkg{
		"the root imports the standard library only": {
			{path: ".", deep: []string{"fmt", "github.com/x/driver"}},
			{path: ".", deep: []string{"fmt", "./keys"}},
		},
		"the root does not import net/http": {
			{path: ".", deep: []string{"net", "net/http"}},
			{path: ".", deep: []string{"net/http/internal"}},
		},
		"a store imports the root and drivers only": {
			{path: "./store/pgstore", imports: []string{".", "./keys"}},
			{path: "./store/pgstore", imports: []string{"./httpapi"}},
			{path: "./store/pgstore", imports: []string{"./store/storetest"}},
			{path: "./store/pgstore/sql", imports: []string{"./guard"}},
		},
		"stores never see each other": {
			{path: "./store/pgstore", inner: []string{"./store/redisstore"}},
			{path: "./store/pgstore", outer: []string{"./store/redisstore"}},
			{path: "./store/storetest", imports: []string{"./store/pebblestore"}},
		},
		"httpapi never reaches a store": {
			{path: "./httpapi", deep: []string{".", "./store/pebblestore"}},
		},
		"only wiring imports a store": {
			{path: "./guard", imports: []string{"./store/pebblestore"}},
			{path: "./keys", inner: []string{"./store/pebblestore"}},
			{path: ".", inner: []string{"./store/storetest"}},
			{path: "./cmdline", imports: []string{"./store/pgstore"}},
		},
		"what serves tests never ships": {
			{path: "./cmd/rescind", deep: []string{".", "./store/storetest"}},
			{path: "./guard", deep: []string{"./rescindtest"}},
		},
		"the probe knows nothing else of ours": {
			{path: "./probe", deep: []string{"./probe/target", "./guard"}},
			{path: "./probe/report", deep: []string{"./sarif", "./lint"}},
		},
		"the linter knows nothing else of ours": {
			{path: "./lint", deep: []string{"./lint/program", "."}},
			{path: "./lint/golang", deep: []string{"./probe"}},
		},
		"sarif knows nothing of ours": {
			{path: "./sarif", imports: []string{"./probe"}},
			{path: "./sarif", inner: []string{"./lint"}},
		},
		"no cgo": {
			{path: "./keys", imports: []string{"C"}},
			{path: "./tests/e2e", inner: []string{"C"}},
		},
		"two levels deep": {
			{path: "./guard/grpc/internal", name: "internal"},
			{path: "./store/pgstore/sql/schema", name: "schema"},
		},
		"a noun of its own": {
			{path: "./" + "util", name: "util"},
			{path: "./keys", name: "keyutils"},
			{path: "./common/keys", name: "keys"},
			{path: "./session-manager", name: "session"},
			{path: "./tests/helper", name: "helper"},
			{path: "./tests/e2e", name: "testhelpers"},
			{path: "./tests/e2e", name: "helpers_test"},
		},
	}
	for _, r := range rules {
		if len(planted[r.name]) == 0 {
			t.Errorf("no violation of %q is planted: nobody has seen it fail", r.name)
		}
	}
	for name, packages := range planted {
		for _, p := range packages {
			found := check([]pkg{p})
			if len(found) == 0 {
				t.Errorf("%s: not noticed: %+v", name, p)
			}
			for _, v := range found {
				if v.rule != name {
					t.Errorf("planted against %q, reported by another: %v", name, v)
				}
			}
		}
	}
}

// TestTheLayoutIsAllowed holds the rules against the graph the design asks for.
func TestTheLayoutIsAllowed(t *testing.T) {
	for _, v := range check([]pkg{
		{path: ".", name: "rescind", imports: []string{"fmt"}, deep: []string{"fmt", "crypto/hmac", "vendor/golang.org/x/crypto/chacha20"},
			inner: []string{"testing", "pgregory.net/rapid"}, outer: []string{".", "net/http", "./store/pebblestore", "./keys"}},
		{path: "./keys", name: "keys", imports: []string{".", "github.com/x/jose"}},
		{path: "./httpapi", name: "httpapi", imports: []string{".", "./keys", "net/http"}, deep: []string{".", "./keys"}, outer: []string{"./rescindtest"}},
		{path: "./guard/grpcguard", name: "grpcguard", imports: []string{".", "./guard"}},
		{path: "./store/pebblestore", name: "pebblestore", imports: []string{".", "github.com/x/pebble"}, inner: []string{"./store/storetest"},
			outer: []string{"./store/pebblestore", "./store/storetest"}},
		{path: "./store/storetest", name: "storetest", imports: []string{".", "./keys", "testing"}},
		{path: "./store/pgstore/sql", name: "sql", imports: []string{"."}},
		{path: "./rescindtest", name: "rescindtest", imports: []string{".", "./httpapi", "./store/pebblestore", "testing"}, deep: []string{"./store/pebblestore"}},
		{path: "./cmd/rescind", name: "main", imports: []string{"./store/pebblestore", "./httpapi"}, deep: []string{"./store/pebblestore"}, outer: []string{"./rescindtest"}},
		{path: "./bench", name: "main", imports: []string{"./rescindtest", "./store/pebblestore"}, deep: []string{"./rescindtest", "./store/pebblestore"}},
		{path: "./tests/linear", name: "linear", imports: []string{"./store/pebblestore", "./store/storetest"}, deep: []string{"./store/storetest"}},
		{path: "./tests/planted/patch", name: "patch"},
	}) {
		t.Error(v)
	}
}
