package gateways

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/rescind/rescind/tests/need"
	"github.com/rescind/rescind/tests/server"
)

// source is where a file of folder is read. tests/planted puts another in its place,
// to see that somebody notices.
func source(t *testing.T, name string) string {
	t.Helper()
	path, err := filepath.Abs(filepath.Join(folder, name))
	must(t, err)
	if overlay := os.Getenv("RESCIND_PLANTED"); overlay != "" {
		text, err := os.ReadFile(overlay)
		must(t, err)
		var planted struct{ Replace map[string]string }
		must(t, json.Unmarshal(text, &planted))
		if there := planted.Replace[path]; there != "" {
			return there
		}
	}
	return path
}

func read(t *testing.T, name string) []byte {
	t.Helper()
	text, err := os.ReadFile(source(t, name))
	must(t, err)
	return text
}

// configure writes a configuration with this test's ports into a folder.
func (g *rig) configure(t *testing.T, from, to string, more ...string) {
	t.Helper()
	config := string(read(t, from))
	for port, addr := range map[string]string{rescindPort: g.Addr(), apiPort: g.api.addr, gatewayPort: g.gateway} {
		config = strings.ReplaceAll(config, port, strings.TrimPrefix(addr, "127.0.0.1"))
	}
	must(t, os.WriteFile(to, []byte(strings.NewReplacer(more...).Replace(config)), 0o644))
}

// build starts a ledger and an API for a gateway between them.
func build(t *testing.T, command string) *rig {
	t.Helper()
	need.Commands(t, strings.ToUpper(command), "the configuration for "+command, command)
	t.Parallel()
	return &rig{api: startAPI(t), ledger: startLedger(t), gateway: server.FreePort(t)}
}

func TestNginx(t *testing.T) {
	g, dir := build(t, "nginx"), t.TempDir()
	config := filepath.Join(dir, "nginx.conf")
	// Where a machine keeps its files is no part of the configuration.
	files := "http {\n    access_log off;\n"
	for _, kind := range []string{"client_body", "proxy", "fastcgi", "uwsgi", "scgi"} {
		files += "    " + kind + "_temp_path " + filepath.Join(dir, kind) + ";\n"
	}
	g.configure(t, "nginx/nginx.conf", config, "http {\n", files)
	server.Spawn(t, exec.Command("nginx", "-p", dir, "-e", "stderr", "-c", config,
		"-g", "daemon off; pid "+filepath.Join(dir, "nginx.pid")+";"), g.gateway)
	g.suite(t)
}

func TestCaddy(t *testing.T) {
	g, dir := build(t, "caddy"), t.TempDir()
	config := filepath.Join(dir, "Caddyfile")
	g.configure(t, "caddy/Caddyfile", config)
	cmd := exec.Command("caddy", "run", "--adapter", "caddyfile", "--config", config)
	cmd.Env = append(os.Environ(), "HOME="+dir, "XDG_CONFIG_HOME="+dir, "XDG_DATA_HOME="+dir)
	server.Spawn(t, cmd, g.gateway)
	g.suite(t)
}

func TestHAProxy(t *testing.T) {
	g, dir := build(t, "haproxy"), t.TempDir()
	g.configure(t, "haproxy/haproxy.cfg", filepath.Join(dir, "haproxy.cfg"))
	must(t, os.Symlink(source(t, "haproxy/rescind.lua"), filepath.Join(dir, "rescind.lua")))
	cmd := exec.Command("haproxy", "-db", "-f", "haproxy.cfg")
	cmd.Dir = dir
	server.Spawn(t, cmd, g.gateway)
	g.suite(t)
}
