package redisstore

import (
	"crypto/rand"
	"encoding/binary"
	"time"

	"github.com/rescind/rescind"
)

// An entry of the feed: nonce, kind, which fields follow, and the fields. Its
// position is its number in the feed.
const (
	endingSession = 1 << iota
	endingToken
	endingTag
	endingName
)

// entryOf is e as an entry, with a fresh nonce.
func entryOf(e *rescind.Ending) string {
	var b [96]byte
	_, _ = rand.Read(b[:len(e.Nonce)]) // never fails: crypto/rand ends the process instead
	return string(appendEnding(b[:len(e.Nonce)], e))
}

func appendEnding(b []byte, e *rescind.Ending) []byte {
	var has byte
	if !e.Session.IsZero() {
		has |= endingSession
	}
	if e.Token != (rescind.TokenID{}) {
		has |= endingToken
	}
	if e.Tag != (rescind.Tag{}) {
		has |= endingTag
	}
	if e.Name != "" {
		has |= endingName
	}
	b = appendTime(append(b, byte(e.Kind), has), e.At)
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
		b = appendText(b, e.Name)
	}
	return b
}

func parseEnding(p rescind.Position, entry string) (rescind.Ending, error) {
	e := rescind.Ending{Position: p}
	r := reader{s: entry}
	copy(e.Nonce[:], r.take(len(e.Nonce)))
	r.ending(&e)
	if r.bad || r.s != "" {
		return rescind.Ending{}, damaged("an entry of the feed")
	}
	return e, nil
}

// ending reads what appendEnding has written.
func (r *reader) ending(e *rescind.Ending) {
	e.Kind = rescind.EndingKind(r.byte())
	has := r.byte()
	e.At = r.time()
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
		e.Name = r.text()
	}
}

func appendTime(b []byte, t time.Time) []byte {
	if t.IsZero() {
		return append(b, 0)
	}
	return binary.AppendUvarint(b, uint64(t.UnixMilli()))
}

func appendText(b []byte, s string) []byte {
	return append(binary.AppendUvarint(b, uint64(len(s))), s...)
}

// reader consumes s from the front and remembers the first mistake.
type reader struct {
	s   string
	bad bool
}

func (r *reader) take(n int) string {
	if r.bad || n > len(r.s) {
		r.bad = true
		return ""
	}
	v := r.s[:n]
	r.s = r.s[n:]
	return v
}

func (r *reader) byte() byte {
	if v := r.take(1); v != "" {
		return v[0]
	}
	return 0
}

func (r *reader) uvarint() uint64 {
	var v uint64
	for shift := 0; shift < 64; shift += 7 {
		c := r.byte()
		v |= uint64(c&0x7f) << shift
		if c < 0x80 {
			return v
		}
	}
	r.bad = true
	return 0
}

func (r *reader) time() time.Time {
	if v := r.uvarint(); v != 0 {
		return time.UnixMilli(int64(v))
	}
	return time.Time{}
}

func (r *reader) text() string {
	n := r.uvarint()
	if n > uint64(len(r.s)) {
		r.bad = true
		return ""
	}
	return r.take(int(n))
}
