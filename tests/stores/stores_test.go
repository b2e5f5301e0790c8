// Package stores runs what was written for the embedded store on shared ones: the
// tests of the HTTP interface, of its clients and guards, and the demonstration.
package stores

import (
	"errors"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/rescind/rescind/tests/postgres"
	"github.com/rescind/rescind/tests/redis"
	"github.com/rescind/rescind/tests/server"
)

var rescind server.Program

func TestMain(m *testing.M) { server.Main(m, &rescind) }

// ledgers are the URLs of empty ledgers on a server of each kind, with {n} for a
// number.
var ledgers = map[string]func(t *testing.T) string{
	"PostgreSQL": func(t *testing.T) string {
		s := postgres.Start(t, postgres.With("max_connections", "400"))
		c, err := pgx.Connect(t.Context(), s.URL(""))
		if err != nil {
			t.Fatal(err)
		}
		_, err = c.Exec(t.Context(), "DO $$ BEGIN FOR i IN 1..300 LOOP EXECUTE 'CREATE SCHEMA ledger' || i; END LOOP; END $$")
		if err = errors.Join(err, c.Close(t.Context())); err != nil {
			t.Fatal(err)
		}
		return s.URL("search_path=ledger{n}")
	},
	"Redis": func(t *testing.T) string {
		return "redis://" + redis.Start(t, "--databases", "10000").Addr() + "/{n}"
	},
}

// suites are packages whose tests boot servers by rescindtest: those that run each
// time, all of them in the slow suites, and what in them is said of the embedded
// store only.
var suites = map[string]struct{ short, but string }{
	"./httpapi": {"^(TestRevokedTokenNeverPassesAgain|TestUnavailableIsNeverAStatementAboutAToken|TestAuthorizationMatrix)$", "^(TestHotPathsAllocateLittle|TestBackupIsWholeOrCut)$"},
	"./client":  {"^(TestRemoteIsAsTheAuthorityIs|TestRevokeByEverySelector|TestListsAndAdministration)$", "^$"},
	"./guard":   {"^$", "^$"},
}

func TestTheSameTestsPassOnEveryStore(t *testing.T) {
	for kind, start := range ledgers {
		t.Run(kind, func(t *testing.T) {
			for pkg, which := range suites {
				t.Run(strings.TrimPrefix(pkg, "./"), func(t *testing.T) {
					t.Parallel()
					run := which.short
					if os.Getenv("RESCIND_SLOW") != "" {
						run = ""
					}
					cmd := exec.Command("go", "test", "-count=1", "-run", run, "-skip", which.but, pkg)
					cmd.Dir = "../.."
					cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "RESCIND_TEST_STORE="+start(t))
					if text, err := cmd.CombinedOutput(); err != nil {
						t.Errorf("%v\n%s", err, text)
					}
				})
			}
		})
	}
}

func TestTheDemonstrationComesOutAsPromisedOnEveryStore(t *testing.T) {
	for kind, start := range ledgers {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			cmd := exec.Command(string(rescind), "demo")
			cmd.Env = append(os.Environ(), "RESCIND_DEMO_STORE="+strings.ReplaceAll(start(t), "{n}", "1"), "TMPDIR="+t.TempDir())
			text, err := cmd.CombinedOutput()
			if err != nil || !strings.Contains(string(text), "All good:") {
				t.Errorf("%v\n%s", err, text)
			}
		})
	}
}

// TestALedgerMovesBetweenStores goes once around, by the command that does it, and
// asks for every token after each move.
func TestALedgerMovesBetweenStores(t *testing.T) {
	folder := t.TempDir()
	places := []string{"pebble:" + folder + "/data"}
	for _, kind := range []string{"PostgreSQL", "Redis"} {
		places = append(places, strings.ReplaceAll(ledgers[kind](t), "{n}", "1"))
	}
	places = append(places, "pebble:"+folder+"/back")

	r := newResidents(t, folder)
	stop := r.serve(places[0])
	r.moveIn()
	r.hold()
	stop()
	for i, to := range places[1:] {
		cmd := exec.Command(string(rescind), "copy", "--json")
		cmd.Env = append(os.Environ(), "RESCIND_COPY_FROM="+places[i], "RESCIND_COPY_TO="+to)
		text, err := cmd.CombinedOutput()
		if err != nil || !strings.Contains(string(text), `"sessions":`) {
			t.Fatalf("to place %d: %v\n%s", i+1, err, text)
		}
		stop := r.serve(to)
		r.hold()
		stop()
	}
}
