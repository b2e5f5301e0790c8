package rescind_test

import (
	"context"
	"errors"
	"sync"
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

// failing is a store whose first reading of its configuration is slow, and fails.
type failing struct {
	held
	once *sync.Once
}

func (f failing) Config(ctx context.Context) (cfg rescind.StoreConfig, err error) {
	f.once.Do(func() {
		_, _ = f.held.Config(ctx)
		err = rescind.ErrUnavailable
	})
	if err == nil {
		cfg, err = f.Store.Config(ctx)
	}
	return cfg, err
}

// TestTheFirstRequestAfterAnOutageIsAnswered: a comparison that is under way when the
// store comes back fails of the outage, and not on those who came when it was over.
func TestTheFirstRequestAfterAnOutageIsAnswered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var a, b rescind.Grant
		w, now, _ := newSwitching(t, func(w *world) { a, b = w.login("alice", "app"), w.login("bob", "app") })
		w.logout(a)
		whole := now.Store
		now.Store = cut{whole}
		if err := w.check(b.AccessToken); !errors.Is(err, rescind.ErrUnavailable) {
			t.Fatalf("outage: %v", err)
		}
		broken := failing{held{whole, make(chan struct{}, 1), make(chan struct{})}, new(sync.Once)}
		now.Store = broken
		results := make([]chan error, 4)
		for i := range results {
			results[i] = make(chan error, 1)
		}
		go func() { results[0] <- w.check(b.AccessToken) }()
		<-broken.reading
		for i, token := range []rescind.Secret{b.AccessToken, b.AccessToken, a.AccessToken} {
			go func() { results[i+1] <- w.check(token) }()
		}
		synctest.Wait()
		close(broken.release)
		for i, want := range []error{rescind.ErrUnavailable, nil, nil, rescind.ErrInactive} {
			if err := <-results[i]; !errors.Is(err, want) {
				t.Errorf("request %d: %v, want %v", i, err, want)
			}
		}
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
