package rescind

import (
	"context"
	"fmt"
	"io"
	"time"
)

const (
	// CutoffMemory is how long a cutoff is kept: the longest session born before
	// it is over by then, and a day more.
	CutoffMemory = MaxLifetime + 24*time.Hour
	feedMemory   = 10 * time.Minute
	purgeStep    = 1000 // records and entries read by one step
	purgeSteps   = 1000 // steps of one upkeep, which is a million a minute
	upkeepTime   = 10 * time.Second
)

// keepUp runs Upkeep until the Authority is closed, so that nobody has to
// remember a janitor.
func (a *Authority) keepUp(ctx context.Context) {
	defer close(a.done)
	tick := time.NewTicker(upkeepEvery)
	defer tick.Stop()
	second := time.NewTicker(verifyEvery)
	defer second.Stop()
	for {
		select {
		case <-ctx.Done():
			a.testify()
			return
		case <-second.C:
			if err := a.assure(ctx); err != nil && ctx.Err() == nil {
				a.log.WarnContext(ctx, "the store could not be compared with what it said before", "error", err)
			}
		case <-tick.C:
			if _, err := a.Upkeep(ctx); err != nil && ctx.Err() == nil {
				a.log.ErrorContext(ctx, "upkeep failed, it will be tried again", "error", err)
			}
		}
	}
}

// Upkeep does a bounded piece of what has to be done now and then: keys that are
// due, and forgetting what is past its retention. It goes on where the last call
// stopped.
func (a *Authority) Upkeep(ctx context.Context) (Purged, error) {
	a.upkeep.Lock()
	defer a.upkeep.Unlock()
	if err := a.assure(ctx); err != nil {
		return Purged{}, err
	}
	if err := a.configure(ctx, a.keys.Maintain); err != nil {
		return Purged{}, fmt.Errorf("keys: %w", err)
	}
	now := a.store.Now()
	before := now.Add(-a.retention)
	step := PurgeStep{
		Limit:         purgeStep,
		Drop:          func(s *Snapshot) bool { return forgettable(&s.Session, before) },
		DropEvent:     func(e *Event) bool { return e.At.Before(before) },
		FeedBefore:    now.Add(-feedMemory),
		CutoffsBefore: now.Add(-CutoffMemory),
	}
	var sum Purged
	begun := time.Now()
	for range purgeSteps {
		if time.Since(begun) > upkeepTime {
			break // the rest in a minute
		}
		step.Cursor = a.cursor
		done, err := a.store.Purge(ctx, step)
		if err != nil {
			return sum, unavailable("purge", err)
		}
		sum.add(done)
		if a.cursor = done.Cursor; a.cursor == nil {
			break
		}
	}
	if sum.Sessions+sum.Events > 0 {
		a.log.InfoContext(ctx, "purged", "sessions", sum.Sessions, "events", sum.Events, "cutoffs", sum.Cutoffs)
	}
	return sum, nil
}

// forgettable reports whether a session ended, for any reason that lies in its
// record, before a time. One that a cutoff ended waits for its own expiry.
func forgettable(s *Session, before time.Time) bool {
	return s.ExpiresAt.Before(before) || (s.Ended() && s.EndedAt.Before(before))
}

func (p *Purged) add(q Purged) {
	p.Cursor = q.Cursor
	p.Read += q.Read
	p.Sessions += q.Sessions
	p.Events += q.Events
	p.Endings += q.Endings
	p.Cutoffs += q.Cutoffs
}

// Erase ends all sessions of a subject and then forgets them and every event
// that names it. Its cutoff stays, under its tag. If it fails half-way, repeat it.
func (a *Authority) Erase(ctx context.Context, subject, actor string) (Purged, error) {
	if _, err := a.Revoke(ctx, Revocation{Selector: Selector{Subject: subject}, Actor: actor, Reason: "erasure"}); err != nil {
		return Purged{}, err
	}
	set, err := a.latest(ctx)
	if err != nil {
		return Purged{}, err
	}
	tag := set.ring.Tag(subject)
	step := PurgeStep{
		Limit:     purgeStep,
		Tag:       &tag,
		Drop:      func(s *Snapshot) bool { return s.Session.Subject == subject },
		DropEvent: func(e *Event) bool { return e.Subject == subject },
	}
	var sum Purged
	for {
		done, err := a.store.Purge(ctx, step)
		if err != nil {
			return sum, unavailable("purge", err)
		}
		sum.add(done)
		if step.Cursor = done.Cursor; step.Cursor == nil {
			break
		}
	}
	return sum, a.configure(ctx, a.noteErased(actor))
}

// noteErased records that somebody was erased, and not who.
func (a *Authority) noteErased(actor string) func(StoreConfig, time.Time) (Change, error) {
	return func(cfg StoreConfig, now time.Time) (Change, error) {
		return Change{Expect: cfg.Version, Events: []Event{{At: now, Kind: EventSubjectErased, Actor: or(actor, ActorSelf)}}}, nil
	}
}

// Backup writes a consistent copy of the store as a tar archive, while it serves.
// ErrInvalid if this kind of store has no such copy.
func (a *Authority) Backup(ctx context.Context, w io.Writer) error {
	b, ok := a.store.(Backuper)
	if !ok {
		return invalid("this store makes no backups of its own: use the database's")
	}
	return unavailable("backup", b.Backup(ctx, w))
}
