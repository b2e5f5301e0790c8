package pebblestore

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"hash/maphash"
	"log/slog"
	"os"
	"path/filepath"
	"sync/atomic"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/bloom"
	"github.com/cockroachdb/pebble/v2/sstable"
	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/rescind/rescind"
)

// Open opens the store in a folder, and makes one where the folder is empty or
// not there. It is refused, and the folder stays as it was, if something else
// lives in it, if a newer version wrote it, if it is damaged, or if it is open
// already. What was left by a process that died is recovered here.
//
// A folder from a backup is opened by first ending every session in it.
func Open(dir string, o Options) (*Store, error) {
	if dir == "" {
		return nil, fmt.Errorf("%w: a store needs a folder", rescind.ErrInvalid)
	}
	s := &Store{
		dir: dir, fs: o.FS, clock: o.Now, timeout: o.Timeout, log: o.Logger,
		failed: make(chan struct{}), stop: make(chan struct{}), flights: make(chan *flight, flightsAhead), atRest: make(chan struct{}),
		seed: maphash.MakeSeed(), touched: make([]atomic.Uint64, slots), moved: make([]atomic.Bool, slots),
	}
	s.queue.ready = make(chan struct{}, 1)
	if s.fs == nil {
		s.fs = vfs.Default
		// One folder has one name, whatever way leads to it: the lock goes by it.
		abs, err := filepath.Abs(dir)
		if err != nil {
			return nil, fmt.Errorf("store folder %s: %w", dir, err)
		}
		if real, err := filepath.EvalSymlinks(abs); err == nil {
			abs = real
		} else if !errors.Is(err, os.ErrNotExist) {
			return nil, fmt.Errorf("store folder %s: %w", dir, err)
		}
		s.dir = abs
	}
	if s.clock == nil {
		s.clock = time.Now
	}
	if s.timeout < time.Millisecond { // nothing is that fast: unset, or a mistake
		s.timeout = defaultTimeout
	}
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	if o.CacheSize <= 0 {
		o.CacheSize = defaultCache
	}
	if s.memTable = o.memTable; s.memTable == 0 {
		s.memTable = 32 << 20
	}
	if err := s.open(o.CacheSize); err != nil {
		return nil, fmt.Errorf("store folder %s: %w", dir, err)
	}
	return s, nil
}

func (s *Store) open(cacheSize int64) (err error) {
	f := folder{fs: s.fs, dir: s.dir}
	if s.lock, err = f.claim(); err != nil {
		return err
	}
	var opened bool
	defer func() {
		if !opened {
			err = firstOf(err, f.release(s.lock))
		}
	}()
	c := &committer{s: s, endings: block{kind: keyEnding}, log: block{kind: keyEvent}}
	var state *state
	if !f.fresh {
		// Reading only, at first: what cannot be opened must stay as it is.
		if state, err = s.verify(&f, cacheSize); err != nil {
			return err
		}
	}
	if f.fresh || state == nil {
		if err := f.mark(); err != nil {
			return err
		}
		state = newState()
	}
	if s.db, err = s.openDB(cacheSize, false); err != nil {
		return err
	}
	opened = true // from here on Close has to release the folder
	state.apply(s, c)
	go s.commit(c)
	go s.acknowledge()
	go s.queue.watch(s.timeout, s.atRest)
	if err := s.begin(&f, state); err != nil {
		return firstOf(err, s.Close())
	}
	return nil
}

// begin writes what a folder needs that is new, or comes from a backup.
func (s *Store) begin(f *folder, st *state) error {
	ctx, cancel := context.WithTimeout(context.Background(), s.timeout)
	defer cancel()
	if err := s.removeCopies(); err != nil {
		return err
	}
	if st.fresh {
		if err := s.do(ctx, &beginStep{}); err != nil {
			return err
		}
		// Pebble begins a new database in its oldest format, whose log cannot tell
		// damage from a torn end. The next log is of the format we ask for.
		if err := s.db.Flush(); err != nil {
			return unavailable("flush", err)
		}
	}
	if !f.backup {
		return nil
	}
	st2 := &restoreStep{}
	_, _ = rand.Read(st2.epoch[:]) // never fails: crypto/rand ends the process instead
	if err := s.do(ctx, st2); err != nil {
		return err
	}
	s.log.Warn("opened a backup: every session in it has been ended", "folder", s.dir)
	return f.unmarkBackup() // only now: it is done again if the process dies before
}

// beginStep makes a new store's own record.
type beginStep struct{ outcome }

func (*beginStep) apply(c *committer) error {
	c.wrote = true
	return nil
}

// state is what a store knows when it begins.
type state struct {
	meta  meta
	view  view
	moved []rescind.Tag
	fresh bool
}

func newState() *state {
	st := &state{fresh: true, view: view{clients: map[string]cutoff{}, docs: map[docKey][]byte{}}}
	_, _ = rand.Read(st.view.epoch[:]) // never fails: crypto/rand ends the process instead
	return st
}

func (st *state) apply(s *Store, c *committer) {
	for i := range st.moved {
		s.moved[s.slotOfTag(&st.moved[i])].Store(true)
	}
	v := st.view
	s.view.Store(&v)
	s.head.Store(uint64(st.meta.head))
	s.durableEvents.Store(st.meta.events)
	s.time.Store(st.meta.time)
	c.view, c.head, c.events = &v, st.meta.head, st.meta.events
}

