package transfer

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"sync"

	"github.com/rescind/rescind"
)

const (
	pageSize  = 500
	atOnce    = 32 // writes to the target
	eventStep = 500
)

// asCopied is what a session of the source becomes: one that a cutoff has ended
// has no cutoff in the target, and so has to say it itself.
func (r *run) asCopied(snap *rescind.Snapshot) rescind.Session {
	s := snap.Session
	if !s.Ended() && snap.Cutoffs.Passed(s.Birth) {
		s.EndedAt = r.fence.At // when it was is not known; the same in every run
		switch {
		case snap.Cutoffs.Subject > s.Birth:
			s.EndReason = rescind.ReasonSubject
		case snap.Cutoffs.Client > s.Birth:
			s.EndReason = rescind.ReasonClient
		default:
			s.EndReason = rescind.ReasonAll
		}
	}
	s.Version, s.Birth = 0, 0 // the store's own
	return s
}

// same compares two sessions, what is the store's own apart.
func same(a, b rescind.Session) bool {
	a.Version, a.Birth, b.Version, b.Birth = 0, 0, 0, 0
	return a.ID == b.ID && bytes.Equal(rescind.AppendRecord(nil, &a), rescind.AppendRecord(nil, &b))
}

// sessions copies the records in the order of their ids.
func (r *run) sessions(ctx context.Context) error {
	done := 0
	for !r.marker.Whole {
		page, err := r.from.List(ctx, rescind.ListQuery{After: r.marker.Cursor, Limit: pageSize})
		if err != nil {
			return err
		}
		if err := r.page(ctx, page.Sessions); err != nil {
			return err
		}
		next := r.marker
		next.Whole = !page.More
		if n := len(page.Sessions); n > 0 {
			next.Cursor = page.Sessions[n-1].Session.ID
			done += n
		}
		if err := r.mark(ctx, next, nil); err != nil {
			return err
		}
		r.o.Progress(Progress{Phase: "sessions", Done: done, Part: along(next.Cursor)})
	}
	return nil
}

// along is about how much of a ledger lies before an id: their first bits are
// those of a keyed hash, behind one that is zero.
func along(id rescind.SessionID) float64 {
	return float64(binary.BigEndian.Uint32(id[:])) / (1 << 31)
}

// page creates the records of one page, several at once.
func (r *run) page(ctx context.Context, snaps []rescind.Snapshot) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var work sync.WaitGroup
	room := make(chan struct{}, atOnce)
	for i := range snaps {
		room <- struct{}{}
		if ctx.Err() != nil {
			break
		}
		work.Go(func() {
			defer func() { <-room }()
			if err := r.session(ctx, &snaps[i]); err != nil {
				cancel(err)
			}
		})
	}
	work.Wait()
	return context.Cause(ctx)
}

func (r *run) session(ctx context.Context, snap *rescind.Snapshot) error {
	s := r.asCopied(snap)
	_, err := r.to.Create(ctx, rescind.Creation{Session: s})
	if !errors.Is(err, rescind.ErrConflict) {
		return err
	}
	have, err := r.to.Lookup(ctx, s.ID) // an earlier run was here
	if err != nil {
		return err
	}
	if !have.Found || !same(have.Session, s) {
		return &Difference{[]string{"session " + s.ID.String()}}
	}
	return nil
}

// events copies the audit log, oldest first, each batch in one step with how many
// there are.
func (r *run) events(ctx context.Context) error {
	// The log is read newest first. So its pages are found once, by their cursors,
	// and then taken from the last to the first.
	cursors, total, err := r.cursors(ctx)
	if err != nil {
		return err
	}
	seen := 0
	for i := len(cursors) - 1; i >= 0; i-- {
		page, err := r.from.Events(ctx, rescind.EventQuery{After: cursors[i].after, Limit: eventStep})
		if err != nil {
			return err
		}
		if len(page.Events) != cursors[i].n {
			return fmt.Errorf("%w: the audit log of the source changes while it is copied", rescind.ErrUnavailable)
		}
		var batch []rescind.Event
		for j := len(page.Events) - 1; j >= 0; j-- {
			if seen++; seen > r.marker.Events {
				e := page.Events[j]
				e.ID = ""
				batch = append(batch, e)
			}
		}
		if len(batch) == 0 {
			continue
		}
		next := r.marker
		next.Events = seen
		if err := r.mark(ctx, next, batch); err != nil {
			return err
		}
		r.o.Progress(Progress{Phase: "events", Done: seen, Part: float64(seen) / float64(total)})
	}
	return nil
}

type cursor struct {
	after string
	n     int
}

func (r *run) cursors(ctx context.Context) (all []cursor, total int, err error) {
	for after := ""; ; {
		page, err := r.from.Events(ctx, rescind.EventQuery{After: after, Limit: eventStep})
		if err != nil {
			return nil, 0, err
		}
		all = append(all, cursor{after, len(page.Events)})
		total += len(page.Events)
		if after = page.Next; after == "" {
			return all, total, nil
		}
	}
}
