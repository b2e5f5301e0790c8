package rescind

import (
	"context"
	"crypto/subtle"
	"errors"
	"fmt"
	"math"
	"slices"
	"time"
)

// Refresh is a request for a successor (RFC 6749 section 6). Scope may narrow
// the one access token it hands out, never widen it.
type Refresh struct {
	Client string // who presents the token; it works for its own client only
	Token  string
	Scope  string
}

// use is what presenting a refresh token of a generation means.
type use uint8

const (
	useRotate use = iota + 1 // the current one: hand out a successor
	useRetry                 // the one before, in the grace window: the same successor again
	useReuse                 // an older one, or too late: somebody else has it
	useAhead                 // newer than the record: the store has gone back in time
)

func (s *Session) useOf(generation uint32, now time.Time, window time.Duration) use {
	switch {
	case generation == s.Generation:
		return useRotate
	case generation > s.Generation:
		return useAhead
	case generation == s.Generation-1 && now.Before(s.RotatedAt.Add(window)):
		return useRetry
	}
	return useReuse
}

// saltOf compares a refresh token's salt with the record's.
func (p *presented) saltOf(s *Session) bool {
	return subtle.ConstantTimeCompare(p.salt[:], s.Salt[:]) == 1
}

// Refresh rotates a refresh token. It has at most one successor: a retry inside
// the client's grace window gets that same one again, with the same access
// token; any other reuse ends the session and is ErrReuse. Errors otherwise:
// ErrInactive, ErrForeign (another client's token, no reuse), ErrScope (the scope
// was never granted), ErrUnavailable (the token is as good as before).
func (a *Authority) Refresh(ctx context.Context, r Refresh) (Grant, error) {
	r.Client = or(r.Client, DefaultClient)
	scope, err := normalScope(r.Scope)
	if err != nil {
		return Grant{}, err
	}
	for range conflictsMax {
		set, p, snap, err := a.read(ctx, r.Token)
		if err != nil {
			return Grant{}, err
		}
		if p.kind != kindRefresh {
			return Grant{}, ErrMalformed
		}
		s := &snap.Session
		switch {
		case !snap.Found:
			return Grant{}, ErrUnknown
		case !p.saltOf(s):
			return Grant{}, ErrMalformed
		case s.Client != r.Client:
			return Grant{}, ErrForeign
		}
		now := a.store.Now()
		if err := a.stands(ctx, &snap, set.ring, now); err != nil {
			return Grant{}, err
		}
		client, err := set.client(s.Client)
		if err != nil {
			return Grant{}, err
		}
		switch s.useOf(p.generation, now, client.Window()) {
		case useRetry:
			e := s.entryOf(s.Generation)
			if e == nil {
				return Grant{}, ErrExpired
			}
			return a.grant(set.ring, client, s, e, now)
		case useRotate:
			if s.Generation == math.MaxUint32 {
				return Grant{}, ErrExpired // the number after it is that of the login's token
			}
			if scope != "" && !covers(s.Scope, scope) {
				return Grant{}, fmt.Errorf("%w: the session has %q", ErrScope, s.Scope)
			}
			grant, err := a.rotate(ctx, set, client, s, scope, now)
			if errors.Is(err, ErrConflict) {
				continue // somebody was faster: read again what they made of it
			}
			return grant, err
		case useAhead:
			if err := a.aheadOfStore(ctx, s, p.generation); err != nil {
				return Grant{}, err
			}
			return Grant{}, ErrRevoked
		default:
			return Grant{}, a.endReused(ctx, s, r.Client, fmt.Sprintf("generation %d after %d", p.generation, s.Generation))
		}
	}
	return Grant{}, fmt.Errorf("%w: too many refreshes at once", ErrUnavailable)
}

// rotate moves the session to its next generation by compare-and-swap. A failed
// swap is ErrConflict and has changed nothing. The session keeps its MAC key: no
// swap compares keys, so a change to the current one would let a session slip
// away from a revocation of its own.
func (a *Authority) rotate(ctx context.Context, set *settings, c *Client, s *Session, scope string, now time.Time) (Grant, error) {
	now = now.Truncate(time.Millisecond)
	next := *s
	next.Generation++
	next.RotatedAt, next.LastActive = now, now
	next.Access = slices.DeleteFunc(slices.Clone(s.Access), func(e AccessEntry) bool { return !now.Before(e.ExpiresAt) })
	next.Access = append(next.Access, next.newEntry(now, or(scope, s.Scope)))

	step := Replacement{Events: []Event{s.event(EventSessionRefreshed, s.Client, now)}}
	for len(next.Access) > MaxAccessEntries {
		dropped := next.Access[0]
		next.Access = next.Access[1:]
		step.Dropped = append(step.Dropped, dropped.ID)
		e := s.event(EventTokenDropped, ActorSelf, now)
		e.Detail = "oldest of more than " + fmt.Sprint(MaxAccessEntries) + " live access tokens: " + dropped.ID.String()
		step.Events = append(step.Events, e)
	}
	step.Session = next
	grant, err := a.grant(set.ring, c, &next, &next.Access[len(next.Access)-1], now)
	if err != nil {
		return Grant{}, err
	}
	if err := a.store.Replace(ctx, step); err != nil {
		return Grant{}, unavailable("replace", err)
	}
	return grant, nil
}

// endReused ends a session whose refresh token came back. Until that is durable
// the answer is not "reuse": the caller must not believe that it is over.
func (a *Authority) endReused(ctx context.Context, s *Session, actor, detail string) error {
	if err := a.endByItself(ctx, s, ReasonReuse, actor, detail); err != nil {
		return err
	}
	a.log.WarnContext(ctx, "refresh token reuse: session ended", "session", s.ID, "client", s.Client, "detail", detail)
	return ErrReuse
}
