package rescind

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode/utf8"
)

// Login is a request for a new session. Only Subject is required. Zero lifetimes
// mean the Authority's; Client defaults to "app".
type Login struct {
	Subject         string
	Client          string
	Audience        []string
	Scope           string
	Claims          json.RawMessage // an object of at most 4 KiB without registered names
	Device          Device
	AccessLifetime  time.Duration
	SessionLifetime time.Duration
	IdleTimeout     time.Duration
	Replaces        SessionID // a session of the same subject and client, which ends in the same step
	Actor           string    // who asks, for the audit log; default: Client
}

// Grant is what a login or a refresh hands out, in the form of RFC 6749 section
// 5.1. Times are seconds from now.
type Grant struct {
	Session             SessionID `json:"session"`
	AccessToken         Secret    `json:"access_token"`
	TokenType           string    `json:"token_type"`
	ExpiresIn           int64     `json:"expires_in"`
	RefreshToken        Secret    `json:"refresh_token"`
	RefreshTokenTimeout int64     `json:"refresh_token_timeout"`
	AuthorizationEnds   int64     `json:"authorization_expires_in"`
	Scope               string    `json:"scope,omitempty"`
}

// Issue records a new session and then hands out its tokens. If it cannot be
// recorded, there are no tokens. ErrInvalid says what is wrong with the request,
// ErrLimit that the subject has enough sessions, ErrNotFound that there is no
// such client or no session to replace.
func (a *Authority) Issue(ctx context.Context, l Login) (Grant, error) {
	l.Client = or(l.Client, DefaultClient)
	l.Actor = or(l.Actor, l.Client)
	l.AccessLifetime = or(l.AccessLifetime, a.access)
	l.SessionLifetime = or(l.SessionLifetime, a.lifetime)
	l.IdleTimeout = min(or(l.IdleTimeout, a.idle), l.SessionLifetime)
	if len(l.Audience) == 0 {
		l.Audience = []string{a.audience}
	}
	var err error
	if l.Scope, err = normalScope(l.Scope); err != nil {
		return Grant{}, err
	}
	if err := l.validate(); err != nil {
		return Grant{}, err
	}
	set, err := a.latest(ctx)
	if err != nil {
		return Grant{}, err
	}
	client, err := set.client(l.Client)
	if err != nil {
		return Grant{}, err
	}

	s := Session{
		ID:             NewSessionID(set.ring.Tag(l.Subject)),
		Subject:        l.Subject,
		Client:         l.Client,
		Audience:       l.Audience,
		Scope:          l.Scope,
		Claims:         l.Claims,
		Device:         l.Device,
		IdleTimeout:    l.IdleTimeout,
		AccessLifetime: l.AccessLifetime,
		MACKey:         set.ring.MACKey(),
	}
	_, _ = rand.Read(s.Salt[:]) // never fails: crypto/rand ends the process instead

	for range conflictsMax {
		now := a.store.Now().Truncate(time.Millisecond)
		s.CreatedAt, s.LastActive, s.RotatedAt = now, now, now
		s.ExpiresAt = now.Add(l.SessionLifetime)
		s.Access = []AccessEntry{s.newEntry(now, "")}
		step := Creation{Session: s, Events: []Event{s.event(EventSessionCreated, l.Actor, now)}}
		if !l.Replaces.IsZero() {
			if err := a.replaced(ctx, &step, l); err != nil {
				return Grant{}, err
			}
		}
		if a.max > 0 {
			if err := a.limit(ctx, &step, l); err != nil {
				return Grant{}, err
			}
		}
		// Signing comes first: a token that nobody was given harms nobody, and a
		// recorded session without tokens would be one that nobody can end.
		grant, err := a.grant(set.ring, client, &s, &s.Access[0], now)
		if err != nil {
			return Grant{}, err
		}
		switch _, err = a.store.Create(ctx, step); {
		case err == nil:
			if err := a.stillRegistered(ctx, set, &s); err != nil {
				return Grant{}, err
			}
			return grant, nil
		case !errors.Is(err, ErrConflict):
			return Grant{}, unavailable("create", err)
		}
		s.ID = NewSessionID(s.ID.Tag())
	}
	return Grant{}, fmt.Errorf("%w: too many logins of one subject at once", ErrUnavailable)
}

