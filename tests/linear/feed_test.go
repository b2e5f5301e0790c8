package linear

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/rescind/rescind"
	"github.com/rescind/rescind/store"
	"github.com/rescind/rescind/tests/nodes"
)

// TestTheFeedIsInCommitOrder ends many sessions at once, at all nodes, while
// somebody follows the feed.
func TestTheFeedIsInCommitOrder(t *testing.T) {
	const sessions, workers = 2500, 384
	for _, on := range stores {
		t.Run(on.name, func(t *testing.T) {
			w := on.start(t)
			asker := nodes.NewAsker(patience)
			t.Cleanup(asker.Close)
			var ids [sessions]rescind.SessionID
			each := func(do func(i int, node string) error) {
				t.Helper()
				var all sync.WaitGroup
				for n := range workers {
					all.Go(func() {
						for i := n; i < sessions; i += workers {
							err := do(i, w.nodes[i%len(w.nodes)].URL)
							for until := time.Now().Add(time.Minute); errors.Is(err, rescind.ErrUnavailable) && time.Now().Before(until); {
								err = do(i, w.nodes[i%len(w.nodes)].URL) // a busy machine is late; both may be done again
							}
							if err != nil {
								t.Error(err)
								return
							}
						}
					})
				}
				all.Wait()
			}
			each(func(i int, node string) error {
				g, err := asker.Login(t.Context(), node, nodes.Opaque, fmt.Sprintf("subject-%d", i), rescind.SessionID{})
				ids[i] = g.Session
				return err
			})
			feed := follow(t, w.url)
			each(func(i int, node string) error { return asker.End(t.Context(), node, ids[i]) })
			if n, err := feed(); err != nil || n != sessions {
				t.Errorf("the feed has %d endings of %d: %v", n, sessions, err)
			}
			if w.inOrder != nil {
				if err := w.inOrder(); err != nil {
					t.Error(err)
				}
			}
		})
	}
}

// inOrder asks PostgreSQL when it committed what stands at each position of the feed.
// Who follows the feed may miss what is wrong for a moment; this does not.
func inOrder(ctx context.Context, url string) error {
	c, err := pgx.Connect(ctx, url)
	if err != nil {
		return err
	}
	const later = `SELECT count(*), coalesce(min(position), 0) FROM (
		SELECT position, at < max(at) OVER (ORDER BY position) AS late
		FROM (SELECT position, pg_xact_commit_timestamp(xmin) AS at FROM rescind_feed WHERE position > 0) feed
	) positions WHERE late`
	var n, first int64
	err = c.QueryRow(ctx, later).Scan(&n, &first)
	if err = errors.Join(err, c.Close(ctx)); err == nil && n > 0 {
		err = fmt.Errorf("the feed is not in commit order: %d positions were committed before lower ones, as %d", n, first)
	}
	return err
}

// reader follows the feed of a ledger, as a node with a cache would: what it has
// read up to, it never asks for again. So no position may appear behind it.
type reader struct {
	store  rescind.Store
	shards []shard
	missed bool // a page that the ledger did not answer
}

// shard is what was read of one.
type shard struct {
	at     rescind.Position
	nonces [][8]byte
	from   rescind.Position
}

// follow begins to read; the function it returns ends that, and says how many
// endings there were and what is wrong with the feed. A ledger that does not answer
// is asked again.
func follow(t *testing.T, url string) func() (int, error) {
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
			default: // at once: what is wrong may be seen for a moment only
			}
		}
	}()
	return func() (int, error) {
		close(stop)
		err := <-wrong
		return r.total(), err
	}
}

func (r *reader) total() int {
	n := 0
	for _, s := range r.shards {
		n += len(s.nonces)
	}
	return n
}

const pageOfFeed = 100

// read reads what is new.
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
	case errors.Is(err, rescind.ErrUnavailable):
		r.missed = true
		return nil, nil // it will be asked again
	case err != nil:
		return nil, err
	case page.Gone:
		return nil, fmt.Errorf("the feed after position %d is said to be gone", after)
	case page.Head < after:
		return nil, fmt.Errorf("the head of the feed is %d, after %d was read", page.Head, after)
	case len(page.Endings) < pageOfFeed && after+rescind.Position(len(page.Endings)) != page.Head:
		return nil, fmt.Errorf("the feed is not dense: %d endings after position %d, and its head is %d", len(page.Endings), after, page.Head)
	}
	return page.Endings, nil
}

// again reads what is left, and then everything once more: nothing has come in
// between, or changed.
func (r *reader) again() error {
	until := time.Now().Add(2 * time.Minute)
	for n := -1; n < r.total() || r.missed; {
		n, r.missed = r.total(), false
		if err := r.read(); err != nil {
			return err
		}
		if r.missed && time.Now().After(until) {
			return errors.New("the end of the feed cannot be read")
		}
	}
	for _, s := range r.shards {
		at := s.from
		for at < s.at {
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
