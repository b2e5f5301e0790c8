package redisstore

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/redis/rueidis"

	"github.com/rescind/rescind"
	"github.com/rescind/rescind/tests/redis"
)

// userAgent has the 120 bytes that sizes are stated for.
var userAgent = strings.Repeat("Mozilla/5.0 (X11; Linux) ", 5)[:120]

// benchSession is the n-th session of a ledger: any of its ids can be made again.
func benchSession(n uint64, now time.Time) rescind.Session {
	sum := sha256.Sum256(binary.BigEndian.AppendUint64(nil, n))
	s := rescind.Session{
		Subject: fmt.Sprintf("user-%d", n), Client: "app", Audience: []string{"https://api.example.com"}, Scope: "read write",
		Device:    rescind.Device{UserAgent: userAgent, IP: "203.0.113.7"},
		CreatedAt: now, ExpiresAt: now.Add(30 * 24 * time.Hour), LastActive: now, RotatedAt: now,
		IdleTimeout: 24 * time.Hour, AccessLifetime: 5 * time.Minute,
		Access: []rescind.AccessEntry{{IssuedAt: now.Truncate(time.Second), ExpiresAt: now.Truncate(time.Second).Add(5 * time.Minute)}},
	}
	copy(s.ID[:], sum[:24])
	copy(s.Salt[:], sum[8:])
	copy(s.Access[0].ID[:], sum[4:])
	copy(s.MACKey[:], sum[2:])
	return s
}

// inParallel runs f for 0 to n-1 in a number of goroutines.
func inParallel(workers int, n uint64, f func(uint64) error) error {
	var next atomic.Uint64
	var failed atomic.Pointer[error]
	var wg sync.WaitGroup
	for range workers {
		wg.Go(func() {
			for i := next.Add(1) - 1; i < n && failed.Load() == nil; i = next.Add(1) - 1 {
				if err := f(i); err != nil {
					failed.Store(&err)
				}
			}
		})
	}
	wg.Wait()
	if err := failed.Load(); err != nil {
		return *err
	}
	return nil
}

func fill(t testing.TB, s *Store, n uint64) {
	now := s.Now()
	if err := inParallel(512, n, func(i uint64) error {
		for {
			_, err := s.Create(context.Background(), rescind.Creation{Session: benchSession(i, now)})
			if err == nil || errors.Is(err, rescind.ErrConflict) { // which an unknown outcome may lead to
				return nil
			} else if !errors.Is(err, rescind.ErrUnavailable) {
				return err
			}
		}
	}); err != nil {
		t.Fatal(err)
	}
}

// ledgerSize is how many sessions the benchmarks look up among: RESCIND_SESSIONS.
func ledgerSize(b *testing.B) uint64 {
	n, err := strconv.ParseUint(os.Getenv("RESCIND_SESSIONS"), 10, 64)
	if err != nil {
		return 10_000
	}
	return n
}

func measure(b *testing.B, f func(uint64) error) {
	b.ReportAllocs()
	b.ResetTimer()
	if err := inParallel(64, uint64(b.N), f); err != nil {
		b.Fatal(err)
	}
	b.StopTimer()
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "ops/s")
}

// BenchmarkLookup64 is look-ups by 64 callers at once, in a ledger of
// RESCIND_SESSIONS and one of 10,000, and beside them a bare GET of one value of the
// size of a record through the same library, in turns.
func BenchmarkLookup64(b *testing.B) {
	const few = 10_000
	n := ledgerSize(b)
	server := redis.Start(b, "--appendonly", "no") // it is read, and millions are to be written first
	small := open(b, server.URL()+"/1?accept=loss")
	fill(b, small, few)
	empty := usedMemory(b, server)
	s := open(b, server.URL()+"?accept=loss")
	fill(b, s, n)
	b.Logf("%d sessions, %d bytes each", n, (usedMemory(b, server)-empty)/int(n))
	client, err := rueidis.NewClient(rueidis.ClientOption{InitAddress: []string{server.Addr()}, DisableCache: true})
	if err != nil {
		b.Fatal(err)
	}
	defer client.Close()
	ctx := context.Background()
	if err := inParallel(64, few, func(i uint64) error {
		return client.Do(ctx, client.B().Set().Key("bare"+strconv.FormatUint(i, 10)).Value(strings.Repeat("x", 340)).Build()).Error()
	}); err != nil {
		b.Fatal(err)
	}
	lookups := func(s *Store, n uint64) func(*testing.B) {
		ids := make([]rescind.SessionID, min(n, 1_000_000)) // of the whole ledger, far apart
		for i := range ids {
			ids[i] = benchSession(uint64(i)*(n/uint64(len(ids))), time.Time{}).ID
		}
		return func(b *testing.B) {
			defer processors(b, server)()
			measure(b, func(i uint64) error {
				snap, err := s.Lookup(ctx, ids[i*0x9e3779b9%uint64(len(ids))])
				if err == nil && !snap.Found {
					err = fmt.Errorf("session %d is not found", i)
				}
				return err
			})
		}
	}
	all, some := lookups(s, n), lookups(small, few)
	for range 5 {
		b.Run("Lookup", all)
		b.Run("Lookup of 10k", some)
		b.Run("GET", func(b *testing.B) {
			defer processors(b, server)()
			measure(b, func(i uint64) error {
				return client.Do(ctx, client.B().Get().Key("bare"+strconv.FormatUint(i*0x9e3779b9%few, 10)).Build()).Error()
			})
		})
	}
	_, stats, _ := strings.Cut(server.Do("INFO", "commandstats"), "cmdstat_mget:")
	stats, _, _ = strings.Cut(stats, "\r")
	b.Logf("all of them took: %s", stats)
}

