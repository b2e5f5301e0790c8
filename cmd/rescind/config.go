package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"reflect"
	"strconv"
	"strings"
	"time"

	"github.com/goccy/go-yaml"
	"github.com/spf13/pflag"

	"github.com/rescind/rescind"
	"github.com/rescind/rescind/store"
)

// config is the configuration of a server and, in its tags, the documentation of
// it: yaml is the key in the file, flag and env are its other names where it has
// them, doc says what it means. Durations are written as in 90s, 15m or 24h.
//
// No secret has a place in it. Secrets come from files or the environment.
type config struct {
	Listen          string    `yaml:"listen" flag:"listen" env:"RESCIND_LISTEN" doc:"Address to serve on. Port 0 takes a free one."`
	ListenGRPC      string    `yaml:"listen_grpc" flag:"listen-grpc" env:"RESCIND_LISTEN_GRPC" doc:"Address to answer Envoy's ext_authz on, by gRPC, as in 127.0.0.1:8471. Default: none. What holds for listen holds here: TLS, or loopback, or insecure_http. Envoy's checks are those of forward_auth."`
	Issuer          string    `yaml:"issuer" flag:"issuer" env:"RESCIND_ISSUER" doc:"The iss of every token: the URL under which applications reach this server. Default on loopback: http://, or https:// with TLS, and the address. Elsewhere required. Stored at the first start; a different one later is refused."`
	Audience        string    `yaml:"audience" flag:"audience" env:"RESCIND_AUDIENCE" doc:"Audience of sessions and checks that name none. Default: the issuer."`
	Store           store.URL `yaml:"store" flag:"store" env:"RESCIND_STORE" doc:"Where the ledger is kept: pebble:PATH, the embedded store, or postgres://…, redis://… or rediss://… for many nodes. A URL that holds a password belongs in the environment; it is printed without."`
	MasterKeyFile   string    `yaml:"master_key_file" flag:"master-key-file" doc:"File with the master key, base64 of 32 bytes, outside the data folder. Made at the first start. Default: PATH.keys/master.key beside the data folder. RESCIND_MASTER_KEY gives the key itself. Keep a copy of it elsewhere: without it the store is lost."`
	AdminSecretFile string    `yaml:"admin_secret_file" flag:"admin-secret-file" doc:"File with the secret of the client admin, 32 to 256 characters. Made at the first start. Default: PATH.keys/admin.secret beside the data folder. RESCIND_ADMIN_SECRET gives the secret itself. What stands there is in force after each start."`
	AppSecretFile   string    `yaml:"app_secret_file" flag:"app-secret-file" doc:"File with the secret of the client app, which the first start makes. Default: PATH.keys/app.secret beside the data folder, made at the first start. On a shared store there is no default, and without a secret no such client. RESCIND_APP_SECRET gives the secret itself."`
	WitnessFile     string    `yaml:"witness_file" flag:"witness-file" env:"RESCIND_WITNESS_FILE" doc:"File in which this node remembers the newest that the store told it, so that a store that went back in time is noticed after a restart. Outside the data folder, and in no backup. Default: PATH.keys/witness.json beside the data folder, rescind.witness with a shared store."`
	InsecureHTTP    bool      `yaml:"insecure_http" flag:"insecure-http" env:"RESCIND_INSECURE_HTTP" doc:"Serve plain HTTP, and gRPC, on an address that is not loopback: only behind a proxy that ends TLS. Tokens and secrets pass in the clear."`
	TLS             tlsFiles  `yaml:"tls"`

	Lifetimes   lifetimes   `yaml:"lifetimes"`
	Sessions    limits      `yaml:"sessions"`
	Retention   duration    `yaml:"retention" doc:"How long ended sessions and events are kept."`
	Keys        keyPolicy   `yaml:"keys"`
	Clients     []declared  `yaml:"clients" doc:"Clients to have, beside admin and app. Each: id, name, public, roles (issue, introspect, revoke, guard, admin), audiences, issues_for, access_token_format (jwt, opaque), strict, grace, no_logout_all, and for those that are not public secret_file or secret_env, the name of an environment variable. They are added or changed at each start; one that is taken out here stays until rescind client remove."`
	ForwardAuth forwardAuth `yaml:"forward_auth"`
	CORSOrigins []string    `yaml:"cors_origins" doc:"Origins of browser applications that may refresh, revoke and log out, as in https://app.example.com. Never with credentials."`
	Proxies     []string    `yaml:"trusted_proxies" doc:"Networks of proxies whose X-Forwarded-For names the source of a request, as in 10.0.0.0/8."`
	Log         logging     `yaml:"log"`
	MetricsFrom []string    `yaml:"metrics_from" doc:"Networks that may read /metrics without credentials; everybody else needs the role admin."`
	OTel        telemetry   `yaml:"otel"`
	Shutdown    shutdown    `yaml:"shutdown"`
	masterKey   rescind.Secret
	adminSecret rescind.Secret
	appSecret   rescind.Secret
}

