package storetest

import (
	"context"
	"crypto/rand"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/rescind/rescind"
)

func readBugs() []bug {
	editLookup := func(f func(*oracle, *rescind.Snapshot)) func(*oracle) rescind.Store {
		return plant(func(o *oracle, b *broken) {
			b.lookup = func(ctx context.Context, id rescind.SessionID) (rescind.Snapshot, error) {
				s, err := o.Lookup(ctx, id)
				o.locked(func() { f(o, &s) })
				return s, err
			}
		})
	}
	editList := func(f func(*rescind.ListPage, rescind.ListQuery)) func(*oracle) rescind.Store {
		return plant(func(o *oracle, b *broken) {
			b.list = func(ctx context.Context, q rescind.ListQuery) (rescind.ListPage, error) {
				page, err := o.List(ctx, q)
				f(&page, q)
				return page, err
			}
		})
	}
	editFeed := func(f func(*oracle, rescind.Position, *rescind.FeedPage)) func(*oracle) rescind.Store {
		return plant(func(o *oracle, b *broken) {
			b.feed = func(ctx context.Context, after rescind.Position, max int) (rescind.FeedPage, error) {
				page, err := o.Feed(ctx, after, max)
				o.locked(func() { f(o, after, &page) })
				return page, err
			}
		})
	}
	withEvents := func(f func(*rescind.EventQuery)) func(*oracle) rescind.Store {
		return plant(func(o *oracle, b *broken) {
			b.events = func(ctx context.Context, q rescind.EventQuery) (rescind.EventPage, error) {
				f(&q)
				return o.Events(ctx, q)
			}
		})
	}
	editEvents := func(f func(*rescind.EventPage, rescind.EventQuery)) func(*oracle) rescind.Store {
		return plant(func(o *oracle, b *broken) {
			b.events = func(ctx context.Context, q rescind.EventQuery) (rescind.EventPage, error) {
				page, err := o.Events(ctx, q)
				f(&page, q)
				return page, err
			}
		})
	}
	return []bug{
		{name: "Lookup finds the subject's next session", found: []string{"LookupOfNothingIsNoError"},
			plant: editLookup(func(o *oracle, s *rescind.Snapshot) {
				if !s.Found && len(o.sessions) > 0 {
					*s = o.snapshot(o.ids(nil)[0])
				}
			})},
		{name: "Lookup forgets the client's cutoff", found: []string{"CutoffEndsAllBornBefore", "CutoffsAreThoseOfTheirLastMove"},
			plant: editLookup(func(_ *oracle, s *rescind.Snapshot) { s.Cutoffs.Client = 0 })},
		{name: "Lookup returns what the store keeps", found: []string{"ValuesAreNotShared"}, hidden: true,
			plant: editLookup(func(o *oracle, s *rescind.Snapshot) { s.Session = o.sessions[s.Session.ID] })},
		{name: "List is newest first", found: []string{"ListIsInOrderOfIDs"},
			plant: editList(func(p *rescind.ListPage, _ rescind.ListQuery) { slices.Reverse(p.Sessions) })},
		{name: "List loses the last of a full page", found: []string{"ListIsInOrderOfIDs"},
			plant: editList(func(p *rescind.ListPage, q rescind.ListQuery) {
				if len(p.Sessions) == q.Limit {
					p.More = false
				}
			})},
		{name: "List knows no cutoffs", found: []string{"ListIsAsLookup", "CutoffIsOneWriteHoweverMany"},
			plant: editList(func(p *rescind.ListPage, _ rescind.ListQuery) {
				for i := range p.Sessions {
					p.Sessions[i].Cutoffs = rescind.Cutoffs{}
				}
			})},
		{name: "Feed ignores max", found: []string{"FeedPagesAreBounded"}, hidden: true,
			plant: plant(func(o *oracle, b *broken) {
				b.feed = func(ctx context.Context, after rescind.Position, _ int) (rescind.FeedPage, error) {
					return o.Feed(ctx, after, 1000)
				}
			})},
		{name: "Feed skips one", found: []string{"FeedPagesAreBounded", "PositionsAreDense"},
			plant: editFeed(func(_ *oracle, _ rescind.Position, p *rescind.FeedPage) {
				if len(p.Endings) > 1 {
					p.Endings = slices.Delete(slices.Clone(p.Endings), 0, 1)
				}
			})},
		{name: "Feed never says that something is gone", found: []string{"FeedSaysWhatIsGone"},
			plant: editFeed(func(o *oracle, _ rescind.Position, p *rescind.FeedPage) {
				if p.Gone {
					p.Gone, p.Endings = false, slices.Clone(o.feed)
				}
			})},
		{name: "Feed says too early that something is gone", found: []string{"FeedSaysWhatIsGone"},
			plant: editFeed(func(o *oracle, after rescind.Position, p *rescind.FeedPage) {
				p.Gone = p.Gone || after == o.tail() && after > 0
			})},
		{name: "an empty feed forgets its head", found: []string{"FeedSaysWhatIsGone"},
			plant: editFeed(func(o *oracle, _ rescind.Position, p *rescind.FeedPage) {
				if len(o.feed) == 0 {
					p.Head = 0
				}
			})},
		{name: "nonces are made when read", found: []string{"NoncesAreRandomAndStay"},
			plant: editFeed(func(_ *oracle, _ rescind.Position, p *rescind.FeedPage) {
				for i := range p.Endings {
					_, _ = rand.Read(p.Endings[i].Nonce[:]) // never fails: crypto/rand ends the process instead
				}
			})},
		{name: "the caller chooses the nonce", found: []string{"NoncesAreRandomAndStay"}, hidden: true,
			plant: plant(func(o *oracle, b *broken) {
				b.configure = func(ctx context.Context, c rescind.Change) (rescind.Position, error) {
					p, err := o.Configure(ctx, c)
					o.locked(func() {
						for i, e := range c.Ends {
							o.feed[len(o.feed)-len(c.Ends)+i].Nonce = e.Nonce
						}
					})
					return p, err
				}
			})},
		{name: "an event is read on two pages", found: []string{"EventsAreNewestFirstInPages"},
			plant: editEvents(func(p *rescind.EventPage, q rescind.EventQuery) {
				if p.Next != "" && len(p.Events) > 1 {
					p.Next = p.Events[len(p.Events)-2].ID
				}
			})},
		{name: "an event falls between two pages", found: []string{"EventsAreNewestFirstInPages"},
			plant: editEvents(func(p *rescind.EventPage, _ rescind.EventQuery) {
				if p.Next != "" && len(p.Events) > 1 {
					p.Events = p.Events[:len(p.Events)-1]
				}
			})},
		{name: "Until is inclusive", found: []string{"EventsAreFiltered"}, hidden: true,
			plant: withEvents(func(q *rescind.EventQuery) {
				if !q.Until.IsZero() {
					q.Until = q.Until.Add(1)
				}
			})},
		{name: "events are not selected by client", found: []string{"EventsAreFiltered", "PurgeForgetsEvents"},
			plant: withEvents(func(q *rescind.EventQuery) { q.Client = "" })},
		{name: "long details are cut", found: []string{"EventsAreReadAsWritten"}, hidden: true,
			plant: editEvents(func(p *rescind.EventPage, _ rescind.EventQuery) {
				for i := range p.Events {
					p.Events[i].Detail = p.Events[i].Detail[:min(255, len(p.Events[i].Detail))]
				}
			})},
	}
}

