package pgstore

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/rescind/rescind"
)

// stepsAtOnce is how many steps share a transaction.
const stepsAtOnce = 256

// step is one write: statements of a transaction under the lock, and what they
// answer. It counts only once that transaction has committed.
type step interface {
	request
	// send queues the statements. It may be called again, after a transaction of
	// which nothing was written.
	send(*transaction)
}

// transaction is the pipeline that steps are put into. Ends and touches are
// collected, because one statement can do many of them.
type transaction struct {
	pgx.Batch
	ends    []*endStep
	touches []*touchStep
	now     int64 // milliseconds
}

// row queues a statement that returns one row, or none, which leaves what the
// caller scans into as it is.
func (t *transaction) row(sql string, args []any, into ...any) {
	t.Queue(sql, args...).QueryRow(func(row pgx.Row) error {
		if err := row.Scan(into...); !errors.Is(err, pgx.ErrNoRows) {
			return err
		}
		return nil
	})
}

// write gives a step to the worker and waits until it is durable.
func (s *Store) write(ctx context.Context, st step, done *call) error {
	if err := s.begin(ctx); err != nil {
		return err
	}
	if err := s.steps.join(st); err != nil {
		return err
	}
	if err := s.await(ctx, done.done); err != nil {
		return fmt.Errorf("the outcome is unknown: %w", err)
	}
	return done.err
}

// serveSteps is the one worker that writes.
func (s *Store) serveSteps() {
	w := writer{s: s}
	defer w.drop()
	for s.steps.wait() {
		// The connection comes first: steps that come while it is made go with it.
		if err := w.connect(); err != nil {
			s.steps.expire()
			w.pause()
			continue
		}
		s.steps.gather(stepsAtOnce)
		if some := s.steps.take(stepsAtOnce); len(some) > 0 {
			w.run(some)
		}
	}
}

type writer struct {
	s       *Store
	c       *conn
	fails   int   // in a row, to connect
	written int64 // the time last written down, in milliseconds
}

func (w *writer) drop() {
	if w.c != nil {
		w.c.drop()
		w.c = nil
	}
}

func (w *writer) connect() (err error) {
	if w.c != nil && !w.c.stands(w.s.timeout) {
		w.drop()
	}
	if w.c == nil {
		if w.c, err = w.s.server.redial(context.Background()); err != nil {
			w.c = nil
			return err
		}
		w.fails = 0
	}
	return nil
}

// pause keeps a node from asking too often for a connection, and lets it end.
func (w *writer) pause() {
	if w.s.stop.Err() != nil {
		for _, st := range w.s.steps.take(maxWaiting) {
			st.finish(errClosed)
		}
	}
	w.fails++
	time.Sleep(min(5*time.Millisecond<<min(w.fails, 5), 100*time.Millisecond))
}

// run takes the steps in one transaction, and answers them. It is tried again
// where the server has said that nothing was written.
func (w *writer) run(steps []step) {
	for tries := 0; ; tries++ {
		again, err := w.try(steps)
		if err == nil {
			for _, st := range steps {
				st.finish(nil)
			}
			return
		}
		w.drop()
		if !again || tries == 2 || w.s.stop.Err() != nil || w.connect() != nil {
			for _, st := range steps {
				st.finish(unavailable("write", err))
			}
			return
		}
	}
}

const (
	beginSQL  = `BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE`
	lockSQL   = `SELECT pg_advisory_xact_lock('rescind_feed'::regclass::oid::int8 + $1)`
	commitSQL = `COMMIT`
	// clockSQL writes down the highest time that was told.
	clockSQL    = `UPDATE rescind_clock SET told = $1 WHERE told < $1`
	clockMicros = `(extract(epoch FROM clock_timestamp()) * 1000000)::int8`

	// stepLock keeps this lock apart from others that an application may take.
	stepLock = 0x52534344 << 32 // "RSCD"
	// clockEvery is how old the time that is written down may grow while there is
	// something to write.
	clockEvery = 100 // milliseconds
)

// try reports whether steps that failed may be taken again. It sends everything at
// once, with the COMMIT: whatever then happens to this process, the server does
// not wait for it with the lock in its hands. The time-outs that lock_timeout
// bounds apart, no statement here takes long.
func (w *writer) try(steps []step) (again bool, err error) {
	until := time.Now().Add(w.s.timeout)
	if err := w.c.bound(until); err != nil {
		return true, err
	}
	t := &transaction{now: w.s.Now().UnixMilli()}
	t.Queue(beginSQL)
	t.Queue(lockSQL, int64(stepLock))
	for _, st := range steps {
		st.send(t)
	}
	t.sendEnds()
	t.sendTouches()
	tell := t.now-w.written > clockEvery || t.now < w.written
	if tell {
		t.Queue(clockSQL, t.now)
	}
	committed := false
	t.Queue(commitSQL).Exec(func(tag pgconn.CommandTag) error {
		committed = tag.String() == "COMMIT"
		return nil
	})
	w.c.warned.Store(false)
	err = w.c.pg.SendBatch(context.Background(), &t.Batch).Close()
	switch {
	case err != nil:
		return refused(err), err
	case !committed:
		return true, errors.New("the transaction was rolled back")
	case w.c.warned.Load():
		// It is there, and visible. But the wait for a standby was cut short, and a
		// failover could lose it.
		return false, fmt.Errorf("%w: committed with a warning: a standby may not have it", rescind.ErrUnavailable)
	}
	w.c.used = time.Now()
	if tell {
		w.written = t.now
	}
	return false, nil
}

// refused reports whether the server itself has said that a transaction failed,
// and lives to say so: then nothing of it was written.
func refused(err error) bool {
	var server *pgconn.PgError
	return errors.As(err, &server) && server.SeverityUnlocalized == "ERROR"
}
