package rescind

import (
	"context"
	"errors"
	"fmt"
	"time"
	"unicode/utf8"
)

// Selector says what a revocation ends. Exactly one of Token, Session, Subject,
// Client, Key and All is set; ExceptSession goes with Subject.
type Selector struct {
	Token         string    // any token of a session, live or not: ends that session
	Session       SessionID // one session
	Subject       string    // all sessions of a subject
	ExceptSession SessionID // but this one
	Client        string    // all sessions of a client
	Key           KeyID     // all tokens signed by a key, or all sessions that carry a MAC key
	All           bool      // everything
}

// Revocation is a request to end access.
type Revocation struct {
	Selector
	Actor  string // who asks, for the audit log
	Reason string // in the asker's words, at most 255 bytes, for the audit log
	DryRun bool   // only say how many sessions would end

	// Owner and OwnerSubject restrict Token and Session to a client's own
	// sessions and to one subject's. A foreign token is ErrForeign; a foreign
	// session is ErrNotFound, as if it were not there. With any other selector
	// they are ErrInvalid.
	Owner        string
	OwnerSubject string
}

// Receipt says what a revocation has done. When it is there, every check that
// begins afterwards fails. Guards, LeasesExpired and LongestDelay speak of guards
// that answer from memory; while every check asks the store there are none to
// wait for.
type Receipt struct {
	Position      Position  `json:"position"`
	Epoch         string    `json:"epoch"`
	Session       SessionID `json:"session,omitzero"` // the one that ended, where the selector means one
	Changed       bool      `json:"changed"`          // false: there was nothing left to end
	Guards        int       `json:"guards"`
	LeasesExpired int       `json:"leases_expired"`
	LongestDelay  float64   `json:"longest_delay_ms"`
	DryRun        bool      `json:"dry_run,omitempty"`
	Sessions      *int      `json:"sessions,omitempty"`  // dry run: how many would end
	Truncated     bool      `json:"truncated,omitempty"` // dry run: at least so many
}

// MaxReason is the length of a revocation's reason in bytes.
const MaxReason = 255

// dryRunScan bounds how many records a dry run reads.
const dryRunScan = 10_000

func (r *Revocation) validate() error {
	n := 0
	for _, set := range []bool{r.Token != "", !r.Session.IsZero(), r.Subject != "", r.Client != "", r.Key != KeyID{}, r.All} {
		if set {
			n++
		}
	}
	switch {
	case n != 1:
		return invalid("name exactly one of token, session, subject, client, key and all")
	case !r.ExceptSession.IsZero() && r.Subject == "":
		return invalid("except_session goes with subject")
	case (r.Owner != "" || r.OwnerSubject != "") && r.Token == "" && r.Session.IsZero():
		return invalid("an owner restricts token and session only")
	case len(r.Reason) > MaxReason || !utf8.ValidString(r.Reason):
		return invalid("a reason has at most %d bytes of UTF-8", MaxReason)
	case looksLikeToken(r.Reason):
		return invalid("a reason must not hold a token: it goes to the audit log")
	case r.Subject != "" && (len(r.Subject) > MaxSubject || !printable(r.Subject)):
		return invalid("a subject has 1 to %d printable ASCII characters", MaxSubject)
	}
	return nil
}

// endTime bounds an ending that goes on by itself. Stores give up sooner.
const endTime = 5 * time.Second

// detach frees an ending from the one who asked for it.
func detach(ctx context.Context) (context.Context, context.CancelFunc, error) {
	if err := ctx.Err(); err != nil {
		return nil, nil, unavailable("not begun", err)
	}
	ctx, done := context.WithTimeout(context.WithoutCancel(ctx), endTime)
	return ctx, done, nil
}

// Revoke ends what the selector names. When it returns without error, every
// check that begins afterwards, on any guard, on any node, fails. Ending what has
// ended is no error, and no less certain. After an error that wraps
// ErrUnavailable the outcome is unknown: repeat it.
//
// Once begun it goes on although ctx is cancelled: who hangs up in the middle of
// a logout meant it.
func (a *Authority) Revoke(ctx context.Context, r Revocation) (Receipt, error) {
	if err := r.validate(); err != nil {
		return Receipt{}, err
	}
	ctx, done, err := detach(ctx)
	if err != nil {
		return Receipt{}, err
	}
	defer done()
	switch {
	case r.Token != "":
		return a.revokeToken(ctx, r)
	case !r.Session.IsZero():
		return a.revokeSession(ctx, r)
	case r.Key != KeyID{}:
		return a.revokeKey(ctx, r)
	}
	return a.moveCutoff(ctx, r)
}

func (a *Authority) revokeToken(ctx context.Context, r Revocation) (Receipt, error) {
	_, p, snap, err := a.read(ctx, r.Token)
	switch {
	case err != nil:
		return Receipt{}, err
	case !a.belongs(&p, &snap):
		return Receipt{}, ErrMalformed
	case snap.Found && !r.owns(snap.Session.Client, snap.Session.Subject):
		return Receipt{}, ErrForeign
	case !snap.Found && p.claims != nil && !r.owns(p.claims.Client, p.claims.Subject):
		return Receipt{}, ErrForeign
	}
	return a.end(ctx, &snap, p.session, ReasonRevoked, r)
}

