package rescind_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rescind/rescind"
)

// held is a store whose configuration is read slowly.
type held struct {
	rescind.Store
	reading, release chan struct{}
}

func (h held) Config(ctx context.Context) (rescind.StoreConfig, error) {
	select {
	case h.reading <- struct{}{}:
	default:
	}
	<-h.release
	return h.Store.Config(ctx)
}

// TestNobodyPassesWhileTheStoreIsCompared: law 1. After an outage the store is
// compared with what it said before; who comes meanwhile waits for that.
func TestNobodyPassesWhileTheStoreIsCompared(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx := context.Background()
		var a rescind.Grant
		w, now, past := newSwitching(t, func(w *world) { a = w.login("alice", "app") })
		w.logout(a)
		now.Store = cut{now.Store}
		if err := w.check(a.AccessToken); !errors.Is(err, rescind.ErrUnavailable) {
			t.Fatalf("outage: %v", err)
		}
		slow := held{past, make(chan struct{}, 1), make(chan struct{})}
		now.Store = slow
		first := make(chan error, 1)
		go func() { first <- w.check(a.AccessToken) }()
		<-slow.reading
		bounded, cancel := context.WithTimeout(ctx, 50*time.Millisecond)
		defer cancel()
		if _, err := w.Check(bounded, a.AccessToken.Reveal(), rescind.Want{}); !errors.Is(err, rescind.ErrUnavailable) {
			t.Errorf("while the store is compared: %v", err)
		}
		close(slow.release)
		if err := <-first; !errors.Is(err, rescind.ErrInactive) {
			t.Errorf("once it has been: %v", err)
		}
		w.dead("app", a)
	})
}

// slowly is a Witness that writes slowly: what is remembered has been read.
type slowly struct {
	testament
	writing, release chan struct{}
}

func (m *slowly) Remember(t rescind.Testimony) error {
	if m.writing != nil {
		close(m.writing)
		<-m.release
		m.writing = nil
	}
	return m.testament.Remember(t)
}

// TestAComparisonBegunBeforeAnOutageSaysNothingOfWhatCameBack: law 1.
func TestAComparisonBegunBeforeAnOutageSaysNothingOfWhatCameBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var a rescind.Grant
		kept := new(slowly)
		w, now, past := newSwitching(t, func(w *world) {
			w.conf.Witness = kept
			a = w.login("alice", "app")
		})
		w.logout(a)
		kept.writing, kept.release = make(chan struct{}), make(chan struct{})
		writing, upkeep := kept.writing, make(chan error, 1)
		go func() {
			_, err := w.Upkeep(context.Background())
			upkeep <- err
		}()
		<-writing // all of it has been read by now
		now.Store = cut{now.Store}
		if err := w.check(a.AccessToken); !errors.Is(err, rescind.ErrUnavailable) {
			t.Fatalf("outage: %v", err)
		}
		now.Store = past
		checked := make(chan error, 1)
		go func() { checked <- w.check(a.AccessToken) }()
		synctest.Wait() // it has joined the comparison that is under way
		close(kept.release)
		if err := <-checked; !errors.Is(err, rescind.ErrInactive) {
			t.Errorf("a revoked token, after the outage: %v", err)
		}
		if err := <-upkeep; err != nil && !errors.Is(err, rescind.ErrUnavailable) {
			t.Error(err)
		}
	})
}

// TestAnEpochThatWasLeftIsKnownToNewNodes: the same old copy is restored twice, and
// the node that meets it the second time was not there the first. Law 3.
func TestAnEpochThatWasLeftIsKnownToNewNodes(t *testing.T) {
	kept := new(testament)
	w := newWorld(t, func(c *rescind.Config) { c.Witness = kept })
	a := w.login("alice", "app")
	old := w.snapshot()
	w.logout(a)
	if _, err := w.Upkeep(context.Background()); err != nil {
		t.Fatal(err)
	}
	for round := range 3 {
		w.restore(old)
		w.dead("app", a)
		b := w.login("bob", "app")
		kept.t = rescind.Testimony{}
		w.restart()
		w.stillGood("on a new node", b)
		if n := w.wentBack(); n != 1 {
			t.Errorf("round %d: %d events say that it went back", round, n)
		}
	}
}

// TestAWitnessOfAnotherLedgerAccusesNobody: two servers that were given one file.
func TestAWitnessOfAnotherLedgerAccusesNobody(t *testing.T) {
	kept := new(testament)
	w := newWorld(t, func(c *rescind.Config) { c.Witness = kept })
	g := w.login("alice", "app")
	newWorld(t, func(c *rescind.Config) { c.Witness, c.Issuer = kept, "https://other.example" })
	w.restart()
	w.stillGood("after a restart with another ledger's witness", g)
	if n := w.wentBack(); n != 0 {
		t.Errorf("the store is said to have gone back")
	}
}