func purgeBugs() []bug {
	with := func(f func(*oracle, *rescind.PurgeStep)) func(*oracle) rescind.Store {
		return plant(func(o *oracle, b *broken) {
			b.purge = func(ctx context.Context, q rescind.PurgeStep) (rescind.Purged, error) {
				f(o, &q)
				return o.Purge(ctx, q)
			}
		})
	}
	after := func(f func(*oracle)) func(*oracle) rescind.Store {
		return plant(func(o *oracle, b *broken) {
			b.purge = func(ctx context.Context, q rescind.PurgeStep) (rescind.Purged, error) {
				p, err := o.Purge(ctx, q)
				o.locked(func() { f(o) })
				return p, err
			}
		})
	}
	return []bug{
		{name: "Purge leaves sessions and counts them", found: []string{"PurgeForgetsWhatItIsTold", "PurgeOfATagLeavesOthers"},
			plant: plant(func(o *oracle, b *broken) {
				b.purge = func(ctx context.Context, q rescind.PurgeStep) (rescind.Purged, error) {
					drop, n := q.Drop, 0
					if drop != nil {
						q.Drop = func(s *rescind.Snapshot) bool {
							if drop(s) {
								n++
							}
							return false
						}
					}
					p, err := o.Purge(ctx, q)
					p.Sessions = n
					return p, err
				}
			})},
		{name: "Purge drops every ended session", found: []string{"PurgeOnlyForgets"},
			plant: with(func(o *oracle, q *rescind.PurgeStep) {
				drop := q.Drop
				q.Drop = func(s *rescind.Snapshot) bool { return s.Session.Ended() || drop != nil && drop(s) }
			})},
		{name: "Purge resets the counters", found: []string{"PurgeOnlyForgets"},
			plant: after(func(o *oracle) { clear(o.counters) })},
		{name: "Purge drops the cutoffs of subjects without sessions", found: []string{"PurgeOfATagLeavesOthers"},
			plant: after(func(o *oracle) {
				for k := range o.cutoffs {
					if k.kind == rescind.EndSubject && len(o.ids(&k.tag)) == 0 {
						delete(o.cutoffs, k)
					}
				}
			})},
		{name: "Purge knows no limit", found: []string{"PurgeIsBounded"}, hidden: true,
			plant: with(func(_ *oracle, q *rescind.PurgeStep) { q.Limit = 1 << 30 })},
		{name: "Purge forgets its cursor", found: []string{"PurgeIsBounded"}, hidden: true, // the walk's rounds would never end
			plant: with(func(_ *oracle, q *rescind.PurgeStep) { q.Cursor = nil })},
		{name: "Purge does not look again", found: []string{"PurgeNeverDropsAChangedRecord"}, hidden: true,
			plant: purgeAgain(func(seen, now rescind.Session) bool { return true })},
		{name: "Purge compares only the version", found: []string{"PurgeNeverDropsAChangedRecord"}, hidden: true,
			plant: purgeAgain(func(seen, now rescind.Session) bool { return seen.Version == now.Version })},
		{name: "Purge of a tag reads all", found: []string{"PurgeOfATagLeavesOthers"}, hidden: true,
			plant: with(func(_ *oracle, q *rescind.PurgeStep) { q.Tag = nil })},
		{name: "Purge drops events by their age only in its first step", found: []string{"PurgeForgetsEvents"},
			plant: with(func(_ *oracle, q *rescind.PurgeStep) {
				if q.Cursor != nil {
					q.DropEvent = nil
				}
			})},
		{name: "Purge drops the events before one that it drops", found: []string{"PurgeForgetsEvents", "PurgeOfATagLeavesOthers"}, hidden: true,
			plant: plant(func(o *oracle, b *broken) {
				b.purge = func(ctx context.Context, q rescind.PurgeStep) (rescind.Purged, error) {
					drop, last := q.DropEvent, ""
					if drop != nil {
						q.DropEvent = func(e *rescind.Event) bool {
							if drop(e) {
								last = e.ID
								return true
							}
							return false
						}
					}
					p, err := o.Purge(ctx, q)
					o.locked(func() {
						o.events = slices.DeleteFunc(o.events, func(e rescind.Event) bool { return e.ID < last })
					})
					return p, err
				}
			})},
		{name: "an empty log begins its ids anew", found: []string{"PurgeForgetsEvents"}, hidden: true,
			plant: after(func(o *oracle) {
				if len(o.events) == 0 {
					o.eventSeq = 0
				}
			})},
		{name: "Purge of the feed takes what is not old", found: []string{"FeedSaysWhatIsGone"},
			plant: with(func(_ *oracle, q *rescind.PurgeStep) {
				if !q.FeedBefore.IsZero() {
					q.FeedBefore = q.FeedBefore.Add(24 * time.Hour)
				}
			})},
		{name: "Purge of the feed begins its positions anew", found: []string{"FeedSaysWhatIsGone"},
			plant: after(func(o *oracle) {
				if len(o.feed) == 0 {
					o.head = 0
				}
			})},
		{name: "Purge drops cutoffs by their first move", found: []string{"PurgeForgetsOldCutoffsOnly"},
			plant: plant(func(o *oracle, b *broken) {
				first := map[cutoff]time.Time{}
				b.moveCutoff = func(ctx context.Context, m rescind.CutoffMove) (rescind.Position, error) {
					p, err := o.MoveCutoff(ctx, m)
					o.locked(func() {
						k := cutoff{kind: m.Kind, tag: m.Tag, name: m.Name}
						if _, known := first[k]; !known {
							first[k] = m.At
						}
						if now, moved := o.cutoffs[k]; moved {
							now.at = first[k]
							o.cutoffs[k] = now
						}
					})
					return p, err
				}
			})},
	}
}

