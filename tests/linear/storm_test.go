package linear

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"

	"github.com/rescind/rescind"
	"github.com/rescind/rescind/tests/nodes"
)

const (
	clients = 32
	// subjectsAtOnce share the clients, so that several work on each.
	subjectsAtOnce = 8
	// A subject is left when so much has happened to it: what is judged at once
	// stays small. What has an unknown outcome may have happened at any time after
	// it began, which is what makes judging slow.
	operationsMost, unknownMost = 120, 6
	// patience is longer than a node may take for an answer.
	patience = 6 * time.Second
)

// storm is many clients that work on few sessions, through all nodes at once.
type storm struct {
	t     *testing.T
	urls  []string
	asker *nodes.Asker
	begun time.Time

	mu       sync.Mutex
	at       []*subject // those that are worked on
	all      []*subject
	strange  atomic.Int64
	answered [3]atomic.Int64
}

// subject is one user, and what the storm knows of the sessions.
type subject struct {
	name, client string

	mu       sync.Mutex
	sessions []*session
	history  history
	unknown  int
	under    int // logins under way
}

type session struct {
	n      int // within the subject
	id     rescind.SessionID
	tokens map[int]nodes.Tokens // by generation
	newest int
	over   bool // somebody was told so: for choosing only
}

func newStorm(t *testing.T, all []*nodes.Node) *storm {
	st := &storm{t: t, asker: nodes.NewAsker(patience), begun: time.Now()}
	for _, n := range all {
		st.urls = append(st.urls, n.URL)
	}
	t.Cleanup(st.asker.Close)
	for range subjectsAtOnce {
		st.at = append(st.at, st.fresh())
	}
	return st
}

func (st *storm) fresh() *subject {
	s := &subject{name: fmt.Sprintf("subject-%d", len(st.all)), client: nodes.Opaque}
	if len(st.all)%4 == 3 {
		s.client = nodes.JWT
	}
	st.all = append(st.all, s)
	return s
}

// run lets the clients work while during does what it does.
func (st *storm) run(during func()) {
	stop := make(chan struct{})
	var all sync.WaitGroup
	for n := range clients {
		all.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
					st.act(n)
				}
			}
		})
	}
	defer all.Wait()
	defer close(stop)
	during()
}

// untilAnswered waits until so many answers were of a kind, however busy the machine
// is.
func (st *storm) untilAnswered(is verdict, n int64) {
	for until := time.Now().Add(3 * time.Minute); st.answered[is].Load() < n && time.Now().Before(until); {
		time.Sleep(10 * time.Millisecond)
	}
}

// act does one thing that a client may do.
func (st *storm) act(client int) {
	st.mu.Lock()
	i := rand.IntN(len(st.at))
	s := st.at[i]
	s.mu.Lock()
	if len(s.history) >= operationsMost || s.unknown >= unknownMost {
		s.mu.Unlock()
		s = st.fresh()
		st.at[i] = s
		s.mu.Lock()
	}
	st.mu.Unlock()
	v := s.pick()
	mayLogin := len(s.sessions)+s.under < sessionsMost
	chance := rand.IntN(100)
	if v == nil || chance < 8 && mayLogin {
		if !mayLogin {
			s.mu.Unlock()
			return
		}
		s.under++
		var other *session
		if chance < 2 {
			other = v
		}
		s.mu.Unlock()
		st.login(client, s, other)
		return
	}
	generation, tokens := v.choose()
	s.mu.Unlock()
	switch {
	case chance < 68:
		st.check(client, s, v, generation, tokens)
	case chance < 72:
		st.inspect(client, s, v, generation, tokens)
	case chance < 90:
		st.refresh(client, s, v, generation, tokens)
	default:
		st.finish(client, s, v, generation, tokens)
		if rand.IntN(4) > 0 {
			st.check(client, s, v, generation, tokens)
		}
	}
}

