// Package rescindtest boots a whole server inside a test: embedded store, keys,
// Authority and HTTP, on a free port of the loopback interface. What it starts
// ends with the test.
package rescindtest

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/rescind/rescind"
	"github.com/rescind/rescind/httpapi"
	"github.com/rescind/rescind/keys"
	"github.com/rescind/rescind/store"
	"github.com/rescind/rescind/store/pebblestore"
)

// Server is a running server. Its store is its own, and in memory unless the
// variable RESCIND_TEST_STORE names another: the URL of a new ledger, in which
// {n} stands for a number that is another for each server of the process.
type Server struct {
	URL       string // as in http://127.0.0.1:34567; the issuer too, unless configured
	Authority *rescind.Authority
	Store     rescind.Store // what the Authority asks
	Handler   http.Handler
	Admin     Credentials // every role
	App       Credentials // issue, introspect, revoke and guard: the client "app"
}

// Credentials are a client's id and secret.
type Credentials struct {
	ID     string
	Secret string
}

// Settings are what an Option may change before the server starts. Config has
// store, keys and issuer set.
type Settings struct {
	Config rescind.Config
	HTTP   httpapi.Options
	Keys   keys.Options
	Now    func() time.Time // the store's clock; nil: its own
	// WrapStore, if set, stands between the Authority and the store, to make it fail.
	WrapStore func(rescind.Store) rescind.Store
}

// Option changes the settings of a server.
type Option func(*Settings)

// Start boots a server. It fails the test if it cannot.
func Start(t testing.TB, options ...Option) *Server {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	s := &Server{URL: "http://" + l.Addr().String()}
	set := Settings{Config: rescind.Config{Issuer: s.URL, WithoutUpkeep: true}}
	for _, o := range options {
		o(&set)
	}

	ledger, err := open(set.Now)
	must(t, err)
	t.Cleanup(func() { must(t, ledger.Close()) })
	s.Store = ledger
	if set.WrapStore != nil {
		s.Store = set.WrapStore(ledger)
	}
	// The store is gone with the test, so this key protects nothing.
	master, err := keys.ParseMaster(base64.StdEncoding.EncodeToString(bytes.Repeat([]byte{42}, 32)))
	must(t, err)
	keeper, err := keys.New(master, set.Keys)
	must(t, err)
	set.Config.Store, set.Config.Keys = s.Store, keeper

	ctx := context.Background()
	s.Authority, err = rescind.New(ctx, set.Config)
	must(t, err)
	t.Cleanup(s.Authority.Close)
	s.Admin = s.AddClient(t, rescind.Client{ID: "admin", Roles: []rescind.Role{rescind.RoleAdmin}})
	s.App = s.AddClient(t, rescind.Client{ID: "app", Roles: []rescind.Role{
		rescind.RoleIssue, rescind.RoleIntrospect, rescind.RoleRevoke, rescind.RoleGuard,
	}})

	s.Handler, err = httpapi.New(s.Authority, set.HTTP)
	must(t, err)
	server := httpapi.Server(s.Handler)
	done := make(chan error, 1)
	go func() { done <- server.Serve(l) }()
	t.Cleanup(func() {
		must(t, server.Close())
		if err := <-done; !errors.Is(err, http.ErrServerClosed) {
			t.Errorf("serve: %v", err)
		}
	})
	return s
}

// servers counts those that were started on a store that RESCIND_TEST_STORE names.
var servers atomic.Int64

func open(now func() time.Time) (rescind.Store, error) {
	url := os.Getenv("RESCIND_TEST_STORE")
	if url == "" {
		return pebblestore.Open("ledger", pebblestore.Options{FS: vfs.NewMem(), Now: now})
	}
	s, err := store.URL(strings.ReplaceAll(url, "{n}", strconv.FormatInt(servers.Add(1), 10))).Open(nil)
	if err != nil || now == nil {
		return s, err
	}
	return shifted{s, now, now()}, nil
}

// shifted is a store whose clock a test sets: it is as far from the store's own
// as the test's has gone since it began.
type shifted struct {
	rescind.Store
	now   func() time.Time
	begun time.Time
}

func (s shifted) Now() time.Time { return s.Store.Now().Add(s.now().Sub(s.begun)) }

// AddClient registers a client, with a fresh secret unless it is public.
func (s *Server) AddClient(t testing.TB, c rescind.Client) Credentials {
	t.Helper()
	cred := Credentials{ID: c.ID}
	if !c.Public {
		cred.Secret = rescind.NewSecret().Reveal()
		must(t, c.SetSecret(cred.Secret))
	}
	_, err := s.Authority.AddClient(context.Background(), c, true, "")
	must(t, err)
	return cred
}

// Login issues a session of the client "app", or of the one that l names.
func (s *Server) Login(t testing.TB, l rescind.Login) rescind.Grant {
	t.Helper()
	g, err := s.Authority.Issue(context.Background(), l)
	must(t, err)
	return g
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