// owns reports whether a session of this client and subject may be ended.
func (r *Revocation) owns(client, subject string) bool {
	return (r.Owner == "" || r.Owner == client) && (r.OwnerSubject == "" || r.OwnerSubject == subject)
}

// belongs reports whether an authentic token is one of this session's family:
// any access token of it, expired ones included, and any generation of its
// refresh token. A purged session is taken at the token's word.
func (a *Authority) belongs(p *presented, snap *Snapshot) bool {
	switch {
	case p.claims != nil && p.claims.Issuer != a.issuer:
		return false
	case !snap.Found:
		return true
	case p.kind == kindRefresh:
		return p.saltOf(&snap.Session)
	case p.claims != nil:
		return p.claims.Subject == snap.Session.Subject && p.claims.Client == snap.Session.Client
	}
	return true
}

func (a *Authority) revokeSession(ctx context.Context, r Revocation) (Receipt, error) {
	snap, err := a.store.Lookup(ctx, r.Session)
	if err != nil {
		return Receipt{}, unavailable("look-up", err)
	}
	if !snap.Found || !r.owns(snap.Session.Client, snap.Session.Subject) {
		return Receipt{}, fmt.Errorf("%w: no session %s", ErrNotFound, r.Session)
	}
	return a.end(ctx, &snap, r.Session, ReasonRevoked, r)
}

// endByItself ends a session for a reason that the server itself has found.
// Whoever made it look may hang up: that changes nothing, a thief gains nothing.
func (a *Authority) endByItself(ctx context.Context, s *Session, why Reason, actor, detail string) error {
	ctx, done := context.WithTimeout(context.WithoutCancel(ctx), endTime)
	defer done()
	now, epoch := a.store.Now(), a.set.Load().epoch
	e := s.event(EventSessionEnded, actor, now)
	e.Reason, e.Detail = string(why), detail
	ended, err := a.store.End(ctx, End{Session: s.ID, At: now, Reason: why, Event: e})
	if err != nil {
		return unavailable("end", err)
	}
	a.acked.note(epoch, ended.Position)
	return nil
}

// end ends one session, or says how many would end.
func (a *Authority) end(ctx context.Context, snap *Snapshot, id SessionID, why Reason, r Revocation) (Receipt, error) {
	set, err := a.atLeast(ctx, snap.Config) // which a ledger that was moved away refuses
	if err != nil {
		return Receipt{}, err
	}
	now := a.store.Now()
	if r.DryRun {
		n := 0
		if judge(snap, set.ring, now) == nil {
			n = 1
		}
		return Receipt{Epoch: set.epoch, Session: id, DryRun: true, Sessions: &n}, nil
	}
	e := snap.Session.event(EventSessionEnded, or(r.Actor, ActorSelf), now)
	e.Session, e.Reason, e.Detail = id.String(), string(why), r.Reason
	ended, err := a.store.End(ctx, End{Session: id, At: now, Reason: why, Event: e})
	if err != nil {
		return Receipt{}, unavailable("end", err)
	}
	a.acked.note(set.epoch, ended.Position)
	return Receipt{Position: ended.Position, Epoch: set.epoch, Session: id, Changed: ended.Changed}, nil
}

func (a *Authority) revokeKey(ctx context.Context, r Revocation) (Receipt, error) {
	if r.DryRun {
		return a.dryRun(ctx, r, func(s *Session) bool { return s.MACKey == r.Key })
	}
	at, err := a.configureAt(ctx, func(cfg StoreConfig, now time.Time) (Change, error) {
		change, err := a.keys.Revoke(cfg, r.Key, now)
		sign(&change, or(r.Actor, ActorSelf), r.Reason)
		return change, err
	})
	if err != nil {
		return Receipt{}, err
	}
	changed := at != 0
	if !changed { // it had been revoked before: as certain as the head
		page, err := a.store.Feed(ctx, 0, 1)
		if err != nil {
			return Receipt{}, unavailable("feed", err)
		}
		at = page.Head
	}
	return Receipt{Position: at, Epoch: a.set.Load().epoch, Changed: changed}, nil
}

// sign puts an actor and a reason into the events of a planned change.
func sign(c *Change, actor, reason string) {
	for i := range c.Events {
		c.Events[i].Actor = actor
		if reason != "" {
			c.Events[i].Detail = reason
		}
	}
}

