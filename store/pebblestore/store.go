// Package pebblestore is the embedded store: a folder that one process has open,
// kept by Pebble. It needs nothing installed and no cgo.
//
// Law 1 rests on two things here. One committer, a single goroutine, takes every
// write, validates it against all the writes before it, and applies it in
// batches whose log is synced before anybody is answered. And because Pebble
// shows a batch to readers before that sync, every reader checks whether what it
// has read is known to be on disk, and waits if it is not. So nothing that was
// acknowledged, and nothing that was ever seen, is lost by a crash.
//
// The page docs/design/store-pebble.md has the life of a session in it.
package pebblestore

import (
	"context"
	"errors"
	"fmt"
	"hash/maphash"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/rescind/rescind"
)

// Options are all optional.
type Options struct {
	// FS is the file system; nil is the machine's own. vfs.NewMem() gives a store
	// that is gone with the process.
	FS vfs.FS
	// Now is the clock; nil is time.Now. The store's time never goes back, even
	// where this one does.
	Now func() time.Time
	// Timeout bounds every call; 0 is 2 s.
	Timeout time.Duration
	// CacheSize is the memory for pages read from disk, in bytes; 0 is 384 MiB,
	// in which a million sessions fit.
	CacheSize int64
	// Logger receives what the database has to say; nil is silence.
	Logger *slog.Logger

	memTable uint64 // bytes; tests make it small
}

const (
	defaultTimeout = 2 * time.Second
	defaultCache   = 384 << 20
)

// Store is an open folder. It implements [rescind.Store] and [rescind.Backuper].
type Store struct {
	dir     string
	fs      vfs.FS
	clock   func() time.Time
	timeout time.Duration
	log     *slog.Logger
	db      *pebble.DB
	lock    *pebble.Lock

	memTable uint64

	// life is read-locked by every reader of db, and locked for good by Close.
	life       sync.RWMutex
	closing    sync.Once
	closed     error
	stop       chan struct{} // closed by Close, for backups
	copies     sync.WaitGroup
	copyNumber atomic.Uint64
	broken     atomic.Pointer[error] // why nothing can be known any more
	failed     chan struct{}         // closed once broken is set

	queue   queue
	flights chan *flight
	atRest  chan struct{} // closed when the committer and the acknowledger have ended
	horizon horizon

	seed    maphash.Seed
	touched []atomic.Uint64 // by slot: the last flight that wrote a session or what belongs to a tag
	moved   []atomic.Bool   // by slot: a tag has a durable cutoff
	started atomic.Uint64   // the last flight that was begun
	applied atomic.Uint64   // the last flight that Pebble shows to readers

	// What is durable. head, events and view change after a sync, never before.
	head          atomic.Uint64
	durableEvents atomic.Uint64
	view          atomic.Pointer[view]

	time    atomic.Int64 // the highest time ever returned or persisted, in nanoseconds
	ahead   atomic.Int64 // how far it is ahead of the clock, which was set back
	slewing sync.Mutex
}

// view is what every look-up needs and seldom changes. It is never written to.
type view struct {
	all     cutoff
	clients map[string]cutoff
	config  uint64
	docs    map[docKey][]byte
	epoch   [16]byte
}

type docKey struct{ kind, id string }

// slots is the size of the tables by slot. Two keys that share one slot only
// make a reader wait, or read, without need.
const slots = 1 << 18

func (s *Store) slotOf(id *rescind.SessionID) uint64 {
	return maphash.Bytes(s.seed, id[:]) % slots
}

func (s *Store) slotOfTag(tag *rescind.Tag) uint64 {
	return maphash.Bytes(s.seed, tag[:]) % slots
}

var (
	_ rescind.Store    = (*Store)(nil)
	_ rescind.Backuper = (*Store)(nil)
)

var errClosed = fmt.Errorf("%w: the store is closed", rescind.ErrUnavailable)

// unavailable makes any failure of the machine the one error that callers know.
func unavailable(op string, err error) error {
	switch {
	case err == nil, errors.Is(err, rescind.ErrUnavailable), errors.Is(err, rescind.ErrConflict), errors.Is(err, rescind.ErrInvalid):
		return err
	}
	return fmt.Errorf("%w: %s: %w", rescind.ErrUnavailable, op, err)
}

func firstOf(a, b error) error {
	if a != nil {
		return a
	}
	return b
}

// enter begins a reading call; leave ends it if enter returned nil.
func (s *Store) enter(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return unavailable("not begun", err)
	}
	if !s.life.TryRLock() {
		return errClosed
	}
	if err := s.failure(); err != nil {
		s.life.RUnlock()
		return err
	}
	return nil
}

func (s *Store) leave() { s.life.RUnlock() }

// failure returns why the store cannot answer any more, or nil.
func (s *Store) failure() error {
	if p := s.broken.Load(); p != nil {
		return *p
	}
	return nil
}

// fail gives up for good. After a failed sync nobody can say what is on disk, and
// what Pebble shows may not be: until the folder is opened again every answer is
// "unavailable".
func (s *Store) fail(cause error) {
	err := fmt.Errorf("%w: the store has failed and must be opened again: %w", rescind.ErrUnavailable, cause)
	if !s.broken.CompareAndSwap(nil, &err) {
		return
	}
	s.log.Error("the store has failed; every answer is \"unavailable\" until it is opened again", "folder", s.dir, "error", cause)
	s.queue.fail(err)
	s.horizon.wake()
	close(s.failed)
}

// Failed returns a channel that is closed when the store has given up for good:
// it has to be closed and opened again, which is best left to whoever starts the
// process.
func (s *Store) Failed() <-chan struct{} { return s.failed }

// Close ends the work under way, which includes syncing all that was taken, and
// frees the folder. What was acknowledged is durable without it. Calls that come
// later return ErrUnavailable.
func (s *Store) Close() error {
	s.closing.Do(func() { s.closed = s.close() })
	return s.closed
}

func (s *Store) close() error {
	close(s.stop)
	s.queue.close(errClosed)
	done := make(chan error, 1)
	go func() {
		<-s.atRest
		s.life.Lock() // for good: no reader is in the database, and none enters it
		s.copies.Wait()
		done <- s.shut()
	}()
	patience := time.NewTimer(2 * s.timeout) // calls under way end within the time-out
	defer patience.Stop()
	select {
	case err := <-done:
		return err
	case <-patience.C:
		// The folder stays locked until the process ends: something may still write.
		return fmt.Errorf("%w: %s could not be closed in time", rescind.ErrUnavailable, s.dir)
	}
}

// shut closes the database. After a failure it may panic or hang; its caller
// waits only so long.
func (s *Store) shut() (err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("%w: closing %s: %v", rescind.ErrUnavailable, s.dir, r)
		}
	}()
	if s.failure() == nil {
		// Into tables, whose loss is noticed when the folder is opened again; that
		// of a log's end cannot be told from a crash.
		err = s.db.Flush()
	}
	err = firstOf(err, s.db.Close())
	return firstOf(firstOf(s.failure(), err), s.lock.Close())
}
