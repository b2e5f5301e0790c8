package fault

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/rescind/rescind"
)

const (
	workers  = 16
	subjects = 12
	crowd    = 120 // sessions that live at once
)

// storm is many callers at once on one process.
type storm struct {
	l   *ledger
	srv server
	// answered counts what was done; the killer waits for it.
	answered atomic.Int64
	// unavailable counts the answers that say nothing.
	unavailable atomic.Int64
}

// judge says what an error means for the outcome.
func judge(err error) outcome {
	switch {
	case err == nil:
		return done
	case errors.Is(err, errDied), errors.Is(err, errCut), errors.Is(err, context.DeadlineExceeded), errors.Is(err, rescind.ErrUnavailable):
		return unknown
	case errors.Is(err, rescind.ErrInactive), errors.Is(err, rescind.ErrReuse):
		return dead
	}
	return refused
}

// run storms the process until it dies. Meanwhile it runs end, which sees to that.
func (st *storm) run(end func()) {
	var all sync.WaitGroup
	all.Go(end)
	for range workers {
		all.Go(func() {
			for {
				ctx, cancel := context.WithTimeout(context.Background(), patience)
				err := st.one(ctx)
				cancel()
				if errors.Is(err, errDied) {
					return
				}
				if errors.Is(err, context.DeadlineExceeded) || errors.Is(err, errCut) {
					st.accuse("a call got no proper answer: %v", err)
					return
				}
				if judge(err) == done {
					st.answered.Add(1)
				}
				if errors.Is(err, rescind.ErrUnavailable) {
					st.unavailable.Add(1)
				}
			}
		})
	}
	all.Wait()
}

func (st *storm) accuse(format string, args ...any) {
	st.l.mu.Lock()
	defer st.l.mu.Unlock()
	st.l.accuse(nil, format, args...)
}

// one does one thing, chosen at random. The share of each is in a thousand.
func (st *storm) one(ctx context.Context) error {
	n := rand.IntN(1000)
	share := func(of int) bool { n -= of; return n < 0 }
	switch {
	case share(230):
		return st.login(ctx)
	case share(270):
		return st.refresh(ctx, st.pick(0.9), false)
	case share(270):
		return st.check(ctx, st.pick(0.7), nil, false)
	case share(60):
		return st.logout(ctx)
	case share(45):
		return st.revokeSession(ctx)
	case share(45):
		return st.revokeToken(ctx)
	case share(15):
		return st.replay(ctx)
	case share(20):
		return st.sweepSubject(ctx)
	case share(20):
		return st.sweepOthers(ctx)
	case share(10):
		return st.logoutEverywhere(ctx)
	case share(2):
		return st.sweepClient(ctx)
	case share(2):
		return st.sweepAll(ctx)
	case share(4):
		return st.srv.Upkeep(ctx)
	case share(1):
		use := [...]rescind.KeyUse{rescind.KeyUseSign, rescind.KeyUseMAC}[rand.IntN(2)]
		return st.srv.Rotate(ctx, use)
	}
	return st.check(ctx, st.pick(0), nil, false)
}

// pick returns a session, with a given chance one that may be alive. Nil if there
// is none.
func (st *storm) pick(alive float64) *session {
	st.l.mu.Lock()
	defer st.l.mu.Unlock()
	if len(st.l.sessions) == 0 {
		return nil
	}
	from := 0
	if recent := len(st.l.sessions) - 4*crowd; recent > 0 && rand.IntN(10) > 0 {
		from = recent
	}
	want := rand.Float64() < alive
	var s *session
	for range 20 {
		s = st.l.sessions[from+rand.IntN(len(st.l.sessions)-from)]
		if s.ended != want {
			break
		}
	}
	return s
}

func (st *storm) login(ctx context.Context) error {
	l := st.l
	in := rescind.Login{Subject: fmt.Sprintf("subject-%d", rand.IntN(subjects)), Client: clientsHere[rand.IntN(len(clientsHere))].ID, Device: rescind.Device{Name: "storm"}}
	l.mu.Lock()
	living := 0
	var old *session
	for _, s := range l.sessions {
		if s.alive() {
			living++
			if s.subject == in.Subject && s.client == in.Client {
				old = s
			}
		}
	}
	if living >= crowd && old == nil {
		l.mu.Unlock()
		return st.check(ctx, st.pick(1), nil, false)
	}
	if old != nil && (living >= crowd || rand.IntN(20) == 0) {
		in.Replaces = old.id
		l.startEnding(old, "replacement")
	} else {
		old = nil
	}
	begun := l.now()
	l.mu.Unlock()

	g, err := st.srv.Issue(ctx, in)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.counts["logins"]++
	o := judge(err)
	if o == done {
		l.opened(in, g, begun)
	} else if o != unknown {
		l.accuse(old, "a login failed: %v", err)
	}
	if old != nil {
		l.endEnding(old, "replacement", o)
	}
	return err
}

