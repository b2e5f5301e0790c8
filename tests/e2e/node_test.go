package e2e

import (
	"bytes"
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/rescind/rescind"
	"github.com/rescind/rescind/tests/need"
)

// installNode installs what package-lock.json names, unless it is there.
func installNode(t *testing.T) {
	t.Helper()
	var want, have struct {
		Packages map[string]struct{ Version string }
	}
	read := func(path string, into any) error {
		text, err := os.ReadFile(path)
		if err == nil {
			err = json.Unmarshal(text, into)
		}
		return err
	}
	if err := read("package-lock.json", &want); err != nil {
		t.Fatal(err)
	}
	err := read(filepath.Join("node_modules", ".package-lock.json"), &have)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
	missing := false
	for name, p := range want.Packages {
		missing = missing || name != "" && have.Packages[name].Version != p.Version
	}
	if !missing {
		return
	}
	out, err := exec.Command("npm", "ci", "--no-audit", "--no-fund", "--ignore-scripts").CombinedOutput()
	if err != nil {
		t.Fatalf("npm ci: %v\n%s", err, out)
	}
}

// client is how oauth4webapi.mjs gets one client to try, and the sessions it may
// use up.
type client struct {
	Name   string          `json:"name"`
	ID     string          `json:"id"`
	Secret string          `json:"secret,omitempty"`
	Method string          `json:"method"`
	JWT    bool            `json:"jwt"`
	Grants []rescind.Grant `json:"grants"`
}

func TestOAuth4WebAPI(t *testing.T) {
	need.Commands(t, "NODE", "the oauth4webapi client", "node", "npm")
	installNode(t)
	for _, over := range []struct {
		name   string
		secure bool
	}{{"HTTP", false}, {"TLS", true}} {
		t.Run(over.name, func(t *testing.T) { start(t, over.secure).tryOAuth4WebAPI(t) })
	}
}

func (s *target) tryOAuth4WebAPI(t *testing.T) {
	clients := []client{
		{Name: "basic", ID: "backend", Secret: clientSecret, Method: "basic", JWT: true},
		{Name: "form", ID: "backend", Secret: clientSecret, Method: "post", JWT: true},
		{Name: "opaque", ID: "opaque.backend", Secret: clientSecret, Method: "basic"},
		{Name: "public", ID: "browser", Method: "none", JWT: true},
	}
	for i := range clients {
		c := &clients[i]
		for range 3 {
			c.Grants = append(c.Grants, s.login(t, c.ID, "ada", nil))
		}
		c.Grants = append(c.Grants, s.login(t, "strict-browser", "eve", nil))
	}
	task, err := json.Marshal(map[string]any{"issuer": s.URL, "clients": clients})
	if err != nil {
		t.Fatal(err)
	}
	node := exec.CommandContext(t.Context(), "node", "oauth4webapi.mjs")
	node.Stdin = bytes.NewReader(task)
	if s.CA != "" {
		node.Env = append(os.Environ(), "NODE_EXTRA_CA_CERTS="+s.CA)
	}
	out, err := node.CombinedOutput()
	t.Logf("%s", out)
	if err != nil {
		t.Fatal(err)
	}
	// It must have come to its end with every client.
	for _, c := range clients {
		if !strings.Contains(string(out), c.Name+": errors\n") {
			t.Errorf("nothing was said of the last step of %q", c.Name)
		}
	}
}
