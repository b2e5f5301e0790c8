package pebblestore

import (
	"context"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/rescind/rescind"
)

// TestPurgeLeavesWhatChanged: between the question and the deletion the record
// changes, in every way in which it can.
func TestPurgeLeavesWhatChanged(t *testing.T) {
	ctx := context.Background()
	change := map[string]func(*Store, rescind.Session) error{
		"touch": func(s *Store, r rescind.Session) error { return s.Touch(ctx, r.ID, r.LastActive.Add(time.Minute)) },
		"end":   end,
		"replace": func(s *Store, r rescind.Session) error {
			return s.Replace(ctx, rescind.Replacement{Session: r})
		},
		"keep": func(s *Store, r rescind.Session) error {
			_, err := s.MoveCutoff(ctx, rescind.CutoffMove{Kind: rescind.EndSubject, Tag: r.ID.Tag(), At: s.Now(), Keep: &rescind.Keep{Session: r.ID, Version: 1}})
			return err
		},
	}
	for name, f := range change {
		t.Run(name, func(t *testing.T) {
			s := openOn(t, vfs.NewMem())
			r, other := login(t, s, testTag(1)), login(t, s, testTag(2))
			purged, err := s.Purge(ctx, rescind.PurgeStep{Limit: 10, Drop: func(snap *rescind.Snapshot) bool {
				if snap.Session.ID == r.ID {
					if err := f(s, r); err != nil {
						t.Error(err)
					}
				}
				return true
			}})
			if err != nil || purged.Sessions != 1 || purged.Cursor != nil {
				t.Fatalf("Purge: %+v, %v", purged, err)
			}
			for id, want := range map[rescind.SessionID]bool{r.ID: true, other.ID: false} {
				snap, err := s.Lookup(ctx, id)
				if err != nil || snap.Found != want {
					t.Fatalf("found: %v, want %v (%v)", snap.Found, want, err)
				}
			}
			closed(t, s)
		})
	}
}

// TestPurgeIsBounded: no step reads more than it may, and a round ends.
func TestPurgeIsBounded(t *testing.T) {
	ctx := context.Background()
	s := openOn(t, vfs.NewMem())
	for i := range 25 {
		r := login(t, s, testTag(byte(i)))
		if err := logout(s, r.ID); err != nil {
			t.Fatal(err)
		}
		if err := moveSubject(s, r); err != nil {
			t.Fatal(err)
		}
	}
	later := s.Now().Add(time.Hour)
	q := rescind.PurgeStep{
		Limit: 4, FeedBefore: later, CutoffsBefore: later,
		Drop:      func(*rescind.Snapshot) bool { return true },
		DropEvent: func(*rescind.Event) bool { return true },
	}
	var sum rescind.Purged
	for steps := 0; ; steps++ {
		p, err := s.Purge(ctx, q)
		if err != nil {
			t.Fatal(err)
		}
		if p.Read > q.Limit || steps > 100 {
			t.Fatalf("step %d read %d", steps, p.Read)
		}
		sum.Sessions += p.Sessions
		sum.Events += p.Events
		sum.Endings += p.Endings
		sum.Cutoffs += p.Cutoffs
		if q.Cursor = p.Cursor; q.Cursor == nil {
			break
		}
	}
	// Each session has an event of its end; each cutoff one of its own.
	if sum.Sessions != 25 || sum.Events != 50 || sum.Endings != 50 || sum.Cutoffs != 25 {
		t.Fatalf("purged %+v", sum)
	}
	page, err := s.Feed(ctx, 0, 10)
	if err != nil || !page.Gone || page.Head != 50 {
		t.Fatalf("Feed after a purge: %+v, %v", page, err)
	}
	_, err = s.Purge(ctx, rescind.PurgeStep{Cursor: []byte{}})
	if err == nil {
		t.Fatal("a cursor that is none was taken")
	}
	closed(t, s)
}
