// Package pgstore keeps the ledger in PostgreSQL, 15 or later, for any number of
// nodes.
//
// Law 1 rests on one order here. Every write of every node is a step under one
// advisory lock, which its transaction holds until it has committed; so steps
// happen one after another, and each sees all before it. A node sends the steps
// at hand together, as one pipeline that ends with its COMMIT: one flush of the
// log for all of them, and no lock waits for a client. PostgreSQL shows a
// transaction to others only once its log is flushed, so what anybody has seen
// survives a crash.
//
// The page docs/design/store-postgres.md has the life of a session in it.
package pgstore

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/rescind/rescind"
)

// Options are all optional.
type Options struct {
	// Timeout bounds every call, whatever the server does; 0 is 2 s.
	Timeout time.Duration
	// Now is the machine's clock; nil is time.Now. Only its pace counts, and for
	// no longer than a few seconds: the time of the store is the server's.
	Now func() time.Time
	// Logger receives warnings; nil is silence.
	Logger *slog.Logger
	// AllowDataLoss opens a ledger on a server that is set up to lose what it has
	// acknowledged, with a warning. Revoked tokens can then work again after a
	// crash. In a URL it is allow_data_loss=true.
	AllowDataLoss bool
}

const defaultTimeout = 2 * time.Second

// Store is a ledger in a database. It implements [rescind.Store].
type Store struct {
	timeout time.Duration
	log     *slog.Logger
	server  *server
	clock   *clock

	lookups *queue[*lookup]
	steps   *queue[step]
	pages   *pool // for reads that take longer
	refused atomic.Pointer[error]
	warned  sync.Map // texts

	stop    context.Context
	end     context.CancelFunc
	closing sync.Once
	work    sync.WaitGroup
}

var _ rescind.Store = (*Store)(nil)

var (
	errClosed  = fmt.Errorf("%w: the store is closed", rescind.ErrUnavailable)
	errTimeout = fmt.Errorf("%w: no answer from PostgreSQL in time", rescind.ErrUnavailable)
)

// unavailable makes any failure of the machine the one error that callers know.
func unavailable(op string, err error) error {
	switch {
	case err == nil, errors.Is(err, rescind.ErrUnavailable), errors.Is(err, rescind.ErrConflict), errors.Is(err, rescind.ErrInvalid):
		return err
	}
	return fmt.Errorf("%w: %s: %w", rescind.ErrUnavailable, op, err)
}

// begin says why a call must not begin, or nil.
func (s *Store) begin(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return unavailable("not begun", err)
	}
	if s.stop.Err() != nil {
		return errClosed
	}
	if why := s.refused.Load(); why != nil {
		return fmt.Errorf("%w: %v", rescind.ErrUnavailable, *why) // nothing is wrong with the call
	}
	return nil
}

// await waits for the answer of a worker: until it comes, the call has lasted too
// long, or its context ends.
func (s *Store) await(ctx context.Context, done <-chan struct{}) error {
	patience := time.NewTimer(s.timeout)
	defer patience.Stop()
	select {
	case <-done:
		return nil
	case <-patience.C:
		return errTimeout
	case <-ctx.Done():
		return unavailable("not waited for", ctx.Err())
	}
}

// Now returns the store's time, which is the server's.
func (s *Store) Now() time.Time { return s.clock.now() }

// Close ends the work under way and the connections. Calls that come later return
// ErrUnavailable.
func (s *Store) Close() error {
	s.closing.Do(func() {
		s.end()
		s.steps.close()
		s.lookups.close()
		s.work.Wait()
		s.pages.close()
	})
	return nil
}
