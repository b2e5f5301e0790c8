package storetest

import (
	"context"
	"errors"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	"github.com/rescind/rescind"
)

const (
	benchSessions = 10_000 // in the store before the time is taken
	benchSubjects = 1_000
	benchParallel = 64 // callers on each core
)

// Bench measures the steps of a store, so that stores can be compared. Steps
// that write are measured with many callers at once, as a server has them.
func Bench(b *testing.B, f Factory) {
	steps := []struct {
		name     string
		parallel int
		run      func(*benchmark, *testing.PB)
	}{
		{"Lookup", 1, (*benchmark).lookup},
		{"Create", benchParallel, (*benchmark).create},
		{"Replace", benchParallel, (*benchmark).replace},
		{"End", benchParallel, (*benchmark).end},
		{"MoveCutoff", benchParallel, (*benchmark).moveCutoff},
		{"Touch", benchParallel, (*benchmark).touch},
	}
	for _, step := range steps {
		b.Run(step.name, func(b *testing.B) {
			x := f(b, time.Now)
			m := &benchmark{b: b, s: x.Store, ctx: b.Context()}
			m.fill(max(benchSessions, needed(step.name, b.N)))
			b.ReportAllocs()
			b.SetParallelism(step.parallel)
			b.ResetTimer()
			b.RunParallel(func(pb *testing.PB) { step.run(m, pb) })
			b.StopTimer()
			if err := x.Store.Close(); err != nil {
				b.Fatal(err)
			}
		})
	}
}

// needed is how many sessions a step uses up: each can end once.
func needed(step string, n int) int {
	if step == "End" {
		return n
	}
	return 0
}

type benchmark struct {
	b    *testing.B
	s    rescind.Store
	ctx  context.Context
	all  []rescind.Session
	next atomic.Int64
}

func (m *benchmark) check(err error) {
	if err != nil {
		m.b.Error(err)
	}
}

func (m *benchmark) session(n int) rescind.Session {
	return newSession("subject"+strconv.Itoa(n%benchSubjects), "web", time.Now())
}

// fill creates sessions with many callers at once; on a disk it is the only way.
func (m *benchmark) fill(n int) {
	m.all = make([]rescind.Session, n)
	race(256, func(i int) {
		for ; i < n; i += 256 {
			m.all[i] = m.session(i)
			birth, err := m.s.Create(m.ctx, rescind.Creation{Session: m.all[i]})
			m.check(err)
			m.all[i].Version, m.all[i].Birth = 1, birth
		}
	})
}

// take returns the next number, and the session that belongs to it.
func (m *benchmark) take() (int, *rescind.Session) {
	n := int(m.next.Add(1) - 1)
	return n, &m.all[n*7919%len(m.all)] // 7919 is a prime, so that neighbours are far apart
}

func (m *benchmark) lookup(pb *testing.PB) {
	for pb.Next() {
		_, s := m.take()
		snap, err := m.s.Lookup(m.ctx, s.ID)
		m.check(err)
		if !snap.Found {
			m.b.Error("a session is not found")
		}
	}
}

func (m *benchmark) create(pb *testing.PB) {
	for pb.Next() {
		n, _ := m.take()
		s := m.session(n)
		_, err := m.s.Create(m.ctx, rescind.Creation{Session: s, Events: []rescind.Event{newEvent(rescind.EventSessionCreated, s, s.CreatedAt)}})
		m.check(err)
	}
}

// replace reads and swaps, as a refresh does.
func (m *benchmark) replace(pb *testing.PB) {
	for pb.Next() {
		_, s := m.take()
		snap, err := m.s.Lookup(m.ctx, s.ID)
		m.check(err)
		next := snap.Session
		next.Generation++
		err = m.s.Replace(m.ctx, rescind.Replacement{Session: next, Events: []rescind.Event{newEvent(rescind.EventSessionRefreshed, next, next.CreatedAt)}})
		if !errors.Is(err, rescind.ErrConflict) { // another caller was faster
			m.check(err)
		}
	}
}

func (m *benchmark) end(pb *testing.PB) {
	for pb.Next() {
		n, _ := m.take()
		s := &m.all[n%len(m.all)]
		_, err := m.s.End(m.ctx, rescind.End{
			Session: s.ID, At: s.CreatedAt, Reason: rescind.ReasonLogout, Event: newEvent(rescind.EventSessionEnded, *s, s.CreatedAt),
		})
		m.check(err)
	}
}

func (m *benchmark) moveCutoff(pb *testing.PB) {
	for pb.Next() {
		_, s := m.take()
		_, err := m.s.MoveCutoff(m.ctx, rescind.CutoffMove{
			Kind: rescind.EndSubject, Tag: s.ID.Tag(), At: s.CreatedAt, Event: newEvent(rescind.EventSubjectEnded, *s, s.CreatedAt),
		})
		m.check(err)
	}
}

func (m *benchmark) touch(pb *testing.PB) {
	for pb.Next() {
		n, s := m.take()
		m.check(m.s.Touch(m.ctx, s.ID, s.LastActive.Add(time.Duration(n)*time.Millisecond)))
	}
}
