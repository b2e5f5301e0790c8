package rescind

import (
	"context"
	"encoding/json"
	"fmt"
	"time"
)

// View is a session as people and scripts see it. It never holds a token.
type View struct {
	ID          SessionID       `json:"id"`
	State       string          `json:"state"` // "active" or "ended"
	Subject     string          `json:"subject"`
	Client      string          `json:"client_id"`
	Audience    []string        `json:"audience"`
	Scope       string          `json:"scope,omitempty"`
	Claims      json.RawMessage `json:"claims,omitempty"`
	Device      Device          `json:"device"`
	CreatedAt   time.Time       `json:"created_at"`
	LastActive  time.Time       `json:"last_active_at"`
	IdleAt      time.Time       `json:"idle_expires_at"`
	ExpiresAt   time.Time       `json:"expires_at"`
	Generation  uint32          `json:"generation"`
	RefreshedAt *time.Time      `json:"refreshed_at,omitempty"`
	EndedAt     *time.Time      `json:"ended_at,omitempty"`
	EndReason   Reason          `json:"end_reason,omitempty"`
	Tokens      []TokenView     `json:"access_tokens"`
}

// TokenView is the ledger's entry of an access token.
type TokenView struct {
	ID        TokenID   `json:"jti"`
	State     string    `json:"state"` // "active" or "ended"
	Scope     string    `json:"scope,omitempty"`
	IssuedAt  time.Time `json:"issued_at"`
	ExpiresAt time.Time `json:"expires_at"`
}

// States of a View and of a TokenView.
const (
	StateActive = "active"
	StateEnded  = "ended"
)

// SessionQuery selects sessions. Limit is 1 to 1000 (0 means 100); After is the
// cursor of the page before.
type SessionQuery struct {
	Subject string // empty: any
	Client  string // empty: any
	State   string // StateActive, StateEnded, or empty: any
	After   string
	Limit   int
}

// SessionPage is a part of the ledger. Next is empty at the end; a page may be
// short and still have a Next, because the work of one call is bounded.
type SessionPage struct {
	Sessions []View `json:"sessions"`
	Next     string `json:"next,omitempty"`
}

// listScan bounds how many records one page of a list reads.
const listScan = 10_000

// Session shows one session. ErrNotFound if there is none.
func (a *Authority) Session(ctx context.Context, id SessionID) (View, error) {
	snap, err := a.store.Lookup(ctx, id)
	if err != nil {
		return View{}, unavailable("look-up", err)
	}
	if !snap.Found {
		return View{}, fmt.Errorf("%w: no session %s", ErrNotFound, id)
	}
	set, err := a.atLeast(ctx, snap.Config)
	if err != nil {
		return View{}, err
	}
	return view(&snap, set.ring, a.store.Now()), nil
}

// EndSession ends one session of a subject: that of the user who asks, because
// ids of sessions come from the browser. ErrNotFound if it is not that subject's,
// as if it were not there. It is Revoke otherwise.
func (a *Authority) EndSession(ctx context.Context, id SessionID, subject string) (Receipt, error) {
	if subject == "" {
		return Receipt{}, invalid("a subject is missing")
	}
	return a.Revoke(ctx, Revocation{Selector: Selector{Session: id}, Actor: subject, OwnerSubject: subject})
}

