package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/bloom"
	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/rescind/rescind"
	"github.com/rescind/rescind/store/pebblestore"
)

// likeStore returns database options as the store in a folder was written with:
// Pebble notes them down beside its tables.
func likeStore(dir string) (*pebble.Options, error) {
	desc, err := pebble.Peek(dir, vfs.Default)
	if err != nil {
		return nil, err
	}
	if !desc.Exists {
		return nil, fmt.Errorf("no database in %s", dir)
	}
	text, err := os.ReadFile(filepath.Join(dir, filepath.Base(desc.OptionsFilename)))
	if err != nil {
		return nil, err
	}
	o := &pebble.Options{Logger: quiet{}, Merger: pebblestore.Merger()}
	err = o.Parse(string(text), &pebble.ParseHooks{
		NewFilterPolicy: func(name string) (pebble.FilterPolicy, error) {
			if p := bloom.FilterPolicy(10); name == p.Name() {
				return p, nil
			}
			return nil, fmt.Errorf("a filter policy that this program does not know: %s", name)
		},
	})
	o.FormatMajorVersion = desc.FormatMajorVersion
	return o, err
}

// quiet is a database log that nobody reads.
type quiet struct{}

func (quiet) Infof(string, ...any)  {}
func (quiet) Errorf(string, ...any) {}
func (quiet) Fatalf(format string, args ...any) {
	panic(fmt.Sprintf(format, args...)) // Pebble does not expect to come back from this
}

// Where the database keeps what: see layout.go of the store.
var (
	sessionSpace = [2][]byte{{'s'}, {'s' + 1}}
	eventSpace   = [2][]byte{{'e'}, {'e' + 1}}
)

// spaceRows measures what a session takes on disk, and closes and opens the
// ledger for it.
func (b *bench) spaceRows(ctx context.Context) ([]row, error) {
	l, err := b.million(ctx)
	if err != nil {
		return nil, err
	}
	if err := l.close(); err != nil {
		return nil, err
	}
	b.say("compacting")
	sessions, events, err := compacted(ctx, l.data())
	if err != nil {
		return nil, err
	}
	if err := l.open(ctx, b.log); err != nil {
		return nil, err
	}
	share := func(total uint64) series { return series{float64(total) / float64(l.sessions)} }
	snap, err := l.store.Lookup(ctx, l.ids[0])
	if err != nil {
		return nil, err
	}
	return []row{
		alone("space", "disk per session at "+b.size()+" after compaction, audit apart", octets, share(sessions), &goal{atMost, 500}).note(
			"one record is %d B before the database adds its own", len(rescind.AppendRecord(nil, &snap.Session))+len(snap.Session.ID)+1),
		alone("space", "disk per event of the audit log", octets, share(events), nil),
	}, nil
}

// compacted lets the database rewrite all its tables, with the options of the
// store, and returns the size on disk of the sessions' and of the events'.
func compacted(ctx context.Context, dir string) (sessions, events uint64, err error) {
	o, err := likeStore(dir)
	if err != nil {
		return 0, 0, err
	}
	db, err := pebble.Open(dir, o)
	if err != nil {
		return 0, 0, err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	if err := db.Flush(); err != nil {
		return 0, 0, err
	}
	if err := db.Compact(ctx, []byte{0}, []byte{0xff}, true); err != nil {
		return 0, 0, err
	}
	for n, level := range db.Metrics().Levels {
		if last := len(db.Metrics().Levels) - 1; n < last && level.TablesSize > 0 {
			return 0, 0, fmt.Errorf("%d bytes are still in level %d", level.TablesSize, n)
		}
	}
	if sessions, err = db.EstimateDiskUsage(sessionSpace[0], sessionSpace[1]); err != nil {
		return 0, 0, err
	}
	events, err = db.EstimateDiskUsage(eventSpace[0], eventSpace[1])
	return sessions, events, err
}

// memory is what a process tells that holds a large ledger.
type memory struct {
	Resident int64         `json:"resident"`
	Most     int64         `json:"most"`
	Checks   int           `json:"checks"`
	Opening  time.Duration `json:"opening"`
}

// memoryRows asks a fresh process for its memory.
func (b *bench) memoryRows(ctx context.Context, l *ledger, name string, aim *goal) ([]row, error) {
	path := filepath.Join(b.dir, "tokens")
	if err := writeTokens(path, l.opaque); err != nil {
		return nil, err
	}
	if err := l.close(); err != nil { // one process at a time
		return nil, err
	}
	var m memory
	if err := again(ctx, &m, "hold", "-ledger", l.dir, "-tokens", path); err != nil {
		return nil, err
	}
	if err := l.open(ctx, b.log); err != nil {
		return nil, err
	}
	return []row{alone("large", "resident memory at "+name+" sessions, the most there was", octets, series{float64(m.Most)}, aim).note(
		"%s of memory at the end; a fresh process opened the store in %s and made %s checks and, beside them, one login for every hundred",
		octets.format(float64(m.Resident)), m.Opening.Round(time.Millisecond), thousands(float64(m.Checks)))}, nil
}

func writeTokens(path string, all []credential) error {
	var b []byte
	for _, c := range all {
		b = append(append(b, c.access...), '\n')
	}
	return os.WriteFile(path, b, 0o600)
}

const holdFor = 20 * time.Second

// holdMain opens a ledger, uses it on all cores, and prints its memory.
func holdMain(args []string) (err error) {
	f := flag.NewFlagSet("hold", flag.ContinueOnError)
	dir := f.String("ledger", "", "folder of the ledger")
	path := f.String("tokens", "", "file of access tokens, one on each line")
	if err := f.Parse(args); err != nil {
		return err
	}
	file, err := os.Open(*path)
	if err != nil {
		return err
	}
	defer file.Close() // it is only read
	var tokens []string
	lines := bufio.NewScanner(file)
	for lines.Scan() {
		tokens = append(tokens, lines.Text())
	}
	if err := lines.Err(); err != nil || len(tokens) == 0 {
		return fmt.Errorf("%d tokens: %w", len(tokens), err)
	}
	ctx := context.Background()
	begin := time.Now()
	l, err := openLedger(ctx, *dir, nil)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, l.close()) }()
	m := memory{Opening: time.Since(begin)}
	const batch = 10_000
	for begin = time.Now(); time.Since(begin) < holdFor; m.Checks += batch {
		if _, err := crowd(4*runtime.GOMAXPROCS(0), batch, func(i int) error {
			if i%100 == 0 {
				if _, err := l.authority.Issue(ctx, newLogin(fmt.Sprintf("late-%d-%d", m.Checks, i), opaqueClient)); err != nil {
					return err
				}
			}
			return l.check(ctx, tokens[rand.IntN(len(tokens))])
		}); err != nil {
			return err
		}
	}
	if m.Resident, err = resident("VmRSS"); err != nil {
		return err
	}
	if m.Most, err = resident("VmHWM"); err != nil {
		return err
	}
	return json.NewEncoder(os.Stdout).Encode(m)
}
