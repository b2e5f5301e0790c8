package fault

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/rescind/rescind"
)

// ledger is what the parent knows: of each session what was acknowledged, what
// was tried without an answer, and what was seen. Every call that any process
// answers is judged here. It outlives all of them.
type ledger struct {
	mu       sync.Mutex
	tick     int // a logical clock: one for every call begun or ended
	life     int // number of the process
	began    time.Time
	sessions []*session // in the order of their logins
	byID     map[rescind.SessionID]*session
	sweeps   []*sweep // since this life began: endings of many sessions at once
	doubtful []*sweep // whose outcome the last life did not tell
	wrong    []string
	counts   map[string]int
}

// session is one login whose tokens somebody holds.
type session struct {
	id      rescind.SessionID
	subject string
	client  string
	life    int // that it was last used in

	newest  uint32            // the highest generation that was acknowledged
	refresh map[uint32]string // refresh tokens
	access  []*token          // oldest first
	using   int               // refreshes under way
	usingOf uint32            // their generation
	ahead   bool              // one of them got no answer: the record may be one ahead

	ended  bool // somebody was told so: for ever
	trying int  // endings that are under way, or got no answer
	tries  int  // those that may have ended it, answered or not
	past   []string
}

// token is an access token that was handed out.
type token struct {
	text string
	gen  uint32
	dead bool // somebody was told so
}

// sweep is an ending by subject, client or of everything.
type sweep struct {
	what    string
	match   func(subject, client string, id rescind.SessionID) bool
	ended   int // tick of its answer; 0 while there is none
	covered []*session
}

func newLedger() *ledger {
	return &ledger{byID: map[rescind.SessionID]*session{}, counts: map[string]int{}, began: time.Now()}
}

func (l *ledger) now() int { l.tick++; return l.tick }

// note writes a line into the history of a session.
func (l *ledger) note(s *session, format string, args ...any) {
	s.life = l.life
	if len(s.past) == 200 { // the beginning and the latest say most
		s.past = slices.Delete(s.past, 50, 100)
	}
	s.past = append(s.past, fmt.Sprintf("life %d, %6.3f s: ", l.life, time.Since(l.began).Seconds())+fmt.Sprintf(format, args...))
}

// accuse writes down a broken promise, with the history of the session.
func (l *ledger) accuse(s *session, format string, args ...any) {
	if len(l.wrong) >= 10 {
		return
	}
	what := fmt.Sprintf(format, args...)
	if s != nil {
		what += fmt.Sprintf("\nthe history of session %s of %s, client %s:\n\t%s", s.id, s.subject, s.client, strings.Join(s.past, "\n\t"))
	}
	l.wrong = append(l.wrong, what)
}

// alive reports that the session works for certain: it was acknowledged, nobody
// was told that it is over, and nobody has tried to end it.
func (s *session) alive() bool { return !s.ended && s.trying == 0 }

// mayBe is the highest generation that the record can have.
func (s *session) mayBe() uint32 {
	if s.ahead || s.using > 0 {
		return s.newest + 1
	}
	return s.newest
}

// listed reports that an access token stands in the record for certain: it is one
// of the last MaxAccessEntries.
func (s *session) listed(t *token) bool {
	return !t.dead && s.mayBe()-t.gen < rescind.MaxAccessEntries
}

// dropped reports that an access token has made room for newer ones.
func (s *session) dropped(t *token) bool {
	return t.gen <= s.newest && s.newest-t.gen >= rescind.MaxAccessEntries
}

// keep adds a grant's tokens to what is held.
func (s *session) keep(gen uint32, g rescind.Grant) {
	s.refresh[gen] = g.RefreshToken.Reveal()
	text := g.AccessToken.Reveal()
	if !slices.ContainsFunc(s.access, func(t *token) bool { return t.text == text }) {
		s.access = append(s.access, &token{text: text, gen: gen})
	}
	if len(s.access) > 12 {
		s.access = slices.Delete(s.access, 1, 2) // the first one stays
	}
	delete(s.refresh, gen-6)
}

// opened records a login that was answered. It began at a tick.
func (l *ledger) opened(in rescind.Login, g rescind.Grant, begun int) *session {
	s := &session{id: g.Session, subject: in.Subject, client: in.Client, refresh: map[uint32]string{}}
	s.keep(0, g)
	l.note(s, "login")
	if l.byID[s.id] != nil {
		l.accuse(s, "a session id was handed out twice")
	}
	l.byID[s.id] = s
	l.sessions = append(l.sessions, s)
	// Whether a sweep at the same time came before it or after is not known.
	for _, w := range l.sweeps {
		if (w.ended == 0 || w.ended > begun) && w.match(s.subject, s.client, s.id) {
			s.trying++
			s.tries++
			l.note(s, "opened during the ending of %s", w.what)
		}
	}
	return s
}

// startSweep marks all that a sweep will end.
func (l *ledger) startSweep(what string, match func(subject, client string, id rescind.SessionID) bool) *sweep {
	w := &sweep{what: what, match: match}
	for _, s := range l.sessions {
		if !s.ended && match(s.subject, s.client, s.id) {
			s.trying++
			s.tries++
			l.note(s, "ending of %s begun", what)
			w.covered = append(w.covered, s)
		}
	}
	l.sweeps = append(l.sweeps, w)
	return w
}