func (a *Authority) moveCutoff(ctx context.Context, r Revocation) (Receipt, error) {
	set, err := a.latest(ctx)
	if err != nil {
		return Receipt{}, err
	}
	if r.DryRun {
		return a.dryRun(ctx, r, func(s *Session) bool {
			return r.All || (s.Client == r.Client && r.Client != "") || (s.Subject == r.Subject && s.ID != r.ExceptSession)
		})
	}
	now := a.store.Now()
	move := CutoffMove{At: now, Event: Event{At: now, Actor: or(r.Actor, ActorSelf), Reason: string(ReasonRevoked), Detail: r.Reason}}
	switch {
	case r.Subject != "":
		move.Kind, move.Tag = EndSubject, set.ring.Tag(r.Subject)
		move.Event.Kind, move.Event.Subject = EventSubjectEnded, r.Subject
	case r.Client != "":
		if _, err := set.client(r.Client); err != nil {
			return Receipt{}, err
		}
		move.Kind, move.Name = EndClient, r.Client
		move.Event.Kind, move.Event.Client = EventClientEnded, r.Client
	default:
		move.Kind, move.Event.Kind = EndAll, EventAllEnded
	}
	for range conflictsMax {
		if err := a.spare(ctx, &move, r); err != nil {
			return Receipt{}, err
		}
		at, err := a.store.MoveCutoff(ctx, move)
		if errors.Is(err, ErrConflict) {
			continue // the spared session changed: a refresh, or its end
		}
		if err != nil {
			return Receipt{}, unavailable("move cutoff", err)
		}
		a.acked.note(set.epoch, at)
		return Receipt{Position: at, Epoch: set.epoch, Changed: true}, nil
	}
	return Receipt{}, fmt.Errorf("%w: the session to spare keeps changing", ErrUnavailable)
}

// spare finds the session that a subject's revocation leaves alive. If it has
// ended already there is nothing to spare and the others end all the same.
func (a *Authority) spare(ctx context.Context, move *CutoffMove, r Revocation) error {
	if r.ExceptSession.IsZero() {
		return nil
	}
	snap, err := a.store.Lookup(ctx, r.ExceptSession)
	if err != nil {
		return unavailable("look-up", err)
	}
	if !snap.Found || snap.Session.Subject != r.Subject {
		return fmt.Errorf("%w: no session %s of this subject", ErrNotFound, r.ExceptSession)
	}
	set, err := a.atLeast(ctx, snap.Config)
	if err != nil {
		return err
	}
	move.Keep = nil
	if judge(&snap, set.ring, a.store.Now()) == nil {
		move.Keep = &Keep{Session: r.ExceptSession, Version: snap.Session.Version}
	}
	move.Event.Session = r.ExceptSession.String()
	return nil
}

// dryRun counts the live sessions that match, reading a bounded number of records.
func (a *Authority) dryRun(ctx context.Context, r Revocation, match func(*Session) bool) (Receipt, error) {
	set := a.set.Load()
	q := ListQuery{Limit: 1000}
	if r.Subject != "" {
		tag := set.ring.Tag(r.Subject)
		q.Tag = &tag
	}
	n, now := 0, a.store.Now()
	for read := 0; ; {
		page, err := a.store.List(ctx, q)
		if err != nil {
			return Receipt{}, unavailable("list", err)
		}
		for i := range page.Sessions {
			snap := &page.Sessions[i]
			q.After = snap.Session.ID
			if set, err = a.atLeast(ctx, snap.Config); err != nil {
				return Receipt{}, err
			}
			if match(&snap.Session) && judge(snap, set.ring, now) == nil {
				n++
			}
		}
		read += len(page.Sessions)
		if !page.More || read >= dryRunScan {
			return Receipt{Epoch: set.epoch, DryRun: true, Sessions: &n, Truncated: page.More}, nil
		}
	}
}

// Logout ends the session that a token belongs to; the token itself is the
// credential. A bearer access token serves, expired or not, and so does any
// generation of a refresh token, so that nobody is kept from logging out.
// A session that has ended or been purged already is no error; a forged token
// wraps ErrInactive. With all, every session of the subject ends: that needs a
// token that stands, and a client that allows it (else ErrForbidden).
//
// Like Revoke, it goes on once it has begun.
func (a *Authority) Logout(ctx context.Context, token string, all bool) (Receipt, error) {
	ctx, done, err := detach(ctx)
	if err != nil {
		return Receipt{}, err
	}
	defer done()
	set, p, snap, err := a.read(ctx, token)
	if err != nil {
		return Receipt{}, err
	}
	if !a.belongs(&p, &snap) {
		return Receipt{}, ErrMalformed
	}
	s := &snap.Session
	if !all {
		return a.end(ctx, &snap, p.session, ReasonLogout, Revocation{Actor: s.Client})
	}
	client, err := set.client(s.Client)
	if err != nil {
		return Receipt{}, ErrUnknown
	}
	if p.kind == kindAccess {
		_, err = a.judgeAccess(ctx, set, &p, &snap, Want{AnyAudience: true, NoTouch: true})
	} else {
		_, err = a.judgeRefresh(ctx, set, &p, &snap, client)
	}
	switch {
	case err != nil:
		return Receipt{}, err
	case client.NoLogoutAll:
		return Receipt{}, fmt.Errorf("%w: this client's users cannot log out everywhere", ErrForbidden)
	}
	return a.moveCutoff(ctx, Revocation{Selector: Selector{Subject: s.Subject}, Actor: s.Client, Reason: "logout everywhere"})
}
