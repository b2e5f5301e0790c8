package rescind_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rescind/rescind"
)

// wide is a store with as many shards as there can be, behind a slow network.
type wide struct{ rescind.Store }

func (s wide) Config(ctx context.Context) (rescind.StoreConfig, error) {
	cfg, err := s.Store.Config(ctx)
	cfg.Shards = rescind.MaxShards
	return cfg, err
}

func (s wide) Feed(ctx context.Context, after rescind.Position, most int) (rescind.FeedPage, error) {
	select {
	case <-time.After(25 * time.Millisecond):
	case <-ctx.Done():
		return rescind.FeedPage{}, ctx.Err()
	}
	if n := after.Shard(); n > 0 {
		return rescind.FeedPage{Head: rescind.ShardStart(n)}, nil
	}
	return s.Store.Feed(ctx, after, most)
}

// TestManyShardsAreComparedInTime: whoever waits for a comparison of the store
// with what it said before waits for no more than a few of its answers.
func TestManyShardsAreComparedInTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.Authority.Close()
		w.conf.Store = wide{w.store}
		begun := time.Now()
		w.start()
		w.logout(w.login("alice", "app"))
		if _, err := w.Upkeep(context.Background()); err != nil {
			t.Fatal(err)
		}
		if took := time.Since(begun); took > 4*time.Second {
			t.Errorf("it took %s", took)
		}
	})
}
