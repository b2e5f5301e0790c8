// Package e2e lets real client libraries talk to the real server: what users
// have already must work without special treatment.
package e2e

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/rescind/rescind"
	"github.com/rescind/rescind/tests/server"
)

// program is the server as it ships, built once.
var program server.Program

func TestMain(m *testing.M) { server.Main(m, &program) }

// clientSecret holds what has to be encoded in Basic credentials and in forms.
const clientSecret = "a-secret:/=&?with~what*needs#some;encoding"

// The clients, by what they are to show.
const configuration = `
clients:
  - {id: backend, roles: [issue, introspect], secret_env: E2E_SECRET}
  - {id: opaque.backend, roles: [issue, introspect], access_token_format: opaque, secret_env: E2E_SECRET}
  - {id: browser, public: true}
  - {id: strict-browser, public: true, strict: true}
`

// target is the running server that a library is tried on.
type target struct{ *server.Server }

// start runs it until the test ends.
func start(t *testing.T, secure bool) *target {
	t.Helper()
	config := filepath.Join(t.TempDir(), "rescind.yaml")
	if err := os.WriteFile(config, []byte(configuration), 0o600); err != nil {
		t.Fatal(err)
	}
	return &target{program.Start(t, server.Options{Config: config, TLS: secure, Env: []string{"E2E_SECRET=" + clientSecret}})}
}

// login opens a session of a client.
func (s *target) login(t *testing.T, client, subject string, more map[string]any) rescind.Grant {
	t.Helper()
	if more == nil {
		more = map[string]any{}
	}
	more["scope"] = "read write"
	return s.Login(t, client, subject, more)
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
