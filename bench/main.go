// Command bench measures Rescind side by side with what people would use
// instead, in one run, and prints the table of goals with what was met and what
// was missed. docs/design/speed.md says how, and what came out.
//
//	go run ./bench                 the table at 1 M sessions; some minutes
//	go run ./bench -full           and with 10 M sessions
//	go run ./bench -rows jwt,http  some of it
//	go run ./bench postgres        the ledger in PostgreSQL, beside bare statements
//	go run ./bench redis           the ledger in Redis, beside bare commands
//	go run ./bench sdk             the packages for other languages; sdk.go
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"path/filepath"
	"runtime/pprof"
	"slices"
	"strings"
	"syscall"
	"time"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	err := run(ctx, os.Args[1:])
	if errors.Is(err, flag.ErrHelp) {
		return
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// bench is one run.
type bench struct {
	dir      string
	sessions int
	large    int // sessions in the large ledger, if there is one
	full     bool
	profiles string
	log      *slog.Logger
	machine  machine
	main     *ledger // of so many sessions, once it is built
}

// part measures some rows.
type part struct {
	name string
	rows func(*bench, context.Context) ([]row, error)
}

// parts stand in the order they run in: those that write to the ledger come
// after those that only read it.
var parts = []part{
	{"jwt", (*bench).jwtRows},
	{"opaque", (*bench).opaqueRows},
	{"http", (*bench).httpRows},
	{"growth", (*bench).mainGrowth},
	{"space", (*bench).spaceRows},
	{"login", (*bench).loginRows},
	{"revoke", (*bench).revokeRows},
	{"subject", (*bench).subjectRows},
	{"large", (*bench).largeRows},
}

func run(ctx context.Context, args []string) (err error) {
	if len(args) > 0 {
		switch args[0] {
		case "load":
			return loadMain(args[1:])
		case "hold":
			return holdMain(args[1:])
		case "sdk":
			return sdkMain(ctx, args[1:])
		case "postgres":
			return postgresMain(ctx, args[1:])
		case "redis":
			return redisMain(ctx, args[1:])
		}
	}
	var names []string
	for _, p := range parts {
		names = append(names, p.name)
	}
	f := flag.NewFlagSet("bench", flag.ContinueOnError)
	asJSON := f.Bool("json", false, "print JSON")
	full := f.Bool("full", false, "add the rows at 10 M sessions; needs 15 GB of disk and some ten minutes")
	dir := f.String("dir", ".", "where the data folder is made; it should be on a disk, and is removed at the end")
	rows := f.String("rows", strings.Join(names, ","), "what to measure")
	sessions := f.Int("sessions", 1_000_000, "sessions in the ledger; the goals are for 1 M")
	large := f.Int("large", 10_000_000, "sessions in the ledger of -full; the goals are for 10 M")
	profiles := f.String("profiles", "", "folder for processor profiles, one for each of the rows")
	if err := f.Parse(args); err != nil {
		return err
	}
	chosen := strings.Split(*rows, ",")
	for _, name := range chosen {
		if !slices.Contains(names, name) {
			return fmt.Errorf("no row %q: there are %s", name, strings.Join(names, ", "))
		}
	}
	if f.NArg() > 0 || *sessions < 10_000 || *large < 10_000 {
		return errors.New("usage: bench [flags]; at least 10,000 sessions")
	}
	b := &bench{sessions: *sessions, large: *large, full: *full, profiles: *profiles, log: slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn}))}
	if b.dir, err = os.MkdirTemp(*dir, "rescind-data-bench-"); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(b.dir)) }()
	if b.machine, err = describe(b.dir); err != nil {
		return err
	}
	begin := time.Now()
	var table []row
	for _, p := range parts {
		if !slices.Contains(chosen, p.name) {
			continue
		}
		got, err := b.part(ctx, p)
		if err != nil {
			return errors.Join(fmt.Errorf("%s: %w", p.name, err), b.closeMain())
		}
		table = append(table, got...)
	}
	if err := b.closeMain(); err != nil {
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

// part runs one of them, under the profiler if that is wanted.
func (b *bench) part(ctx context.Context, p part) (rows []row, err error) {
	if p.name != "large" {
		if _, err := b.million(ctx); err != nil {
			return nil, err
		}
	}
	b.say("measuring %s", p.name)
	if b.profiles != "" {
		file, err := os.Create(filepath.Join(b.profiles, p.name+".pprof"))
		if err != nil {
			return nil, err
		}
		if err := pprof.StartCPUProfile(file); err != nil {
			return nil, errors.Join(err, file.Close())
		}
		defer func() {
			pprof.StopCPUProfile()
			err = errors.Join(err, file.Close())
		}()
	}
	rows, err = p.rows(b, ctx)
	return rows, errors.Join(err, ctx.Err())
}

func (b *bench) say(format string, args ...any) {
	fmt.Fprintf(os.Stderr, "%s "+format+"\n", append([]any{time.Now().Format(time.TimeOnly)}, args...)...)
}

func (b *bench) size() string { return inWords(b.sessions) }

// inWords is a number of sessions as people say it.
func inWords(n int) string {
	switch {
	case n%1_000_000 == 0:
		return fmt.Sprintf("%d M", n/1_000_000)
	case n%1000 == 0:
		return fmt.Sprintf("%d k", n/1000)
	default:
		return fmt.Sprint(n)
	}
}

// million returns the ledger that most rows are measured on, and builds it first.
func (b *bench) million(ctx context.Context) (*ledger, error) {
	if b.main != nil {
		return b.main, nil
	}
	l, err := b.build(ctx, "main", plan{
		sessions: b.sessions, ids: b.sessions,
		jwt:    min(b.sessions/10, (writeRounds+1)*loginsARound),
		opaque: min(b.sessions/5, 2*enough(opaquesARound)),
	})
	if err != nil {
		return nil, err
	}
	b.main = l
	return l, nil
}

// build fills a ledger, closes it and opens it again, so that its store's caches
// are as they are after a start, waits until it has tidied up, and warms it.
func (b *bench) build(ctx context.Context, name string, p plan) (*ledger, error) {
	begin := time.Now()
	l, err := openLedger(ctx, filepath.Join(b.dir, name), b.log)
	if err != nil {
		return nil, err
	}
	err = l.fill(ctx, p, func(done int) {
		b.say("%s: %s of %s sessions", name, thousands(float64(done)), thousands(float64(p.sessions)))
	})
	if err = errors.Join(err, l.close()); err != nil {
		return nil, err
	}
	took := time.Since(begin)
	if err := l.open(ctx, b.log); err != nil {
		return nil, err
	}
	settle(2 * time.Minute)
	if err := l.warm(ctx); err != nil {
		return nil, errors.Join(err, l.close())
	}
	b.say("%s: filled in %s, %s/s, %d logins repeated; ready after %s", name, took.Round(time.Second),
		thousands(float64(p.sessions)/took.Seconds()), l.stalls.Load(), time.Since(begin).Round(time.Second))
	return l, nil
}

func (b *bench) closeMain() error {
	if b.main == nil {
		return nil
	}
	l := b.main
	b.main = nil
	return errors.Join(l.close(), os.RemoveAll(l.dir))
}

// mainGrowth compares the main ledger with a small one.
func (b *bench) mainGrowth(ctx context.Context) ([]row, error) {
	l, err := b.million(ctx)
	if err != nil {
		return nil, err
	}
	return b.growthRows(ctx, l, "growth", b.size(), nil)
}

// largeRows are those of the large ledger.
func (b *bench) largeRows(ctx context.Context) (rows []row, err error) {
	name := inWords(b.large)
	double, gibibyte := &goal{atMost, 2}, &goal{atMost, 1 << 30}
	if !b.full {
		return []row{
			row{Key: "large", What: "check time at " + name + " sessions", Versus: "10 k sessions", Goal: double}.note("%s sessions are measured with -full only", name),
			{Key: "large", What: "resident memory at " + name + " sessions", Unit: octets, Goal: gibibyte},
		}, nil
	}
	if err := b.closeMain(); err != nil { // its caches would be in the way
		return nil, err
	}
	l, err := b.build(ctx, "large", plan{sessions: b.large, jwt: min(b.large/10, enough(jwtsARound)), opaque: min(b.large/5, 2*enough(opaquesARound)), ids: b.large / 10})
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, l.close(), os.RemoveAll(l.dir)) }()
	if rows, err = b.growthRows(ctx, l, "large", name, double); err != nil {
		return nil, err
	}
	more, err := b.memoryRows(ctx, l, name, gibibyte)
	return append(rows, more...), err
}
