package probe_test

import (
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/rescind/rescind"
	"github.com/rescind/rescind/client"
	"github.com/rescind/rescind/guard"
	"github.com/rescind/rescind/probe"
	"github.com/rescind/rescind/tests/examples"
)

// everyCheck are those that a description of tokens with refresh and logout
// everywhere makes.
var everyCheck = append(stateless, "refresh-reuse-ends-family", "refresh-races-logout", "same-second-login",
	"logout-with-refresh-token-only", "token-variant-alive-after-logout", "refresh-token-as-bearer")

// TestRescindHasNoFinding probes Rescind as an application uses it: a login by its
// own client, refresh and logout at the server, and an API behind the guard.
func TestRescindHasNoFinding(t *testing.T) {
	t.Parallel()
	server := examples.StartRescind(t, 0)
	remote, err := client.New(client.Options{Server: server.URL, ID: "app", Secret: rescind.Secret(server.Secret)})
	if err != nil {
		t.Fatal(err)
	}
	var apis []string
	for range 2 {
		mux := http.NewServeMux()
		for _, path := range []string{"/me", "/notes"} {
			mux.HandleFunc("GET "+path, func(w http.ResponseWriter, r *http.Request) {
				who, _ := guard.From(r.Context())
				w.Header().Set("Content-Type", "application/json")
				_, _ = w.Write([]byte(`{"subject":"` + who.Subject + `"}`)) // whoever asked has gone
			})
		}
		api := httptest.NewServer(guard.New(remote, guard.Options{}).Handler(mux))
		t.Cleanup(api.Close)
		apis = append(apis, api.URL)
	}
	text, err := os.ReadFile(filepath.Join("testdata", "rescind.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	description := strings.NewReplacer("RESCIND", server.URL, "HOST", server.URL[len("http://"):], "FIRST", apis[0], "SECOND", apis[1]).Replace(string(text))
	report := run(t, description+usual(), probe.Options{}, "APP_SECRET", server.Secret)
	cleared(t, report, everyCheck)
}
