package pebblestore

import (
	"context"
	"fmt"
	"strconv"

	"github.com/rescind/rescind"
)

// eventID is the sequence as text that sorts as it does.
func eventID(n uint64) string { return fmt.Sprintf("%016x", n) }

const (
	maxEvents   = 1000   // on a page
	eventsAPage = 20_000 // read for one page
)

// Events reads the log backwards. Only events that are durable are read, since
// the last durable sequence is taken first.
func (s *Store) Events(ctx context.Context, q rescind.EventQuery) (page rescind.EventPage, err error) {
	if err := s.enter(ctx); err != nil {
		return page, err
	}
	defer s.leave()
	limit := q.Limit
	if limit == 0 {
		limit = 100
	}
	if limit < 0 || limit > maxEvents {
		return page, fmt.Errorf("%w: a page has 1 to %d events", rescind.ErrInvalid, maxEvents)
	}
	end := s.durableEvents.Load() + 1
	if q.After != "" {
		n, err := strconv.ParseUint(q.After, 16, 64)
		if err != nil || eventID(n) != q.After {
			return page, fmt.Errorf("%w: no cursor of this log", rescind.ErrInvalid)
		}
		end = min(end, n)
	}
	read := 0
	err = s.descend(ctx, keyEvent, end, func(n uint64, entry []byte) (bool, error) {
		if read++; read > eventsAPage || len(page.Events) == limit {
			page.Next = eventID(n + 1) // this one is the first of the next page
			return false, nil
		}
		e, err := rescind.ParseEvent(eventID(n), entry)
		if err == nil && q.Match(&e) {
			page.Events = append(page.Events, e)
		}
		return true, err
	})
	return page, unavailable("events", err)
}
