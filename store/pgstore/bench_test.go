package pgstore

import (
	"context"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/rescind/rescind"
	"github.com/rescind/rescind/store/storetest"
	"github.com/rescind/rescind/tests/postgres"
)

// BenchmarkStore is the benchmark that all stores share.
func BenchmarkStore(b *testing.B) {
	server := postgres.Start(b, postgres.OnDisk())
	storetest.Bench(b, func(t testing.TB, _ func() time.Time) storetest.Instance {
		return storetest.Instance{Store: open(t, schema(t, server), Options{})}
	})
}

// together runs n calls in as many goroutines as asked for and reports their rate.
func together(b *testing.B, callers int, call func(i int) error) {
	b.Helper()
	var next atomic.Int64
	var wg sync.WaitGroup
	b.ResetTimer()
	for range callers {
		wg.Go(func() {
			for {
				i := int(next.Add(1)) - 1
				if i >= b.N {
					return
				}
				if err := call(i); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "calls/s")
}

const benchSessions = 20_000

// BenchmarkBeside sets a look-up beside a bare SELECT by primary key, 16 at once,
// and an ending beside a bare INSERT of one row, 64 at once, on one server.
func BenchmarkBeside(b *testing.B) {
	server := postgres.Start(b, postgres.OnDisk(), postgres.With("max_connections", "200"))
	url := schema(b, server)
	s := open(b, url, Options{})
	ctx := context.Background()
	ids := fill(b, s, benchSessions)
	conns := make(chan *pgx.Conn, 64)
	for range cap(conns) {
		c, err := pgx.Connect(ctx, url)
		if err != nil {
			b.Fatal(err)
		}
		defer func() { _ = c.Close(ctx) }() // nothing depends on it
		conns <- c
	}
	bare := func(f func(*pgx.Conn) error) error {
		c := <-conns
		defer func() { conns <- c }()
		return f(c)
	}
	execute(b, url, "CREATE TABLE bare (id bytea PRIMARY KEY, body bytea NOT NULL)")
	execute(b, url, "INSERT INTO bare SELECT id, record FROM rescind_session")
	execute(b, url, "CREATE TABLE log (n bigint PRIMARY KEY, body bytea NOT NULL)")
	execute(b, url, "VACUUM ANALYZE")

	b.Run("Lookup", func(b *testing.B) {
		together(b, 16, func(i int) error {
			_, err := s.Lookup(ctx, ids[i*7919%len(ids)])
			return err
		})
	})
	b.Run("bare SELECT", func(b *testing.B) {
		together(b, 16, func(i int) error {
			id := ids[i*7919%len(ids)]
			var body []byte
			return bare(func(c *pgx.Conn) error {
				return c.QueryRow(ctx, "SELECT body FROM bare WHERE id = $1", id[:]).Scan(&body)
			})
		})
	})
	ended := 0
	b.Run("End", func(b *testing.B) {
		more := fill(b, s, b.N)
		together(b, 64, func(i int) error {
			_, err := s.End(ctx, rescind.End{Session: more[i], At: time.Now(), Reason: rescind.ReasonLogout, Event: rescind.Event{
				At: time.Now(), Kind: rescind.EventSessionEnded, Actor: "app", Subject: "subject", Session: more[i].String(), Client: "web"}})
			return err
		})
		ended += b.N
	})
	rows := 0
	b.Run("bare INSERT", func(b *testing.B) {
		body := make([]byte, 100)
		together(b, 64, func(i int) error {
			return bare(func(c *pgx.Conn) error {
				_, err := c.Exec(ctx, "INSERT INTO log VALUES ($1, $2)", rows+i, body)
				return err
			})
		})
		rows += b.N
	})
}

// fill creates sessions with many callers at once, and returns their ids.
func fill(b testing.TB, s *Store, n int) []rescind.SessionID {
	b.Helper()
	ids := make([]rescind.SessionID, n)
	var wg sync.WaitGroup
	for part := range 256 {
		wg.Go(func() {
			for i := part; i < n; i += 256 {
				r := sample(i, s.Now())
				if _, err := s.Create(context.Background(), rescind.Creation{Session: r}); err != nil {
					b.Error(err)
					return
				}
				ids[i] = r.ID
			}
		})
	}
	wg.Wait()
	return ids
}

// sample is a session as an application makes them: 120 bytes of user agent and
// one access token.
func sample(i int, now time.Time) rescind.Session {
	now = now.Truncate(time.Millisecond)
	var tag rescind.Tag
	for j := range 4 {
		tag[j] = byte(i >> (8 * j) * 167)
	}
	tag[4], tag[5] = byte(i), byte(i>>8)
	s := rescind.Session{
		ID: rescind.NewSessionID(tag), Subject: "user-4711-of-the-benchmark", Client: "app", Audience: []string{"https://api.example.com"},
		Scope: "read write", CreatedAt: now, ExpiresAt: now.Add(30 * 24 * time.Hour), IdleTimeout: 24 * time.Hour, AccessLifetime: 5 * time.Minute,
		LastActive: now, RotatedAt: now, MACKey: rescind.NewKeyID(),
		Device: rescind.Device{UserAgent: "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/131.0.0.0 Safari/537.36 Edg/131.0.0.0", IP: "192.0.2.1"},
		Access: []rescind.AccessEntry{{ID: rescind.TokenID{byte(i), byte(i >> 8)}, IssuedAt: now, ExpiresAt: now.Add(5 * time.Minute)}},
	}
	return s
}
