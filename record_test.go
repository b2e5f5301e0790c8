package rescind

import (
	"bytes"
	"encoding/binary"
	"errors"
	"math"
	"reflect"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// anySession draws a session within the limits, in the resolution that a record has.
func anySession(t *rapid.T) Session {
	millis := rapid.Custom(func(t *rapid.T) time.Time {
		if rapid.IntRange(0, 4).Draw(t, "never") == 0 {
			return time.Time{}
		}
		return time.UnixMilli(rapid.Int64Range(1, 1<<45).Draw(t, "millis"))
	})
	duration := rapid.Map(rapid.Int64Range(0, int64(MaxLifetime/time.Millisecond)), func(n int64) time.Duration { return time.Duration(n) * time.Millisecond })
	text := func(max int) *rapid.Generator[string] { return rapid.StringN(0, -1, max) }
	var s Session
	fill(t, "id", s.ID[:])
	fill(t, "salt", s.Salt[:])
	fill(t, "mac key", s.MACKey[:])
	s.Subject, s.Client, s.Scope = text(MaxSubject).Draw(t, "subject"), text(64).Draw(t, "client"), text(MaxScope).Draw(t, "scope")
	for range rapid.IntRange(0, MaxAudiences).Draw(t, "audiences") {
		s.Audience = append(s.Audience, text(MaxAudience).Draw(t, "audience"))
	}
	if claims := rapid.SliceOfN(rapid.Byte(), 0, MaxClaims).Draw(t, "claims"); len(claims) > 0 {
		s.Claims = claims
	}
	s.Device = Device{Name: text(MaxDeviceField).Draw(t, "name"), UserAgent: text(MaxDeviceField).Draw(t, "agent"), IP: text(64).Draw(t, "ip")}
	s.CreatedAt, s.ExpiresAt, s.LastActive = millis.Draw(t, "created"), millis.Draw(t, "expires"), millis.Draw(t, "active")
	s.RotatedAt, s.EndedAt = millis.Draw(t, "rotated"), millis.Draw(t, "ended")
	s.IdleTimeout, s.AccessLifetime = duration.Draw(t, "idle"), duration.Draw(t, "lifetime")
	s.Generation, s.Version = rapid.Uint32().Draw(t, "generation"), rapid.Uint64().Draw(t, "version")
	s.Birth = Position(rapid.Uint64().Draw(t, "birth"))
	s.Confirmation, s.EndReason = text(100).Draw(t, "cnf"), Reason(text(20).Draw(t, "reason"))
	for range rapid.IntRange(0, MaxAccessEntries).Draw(t, "entries") {
		e := AccessEntry{Generation: rapid.Uint32().Draw(t, "generation"), Scope: text(MaxScope).Draw(t, "scope")}
		fill(t, "token", e.ID[:])
		e.IssuedAt = time.Unix(rapid.Int64Range(0, 1<<40).Draw(t, "issued"), 0)
		e.ExpiresAt = time.Unix(rapid.Int64Range(0, 1<<40).Draw(t, "expires"), 0)
		s.Access = append(s.Access, e)
	}
	return s
}

func fill(t *rapid.T, label string, b []byte) {
	copy(b, rapid.SliceOfN(rapid.Byte(), len(b), len(b)).Draw(t, label))
}

func TestRecordIsReadAsWritten(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := anySession(t)
		prefix := rapid.SliceOfN(rapid.Byte(), 0, 8).Draw(t, "prefix")
		b := AppendRecord(bytes.Clone(prefix), &s)
		if !bytes.HasPrefix(b, prefix) {
			t.Fatal("AppendRecord changed what it appends to")
		}
		b = b[len(prefix):]
		got, err := ParseRecord(s.ID, b)
		if err != nil {
			t.Fatal(err)
		}
		if !reflect.DeepEqual(got, s) {
			t.Fatalf("read\n%+v\nwritten\n%+v", got, s)
		}
		for i := range b {
			b[i] ^= 0xff
		}
		if !reflect.DeepEqual(got, s) {
			t.Fatal("the session shares memory with the bytes it was read from")
		}
	})
}

// TestRecordHoldsEveryField: a field that is added to Session and forgotten in
// the codec would be lost at the next restart.
func TestRecordHoldsEveryField(t *testing.T) {
	var s Session
	n := 0
	set(t, reflect.ValueOf(&s).Elem(), &n)
	got, err := ParseRecord(s.ID, AppendRecord(nil, &s))
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(got, s) {
		t.Fatalf("read\n%+v\nwritten\n%+v", got, s)
	}
}

