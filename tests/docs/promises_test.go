package docs

import (
	"cmp"
	"errors"
	"strings"
	"sync"
	"syscall"
	"time"
)

// Sixteen refreshes of one old token at once: one moves, and one session is there.
func (m *moving) movesOnce() error {
	m.stage("no")
	old := m.login("ada")
	m.stage("yes")
	var mu sync.Mutex
	var all sync.WaitGroup
	answers := map[int]int{}
	var moved tokens
	// All of them look at the blocklist before any of them claims.
	if err := m.redis.Signal(syscall.SIGSTOP); err != nil {
		return err
	}
	for range 16 {
		all.Go(func() {
			got, t := m.refresh(old.Refresh)
			mu.Lock()
			defer mu.Unlock()
			answers[got]++
			moved.Access, moved.Refresh = cmp.Or(moved.Access, t.Access), cmp.Or(moved.Refresh, t.Refresh)
		})
	}
	time.Sleep(300 * time.Millisecond) // for those requests to come as far as that
	if err := m.redis.Signal(syscall.SIGCONT); err != nil {
		return err
	}
	all.Wait()
	again, _ := m.refresh(old.Refresh)
	later, _ := m.refresh(moved.Refresh)
	return errors.Join(
		want("moved", answers[200], 1, "others", answers[503]+answers[401], 15, "sessions", m.live("ada"), 1),
		want("notes", m.notes(moved.Access), 200, "the old token", again, 401, "the new one", later, 200),
	)
}

// A node on which the switch is off refreshes the token that another one moves:
// what it hands out is worth nothing.
func (m *moving) bothStagesAtOnce() error {
	m.stage("no")
	old := m.login("ada")
	off, on := *m, *m
	on.stage("yes")
	var all sync.WaitGroup
	minted := make([]tokens, 8)
	moved := make([]tokens, 8)
	if err := m.redis.Signal(syscall.SIGSTOP); err != nil {
		return err
	}
	for i := range minted {
		all.Go(func() { _, minted[i] = off.refresh(old.Refresh) })
		all.Go(func() { _, moved[i] = on.refresh(old.Refresh) })
	}
	time.Sleep(300 * time.Millisecond) // for those requests to come as far as that
	if err := m.redis.Signal(syscall.SIGCONT); err != nil {
		return err
	}
	all.Wait()
	var errs []error
	sessions := 0
	for i := range minted {
		if minted[i].Access != "" {
			errs = append(errs, want("what was minted", off.notes(minted[i].Access), 401))
		}
		if moved[i].Access != "" {
			sessions++
			errs = append(errs, want("what has moved", off.notes(moved[i].Access), 200))
		}
	}
	return errors.Join(append(errs, want("moved", sessions, 1, "sessions", m.live("ada"), 1))...)
}

func (m *moving) loggedOutStaysOut() error {
	m.stage("no")
	old := m.login("ada")
	out := m.logout(old)
	before, _ := m.refresh(old.Refresh)
	m.stage("yes")
	after, _ := m.refresh(old.Refresh)
	return want("logout", out, 204, "before", before, 401, "after", after, 401, "notes", m.notes(old.Access), 401, "sessions", m.live("ada"), 0)
}

func (m *moving) logoutEndsEverything() error {
	m.stage("no")
	old := m.login("ada")
	m.stage("yes")
	got, moved := m.refresh(old.Refresh)
	err := want("refresh", got, 200, "notes", m.notes(moved.Access), 200, "logout", m.logout(moved), 204)
	a, _ := m.refresh(old.Refresh)
	b, _ := m.refresh(moved.Refresh)
	return errors.Join(err, want("old refresh", a, 401, "refresh", b, 401, "old access", m.notes(old.Access), 401, "access", m.notes(moved.Access), 401, "sessions", m.live("ada"), 0))
}

// A tab that still has the old tokens logs out: the session that came of them ends.
func (m *moving) logoutByTheOldToken() error {
	m.stage("no")
	old := m.login("ada")
	m.stage("hasty")
	got, moved := m.refresh(old.Refresh)
	m.rescind.Freeze(m.t)
	hung := m.logout(old)
	m.rescind.Thaw(m.t)
	err := want("refresh", got, 200, "while it hangs", hung, 503, "logout", m.logout(old), 204, "again", m.logout(old), 204)
	return errors.Join(err, want("notes", m.notes(moved.Access), 401, "sessions", m.live("ada"), 0))
}

