package pgstore

import (
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"github.com/rescind/rescind"
)

// Endings and events are kept as bytes: PostgreSQL numbers them and finds them by
// their numbers, and has no use for what they say.

var errDamaged = errors.New("damaged")

func damaged(what string) error {
	return fmt.Errorf("%w: %w: %s", rescind.ErrUnavailable, errDamaged, what)
}

const (
	endingFormat = 1
	eventFormat  = 1
	nonceSize    = 8
)

// appendEnding appends e without its position, which is its number.
func appendEnding(b []byte, e *rescind.Ending) []byte {
	b = append(append(b, endingFormat), e.Nonce[:]...)
	b = appendTime(append(b, byte(e.Kind)), e.At)
	b = appendFixed(b, e.Session[:], e.Session.IsZero())
	b = appendFixed(b, e.Token[:], e.Token == rescind.TokenID{})
	b = appendFixed(b, e.Tag[:], e.Tag == rescind.Tag{})
	return appendText(b, e.Name)
}

func parseEnding(position int64, body []byte) (rescind.Ending, error) {
	e := rescind.Ending{Position: rescind.Position(position)}
	r := reader{b: body}
	r.format(endingFormat)
	copy(e.Nonce[:], r.take(nonceSize))
	e.Kind = rescind.EndingKind(r.byte())
	e.At = r.time()
	r.fixed(e.Session[:])
	r.fixed(e.Token[:])
	r.fixed(e.Tag[:])
	e.Name = r.text()
	if r.bad || len(r.b) > 0 {
		return rescind.Ending{}, damaged("an entry of the feed")
	}
	return e, nil
}

// appendEvent appends e without its id, which is its number.
func appendEvent(b []byte, e *rescind.Event) []byte {
	b = appendTime(append(b, eventFormat), e.At)
	for _, v := range [...]string{string(e.Kind), e.Actor, e.Subject, e.Session, e.Client, e.Key, e.Reason, e.Detail} {
		b = appendText(b, v)
	}
	return b
}

func parseEvent(seq int64, body []byte) (rescind.Event, error) {
	r := reader{b: body}
	r.format(eventFormat)
	e := rescind.Event{ID: eventID(seq), At: r.time(), Kind: rescind.EventKind(r.text())}
	for _, v := range [...]*string{&e.Actor, &e.Subject, &e.Session, &e.Client, &e.Key, &e.Reason, &e.Detail} {
		*v = r.text()
	}
	if r.bad || len(r.b) > 0 {
		return rescind.Event{}, damaged("an event")
	}
	return e, nil
}

// eventID is a number as text that sorts as it does.
func eventID(seq int64) string { return fmt.Sprintf("%016x", seq) }

func appendTime(b []byte, t time.Time) []byte { return binary.AppendVarint(b, toMillis(t)) }

func appendText(b []byte, s string) []byte {
	return append(binary.AppendUvarint(b, uint64(len(s))), s...)
}

// appendFixed appends bytes whose length is known, or a single 0 for none.
func appendFixed(b, v []byte, none bool) []byte {
	if none {
		return append(b, 0)
	}
	return append(append(b, 1), v...)
}

// reader consumes b from the front and remembers the first mistake.
type reader struct {
	b   []byte
	bad bool
}

func (r *reader) format(want byte) { r.bad = r.byte() != want || r.bad }

func (r *reader) take(n int) []byte {
	if r.bad || n > len(r.b) {
		r.bad = true
		return nil
	}
	v := r.b[:n]
	r.b = r.b[n:]
	return v
}

func (r *reader) byte() byte {
	if v := r.take(1); v != nil {
		return v[0]
	}
	return 0
}

func (r *reader) time() time.Time {
	ms, n := binary.Varint(r.b)
	if n <= 0 {
		r.bad = true
		return time.Time{}
	}
	r.b = r.b[n:]
	return fromMillis(ms)
}

// toMillis keeps a time so far from all ends of a number that sums of two do not
// overflow: in a statement that would be an error, of everybody in its transaction.
func toMillis(t time.Time) int64 { return min(max(t.UnixMilli(), -1<<60), 1<<60) }

// fromMillis makes the zero time again of the zero time.
func fromMillis(ms int64) time.Time {
	if t := time.UnixMilli(ms); !t.IsZero() {
		return t
	}
	return time.Time{}
}

func (r *reader) text() string {
	n, size := binary.Uvarint(r.b)
	if size <= 0 || n > uint64(len(r.b)) {
		r.bad = true
		return ""
	}
	r.b = r.b[size:]
	return string(r.take(int(n)))
}

func (r *reader) fixed(to []byte) {
	switch r.byte() {
	case 0:
	case 1:
		copy(to, r.take(len(to)))
	default:
		r.bad = true
	}
}
