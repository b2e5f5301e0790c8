package pgstore

import (
	"errors"
	"reflect"
	"testing"
	"time"

	"github.com/rescind/rescind"
)

var (
	someEnding = rescind.Ending{
		Position: 7, Nonce: [8]byte{1, 2, 3}, Kind: rescind.EndToken, Session: rescind.SessionID{4}, Token: rescind.TokenID{5},
		Tag: rescind.Tag{6}, Name: "a\x00\xffü", At: time.UnixMilli(1_790_000_000_123),
	}
	someEvent = rescind.Event{
		ID: eventID(9), At: time.UnixMilli(-5), Kind: rescind.EventKeyRotated, Actor: "a", Subject: "\xff\x00", Session: "s", Client: "c",
		Key: "k", Reason: "r", Detail: "d",
	}
)

func TestWhatIsKeptIsReadAsWritten(t *testing.T) {
	for _, e := range []rescind.Ending{someEnding, {}, {Kind: rescind.EndAll}} {
		got, err := parseEnding(int64(e.Position), appendEnding(nil, &e))
		if err != nil || !reflect.DeepEqual(got, e) {
			t.Errorf("%+v is read as %+v: %v", e, got, err)
		}
	}
	for _, e := range []rescind.Event{someEvent, {ID: eventID(0)}} {
		seq, err := parseEventID(e.ID)
		if err != nil {
			t.Fatal(err)
		}
		got, err := parseEvent(seq, appendEvent(nil, &e))
		if err != nil || !reflect.DeepEqual(got, e) {
			t.Errorf("%+v is read as %+v: %v", e, got, err)
		}
	}
	for _, id := range []string{"1", "000000000000000G", "00000000000000001", "-000000000000001", " 00000000000000a", "000000000000000A"} {
		if _, err := parseEventID(id); !errors.Is(err, rescind.ErrInvalid) {
			t.Errorf("the cursor %q: %v", id, err)
		}
	}
}

// FuzzDamage reads anything: what is accepted is written again as the same, and
// what is cut off or longer is damaged.
func FuzzDamage(f *testing.F) {
	f.Add(appendEnding(nil, &someEnding))
	f.Add(appendEvent(nil, &someEvent))
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, b []byte) {
		if e, err := parseEnding(1, b); err == nil {
			again, err := parseEnding(1, appendEnding(nil, &e))
			if err != nil || !reflect.DeepEqual(again, e) {
				t.Errorf("%+v is written and read as %+v: %v", e, again, err)
			}
		} else if !errors.Is(err, rescind.ErrUnavailable) {
			t.Error(err)
		}
		if e, err := parseEvent(1, b); err == nil {
			again, err := parseEvent(1, appendEvent(nil, &e))
			if err != nil || !reflect.DeepEqual(again, e) {
				t.Errorf("%+v is written and read as %+v: %v", e, again, err)
			}
			if _, err := parseEvent(1, append(b, 0)); err == nil {
				t.Error("a byte too many is not noticed")
			}
		}
	})
}
