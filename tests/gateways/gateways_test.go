package gateways

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// configure writes a configuration with this test's ports into a folder.
func configure(t *testing.T, from, to string, ports, more *strings.Replacer) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(folder, from))
	must(t, err)
	for _, addr := range []string{rescindAt, apiAt, gatewayAt} {
		if !strings.Contains(string(text), addr) {
			t.Fatalf("%s does not name %s", from, addr)
		}
	}
	config := ports.Replace(string(text))
	if more != nil {
		config = more.Replace(config)
	}
	must(t, os.WriteFile(to, []byte(config), 0o644))
}

// build starts a ledger, an API and, by run, a gateway between them.
func build(t *testing.T, command string, run func(dir string, ports *strings.Replacer) *exec.Cmd) *rig {
	t.Helper()
	needGateway(t, command)
	t.Parallel()
	g := &rig{api: startAPI(t), ledger: startLedger(t), gateway: freePort(t)}
	ports := strings.NewReplacer(rescindAt, g.addr, apiAt, g.api.addr, gatewayAt, g.gateway)
	cmd := run(t.TempDir(), ports)
	spawn(t, cmd, g.gateway)
	return g
}

func TestNginx(t *testing.T) {
	g := build(t, "nginx", func(dir string, ports *strings.Replacer) *exec.Cmd {
		config := filepath.Join(dir, "nginx.conf")
		// Where this machine keeps its files is no part of the configuration.
		files := "http {\n    access_log off;\n"
		for _, kind := range []string{"client_body", "proxy", "fastcgi", "uwsgi", "scgi"} {
			files += "    " + kind + "_temp_path " + filepath.Join(dir, kind) + ";\n"
		}
		configure(t, "nginx/nginx.conf", config, ports, strings.NewReplacer("http {\n", files))
		return exec.Command("nginx", "-p", dir, "-e", "stderr", "-c", config,
			"-g", "daemon off; pid "+filepath.Join(dir, "nginx.pid")+";")
	})
	g.suite(t)
}
