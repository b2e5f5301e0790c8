package rescind

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"
)

// Want says what a token must be good for. The zero value asks for the
// Authority's own audience and for no scope.
type Want struct {
	Audience    []string // any of these; empty: the Authority's
	AnyAudience bool     // the token's audience does not matter
	Scope       string   // all of these words
	NoTouch     bool     // a monitor asks: this is not activity
}

// Access is a standing access token, as the ledger knows it.
type Access struct {
	Session   SessionID
	Token     TokenID
	Subject   string
	Client    string
	Audience  []string
	Scope     string
	Claims    json.RawMessage
	IssuedAt  time.Time
	ExpiresAt time.Time
}

// Meets says whether a standing token is good for what is wanted: nil, ErrAudience
// or ErrScope. Audience is the one of wants that name none; "" takes any. It is
// the rule of Check, for those who ask a remote Authority or keep its answers.
func (a *Access) Meets(want Want, audience string) error {
	switch {
	case want.AnyAudience:
	case len(want.Audience) > 0:
		if !slices.ContainsFunc(want.Audience, func(w string) bool { return slices.Contains(a.Audience, w) }) {
			return ErrAudience
		}
	case audience != "" && !slices.Contains(a.Audience, audience):
		return ErrAudience
	}
	if want.Scope != "" && !covers(a.Scope, want.Scope) {
		return ErrScope
	}
	return nil
}

// judge says whether a session stands. It is the only place that does. The error
// wraps ErrInactive; errIdle wants the session to be ended for good.
func judge(snap *Snapshot, ring KeyRing, now time.Time) error {
	s := &snap.Session
	switch {
	case !snap.Found:
		return ErrUnknown
	case s.Ended():
		if s.EndReason == ReasonIdle || s.EndReason == ReasonExpired {
			return ErrExpired
		}
		return ErrRevoked
	case snap.Cutoffs.Passed(s.Birth):
		return ErrRevoked
	case ring.MACState(s.MACKey) != nil:
		return ErrRevoked
	case !now.Before(s.ExpiresAt):
		return ErrExpired
	case !now.Before(s.LastActive.Add(s.IdleTimeout)):
		return errIdle
	}
	return nil
}

var errIdle = fmt.Errorf("%w: idle", ErrExpired)

// stands judges and, where a session has been idle for too long, ends it before
// saying so: an activity update still under way must not bring back what
// somebody has been told is dead.
func (a *Authority) stands(ctx context.Context, snap *Snapshot, ring KeyRing, now time.Time) error {
	err := judge(snap, ring, now)
	if !errors.Is(err, errIdle) {
		return err
	}
	if eerr := a.endByItself(ctx, &snap.Session, ReasonIdle, ActorSelf, ""); eerr != nil {
		return eerr
	}
	return err
}

// Check says whether an access token stands, now, in the ledger. It is asked on
// every request. The error wraps ErrInactive if the token is no good, is
// ErrScope if it is good for something else, and wraps ErrUnavailable if that
// could not be known, which says nothing about the token. A refresh token is
// never an access token.
func (a *Authority) Check(ctx context.Context, token string, want Want) (Access, error) {
	set, p, snap, err := a.read(ctx, token)
	if err != nil {
		return Access{}, err
	}
	return a.judgeAccess(ctx, set, &p, &snap, want)
}

func (a *Authority) judgeAccess(ctx context.Context, set *settings, p *presented, snap *Snapshot, want Want) (Access, error) {
	if p.kind != kindAccess {
		return Access{}, ErrMalformed
	}
	now := a.store.Now()
	if err := a.stands(ctx, snap, set.ring, now); err != nil {
		return Access{}, err
	}
	s := &snap.Session
	e := s.entry(p.id)
	switch {
	case e == nil:
		return Access{}, ErrUnknown
	case p.claims != nil && !a.agrees(p.claims, s, e):
		return Access{}, ErrMalformed
	case !now.Before(e.ExpiresAt):
		return Access{}, ErrExpired
	}
	access := Access{
		Session: s.ID, Token: e.ID, Subject: s.Subject, Client: s.Client, Audience: s.Audience,
		Scope: s.scopeOf(e), Claims: s.Claims, IssuedAt: e.IssuedAt, ExpiresAt: e.ExpiresAt,
	}
	if err := access.Meets(want, a.audience); err != nil {
		return Access{}, err
	}
	if !want.NoTouch && now.Sub(s.LastActive) >= s.IdleTimeout/10 {
		// A lost touch ends the session early, which is the safe side; the token
		// itself is known to be good.
		if err := a.store.Touch(ctx, s.ID, now); err != nil {
			a.log.WarnContext(ctx, "activity not recorded", "session", s.ID, "error", err)
		}
	}
	return access, nil
}

// Introspection is the answer of RFC 7662 section 2.2. An inactive one says
// nothing else.
type Introspection struct {
	Active bool
	Access      // of an access token, or what of it a refresh token has
	Bearer bool // it is an access token
}

// Introspect answers for a client: access tokens of its audiences, and its own
// refresh tokens; with the role admin, any. What the client may not know about is
// inactive to it. Only ErrUnavailable is an error.
func (a *Authority) Introspect(ctx context.Context, caller *Client, token string, touch bool) (Introspection, error) {
	set, p, snap, err := a.read(ctx, token)
	var access Access
	switch {
	case err != nil:
	case p.kind == kindRefresh:
		access, err = a.judgeRefresh(ctx, set, &p, &snap, caller)
	default:
		want := Want{Audience: caller.Audiences, AnyAudience: caller.Has(RoleAdmin), NoTouch: !touch}
		access, err = a.judgeAccess(ctx, set, &p, &snap, want)
	}
	if err != nil {
		if errors.Is(err, ErrInactive) || errors.Is(err, ErrForeign) {
			a.log.DebugContext(ctx, "inactive", "client", caller.ID, "why", err)
			return Introspection{}, nil
		}
		return Introspection{}, err
	}
	return Introspection{Active: true, Access: access, Bearer: p.kind == kindAccess}, nil
}

// judgeRefresh says whether a refresh token would be taken, and changes nothing.
func (a *Authority) judgeRefresh(ctx context.Context, set *settings, p *presented, snap *Snapshot, caller *Client) (Access, error) {
	now := a.store.Now()
	if err := a.stands(ctx, snap, set.ring, now); err != nil {
		return Access{}, err
	}
	s := &snap.Session
	switch {
	case !p.saltOf(s):
		return Access{}, ErrMalformed
	case s.Client != caller.ID && !caller.Has(RoleAdmin):
		return Access{}, ErrForeign
	}
	c, err := set.client(s.Client)
	if err != nil {
		return Access{}, ErrUnknown
	}
	if use := s.useOf(p.generation, now, c.Window()); use != useRotate && use != useRetry {
		return Access{}, ErrRevoked
	}
	return Access{
		Session: s.ID, Subject: s.Subject, Client: s.Client, Audience: s.Audience, Scope: s.Scope,
		Claims: s.Claims, IssuedAt: s.RotatedAt, ExpiresAt: s.deadline(),
	}, nil
}
