package pebblestore

import (
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"github.com/rescind/rescind"
)

// The keys of the database. Each kind has one letter; numbers are big-endian,
// so that they sort.
const (
	keySession = 's' // + session id: a record (rescind.AppendRecord)
	keySubject = 'c' // + tag: the subject's cutoff
	keyCount   = 'n' // + tag: the subject's creation counter
	keyClient  = 'k' // + client: the client's cutoff
	keyAll     = 'a' // the cutoff of everything
	keyEnding  = 'f' // + position: a block of the feed
	keyEvent   = 'e' // + sequence: a block of the audit log
	keyDoc     = 'd' // + kind, a zero byte, id: a document
	keyMeta    = 'm' // what the store knows of itself
)

// errDamaged says that stored bytes are none that this package wrote.
var errDamaged = errors.New("damaged store")

func damaged(what string) error { return fmt.Errorf("%w: %s", errDamaged, what) }

func sessionKey(id rescind.SessionID) []byte {
	return append([]byte{keySession}, id[:]...)
}

func tagKey(kind byte, tag rescind.Tag) []byte {
	return append([]byte{kind}, tag[:]...)
}

func numberKey(kind byte, n uint64) []byte {
	return binary.BigEndian.AppendUint64([]byte{kind}, n)
}

// keyNumber reads what numberKey wrote.
func keyNumber(key []byte) (uint64, error) {
	if len(key) != 9 {
		return 0, damaged("the key of an entry")
	}
	return binary.BigEndian.Uint64(key[1:]), nil
}

func docKeyOf(d docKey) []byte {
	b := append([]byte{keyDoc}, d.kind...)
	return append(append(b, 0), d.id...)
}

// cutoff is the value under keySubject, keyClient and keyAll: where it was moved
// to, and when, which only decides how long it is kept.
type cutoff struct {
	to rescind.Position
	at time.Time
}

func (c cutoff) append(b []byte) []byte {
	return appendTime(binary.BigEndian.AppendUint64(b, uint64(c.to)), c.at)
}

func parseCutoff(b []byte) (cutoff, error) {
	if len(b) < 8 {
		return cutoff{}, damaged("a cutoff")
	}
	r := reader{b: b[8:]}
	c := cutoff{to: rescind.Position(binary.BigEndian.Uint64(b)), at: r.time()}
	if r.bad || len(r.b) > 0 {
		return cutoff{}, damaged("a cutoff")
	}
	return c, nil
}

// formatVersion is that of everything in the folder. A newer one is refused.
const formatVersion = 1

// meta is what the store knows of itself. It is written with every batch.
type meta struct {
	head   rescind.Position
	events uint64 // the sequence of the last event
	config uint64
	time   int64 // nanoseconds; the highest that was ever persisted
	epoch  [16]byte
}

func (m *meta) append(b []byte) []byte {
	b = append(b, formatVersion)
	b = binary.BigEndian.AppendUint64(b, uint64(m.head))
	b = binary.BigEndian.AppendUint64(b, m.events)
	b = binary.BigEndian.AppendUint64(b, m.config)
	b = binary.BigEndian.AppendUint64(b, uint64(m.time))
	return append(b, m.epoch[:]...)
}

func parseMeta(b []byte) (meta, error) {
	if len(b) > 0 && b[0] > formatVersion {
		return meta{}, newer(int(b[0]))
	}
	if len(b) != 1+4*8+16 || b[0] != formatVersion {
		return meta{}, damaged("the store's own record")
	}
	m := meta{
		head:   rescind.Position(binary.BigEndian.Uint64(b[1:])),
		events: binary.BigEndian.Uint64(b[9:]),
		config: binary.BigEndian.Uint64(b[17:]),
		time:   int64(binary.BigEndian.Uint64(b[25:])),
	}
	copy(m.epoch[:], b[33:])
	return m, nil
}

// The parts of the values: times in milliseconds, zero for none; strings after
// their length.

func appendTime(b []byte, t time.Time) []byte {
	if t.IsZero() {
		return append(b, 0)
	}
	return binary.AppendUvarint(b, uint64(t.UnixMilli()))
}

func appendText(b []byte, s string) []byte {
	return append(binary.AppendUvarint(b, uint64(len(s))), s...)
}

// reader consumes b from the front and remembers the first mistake.
type reader struct {
	b   []byte
	bad bool
}

func (r *reader) take(n int) []byte {
	if r.bad || n > len(r.b) {
		r.bad = true
		return nil
	}
	v := r.b[:n]
	r.b = r.b[n:]
	return v
}

func (r *reader) uvarint() uint64 {
	v, n := binary.Uvarint(r.b)
	if r.bad || n <= 0 {
		r.bad = true
		return 0
	}
	r.b = r.b[n:]
	return v
}

func (r *reader) time() time.Time {
	if v := r.uvarint(); v != 0 {
		return time.UnixMilli(int64(v))
	}
	return time.Time{}
}

func (r *reader) text() string {
	n := r.uvarint()
	if n > uint64(len(r.b)) {
		r.bad = true
		return ""
	}
	return string(r.take(int(n)))
}
