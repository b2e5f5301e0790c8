package pgstore

import (
	"context"
	"errors"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/rescind/rescind"
	"github.com/rescind/rescind/tests/postgres"
)

// TestTimeIsTheServers: nodes whose clocks are an hour off agree with the others
// about who is idle, and about what time it is.
func TestTimeIsTheServers(t *testing.T) {
	server := postgres.Start(t)
	url := schema(t, server)
	right := patient(t, url)
	for _, off := range []time.Duration{-time.Hour, time.Hour} {
		wrong := open(t, url, Options{Timeout: patience, Now: func() time.Time { return time.Now().Add(off) }})
		if d := wrong.Now().Sub(right.Now()); d.Abs() > patience {
			t.Errorf("a node whose clock is off by %s is off by %s", off, d)
		}
		for _, c := range []struct {
			since time.Duration
			want  error
		}{{59 * time.Minute, nil}, {61 * time.Minute, rescind.ErrConflict}} {
			r := sample(0, right.Now())
			r.IdleTimeout, r.LastActive = time.Hour, right.Now().Add(-c.since)
			if _, err := right.Create(context.Background(), rescind.Creation{Session: r}); err != nil {
				t.Fatal(err)
			}
			before, err := wrong.Lookup(context.Background(), r.ID)
			if err != nil {
				t.Fatal(err)
			}
			if err := wrong.Touch(context.Background(), r.ID, right.Now()); err != nil {
				t.Fatal(err)
			}
			after, err := wrong.Lookup(context.Background(), r.ID)
			if err != nil {
				t.Fatal(err)
			}
			if touched := after.Session.LastActive.After(before.Session.LastActive); touched != (c.want == nil) {
				t.Errorf("clock off by %s, idle for %s of an hour: touched is %t", off, c.since, touched)
			}
			r.Version = 1
			if err := wrong.Replace(context.Background(), rescind.Replacement{Session: r}); !errors.Is(err, c.want) {
				t.Errorf("clock off by %s, idle for %s of an hour: Replace: %v", off, c.since, err)
			}
		}
	}
}

// TestTimeToldOutlivesTheServersClock: a server whose clock is behind what was told
// before, as after a failover to a wrong standby, brings nothing back.
func TestTimeToldOutlivesTheServersClock(t *testing.T) {
	server := postgres.Start(t)
	url := schema(t, server)
	s := patient(t, url)
	r := sample(0, s.Now())
	r.IdleTimeout = 30 * time.Minute
	if _, err := s.Create(context.Background(), rescind.Creation{Session: r}); err != nil {
		t.Fatal(err)
	}
	told := time.Now().Add(time.Hour)
	s.clock.floor(told.UnixMicro()) // as if the clock had been an hour ahead until now
	created(t, s)                   // writes the time down
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = patient(t, url)
	if now := s.Now(); now.Before(told.Add(-time.Second)) {
		t.Errorf("after a restart it is %s, and %s was told", now, told)
	}
	r.Version = 1
	if err := s.Replace(context.Background(), rescind.Replacement{Session: r}); !errors.Is(err, rescind.ErrConflict) {
		t.Errorf("a session that was idle by the time told: Replace: %v", err)
	}
}

// TestClockIsNeverAheadOfTheServer, whatever the network does, and whether the
// machine's clock runs a little fast or slow; and it is not far behind.
func TestClockIsNeverAheadOfTheServer(t *testing.T) {
	start := time.Date(2026, 11, 20, 12, 0, 0, 0, time.UTC)
	for _, rate := range []float64{1.0004, 1, 0.9996} {
		var real time.Duration // on the server
		c := &clock{machine: func() time.Time { return time.Unix(5000, 0).Add(time.Duration(float64(real) * rate)) }}
		for range 5000 {
			read := start.Add(real).UnixMicro()
			real += time.Duration(rand.IntN(200)) * time.Millisecond // the answer's way
			c.sample(read)
			real += time.Duration(rand.IntN(int(remeasure)))
			now, server := c.now(), start.Add(real)
			if now.After(server) || server.Sub(now) > 220*time.Millisecond {
				t.Fatalf("at rate %v it is %s, and on the server %s", rate, now, server)
			}
		}
	}
}

// TestClockNeverGoesBack, and goes on, when the server's is set back.
func TestClockNeverGoesBack(t *testing.T) {
	start := time.Date(2026, 11, 20, 12, 0, 0, 0, time.UTC)
	machine := time.Unix(5000, 0)
	c := &clock{machine: func() time.Time { return machine }}
	offset := time.Duration(0)
	begun, last := machine, time.Time{}
	for step := range 40_000 {
		if step == 1000 {
			offset = -time.Hour
		}
		machine = machine.Add(time.Second)
		c.sample(start.Add(machine.Sub(begun) + offset).UnixMicro())
		now := c.now()
		if now.Before(last) {
			t.Fatalf("step %d: %s after %s", step, now, last)
		}
		last = now
	}
	if want := start.Add(machine.Sub(begun) + offset); last.Sub(want) > time.Second {
		t.Errorf("hours later it is %s, on the server %s", last, want)
	}
}
