package pebblestore

import (
	"bytes"
	"testing"
	"time"

	"github.com/rescind/rescind"
)

// TestMarksMergeInAnyGrouping: whatever Pebble puts together first, the record
// ends once, by its first mark. A record that had ended before stays as it was.
func TestMarksMergeInAnyGrouping(t *testing.T) {
	now := time.UnixMilli(1_800_000_000_000)
	alive := testSession(testTag(1), now)
	alive.Version, alive.Birth = 7, 3
	ended := alive
	ended.EndedAt, ended.EndReason = now, rescind.ReasonIdle
	first, second := appendMark(nil, now.Add(time.Second), rescind.ReasonLogout), appendMark(nil, now.Add(time.Minute), rescind.ReasonRevoked)

	for name, base := range map[string]*rescind.Session{"alive": &alive, "ended": &ended} {
		want := *base
		if !want.Ended() {
			want.Version, want.EndedAt, want.EndReason = 8, now.Add(time.Second), rescind.ReasonLogout
		}
		list := [][]byte{rescind.AppendRecord(nil, base), first, second}
		newer := func(list ...[]byte) []byte { return mergeAll(t, list, false) }
		older := func(list ...[]byte) []byte { return mergeAll(t, list, true) }
		for how, got := range map[string][]byte{
			"oldest first":      newer(list...),
			"newest first":      older(list...),
			"marks first":       newer(list[0], newer(list[1:]...)),
			"marks first, back": older(list[0], older(list[1:]...)),
			"record first":      newer(newer(list[:2]...), list[2]),
			"one mark":          older(list[0], list[1]),
		} {
			if !bytes.Equal(got, rescind.AppendRecord(nil, &want)) {
				t.Errorf("%s, %s: got %x", name, how, got)
			}
		}
	}
	if got := mergeAll(t, [][]byte{first, second}, true); !bytes.Equal(got, first) {
		t.Errorf("marks without a record: got %x", got)
	}
	m, err := Merger().Merge(nil, []byte{0xff})
	if err != nil {
		t.Fatal(err)
	}
	if err := m.MergeNewer(first); err != nil {
		t.Fatal(err)
	}
	if _, _, err := m.Finish(true); err == nil {
		t.Error("a damaged record was merged")
	}
}

// mergeAll merges values, which are given oldest first, from either end.
func mergeAll(t *testing.T, values [][]byte, fromNewest bool) []byte {
	t.Helper()
	n := len(values)
	at := func(i int) []byte {
		if fromNewest {
			i = n - 1 - i
		}
		return bytes.Clone(values[i])
	}
	m, err := Merger().Merge(nil, at(0))
	for i := 1; i < n && err == nil; i++ {
		if fromNewest {
			err = m.MergeOlder(at(i))
		} else {
			err = m.MergeNewer(at(i))
		}
	}
	if err != nil {
		t.Fatal(err)
	}
	value, closer, err := m.Finish(true)
	if err != nil || closer != nil {
		t.Fatal(closer, err)
	}
	return value
}
