package pebblestore

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"os"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2"

	"github.com/rescind/rescind"
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

func benchOpen(b testing.TB) *Store {
	s, err := Open(b.TempDir(), Options{})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		if err := s.Close(); err != nil {
			b.Error(err)
		}
	})
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

func fill(b testing.TB, s *Store, from, n uint64) {
	now := s.Now()
	err := inParallel(256, n, func(i uint64) error {
		_, err := s.Create(context.Background(), rescind.Creation{Session: benchSession(from+i, now)})
		return err
	})
	if err != nil {
		b.Fatal(err)
	}
}

// measure runs f and reports, beside its rate, the processor time that each
// operation took of the whole process: that figure holds on a busy machine too.
func measure(b *testing.B, workers int, f func(uint64) error) {
	runtime.GC()
	b.ReportAllocs()
	before := processorTime(b)
	b.ResetTimer()
	if err := inParallel(workers, uint64(b.N), f); err != nil {
		b.Fatal(err)
	}
	b.StopTimer()
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "ops/s")
	b.ReportMetric(float64((processorTime(b)-before).Nanoseconds())/float64(b.N), "cpu-ns/op")
}

func processorTime(b *testing.B) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// BenchmarkEnd256 is durable revocations by 256 callers at once, each with its
// audit event; BenchmarkBare256 is what Pebble does with one small value each.
func BenchmarkEnd256(b *testing.B) {
	s := benchOpen(b)
	fill(b, s, 0, uint64(b.N))
	now, flights := s.Now(), s.started.Load()
	defer func() { b.ReportMetric(float64(b.N)/float64(s.started.Load()-flights), "ends/batch") }()
	measure(b, 256, func(i uint64) error {
		r := benchSession(i, now)
		e, err := s.End(context.Background(), rescind.End{Session: r.ID, At: now, Reason: rescind.ReasonLogout, Event: rescind.Event{
			At: now, Kind: rescind.EventSessionEnded, Actor: "app", Subject: r.Subject, Session: r.ID.String(), Client: r.Client, Reason: "logout",
		}})
		if err == nil && !e.Changed {
			err = fmt.Errorf("session %d had ended", i)
		}
		return err
	})
}

func BenchmarkBare256(b *testing.B) {
	db, err := pebble.Open(b.TempDir(), &pebble.Options{Logger: quiet{}})
	if err != nil {
		b.Fatal(err)
	}
	defer func() {
		if err := db.Close(); err != nil {
			b.Error(err)
		}
	}()
	value := make([]byte, 100)
	measure(b, 256, func(i uint64) error {
		var key [16]byte
		binary.BigEndian.PutUint64(key[:], i*0x9e3779b97f4a7c15)
		return db.Set(key[:], value, pebble.Sync)
	})
}

type quiet struct{}

func (quiet) Infof(string, ...any)  {}
func (quiet) Errorf(string, ...any) {}
func (quiet) Fatalf(f string, a ...any) {
	panic(fmt.Sprintf(f, a...))
}

// BenchmarkCreate64 is durable logins by 64 callers at once.
func BenchmarkCreate64(b *testing.B) {
	s := benchOpen(b)
	now := s.Now()
	measure(b, 64, func(i uint64) error {
		r := benchSession(i, now)
		_, err := s.Create(context.Background(), rescind.Creation{Session: r, Events: []rescind.Event{{
			At: now, Kind: rescind.EventSessionCreated, Actor: "app", Subject: r.Subject, Session: r.ID.String(), Client: r.Client,
		}}})
		return err
	})
}

// BenchmarkLookup reads sessions at random, of ledgers of several sizes that have
// come to rest. It reports the disk that each session takes. The environment
// variable PEBBLESTORE_SESSIONS gives another size.
func BenchmarkLookup(b *testing.B) {
	sizes := []uint64{10_000, 1_000_000}
	if text := os.Getenv("PEBBLESTORE_SESSIONS"); text != "" {
		n, err := strconv.ParseUint(text, 10, 64)
		if err != nil {
			b.Fatal(err)
		}
		sizes = []uint64{n}
	}
	for _, n := range sizes {
		s := benchOpen(b)
		pour(b, s, n)
		now := s.Now()
		ids := make([]rescind.SessionID, 1<<16)
		for i := range ids {
			ids[i] = benchSession(rand.Uint64N(n), now).ID
		}
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			measure(b, 1, func(i uint64) error {
				snap, err := s.Lookup(context.Background(), ids[i%uint64(len(ids))])
				if err == nil && !snap.Found {
					err = fmt.Errorf("session %d is gone", i)
				}
				return err
			})
			b.ReportMetric(float64(s.db.Metrics().DiskSpaceUsage())/float64(n), "disk-B/session")
			b.ReportMetric(float64(resident(b))/(1<<20), "resident-MiB")
		})
	}
}

// pour puts sessions into a ledger past the committer, which would take long.
func pour(b testing.TB, s *Store, n uint64) {
	now := s.Now()
	var record []byte
	for i := uint64(0); i < n; {
		batch := s.db.NewBatch()
		for ; batch.Len() < 1<<20 && i < n; i++ {
			r := benchSession(i, now)
			r.Version = 1
			record = rescind.AppendRecord(record[:0], &r)
			if err := batch.Set(sessionKey(r.ID), record, nil); err != nil {
				b.Fatal(err)
			}
		}
		if err := batch.Commit(pebble.NoSync); err != nil {
			b.Fatal(err)
		}
	}
	if err := s.db.Flush(); err != nil {
		b.Fatal(err)
	}
	if err := s.db.Compact(context.Background(), []byte{0}, []byte{0xff}, true); err != nil {
		b.Fatal(err)
	}
}

// resident returns the process's resident memory.
func resident(b testing.TB) uint64 {
	text, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		return 0 // not on this system
	}
	var size, pages uint64
	if _, err := fmt.Sscan(string(text), &size, &pages); err != nil {
		b.Fatal(err)
	}
	return pages * uint64(os.Getpagesize())
}
