package rescind

import (
	"bytes"
	"errors"
	"reflect"
	"testing"
	"time"
)

var (
	fullEnding = Ending{
		Position: 7, Kind: EndToken, Session: SessionID{4}, Token: TokenID{5}, Tag: Tag{6}, Name: "a\x00\xff\u00fc",
		At: time.UnixMilli(1_790_000_000_123),
	}
	fullEvent = Event{
		ID: "9", At: time.UnixMilli(-5), Kind: EventKeyRotated, Actor: "a", Subject: "\xff\x00", Session: "s", Client: "c", Key: "k",
		Reason: "r", Detail: "d",
	}
)

func TestEndingsAndEventsAreReadAsWritten(t *testing.T) {
	nonces := map[[8]byte]bool{}
	for _, want := range []Ending{fullEnding, {}, {Kind: EndAll}} {
		got, err := ParseEnding(want.Position, AppendEnding(nil, &want))
		nonces[got.Nonce] = true
		want.Nonce = got.Nonce
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%+v is read as %+v: %v", want, got, err)
		}
	}
	if len(nonces) != 3 || nonces[[8]byte{}] {
		t.Errorf("the nonces are %v", nonces)
	}
	for _, want := range []Event{
		fullEvent, {}, {Kind: "of another version", At: time.UnixMilli(1)}, {Kind: EventSessionEnded, Session: NewSessionID(Tag{1}).String()},
	} {
		got, err := ParseEvent(want.ID, AppendEvent(nil, &want))
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%+v is read as %+v: %v", want, got, err)
		}
	}
}

// Numbers of kinds are stored: a new kind goes to the end.
func TestEventKindsKeepTheirNumbers(t *testing.T) {
	for number, kind := range map[byte]EventKind{1: EventSessionCreated, 3: EventSessionEnded, 8: EventAllEnded, 13: EventKeyRevoked, 14: EventBackupOpened} {
		b := AppendEvent(nil, &Event{Kind: kind})
		if b[2] != number { // after the format and a time that is none
			t.Errorf("%s has the number %d, want %d", kind, b[2], number)
		}
	}
}

// FuzzParseEnding: what is accepted is the only spelling of what it says, its
// nonce apart, and nothing cut short or longer is.
func FuzzParseEnding(f *testing.F) {
	f.Add(AppendEnding(nil, &fullEnding))
	f.Add(AppendEnding(nil, &Ending{Kind: EndAll}))
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, b []byte) {
		e, err := ParseEnding(1, b)
		if err != nil {
			if !errors.Is(err, ErrRecord) || !reflect.DeepEqual(e, Ending{}) {
				t.Fatalf("refused with %v and %+v", err, e)
			}
			return
		}
		again := AppendEnding(nil, &e)
		if copy(again, e.Nonce[:]); !bytes.Equal(again, b) {
			t.Fatalf("read  %x\nwrote %x", b, again)
		}
		for _, b := range [][]byte{b[:len(b)-1], append(bytes.Clone(b), 0)} {
			if _, err := ParseEnding(1, b); err == nil {
				t.Fatalf("%x is accepted too", b)
			}
		}
	})
}

// FuzzParseEvent: the same for events.
func FuzzParseEvent(f *testing.F) {
	f.Add(AppendEvent(nil, &fullEvent))
	f.Add(AppendEvent(nil, &Event{Kind: EventSessionEnded, Session: NewSessionID(Tag{1}).String()}))
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, b []byte) {
		e, err := ParseEvent("1", b)
		if err != nil {
			if !errors.Is(err, ErrRecord) || e != (Event{}) {
				t.Fatalf("refused with %v and %+v", err, e)
			}
			return
		}
		if again := AppendEvent(nil, &e); !bytes.Equal(again, b) {
			t.Fatalf("read  %x\nwrote %x", b, again)
		}
		for _, b := range [][]byte{b[:len(b)-1], append(bytes.Clone(b), 0)} {
			if _, err := ParseEvent("1", b); err == nil {
				t.Fatalf("%x is accepted too", b)
			}
		}
	})
}
