package pgstore

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/rescind/rescind"
	"github.com/rescind/rescind/tests/postgres"
)

func mustRefuse(t *testing.T, url, because string) {
	t.Helper()
	s, err := Open(url, Options{Timeout: patience})
	if err == nil {
		_ = s.Close() // the test has failed
	}
	if !errors.Is(err, rescind.ErrInvalid) || !strings.Contains(err.Error(), because) {
		t.Errorf("Open: want it refused because of %s, got %v", because, err)
	}
}

// mustWarn opens the same with the loss of data allowed.
func mustWarn(t *testing.T, url, because string) {
	t.Helper()
	var log bytes.Buffer
	s := open(t, url+"&allow_data_loss=true", Options{Timeout: patience, Logger: slog.New(slog.NewTextHandler(&log, nil))})
	created(t, s)
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	if !strings.Contains(log.String(), because) {
		t.Errorf("no warning of %s: %q", because, log.String())
	}
}

// TestServersThatLoseWhatTheyAcknowledgeAreRefused, unless somebody says so.
func TestServersThatLoseWhatTheyAcknowledgeAreRefused(t *testing.T) {
	server := postgres.Start(t)
	url := schema(t, server)
	running, hasty := patient(t, url), open(t, url, Options{})
	for _, level := range []string{"off", "local", "remote_write"} {
		mustRefuse(t, url+"&synchronous_commit="+level, "synchronous_commit is "+level)
	}
	mustWarn(t, url+"&synchronous_commit=off", "synchronous_commit is off")
	patient(t, url+"&synchronous_commit=remote_apply")

	execute(t, server.URL(""), "ALTER ROLE rescind SET synchronous_commit = off")
	mustRefuse(t, url, "synchronous_commit")
	execute(t, server.URL(""), "ALTER ROLE rescind RESET synchronous_commit")

	execute(t, url, "ALTER TABLE rescind_session SET UNLOGGED")
	mustRefuse(t, url, "not logged")
	mustWarn(t, url, "not logged")
	running.judge(running.pages.read(context.Background(), running.look))
	mustBeUnavailable(t, all(t, running, sample(0, time.Now())))
	execute(t, url, "ALTER TABLE rescind_session SET LOGGED")
	running.judge(running.pages.read(context.Background(), running.look))
	mustWork(t, running, created(t, running))

	for _, setting := range []string{"fsync", "full_page_writes"} {
		server.Set(setting, "off")
		server.Stop(false)
		server.Restart()
		mustRefuse(t, url, setting+" is off")
		mustWarn(t, url, setting+" is off")
		mustBeUnavailable(t, map[string]error{"a new connection of a running node": lookUp(hasty)})
		server.Set(setting, "on")
		server.Stop(false)
		server.Restart()
	}
	mustWork(t, running, created(t, running))
}

func lookUp(s *Store) error {
	_, err := s.Lookup(context.Background(), rescind.SessionID{1})
	return err
}

// TestOnlyAPrimaryIsUsed: a standby is refused, among several hosts it is passed
// over, and a server that comes back as a standby is left alone until it is a
// primary again.
func TestOnlyAPrimaryIsUsed(t *testing.T) {
	server, other := postgres.Start(t), postgres.Start(t)
	url := schema(t, server)
	s, calm := open(t, url, Options{}), patient(t, url)
	r := created(t, calm)
	signal := filepath.Join(server.Folder(), "standby.signal")
	server.Stop(false)
	if err := os.WriteFile(signal, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	server.Restart()
	if _, err := Open(url, Options{Timeout: 500 * time.Millisecond}); !errors.Is(err, rescind.ErrUnavailable) {
		t.Errorf("Open of a standby: %v", err)
	}
	mustMeet(t, calm, r)
	mustBeUnavailable(t, all(t, s, r))
	both := patient(t, "postgres://rescind@"+server.Addr()+","+other.Addr()+"/postgres?sslmode=disable")
	created(t, both)
	if got := both.pages.slots; len(got) == 0 {
		t.Error("no connection")
	}
	server.Stop(false)
	if err := os.Remove(signal); err != nil {
		t.Fatal(err)
	}
	server.Restart()
	mustWork(t, calm, r)
	mustRecover(t, s, r)
}

// TestADeadHostIsPassedOver: a host that takes connections and says nothing does
// not keep a node from the primary, at the start and after an outage.
func TestADeadHostIsPassedOver(t *testing.T) {
	t.Parallel() // it mostly waits
	server := postgres.Start(t)
	dead, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = dead.Close() }() // nobody uses it any more
	url := strings.Replace(schema(t, server), server.Addr(), dead.Addr().String()+","+server.Addr(), 1)
	s := open(t, url, Options{Timeout: 3 * time.Second}) // of which the dead one takes its share, each time
	mustWork(t, s, created(t, s))
	server.Stop(true)
	server.Restart()
	mustWork(t, s, created(t, s))
}

