package pebblestore

import (
	"io"
	"time"

	"github.com/cockroachdb/pebble/v2"

	"github.com/rescind/rescind"
)

// An ending does not write the record again. It merges a mark of a few bytes with
// it: when, and why. Pebble puts the two together when the record is read, and
// for good when it next moves it. Written in full, a storm of endings would have
// every record of the ledger copied many times over.
//
// The committer has made sure that the record is there and has not ended; so a
// record has one mark at most, and where a mark follows another the older one
// counts.

// markFormat begins a mark; records begin with a small number.
const markFormat = 0xe0

func appendMark(b []byte, at time.Time, why rescind.Reason) []byte {
	return appendText(appendTime(append(b, markFormat), at), string(why))
}

func isMark(value []byte) bool { return len(value) > 0 && value[0] == markFormat }

// Merger puts a record and its mark together. Its name is stored in the folder:
// whoever opens one with Pebble alone, to measure it, needs it too.
func Merger() *pebble.Merger {
	return &pebble.Merger{Name: "rescind.end.1", Merge: func(_, value []byte) (pebble.ValueMerger, error) {
		m := &merge{}
		return m, m.MergeOlder(value)
	}}
}

// merge is a record, a mark, or both on their way to each other.
type merge struct {
	record, mark []byte
}

func (m *merge) MergeOlder(value []byte) error {
	if isMark(value) {
		m.mark = append(m.mark[:0], value...)
	} else {
		m.record = append(m.record[:0], value...)
	}
	return nil
}

func (m *merge) MergeNewer(value []byte) error {
	if m.mark != nil && isMark(value) {
		return nil
	}
	return m.MergeOlder(value)
}

// Finish returns the ended record, or the mark where the record has not come by
// yet.
func (m *merge) Finish(bool) ([]byte, io.Closer, error) {
	switch {
	case m.record == nil:
		return m.mark, nil, nil
	case m.mark == nil:
		return m.record, nil, nil
	}
	r, err := rescind.ParseRecord(rescind.SessionID{}, m.record) // the id is the key
	if err != nil {
		return nil, nil, err
	}
	mark := reader{b: m.mark[1:]}
	at, why := mark.time(), rescind.Reason(mark.text())
	if mark.bad || len(mark.b) > 0 {
		return nil, nil, damaged("the mark of an ending")
	}
	if !r.Ended() {
		r.Version++
		r.EndedAt, r.EndReason = at, why
	}
	return rescind.AppendRecord(make([]byte, 0, len(m.record)+len(m.mark)+8), &r), nil, nil
}
