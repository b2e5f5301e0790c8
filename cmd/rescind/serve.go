package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"github.com/rescind/rescind"
	"github.com/rescind/rescind/httpapi"
	"github.com/rescind/rescind/keys"
)

func (c *cli) serveCommand() *cobra.Command {
	var show bool
	cmd := &cobra.Command{
		Use:   "serve",
		Short: "Run the server",
		Long: `Run the server until it gets SIGINT or SIGTERM: then requests under way end, what was
acknowledged is durable, and it exits with 0. A second signal ends it at once.

The first start makes, beside the data folder and for its owner's eyes only, the master key
under which the store's keys are sealed and the secrets of two clients: admin, which may do
everything, and app, which the quickstarts use. Their places are printed, their contents never.
Keep a copy of the master key elsewhere: without it the store is lost.

When the server is ready, one line on standard output says so, with its URL. Logs go to
standard error. Flags come before the environment, which comes before the file of --config.

Exit codes: 1 if it cannot start on what it found (the address is taken, another process has
the data folder, the master key is missing or another one), 2 for a configuration that is wrong
or names another issuer than the store's, 3 if the store does not answer.`,
		Example: `  rescind serve
  rescind serve --print-config > rescind.yaml
  rescind serve --config rescind.yaml --log-level debug
  rescind serve --listen :8443 --issuer https://login.example.com --tls-cert-file tls.crt --tls-key-file tls.key`,
		Args: exactly(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			config, err := loadConfig(cmd.Flags(), c.env)
			if err != nil {
				return err
			}
			if show {
				return config.print(c.out.w)
			}
			err = c.serve(cmd.Context(), &config)
			if interrupted(cmd.Context(), err) {
				return nil // before it was ready
			}
			return err
		},
	}
	addFlags(cmd.Flags())
	cmd.Flags().BoolVar(&show, "print-config", false, "print the configuration in force as a commented YAML file, without secrets, and exit")
	return cmd
}

// serve runs the server until ctx ends.
func (c *cli) serve(ctx context.Context, config *config) (err error) {
	handler, err := config.Log.handler(c.stderr)
	if err != nil {
		return err
	}
	log := slog.New(handler)

	// The addresses come first: a taken one should leave nothing behind.
	listener, err := listen(ctx, "listen", config.Listen)
	if err != nil {
		return err
	}
	defer listener.Close() // a second time where the server has closed it, which does no harm
	if _, port, err := net.SplitHostPort(listener.Addr().String()); err == nil {
		config.settle(port)
	}
	var checks net.Listener
	if config.ListenGRPC != "" {
		if checks, err = listen(ctx, "listen-grpc", config.ListenGRPC); err != nil {
			return err
		}
		defer checks.Close()
		config.ListenGRPC = checks.Addr().String()
	}
	server := httpapi.Server(nil)
	server.ErrorLog = slog.NewLogLogger(handler, slog.LevelDebug) // clients that hang up, mostly
	var secure *tls.Config
	if config.TLS.CertFile != "" {
		certificate, err := loadCertificate(config.TLS, log)
		if err != nil {
			return refusedf("tls: %w", err)
		}
		secure = certificate.config()
		server.TLSConfig = secure.Clone() // each protocol adds its own names
		go certificate.follow(ctx, tlsEvery)
	}
	traces, err := config.OTel.tracing(ctx, c.env, log)
	if err != nil {
		return err
	}
	defer flushTraces(traces, log)

	// Before there is a store: a mistake should leave nothing behind.
	options, err := config.api(log)
	if err != nil {
		return err
	}
	if err := config.checkSecrets(c.env); err != nil {
		return err
	}
	if traces != nil { // a nil pointer in an interface would not be nil
		options.TracerProvider = traces
	}

	store, err := openStore(config.Store, log)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, store.Close()) }()
	ctx, stop := untilFailure(ctx, store)
	defer stop()
	authority, where, err := config.authority(ctx, store, log, c.env)
	if err != nil {
		return err
	}
	defer authority.Close()

	api, err := httpapi.New(authority, options)
	if err != nil {
		return usagef("configuration: %w", err)
	}
	front := &gate{next: api}
	server.Handler = front
	faces := []face{overHTTP(server, listener)}
	if checks != nil {
		faces = append(faces, overGRPC(grpcServer(front, secure, log), checks))
	}
	if err := c.announce(config, where); err != nil {
		return err
	}
	if err := front.serve(ctx, config.Shutdown, log, faces...); err != nil {
		return err
	}
	log.Info("stopped")
	return nil
}