// TestACancelledWaitForAStandbyIsNoSuccess: such a commit is there, and a failover
// may lose it.
func TestACancelledWaitForAStandbyIsNoSuccess(t *testing.T) {
	server := postgres.Start(t)
	url := schema(t, server)
	s, calm := open(t, url, Options{}), patient(t, url)
	r, r2 := created(t, calm), created(t, calm)
	mustRecover(t, s, created(t, calm))
	server.Set("synchronous_standby_names", "nobody")
	server.Reload()
	awaitCommitsThatWait(t, url)

	// No standby answers: unavailable in time, and nobody has seen it.
	begun := time.Now()
	_, err := s.End(context.Background(), rescind.End{Session: r.ID, At: s.Now()})
	if !errors.Is(err, rescind.ErrUnavailable) || time.Since(begun) > 4*s.timeout {
		t.Errorf("End without a standby: %v after %s", err, time.Since(begun))
	}
	for range 2 { // the second after the server has had every time-out, too
		if snap, err := calm.Lookup(context.Background(), r.ID); err != nil || snap.Session.Ended() {
			t.Errorf("a look-up sees what no standby has: %+v, %v", snap, err)
		}
		time.Sleep(s.timeout / 2)
	}
	awaitQuery(t, url, "SELECT count(*) > 0 FROM pg_stat_activity WHERE wait_event = 'SyncRep'")

	// Somebody cancels the wait.
	execute(t, url, "SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE wait_event = 'SyncRep'")
	awaitQuery(t, url, "SELECT count(*) = 0 FROM pg_stat_activity WHERE wait_event = 'SyncRep'")
	result := make(chan error, 1)
	go func() {
		_, err := calm.End(context.Background(), rescind.End{Session: r2.ID, At: calm.Now()})
		result <- err
	}()
	awaitQuery(t, url, "SELECT count(pg_cancel_backend(pid)) > 0 FROM pg_stat_activity WHERE wait_event = 'SyncRep'")
	if err := <-result; !errors.Is(err, rescind.ErrUnavailable) || !strings.Contains(err.Error(), "standby") {
		t.Errorf("End whose wait for a standby was cancelled: %v", err)
	}

	server.Set("synchronous_standby_names", "")
	server.Reload()
	awaitQuery(t, url, "SELECT current_setting('synchronous_standby_names') = ''")
	if got, err := calm.End(context.Background(), rescind.End{Session: r2.ID, At: calm.Now()}); err != nil || got.Changed {
		t.Errorf("the same End again: %+v, %v", got, err)
	}
}

// awaitQuery asks until the answer is true.
// awaitCommitsThatWait waits until a commit waits for a standby: it is another
// process of the server's than those that show the setting that decides it.
func awaitCommitsThatWait(t *testing.T, url string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	cfg, err := pgx.ParseConfig(url)
	if err != nil {
		t.Fatal(err)
	}
	waited := false
	cfg.OnNotice = func(_ *pgconn.PgConn, n *pgconn.Notice) { waited = waited || n.Code == "01000" } // the wait was cancelled
	c, err := pgx.ConnectConfig(ctx, cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close(ctx) }() // nothing depends on it
	result := make(chan error)
	go func() {
		for !waited {
			if _, err := c.Exec(ctx, "SELECT txid_current(), pg_logical_emit_message(true, 'a commit', '')"); err != nil {
				result <- err
				return
			}
		}
		result <- nil
	}()
	const waiting = " FROM pg_stat_activity WHERE wait_event = 'SyncRep'"
	awaitQuery(t, url, "SELECT count(*) > 0"+waiting)
	execute(t, url, "SELECT pg_cancel_backend(pid)"+waiting)
	if err := <-result; err != nil {
		t.Fatal(err)
	}
}

