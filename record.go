package rescind

import (
	"encoding/binary"
	"errors"
	"math"
	"time"
)

// The record codec is shared by the stores that keep records as bytes. A record
// is a format byte, fixed fields, then length-prefixed ones. The session id is
// the key under which a store keeps it and is not repeated inside.

const recordFormat = 1

// ErrRecord says that stored bytes are no record: the store is damaged.
var ErrRecord = errors.New("damaged record")

// AppendRecord appends the binary form of s, its id apart, to b.
func AppendRecord(b []byte, s *Session) []byte {
	b = append(b, recordFormat)
	b = binary.AppendUvarint(b, s.Version)
	b = binary.AppendUvarint(b, uint64(s.Birth))
	b = appendMillis(b, s.CreatedAt)
	b = appendMillis(b, s.ExpiresAt)
	b = appendMillis(b, s.LastActive)
	b = appendMillis(b, s.RotatedAt)
	b = appendMillis(b, s.EndedAt)
	b = binary.AppendUvarint(b, uint64(s.IdleTimeout/time.Millisecond))
	b = binary.AppendUvarint(b, uint64(s.AccessLifetime/time.Millisecond))
	b = binary.AppendUvarint(b, uint64(s.Generation))
	b = append(b, s.Salt[:]...)
	b = append(b, s.MACKey[:]...)
	b = appendString(b, string(s.EndReason))
	b = appendString(b, s.Subject)
	b = appendString(b, s.Client)
	b = appendString(b, s.Scope)
	b = binary.AppendUvarint(b, uint64(len(s.Audience)))
	for _, a := range s.Audience {
		b = appendString(b, a)
	}
	b = binary.AppendUvarint(b, uint64(len(s.Access)))
	for i := range s.Access {
		e := &s.Access[i]
		b = append(b, e.ID[:]...)
		b = binary.AppendUvarint(b, uint64(e.Generation))
		b = binary.AppendUvarint(b, uint64(e.IssuedAt.Unix()))
		b = binary.AppendUvarint(b, uint64(e.ExpiresAt.Unix()))
		b = appendString(b, e.Scope)
	}
	b = appendString(b, string(s.Claims))
	b = appendString(b, s.Device.Name)
	b = appendString(b, s.Device.UserAgent)
	b = appendString(b, s.Device.IP)
	return appendString(b, s.Confirmation)
}

// ParseRecord reads what AppendRecord wrote. The result shares nothing with b.
func ParseRecord(id SessionID, b []byte) (Session, error) {
	r := recordReader{s: string(b)} // one copy; every string below is a slice of it
	s := Session{ID: id}
	if r.byte() != recordFormat {
		return Session{}, ErrRecord
	}
	s.Version = r.uvarint()
	s.Birth = Position(r.uvarint())
	s.CreatedAt = r.millis()
	s.ExpiresAt = r.millis()
	s.LastActive = r.millis()
	s.RotatedAt = r.millis()
	s.EndedAt = r.millis()
	s.IdleTimeout = r.duration()
	s.AccessLifetime = r.duration()
	s.Generation = uint32(r.atMost(math.MaxUint32))
	copy(s.Salt[:], r.take(len(s.Salt)))
	copy(s.MACKey[:], r.take(len(s.MACKey)))
	s.EndReason = Reason(r.str())
	s.Subject = r.str()
	s.Client = r.str()
	s.Scope = r.str()
	if n := r.atMost(MaxAudiences); n > 0 {
		s.Audience = make([]string, n)
		for i := range s.Audience {
			s.Audience[i] = r.str()
		}
	}
	if n := r.atMost(MaxAccessEntries); n > 0 {
		s.Access = make([]AccessEntry, n)
		for i := range s.Access {
			e := &s.Access[i]
			copy(e.ID[:], r.take(len(e.ID)))
			e.Generation = uint32(r.atMost(math.MaxUint32))
			e.IssuedAt = time.Unix(int64(r.uvarint()), 0)
			e.ExpiresAt = time.Unix(int64(r.uvarint()), 0)
			e.Scope = r.str()
		}
	}
	if c := r.str(); c != "" {
		s.Claims = []byte(c)
	}
	s.Device.Name = r.str()
	s.Device.UserAgent = r.str()
	s.Device.IP = r.str()
	s.Confirmation = r.str()
	if r.bad || r.s != "" {
		return Session{}, ErrRecord
	}
	return s, nil
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

// recordReader consumes s from the front and remembers the first mistake.
type recordReader struct {
	s   string
	bad bool
}

func (r *recordReader) take(n int) string {
	if r.bad || n > len(r.s) {
		r.bad = true
		return ""
	}
	v := r.s[:n]
	r.s = r.s[n:]
	return v
}

func (r *recordReader) byte() byte {
	if v := r.take(1); v != "" {
		return v[0]
	}
	return 0
}

// uvarint refuses every spelling of a number but the shortest.
func (r *recordReader) uvarint() uint64 {
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

func (r *recordReader) atMost(max uint64) uint64 {
	n := r.uvarint()
	if n > max {
		r.bad = true
		return 0
	}
	return n
}

func (r *recordReader) str() string {
	n := r.uvarint()
	if n > uint64(len(r.s)) {
		r.bad = true
		return ""
	}
	return r.take(int(n))
}

func (r *recordReader) millis() time.Time {
	v := r.uvarint()
	if v == 0 {
		return time.Time{}
	}
	t := time.UnixMilli(int64(v))
	r.bad = r.bad || t.IsZero() // a second spelling of "never"
	return t
}

func (r *recordReader) duration() time.Duration {
	const longest = math.MaxInt64 / int64(time.Millisecond)
	v := int64(r.uvarint())
	r.bad = r.bad || v > longest || v < -longest
	return time.Duration(v) * time.Millisecond
}