// set gives every field below v a value of its own.
func set(t *testing.T, v reflect.Value, n *int) {
	*n++
	switch v.Interface().(type) {
	case time.Time:
		v.Set(reflect.ValueOf(time.Unix(int64(*n), 0)))
		return
	case time.Duration:
		v.SetInt(int64(*n) * int64(time.Millisecond))
		return
	}
	switch v.Kind() {
	case reflect.String:
		v.SetString(string(rune('0' + *n)))
	case reflect.Uint8, reflect.Uint32, reflect.Uint64:
		v.SetUint(uint64(*n))
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 2, 2))
		fallthrough
	case reflect.Array:
		for i := range v.Len() {
			set(t, v.Index(i), n)
		}
	case reflect.Struct:
		for i := range v.NumField() {
			set(t, v.Field(i), n)
		}
	default:
		t.Fatalf("Session has a field of kind %s, which this test does not know", v.Kind())
	}
}

// TestEndedRecordIsReadAsEnded at any time that a clock may show, the first
// moment of the epoch included: in a record, zero says "never".
func TestEndedRecordIsReadAsEnded(t *testing.T) {
	for _, at := range []time.Time{
		time.Unix(0, 0), time.Unix(0, 1), time.Unix(0, 999_999), time.Unix(0, -1), time.UnixMilli(1), time.UnixMilli(-1), time.Unix(-1<<33, 0),
		time.Now(), time.Date(9999, 12, 31, 23, 59, 59, 0, time.UTC),
	} {
		s := Session{EndedAt: at}
		got, err := ParseRecord(s.ID, AppendRecord(nil, &s))
		if err != nil {
			t.Fatal(err)
		}
		if !got.Ended() || got.EndedAt.Sub(at).Abs() > time.Millisecond {
			t.Errorf("ended at %s, read as %s", at, got.EndedAt)
		}
	}
	s := Session{}
	if got, err := ParseRecord(s.ID, AppendRecord(nil, &s)); err != nil || got.Ended() {
		t.Errorf("a session that has not ended is read as ended: %v", err)
	}
}

func TestDamagedRecordIsAnError(t *testing.T) {
	s := Session{Subject: "ann", Audience: []string{"a", "b"}, Access: make([]AccessEntry, 2), Claims: []byte(`{}`)}
	whole := AppendRecord(nil, &s)
	refuse := func(what string, b []byte) {
		t.Helper()
		if got, err := ParseRecord(s.ID, b); !errors.Is(err, ErrRecord) || !reflect.DeepEqual(got, Session{}) {
			t.Errorf("%s: %+v, %v", what, got, err)
		}
	}
	for i := range whole {
		refuse("a record cut short", whole[:i])
	}
	refuse("a record with a byte too many", append(bytes.Clone(whole), 0))
	for format := range 256 {
		if format != recordFormat {
			refuse("another format", append([]byte{byte(format)}, whole[1:]...))
		}
	}
	long := append([]byte{recordFormat, 0x80, 0x00}, whole[2:]...)
	refuse("a number with two spellings", long)
	huge := append([]byte{recordFormat}, bytes.Repeat([]byte{0xff}, 9)...)
	refuse("a number of more than 64 bits", append(append(huge, 0x02), whole[2:]...))
	for _, s := range []Session{{Audience: make([]string, MaxAudiences+1)}, {Access: make([]AccessEntry, MaxAccessEntries+1)}} {
		refuse("too many entries", AppendRecord(nil, &s))
	}
	// Where the subject's length stands, the longest one there is.
	at := bytes.Index(whole, []byte("\x03ann"))
	refuse("a length past the end", append(binary.AppendUvarint(bytes.Clone(whole[:at]), math.MaxUint64), whole[at+1:]...))
}

// FuzzParseRecord: bytes that are a record are the only spelling of what they
// say, and no bytes make the parser take more memory than they are long.
func FuzzParseRecord(f *testing.F) {
	empty, full := Session{}, Session{}
	n := 0
	set(&testing.T{}, reflect.ValueOf(&full).Elem(), &n)
	for _, s := range []*Session{&empty, &full} {
		f.Add(AppendRecord(nil, s))
	}
	f.Add([]byte{recordFormat})
	f.Add(append([]byte{recordFormat}, bytes.Repeat([]byte{0xff}, 64)...))
	f.Fuzz(func(t *testing.T, b []byte) {
		id := SessionID{1}
		s, err := ParseRecord(id, b)
		if err != nil {
			if !errors.Is(err, ErrRecord) || !reflect.DeepEqual(s, Session{}) {
				t.Fatalf("refused with %v and %+v", err, s)
			}
			return
		}
		if s.ID != id {
			t.Fatalf("the id is %s", s.ID)
		}
		if size := len(s.Subject) + len(s.Client) + len(s.Scope) + len(s.Claims) + len(s.Confirmation) + len(s.EndReason); size > len(b) {
			t.Fatalf("%d bytes of text out of %d", size, len(b))
		}
		if len(s.Audience) > MaxAudiences || len(s.Access) > MaxAccessEntries {
			t.Fatalf("%d audiences, %d entries", len(s.Audience), len(s.Access))
		}
		if again := AppendRecord(nil, &s); !bytes.Equal(again, b) {
			t.Fatalf("read  %x\nwrote %x", b, again)
		}
	})
}
