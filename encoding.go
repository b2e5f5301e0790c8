package rescind

import (
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"slices"
	"time"
)

// What a store keeps as bytes, because it has no use for what it says, is written
// and read here: records (record.go), entries of the feed, events. None repeats
// the key that it is kept under.

// ErrRecord says that stored bytes are no record, no entry of the feed, or no event:
// the store is damaged.
var ErrRecord = errors.New("damaged record")

var (
	errEnding = fmt.Errorf("%w: an entry of the feed", ErrRecord)
	errEvent  = fmt.Errorf("%w: an event", ErrRecord)
)

// Which fields of an entry of the feed follow.
const (
	endingSession = 1 << iota
	endingToken
	endingTag
	endingName
)

func fieldsOf(e *Ending) (has byte) {
	if !e.Session.IsZero() {
		has |= endingSession
	}
	if e.Token != (TokenID{}) {
		has |= endingToken
	}
	if e.Tag != (Tag{}) {
		has |= endingTag
	}
	if e.Name != "" {
		has |= endingName
	}
	return has
}

// AppendEnding appends the binary form of e, its position apart, to b, with a fresh
// nonce: nonce, kind, which fields follow, time, and the fields.
func AppendEnding(b []byte, e *Ending) []byte {
	var nonce [len(e.Nonce)]byte
	_, _ = rand.Read(nonce[:]) // never fails: crypto/rand ends the process instead
	has := fieldsOf(e)
	b = appendMillis(append(append(b, nonce[:]...), byte(e.Kind), has), e.At)
	if has&endingSession != 0 {
		b = append(b, e.Session[:]...)
	}
	if has&endingToken != 0 {
		b = append(b, e.Token[:]...)
	}
	if has&endingTag != 0 {
		b = append(b, e.Tag[:]...)
	}
	if has&endingName != 0 {
		b = appendString(b, e.Name)
	}
	return b
}

// ParseEnding reads what AppendEnding wrote. The result shares nothing with b.
func ParseEnding(at Position, b []byte) (Ending, error) {
	r := byteReader{s: string(b)}
	e := Ending{Position: at}
	copy(e.Nonce[:], r.take(len(e.Nonce)))
	e.Kind = EndingKind(r.byte())
	has := r.byte()
	e.At = r.millis()
	if has&endingSession != 0 {
		copy(e.Session[:], r.take(len(e.Session)))
	}
	if has&endingToken != 0 {
		copy(e.Token[:], r.take(len(e.Token)))
	}
	if has&endingTag != 0 {
		copy(e.Tag[:], r.take(len(e.Tag)))
	}
	if has&endingName != 0 {
		e.Name = r.str()
	}
	if r.bad || r.s != "" || has != fieldsOf(&e) {
		return Ending{}, errEnding
	}
	return e, nil
}

const eventFormat = 1

// eventKinds gives the usual kinds a number, for short. Stored numbers count from
// one, so this list only ever grows at its end.
var eventKinds = [...]EventKind{
	EventSessionCreated, EventSessionRefreshed, EventSessionEnded, EventTokenDropped,
	EventSubjectEnded, EventSubjectErased, EventClientEnded, EventAllEnded,
	EventClientAdded, EventClientRemoved, EventKeyCreated, EventKeyRotated,
	EventKeyRevoked, EventBackupOpened,
}

// How the session of an event is written.
const (
	eventNoSession = iota
	eventSessionID // as its bytes
	eventSessionText
)

// AppendEvent appends the binary form of e, its id apart, to b.
func AppendEvent(b []byte, e *Event) []byte {
	kind := 1 + slices.Index(eventKinds[:], e.Kind)
	b = append(appendMillis(append(b, eventFormat), e.At), byte(kind))
	if kind == 0 {
		b = appendString(b, string(e.Kind))
	}
	if id, err := ParseSessionID(e.Session); err == nil {
		b = append(append(b, eventSessionID), id[:]...)
	} else if e.Session != "" {
		b = appendString(append(b, eventSessionText), e.Session)
	} else {
		b = append(b, eventNoSession)
	}
	for _, v := range [...]string{e.Actor, e.Subject, e.Client, e.Key, e.Reason, e.Detail} {
		b = appendString(b, v)
	}
	return b
}

// ParseEvent reads what AppendEvent wrote. The result shares nothing with b.
func ParseEvent(id string, b []byte) (Event, error) {
	r := byteReader{s: string(b)}
	if r.byte() != eventFormat {
		return Event{}, errEvent
	}
	e := Event{ID: id, At: r.millis()}
	switch kind := int(r.byte()); {
	case kind == 0:
		e.Kind = EventKind(r.str())
		r.bad = r.bad || slices.Contains(eventKinds[:], e.Kind)
	case kind <= len(eventKinds):
		e.Kind = eventKinds[kind-1]
	default:
		r.bad = true
	}
	switch r.byte() {
	case eventNoSession:
	case eventSessionID:
		var session SessionID
		copy(session[:], r.take(len(session)))
		e.Session = session.String()
	case eventSessionText:
		e.Session = r.str()
		_, err := ParseSessionID(e.Session)
		r.bad = r.bad || err == nil || e.Session == ""
	default:
		r.bad = true
	}
	for _, v := range [...]*string{&e.Actor, &e.Subject, &e.Client, &e.Key, &e.Reason, &e.Detail} {
		*v = r.str()
	}
	if r.bad || r.s != "" {
		return Event{}, errEvent
	}
	return e, nil
}

func appendMillis(b []byte, t time.Time) []byte {
	if t.IsZero() {
		return append(b, 0)
	}
	ms := t.UnixMilli()
	if ms == 0 {
		ms = 1 // 0 says "never", and what ended at the epoch has ended
	}
	return binary.AppendUvarint(b, uint64(ms))
}

func appendString(b []byte, s string) []byte {
	return append(binary.AppendUvarint(b, uint64(len(s))), s...)
}

// byteReader consumes s from the front and remembers the first mistake.
type byteReader struct {
	s   string
	bad bool
}

func (r *byteReader) take(n int) string {
	if r.bad || n > len(r.s) {
		r.bad = true
		return ""
	}
	v := r.s[:n]
	r.s = r.s[n:]
	return v
}

func (r *byteReader) byte() byte {
	if v := r.take(1); v != "" {
		return v[0]
	}
	return 0
}

// uvarint refuses every spelling of a number but the shortest.
func (r *byteReader) uvarint() uint64 {
	var v uint64
	for shift := 0; shift < 64; shift += 7 {
		c := r.byte()
		if c == 0 && shift > 0 || c > 1 && shift == 63 {
			break
		}
		v |= uint64(c&0x7f) << shift
		if c < 0x80 {
			return v
		}
	}
	r.bad = true
	return 0
}

func (r *byteReader) atMost(max uint64) uint64 {
	n := r.uvarint()
	if n > max {
		r.bad = true
		return 0
	}
	return n
}

func (r *byteReader) str() string {
	n := r.uvarint()
	if n > uint64(len(r.s)) {
		r.bad = true
		return ""
	}
	return r.take(int(n))
}

func (r *byteReader) millis() time.Time {
	v := r.uvarint()
	if v == 0 {
		return time.Time{}
	}
	t := time.UnixMilli(int64(v))
	r.bad = r.bad || t.IsZero() // a second spelling of "never"
	return t
}

func (r *byteReader) duration() time.Duration {
	const longest = math.MaxInt64 / int64(time.Millisecond)
	v := int64(r.uvarint())
	r.bad = r.bad || v > longest || v < -longest
	return time.Duration(v) * time.Millisecond
}
