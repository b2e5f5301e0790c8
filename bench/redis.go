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
	"strconv"
	"strings"
	"time"

	"github.com/redis/rueidis"

	"github.com/rescind/rescind"
	"github.com/rescind/rescind/keys"
	"github.com/rescind/rescind/store/redisstore"
	"github.com/rescind/rescind/tests/redis"
)

// The ledger in Redis, beside the least that an application could ask of the same
// server in the same run: go run ./bench redis.

const (
	redisRounds   = 7
	redisCallers  = 64 // at once
	redisChecks   = 60_000
	redisRevokes  = 5_000
	redisDatabase = 2 // of the small ledger; the main one is in 0
)

func redisMain(ctx context.Context, args []string) (err error) {
	f := flag.NewFlagSet("bench redis", flag.ContinueOnError)
	asJSON := f.Bool("json", false, "print JSON")
	dir := f.String("dir", ".", "where the keys are made; the folder is removed at the end")
	sessions := f.Int("sessions", 200_000, "sessions in the ledger; the goal of growth is for 5 M")
	if err := f.Parse(args); err != nil {
		return err
	}
	if f.NArg() > 0 || *sessions < redisRevokes*(redisRounds+1) {
		return fmt.Errorf("usage: bench redis [flags]; at least %d sessions", redisRevokes*(redisRounds+1))
	}
	b := &bench{sessions: *sessions, log: slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn}))}
	if b.dir, err = os.MkdirTemp(*dir, "rescind-data-bench-"); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(b.dir)) }()
	if b.machine, err = describe(b.dir); err != nil {
		return err
	}
	h := &folderHost{dir: b.dir}
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
	table, err := b.redisRows(ctx, redis.Start(h))
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

// folderHost is a host whose servers keep their data in a folder of the bench.
type folderHost struct {
	host
	dir string
}

func (h *folderHost) TempDir() string {
	dir, err := os.MkdirTemp(h.dir, "server-")
	if err == nil {
		dir, err = filepath.Abs(dir) // the server goes there
	}
	if err != nil {
		h.Fatal(err)
	}
	return dir
}

// redisLedger fills a ledger in a database of its own.
func (b *bench) redisLedger(ctx context.Context, url, name string, sessions int) (*ledger, error) {
	master, _, err := keys.LoadOrCreateMaster(filepath.Join(b.dir, name+".key"))
	if err != nil {
		return nil, err
	}
	l := &ledger{dir: b.dir}
	if l.keys, err = keys.New(master, keys.Options{}); err != nil {
		return nil, err
	}
	store, err := redisstore.Open(url, redisstore.Options{Logger: b.log})
	if err != nil {
		return nil, err
	}
	if err := l.over(ctx, store, b.log); err != nil {
		return nil, errors.Join(err, store.Close())
	}
	err = l.fill(ctx, plan{sessions: sessions, opaque: min(sessions/2, redisChecks), jwt: 1, ids: sessions}, func(done int) {
		b.say("%s: %s of %s sessions", name, thousands(float64(done)), thousands(float64(sessions)))
	})
	if err != nil {
		return nil, errors.Join(err, l.close())
	}
	return l, nil
}

func (b *bench) redisRows(ctx context.Context, server *redis.Server) (rows []row, err error) {
	small, err := b.redisLedger(ctx, server.URL()+"/"+strconv.Itoa(redisDatabase), "small", smallSessions)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, small.close()) }()
	empty := usedMemory(server)
	l, err := b.redisLedger(ctx, server.URL(), "main", b.sessions)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, l.close()) }()
	used := usedMemory(server) - empty
	logged := auditMemory(server)

	bare, err := rueidis.NewClient(rueidis.ClientOption{InitAddress: []string{server.Addr()}, DisableCache: true})
	if err != nil {
		return nil, err
	}
	defer bare.Close()
	value := strings.Repeat("x", int(used-logged)/b.sessions*2/3) // about a record
	if err := all(redisChecks, func(i int) error {
		return bare.Do(ctx, bare.B().Set().Key("bare"+strconv.Itoa(i)).Value(value).Build()).Error()
	}); err != nil {
		return nil, err
	}

	b.say("measuring checks")
	each := func(f func(int) error) func(int) (float64, error) {
		return func(int) (float64, error) { return rate(redisCallers, redisChecks, f) }
	}
	got, err := contest(redisRounds,
		contender{"bare GET", each(func(i int) error {
			return bare.Do(ctx, bare.B().Get().Key("bare"+strconv.Itoa(i)).Build()).Error()
		})},
		contender{"checks", each(func(i int) error { return l.check(ctx, l.opaque[i%len(l.opaque)].access) })},
		contender{"checks of the small ledger", each(func(i int) error { return small.check(ctx, small.opaque[i%len(small.opaque)].access) })},
		contender{"Store.Lookup", each(func(i int) error {
			snap, err := l.store.Lookup(ctx, l.ids[i*7919%len(l.ids)])
			if err == nil && !snap.Found {
				err = errors.New("a session is not found")
			}
			return err
		})})
	if err != nil {
		return nil, err
	}
	const get1 = "GET through rueidis, 64 at once"
	rows = append(rows,
		against("check", "checks of opaque tokens, 64 at once", perSecond, got[1], get1, got[0], &goal{atLeast, 0.7}),
		against("check", "the same by Store.Lookup, of any session", perSecond, got[3], get1, got[0], nil),
		against("check", "the same, "+b.size()+" sessions against 10 k", perSecond, got[1], "10 k sessions", got[2], &goal{atLeast, 0.77}),
		alone("space", "memory per session (used_memory), audit apart", octets, series{float64(used-logged) / float64(b.sessions)}, &goal{atMost, 700}),
		alone("space", "memory per event of a login in the audit log", octets, series{float64(logged) / float64(b.sessions)}, nil))

	b.say("measuring revocations")
	got, err = contest(redisRounds,
		contender{"bare SET", func(int) (float64, error) {
			return rate(redisCallers, redisRevokes, func(i int) error {
				return bare.Do(ctx, bare.B().Set().Key("ended"+strconv.Itoa(i)).Value("1").Build()).Error()
			})
		}},
		contender{"Authority.Revoke", func(round int) (float64, error) {
			mine := share(l.ids, round, redisRounds)[:redisRevokes]
			return rate(redisCallers, len(mine), func(i int) error {
				r, err := l.authority.Revoke(ctx, rescind.Revocation{Selector: rescind.Selector{Session: mine[i]}, Actor: "bench"})
				if err == nil && !r.Changed {
					err = errors.New("nothing was left to end")
				}
				return err
			})
		}})
	if err != nil {
		return nil, err
	}
	return append(rows, against("revoke", "durable revocations by session id (Authority.Revoke), 64 at once", perSecond, got[1],
		"SET of one byte, appendfsync always too", got[0], nil)), nil
}

func all(n int, f func(int) error) error {
	_, err := crowd(redisCallers, n, f)
	return err
}

func usedMemory(server *redis.Server) int64 {
	_, rest, _ := strings.Cut(server.Do("INFO", "memory"), "used_memory:")
	text, _, _ := strings.Cut(rest, "\r")
	return octetsOf(text)
}

// auditMemory is what the audit log of the main ledger takes.
func auditMemory(server *redis.Server) (sum int64) {
	for key := range strings.SplitSeq(server.Do("KEYS", "{r??}e"), "\n") {
		sum += octetsOf(server.Do("MEMORY", "USAGE", key, "SAMPLES", "0"))
	}
	return sum
}

func octetsOf(text string) int64 {
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		panic(failed(fmt.Sprintf("Redis says %q: %v", text, err)))
	}
	return n
}
