package pgstore

import (
	"fmt"
	"time"

	"github.com/rescind/rescind"
)

// damaged says what the database holds and this package did not write. Asking
// again would not help.
func damaged(what string) error {
	return fmt.Errorf("%w: %w: %s", rescind.ErrUnavailable, rescind.ErrRecord, what)
}

// eventID is a number as text that sorts as it does.
func eventID(seq int64) string { return fmt.Sprintf("%016x", seq) }

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