// untilFailure returns a context that also ends when the store has failed for
// good. Then the process is to end, so that whoever started it starts another:
// only opening the folder again can tell what is in it.
func untilFailure(ctx context.Context, store rescind.Store) (context.Context, context.CancelFunc) {
	ctx, stop := context.WithCancel(ctx)
	if s, ok := store.(interface{ Failed() <-chan struct{} }); ok {
		go func() {
			select {
			case <-s.Failed():
				stop()
			case <-ctx.Done():
			}
		}()
	}
	return ctx, stop
}

// authority builds the judge over an open store, and makes what a first start needs.
func (c *config) authority(ctx context.Context, store rescind.Store, log *slog.Logger, env func(string) (string, bool)) (*rescind.Authority, places, error) {
	master, err := c.master(ctx, store)
	if err != nil {
		return nil, places{}, err
	}
	keeper, err := keys.New(master, c.keeping())
	if err != nil {
		return nil, places{}, usagef("keys: %w", err)
	}
	judging := c.judging()
	judging.Store, judging.Keys, judging.Logger, judging.Witness = store, keeper, log, &witness{path: c.WitnessFile}
	a, err := rescind.New(ctx, judging)
	if errors.Is(err, keys.ErrMaster) {
		return nil, places{}, refusedf("%w\nGive the master key that this store was made with: --master-key-file or RESCIND_MASTER_KEY", err)
	}
	if err != nil {
		return nil, places{}, fmt.Errorf("start: %w", err)
	}
	where, err := c.settleClients(ctx, a, env)
	if err != nil {
		a.Close()
		return nil, places{}, err
	}
	return a, where, nil
}

// judging says how the Authority judges, Store and Keys apart.
func (c *config) judging() rescind.Config {
	return rescind.Config{
		Issuer: c.Issuer, Audience: c.Audience,
		AccessLifetime: time.Duration(c.Lifetimes.Access), IdleTimeout: time.Duration(c.Lifetimes.Idle),
		SessionLifetime: time.Duration(c.Lifetimes.Session),
		MaxSessions:     c.Sessions.Max, LimitPolicy: rescind.LimitPolicy(c.Sessions.Policy),
		Retention: time.Duration(c.Retention),
	}
}

// keeping says how its keys live.
func (c *config) keeping() keys.Options {
	return keys.Options{Algorithm: c.Keys.Algorithm, RotateEvery: time.Duration(c.Keys.Rotate)}
}

// api says how the Authority is served.
func (c *config) api(log *slog.Logger) (httpapi.Options, error) {
	o := httpapi.Options{
		Rules: map[string]httpapi.Rule{"": httpapi.Rule(c.ForwardAuth.Default)}, CORSOrigins: c.CORSOrigins,
		Logger: log, Version: readBuild().Version,
	}
	for name, r := range c.ForwardAuth.Rules {
		if name == "" {
			return o, usagef("forward_auth: a rule needs a name; the one without is forward_auth.default")
		}
		o.Rules[name] = httpapi.Rule(r)
	}
	var err error
	if o.TrustedProxies, err = networks("trusted_proxies", c.Proxies); err != nil {
		return o, err
	}
	o.MetricsFrom, err = networks("metrics_from", c.MetricsFrom)
	return o, err
}

// announce says that the server is ready, where it is, and where its secrets are.
func (c *cli) announce(config *config, where places) error {
	scheme := "http"
	if config.TLS.CertFile != "" {
		scheme = "https"
	}
	host, port, _ := net.SplitHostPort(config.Listen) // it was split before
	if addr, err := netip.ParseAddr(host); host == "" || err == nil && addr.IsUnspecified() {
		host = "127.0.0.1" // every address of this machine: show one that works
	}
	url := scheme + "://" + net.JoinHostPort(host, port)
	if c.out.json {
		return c.out.emit(struct {
			URL    string `json:"url"`
			GRPC   string `json:"grpc,omitempty"`
			Issuer string `json:"issuer"`
			places
		}{url, config.ListenGRPC, config.Issuer, where})
	}
	if config.ListenGRPC != "" {
		c.out.note("%-26s %s", "ext_authz (gRPC)", config.ListenGRPC)
	}
	for _, f := range []struct{ what, path string }{
		{"master key", where.MasterKey}, {"secret of the client admin", where.AdminSecret}, {"secret of the client app", where.AppSecret},
	} {
		if f.path != "" {
			c.out.note("%-26s %s", f.what, absolute(f.path))
		}
	}
	return c.out.printf("rescind is ready at %s\n", url)
}

// absolute is for showing a path; one that cannot be made absolute is shown as it is.
func absolute(path string) string {
	if abs, err := filepath.Abs(path); err == nil {
		return abs
	}
	return path
}
