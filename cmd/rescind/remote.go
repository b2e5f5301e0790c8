package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"time"

	"github.com/spf13/cobra"

	"github.com/rescind/rescind"
	"github.com/rescind/rescind/client"
)

// remote is where a server is and as whom to talk to it.
type remote struct {
	server, id, secretFile string
	timeout                time.Duration
	insecure               bool
}

// remoteCall is one run of a command that talks to a server.
type remoteCall struct {
	ctx    context.Context
	client *client.Client
	args   []string
}

const defaultServer = "http://127.0.0.1:8470"

// Time-outs of commands.
const (
	brief     = 30 * time.Second
	unbounded = 0 // for what takes as long as there is data
)

// overServer makes cmd one that talks to a server.
func (c *cli) overServer(cmd *cobra.Command, timeout time.Duration, run func(*remoteCall) error) {
	to := remoteFlags(cmd)
	cmd.Flags().DurationVar(&to.timeout, "timeout", timeout, "give up after so long; 0: never")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if to.timeout < 0 {
			return usagef("--timeout cannot be negative")
		}
		ctx := cmd.Context()
		if to.timeout > 0 {
			var cancel context.CancelFunc
			ctx, cancel = context.WithTimeout(ctx, to.timeout)
			defer cancel()
		}
		dialled, err := c.dial(to)
		if err != nil {
			return err
		}
		return c.explain(cmd.Context(), run(&remoteCall{ctx, dialled, args}))
	}
}

// remoteFlags declares how to reach a server.
func remoteFlags(cmd *cobra.Command) *remote {
	r := new(remote) // one for each command: declaring a flag sets its default
	flags := cmd.Flags()
	flags.StringVar(&r.server, "server", "", "URL of the server (default "+defaultServer+") [RESCIND_SERVER]")
	flags.StringVar(&r.id, "client-id", "", "client to talk as (default admin) [RESCIND_CLIENT_ID]")
	flags.StringVar(&r.secretFile, "client-secret-file", "", "file with its secret, as in rescind-data.keys/admin.secret; RESCIND_CLIENT_SECRET gives the secret itself")
	flags.BoolVar(&r.insecure, "insecure-http", false, "send the secret over plain HTTP also to a server that is not on this machine")
	return r
}

func (c *cli) dial(r *remote) (*client.Client, error) {
	fromEnv := func(name string) string { v, _ := c.env(name); return v }
	server := or(r.server, or(fromEnv("RESCIND_SERVER"), defaultServer))
	u, err := url.Parse(server)
	switch {
	case err != nil || u.Host == "" || (u.Scheme != "http" && u.Scheme != "https"):
		return nil, usagef("--server is the URL of a server, as in https://login.example.com")
	case u.User != nil:
		return nil, usagef("--server: a secret does not belong into a URL. Use RESCIND_CLIENT_SECRET or --client-secret-file")
	case u.Scheme == "http" && !loopback(u.Hostname()) && !r.insecure:
		return nil, usagef("--server: over plain HTTP to %s the secret would pass in the clear. Use https://, or --insecure-http if you know the way is safe", u.Host)
	}
	var secret rescind.Secret
	if r.secretFile != "" {
		if secret, err = readSecret(r.secretFile); err != nil {
			return nil, usagef("--client-secret-file: %w", err)
		}
	} else {
		secret = rescind.Secret(fromEnv("RESCIND_CLIENT_SECRET"))
	}
	if secret == "" {
		return nil, usagef("no client secret: set RESCIND_CLIENT_SECRET, or name a file, as in --client-secret-file rescind-data.keys/admin.secret")
	}
	dialled, err := client.New(client.Options{
		Server: server, ID: or(r.id, or(fromEnv("RESCIND_CLIENT_ID"), adminID)), Secret: secret,
		Timeout: r.timeout, WriteTimeout: r.timeout, AllowHTTP: r.insecure,
	})
	if err != nil {
		return nil, usagef("--server: %w", err)
	}
	return dialled, nil
}

// explain adds to an error what to do about it.
func (c *cli) explain(ctx context.Context, err error) error {
	switch {
	case err == nil, errors.Is(err, fs.ErrNotExist):
		return err
	case interrupted(ctx, err):
		return refusedf("interrupted")
	case errors.Is(err, rescind.ErrUnavailable):
		return fmt.Errorf("%w\nIs the server running, and is --server right? GET /readyz says whether its store answers", err)
	case errors.Is(err, rescind.ErrForbidden):
		return fmt.Errorf("%w\nCheck --client-id, its secret, and its roles (rescind client list)", err)
	}
	return err
}