// purgeAgain is a Purge of sessions that judges by same whether a record is what
// Drop has seen.
func purgeAgain(same func(seen, now rescind.Session) bool) func(*oracle) rescind.Store {
	return plant(func(o *oracle, b *broken) {
		b.purge = func(ctx context.Context, q rescind.PurgeStep) (rescind.Purged, error) {
			var p rescind.Purged
			for _, id := range o.ids(q.Tag) {
				snap, err := o.Lookup(ctx, id)
				if err != nil {
					return p, err
				}
				if seen := snap.Session; q.Drop(&snap) {
					o.locked(func() {
						if same(seen, o.sessions[id]) {
							delete(o.sessions, id)
							p.Sessions++
						}
					})
				}
			}
			return p, nil
		}
	})
}

func lifeBugs() []bug {
	return []bug{
		{name: "time follows the machine's clock", found: []string{"TimeNeverGoesBack"}, hidden: true,
			plant: plant(func(o *oracle, b *broken) { b.now = o.now })},
		{name: "a restart forgets the time", found: []string{"TimeNeverGoesBack"}, hidden: true,
			plant: plant(func(o *oracle, b *broken) { o.last = time.Time{} })},
		{name: "a restart forgets the documents", found: []string{"RestartKeepsEverything", "ConfigurationIsReadAsWritten"},
			plant: plant(func(o *oracle, b *broken) { o.docs = map[docKey][]byte{} })},
		{name: "a restart forgets the cutoff of all", found: []string{"CutoffsAreThoseOfTheirLastMove", "ReplaceRefusesPassedCutoff"},
			plant: plant(func(o *oracle, b *broken) { delete(o.cutoffs, cutoff{kind: rescind.EndAll}) })},
		{name: "a restart forgets the counters", found: []string{"CountGuardsCreates"},
			plant: plant(func(o *oracle, b *broken) { o.counters = map[rescind.Tag]uint64{} })},
		{name: "a restart renames events", found: []string{"RestartKeepsEverything"},
			plant: plant(func(o *oracle, b *broken) {
				for i := range o.events {
					o.events[i].ID = fmt.Sprintf("%s-%d", o.events[i].ID, i)
				}
			})},
		{name: "a closed store answers from memory", found: []string{"ClosedStoreNeverAnswers"}, hidden: true,
			plant: plant(func(o *oracle, b *broken) {
				b.lookup = func(_ context.Context, id rescind.SessionID) (s rescind.Snapshot, _ error) {
					o.locked(func() { s = o.snapshot(id) })
					return s, nil
				}
			})},
		{name: "End returns before it is durable", found: []string{"CloseLosesNothingAcknowledged", "EndEndsAndBumpsTheVersion"},
			plant: func(o *oracle) rescind.Store {
				for id, s := range o.sessions { // what was only in memory is lost
					s.EndedAt, s.EndReason = time.Time{}, ""
					o.sessions[id] = s
				}
				return o
			}},
		{name: "a call outlives its context", found: []string{"EndedContextEndsTheCall"}, hidden: true,
			plant: plant(func(o *oracle, b *broken) {
				b.lookup = func(ctx context.Context, id rescind.SessionID) (rescind.Snapshot, error) {
					if ctx.Err() != nil {
						time.Sleep(5 * time.Second)
					}
					return o.Lookup(ctx, id)
				}
			})},
		{name: "a call that is cut short says that the token is bad", found: []string{"EndedContextEndsTheCall"}, hidden: true,
			plant: plant(func(o *oracle, b *broken) {
				b.lookup = func(ctx context.Context, id rescind.SessionID) (rescind.Snapshot, error) {
					if ctx.Err() != nil {
						return rescind.Snapshot{}, rescind.ErrUnknown
					}
					return o.Lookup(ctx, id)
				}
			})},
	}
}

