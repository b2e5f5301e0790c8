package rescind

import (
	"encoding/binary"
	"math"
	"time"
)

// A record is a format byte, fixed fields, then length-prefixed ones. The session
// id is the key under which a store keeps it and is not repeated inside.

const recordFormat = 1

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
	r := byteReader{s: string(b)} // one copy; every string below is a slice of it
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