// check asks for one token of a session; a random one if none is named.
func (st *storm) check(ctx context.Context, s *session, t *token, quiet bool) error {
	if s == nil {
		return nil
	}
	l := st.l
	l.mu.Lock()
	if t == nil {
		t = s.access[rand.IntN(len(s.access))]
	}
	over := s.ended || t.dead || s.dropped(t)
	text := t.text
	l.mu.Unlock()
	a, err := st.srv.Check(ctx, text, rescind.Want{AnyAudience: true})
	l.mu.Lock()
	defer l.mu.Unlock()
	if err == nil && (a.Session != s.id || a.Subject != s.subject || a.Client != s.client) {
		l.accuse(s, "a check answered for session %s of %s, client %s", a.Session, a.Subject, a.Client)
	}
	l.checked(s, t, over, judge(err), quiet)
	return err
}

func (st *storm) refresh(ctx context.Context, s *session, quiet bool) error {
	if s == nil {
		return nil
	}
	l := st.l
	l.mu.Lock()
	// One that starts late could find that it was overtaken twice: that is reuse,
	// and none of the client's fault only in this test.
	if s.using > 0 && s.usingOf != s.newest {
		l.mu.Unlock()
		return nil
	}
	text, gen, over := l.startRefresh(s)
	l.mu.Unlock()
	g, err := st.srv.Refresh(ctx, rescind.Refresh{Client: s.client, Token: text})
	l.mu.Lock()
	defer l.mu.Unlock()
	if judge(err) == refused {
		l.note(s, "refresh: %v", err)
	}
	l.refreshed(s, gen, over, judge(err), g, quiet)
	return err
}

// anyToken returns a token of the session, of any kind and age.
func (s *session) anyToken() string {
	if rand.IntN(2) == 0 {
		return s.access[rand.IntN(len(s.access))].text
	}
	gens := make([]uint32, 0, len(s.refresh))
	for gen := range s.refresh {
		gens = append(gens, gen)
	}
	slices.Sort(gens)
	return s.refresh[gens[rand.IntN(len(gens))]]
}

// end tries to end one session and records what came of it.
func (st *storm) end(s *session, what string, call func() error) error {
	l := st.l
	l.mu.Lock()
	before := s.ended
	l.startEnding(s, what)
	l.mu.Unlock()
	err := call()
	o := judge(err)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.counts["endings"]++
	if o != done && o != unknown && !before && s.trying == 1 && !s.ended {
		l.accuse(s, "%s of a session that lives failed: %v", what, err)
	}
	l.endEnding(s, what, o)
	return err
}

func (st *storm) logout(ctx context.Context) error {
	s := st.pick(0.9)
	if s == nil {
		return nil
	}
	st.l.mu.Lock()
	text := s.anyToken()
	st.l.mu.Unlock()
	return st.end(s, "logout", func() error {
		_, err := st.srv.Logout(ctx, text, false)
		if judge(err) == dead {
			st.accuse("a logout with one of its own tokens failed: %v", err)
		}
		return err
	})
}

func (st *storm) revokeSession(ctx context.Context) error {
	s := st.pick(0.9)
	if s == nil {
		return nil
	}
	return st.end(s, "revocation", func() error {
		_, err := st.srv.Revoke(ctx, rescind.Revocation{Selector: rescind.Selector{Session: s.id}, Reason: "storm"})
		return err
	})
}

func (st *storm) revokeToken(ctx context.Context) error {
	s := st.pick(0.9)
	if s == nil {
		return nil
	}
	st.l.mu.Lock()
	text := s.anyToken()
	st.l.mu.Unlock()
	return st.end(s, "revocation by token", func() error {
		_, err := st.srv.Revoke(ctx, rescind.Revocation{Selector: rescind.Selector{Token: text}, Reason: "storm"})
		return err
	})
}

// replay presents a refresh token that was rotated long ago: the session ends.
func (st *storm) replay(ctx context.Context) error {
	s := st.pick(1)
	if s == nil {
		return nil
	}
	st.l.mu.Lock()
	text, ok := "", false
	if s.newest >= 2 {
		text, ok = s.refresh[s.newest-2], true
	}
	st.l.mu.Unlock()
	if !ok {
		return nil
	}
	return st.end(s, "reuse", func() error {
		_, err := st.srv.Refresh(ctx, rescind.Refresh{Client: s.client, Token: text})
		switch judge(err) {
		case done:
			st.accuse("law 5: a refresh token that was rotated twice is taken again")
		case dead:
			return nil // it is over, whoever ended it
		}
		return err
	})
}

