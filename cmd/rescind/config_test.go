package main

import (
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/spf13/pflag"

	"github.com/rescind/rescind"
)

func environment(pairs ...string) func(string) (string, bool) {
	return func(name string) (string, bool) {
		for i := 0; i < len(pairs); i += 2 {
			if pairs[i] == name {
				return pairs[i+1], true
			}
		}
		return "", false
	}
}

func load(t *testing.T, file string, env func(string) (string, bool), args ...string) (config, error) {
	t.Helper()
	flags := pflag.NewFlagSet("serve", pflag.ContinueOnError)
	addFlags(flags)
	if file != "" {
		path := filepath.Join(t.TempDir(), "rescind.yaml")
		if err := os.WriteFile(path, []byte(file), 0o600); err != nil {
			t.Fatal(err)
		}
		args = append(args, "--config", path)
	}
	if err := flags.Parse(args); err != nil {
		t.Fatal(err)
	}
	return loadConfig(flags, env)
}

func TestFlagsComeBeforeTheEnvironmentBeforeTheFile(t *testing.T) {
	const file = "listen: 127.0.0.1:1111\nlog:\n  level: warn\n  format: json\naudience: from-file\n"
	c, err := load(t, file, environment("RESCIND_LISTEN", "127.0.0.1:2222", "RESCIND_LOG_LEVEL", "error", "RESCIND_ISSUER", ""), "--listen", "127.0.0.1:3333")
	if err != nil {
		t.Fatal(err)
	}
	if c.Listen != "127.0.0.1:3333" || c.Log.Level != "error" || c.Log.Format != "json" || c.Audience != "from-file" || c.Issuer != "http://127.0.0.1:3333" {
		t.Fatalf("got %+v", c)
	}
}

func TestASecretOfTheEnvironmentComesBetweenFlagAndFile(t *testing.T) {
	const file = "admin_secret_file: from-file\nmaster_key_file: from-file\n"
	env := environment("RESCIND_ADMIN_SECRET", "s3cret", "RESCIND_MASTER_KEY", "k3y")
	c, err := load(t, file, env)
	if err != nil || c.adminSecret != "s3cret" || c.masterKey != "k3y" || c.AdminSecretFile != "" || c.MasterKeyFile != "" {
		t.Fatalf("the environment did not come before the file: %+v, %v", c, err)
	}
	c, err = load(t, file, env, "--admin-secret-file", "flag.admin", "--master-key-file", "flag.master")
	if err != nil || c.adminSecret != "" || c.masterKey != "" || c.AdminSecretFile != "flag.admin" || c.MasterKeyFile != "flag.master" {
		t.Fatalf("the flag did not come before the environment: %+v, %v", c, err)
	}
}

func TestEveryFlagOfTheContractIsThere(t *testing.T) {
	flags := pflag.NewFlagSet("serve", pflag.ContinueOnError)
	addFlags(flags)
	for name, value := range map[string]string{
		"listen": "127.0.0.1:8470", "issuer": "", "store": "pebble:./rescind-data", "admin-secret-file": "", "master-key-file": "", "audience": "", "config": "",
	} {
		f := flags.Lookup(name)
		if f == nil {
			t.Errorf("no flag --%s", name)
		} else if f.DefValue != value {
			t.Errorf("--%s defaults to %q, the contract says %q", name, f.DefValue, value)
		}
	}
	for _, env := range []string{"RESCIND_LISTEN", "RESCIND_ISSUER", "RESCIND_STORE", "RESCIND_AUDIENCE"} {
		value := map[string]string{"RESCIND_LISTEN": "127.0.0.1:99", "RESCIND_ISSUER": "https://x.example", "RESCIND_STORE": "pebble:elsewhere", "RESCIND_AUDIENCE": "aud"}[env]
		c, err := load(t, "", environment(env, value))
		if err != nil {
			t.Errorf("%s: %v", env, err)
		}
		if got := c.Listen + c.Issuer + string(c.Store) + c.Audience; !strings.Contains(got, value) {
			t.Errorf("%s has no effect: %s", env, got)
		}
	}
}

