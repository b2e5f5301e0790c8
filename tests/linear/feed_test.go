package linear

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/rescind/rescind"
	"github.com/rescind/rescind/store"
)

// reader follows the feed of a ledger, as a node with a cache would: what it has
// read up to, it never asks for again. So no position may appear behind it.
type reader struct {
	store  rescind.Store
	shards []shard
}

// shard is what was read of one.
type shard struct {
	at     rescind.Position
	nonces [][8]byte
	from   rescind.Position
}

// follow begins to read; the function it returns ends that, and says what is wrong
// with the feed.
func follow(t *testing.T, url string) func() error {
	t.Helper()
	s, err := store.URL(url).Open(nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	cfg, err := s.Config(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	r := &reader{store: s}
	for n := range cfg.Shards {
		at := rescind.ShardStart(n)
		r.shards = append(r.shards, shard{at: at, from: at})
	}
	stop, wrong := make(chan struct{}), make(chan error, 1)
	go func() {
		for {
			if err := r.read(); err != nil {
				wrong <- err
				return
			}
			select {
			case <-stop:
				wrong <- r.again()
				return
			case <-time.After(time.Millisecond):
			}
		}
	}()
	return func() error {
		close(stop)
		err := <-wrong
		total := 0
		for _, s := range r.shards {
			total += len(s.nonces)
		}
		t.Logf("the feed had %d endings", total)
		return err
	}
}

const pageOfFeed = 100

// read reads what is new. A ledger that is not there says nothing.
func (r *reader) read() error {
	for i := range r.shards {
		s := &r.shards[i]
		page, err := r.page(s.at)
		if err != nil {
			return err
		}
		for _, e := range page {
			if e.Position != s.at+1 {
				return fmt.Errorf("the feed is not in commit order: after position %d comes %d", s.at, e.Position)
			}
			s.at = e.Position
			s.nonces = append(s.nonces, e.Nonce)
		}
	}
	return nil
}

// page is what stands after a position.
func (r *reader) page(after rescind.Position) ([]rescind.Ending, error) {
	ctx, done := context.WithTimeout(context.Background(), patience)
	defer done()
	page, err := r.store.Feed(ctx, after, pageOfFeed)
	switch {
	case err != nil:
		return nil, nil // it will be asked again
	case page.Gone:
		return nil, fmt.Errorf("the feed after position %d is said to be gone", after)
	case page.Head < after:
		return nil, fmt.Errorf("the head of the feed is %d, after %d was read", page.Head, after)
	case len(page.Endings) < pageOfFeed && after+rescind.Position(len(page.Endings)) != page.Head:
		return nil, fmt.Errorf("the feed is not dense: %d endings after position %d, and its head is %d", len(page.Endings), after, page.Head)
	}
	return page.Endings, nil
}

// again reads everything once more: nothing has come in between, or changed.
func (r *reader) again() error {
	if err := r.read(); err != nil {
		return err
	}
	for _, s := range r.shards {
		at := s.from
		for until := time.Now().Add(30 * time.Second); at < s.at; {
			page, err := r.page(at)
			if err != nil {
				return err
			}
			for _, e := range page {
				if n := int(e.Position - s.from - 1); e.Position != at+1 || n < len(s.nonces) && s.nonces[n] != e.Nonce {
					return fmt.Errorf("the feed has changed at position %d, which had been read", e.Position)
				}
				at = e.Position
			}
			if len(page) == 0 && time.Now().After(until) {
				return fmt.Errorf("the feed cannot be read again after position %d", at)
			}
		}
	}
	return nil
}