// pick chooses a session, the younger the likelier, and one that is over seldom.
func (s *subject) pick() *session {
	n := len(s.sessions)
	if n == 0 {
		return nil
	}
	v := s.sessions[n-1-min(rand.IntN(n), rand.IntN(n))]
	for range 3 {
		if !v.over || rand.IntN(4) == 0 {
			break
		}
		v = s.sessions[n-1-rand.IntN(n)]
	}
	return v
}

// choose is mostly the newest generation.
func (v *session) choose() (int, nodes.Tokens) {
	g := v.newest
	if rand.IntN(10) == 0 {
		g = max(0, g-1-rand.IntN(2)*rand.IntN(4))
	}
	for ; ; g++ { // of one whose refresh had no answer nothing is known
		if tokens, ok := v.tokens[g]; ok {
			return g, tokens
		}
	}
}

func (st *storm) node() (string, string) {
	i := rand.IntN(len(st.urls))
	return st.urls[i], fmt.Sprintf(" at node %d", i)
}

// do asks, and notes question and answer, with the tokens that came with it. An
// answer that no node should give fails the test.
func (st *storm) do(client int, s *subject, in input, ask func(context.Context) (nodes.Tokens, error)) {
	called := time.Since(st.begun)
	g, err := ask(context.Background())
	op := porcupine.Operation{ClientId: client, Call: int64(called), Return: int64(time.Since(st.begun))}
	var out output
	switch {
	case err == nil:
		out.tokens = hash(g)
	case errors.Is(err, rescind.ErrInactive), errors.Is(err, rescind.ErrNotFound):
		out.is = no
	default:
		out.is, op.Return = unknown, open
		if !errors.Is(err, rescind.ErrUnavailable) && st.strange.Add(1) <= 5 {
			st.t.Errorf("%s: %v", doings[in.do], err)
		}
	}
	st.answered[out.is].Add(1)
	if out.is == unknown {
		time.Sleep(rest)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case in.do == login:
		s.under--
		if out.is == yes {
			in.session = len(s.sessions)
			s.sessions = append(s.sessions, &session{n: in.session, id: g.Session, tokens: map[int]nodes.Tokens{0: g}})
		}
	case out.is == no:
		s.sessions[in.session].over = s.sessions[in.session].over || in.generation == s.sessions[in.session].newest
	case in.do == refresh && out.is == yes:
		v := s.sessions[in.session]
		v.tokens[in.generation+1] = g
		v.newest = max(v.newest, in.generation+1)
	}
	if out.is == unknown {
		if in.do == check || in.do == inspect || in.do == login && in.other < 0 {
			return // it says nothing, and changes nothing that anybody can name
		}
		s.unknown++
	}
	op.Input, op.Output = in, out
	s.history = append(s.history, op)
}

// rest is what a client waits after an answer that told it nothing.
const rest = 30 * time.Millisecond

func (st *storm) login(client int, s *subject, other *session) {
	node, at := st.node()
	in := input{do: login, session: -1, other: -1, how: "login" + at}
	var replaces rescind.SessionID
	if other != nil {
		in.other, replaces = other.n, other.id
	}
	st.do(client, s, in, func(ctx context.Context) (nodes.Tokens, error) {
		return st.asker.Login(ctx, node, s.client, s.name, replaces)
	})
}

func (st *storm) check(client int, s *subject, v *session, generation int, tokens nodes.Tokens) {
	node, at := st.node()
	ask, how := st.asker.Introspect, "introspection"
	if rand.IntN(2) == 0 {
		ask, how = st.asker.ForwardAuth, "forward-auth"
	}
	st.do(client, s, input{do: check, session: v.n, other: -1, generation: generation, how: how + at}, func(ctx context.Context) (nodes.Tokens, error) {
		return nodes.Tokens{}, ask(ctx, node, tokens.Access)
	})
}

func (st *storm) inspect(client int, s *subject, v *session, generation int, tokens nodes.Tokens) {
	node, at := st.node()
	st.do(client, s, input{do: inspect, session: v.n, other: -1, generation: generation, how: "introspection" + at}, func(ctx context.Context) (nodes.Tokens, error) {
		return nodes.Tokens{}, st.asker.Introspect(ctx, node, tokens.Refresh)
	})
}