// verify reads the folder without writing to it. It returns nil where a new store
// was begun and nothing came into it.
func (s *Store) verify(f *folder, cacheSize int64) (st *state, err error) {
	db, err := s.openDB(cacheSize, true)
	if err != nil {
		if errors.Is(err, pebble.ErrDBDoesNotExist) {
			return nil, f.mustHoldNoData()
		}
		return nil, fmt.Errorf("%w: %w", errDamaged, err)
	}
	defer func() { err = firstOf(err, db.Close()) }()
	if st, err = load(db); err == nil && st == nil && f.backup {
		err = damaged("the copy is not whole")
	}
	return st, err
}

// load reads what a store begins with.
func load(db *pebble.DB) (*state, error) {
	st := newState()
	st.fresh = false
	value, closer, err := db.Get([]byte{keyMeta})
	if isNotFound(err) {
		return nil, mustBeEmpty(db)
	}
	if err != nil {
		return nil, err
	}
	st.meta, err = parseMeta(value)
	if err = firstOf(err, closer.Close()); err != nil {
		return nil, err
	}
	st.view.epoch, st.view.config = st.meta.epoch, st.meta.config
	err = walk(db, []byte{keyAll}, []byte{keyAll + 1}, func(_, value []byte) (err error) {
		st.view.all, err = parseCutoff(value)
		return err
	})
	err = firstOf(err, walk(db, []byte{keyClient}, []byte{keyClient + 1}, func(key, value []byte) error {
		c, err := parseCutoff(value)
		st.view.clients[string(key[1:])] = c
		return err
	}))
	err = firstOf(err, walk(db, []byte{keySubject}, []byte{keySubject + 1}, func(key, _ []byte) error {
		var tag rescind.Tag
		if copy(tag[:], key[1:]) != len(tag) {
			return damaged("the key of a cutoff")
		}
		st.moved = append(st.moved, tag)
		return nil
	}))
	err = firstOf(err, walk(db, []byte{keyDoc}, []byte{keyDoc + 1}, func(key, value []byte) error {
		kind, id, ok := cutZero(key[1:])
		st.view.docs[docKey{kind, id}] = append([]byte{}, value...)
		if !ok {
			return damaged("the key of a document")
		}
		return nil
	}))
	// What was numbered lies below what the store's own record says.
	behind := func([]byte, []byte) error { return damaged("entries that the store's own record does not know") }
	err = firstOf(err, walk(db, numberKey(keyEnding, uint64(st.meta.head)+1), []byte{keyEnding + 1}, behind))
	err = firstOf(err, walk(db, numberKey(keyEvent, st.meta.events+1), []byte{keyEvent + 1}, behind))
	return st, err
}

// mustBeEmpty tells a store that was only just begun from one that lost its own
// record.
func mustBeEmpty(db *pebble.DB) error {
	return walk(db, nil, nil, func([]byte, []byte) error { return damaged("the store's own record is gone") })
}

func walk(db *pebble.DB, lower, upper []byte, use func(key, value []byte) error) (err error) {
	it, err := db.NewIter(&pebble.IterOptions{LowerBound: lower, UpperBound: upper})
	if err != nil {
		return err
	}
	defer func() { err = firstOf(err, it.Close()) }()
	for ok := it.First(); ok; ok = it.Next() {
		if err := use(it.Key(), it.Value()); err != nil {
			return err
		}
	}
	return it.Error()
}

func cutZero(b []byte) (kind, id string, ok bool) {
	for i, c := range b {
		if c == 0 {
			return string(b[:i]), string(b[i+1:]), true
		}
	}
	return "", "", false
}

// options sets the database up for many small records that are read one by one.
func (s *Store) options(cacheSize int64, logger pebble.Logger) *pebble.Options {
	o := &pebble.Options{
		Lock:                        s.lock,
		Logger:                      logger,
		Merger:                      Merger(),
		FormatMajorVersion:          pebble.FormatTableFormatV6, // log chunks that tell a torn end from damage
		CacheSize:                   cacheSize,
		MemTableSize:                s.memTable,
		MemTableStopWritesThreshold: 4,
		L0CompactionThreshold:       2,
		L0StopWritesThreshold:       1000,
		LBaseMaxBytes:               64 << 20,
		CompactionConcurrencyRange:  func() (int, int) { return 1, 2 },
	}
	for i := range o.Levels {
		o.Levels[i].BlockSize = 2 << 10
		o.Levels[i].IndexBlockSize = 64 << 10
		o.Levels[i].FilterPolicy = bloom.FilterPolicy(10)
		// Records are small as they are; reading one must not cost a block's
		// decompression.
		o.Levels[i].Compression = func() *sstable.CompressionProfile { return sstable.NoCompression }
	}
	// A damaged table fails the reads that meet it, and no others.
	o.EventListener = &pebble.EventListener{
		DataCorruption:  func(i pebble.DataCorruptionInfo) { s.log.Error("damaged table", "folder", s.dir, "info", i.String()) },
		BackgroundError: func(err error) { s.log.Error("database in the background", "folder", s.dir, "error", err) },
	}
	return o
}

// openDB opens the database. What is fatal to Pebble must not end the process: it
// fails this call, or later the store.
func (s *Store) openDB(cacheSize int64, readOnly bool) (*pebble.DB, error) {
	l := &logger{log: s.log, dir: s.dir, fatal: make(chan error, 1)}
	o := s.options(cacheSize, l)
	o.ReadOnly = readOnly
	o.FS = guard{s.fs, l}
	type result struct {
		db  *pebble.DB
		err error
	}
	done := make(chan result, 1)
	go func() {
		defer func() {
			if r := recover(); r != nil {
				done <- result{nil, fmt.Errorf("%v", r)}
			}
		}()
		db, err := pebble.Open(s.dir, o)
		done <- result{db, err}
	}()
	select {
	case r := <-done:
		if r.err == nil {
			l.hand(s.fail)
		}
		return r.db, r.err
	case err := <-l.fatal:
		return nil, err
	}
}
