package storetest

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/rescind/rescind"
)

func lifeClauses() []clause {
	return []clause{
		{"TimeNeverGoesBack", timeNeverGoesBack},
		{"RestartKeepsEverything", restartKeepsEverything},
		{"ClosedStoreNeverAnswers", closedStoreNeverAnswers},
		{"CloseLosesNothingAcknowledged", closeLosesNothingAcknowledged},
		{"EndedContextEndsTheCall", endedContextEndsTheCall},
	}
}

func timeNeverGoesBack(c *trial) {
	c.clock.move(3 * time.Hour)
	high := c.now()
	c.end(c.created("ann", "web"))
	c.clock.move(-2 * time.Hour)
	if now := c.now(); now.Before(high) {
		c.Fatalf("the store's time went back from %s to %s", showTime(high), showTime(now))
	}
	s := c.created("ann", "web") // persists the time, as its creation
	c.end(s)
	c.restart()
	if now := c.now(); now.Before(s.CreatedAt) {
		c.Fatalf("after a restart the time is %s, behind the creation of a session at %s", showTime(now), showTime(s.CreatedAt))
	}
	c.clock.move(24 * time.Hour)
	last := c.now()
	for range 100 {
		c.clock.move(-time.Second)
		if now := c.now(); now.Before(last) {
			c.Fatalf("the store's time went back from %s to %s", showTime(last), showTime(now))
		}
	}
}

func restartKeepsEverything(c *trial) {
	s, kept := c.created("ann", "web"), c.created("ann", "web")
	c.end(s)
	c.must("Replace", c.replace(kept, rescind.TokenID{1}))
	m := c.cutoffs(kept)[0]
	m.Keep = &rescind.Keep{Session: kept.ID, Version: 2}
	c.move(m)
	c.move(c.cutoffs(c.created("ben", "app"))[1])
	c.configure(rescind.Change{
		Documents: []rescind.Document{doc("client", "web", "1")},
		Ends:      []rescind.Ending{{Kind: rescind.EndKey, Name: "k1", At: c.now()}},
	})
	for range 3 {
		var ids string
		c.unchanged("a restart", func() {
			ids = lines(c.events(rescind.EventQuery{}), func(e rescind.Event) string { return e.ID })
			c.restart()
		})
		c.equal("ids of events after a restart", lines(c.events(rescind.EventQuery{}), func(e rescind.Event) string { return e.ID }), ids)
		c.end(c.created("ann", "web"))
	}
}

// calls is one ordinary call of each method that takes a context.
func calls(c *trial, s rescind.Session) map[string]func(rescind.Store, context.Context) error {
	page := func(_ any, err error) error { return err }
	version := c.config().Version
	return map[string]func(rescind.Store, context.Context) error{
		"Create": func(x rescind.Store, ctx context.Context) error {
			return page(x.Create(ctx, rescind.Creation{Session: newSession("new", "web", s.CreatedAt)}))
		},
		"Lookup": func(x rescind.Store, ctx context.Context) error { return page(x.Lookup(ctx, s.ID)) },
		"Replace": func(x rescind.Store, ctx context.Context) error {
			return x.Replace(ctx, rescind.Replacement{Session: s})
		},
		"End": func(x rescind.Store, ctx context.Context) error {
			return page(x.End(ctx, rescind.End{Session: s.ID, At: s.CreatedAt, Reason: rescind.ReasonLogout}))
		},
		"MoveCutoff": func(x rescind.Store, ctx context.Context) error {
			return page(x.MoveCutoff(ctx, rescind.CutoffMove{Kind: rescind.EndSubject, Tag: tagOf("other"), At: s.CreatedAt}))
		},
		"Touch": func(x rescind.Store, ctx context.Context) error { return x.Touch(ctx, s.ID, s.CreatedAt) },
		"List": func(x rescind.Store, ctx context.Context) error {
			return page(x.List(ctx, rescind.ListQuery{Limit: 10}))
		},
		"Feed":          func(x rescind.Store, ctx context.Context) error { return page(x.Feed(ctx, 0, 10)) },
		"Events":        func(x rescind.Store, ctx context.Context) error { return page(x.Events(ctx, rescind.EventQuery{})) },
		"Config":        func(x rescind.Store, ctx context.Context) error { return page(x.Config(ctx)) },
		"ConfigVersion": func(x rescind.Store, ctx context.Context) error { return page(x.ConfigVersion(ctx)) },
		"Configure": func(x rescind.Store, ctx context.Context) error {
			return page(x.Configure(ctx, rescind.Change{Expect: version}))
		},
		"Purge": func(x rescind.Store, ctx context.Context) error {
			return page(x.Purge(ctx, rescind.PurgeStep{Limit: 10}))
		},
	}
}

func closedStoreNeverAnswers(c *trial) {
	s := c.created("ann", "web")
	all := calls(c, s)
	c.must("Close", c.s.Close())
	for name, call := range all {
		if err := call(c.s, c.ctx); err == nil || errors.Is(err, rescind.ErrConflict) {
			c.Fatalf("%s of a closed store returned %v", name, err)
		}
	}
	c.restart()
	c.mustStand("after a restart", s.ID)
}

func closeLosesNothingAcknowledged(c *trial) {
	for range 5 {
		var mu sync.Mutex
		var acknowledged []rescind.SessionID
		tried := 0
		sessions := make([]rescind.Session, 200)
		for i := range sessions {
			sessions[i] = c.created("ann", "web")
		}
		var enough sync.WaitGroup // to close in the middle of it
		enough.Add(1)
		var closing sync.WaitGroup
		closing.Go(func() {
			enough.Wait()
			if err := c.s.Close(); err != nil {
				c.Errorf("Close: %v", err)
			}
		})
		race(8, func(part int) {
			for i := part; i < len(sessions); i += 8 {
				_, err := c.s.End(c.ctx, rescind.End{Session: sessions[i].ID, At: sessions[i].CreatedAt})
				mu.Lock()
				if err == nil {
					acknowledged = append(acknowledged, sessions[i].ID)
				}
				tried++
				if tried == 20 {
					enough.Done()
				}
				mu.Unlock()
			}
		})
		closing.Wait()
		c.restart()
		for _, id := range acknowledged {
			c.mustBeOver("its end was acknowledged before Close", id)
		}
		c.feeds()
	}
}

func endedContextEndsTheCall(c *trial) {
	s := c.created("ann", "web")
	ctx, cancel := context.WithCancel(c.ctx)
	cancel()
	for name, call := range calls(c, s) {
		done := make(chan error, 1)
		go func() { done <- call(c.s, ctx) }()
		select {
		case err := <-done:
			if errors.Is(err, rescind.ErrInactive) {
				c.Fatalf("%s with an ended context judged: %v", name, err)
			}
		case <-time.After(c.patience):
			c.Fatalf("%s does not return, and its context has ended", name)
		}
	}
	if err := c.s.Replace(c.ctx, rescind.Replacement{Session: s}); err != nil && !errors.Is(err, rescind.ErrConflict) {
		c.Fatalf("afterwards Replace returned %v", err)
	}
	c.end(s)
	c.mustBeOver("afterwards", s.ID)
}