// endSweep records its outcome.
func (l *ledger) endSweep(w *sweep, o outcome) {
	if o == unknown {
		for _, s := range w.covered {
			l.note(s, "ending of %s: no answer", w.what)
		}
		l.doubtful = append(l.doubtful, w)
		return
	}
	w.ended = l.now()
	for _, s := range w.covered {
		l.note(s, "ending of %s: %s", w.what, o)
		s.answered(o)
	}
}

// answered takes an ending off those that are open.
func (s *session) answered(o outcome) {
	s.trying--
	if o == done {
		s.ended = true
	} else {
		s.tries--
	}
}

// spared is called when the session was seen alive with nothing under way: what
// was tried has not happened.
func (s *session) spared() { s.trying, s.tries = 0, 0 }

// startEnding and endEnding are the same for one session.
func (l *ledger) startEnding(s *session, what string) {
	s.trying++
	s.tries++
	l.note(s, "%s begun", what)
}

func (l *ledger) endEnding(s *session, what string, o outcome) {
	l.note(s, "%s: %s", what, o)
	if o != unknown {
		s.answered(o)
	}
}

// outcome is what an answer says of the call.
type outcome int

const (
	done    outcome = iota
	dead            // the token does not stand
	refused         // nothing was done
	unknown         // no answer, or none that says
)

func (o outcome) String() string { return [...]string{"done", "dead", "refused", "no answer"}[o] }

// checked judges the answer to a check that began when the session was ended, or
// the token was known to be dead or dropped (over).
func (l *ledger) checked(s *session, t *token, over bool, o outcome, quiet bool) {
	l.counts["checks"]++
	switch o {
	case done:
		if over {
			l.note(s, "check of generation %d: ALIVE", t.gen)
			l.accuse(s, "law 1: a token passes that was ended, or that was seen dead: access token of generation %d", t.gen)
		} else if quiet && s.trying > 0 {
			l.note(s, "check of generation %d: alive, so what was tried has not happened", t.gen)
			s.spared()
		}
	case dead:
		if s.alive() && s.listed(t) {
			l.note(s, "check of generation %d: DEAD", t.gen)
			l.accuse(s, "a session that nobody tried to end is dead: access token of generation %d, newest %d", t.gen, s.newest)
		}
		if !t.dead {
			l.note(s, "check of generation %d: dead", t.gen)
		}
		if s.listed(t) {
			s.ended = true // it was not dropped, so the session is over
		}
		t.dead = true
	case refused:
		l.accuse(s, "a check was refused")
	}
}

// startRefresh returns the refresh token to use. It is not asked while an older
// one is under way.
func (l *ledger) startRefresh(s *session) (text string, gen uint32, over bool) {
	s.using, s.usingOf = s.using+1, s.newest
	return s.refresh[s.newest], s.newest, s.ended
}

// refreshed judges the answer to a refresh.
func (l *ledger) refreshed(s *session, gen uint32, over bool, o outcome, g rescind.Grant, quiet bool) {
	l.counts["refreshes"]++
	s.using--
	switch o {
	case done:
		l.note(s, "refresh of generation %d: done", gen)
		switch {
		case over:
			l.accuse(s, "law 3: a refresh revives what was ended, or seen dead: generation %d", gen)
		case s.newest == gen:
			s.newest, s.ahead = gen+1, false
		case s.refresh[gen+1] != g.RefreshToken.Reveal():
			l.accuse(s, "law 5: generation %d has two successors", gen)
		}
		if g.Session != s.id {
			l.accuse(s, "a refresh answered for another session, %s", g.Session)
		}
		if quiet {
			s.spared()
		}
		s.keep(gen+1, g)
	case dead:
		if s.alive() {
			l.note(s, "refresh of generation %d: DEAD", gen)
			l.accuse(s, "a session that nobody tried to end does not refresh: generation %d", gen)
		}
		if !s.ended {
			l.note(s, "refresh of generation %d: dead", gen)
		}
		s.ended = true
	case refused:
		l.accuse(s, "a refresh was refused")
	case unknown:
		s.ahead = s.ahead || gen == s.newest
		l.note(s, "refresh of generation %d: no answer", gen)
	}
}

// died ends a life. Nothing of it can happen any more: what got no answer has
// happened or has not, and the next life will tell.
func (l *ledger) died() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.sweeps = nil
	l.life++
}

// halves finds endings of many sessions that have happened to some of them only.
// It is asked when every session has been looked at.
func (l *ledger) halves() {
	for _, w := range l.doubtful {
		var ended, alive *session
		for _, s := range w.covered {
			switch {
			case s.ended && s.tries == 1: // nothing else can have ended it
				ended = s
			case s.alive():
				alive = s
			}
		}
		if ended != nil && alive != nil {
			l.accuse(ended, "the ending of %s has happened to some sessions only; this one ended", w.what)
			l.accuse(alive, "and this one lives")
		}
	}
	l.doubtful = nil
}