// A logout between claim and settling: the refresh brings nothing.
func (m *moving) logoutWhileMoving() error {
	m.stage("no")
	old := m.login("ada")
	m.stage("yes")
	answer := make(chan int, 1)
	m.rescind.Freeze(m.t)
	go func() {
		got, _ := m.refresh(old.Refresh)
		answer <- got
	}()
	m.until("a claim", func() bool { return strings.HasPrefix(m.entry(old.Refresh), "moving:") })
	out := m.logout(old)
	m.rescind.Thaw(m.t)
	got := <-answer
	again, _ := m.refresh(old.Refresh)
	return want("logout", out, 204, "refresh", got, 401, "again", again, 401, "notes", m.notes(old.Access), 401, "sessions", m.live("ada"), 0)
}

// The process dies between claim and settling: the user waits, and is not logged out.
func (m *moving) crashWhileMoving() error {
	m.stage("no")
	old := m.login("ada")
	m.stage("yes")
	m.rescind.Freeze(m.t)
	answer := make(chan int, 1)
	go func() {
		got, _ := m.refresh(old.Refresh)
		answer <- got
	}()
	m.until("a claim", func() bool { return strings.HasPrefix(m.entry(old.Refresh), "moving:") })
	if err := syscall.Kill(-m.app.cmd.Process.Pid, syscall.SIGKILL); err != nil {
		return err
	}
	<-m.app.Over()
	died := <-answer
	m.rescind.Thaw(m.t)
	m.stage("yes")
	soon, _ := m.refresh(old.Refresh)
	m.lapse(old.Refresh)
	later, moved := m.refresh(old.Refresh)
	return want("died", died, 0, "soon", soon, 503, "later", later, 200, "notes", m.notes(moved.Access), 200)
}

// A logout everywhere reaches sessions that have not moved.
func (m *moving) logoutEverywhere() error {
	m.stage("no")
	phone, laptop := m.login("ada"), m.login("ada")
	m.stage("yes")
	_, moved := m.refresh(phone.Refresh)
	early := m.notes(laptop.Access)
	out := m.call("POST", "/logout-everywhere", moved.Access, nil, nil)
	got, _ := m.refresh(laptop.Refresh)
	return want("the other's access token is cut off", early, 401, "logout", out, 204, "the other", got, 401, "notes", m.notes(moved.Access), 401, "sessions", m.live("ada"), 0)
}

func (m *moving) logoutEverywhereWhileMoving() error {
	m.stage("no")
	phone, laptop := m.login("ada"), m.login("ada")
	m.stage("no") // the laptop's access token must not be cut off by the phone's move
	answer, out := make(chan tokens, 1), make(chan int, 1)
	m.stage("yes")
	m.rescind.Freeze(m.t)
	go func() { out <- m.call("POST", "/logout-everywhere", laptop.Access, nil, nil) }()
	m.until("the cut", func() bool { return m.entry("cut:refresh:"+m.user("ada")) != "" })
	go func() {
		_, t := m.refresh(phone.Refresh)
		answer <- t
	}()
	time.Sleep(200 * time.Millisecond) // one that moves all the same has opened its session
	m.rescind.Thaw(m.t)
	moved, got := <-answer, <-out
	return want("logout", got, 204, "notes", m.notes(moved.Access), 401, "sessions", m.live("ada"), 0)
}

func (m *moving) outages() error {
	m.stage("no")
	ada, alan := m.login("ada"), m.login("alan")
	m.stage("hasty")
	_, moved := m.refresh(alan.Refresh)
	m.rescind.Freeze(m.t)
	silent, _ := m.refresh(ada.Refresh)
	err := want("Rescind is silent", silent, 503, "new", m.notes(moved.Access), 503)
	m.rescind.Thaw(m.t)
	m.lapse(ada.Refresh)
	later, again := m.refresh(ada.Refresh)
	err = errors.Join(err, want("it speaks", later, 200, "notes", m.notes(again.Access), 200))

	if err := m.redis.Signal(syscall.SIGSTOP); err != nil {
		return err
	}
	got, _ := m.refresh(alan.Refresh)
	err = errors.Join(err, want("Redis is silent", got, 503, "old", m.notes(ada.Access), 503, "logout", m.logout(ada), 503, "new", m.notes(moved.Access), 200))
	return errors.Join(err, m.redis.Signal(syscall.SIGCONT))
}

func (m *moving) switchedOff() error {
	m.stage("no")
	ada, alan := m.login("ada"), m.login("alan")
	m.stage("yes")
	_, moved := m.refresh(ada.Refresh)
	fresh := m.login("grace")
	m.stage("no")
	back := m.login("back")
	got, old := m.refresh(alan.Refresh)
	next, newer := m.refresh(moved.Refresh)
	return want("alan", got, 200, "old", m.notes(old.Access), 200, "no new refresh token", old.Refresh, "",
		"ada", next, 200, "new", m.notes(newer.Access), 200, "grace", m.notes(fresh.Access), 200,
		"who logs in gets old ones", strings.Count(back.Refresh, "."), 2, "it has not moved", m.live("alan"), 0)
}
