package transfer_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/rescind/rescind"
	"github.com/rescind/rescind/store/pebblestore"
	"github.com/rescind/rescind/transfer"
)

// interrupted is a store of which the n-th look at the configuration comes after
// something else has happened.
type interrupted struct {
	rescind.Store
	n         int
	meanwhile func()
}

func (s *interrupted) Config(ctx context.Context) (rescind.StoreConfig, error) {
	if s.n--; s.n == 0 {
		s.meanwhile()
	}
	return s.Store.Config(ctx)
}

// TestACopyThatWasGivenUpIsNotFinished: law 1. Somebody takes the source back, and
// a user logs out there, while the copy is still running.
func TestACopyThatWasGivenUpIsNotFinished(t *testing.T) {
	const looks = 4 // of one run at its source; the last comes after the comparison
	for n := 2; n <= looks; n++ {
		p, target := populate(t, open(t), 1), open(t)
		out := p.live[0]
		source := &interrupted{Store: p.store, n: n, meanwhile: func() {
			must(t, transfer.Abandon(t.Context(), p.store, false))
			_, err := p.node.Logout(t.Context(), out.AccessToken.Reveal(), false)
			must(t, err)
		}}
		if _, err := transfer.Run(t.Context(), source, target, transfer.Options{To: "there"}); err == nil {
			t.Errorf("look %d: the copy is finished", n)
		}
		if source.n > 0 {
			t.Fatal("there was no such look: the test tests nothing")
		}
		if node, err := serve(target); !errors.Is(err, rescind.ErrUnavailable) {
			t.Errorf("look %d: the copy is in force: %v", n, err)
			if _, err := node.Check(t.Context(), out.AccessToken.Reveal(), rescind.Want{}); err == nil {
				t.Errorf("look %d: who logged out is logged in again", n)
			}
			node.Close()
		}
		if _, err := p.node.Check(t.Context(), p.live[1].AccessToken.Reveal(), rescind.Want{}); err != nil {
			t.Errorf("look %d: the source, which was put back in force: %v", n, err)
		}
	}
}

// TestASecondRunLeavesAFinishedCopyAlone: the first finishes while the second is
// under way. What was ended in the copy since then stays ended.
func TestASecondRunLeavesAFinishedCopyAlone(t *testing.T) {
	const looks = 6 // of one run at its target
	for n := 2; n <= looks; n++ {
		p, inner := populate(t, open(t), 1), open(t)
		target := &interrupted{Store: inner, n: n, meanwhile: func() {
			_, err := transfer.Run(t.Context(), p.store, inner, transfer.Options{To: "there"})
			if n == 2 && err == nil { // before the mark of the second there is nothing to go on with
				t.Log("finished before the second had begun")
			}
			must(t, err)
			node, err := serve(inner)
			must(t, err)
			defer node.Close()
			_, err = node.RemoveClient(t.Context(), "opaque", "test")
			must(t, err)
		}}
		if _, err := transfer.Run(t.Context(), p.store, target, transfer.Options{To: "there"}); err == nil {
			t.Errorf("look %d: both are finished", n)
		}
		if target.n > 0 {
			t.Fatal("there was no such look: the test tests nothing")
		}
		node, err := serve(inner)
		if err != nil {
			t.Errorf("look %d: the copy is out of force: %v", n, err)
			continue
		}
		if _, err := node.Issue(t.Context(), rescind.Login{Subject: "x", Client: "opaque"}); !errors.Is(err, rescind.ErrNotFound) {
			t.Errorf("look %d: a client that was removed: %v", n, err)
		}
		node.Close()
	}
}

// TestWhatHasExpiredDoesNotLiveAgainInACopy: whose clock is behind. Law 3.
func TestWhatHasExpiredDoesNotLiveAgainInACopy(t *testing.T) {
	behind := time.Hour
	p := populate(t, open(t), 1)
	target, err := pebblestore.Open("ledger", pebblestore.Options{FS: vfs.NewMem(), Now: func() time.Time { return time.Now().Add(-behind) }})
	must(t, err)
	t.Cleanup(func() { must(t, target.Close()) })
	if _, err := transfer.Run(t.Context(), p.store, target, transfer.Options{To: "there"}); !errors.Is(err, rescind.ErrUnavailable) {
		t.Fatalf("an hour behind: %v", err)
	}
	if _, err := serve(target); !errors.Is(err, rescind.ErrUnavailable) {
		t.Errorf("the copy is in force: %v", err)
	}
	behind = 100 * time.Millisecond
	if _, err := transfer.Run(t.Context(), p.store, target, transfer.Options{To: "there"}); err != nil {
		t.Fatalf("a little behind: %v", err)
	}
	p.hold(t, target)
}