// Format redacts every verb: fmt would print the secrets of unexported fields.
func (c config) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, "[configuration]") }

type tlsFiles struct {
	CertFile string `yaml:"cert_file" flag:"tls-cert-file" env:"RESCIND_TLS_CERT_FILE" doc:"Certificate chain (PEM). With key_file: serve HTTPS. Both are read again when they change; a pair that does not fit leaves the old one in force."`
	KeyFile  string `yaml:"key_file" flag:"tls-key-file" env:"RESCIND_TLS_KEY_FILE" doc:"Private key of the certificate (PEM)."`
}

type lifetimes struct {
	Access  duration `yaml:"access_token" doc:"Of an access token, at most 24h."`
	Idle    duration `yaml:"idle" doc:"A session that is not used for so long has ended."`
	Session duration `yaml:"session" doc:"Of a session, however much it is used; at most 9600h."`
}

type limits struct {
	Max    int    `yaml:"max" doc:"Sessions that one subject may have at once; 0: any number."`
	Policy string `yaml:"policy" doc:"What a login above that does: refuse, or end-oldest."`
}

type keyPolicy struct {
	Algorithm string   `yaml:"algorithm" doc:"Of new signing keys: ES256, EdDSA or RS256."`
	Rotate    duration `yaml:"rotate_every" doc:"Age at which signing and MAC keys are replaced."`
}

type declared struct {
	ID          string   `yaml:"id"`
	Name        string   `yaml:"name,omitempty"`
	Public      bool     `yaml:"public,omitempty"`
	Roles       []string `yaml:"roles,omitempty"`
	Audiences   []string `yaml:"audiences,omitempty"`
	IssuesFor   []string `yaml:"issues_for,omitempty"`
	Format      string   `yaml:"access_token_format,omitempty"`
	Strict      bool     `yaml:"strict,omitempty"`
	Grace       duration `yaml:"grace,omitempty"`
	NoLogoutAll bool     `yaml:"no_logout_all,omitempty"`
	SecretFile  string   `yaml:"secret_file,omitempty"`
	SecretEnv   string   `yaml:"secret_env,omitempty"`
}

type forwardAuth struct {
	Default rule            `yaml:"default"`
	Rules   map[string]rule `yaml:"rules" doc:"Named rules, each with audience, scope and cookie, at /forward-rules/NAME."`
}

type rule struct {
	Audience []string `yaml:"audience" doc:"Audiences, one of which a token must have at /forward-auth. Default: the server's."`
	Scope    string   `yaml:"scope" doc:"Scopes that it must have, separated by spaces."`
	Cookie   string   `yaml:"cookie" doc:"Cookie to take the token from where there is no Authorization header."`
}

type logging struct {
	Level  string `yaml:"level" flag:"log-level" env:"RESCIND_LOG_LEVEL" doc:"debug, info, warn or error."`
	Format string `yaml:"format" flag:"log-format" env:"RESCIND_LOG_FORMAT" doc:"text or json. Logs go to standard error."`
}

type telemetry struct {
	Endpoint string  `yaml:"endpoint" doc:"Send traces to this collector by OTLP/HTTP, as in http://127.0.0.1:4318. Default: what the standard OTEL_EXPORTER_OTLP_* variables say; without them, none."`
	Ratio    float64 `yaml:"sample_ratio" doc:"Part of the requests that is traced where the caller has not decided, 0 to 1."`
}