// Sessions lists sessions in the order of their ids.
func (a *Authority) Sessions(ctx context.Context, q SessionQuery) (SessionPage, error) {
	if err := pageLimit(&q.Limit); err != nil {
		return SessionPage{}, err
	}
	if q.State != "" && q.State != StateActive && q.State != StateEnded {
		return SessionPage{}, invalid("state is %q or %q", StateActive, StateEnded)
	}
	if q.Subject != "" && (len(q.Subject) > MaxSubject || !printable(q.Subject)) {
		return SessionPage{}, invalid("a subject has 1 to %d printable ASCII characters", MaxSubject)
	}
	set, err := a.latest(ctx)
	if err != nil {
		return SessionPage{}, err
	}
	lq := ListQuery{Limit: q.Limit}
	if q.Subject != "" {
		tag := set.ring.Tag(q.Subject)
		lq.Tag = &tag
	}
	if q.After != "" {
		if lq.After, err = ParseSessionID(q.After); err != nil {
			return SessionPage{}, invalid("the cursor is none of ours")
		}
	}
	page := SessionPage{Sessions: []View{}}
	now := a.store.Now()
	for read := 0; ; {
		part, err := a.store.List(ctx, lq)
		if err != nil {
			return SessionPage{}, unavailable("list", err)
		}
		for i := range part.Sessions {
			snap := &part.Sessions[i]
			lq.After = snap.Session.ID
			if set, err = a.atLeast(ctx, snap.Config); err != nil {
				return SessionPage{}, err
			}
			v := view(snap, set.ring, now)
			if (q.State == "" || q.State == v.State) && (q.Client == "" || q.Client == v.Client) && (q.Subject == "" || q.Subject == v.Subject) {
				page.Sessions = append(page.Sessions, v)
			}
			if len(page.Sessions) == q.Limit && (part.More || i+1 < len(part.Sessions)) {
				page.Next = lq.After.String()
				return page, nil
			}
		}
		read += len(part.Sessions)
		if !part.More {
			return page, nil
		}
		if read >= listScan {
			page.Next = lq.After.String()
			return page, nil
		}
	}
}

func view(snap *Snapshot, ring KeyRing, now time.Time) View {
	s := &snap.Session
	v := View{
		ID: s.ID, State: StateActive, Subject: s.Subject, Client: s.Client, Audience: s.Audience, Scope: s.Scope,
		Claims: s.Claims, Device: s.Device, CreatedAt: s.CreatedAt.UTC(), LastActive: s.LastActive.UTC(),
		IdleAt: s.LastActive.Add(s.IdleTimeout).UTC(), ExpiresAt: s.ExpiresAt.UTC(), Generation: s.Generation,
		Tokens: []TokenView{},
	}
	if s.Generation > 0 {
		t := s.RotatedAt.UTC()
		v.RefreshedAt = &t
	}
	if judge(snap, ring, now) != nil {
		v.State = StateEnded
		v.EndReason = endReason(snap, ring, now)
	}
	if s.Ended() {
		t := s.EndedAt.UTC()
		v.EndedAt = &t
	}
	for i := range s.Access {
		e := &s.Access[i]
		t := TokenView{ID: e.ID, State: v.State, Scope: s.scopeOf(e), IssuedAt: e.IssuedAt.UTC(), ExpiresAt: e.ExpiresAt.UTC()}
		if !now.Before(e.ExpiresAt) {
			t.State = StateEnded
		}
		v.Tokens = append(v.Tokens, t)
	}
	return v
}

// endReason says in one word why judge refuses a session.
func endReason(snap *Snapshot, ring KeyRing, now time.Time) Reason {
	s, c := &snap.Session, snap.Cutoffs
	switch {
	case s.Ended():
		return s.EndReason
	case c.Subject > s.Birth:
		return ReasonSubject
	case c.Client > s.Birth:
		return ReasonClient
	case c.All > s.Birth:
		return ReasonAll
	case ring.MACState(s.MACKey) != nil:
		return ReasonKey
	case !now.Before(s.ExpiresAt):
		return ReasonExpired
	}
	return ReasonIdle
}

// Events reads the audit log, newest first.
func (a *Authority) Events(ctx context.Context, q EventQuery) (EventPage, error) {
	if err := pageLimit(&q.Limit); err != nil {
		return EventPage{}, err
	}
	page, err := a.store.Events(ctx, q)
	return page, unavailableUnlessInvalid("events", err)
}

func pageLimit(n *int) error {
	if *n == 0 {
		*n = 100
	}
	if *n < 1 || *n > 1000 {
		return invalid("a page has 1 to 1000 entries")
	}
	return nil
}
