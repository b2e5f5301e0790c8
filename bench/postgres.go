package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/rescind/rescind"
	"github.com/rescind/rescind/keys"
	"github.com/rescind/rescind/store/pgstore"
	"github.com/rescind/rescind/tests/postgres"
)

// The ledger in PostgreSQL, beside the least that an application could ask of the
// same server in the same run: go run ./bench postgres.

const (
	pgRounds    = 7
	pgCheckers  = 16 // at once
	pgRevokers  = 64
	pgChecks    = 20_000 // in each round
	pgRevokes   = 8_000
	pgBareBytes = 100 // of a row that is only inserted
)

// host is what starts a server outside of a test.
type host struct {
	testing.TB // for the methods that nobody calls here
	ends       []func()
}

type failed string

func (*host) Helper()                           {}
func (*host) Errorf(format string, args ...any) { panic(failed(fmt.Sprintf(format, args...))) }
func (*host) Fatalf(format string, args ...any) { panic(failed(fmt.Sprintf(format, args...))) }
func (*host) Fatal(args ...any)                 { panic(failed(fmt.Sprint(args...))) }
func (h *host) Cleanup(f func())                { h.ends = append(h.ends, f) }

func (h *host) end() {
	for _, f := range slices.Backward(h.ends) {
		f()
	}
}

func postgresMain(ctx context.Context, args []string) (err error) {
	f := flag.NewFlagSet("bench postgres", flag.ContinueOnError)
	asJSON := f.Bool("json", false, "print JSON")
	dir := f.String("dir", ".", "where the keys are made; the folder is removed at the end")
	sessions := f.Int("sessions", 200_000, "sessions in the ledger")
	if err := f.Parse(args); err != nil {
		return err
	}
	if f.NArg() > 0 || *sessions < 2*pgRevokes*(pgRounds+1) {
		return fmt.Errorf("usage: bench postgres [flags]; at least %d sessions", 2*pgRevokes*(pgRounds+1))
	}
	b := &bench{sessions: *sessions, log: slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn}))}
	if b.dir, err = os.MkdirTemp(*dir, "rescind-data-bench-"); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(b.dir)) }()
	if b.machine, err = describe(b.dir); err != nil {
		return err
	}
	h := &host{}
	defer h.end()
	defer func() {
		if r := recover(); r != nil {
			why, ok := r.(failed)
			if !ok {
				panic(r)
			}
			err = errors.New(string(why))
		}
	}()
	begin := time.Now()
	// No checkpoint comes while it is measured: behind one, the first change of each
	// page costs a copy of it in the log.
	server := postgres.Start(h, postgres.OnDisk(), postgres.With("shared_buffers", "1GB"), postgres.With("max_wal_size", "16GB"), postgres.With("checkpoint_timeout", "1h"))
	table, err := b.postgresRows(ctx, server)
	if err != nil {
		return err
	}
	if *asJSON {
		e := json.NewEncoder(os.Stdout)
		e.SetIndent("", "  ")
		return e.Encode(struct {
			Machine machine `json:"machine"`
			Rows    []row   `json:"rows"`
		}{b.machine, table})
	}
	fmt.Printf("%s\n%s sessions; median [least – greatest] of the rounds; took %s\n\n", b.machine, b.size(), time.Since(begin).Round(time.Second))
	return writeTable(os.Stdout, table)
}

// postgresLedger fills a ledger in a schema of its own.
func (b *bench) postgresLedger(ctx context.Context, url, name string, sessions int) (*ledger, error) {
	master, _, err := keys.LoadOrCreateMaster(filepath.Join(b.dir, name+".key"))
	if err != nil {
		return nil, err
	}
	l := &ledger{dir: b.dir}
	if l.keys, err = keys.New(master, keys.Options{}); err != nil {
		return nil, err
	}
	store, err := pgstore.Open(url, pgstore.Options{Logger: b.log})
	if err != nil {
		return nil, err
	}
	if err := l.over(ctx, store, b.log); err != nil {
		return nil, errors.Join(err, store.Close())
	}
	kept := min(sessions/2, pgChecks)
	err = l.fill(ctx, plan{sessions: sessions, opaque: kept, jwt: 1, ids: sessions}, func(done int) {
		b.say("%s: %s of %s sessions", name, thousands(float64(done)), thousands(float64(sessions)))
	})
	if err != nil {
		return nil, errors.Join(err, l.close())
	}
	return l, nil
}