// sweep ends many sessions at once.
func (st *storm) sweep(what string, match func(subject, client string, id rescind.SessionID) bool, call func() error) error {
	l := st.l
	l.mu.Lock()
	w := l.startSweep(what, match)
	l.mu.Unlock()
	err := call()
	l.mu.Lock()
	defer l.mu.Unlock()
	l.counts["sweeps"]++
	l.endSweep(w, judge(err))
	return err
}

func (st *storm) revoke(ctx context.Context, sel rescind.Selector) func() error {
	return func() error {
		_, err := st.srv.Revoke(ctx, rescind.Revocation{Selector: sel, Reason: "storm"})
		if judge(err) == refused || judge(err) == dead {
			st.accuse("a revocation failed: %v", err)
		}
		return err
	}
}

func (st *storm) sweepSubject(ctx context.Context) error {
	subject := fmt.Sprintf("subject-%d", rand.IntN(subjects))
	return st.sweep(subject, func(s, _ string, _ rescind.SessionID) bool { return s == subject },
		st.revoke(ctx, rescind.Selector{Subject: subject}))
}

// sweepOthers ends all sessions of a subject but one.
func (st *storm) sweepOthers(ctx context.Context) error {
	keep := st.pick(1)
	if keep == nil {
		return nil
	}
	return st.sweep(fmt.Sprintf("%s but %s", keep.subject, keep.id),
		func(s, _ string, id rescind.SessionID) bool { return s == keep.subject && id != keep.id },
		func() error {
			_, err := st.srv.Revoke(ctx, rescind.Revocation{Selector: rescind.Selector{Subject: keep.subject, ExceptSession: keep.id}, Reason: "storm"})
			return err
		})
}

func (st *storm) logoutEverywhere(ctx context.Context) error {
	s := st.pick(1)
	if s == nil {
		return nil
	}
	st.l.mu.Lock()
	text := s.refresh[s.newest]
	if rand.IntN(2) == 0 {
		text = s.access[len(s.access)-1].text
	}
	st.l.mu.Unlock()
	return st.sweep(s.subject+" by logout", func(subject, _ string, _ rescind.SessionID) bool { return subject == s.subject },
		func() error {
			_, err := st.srv.Logout(ctx, text, true)
			return err
		})
}

func (st *storm) sweepClient(ctx context.Context) error {
	client := clientsHere[rand.IntN(len(clientsHere))].ID
	return st.sweep("client "+client, func(_, c string, _ rescind.SessionID) bool { return c == client },
		st.revoke(ctx, rescind.Selector{Client: client}))
}

func (st *storm) sweepAll(ctx context.Context) error {
	return st.sweep("everything", func(string, string, rescind.SessionID) bool { return true },
		st.revoke(ctx, rescind.Selector{All: true}))
}

// look asks, with nothing else under way, for every session that was used in this
// life or the last, for all that may be alive, and for a sample of the rest, or
// for every one. It returns errDied if the process did.
func (st *storm) look(every bool) error {
	l := st.l
	l.mu.Lock()
	var ask []*session
	for _, s := range l.sessions {
		if every || !s.ended || s.life >= l.life-1 || rand.IntN(len(l.sessions)) < crowd {
			ask = append(ask, s)
		}
	}
	l.mu.Unlock()
	var all sync.WaitGroup
	next := make(chan *session)
	failed := make(chan error, workers)
	for range workers {
		all.Go(func() {
			for s := range next {
				ctx, cancel := context.WithTimeout(context.Background(), patience)
				err := st.lookAt(ctx, s)
				cancel()
				if err != nil {
					failed <- err
					return
				}
			}
		})
	}
	var err error
	for _, s := range ask {
		select {
		case next <- s:
			continue
		case err = <-failed:
		}
		break
	}
	close(next)
	all.Wait()
	select {
	case err = <-failed:
	default:
	}
	if err == nil {
		l.mu.Lock()
		l.halves()
		l.mu.Unlock()
	}
	return err
}

// lookAt asks for every token that is held of a session, the newest first, and
// refreshes.
func (st *storm) lookAt(ctx context.Context, s *session) error {
	st.l.mu.Lock()
	tokens := slices.Clone(s.access)
	st.l.mu.Unlock()
	slices.Reverse(tokens)
	for _, t := range tokens {
		if err := st.check(ctx, s, t, true); err != nil && judge(err) != dead {
			return err
		}
	}
	if err := st.refresh(ctx, s, true); err != nil && judge(err) != dead {
		return err
	}
	st.l.mu.Lock()
	newest := s.access[len(s.access)-1]
	st.l.mu.Unlock()
	if err := st.check(ctx, s, newest, true); err != nil && judge(err) != dead {
		return err
	}
	return nil
}
