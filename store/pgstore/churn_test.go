package pgstore

import (
	"context"
	"fmt"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/rescind/rescind"
	"github.com/rescind/rescind/tests/postgres"
)

// TestChurnDoesNotBloat keeps a number of sessions while many more come, are used
// and go. What the ledger takes on disk levels off: space is used again, by no more
// than the vacuum that the server does by itself, and that is done here when it is
// due, not when the machine has time for it.
func TestChurnDoesNotBloat(t *testing.T) {
	t.Parallel() // it mostly waits
	standing, rounds, perRound := 2000, 8, 1000
	if os.Getenv("RESCIND_SLOW") != "" {
		standing, rounds, perRound = 100_000, 40, 25_000
	}
	server := postgres.Start(t, postgres.With("autovacuum", "off"))
	url := schema(t, server)
	s := patient(t, url)
	ctx := context.Background()
	ids := fill(t, s, standing)
	settled := int64(0)
	for round := range rounds {
		fresh := fill(t, s, perRound)
		var wg sync.WaitGroup
		for part := range 64 {
			wg.Go(func() {
				for i := part; i < perRound; i += 64 { // each is used, and one that is older goes
					if err := s.Touch(ctx, fresh[i], s.Now().Add(time.Second)); err != nil {
						t.Errorf("Touch: %v", err)
					}
					at := s.Now()
					if _, err := s.End(ctx, rescind.End{Session: ids[i], At: at, Event: rescind.Event{At: at, Kind: rescind.EventSessionEnded}}); err != nil {
						t.Errorf("End: %v", err)
					}
				}
			})
		}
		wg.Wait()
		ids = append(ids[perRound:], fresh...)
		step := rescind.PurgeStep{
			Limit: 1000, Drop: func(s *rescind.Snapshot) bool { return s.Session.Ended() },
			DropEvent: func(*rescind.Event) bool { return true }, FeedBefore: s.Now(),
		}
		for done := false; !done; done = step.Cursor == nil {
			p, err := s.Purge(ctx, step)
			if err != nil {
				t.Fatal(err)
			}
			step.Cursor = p.Cursor
		}
		for _, table := range []string{"session", "feed", "event"} { // as the server does sooner or later
			execute(t, url, "VACUUM rescind_"+table)
		}
		now := size(t, url)
		t.Logf("round %d: %d B for each standing session", round, now/int64(standing))
		switch {
		case round == rounds/2:
			settled = now
		case settled > 0 && now > settled+settled/5:
			t.Errorf("in round %d the tables have %d B, after the first half they had %d", round, now, settled)
		}
	}
	// What a connection of the server counts is in the view when it has ended, at the latest.
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	awaitQuery(t, url, fmt.Sprintf("SELECT n_tup_upd >= %d FROM pg_stat_user_tables WHERE relid = 'rescind_session'::regclass", rounds*perRound))
	hot := 0.0
	query(t, url, "SELECT n_tup_hot_upd::float8 / greatest(n_tup_upd, 1) FROM pg_stat_user_tables WHERE relid = 'rescind_session'::regclass", &hot)
	t.Logf("%.0f %% of all updates of a session touched no index", 100*hot)
	if hot < 0.5 {
		t.Errorf("only %.0f %% of all updates of a session were on their page", 100*hot)
	}
}

// size is what the ledger's tables and their indexes take.
func size(t *testing.T, url string) (n int64) {
	t.Helper()
	query(t, url, `SELECT sum(pg_total_relation_size(oid))::int8 FROM pg_class
		WHERE relkind = 'r' AND relname LIKE 'rescind\_%' AND relnamespace = current_schema()::regnamespace`, &n)
	return n
}

func query(t *testing.T, url, sql string, into any) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	c, err := pgx.Connect(ctx, url)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close(ctx) }() // nothing depends on it
	if err := c.QueryRow(ctx, sql).Scan(into); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
}