func TestAPrintedConfigurationReadsBackAsItself(t *testing.T) {
	const file = `
listen: 127.0.0.1:9000
listen_grpc: 127.0.0.1:9001
lifetimes: {access_token: 90s, idle: 36h, session: 240h}
sessions: {max: 3, policy: end-oldest}
cors_origins: [https://app.example.com]
trusted_proxies: [10.0.0.0/8]
forward_auth:
  default: {scope: read}
  rules:
    reports: {audience: [reports], cookie: token}
clients:
  - id: shop
    roles: [issue, introspect]
    grace: 20s
    secret_file: shop.secret
  - {id: phone, public: true}
`
	first, err := load(t, file, environment("RESCIND_ADMIN_SECRET", "do-not-print-this-secret-anywhere-1", "RESCIND_MASTER_KEY", "do-not-print-this-secret-anywhere-2"))
	if err != nil {
		t.Fatal(err)
	}
	if time.Duration(first.Lifetimes.Access) != 90*time.Second || first.Sessions.Max != 3 || !reflect.DeepEqual(first.ForwardAuth.Rules["reports"].Audience, []string{"reports"}) {
		t.Fatalf("not read: %+v", first)
	}
	var text strings.Builder
	if err := first.print(&text); err != nil {
		t.Fatal(err)
	}
	if strings.Contains(text.String(), "do-not-print") {
		t.Fatal("a secret was printed")
	}
	second, err := load(t, text.String(), environment("RESCIND_ADMIN_SECRET", "do-not-print-this-secret-anywhere-1", "RESCIND_MASTER_KEY", "do-not-print-this-secret-anywhere-2"))
	if err != nil {
		t.Fatalf("%v\n%s", err, &text)
	}
	var again strings.Builder
	if err := second.print(&again); err != nil {
		t.Fatal(err)
	}
	if again.String() != text.String() {
		t.Fatalf("first\n%s\nsecond\n%s", &text, &again)
	}
}

func TestEveryKeyIsDocumented(t *testing.T) {
	c := defaults()
	var text strings.Builder
	if err := c.print(&text); err != nil {
		t.Fatal(err)
	}
	commented := false
	for line := range strings.Lines(text.String()) {
		trimmed := strings.TrimSpace(line)
		switch {
		case strings.HasPrefix(trimmed, "#"):
			commented = true
			continue
		case strings.HasPrefix(trimmed, "- "), strings.HasSuffix(trimmed, ":"): // an item, or a group
		case !commented:
			t.Errorf("no comment above %q", trimmed)
		}
		commented = false
	}
}

