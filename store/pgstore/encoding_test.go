package pgstore

import (
	"errors"
	"testing"

	"github.com/rescind/rescind"
)

func TestCursorsOfTheLogAreReadAsWritten(t *testing.T) {
	for _, n := range []int64{0, 9, 1 << 40} {
		if got, err := parseEventID(eventID(n)); err != nil || got != n {
			t.Errorf("%d is read as %d: %v", n, got, err)
		}
	}
	for _, id := range []string{"1", "000000000000000G", "00000000000000001", "-000000000000001", " 00000000000000a", "000000000000000A"} {
		if _, err := parseEventID(id); !errors.Is(err, rescind.ErrInvalid) {
			t.Errorf("the cursor %q: %v", id, err)
		}
	}
}
