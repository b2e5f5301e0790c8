package transfer

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/rescind/rescind"
)

// Difference is the error of a copy that is not like its source.
type Difference struct {
	What []string // where, without secrets; at most maxNamed of them
}

const maxNamed = 20

func (d *Difference) Error() string {
	return "the copy differs from its source: " + strings.Join(d.What, ", ")
}

func (d *Difference) add(format string, args ...any) {
	if len(d.What) < maxNamed {
		d.What = append(d.What, fmt.Sprintf(format, args...))
	} else if len(d.What) == maxNamed {
		d.What = append(d.What, "and more")
	}
}

// verify reads both sides again.
func (r *run) verify(ctx context.Context) (Result, error) {
	var sum Result
	d := new(Difference)
	for _, part := range []func(context.Context, *Result, *Difference) error{r.verifyDocuments, r.verifySessions, r.verifyEvents} {
		if err := part(ctx, &sum, d); err != nil {
			return sum, err
		}
	}
	if len(d.What) > 0 {
		return sum, d
	}
	return sum, nil
}

func (r *run) verifyDocuments(ctx context.Context, sum *Result, d *Difference) error {
	source, err := r.from.Config(ctx)
	if err != nil {
		return err
	}
	target, err := r.to.Config(ctx)
	if err != nil {
		return err
	}
	want, have := content(&source), content(&target)
	if !slices.EqualFunc(want, have, func(a, b rescind.Document) bool {
		return a.Kind == b.Kind && a.ID == b.ID && bytes.Equal(a.Value, b.Value)
	}) {
		d.add("%d documents, and %d", len(want), len(have))
	}
	sum.Documents = len(have)
	return nil
}

// records reads a store's sessions one after the other.
type records struct {
	store rescind.Store
	page  []rescind.Snapshot
	after rescind.SessionID
	end   bool
}

// next returns nil at the end.
func (r *records) next(ctx context.Context) (*rescind.Snapshot, error) {
	for len(r.page) == 0 && !r.end {
		page, err := r.store.List(ctx, rescind.ListQuery{After: r.after, Limit: pageSize})
		if err != nil {
			return nil, err
		}
		r.page, r.end = page.Sessions, !page.More
	}
	if len(r.page) == 0 {
		return nil, nil
	}
	snap := &r.page[0]
	r.page, r.after = r.page[1:], snap.Session.ID
	return snap, nil
}

func (r *run) verifySessions(ctx context.Context, sum *Result, d *Difference) error {
	source, target := &records{store: r.from}, &records{store: r.to}
	a, err := source.next(ctx)
	if err != nil {
		return err
	}
	b, err := target.next(ctx)
	for err == nil && (a != nil || b != nil) {
		order := 0
		switch {
		case a == nil:
			order = 1
		case b == nil:
			order = -1
		default:
			order = bytes.Compare(a.Session.ID[:], b.Session.ID[:])
		}
		switch {
		case order < 0:
			d.add("session %s is missing", a.Session.ID)
		case order > 0:
			d.add("session %s is too many", b.Session.ID)
		case !same(r.asCopied(a), b.Session) || b.Cutoffs.Passed(b.Session.Birth):
			d.add("session %s", a.Session.ID)
		}
		if b != nil && order >= 0 {
			sum.Sessions++
			if b.Session.Ended() {
				sum.Ended++
			}
			if sum.Sessions%pageSize == 0 {
				r.o.Progress(Progress{Phase: "verify", Done: sum.Sessions, Part: along(b.Session.ID)})
			}
		}
		if order <= 0 {
			a, err = source.next(ctx)
		}
		if order >= 0 && err == nil {
			b, err = target.next(ctx)
		}
	}
	return err
}

func (r *run) verifyEvents(ctx context.Context, sum *Result, d *Difference) error {
	source, target := &log{store: r.from}, &log{store: r.to}
	for {
		a, err := source.next(ctx)
		if err != nil {
			return err
		}
		b, err := target.next(ctx)
		if err != nil {
			return err
		}
		switch {
		case a == nil && b == nil:
			return nil
		case a == nil || b == nil:
			d.add("the audit log is longer in one of the two")
			return nil
		}
		a.ID, b.ID = "", ""
		if !a.At.Equal(b.At) {
			d.add("the audit log, at %s", a.At)
			return nil
		}
		if a.At = b.At; *a != *b {
			d.add("the audit log, at %s", a.At)
			return nil
		}
		sum.Events++
	}
}

// log reads a store's audit log one after the other.
type log struct {
	store rescind.Store
	page  []rescind.Event
	after string
	begun bool
}

// next returns nil at the end.
func (l *log) next(ctx context.Context) (*rescind.Event, error) {
	for len(l.page) == 0 {
		if l.begun && l.after == "" {
			return nil, nil
		}
		page, err := l.store.Events(ctx, rescind.EventQuery{After: l.after, Limit: eventStep})
		if err != nil {
			return nil, err
		}
		l.page, l.after, l.begun = page.Events, page.Next, true
	}
	e := &l.page[0]
	l.page = l.page[1:]
	return e, nil
}

// Count says what a copy of a ledger would hold, and changes nothing. What ends
// meanwhile may be counted either way.
func Count(ctx context.Context, from rescind.Store) (Result, error) {
	r := &run{from: from, to: from, fence: fence{At: from.Now()}}
	var sum Result
	cfg, err := from.Config(ctx)
	if err != nil {
		return sum, err
	}
	sum.Documents = len(content(&cfg))
	source := &records{store: from}
	for {
		snap, err := source.next(ctx)
		if err != nil {
			return sum, err
		}
		if snap == nil {
			break
		}
		sum.Sessions++
		if s := r.asCopied(snap); s.Ended() {
			sum.Ended++
		}
	}
	_, sum.Events, err = r.cursors(ctx)
	return sum, err
}