func TestWrongConfigurationsAreRefused(t *testing.T) {
	for name, test := range map[string]struct {
		file, want string
		args       []string
	}{
		"unknown key":          {file: "listen: 127.0.0.1:1\nlissten: 127.0.0.1:2\n", want: `[2:1] unknown field "lissten"`},
		"unknown nested key":   {file: "tls:\n  cert: x\n", want: `[2:3] unknown field "cert"`},
		"key twice":            {file: "listen: 127.0.0.1:1\nlisten: 127.0.0.1:2\n", want: "[2:1]"},
		"wrong type":           {file: "sessions:\n  max: many\n", want: "[2:8]"},
		"two documents":        {file: "listen: 127.0.0.1:1\n---\nlisten: 127.0.0.1:2\n", want: "more than one document"},
		"bad duration":         {file: "retention: forever\n", want: "a duration is written as in"},
		"postgres":             {args: []string{"--store", "postgres://user:hunter2@db/x"}, want: "nodes that share a store share its master key"},
		"redis":                {args: []string{"--store", "rediss://:hunter2@db"}, want: "nodes that share a store share its master key"},
		"no such store":        {args: []string{"--store", "file.db"}, want: "it is pebble:PATH"},
		"open address":         {args: []string{"--listen", ":8470", "--issuer", "https://x.example"}, want: "is not loopback and there is no TLS"},
		"no issuer":            {args: []string{"--listen", ":8470", "--insecure-http"}, want: "issuer: on an address that is not loopback it is required"},
		"half of TLS":          {args: []string{"--tls-cert-file", "x"}, want: "go together"},
		"TLS and plain":        {args: []string{"--tls-cert-file", "x", "--tls-key-file", "y", "--insecure-http"}, want: "exclude each other"},
		"open gRPC address":    {args: []string{"--listen-grpc", "0.0.0.0:8471"}, want: "listen_grpc: 0.0.0.0:8471 is not loopback and there is no TLS"},
		"one address for both": {args: []string{"--listen", "127.0.0.1:1", "--listen-grpc", "127.0.0.1:1"}, want: "each needs its own"},
		"no gRPC port":         {file: "listen_grpc: 127.0.0.1\n", want: "listen_grpc: an address has a host and a port"},
		"no port":              {args: []string{"--listen", "127.0.0.1"}, want: "a host and a port"},
		"level":                {args: []string{"--log-level", "loud"}, want: "debug, info, warn or error"},
		"key in data":          {args: []string{"--store", "pebble:data", "--master-key-file", "data/master.key"}, want: "lies in the data folder"},
		"key in data, hidden":  {args: []string{"--store", "pebble:data", "--master-key-file", "other/../data/x/master.key"}, want: "lies in the data folder"},
		"proxy":                {file: "trusted_proxies: [proxy.example.com]\n", want: "a network is written"},
		"client without id":    {file: "clients: [{public: true}]\n", want: "has no id"},
		"client without way":   {file: "clients: [{id: x}]\n", want: "needs either secret_file or secret_env"},
		"client with two ways": {file: "clients: [{id: x, secret_file: a, secret_env: b}]\n", want: "needs either"},
		"client twice":         {file: "clients: [{id: x, public: true}, {id: x, public: true}]\n", want: "is there twice"},
		"client with a secret": {file: "clients: [{id: x, secret: hunter2}]\n", want: `unknown field "secret"`},
		"admin declared":       {file: "clients: [{id: admin, secret_env: X}]\n", want: "admin is always there"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := load(t, test.file, environment(), test.args...)
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Fatalf("got %v, want %q", err, test.want)
			}
			if exitCode(err) != exitUsage {
				t.Errorf("exit code %d", exitCode(err))
			}
			if strings.Contains(err.Error(), "hunter2") {
				t.Error("the error holds a password")
			}
		})
	}
}

func TestTheMasterKeyLiesOutsideTheDataFolderAlsoBehindALink(t *testing.T) {
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "data"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("data", filepath.Join(dir, "link")); err != nil {
		t.Fatal(err)
	}
	_, err := load(t, "", environment(), "--store", "pebble:"+filepath.Join(dir, "link"), "--master-key-file", filepath.Join(dir, "data", "master.key"))
	if err == nil || !strings.Contains(err.Error(), "lies in the data folder") {
		t.Fatalf("got %v", err)
	}
}

func TestDefaultsAreThoseOfTheContract(t *testing.T) {
	c, err := load(t, "", environment())
	if err != nil {
		t.Fatal(err)
	}
	if c.Issuer != "http://127.0.0.1:8470" || c.Audience != c.Issuer {
		t.Errorf("issuer %q, audience %q", c.Issuer, c.Audience)
	}
	if c.MasterKeyFile != filepath.Join("rescind-data.keys", "master.key") || c.AdminSecretFile != filepath.Join("rescind-data.keys", "admin.secret") {
		t.Errorf("master key %q, admin secret %q", c.MasterKeyFile, c.AdminSecretFile)
	}
	if time.Duration(c.Retention) != rescind.DefaultRetention || c.Keys.Algorithm != "ES256" {
		t.Errorf("%+v", c)
	}
}

func TestEmptyConfigurationChangesNothing(t *testing.T) {
	for _, text := range []string{"", "\n", "# nothing yet\n", "---\n"} {
		c := config{Listen: "127.0.0.1:1"}
		if err := c.parse([]byte(text)); err != nil || c.Listen != "127.0.0.1:1" {
			t.Errorf("%q: %v, listen %q", text, err, c.Listen)
		}
	}
}
