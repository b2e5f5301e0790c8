package transfer_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/rescind/rescind"
	"github.com/rescind/rescind/keys"
	"github.com/rescind/rescind/store/pebblestore"
	"github.com/rescind/rescind/store/storetest"
	"github.com/rescind/rescind/transfer"
)

func open(t testing.TB) *pebblestore.Store {
	t.Helper()
	s, err := pebblestore.Open("ledger", pebblestore.Options{FS: vfs.NewMem()})
	must(t, err)
	t.Cleanup(func() { must(t, s.Close()) })
	return s
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func serve(s rescind.Store) (*rescind.Authority, error) {
	master, err := keys.ParseMaster(base64.StdEncoding.EncodeToString(bytes.Repeat([]byte{7}, 32)))
	if err != nil {
		return nil, err
	}
	keeper, err := keys.New(master, keys.Options{})
	if err != nil {
		return nil, err
	}
	return rescind.New(context.Background(), rescind.Config{Store: s, Keys: keeper, Issuer: "https://login.example", Audience: "notes", WithoutUpkeep: true})
}

// population is a ledger with sessions in every state.
type population struct {
	store rescind.Store
	node  *rescind.Authority
	live  []rescind.Grant
	dead  []rescind.Grant
}

func populate(t testing.TB, s rescind.Store, each int) *population {
	t.Helper()
	ctx := context.Background()
	node, err := serve(s)
	must(t, err)
	t.Cleanup(node.Close)
	p := &population{store: s, node: node}
	for _, c := range []rescind.Client{{ID: "app", Public: true}, {ID: "opaque", Public: true, Format: rescind.FormatOpaque}, {ID: "gone", Public: true}} {
		_, err := node.AddClient(ctx, c, true, "test")
		must(t, err)
	}
	login := func(subject, client string) rescind.Grant {
		g, err := node.Issue(ctx, rescind.Login{
			Subject: subject, Client: client, Scope: "read write", Claims: json.RawMessage(`{"plan":"gold"}`),
			Device: rescind.Device{Name: "phone", UserAgent: strings.Repeat("u", 120), IP: "192.0.2.1"},
		})
		must(t, err)
		return g
	}
	refresh := func(g rescind.Grant, client string) rescind.Grant {
		next, err := node.Refresh(ctx, rescind.Refresh{Client: client, Token: g.RefreshToken.Reveal()})
		must(t, err)
		return next
	}
	for i := range each {
		name := func(s string) string { return fmt.Sprint(s, i) }
		p.live = append(p.live, login(name("ann"), "app"), login(name("ann"), "opaque"))
		g := login(name("ben"), "app")
		for range 6 {
			g = refresh(g, "app")
		}
		p.live = append(p.live, g)

		out := login(name("ann"), "app")
		_, err := node.Logout(ctx, out.RefreshToken.Reveal(), false)
		must(t, err)
		p.dead = append(p.dead, out)

		stolen := login(name("ben"), "opaque")
		next := refresh(refresh(stolen, "opaque"), "opaque")
		if _, err := node.Refresh(ctx, rescind.Refresh{Client: "opaque", Token: stolen.RefreshToken.Reveal()}); !errors.Is(err, rescind.ErrReuse) {
			t.Fatalf("reuse: %v", err)
		}
		p.dead = append(p.dead, next)

		kept, others := login(name("cut"), "app"), login(name("cut"), "opaque")
		_, err = node.Revoke(ctx, rescind.Revocation{Selector: rescind.Selector{Subject: name("cut"), ExceptSession: kept.Session}})
		must(t, err)
		p.live, p.dead = append(p.live, kept), append(p.dead, others)
		p.dead = append(p.dead, login(name("dan"), "gone"))
	}
	_, err = node.Revoke(ctx, rescind.Revocation{Selector: rescind.Selector{Client: "gone"}})
	must(t, err)
	p.live = append(p.live, login("late", "gone"))
	return p
}

// hold asserts that a ledger knows every session as it was.
func (p *population) hold(t testing.TB, s rescind.Store) {
	t.Helper()
	ctx := context.Background()
	node, err := serve(s)
	must(t, err)
	defer node.Close()
	for i, g := range p.live {
		access, err := node.Check(ctx, g.AccessToken.Reveal(), rescind.Want{Audience: []string{"notes"}, Scope: "read"})
		if err != nil || access.Session != g.Session || string(access.Claims) != `{"plan":"gold"}` {
			t.Fatalf("live session %d: %+v, %v", i, access, err)
		}
		if _, err := node.Refresh(ctx, rescind.Refresh{Client: access.Client, Token: g.RefreshToken.Reveal()}); err != nil {
			t.Fatalf("refresh of live session %d: %v", i, err)
		}
	}
	for i, g := range p.dead {
		if _, err := node.Check(ctx, g.AccessToken.Reveal(), rescind.Want{Audience: []string{"notes"}}); !errors.Is(err, rescind.ErrInactive) {
			t.Fatalf("dead session %d: %v", i, err)
		}
		for _, client := range []string{"app", "opaque", "gone"} {
			if _, err := node.Refresh(ctx, rescind.Refresh{Client: client, Token: g.RefreshToken.Reveal()}); !errors.Is(err, rescind.ErrInactive) && !errors.Is(err, rescind.ErrForeign) {
				t.Fatalf("refresh of dead session %d: %v", i, err)
			}
		}
	}
	for _, kind := range []rescind.EventKind{rescind.EventLedgerMoved, rescind.EventLedgerCopied} {
		if page, err := node.Events(ctx, rescind.EventQuery{Kind: kind}); err != nil || len(page.Events) != 1 {
			t.Errorf("%d events %s: %v", len(page.Events), kind, err)
		}
	}
}

func TestACopyIsInForceAndItsSourceIsNot(t *testing.T) {
	p := populate(t, open(t), 300) // more than one page
	target := open(t)
	var phases []string
	sum, err := transfer.Run(t.Context(), p.store, target, transfer.Options{To: "there", Settle: 20 * time.Millisecond, Progress: func(g transfer.Progress) {
		if n := len(phases); n == 0 || phases[n-1] != g.Phase {
			phases = append(phases, g.Phase)
		}
		if g.Part < 0 || g.Part > 1 {
			t.Errorf("%+v", g)
		}
	}})
	must(t, err)
	if sum.Sessions != len(p.live)+len(p.dead) || sum.Ended != len(p.dead) || sum.Documents < 5 || sum.Events < sum.Sessions {
		t.Errorf("%+v of %d live and %d dead", sum, len(p.live), len(p.dead))
	}
	if got := strings.Join(phases, " "); got != "settle sessions events verify" {
		t.Errorf("progress: %s", got)
	}
	p.hold(t, target)

	if err := transfer.Abandon(t.Context(), p.store, false); !errors.Is(err, rescind.ErrInvalid) {
		t.Errorf("back to the source: %v", err)
	}
	if _, err := serve(p.store); !errors.Is(err, rescind.ErrUnavailable) {
		t.Errorf("a node on the source: %v", err)
	}
	if _, err := transfer.Run(t.Context(), p.store, open(t), transfer.Options{To: "there"}); !errors.Is(err, rescind.ErrInvalid) {
		t.Errorf("once more from the same source: %v", err)
	}
	must(t, transfer.Abandon(t.Context(), p.store, true))
	back, err := serve(p.store)
	must(t, err)
	back.Close()
}

// TestANodeThatIsLeftOnTheSourceAnswersNothing: law 4, and law 1: it must not call
// an ending done that the copy does not have.
func TestANodeThatIsLeftOnTheSourceAnswersNothing(t *testing.T) {
	ctx := t.Context()
	p := populate(t, open(t), 2)
	_, err := transfer.Run(ctx, p.store, open(t), transfer.Options{To: "there"})
	must(t, err)
	g := p.live[0]
	for what, call := range map[string]func() error{
		"check": func() error { _, err := p.node.Check(ctx, g.AccessToken.Reveal(), rescind.Want{}); return err },
		"refresh": func() error {
			_, err := p.node.Refresh(ctx, rescind.Refresh{Token: g.RefreshToken.Reveal()})
			return err
		},
		"logout": func() error { _, err := p.node.Logout(ctx, g.AccessToken.Reveal(), false); return err },
		"session": func() error {
			_, err := p.node.Revoke(ctx, rescind.Revocation{Selector: rescind.Selector{Session: g.Session}})
			return err
		},
		"end of a device": func() error { _, err := p.node.EndSession(ctx, g.Session, "ann0"); return err },
		"subject": func() error {
			_, err := p.node.Revoke(ctx, rescind.Revocation{Selector: rescind.Selector{Subject: "ann0"}})
			return err
		},
		"client": func() error {
			_, err := p.node.Revoke(ctx, rescind.Revocation{Selector: rescind.Selector{Client: "app"}})
			return err
		},
		"all": func() error {
			_, err := p.node.Revoke(ctx, rescind.Revocation{Selector: rescind.Selector{All: true}})
			return err
		},
		"login":            func() error { _, err := p.node.Issue(ctx, rescind.Login{Subject: "x"}); return err },
		"client's removal": func() error { _, err := p.node.RemoveClient(ctx, "opaque", "test"); return err },
	} {
		if err := call(); !errors.Is(err, rescind.ErrUnavailable) {
			t.Errorf("%s: %v", what, err)
		}
	}
}

// TestACopyThatWasCutShortGoesOn: at every call, before and after it took effect.
func TestACopyThatWasCutShortGoesOn(t *testing.T) {
	p := populate(t, open(t), 1)
	for _, side := range []string{"source", "target"} {
		for _, method := range []string{"Config", "Configure", "Create", "List", "Lookup", "Events"} {
			for _, fault := range []storetest.Fault{storetest.FailBefore, storetest.FailAfter} {
				for n := 0; ; n++ {
					target := open(t)
					from, to := p.store, rescind.Store(target)
					faulty := storetest.NewFaulty(from, storetest.Nth(method, n, fault))
					if side == "target" {
						faulty = storetest.NewFaulty(to, storetest.Nth(method, n, fault))
						to = faulty
					} else {
						from = faulty
					}
					_, err := transfer.Run(t.Context(), from, to, transfer.Options{To: "there"})
					if err == nil { // there is no n-th call
						must(t, transfer.Abandon(t.Context(), p.store, true))
						break
					}
					if !errors.Is(err, rescind.ErrUnavailable) {
						t.Fatalf("%s of the %s, call %d: %v", method, side, n, err)
					}
					cfg, err := target.Config(t.Context())
					must(t, err)
					half := len(cfg.Documents) > 0 && cfg.InForce() == nil
					_, err = transfer.Run(t.Context(), p.store, target, transfer.Options{To: "there"})
					if over := errors.Is(err, rescind.ErrInvalid) && strings.Contains(err.Error(), "was moved to there already"); over {
						half = false // all of it had been done, but for the answer
					} else if err != nil {
						t.Fatalf("%s of the %s, call %d, once more: %v", method, side, n, err)
					}
					if half {
						t.Fatalf("%s of the %s, call %d: half a copy is in force", method, side, n)
					}
					must(t, transfer.Abandon(t.Context(), p.store, true))
					page, err := target.List(t.Context(), rescind.ListQuery{Limit: 1000})
					must(t, err)
					ended := 0
					for _, snap := range page.Sessions {
						if snap.Session.Ended() {
							ended++
						}
					}
					if len(page.Sessions) != len(p.live)+len(p.dead) || ended != len(p.dead) {
						t.Fatalf("%s of the %s, call %d: %d sessions, %d of them ended", method, side, n, len(page.Sessions), ended)
					}
				}
			}
		}
	}
}

func TestWhatDoesNotFitIsRefusedAndStaysAsItIs(t *testing.T) {
	ctx := t.Context()
	p := populate(t, open(t), 1)
	other := populate(t, open(t), 1)
	empty := open(t)
	for what, err := range map[string]error{
		"no source":          second(transfer.Run(ctx, empty, open(t), transfer.Options{To: "x"})),
		"onto itself":        second(transfer.Run(ctx, p.store, p.store, transfer.Options{To: "x"})),
		"onto another":       second(transfer.Run(ctx, p.store, other.store, transfer.Options{To: "x"})),
		"nothing to abandon": transfer.Abandon(ctx, p.store, false),
	} {
		if !errors.Is(err, rescind.ErrInvalid) {
			t.Errorf("%s: %v", what, err)
		}
	}
	for _, q := range []*population{p, other} {
		if _, err := q.node.Check(ctx, q.live[0].AccessToken.Reveal(), rescind.Want{}); err != nil {
			t.Errorf("a ledger that was not moved: %v", err)
		}
	}
	// A copy that was given up is out of date.
	target := open(t)
	_, err := transfer.Run(ctx, p.store, storetest.NewFaulty(target, storetest.Nth("Create", 3, storetest.FailAfter)), transfer.Options{To: "x"})
	if !errors.Is(err, rescind.ErrUnavailable) {
		t.Fatal(err)
	}
	_, err = transfer.Run(ctx, p.store, open(t), transfer.Options{To: "y"})
	if !errors.Is(err, rescind.ErrInvalid) {
		t.Errorf("to two places: %v", err)
	}
	must(t, transfer.Abandon(ctx, p.store, false))
	_, err = p.node.Logout(ctx, p.live[0].AccessToken.Reveal(), false)
	must(t, err)
	if _, err := transfer.Run(ctx, p.store, target, transfer.Options{To: "x"}); !errors.Is(err, rescind.ErrInvalid) {
		t.Errorf("onto a copy that is out of date: %v", err)
	}
}

func second(_ transfer.Result, err error) error { return err }

// TestADifferenceIsFound: something has meddled with the target.
func TestADifferenceIsFound(t *testing.T) {
	p := populate(t, open(t), 1)
	for what, meddle := range map[string]func(s rescind.Store) error{
		"one is missing": func(s rescind.Store) error {
			_, err := s.Purge(t.Context(), rescind.PurgeStep{Limit: 1, Drop: func(*rescind.Snapshot) bool { return true }})
			return err
		},
		"one is too many": func(s rescind.Store) error {
			_, err := s.Create(t.Context(), rescind.Creation{Session: rescind.Session{ID: rescind.NewSessionID(rescind.Tag{1}), Subject: "x", Client: "app"}})
			return err
		},
		"one was used": func(s rescind.Store) error {
			return s.Touch(t.Context(), p.live[0].Session, s.Now().Add(time.Minute))
		},
		"one has ended": func(s rescind.Store) error {
			_, err := s.End(t.Context(), rescind.End{Session: p.live[0].Session, At: s.Now(), Reason: rescind.ReasonRevoked})
			return err
		},
	} {
		target := &meddled{Store: open(t), meddle: meddle}
		_, err := transfer.Run(t.Context(), p.store, target, transfer.Options{To: "there"})
		if d := new(transfer.Difference); !errors.As(err, &d) {
			t.Errorf("%s: %v", what, err)
		}
		if _, err := serve(target.Store); !errors.Is(err, rescind.ErrUnavailable) {
			t.Errorf("%s: the copy is in force: %v", what, err)
		}
		must(t, transfer.Abandon(t.Context(), p.store, false))
	}
}

// meddled is a store that is changed once all sessions are there.
type meddled struct {
	rescind.Store
	meddle func(rescind.Store) error
	done   bool
}

func (m *meddled) Configure(ctx context.Context, c rescind.Change) (rescind.Position, error) {
	at, err := m.Store.Configure(ctx, c)
	if err == nil && !m.done && len(c.Events) > 1 {
		m.done = true
		err = m.meddle(m.Store)
	}
	return at, err
}