func (b *bench) postgresRows(ctx context.Context, server *postgres.Server) (rows []row, err error) {
	crew, err := enlist(ctx, server.URL(""), pgRevokers)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, crew.close(ctx)) }()
	ledgers := map[string]*ledger{}
	for name, n := range map[string]int{"small": smallSessions, "main": b.sessions} {
		if err := crew.exec(ctx, "CREATE SCHEMA "+name); err != nil {
			return nil, err
		}
		l, err := b.postgresLedger(ctx, server.URL("search_path="+name), name, n)
		if err != nil {
			return nil, err
		}
		defer func() { err = errors.Join(err, l.close()) }()
		ledgers[name] = l
	}
	for _, sql := range []string{
		"CREATE TABLE bare (id bytea PRIMARY KEY, body bytea NOT NULL)",
		"INSERT INTO bare SELECT id, record FROM main.rescind_session",
		"CREATE TABLE log (n bigint PRIMARY KEY, body bytea NOT NULL)",
		"VACUUM ANALYZE",
	} {
		if err := crew.exec(ctx, sql); err != nil {
			return nil, err
		}
	}
	l, small := ledgers["main"], ledgers["small"]
	var bytesEach int64
	if err := crew.row(ctx, "SELECT pg_total_relation_size('main.rescind_session')", &bytesEach); err != nil {
		return nil, err
	}

	b.say("measuring checks")
	check := func(l *ledger) func(int) (float64, error) {
		return func(int) (float64, error) {
			return rate(pgCheckers, pgChecks, func(i int) error { return l.check(ctx, l.opaque[i%len(l.opaque)].access) })
		}
	}
	got, err := contest(pgRounds,
		contender{"bare SELECT", func(int) (float64, error) {
			return rate(pgCheckers, pgChecks, func(i int) error {
				id := l.ids[i%len(l.ids)]
				var body []byte
				return crew.row(ctx, "SELECT body FROM bare WHERE id = $1", &body, id[:])
			})
		}},
		contender{"checks", check(l)}, contender{"checks of the small ledger", check(small)})
	if err != nil {
		return nil, err
	}
	const select1 = "SELECT by primary key, 16 connections"
	rows = append(rows,
		against("check", "checks of opaque tokens, 16 at once", perSecond, got[1], select1, got[0], &goal{atLeast, 0.8}),
		against("check", "the same, "+b.size()+" sessions against 10 k", perSecond, got[1], "10 k sessions", got[2], &goal{atLeast, 0.77}),
		alone("space", "disk per session, index included, audit apart", octets, series{float64(bytesEach) / float64(b.sessions)}, nil))

	b.say("measuring revocations")
	next, half := 0, len(l.ids)/2
	body := make([]byte, pgBareBytes)
	got, err = contest(pgRounds,
		contender{"bare INSERT", func(int) (float64, error) {
			from := next
			next += pgRevokes
			return rate(pgRevokers, pgRevokes, func(i int) error {
				return crew.run(ctx, "INSERT INTO log VALUES ($1, $2)", from+i, body)
			})
		}},
		contender{"Authority.Revoke", func(round int) (float64, error) {
			mine := share(l.ids[:half], round, pgRounds)[:pgRevokes]
			return rate(pgRevokers, pgRevokes, func(i int) error {
				r, err := l.authority.Revoke(ctx, rescind.Revocation{Selector: rescind.Selector{Session: mine[i]}, Actor: "bench"})
				if err == nil && !r.Changed {
					err = errors.New("nothing was left to end")
				}
				return err
			})
		}},
		contender{"Store.End", func(round int) (float64, error) {
			mine := share(l.ids[half:], round, pgRounds)[:pgRevokes]
			return rate(pgRevokers, pgRevokes, func(i int) error {
				now := l.store.Now()
				r, err := l.store.End(ctx, rescind.End{Session: mine[i], At: now, Reason: rescind.ReasonRevoked, Event: rescind.Event{
					At: now, Kind: rescind.EventSessionEnded, Actor: "bench", Session: mine[i].String(), Client: opaqueClient,
				}})
				if err == nil && !r.Changed {
					err = errors.New("nothing was left to end")
				}
				return err
			})
		}})
	if err != nil {
		return nil, err
	}
	const insert1 = "one-row INSERTs, each committed, 64 connections"
	return append(rows,
		against("revoke", "durable revocations by session id (Authority.Revoke), 64 at once", perSecond, got[1], insert1, got[0], &goal{atLeast, 1}),
		against("revoke", "the same by Store.End", perSecond, got[2], insert1, got[0], &goal{atLeast, 1})), nil
}

// crew is connections for bare statements, each used by one caller at a time.
type crew chan *pgx.Conn

func enlist(ctx context.Context, url string, n int) (crew, error) {
	c := make(crew, n)
	for range n {
		conn, err := pgx.Connect(ctx, url)
		if err != nil {
			return nil, errors.Join(err, c.close(ctx))
		}
		c <- conn
	}
	return c, nil
}

func (c crew) close(ctx context.Context) (err error) {
	for range len(c) {
		err = errors.Join(err, (<-c).Close(ctx))
	}
	return err
}

func (c crew) row(ctx context.Context, sql string, into any, args ...any) error {
	conn := <-c
	defer func() { c <- conn }()
	return conn.QueryRow(ctx, sql, args...).Scan(into)
}

func (c crew) run(ctx context.Context, sql string, args ...any) error {
	conn := <-c
	defer func() { c <- conn }()
	_, err := conn.Exec(ctx, sql, args...)
	return err
}

func (c crew) exec(ctx context.Context, sql string) error { return c.run(ctx, sql) }
