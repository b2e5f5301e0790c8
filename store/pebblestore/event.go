package pebblestore

import (
	"context"
	"fmt"
	"strconv"

	"github.com/rescind/rescind"
)

// eventFormat is the first byte of a stored event.
const eventFormat = 1

// eventKinds gives the usual kinds a number, for short. Stored numbers count
// from one, so this list only ever grows at its end.
var eventKinds = [...]rescind.EventKind{
	rescind.EventSessionCreated, rescind.EventSessionRefreshed, rescind.EventSessionEnded, rescind.EventTokenDropped,
	rescind.EventSubjectEnded, rescind.EventSubjectErased, rescind.EventClientEnded, rescind.EventAllEnded,
	rescind.EventClientAdded, rescind.EventClientRemoved, rescind.EventKeyCreated, rescind.EventKeyRotated,
	rescind.EventKeyRevoked, rescind.EventBackupOpened,
}

// How a session id is written.
const (
	eventNoSession = iota
	eventSessionID // as its bytes
	eventSessionText
)

// appendEvent appends e without its id, which is its number.
func appendEvent(b []byte, e *rescind.Event) []byte {
	b = appendTime(append(b, eventFormat), e.At)
	kind := byte(0)
	for i, k := range eventKinds {
		if k == e.Kind {
			kind = byte(i + 1)
		}
	}
	if b = append(b, kind); kind == 0 {
		b = appendText(b, string(e.Kind))
	}
	if id, err := rescind.ParseSessionID(e.Session); err == nil {
		b = append(append(b, eventSessionID), id[:]...)
	} else if e.Session != "" {
		b = appendText(append(b, eventSessionText), e.Session)
	} else {
		b = append(b, eventNoSession)
	}
	for _, v := range [...]string{e.Actor, e.Subject, e.Client, e.Key, e.Reason, e.Detail} {
		b = appendText(b, v)
	}
	return b
}

func parseEvent(n uint64, entry []byte) (rescind.Event, error) {
	r := reader{b: entry}
	if r.byte() != eventFormat {
		return rescind.Event{}, damaged("an event")
	}
	e := rescind.Event{ID: eventID(n), At: r.time()}
	switch kind := int(r.byte()); {
	case kind == 0:
		e.Kind = rescind.EventKind(r.text())
	case kind <= len(eventKinds):
		e.Kind = eventKinds[kind-1]
	default:
		r.bad = true
	}
	switch r.byte() {
	case eventNoSession:
	case eventSessionID:
		var id rescind.SessionID
		copy(id[:], r.take(len(id)))
		e.Session = id.String()
	case eventSessionText:
		e.Session = r.text()
	default:
		r.bad = true
	}
	for _, v := range [...]*string{&e.Actor, &e.Subject, &e.Client, &e.Key, &e.Reason, &e.Detail} {
		*v = r.text()
	}
	if r.bad || len(r.b) > 0 {
		return rescind.Event{}, damaged("an event")
	}
	return e, nil
}

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
		e, err := parseEvent(n, entry)
		if err == nil && q.Match(&e) {
			page.Events = append(page.Events, e)
		}
		return true, err
	})
	return page, unavailable("events", err)
}
