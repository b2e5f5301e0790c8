package main

import (
	"math"
	"net"
	"net/netip"
	"net/url"
	"path/filepath"
	"strings"

	"github.com/rescind/rescind"
)

// complete checks what the packages behind it do not check themselves and fills
// in what follows from the rest. The issuer waits for the listener, see serve.
func (c *config) complete() error {
	if err := c.completeStore(); err != nil {
		return err
	}
	if (c.TLS.CertFile == "") != (c.TLS.KeyFile == "") {
		return usagef("tls: cert_file and key_file go together")
	}
	if c.TLS.CertFile != "" && c.InsecureHTTP {
		return usagef("insecure_http and tls exclude each other")
	}
	host, port, err := c.completeAddress("listen", c.Listen)
	if err != nil {
		return err
	}
	if c.Issuer == "" && !loopback(host) {
		return usagef("issuer: on an address that is not loopback it is required, as in --issuer https://login.example.com")
	}
	if c.ListenGRPC != "" {
		if _, _, err := c.completeAddress("listen_grpc", c.ListenGRPC); err != nil {
			return err
		}
		if c.ListenGRPC == c.Listen && port != "0" {
			return usagef("listen_grpc: %s is the address of listen: each needs its own", c.Listen)
		}
	}
	if port != "0" {
		c.settle(port)
	}
	if _, err := c.Log.handler(nil); err != nil {
		return err
	}
	if math.IsNaN(c.OTel.Ratio) || c.OTel.Ratio < 0 || c.OTel.Ratio > 1 {
		return usagef("otel: sample_ratio is 0 to 1")
	}
	if u, err := url.Parse(c.OTel.Endpoint); c.OTel.Endpoint != "" && (err != nil || u.Host == "" || u.User != nil || (u.Scheme != "http" && u.Scheme != "https")) {
		return usagef("otel: endpoint is the URL of a collector, as in http://127.0.0.1:4318")
	}
	if c.Shutdown.Delay < 0 || c.Shutdown.Timeout < 0 {
		return usagef("shutdown: its times cannot be negative")
	}
	if err := c.completeClients(); err != nil {
		return err
	}
	return c.validate()
}

// validate asks the packages behind the configuration what they would refuse: they
// themselves can only say so when there is a store.
func (c *config) validate() error {
	judging := c.judging()
	judging.Issuer = or(judging.Issuer, "http://"+c.Listen) // the port is still to come
	api, err := c.api(nil)
	if err != nil {
		return err
	}
	for _, err := range []error{judging.Validate(), c.keeping().Validate(), api.Validate()} {
		if err != nil {
			return usagef("configuration: %w", err)
		}
	}
	for _, d := range c.Clients {
		client := d.client()
		if !d.Public {
			client.SecretHash = []byte{0} // the secret is read at the start
		}
		if err := client.Validate(); err != nil {
			return usagef("clients: %q: %w", d.ID, err)
		}
	}
	return nil
}

// completeAddress splits an address to listen on, and refuses one on which tokens
// would pass in the clear.
func (c *config) completeAddress(key, addr string) (host, port string, err error) {
	host, port, err = net.SplitHostPort(addr)
	if err != nil || port == "" {
		return "", "", usagef("%s: an address has a host and a port, as in 127.0.0.1:8470, not %q", key, addr)
	}
	if c.TLS.CertFile == "" && !c.InsecureHTTP && !loopback(host) {
		return "", "", usagef("%s: %s is not loopback and there is no TLS: tokens would pass in the clear. Give --tls-cert-file and --tls-key-file, or, behind a proxy that ends TLS, --insecure-http", key, addr)
	}
	return host, port, nil
}

// settle fills in what follows from the port that is served on.
func (c *config) settle(port string) {
	host, _, _ := net.SplitHostPort(c.Listen) // it was split before
	c.Listen = net.JoinHostPort(host, port)
	scheme := "http"
	if c.TLS.CertFile != "" {
		scheme = "https"
	}
	c.Issuer = or(c.Issuer, scheme+"://"+c.Listen)
	c.Audience = or(c.Audience, c.Issuer)
}

// within reports whether a file lies, or would lie, below a folder.
func within(folder, file string) (bool, error) {
	folder, err := resolve(folder)
	if err != nil {
		return false, err
	}
	if file, err = resolve(file); err != nil {
		return false, err
	}
	rel, err := filepath.Rel(folder, file)
	return err == nil && rel != ".." && !strings.HasPrefix(rel, ".."+string(filepath.Separator)), nil
}

// resolve makes a path absolute and follows the links of what exists of it.
func resolve(path string) (string, error) {
	path, err := filepath.Abs(path)
	if err != nil {
		return "", err
	}
	rest := ""
	for {
		if real, err := filepath.EvalSymlinks(path); err == nil {
			return filepath.Join(real, rest), nil
		}
		parent := filepath.Dir(path)
		if parent == path {
			return filepath.Join(path, rest), nil
		}
		path, rest = parent, filepath.Join(filepath.Base(path), rest)
	}
}

func (c *config) completeClients() error {
	seen := map[string]bool{}
	for i, d := range c.Clients {
		switch {
		case d.ID == "":
			return usagef("clients: number %d has no id", i+1)
		case seen[d.ID]:
			return usagef("clients: %q is there twice", d.ID)
		case d.ID == adminID:
			return usagef("clients: admin is always there; its secret is what admin_secret_file or RESCIND_ADMIN_SECRET says")
		case d.Public && (d.SecretFile != "" || d.SecretEnv != ""):
			return usagef("clients: %q is public, so it has no secret", d.ID)
		case !d.Public && (d.SecretFile == "") == (d.SecretEnv == ""):
			return usagef("clients: %q needs either secret_file or secret_env, or public: true", d.ID)
		}
		seen[d.ID] = true
	}
	return nil
}

// networks reads addresses and networks; the result is never nil.
func networks(key string, texts []string) ([]netip.Prefix, error) {
	all := make([]netip.Prefix, 0, len(texts))
	for _, text := range texts {
		p, err := netip.ParsePrefix(text)
		if err != nil {
			addr, aerr := netip.ParseAddr(text)
			if aerr != nil {
				return nil, usagef("%s: a network is written as in 10.0.0.0/8, not %q", key, text)
			}
			p = netip.PrefixFrom(addr, addr.BitLen())
		}
		all = append(all, p.Masked())
	}
	return all, nil
}

// loopback reports whether only this machine can reach a host. Names other than
// localhost are not looked up: what they mean may change.
func loopback(host string) bool {
	if host == "localhost" {
		return true
	}
	addr, err := netip.ParseAddr(host)
	return err == nil && addr.IsLoopback()
}

// client makes the client that a declaration stands for, without its secret.
func (d *declared) client() rescind.Client {
	c := rescind.Client{
		ID: d.ID, Name: d.Name, Public: d.Public, Audiences: d.Audiences, IssuesFor: d.IssuesFor, Format: rescind.TokenFormat(or(d.Format, string(rescind.FormatJWT))),
		Strict: d.Strict, Grace: rescind.Duration(d.Grace), NoLogoutAll: d.NoLogoutAll,
	}
	for _, r := range d.Roles {
		c.Roles = append(c.Roles, rescind.Role(r))
	}
	return c
}