// stillRegistered takes a login back whose client was removed while it was under
// way: that removal moved the client's cutoff before this session was born.
func (a *Authority) stillRegistered(ctx context.Context, set *settings, s *Session) error {
	newest, err := a.latest(ctx)
	if err != nil || newest == set {
		return err
	}
	was, is := set.clients[s.Client], newest.clients[s.Client]
	if was == nil || is != nil && is.CreatedAt.Equal(was.CreatedAt) { // another time: a namesake
		return nil
	}
	if err := a.endByItself(ctx, s, ReasonClient, ActorSelf, ""); err != nil {
		return err
	}
	return fmt.Errorf("%w: the client was removed meanwhile", ErrNotFound)
}

func (l *Login) validate() error {
	if l.Subject == "" || len(l.Subject) > MaxSubject || !printable(l.Subject) {
		return invalid("a subject has 1 to %d printable ASCII characters", MaxSubject)
	}
	if len(l.Audience) > MaxAudiences {
		return invalid("a session has at most %d audiences", MaxAudiences)
	}
	for i, aud := range l.Audience {
		if !validAudience(aud) {
			return invalid("an audience has 1 to %d printable ASCII characters", MaxAudience)
		}
		if slices.Contains(l.Audience[:i], aud) {
			return invalid("an audience is named twice")
		}
	}
	if err := checkLifetimes(l.AccessLifetime, l.IdleTimeout, l.SessionLifetime); err != nil {
		return err
	}
	l.Device = Device{Name: clip(l.Device.Name), UserAgent: clip(l.Device.UserAgent), IP: clip(l.Device.IP)}
	var err error
	l.Claims, err = normalClaims(l.Claims)
	return err
}

// clip cuts a device field to its limit, at a character's border, and makes it
// valid UTF-8: it comes from a browser and decides nothing.
func clip(s string) string {
	s = strings.ToValidUTF8(s, "\uFFFD")
	if len(s) <= MaxDeviceField {
		return s
	}
	n := MaxDeviceField
	for n > 0 && !utf8.RuneStart(s[n]) {
		n--
	}
	return s[:n]
}

// normalClaims compacts the application's claims and refuses registered names,
// duplicates and what is no object. An empty object is none.
func normalClaims(raw json.RawMessage) (json.RawMessage, error) {
	if len(raw) == 0 {
		return nil, nil
	}
	if len(raw) > MaxClaims {
		return nil, invalid("claims have at most %d bytes", MaxClaims)
	}
	if !utf8.Valid(raw) {
		return nil, invalid("claims are UTF-8")
	}
	var buf bytes.Buffer
	if err := json.Compact(&buf, raw); err != nil {
		return nil, invalid("claims are no JSON: %v", err)
	}
	if text := buf.String(); text == "null" || text == "{}" {
		return nil, nil
	}
	dec := json.NewDecoder(bytes.NewReader(buf.Bytes()))
	if err := checkObject(dec, 0); err != nil {
		return nil, err
	}
	return buf.Bytes(), nil
}

