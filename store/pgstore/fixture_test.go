package pgstore

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/rescind/rescind"
	"github.com/rescind/rescind/store/storetest"
	"github.com/rescind/rescind/tests/postgres"
)

var schemas atomic.Int64

// schema makes a schema of its own on a server and returns the URL that leads to it.
func schema(t testing.TB, server *postgres.Server) string {
	t.Helper()
	name := fmt.Sprint("t", schemas.Add(1))
	execute(t, server.URL(""), "CREATE SCHEMA "+name)
	return server.URL("search_path=" + name)
}

// execute runs a statement apart from any store.
func execute(t testing.TB, url, sql string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	c, err := pgx.Connect(ctx, url)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close(ctx) }() // what it did is done
	if _, err := c.Exec(ctx, sql); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
}

func open(t testing.TB, url string, o Options) *Store {
	t.Helper()
	s, err := Open(url, o)
	if err != nil {
		t.Fatalf("Open: %v", err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
	})
	return s
}

// patience is how long nothing takes, however busy the machine is.
const patience = time.Minute

// patient is a store for what time has nothing to do with: no call is late.
func patient(t testing.TB, url string) *Store {
	t.Helper()
	return open(t, url, Options{Timeout: patience})
}

func TestConformance(t *testing.T) {
	t.Parallel() // it mostly waits
	server := postgres.Start(t)
	storetest.Run(t, func(t testing.TB, now func() time.Time) storetest.Instance {
		url := schema(t, server)
		s := patient(t, url)
		return storetest.Instance{Store: s, Restart: func() rescind.Store {
			if err := s.Close(); err != nil {
				t.Fatalf("Close: %v", err)
			}
			s = patient(t, url)
			return s
		}}
	})
}