// raceBugs take apart what must be one step.
func raceBugs() []bug {
	return []bug{
		{name: "Replace compares and then writes", found: []string{"OneOfManyReplacesWins", "EndIsTheLastWord"}, hidden: true,
			plant: plant(func(o *oracle, b *broken) {
				b.replace = func(_ context.Context, r rescind.Replacement) error {
					refused := false
					o.locked(func() {
						old, ok := o.standing(r.Session.ID)
						refused = !ok || old.Version != r.Session.Version
					})
					if refused {
						return rescind.ErrConflict
					}
					pause()
					o.locked(func() { o.swap(r) })
					return nil
				}
			})},
		{name: "End looks and then ends", found: []string{"OneOfManyEndsChanges"}, hidden: true,
			plant: plant(func(o *oracle, b *broken) {
				b.end = func(ctx context.Context, e rescind.End) (rescind.Ended, error) {
					s, err := o.Lookup(ctx, e.Session)
					if err != nil || !s.Found || s.Session.Ended() {
						return o.End(ctx, e)
					}
					pause()
					o.edit(e.Session, func(s *rescind.Session) { s.EndedAt = time.Time{} })
					return o.End(ctx, e)
				}
			})},
		{name: "End returns and then ends", found: []string{"EndIsTheLastWord", "NothingSeenIsUnseen"}, hidden: true,
			plant: plant(func(o *oracle, b *broken) {
				b.end = func(ctx context.Context, e rescind.End) (rescind.Ended, error) {
					go func() {
						pause()
						_, _ = o.End(ctx, e) // the bug: nobody waits for it
					}()
					return rescind.Ended{Position: o.headNow() + 1, Changed: true}, nil
				}
			})},
		{name: "the feed comes behind the record", found: []string{"NothingSeenIsUnseen"}, hidden: true,
			plant: plant(func(o *oracle, b *broken) {
				var mu sync.Mutex
				b.end = func(ctx context.Context, e rescind.End) (rescind.Ended, error) {
					mu.Lock()
					defer mu.Unlock()
					o.edit(e.Session, func(s *rescind.Session) { s.EndedAt, s.EndReason = e.At, e.Reason })
					pause()
					o.edit(e.Session, func(s *rescind.Session) { s.EndedAt = time.Time{}; o.end(e); *s = o.sessions[e.Session] })
					return rescind.Ended{Position: o.headNow(), Changed: true}, nil
				}
			})},
		{name: "Configure compares and then writes", found: []string{"OneOfManyConfiguresWins"}, hidden: true,
			plant: plant(func(o *oracle, b *broken) {
				b.configure = func(ctx context.Context, c rescind.Change) (rescind.Position, error) {
					version, err := o.ConfigVersion(ctx)
					if err != nil || version != c.Expect {
						return 0, rescind.ErrConflict
					}
					pause()
					if c.Expect, err = o.ConfigVersion(ctx); err != nil {
						return 0, err
					}
					return o.Configure(ctx, c)
				}
			})},
		{name: "Create compares the count and then writes", found: []string{"CountGuardsConcurrentCreates"}, hidden: true,
			plant: plant(func(o *oracle, b *broken) {
				b.create = func(ctx context.Context, c rescind.Creation) (rescind.Position, error) {
					if c.Count == nil {
						return o.Create(ctx, c)
					}
					tag := c.Session.ID.Tag()
					page, err := o.List(ctx, rescind.ListQuery{Tag: &tag, Limit: 1})
					if err != nil || page.Count != *c.Count {
						return 0, rescind.ErrConflict
					}
					pause()
					c.Count = nil
					o.locked(func() { o.counters[tag] = page.Count + 1 })
					return o.Create(ctx, c)
				}
			})},
		{name: "Create ends and then creates", found: []string{"EndsInCreateAreAtomic"}, hidden: true,
			plant: plant(func(o *oracle, b *broken) {
				b.create = func(ctx context.Context, c rescind.Creation) (rescind.Position, error) {
					for _, e := range c.End {
						if _, err := o.End(ctx, e); err != nil {
							return 0, err
						}
					}
					pause()
					return o.Create(ctx, c)
				}
			})},
		{name: "Create creates and then ends", found: []string{"EndsInCreateAreAtomic"}, hidden: true,
			plant: plant(func(o *oracle, b *broken) {
				b.create = func(ctx context.Context, c rescind.Creation) (rescind.Position, error) {
					ends := c.End
					c.End = nil
					p, err := o.Create(ctx, c)
					pause()
					for _, e := range ends {
						if _, err := o.End(ctx, e); err != nil {
							return 0, err
						}
					}
					return p, err
				}
			})},
		{name: "Lookup reads the record and then the cutoffs", found: []string{"LookupIsOneAtomicRead"}, hidden: true,
			plant: plant(func(o *oracle, b *broken) {
				b.lookup = func(ctx context.Context, id rescind.SessionID) (rescind.Snapshot, error) {
					s, err := o.Lookup(ctx, id)
					pause()
					o.locked(func() { s.Cutoffs = o.cutoffsOf(s.Session) })
					return s, err
				}
			})},
		{name: "a position is read and then taken", found: []string{"PositionsAreDenseUnderLoad"}, hidden: true,
			plant: plant(func(o *oracle, b *broken) {
				b.end = func(ctx context.Context, e rescind.End) (rescind.Ended, error) {
					next := o.headNow() + 1
					pause()
					got, err := o.End(ctx, e)
					got.Position = next
					return got, err
				}
			})},
		{name: "MoveCutoff returns and then moves", found: []string{"CutoffAndCreateAgree", "EndIsTheLastWord"}, hidden: true,
			plant: plant(func(o *oracle, b *broken) {
				b.moveCutoff = func(ctx context.Context, m rescind.CutoffMove) (rescind.Position, error) {
					go func() {
						pause()
						_, _ = o.MoveCutoff(ctx, m) // the bug: nobody waits for it
					}()
					return o.headNow() + 1, nil
				}
			})},
	}
}

func (o *oracle) headNow() (head rescind.Position) {
	o.locked(func() { head = o.head })
	return head
}