// processors reports the processor time of each operation, of this process and of
// the server together: that figure holds on a busy machine too.
func processors(b *testing.B, server *redis.Server) func() {
	used := func() (sum time.Duration) {
		var u syscall.Rusage
		if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
			b.Fatal(err)
		}
		for line := range strings.SplitSeq(server.Do("INFO", "cpu"), "\r\n") {
			if name, value, _ := strings.Cut(line, ":"); name == "used_cpu_user" || name == "used_cpu_sys" {
				d, err := time.ParseDuration(value + "s")
				if err != nil {
					b.Fatal(err)
				}
				sum += d
			}
		}
		return sum + time.Duration(u.Utime.Nano()+u.Stime.Nano())
	}
	before := used()
	return func() { b.ReportMetric(float64((used()-before).Nanoseconds())/float64(b.N), "cpu-ns/op") }
}

func usedMemory(t testing.TB, server *redis.Server) int {
	_, rest, _ := strings.Cut(server.Do("INFO", "memory"), "used_memory:")
	text, _, _ := strings.Cut(rest, "\r")
	n, err := strconv.Atoi(text)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// BenchmarkSteps64 is durable steps by 64 callers at once, each with its event.
func BenchmarkSteps64(b *testing.B) {
	server := redis.Start(b)
	s := open(b, server.URL())
	ctx, now := context.Background(), s.Now()
	n := uint64(0)
	event := func(r *rescind.Session) rescind.Event {
		return rescind.Event{At: now, Kind: rescind.EventSessionEnded, Actor: "app", Subject: r.Subject, Session: r.ID.String(), Client: r.Client}
	}
	b.Run("Create", func(b *testing.B) {
		from := n
		n += uint64(b.N)
		measure(b, func(i uint64) error {
			r := benchSession(from+i, now)
			_, err := s.Create(ctx, rescind.Creation{Session: r, Events: []rescind.Event{event(&r)}})
			return err
		})
	})
	b.Run("Replace", func(b *testing.B) {
		measure(b, func(i uint64) error {
			snap, err := s.Lookup(ctx, benchSession(i%n, now).ID)
			if err != nil {
				return err
			}
			err = s.Replace(ctx, rescind.Replacement{Session: snap.Session, Events: []rescind.Event{event(&snap.Session)}})
			if errors.Is(err, rescind.ErrConflict) { // another caller was faster
				return nil
			}
			return err
		})
	})
	b.Run("End", func(b *testing.B) {
		measure(b, func(i uint64) error {
			r := benchSession(i%n, now)
			_, err := s.End(ctx, rescind.End{Session: r.ID, At: now, Reason: rescind.ReasonLogout, Event: event(&r)})
			return err
		})
	})
	for line := range strings.SplitSeq(server.Do("INFO", "commandstats"), "\r\n") {
		if strings.Contains(line, "eval") || strings.Contains(line, "mget") {
			b.Log(line)
		}
	}
}

// BenchmarkRestart is how long a killed server takes until it answers again, with
// RESCIND_SESSIONS in its log.
func BenchmarkRestart(b *testing.B) {
	n := ledgerSize(b)
	server := redis.Start(b, "--appendonly", "no")
	s := open(b, server.URL()+"?accept=loss")
	fill(b, s, n)
	server.Do("CONFIG", "SET", "appendonly", "yes")
	for !strings.Contains(server.Do("INFO", "persistence"), "aof_rewrite_in_progress:0") {
		time.Sleep(100 * time.Millisecond)
	}
	for b.Loop() {
		server.Restart("--appendonly", "yes")
		if _, err := s.Lookup(context.Background(), benchSession(n-1, time.Time{}).ID); err != nil {
			b.Fatal(err)
		}
	}
}