// checkObject walks a JSON value. The outermost must be an object; no object may
// name a member twice, which readers would take for different things.
func checkObject(dec *json.Decoder, depth int) error {
	if depth > 16 {
		return invalid("claims nest at most 16 levels")
	}
	tok, err := dec.Token()
	if err != nil {
		return invalid("claims are no JSON: %v", err)
	}
	open, nested := tok.(json.Delim)
	if depth == 0 && (!nested || open != '{') {
		return invalid("claims are a JSON object")
	}
	if !nested {
		return nil
	}
	seen := map[string]bool{}
	for dec.More() {
		if open == '{' {
			key, err := dec.Token()
			if err != nil {
				return invalid("claims are no JSON: %v", err)
			}
			name, _ := key.(string)
			if seen[name] {
				return invalid("claims name a member twice")
			}
			seen[name] = true
			// Some readers compare names without case: "Scope" must not pass either.
			if depth == 0 && registeredClaims[strings.ToLower(name)] {
				return invalid("the claim %q is registered and cannot be set", name)
			}
		}
		if err := checkObject(dec, depth+1); err != nil {
			return err
		}
	}
	if _, err := dec.Token(); err != nil {
		return invalid("claims are no JSON: %v", err)
	}
	return nil
}

// normalScope checks a scope by RFC 6749 section 3.3, drops doubles and joins it
// by single spaces.
func normalScope(scope string) (string, error) {
	if len(scope) > MaxScope {
		return "", invalid("a scope has at most %d bytes", MaxScope)
	}
	var words []string
	for w := range strings.SplitSeq(scope, " ") {
		if strings.ContainsAny(w, "\"\\") || !printable(w) {
			return "", invalid("a scope is made of printable ASCII without quotes and backslashes (RFC 6749 section 3.3)")
		}
		if w != "" && !slices.Contains(words, w) {
			words = append(words, w)
		}
	}
	return strings.Join(words, " "), nil
}

// covers reports whether every word of want stands in have.
func covers(have, want string) bool {
	for w := range strings.SplitSeq(want, " ") {
		if w == "" {
			continue
		}
		found := false
		for h := range strings.SplitSeq(have, " ") {
			found = found || h == w
		}
		if !found {
			return false
		}
	}
	return true
}

// newEntry makes the ledger's entry for the access token of the session's
// present generation. It outlives neither its lifetime nor the session.
func (s *Session) newEntry(now time.Time, scope string) AccessEntry {
	iat := now.Truncate(time.Second)
	exp := iat.Add(s.AccessLifetime.Truncate(time.Second))
	if last := s.ExpiresAt.Truncate(time.Second); exp.After(last) {
		exp = last
	}
	if scope == s.Scope {
		scope = ""
	}
	return AccessEntry{ID: newTokenID(), Generation: s.Generation, Scope: scope, IssuedAt: iat, ExpiresAt: exp}
}

func (s *Session) event(kind EventKind, actor string, at time.Time) Event {
	return Event{At: at, Kind: kind, Actor: actor, Subject: s.Subject, Session: s.ID.String(), Client: s.Client}
}

// grant makes the tokens of the session's present generation.
func (a *Authority) grant(ring KeyRing, c *Client, s *Session, e *AccessEntry, now time.Time) (Grant, error) {
	access, err := a.accessToken(ring, c.Format, s, e)
	if err != nil {
		return Grant{}, fmt.Errorf("make access token: %w", err)
	}
	refresh, err := refreshToken(ring, s)
	if err != nil {
		return Grant{}, fmt.Errorf("make refresh token: %w", err)
	}
	return Grant{
		Session:             s.ID,
		AccessToken:         access,
		TokenType:           "Bearer",
		ExpiresIn:           secondsUntil(now, e.ExpiresAt),
		RefreshToken:        refresh,
		RefreshTokenTimeout: secondsUntil(now, s.deadline()),
		AuthorizationEnds:   secondsUntil(now, s.ExpiresAt),
		Scope:               s.scopeOf(e),
	}, nil
}

// deadline is when the session ends if nothing happens: idle or absolute.
func (s *Session) deadline() time.Time {
	if idle := s.LastActive.Add(s.IdleTimeout); idle.Before(s.ExpiresAt) {
		return idle
	}
	return s.ExpiresAt
}

func secondsUntil(now, t time.Time) int64 { return max(0, int64(t.Sub(now)/time.Second)) }