type shutdown struct {
	Delay   duration `yaml:"delay" doc:"After a signal, go on serving for so long with /readyz at 503, so that a load balancer notices."`
	Timeout duration `yaml:"timeout" doc:"After that, wait at most so long for requests under way."`
}

// duration is a time.Duration in the text form of time.Duration.String, shortened.
type duration time.Duration

func (d duration) String() string {
	s := time.Duration(d).String()
	if strings.HasSuffix(s, "m0s") {
		s = s[:len(s)-2]
	}
	if strings.HasSuffix(s, "h0m") {
		s = s[:len(s)-2]
	}
	return s
}

func (d duration) MarshalYAML() ([]byte, error) { return []byte(d.String()), nil }

func (d *duration) UnmarshalYAML(b []byte) error {
	v, err := time.ParseDuration(strings.Trim(strings.TrimSpace(string(b)), `"'`))
	if err != nil {
		return fmt.Errorf("a duration is written as in 90s, 15m or 24h, not %q", b)
	}
	*d = duration(v)
	return nil
}

func defaults() config {
	return config{
		Listen:      "127.0.0.1:8470",
		Store:       "pebble:./rescind-data",
		Lifetimes:   lifetimes{duration(rescind.DefaultAccessLifetime), duration(rescind.DefaultIdleTimeout), duration(rescind.DefaultSessionLifetime)},
		Sessions:    limits{Policy: string(rescind.LimitRefuse)},
		Retention:   duration(rescind.DefaultRetention),
		Keys:        keyPolicy{Algorithm: "ES256", Rotate: duration(90 * 24 * time.Hour)},
		MetricsFrom: []string{"127.0.0.0/8", "::1/128"},
		Log:         logging{Level: "info", Format: "text"},
		OTel:        telemetry{Ratio: 1},
		Shutdown:    shutdown{Timeout: duration(20 * time.Second)},
	}
}

// maxConfigFile bounds what is read of a configuration file.
const maxConfigFile = 1 << 20

// readFile lays a YAML file over c. Unknown keys, keys named twice and a second
// document are errors that name their line.
func (c *config) readFile(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return usagef("configuration: %w", err)
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxConfigFile+1))
	if err != nil {
		return usagef("configuration: %w", err)
	}
	if len(text) > maxConfigFile {
		return usagef("configuration %s: a file has at most %d bytes", path, maxConfigFile)
	}
	if err := c.parse(text); err != nil {
		return usagef("configuration %s: %w", path, err)
	}
	return nil
}

func (c *config) parse(text []byte) error {
	var all any
	if err := yaml.Unmarshal(text, &all); err == nil && all == nil {
		return nil // nothing, or comments only: decoding it would take the defaults away
	}
	dec := yaml.NewDecoder(bytes.NewReader(text), yaml.Strict())
	if err := dec.Decode(c); err != nil && !errors.Is(err, io.EOF) {
		// Without the lines around it: somebody may have put a secret there.
		return errors.New(strings.TrimSpace(yaml.FormatError(err, false, false)))
	}
	if err := dec.Decode(new(any)); !errors.Is(err, io.EOF) {
		return errors.New("more than one document")
	}
	return nil
}

// setting is one key of the configuration that has names outside the file.
type setting struct {
	flag, env, doc string
	value          reflect.Value // a string or a bool inside a config
}

// settings lists what of c has a flag or a variable of the environment.
func (c *config) settings() []setting {
	var all []setting
	var walk func(reflect.Value)
	walk = func(v reflect.Value) {
		for i := range v.NumField() {
			field := v.Type().Field(i)
			switch {
			case field.Tag.Get("flag") != "":
				all = append(all, setting{field.Tag.Get("flag"), field.Tag.Get("env"), field.Tag.Get("doc"), v.Field(i)})
			case field.Type.Kind() == reflect.Struct:
				walk(v.Field(i))
			}
		}
	}
	walk(reflect.ValueOf(c).Elem())
	return all
}

func (s setting) set(text string) error {
	if s.value.Kind() != reflect.Bool {
		s.value.SetString(text)
		return nil
	}
	b, err := strconv.ParseBool(text)
	if err != nil {
		return fmt.Errorf("is true or false, not %q", text)
	}
	s.value.SetBool(b)
	return nil
}