func awaitQuery(t *testing.T, url, sql string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	c, err := pgx.Connect(ctx, url)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close(ctx) }() // nothing depends on it
	for {
		var yes bool
		if err := c.QueryRow(ctx, sql, pgx.QueryExecModeSimpleProtocol).Scan(&yes); err != nil {
			t.Fatalf("%s: %v", sql, err)
		}
		if yes {
			return
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// TestNeedsNoSuperuser: a role that may make tables makes them, and one that may
// only read and write them keeps the ledger.
func TestNeedsNoSuperuser(t *testing.T) {
	server := postgres.Start(t)
	for _, sql := range []string{
		"CREATE ROLE owner LOGIN", "CREATE ROLE writer LOGIN", "CREATE SCHEMA ledger AUTHORIZATION owner",
		"ALTER ROLE owner SET search_path = ledger", "ALTER ROLE writer SET search_path = ledger",
	} {
		execute(t, server.URL(""), sql)
	}
	as := func(role string) string { return strings.Replace(server.URL(""), "rescind@", role+"@", 1) }
	owner := patient(t, as("owner"))
	mustWork(t, owner, created(t, owner))
	execute(t, as("owner"), "GRANT USAGE ON SCHEMA ledger TO writer")
	execute(t, as("owner"), "GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA ledger TO writer")
	writer := patient(t, as("writer"))
	mustWork(t, writer, created(t, writer))
}

// TestMigrations: nodes that start together make one ledger; a newer one that
// older nodes can live with is used, and another is refused, at the start and
// while running.
func TestMigrations(t *testing.T) {
	server := postgres.Start(t)
	url := schema(t, server)
	var mu sync.Mutex
	epochs := map[[16]byte]bool{}
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			s, err := Open(url, Options{Timeout: patience})
			if err != nil {
				t.Errorf("Open beside others: %v", err)
				return
			}
			cfg, err := s.Config(context.Background())
			if err := errors.Join(err, s.Close()); err != nil {
				t.Error(err)
			}
			mu.Lock()
			defer mu.Unlock()
			epochs[cfg.Epoch] = true
		})
	}
	wg.Wait()
	if len(epochs) != 1 {
		t.Errorf("%d epochs", len(epochs))
	}
	execute(t, url, "UPDATE rescind_ledger SET format = 99")
	s := patient(t, url)
	created(t, s)
	execute(t, url, "UPDATE rescind_ledger SET needs = 99")
	mustRefuse(t, url, "newer version")
	s.judge(s.pages.read(context.Background(), s.look))
	mustBeUnavailable(t, all(t, s, sample(0, time.Now())))
	execute(t, url, "UPDATE rescind_ledger SET needs = 1")
	s.judge(s.pages.read(context.Background(), s.look))
	mustWork(t, s, created(t, s))
}

// TestURL: what is wrong with a URL is said, its password is not.
func TestURL(t *testing.T) {
	for _, url := range []string{
		"", "pebble:x", "postgres://u:geheim@%zz/", "postgres://u:geheim@h/d?allow_data_loss=perhaps",
		"postgres://u:geheim@h/d?target_session_attrs=standby", "postgres://u:geheim@h/d?target_session_attrs=prefer-standby",
		"postgres://u:geheim@h/d?sslmode=wrong", "postgres://u:geheim@h:port/d",
	} {
		_, err := Open(url, Options{})
		if !errors.Is(err, rescind.ErrInvalid) || strings.Contains(err.Error(), "geheim") {
			t.Errorf("Open(%q): %v", url, err)
		}
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := Open("postgres://u:geheim@"+l.Addr().String()+"/d", Options{}); !errors.Is(err, rescind.ErrUnavailable) || strings.Contains(err.Error(), "geheim") {
		t.Errorf("Open of nothing: %v", err)
	}
}
