// Package redisstore keeps the ledger in Redis 7 or Valkey, on one server or in a
// cluster, so that many nodes can share it.
//
// Law 1 rests on four things here. Every step is one script on one shard, whose
// keys lie on one slot, and every script compares before it writes. A server that
// syncs each write before it answers anybody (appendfsync always) shows nothing
// that a crash could take back, so any other is refused. A look-up is one command,
// which reads a record, its cutoffs and the version of the configuration at one
// moment. And what concerns every shard is done in all of them before anybody
// hears that it is done.
//
// The page docs/design/store-redis.md has the life of a session in it, and says
// what holds when a server restarts or fails over.
package redisstore

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/rueidis"

	"github.com/rescind/rescind"
)

// Store is a connection to a ledger. It implements [rescind.Store].
type Store struct {
	client  rueidis.Client
	timeout time.Duration
	log     *slog.Logger
	options Options
	report  Report
	clock   clock
	stamps  atomic.Int64 // the last that was given to a step, in microseconds

	shards    []*shard
	gatherers []*gatherer
	clients   []atomic.Pointer[clientView] // of each shard, as last read
	settled   atomic.Uint64                // a version of the configuration that is known to be in every shard

	trust   trust
	waiting atomic.Int64 // commands on their way
	closed  chan struct{}
	closing sync.Once
	done    sync.WaitGroup // what Close waits for
	failing sync.Once
	failed  chan struct{}
}

// clientView are the cutoffs of all clients of a shard at one moment, which has a
// number: a look-up that reads the same number needs no other.
type clientView struct {
	number  uint64
	cutoffs map[string]uint64
}

var _ rescind.Store = (*Store)(nil)

var errClosed = fmt.Errorf("%w: the store is closed", rescind.ErrUnavailable)

// errGone says that the server has lost the ledger, as after FLUSHALL or a restart
// without its data.
var errGone = fmt.Errorf("%w: the ledger is gone from the server", rescind.ErrUnavailable)

// unavailable makes any failure of the server the one error that callers know.
func unavailable(op string, err error) error {
	switch {
	case err == nil, errors.Is(err, rescind.ErrUnavailable), errors.Is(err, rescind.ErrConflict), errors.Is(err, rescind.ErrInvalid):
		return err
	}
	return fmt.Errorf("%w: %s: %w", rescind.ErrUnavailable, op, err)
}

// open reports whether a call may begin.
func (s *Store) open(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return unavailable("not begun", err)
	}
	select {
	case <-s.closed:
		return errClosed
	case <-s.failed:
		return errGone
	default:
		return nil
	}
}

// begin bounds a call by the time-out.
func (s *Store) begin(ctx context.Context) (context.Context, context.CancelFunc, error) {
	if err := s.open(ctx); err != nil {
		return nil, nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, s.timeout)
	return ctx, cancel, nil
}

// Now returns the store's time: the server's, by an offset that is measured again
// and again. No clock of the node's own judges anything.
func (s *Store) Now() time.Time { return s.clock.now() }

// Report says what holds when a server restarts or fails over.
func (s *Store) Report() Report { return s.report }

// Failed returns a channel that is closed when the ledger is gone from the server:
// whoever starts the process decides what comes now.
func (s *Store) Failed() <-chan struct{} { return s.failed }

func (s *Store) fail(err error) error {
	s.failing.Do(func() {
		s.log.Error("the ledger is gone from the server; every answer is \"unavailable\"", "error", err)
		close(s.failed)
	})
	return err
}

// Close ends the connections. Calls under way end with ErrUnavailable or as they
// would have; what was acknowledged is durable without it.
func (s *Store) Close() error {
	s.closing.Do(func() {
		close(s.closed)
		s.done.Wait()
		s.client.Close()
	})
	return nil
}

// shardOf is where everything that belongs to a tag lies.
func (s *Store) shardOf(tag *rescind.Tag) *shard { return s.shards[shardOfTag(tag, len(s.shards))] }

// last is the shard whose position stands for a step in all of them.
func (s *Store) last() *shard { return s.shards[len(s.shards)-1] }

// each runs f for all at once and returns the first error.
func each[T any](list []T, f func(T) error) error {
	if len(list) == 1 {
		return f(list[0])
	}
	errs := make([]error, len(list))
	var wg sync.WaitGroup
	for i, v := range list {
		wg.Go(func() { errs[i] = f(v) })
	}
	wg.Wait()
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}