// addFlags declares a flag for each setting that has one.
func addFlags(flags *pflag.FlagSet) {
	c := defaults()
	for _, s := range c.settings() {
		doc, _, _ := strings.Cut(s.doc+" ", ". ") // the rest is for --print-config
		if s.env != "" {
			doc += " [" + s.env + "]"
		}
		if s.value.Kind() == reflect.Bool {
			flags.Bool(s.flag, false, doc)
			continue
		}
		flags.String(s.flag, s.value.String(), doc)
	}
	flags.String("config", "", "YAML file; --print-config prints what it may hold [RESCIND_CONFIG]")
}

// loadConfig puts the configuration together: flags before the environment,
// before the file, before the defaults.
func loadConfig(flags *pflag.FlagSet, env func(string) (string, bool)) (config, error) {
	c := defaults()
	path, _ := env("RESCIND_CONFIG")
	if f := flags.Lookup("config"); f.Changed {
		path = f.Value.String()
	}
	if path != "" {
		if err := c.readFile(path); err != nil {
			return c, err
		}
	}
	for _, s := range c.settings() {
		if text, _ := env(s.env); s.env != "" && text != "" {
			if err := s.set(text); err != nil {
				return c, usagef("%s: %w", s.env, err)
			}
		}
		if f := flags.Lookup(s.flag); f.Changed {
			if err := s.set(f.Value.String()); err != nil {
				return c, usagef("--%s: %w", s.flag, err)
			}
		}
	}
	// A secret itself stands in the environment alone, where the contract has its
	// file among the flags.
	if text, _ := env("RESCIND_MASTER_KEY"); text != "" && !flags.Changed("master-key-file") {
		c.masterKey, c.MasterKeyFile = rescind.Secret(text), ""
	}
	if text, _ := env("RESCIND_ADMIN_SECRET"); text != "" && !flags.Changed("admin-secret-file") {
		c.adminSecret, c.AdminSecretFile = rescind.Secret(text), ""
	}
	if text, _ := env("RESCIND_APP_SECRET"); text != "" && !flags.Changed("app-secret-file") {
		c.appSecret, c.AppSecretFile = rescind.Secret(text), ""
	}
	return c, c.complete()
}

// print writes the configuration as the file that would say it, with what each
// key means. It holds no secret.
func (c *config) print(w io.Writer) error {
	notes := yaml.CommentMap{}
	comment("$", reflect.TypeFor[config](), notes)
	if c.Clients == nil {
		c.Clients = []declared{}
	}
	if c.ForwardAuth.Rules == nil {
		c.ForwardAuth.Rules = map[string]rule{}
	}
	text, err := yaml.MarshalWithOptions(*c, yaml.WithComment(notes))
	if err != nil {
		return fmt.Errorf("print configuration: %w", err)
	}
	_, err = w.Write(text)
	return err
}

// comment collects the documentation of every key below path.
func comment(path string, t reflect.Type, notes yaml.CommentMap) {
	for i := range t.NumField() {
		f := t.Field(i)
		key := f.Tag.Get("yaml")
		if key == "" {
			continue
		}
		here := path + "." + key
		if doc := f.Tag.Get("doc"); doc != "" {
			var lines []string
			if flag, env := f.Tag.Get("flag"), f.Tag.Get("env"); flag != "" {
				doc += " (--" + strings.TrimSuffix(flag+", "+env, ", ") + ")"
			}
			for _, line := range wrap(doc, 100) {
				lines = append(lines, " "+line)
			}
			notes[here] = []*yaml.Comment{yaml.HeadComment(lines...)}
		}
		if f.Type.Kind() == reflect.Struct {
			comment(here, f.Type, notes)
		}
	}
}

// wrap breaks text into lines of at most width characters where words allow it.
func wrap(text string, width int) []string {
	var lines []string
	line := ""
	for word := range strings.FieldsSeq(text) {
		if line != "" && len(line)+1+len(word) > width {
			lines, line = append(lines, line), ""
		}
		line = strings.TrimLeft(line+" "+word, " ")
	}
	return append(lines, line)
}