func (st *storm) refresh(client int, s *subject, v *session, generation int, tokens nodes.Tokens) {
	node, at := st.node()
	st.do(client, s, input{do: refresh, session: v.n, other: -1, generation: generation, how: "token request" + at}, func(ctx context.Context) (nodes.Tokens, error) {
		return st.asker.Refresh(ctx, node, s.client, tokens.Refresh)
	})
}

// finish ends one session or several, in one of the ways there are.
func (st *storm) finish(client int, s *subject, v *session, generation int, tokens nodes.Tokens) {
	node, at := st.node()
	in := input{do: end, session: v.n, other: -1, generation: generation}
	var ask func(context.Context) error
	switch rand.IntN(10) {
	case 0, 1:
		in.how, ask = "logout with the access token", func(ctx context.Context) error { return st.asker.Logout(ctx, node, tokens.Access, false) }
	case 2, 3:
		in.how, ask = "logout with the refresh token", func(ctx context.Context) error { return st.asker.Logout(ctx, node, tokens.Refresh, false) }
	case 4:
		in.how, ask = "DELETE", func(ctx context.Context) error { return st.asker.End(ctx, node, v.id) }
	case 5:
		in.how, ask = "revocation of the session", func(ctx context.Context) error {
			return st.asker.Revoke(ctx, node, map[string]any{"session": v.id})
		}
	case 6:
		in.do, in.how = everywhere, "logout with the access token"
		ask = func(ctx context.Context) error { return st.asker.Logout(ctx, node, tokens.Access, true) }
	case 7:
		in.do, in.how = endAll, "revocation of the subject"
		ask = func(ctx context.Context) error { return st.asker.Revoke(ctx, node, map[string]any{"subject": s.name}) }
	default:
		in.do, in.how = endOthers, "revocation of the subject but a session"
		ask = func(ctx context.Context) error {
			return st.asker.Revoke(ctx, node, map[string]any{"subject": s.name, "except_session": v.id})
		}
	}
	in.how += at
	st.do(client, s, in, func(ctx context.Context) (nodes.Tokens, error) { return nodes.Tokens{}, ask(ctx) })
}

// look asks once more about every session, with nothing else under way: what has
// been acknowledged is still so.
func (st *storm) look() {
	work := make(chan *subject)
	var all sync.WaitGroup
	for n := range clients {
		all.Go(func() {
			for s := range work {
				for _, v := range s.sessions {
					st.check(n, s, v, v.newest, v.tokens[v.newest])
				}
			}
		})
	}
	for _, s := range st.all {
		work <- s
	}
	close(work)
	all.Wait()
}

// judge holds every history against the model, and returns what is wrong.
func (st *storm) judge() []string {
	var mu sync.Mutex
	var wrong []string
	work := make(chan *subject)
	var all sync.WaitGroup
	for range runtime.GOMAXPROCS(0) {
		all.Go(func() {
			for s := range work {
				if why := s.history.judge(); why != "" {
					mu.Lock()
					wrong = append(wrong, s.name+": "+why)
					mu.Unlock()
				}
			}
		})
	}
	for _, s := range st.all {
		work <- s
	}
	close(work)
	all.Wait()
	return wrong
}

// identity is what of an access token does not change when it is signed again.
func identity(access string) string {
	parts := strings.Split(access, ".")
	if len(parts) != 3 {
		return access
	}
	var claims struct{ JTI string }
	body, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err == nil {
		err = json.Unmarshal(body, &claims)
	}
	if err != nil {
		return access
	}
	return claims.JTI
}

func hash(g nodes.Tokens) uint64 {
	if g.Access == "" {
		return 0
	}
	h := fnv.New64a()
	_, _ = h.Write([]byte(identity(g.Access) + " " + g.Refresh)) // never fails
	return h.Sum64() | 1
}