// replaced adds the end of the session that the new one replaces.
func (a *Authority) replaced(ctx context.Context, step *Creation, l Login) error {
	snap, err := a.store.Lookup(ctx, l.Replaces)
	if err != nil {
		return unavailable("look-up", err)
	}
	if !snap.Found || snap.Session.Subject != l.Subject || snap.Session.Client != l.Client {
		return fmt.Errorf("%w: no session %s of this subject and client to replace", ErrNotFound, l.Replaces)
	}
	step.end(&snap.Session, ReasonReplaced, l.Actor)
	return nil
}

func (c *Creation) end(s *Session, why Reason, actor string) {
	at := c.Session.CreatedAt
	e := s.event(EventSessionEnded, actor, at)
	e.Reason = string(why)
	c.End = append(c.End, End{Session: s.ID, At: at, Reason: why, Event: e})
}

// limitScan bounds how many records of one subject a login reads where sessions
// are limited. It is above the greatest limit.
const limitScan = 3000

// limit holds a login against the number of the subject's live sessions. The
// store compares the counter read here, so that two logins cannot both be last.
func (a *Authority) limit(ctx context.Context, step *Creation, l Login) error {
	tag, now := step.Session.ID.Tag(), step.Session.CreatedAt
	live, count, whole, err := a.live(ctx, tag, now)
	if err == nil && !whole {
		// A machine that logs in all day leaves more behind than a login can read.
		if err = a.forgetEnded(ctx, tag, now); err == nil {
			live, count, whole, err = a.live(ctx, tag, now)
		}
	}
	if err != nil {
		return err
	}
	if !whole {
		return fmt.Errorf("%w: more than %d recorded", ErrLimit, limitScan)
	}
	step.Count = &count
	live = slices.DeleteFunc(live, func(s Session) bool { return s.ID == l.Replaces })
	over := len(live) + 1 - a.max
	if over <= 0 {
		return nil
	}
	if a.policy == LimitRefuse {
		return fmt.Errorf("%w: %d", ErrLimit, a.max)
	}
	slices.SortFunc(live, func(x, y Session) int { return x.CreatedAt.Compare(y.CreatedAt) })
	for i := range live[:over] {
		step.end(&live[i], ReasonLimit, ActorSelf)
	}
	return nil
}

// live reads a subject's live sessions and its creation counter. It is not whole
// where more are recorded than a login reads.
func (a *Authority) live(ctx context.Context, tag Tag, now time.Time) (live []Session, count uint64, whole bool, err error) {
	q := ListQuery{Tag: &tag, Limit: 1000}
	for read := 0; read < limitScan; {
		page, err := a.store.List(ctx, q)
		if err != nil {
			return nil, 0, false, unavailable("list", err)
		}
		if read == 0 {
			count = page.Count
		}
		for i := range page.Sessions {
			snap := &page.Sessions[i]
			q.After = snap.Session.ID
			set, err := a.atLeast(ctx, snap.Config)
			if err != nil {
				return nil, 0, false, err
			}
			if judge(snap, set.ring, now) == nil {
				live = append(live, snap.Session)
			}
		}
		if read += len(page.Sessions); !page.More {
			return live, count, true, nil
		}
	}
	return live, count, false, nil
}

// forgetEnded forgets the ended sessions of a subject before their retention is
// over. The audit log keeps what happened.
func (a *Authority) forgetEnded(ctx context.Context, tag Tag, now time.Time) error {
	step := PurgeStep{Limit: purgeStep, Tag: &tag, Drop: func(snap *Snapshot) bool {
		set, err := a.atLeast(ctx, snap.Config)
		return err == nil && judge(snap, set.ring, now) != nil
	}}
	for range purgeSteps {
		done, err := a.store.Purge(ctx, step)
		if err != nil {
			return unavailable("purge", err)
		}
		if step.Cursor = done.Cursor; step.Cursor == nil {
			break
		}
	}
	return nil
}
