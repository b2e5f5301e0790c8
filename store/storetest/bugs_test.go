package storetest

import (
	"context"
	"crypto/rand"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/rescind/rescind"
)

// bug is one mistake that a store could make, planted around the oracle.
type bug struct {
	name   string
	plant  func(*oracle) rescind.Store
	found  []string // clauses that find it
	shards int      // of the oracle that it is planted in; 0 is one
	hidden bool     // from the random walk: it takes two calls at once, content that the walk does not write, or a closed store
}

// broken is the oracle, except for the methods that are set.
type broken struct {
	*oracle
	now           func() time.Time
	create        func(context.Context, rescind.Creation) (rescind.Position, error)
	lookup        func(context.Context, rescind.SessionID) (rescind.Snapshot, error)
	replace       func(context.Context, rescind.Replacement) error
	end           func(context.Context, rescind.End) (rescind.Ended, error)
	moveCutoff    func(context.Context, rescind.CutoffMove) (rescind.Position, error)
	touch         func(context.Context, rescind.SessionID, time.Time) error
	list          func(context.Context, rescind.ListQuery) (rescind.ListPage, error)
	feed          func(context.Context, rescind.Position, int) (rescind.FeedPage, error)
	events        func(context.Context, rescind.EventQuery) (rescind.EventPage, error)
	config        func(context.Context) (rescind.StoreConfig, error)
	configVersion func(context.Context) (uint64, error)
	configure     func(context.Context, rescind.Change) (rescind.Position, error)
	purge         func(context.Context, rescind.PurgeStep) (rescind.Purged, error)
}

// plant returns an oracle that change has broken.
func plant(change func(*oracle, *broken)) func(*oracle) rescind.Store {
	return func(o *oracle) rescind.Store {
		b := &broken{
			oracle: o, now: o.Now, create: o.Create, lookup: o.Lookup, replace: o.Replace, end: o.End, moveCutoff: o.MoveCutoff,
			touch: o.Touch, list: o.List, feed: o.Feed, events: o.Events, config: o.Config, configVersion: o.ConfigVersion,
			configure: o.Configure, purge: o.Purge,
		}
		change(o, b)
		return b
	}
}

func (b *broken) Now() time.Time { return b.now() }
func (b *broken) Create(ctx context.Context, c rescind.Creation) (rescind.Position, error) {
	return b.create(ctx, c)
}
func (b *broken) Lookup(ctx context.Context, id rescind.SessionID) (rescind.Snapshot, error) {
	return b.lookup(ctx, id)
}
func (b *broken) Replace(ctx context.Context, r rescind.Replacement) error { return b.replace(ctx, r) }
func (b *broken) End(ctx context.Context, e rescind.End) (rescind.Ended, error) {
	return b.end(ctx, e)
}
func (b *broken) MoveCutoff(ctx context.Context, m rescind.CutoffMove) (rescind.Position, error) {
	return b.moveCutoff(ctx, m)
}
func (b *broken) Touch(ctx context.Context, id rescind.SessionID, at time.Time) error {
	return b.touch(ctx, id, at)
}
func (b *broken) List(ctx context.Context, q rescind.ListQuery) (rescind.ListPage, error) {
	return b.list(ctx, q)
}
func (b *broken) Feed(ctx context.Context, after rescind.Position, max int) (rescind.FeedPage, error) {
	return b.feed(ctx, after, max)
}
func (b *broken) Events(ctx context.Context, q rescind.EventQuery) (rescind.EventPage, error) {
	return b.events(ctx, q)
}
func (b *broken) Config(ctx context.Context) (rescind.StoreConfig, error) { return b.config(ctx) }
func (b *broken) ConfigVersion(ctx context.Context) (uint64, error)       { return b.configVersion(ctx) }
func (b *broken) Configure(ctx context.Context, c rescind.Change) (rescind.Position, error) {
	return b.configure(ctx, c)
}
func (b *broken) Purge(ctx context.Context, q rescind.PurgeStep) (rescind.Purged, error) {
	return b.purge(ctx, q)
}

// locked runs f while nobody else reads or writes.
func (o *oracle) locked(f func()) {
	o.mu.Lock()
	defer o.mu.Unlock()
	f()
}

// edit changes a record in place, under the lock.
func (o *oracle) edit(id rescind.SessionID, f func(*rescind.Session)) {
	o.locked(func() {
		if s, found := o.sessions[id]; found {
			f(&s)
			o.sessions[id] = s
		}
	})
}

// pause lets others in, where a step should be one.
func pause() { time.Sleep(20 * time.Microsecond) }

func bugs() []bug {
	return slices.Concat(createBugs(), replaceBugs(), endBugs(), cutoffBugs(), readBugs(), copyBugs(), configBugs(), purgeBugs(), lifeBugs(), raceBugs(), shardBugs())
}

func createBugs() []bug {
	editCreated := func(f func(*oracle, *rescind.Session)) func(*oracle) rescind.Store {
		return plant(func(o *oracle, b *broken) {
			b.create = func(ctx context.Context, c rescind.Creation) (rescind.Position, error) {
				p, err := o.Create(ctx, c)
				if err == nil {
					o.edit(c.Session.ID, func(s *rescind.Session) { f(o, s); p = s.Birth })
				}
				return p, err
			}
		})
	}
	withCreation := func(f func(*oracle, *rescind.Creation)) func(*oracle) rescind.Store {
		return plant(func(o *oracle, b *broken) {
			b.create = func(ctx context.Context, c rescind.Creation) (rescind.Position, error) {
				f(o, &c)
				return o.Create(ctx, c)
			}
		})
	}
	return []bug{
		{name: "Create forgets a field", found: []string{"CreatedSessionIsReadAsWritten"}, hidden: true,
			plant: editCreated(func(_ *oracle, s *rescind.Session) { s.Confirmation = "" })},
		{name: "Create cuts long text", found: []string{"LimitsAreHeld"}, hidden: true,
			plant: editCreated(func(_ *oracle, s *rescind.Session) { s.Device.Name = s.Device.Name[:min(255, len(s.Device.Name))] })},
		{name: "Create takes the next position as birth", found: []string{"BirthIsTheHeadOfTheFeed", "CutoffEndsAllBornBefore"},
			plant: editCreated(func(_ *oracle, s *rescind.Session) { s.Birth++ })},
		{name: "Create takes birth from a stale head", found: []string{"SameMillisecondLoginAfterCutoffLives", "CutoffAndCreateAgree", "BirthIsTheHeadOfTheFeed"},
			plant: editCreated(func(_ *oracle, s *rescind.Session) { s.Birth -= min(s.Birth, 1) })},
		{name: "Create overwrites", found: []string{"CreateRefusesAnIDThatIsThere"},
			plant: withCreation(func(o *oracle, c *rescind.Creation) {
				o.locked(func() { delete(o.sessions, c.Session.ID) })
			})},
		{name: "Create overwrites what has ended", found: []string{"CreateRefusesAnIDThatIsThere"},
			plant: withCreation(func(o *oracle, c *rescind.Creation) {
				o.locked(func() {
					if s := o.sessions[c.Session.ID]; s.Ended() {
						delete(o.sessions, s.ID)
					}
				})
			})},
		{name: "Create ends nobody", found: []string{"EndsInCreateAreItsOwnStep", "PositionsAreDense"},
			plant: withCreation(func(_ *oracle, c *rescind.Creation) { c.End = nil })},
		{name: "Create ignores Count", found: []string{"CountGuardsCreates", "CountGuardsConcurrentCreates"},
			plant: withCreation(func(_ *oracle, c *rescind.Creation) { c.Count = nil })},
		{name: "Create does not advance the counter", found: []string{"CountGuardsCreates", "CountGuardsConcurrentCreates"},
			plant: plant(func(o *oracle, b *broken) {
				b.create = func(ctx context.Context, c rescind.Creation) (rescind.Position, error) {
					p, err := o.Create(ctx, c)
					if err == nil && c.Count != nil {
						o.locked(func() { o.counters[c.Session.ID.Tag()]-- })
					}
					return p, err
				}
			})},
		{name: "a refused Create has ended others", found: []string{"CreateRefusesAnIDThatIsThere", "CountGuardsCreates"},
			plant: plant(func(o *oracle, b *broken) {
				b.create = func(ctx context.Context, c rescind.Creation) (rescind.Position, error) {
					for _, e := range c.End {
						if _, err := o.End(ctx, e); err != nil {
							return 0, err
						}
					}
					return o.Create(ctx, c)
				}
			})},
	}
}

// swap writes r as Replace would, without any of its checks.
func (o *oracle) swap(r rescind.Replacement) {
	s := cloneSession(r.Session)
	old := o.sessions[s.ID]
	s.Version, s.Birth = old.Version+1, old.Birth
	s.LastActive = later(s.LastActive, old.LastActive)
	o.sessions[s.ID] = s
	for _, id := range r.Dropped {
		o.take(rescind.Ending{Kind: rescind.EndToken, Session: s.ID, Token: id, At: o.time()})
	}
	o.log(r.Events...)
}

func replaceBugs() []bug {
	// unless returns a Replace with checks of its own.
	unless := func(refuse func(*oracle, rescind.Session, bool, rescind.Session) bool) func(*oracle) rescind.Store {
		return plant(func(o *oracle, b *broken) {
			b.replace = func(_ context.Context, r rescind.Replacement) (err error) {
				o.locked(func() {
					old, found := o.sessions[r.Session.ID]
					if refuse(o, old, found, r.Session) {
						err = rescind.ErrConflict
						return
					}
					o.swap(r)
				})
				return err
			}
		})
	}
	after := func(f func(*oracle, rescind.Replacement, error)) func(*oracle) rescind.Store {
		return plant(func(o *oracle, b *broken) {
			b.replace = func(ctx context.Context, r rescind.Replacement) error {
				err := o.Replace(ctx, r)
				f(o, r, err)
				return err
			}
		})
	}
	return []bug{
		{name: "Replace does not compare the version", found: []string{"ReplaceRefusesAnotherVersion", "OneOfManyReplacesWins"},
			plant: unless(func(o *oracle, old rescind.Session, found bool, _ rescind.Session) bool {
				return !found || old.Ended() || o.cutoffsOf(old).Passed(old.Birth)
			})},
		{name: "Replace takes a version of the future", found: []string{"ReplaceRefusesAnotherVersion"},
			plant: unless(func(o *oracle, old rescind.Session, found bool, s rescind.Session) bool {
				return !found || old.Ended() || old.Version > s.Version || o.cutoffsOf(old).Passed(old.Birth)
			})},
		{name: "Replace does not look whether the session has ended", found: []string{"EndedSessionIsNeverRevivedByReplace"},
			plant: unless(func(o *oracle, old rescind.Session, found bool, s rescind.Session) bool {
				return !found || old.Version != s.Version || o.cutoffsOf(old).Passed(old.Birth)
			})},
		{name: "Replace forgets the cutoffs", found: []string{"ReplaceRefusesPassedCutoff", "EndIsTheLastWord"},
			plant: unless(func(_ *oracle, old rescind.Session, found bool, s rescind.Session) bool {
				return !found || old.Ended() || old.Version != s.Version
			})},
		{name: "Replace forgets the cutoff of all", found: []string{"ReplaceRefusesPassedCutoff"},
			plant: unless(func(o *oracle, old rescind.Session, found bool, s rescind.Session) bool {
				cut := o.cutoffsOf(old)
				cut.All = 0
				return !found || old.Ended() || old.Version != s.Version || cut.Passed(old.Birth)
			})},
		{name: "Replace does not ask whether the session is idle", found: []string{"ReplaceRespectsIdleTimeout"},
			plant: unless(func(o *oracle, old rescind.Session, found bool, s rescind.Session) bool {
				return !found || old.Ended() || old.Version != s.Version || o.cutoffsOf(old).Passed(old.Birth)
			})},
		{name: "Replace inserts", found: []string{"ReplaceNeverInserts"},
			plant: unless(func(o *oracle, old rescind.Session, found bool, s rescind.Session) bool {
				return found && (old.Ended() || old.Version != s.Version || o.cutoffsOf(old).Passed(old.Birth))
			})},
		{name: "Replace takes the caller's birth", found: []string{"ReplaceWritesOverItsVersion"},
			plant: after(func(o *oracle, r rescind.Replacement, err error) {
				if err == nil {
					o.edit(r.Session.ID, func(s *rescind.Session) { s.Birth = r.Session.Birth })
				}
			})},
		{name: "Replace takes the caller's activity", found: []string{"ReplaceKeepsTheLaterActivity"},
			plant: after(func(o *oracle, r rescind.Replacement, err error) {
				if err == nil {
					o.edit(r.Session.ID, func(s *rescind.Session) { s.LastActive = r.Session.LastActive })
				}
			})},
		{name: "dropped tokens are no endings", found: []string{"DroppedTokensTakePositions", "PositionsAreDense"},
			plant: plant(func(o *oracle, b *broken) {
				b.replace = func(ctx context.Context, r rescind.Replacement) error {
					r.Dropped = nil
					return o.Replace(ctx, r)
				}
			})},
		{name: "a refused Replace is logged", found: []string{"EventsComeWithTheirStepAndOnlyThen", "ReplaceRefusesAnotherVersion"},
			plant: after(func(o *oracle, r rescind.Replacement, err error) {
				if err != nil {
					o.locked(func() { o.log(r.Events...) })
				}
			})},
		{name: "Replace keeps what it was given", found: []string{"ValuesAreNotShared"}, hidden: true,
			plant: after(func(o *oracle, r rescind.Replacement, err error) {
				if err == nil {
					o.edit(r.Session.ID, func(s *rescind.Session) { s.Claims = r.Session.Claims })
				}
			})},
		{name: "Touch takes the time as it comes", found: []string{"TouchTakesTheMaximum"},
			plant: touchBug(func(o *oracle, s *rescind.Session, at time.Time) {
				if _, ok := o.standing(s.ID); ok && !o.time().After(s.LastActive.Add(s.IdleTimeout)) {
					s.LastActive = at
				}
			})},
		{name: "Touch revives", found: []string{"TouchNeverRevives"},
			plant: touchBug(func(o *oracle, s *rescind.Session, at time.Time) {
				s.LastActive, s.EndedAt = later(s.LastActive, at), time.Time{}
			})},
		{name: "Touch revives behind a cutoff", found: []string{"TouchNeverRevives"},
			plant: touchBug(func(o *oracle, s *rescind.Session, at time.Time) {
				if !s.Ended() && !o.time().After(s.LastActive.Add(s.IdleTimeout)) {
					s.LastActive, s.Birth = later(s.LastActive, at), o.head
				}
			})},
		{name: "Touch does not ask whether the session is idle", found: []string{"TouchRespectsIdleTimeout"},
			plant: touchBug(func(o *oracle, s *rescind.Session, at time.Time) {
				if _, ok := o.standing(s.ID); ok {
					s.LastActive = later(s.LastActive, at)
				}
			})},
		{name: "Touch takes a session that is idle as of now", found: []string{"TouchRespectsIdleTimeout"}, hidden: true,
			plant: touchBug(func(o *oracle, s *rescind.Session, at time.Time) {
				if _, ok := o.standing(s.ID); ok && !o.time().After(s.LastActive.Add(s.IdleTimeout)) {
					s.LastActive = later(s.LastActive, at)
				}
			})},
		{name: "Touch bumps the version", found: []string{"TouchTakesTheMaximum", "ReplaceKeepsTheLaterActivity"},
			plant: touchBug(func(o *oracle, s *rescind.Session, at time.Time) {
				if _, ok := o.standing(s.ID); ok && !o.time().After(s.LastActive.Add(s.IdleTimeout)) {
					s.LastActive = later(s.LastActive, at)
					s.Version++
				}
			})},
		{name: "Touch inserts", found: []string{"TouchNeverInserts"},
			plant: plant(func(o *oracle, b *broken) {
				b.touch = func(ctx context.Context, id rescind.SessionID, at time.Time) error {
					o.locked(func() {
						if _, found := o.sessions[id]; !found {
							o.sessions[id] = rescind.Session{ID: id, LastActive: at}
						}
					})
					return o.Touch(ctx, id, at)
				}
			})},
	}
}

// touchBug replaces what Touch does to a record that is there.
func touchBug(f func(*oracle, *rescind.Session, time.Time)) func(*oracle) rescind.Store {
	return plant(func(o *oracle, b *broken) {
		b.touch = func(_ context.Context, id rescind.SessionID, at time.Time) error {
			o.edit(id, func(s *rescind.Session) { f(o, s, at) })
			return nil
		}
	})
}

func endBugs() []bug {
	after := func(f func(*oracle, rescind.End, *rescind.Ended)) func(*oracle) rescind.Store {
		return plant(func(o *oracle, b *broken) {
			b.end = func(ctx context.Context, e rescind.End) (rescind.Ended, error) {
				got, err := o.End(ctx, e)
				if err == nil {
					f(o, e, &got)
				}
				return got, err
			}
		})
	}
	return []bug{
		{name: "End does not bump the version", found: []string{"EndEndsAndBumpsTheVersion"},
			plant: after(func(o *oracle, e rescind.End, got *rescind.Ended) {
				if got.Changed {
					o.edit(e.Session, func(s *rescind.Session) { s.Version-- })
				}
			})},
		{name: "End compares a version", found: []string{"EndIsUnconditional"},
			plant: plant(func(o *oracle, b *broken) {
				b.end = func(ctx context.Context, e rescind.End) (rescind.Ended, error) {
					if snap, err := o.Lookup(ctx, e.Session); err == nil && snap.Session.Version > 1 && !snap.Session.Ended() {
						return rescind.Ended{}, rescind.ErrConflict
					}
					return o.End(ctx, e)
				}
			})},
		{name: "End of an ended session is logged again", found: []string{"EndIsIdempotentAndReportsHead", "EventsComeWithTheirStepAndOnlyThen", "OneOfManyEndsChanges"},
			plant: after(func(o *oracle, e rescind.End, got *rescind.Ended) {
				if !got.Changed {
					o.locked(func() { o.log(e.Event) })
				}
			})},
		{name: "End of an ended session ends it again", found: []string{"EndIsIdempotentAndReportsHead"},
			plant: plant(func(o *oracle, b *broken) {
				b.end = func(ctx context.Context, e rescind.End) (rescind.Ended, error) {
					o.edit(e.Session, func(s *rescind.Session) { s.EndedAt = time.Time{} })
					return o.End(ctx, e)
				}
			})},
		{name: "End that changes nothing reports no position", found: []string{"EndIsIdempotentAndReportsHead", "EndOfNothingChangesNothing"},
			plant: after(func(_ *oracle, _ rescind.End, got *rescind.Ended) {
				if !got.Changed {
					got.Position = 0
				}
			})},
		{name: "End of nothing writes a tombstone", found: []string{"EndOfNothingChangesNothing"},
			plant: after(func(o *oracle, e rescind.End, got *rescind.Ended) {
				o.locked(func() {
					if _, found := o.sessions[e.Session]; !found {
						o.sessions[e.Session] = rescind.Session{ID: e.Session, EndedAt: e.At}
					}
				})
			})},
		{name: "End takes no position", found: []string{"EndEndsAndBumpsTheVersion", "PositionsAreDenseUnderLoad"},
			plant: after(func(o *oracle, e rescind.End, got *rescind.Ended) {
				if got.Changed {
					o.locked(func() {
						o.feed = slices.Delete(slices.Clone(o.feed), int(got.Position-o.tail())-1, int(got.Position-o.tail()))
						o.head--
					})
				}
			})},
	}
}

func cutoffBugs() []bug {
	after := func(f func(*oracle, rescind.CutoffMove, rescind.Position)) func(*oracle) rescind.Store {
		return plant(func(o *oracle, b *broken) {
			b.moveCutoff = func(ctx context.Context, m rescind.CutoffMove) (rescind.Position, error) {
				p, err := o.MoveCutoff(ctx, m)
				if err == nil {
					o.locked(func() { f(o, m, p) })
				}
				return p, err
			}
		})
	}
	keyOf := func(m rescind.CutoffMove) cutoff { return cutoff{kind: m.Kind, tag: m.Tag, name: m.Name} }
	return []bug{
		{name: "a cutoff is off by one", found: []string{"CutoffEndsAllBornBefore", "CutoffsAreThoseOfTheirLastMove", "EndIsTheLastWord"},
			plant: after(func(o *oracle, m rescind.CutoffMove, p rescind.Position) {
				o.cutoffs[keyOf(m)] = moved{to: p - 1, at: m.At}
			})},
		{name: "a cutoff of a subject ends all", found: []string{"CutoffSparesOthers"},
			plant: after(func(o *oracle, m rescind.CutoffMove, p rescind.Position) {
				o.cutoffs[cutoff{kind: rescind.EndAll}] = moved{to: p, at: m.At}
			})},
		{name: "a cutoff moves once", found: []string{"CutoffsAreThoseOfTheirLastMove", "SameMillisecondLoginAfterCutoffLives"},
			plant: plant(func(o *oracle, b *broken) {
				b.moveCutoff = func(ctx context.Context, m rescind.CutoffMove) (rescind.Position, error) {
					was, found := o.cutoffs[keyOf(m)]
					p, err := o.MoveCutoff(ctx, m)
					if found {
						o.locked(func() { o.cutoffs[keyOf(m)] = was })
					}
					return p, err
				}
			})},
		{name: "a cutoff takes a position for each session", found: []string{"CutoffIsOneWriteHoweverMany"},
			plant: plant(func(o *oracle, b *broken) {
				b.moveCutoff = func(ctx context.Context, m rescind.CutoffMove) (rescind.Position, error) {
					p, err := o.MoveCutoff(ctx, m)
					if err == nil {
						o.locked(func() {
							for _, id := range o.ids(&m.Tag) {
								p = o.take(rescind.Ending{Kind: rescind.EndSession, Session: id, At: m.At})
							}
						})
					}
					return p, err
				}
			})},
		{name: "the kept session keeps its birth", found: []string{"KeepSurvivesWithNewBirth", "LookupIsOneAtomicRead"},
			plant: after(func(o *oracle, m rescind.CutoffMove, p rescind.Position) {
				if m.Keep != nil {
					s := o.sessions[m.Keep.Session]
					s.Birth = 0
					o.sessions[s.ID] = s
				}
			})},
		{name: "the kept session keeps its version", found: []string{"KeepSurvivesWithNewBirth"},
			plant: after(func(o *oracle, m rescind.CutoffMove, p rescind.Position) {
				if m.Keep != nil {
					s := o.sessions[m.Keep.Session]
					s.Version--
					o.sessions[s.ID] = s
				}
			})},
		{name: "Keep is not compared", found: []string{"KeepIsCompared"},
			plant: plant(func(o *oracle, b *broken) {
				b.moveCutoff = func(ctx context.Context, m rescind.CutoffMove) (rescind.Position, error) {
					if m.Keep != nil {
						o.locked(func() { m.Keep = &rescind.Keep{Session: m.Keep.Session, Version: o.sessions[m.Keep.Session].Version} })
					}
					return o.MoveCutoff(ctx, m)
				}
			})},
		{name: "Keep revives", found: []string{"KeepIsCompared"},
			plant: plant(func(o *oracle, b *broken) {
				b.moveCutoff = func(ctx context.Context, m rescind.CutoffMove) (rescind.Position, error) {
					if m.Keep != nil {
						o.edit(m.Keep.Session, func(s *rescind.Session) {
							if !s.Ended() {
								s.Birth = o.head
							}
						})
					}
					return o.MoveCutoff(ctx, m)
				}
			})},
		{name: "a refused cutoff has moved", found: []string{"KeepIsCompared"},
			plant: plant(func(o *oracle, b *broken) {
				b.moveCutoff = func(ctx context.Context, m rescind.CutoffMove) (rescind.Position, error) {
					p, err := o.MoveCutoff(ctx, m)
					if err != nil && ctx.Err() == nil {
						m.Keep = nil
						if _, err := o.MoveCutoff(ctx, m); err != nil {
							return 0, err
						}
					}
					return p, err
				}
			})},
	}
}

func configBugs() []bug {
	with := func(f func(*oracle, *rescind.Change)) func(*oracle) rescind.Store {
		return plant(func(o *oracle, b *broken) {
			b.configure = func(ctx context.Context, c rescind.Change) (rescind.Position, error) {
				f(o, &c)
				return o.Configure(ctx, c)
			}
		})
	}
	return []bug{
		{name: "Configure does not compare", found: []string{"ConfigureCompares", "OneOfManyConfiguresWins"},
			plant: with(func(o *oracle, c *rescind.Change) { o.locked(func() { c.Expect = o.version }) })},
		{name: "Configure keeps the epoch", found: []string{"EpochChangesWhenTold"}, hidden: true,
			plant: with(func(o *oracle, c *rescind.Change) { c.NewEpoch = false })},
		{name: "Configure makes an epoch before it compares", found: []string{"EpochChangesWhenTold"}, hidden: true,
			plant: with(func(o *oracle, c *rescind.Change) {
				if c.NewEpoch {
					o.locked(func() { o.epoch[0]++ })
				}
			})},
		{name: "Config counts its reads as shards", found: []string{"ShardsStay"}, hidden: true,
			plant: plant(func(o *oracle, b *broken) {
				reads := 0
				b.config = func(ctx context.Context) (cfg rescind.StoreConfig, err error) {
					cfg, err = o.Config(ctx)
					o.locked(func() { reads++; cfg.Shards = reads })
					return cfg, err
				}
			})},
		{name: "Configure deletes nothing", found: []string{"ConfigurationIsReadAsWritten"},
			plant: with(func(o *oracle, c *rescind.Change) {
				c.Documents = slices.DeleteFunc(slices.Clone(c.Documents), func(d rescind.Document) bool { return d.Value == nil })
			})},
		{name: "Configure runs kind and id together", found: []string{"ConfigurationIsReadAsWritten"}, hidden: true,
			plant: with(func(o *oracle, c *rescind.Change) {
				c.Documents = slices.Clone(c.Documents)
				for i, d := range c.Documents {
					if d.Kind == "a" || d.Kind == "ab" {
						c.Documents[i].Kind, c.Documents[i].ID = "a", (d.Kind + d.ID)[1:]
					}
				}
			})},
		{name: "Configure takes no position for a key", found: []string{"PositionsAreDense", "ClientCutoffMovesWithConfigure"},
			plant: with(func(o *oracle, c *rescind.Change) {
				c.Ends = slices.DeleteFunc(slices.Clone(c.Ends), func(e rescind.Ending) bool { return e.Kind == rescind.EndKey })
			})},
		{name: "Configure does not move a client's cutoff", found: []string{"ClientCutoffMovesWithConfigure"},
			plant: plant(func(o *oracle, b *broken) {
				b.configure = func(ctx context.Context, c rescind.Change) (rescind.Position, error) {
					was := maps.Clone(o.cutoffs)
					p, err := o.Configure(ctx, c)
					o.locked(func() { o.cutoffs = was })
					return p, err
				}
			})},
		{name: "ConfigVersion is remembered too long", found: []string{"ConfigVersionIsThatOfTheWhole"}, hidden: true,
			plant: plant(func(o *oracle, b *broken) {
				var once sync.Once
				var version uint64
				b.configVersion = func(ctx context.Context) (_ uint64, err error) {
					once.Do(func() { version, err = o.ConfigVersion(ctx) })
					return version, err
				}
				b.configure = func(ctx context.Context, c rescind.Change) (rescind.Position, error) {
					if _, err := b.configVersion(ctx); err != nil {
						return 0, err
					}
					return o.Configure(ctx, c)
				}
			})},
		{name: "Lookup does not say the configuration", found: []string{"ConfigVersionIsThatOfTheWhole"},
			plant: plant(func(o *oracle, b *broken) {
				b.lookup = func(ctx context.Context, id rescind.SessionID) (rescind.Snapshot, error) {
					s, err := o.Lookup(ctx, id)
					s.Config = 0
					return s, err
				}
			})},
		{name: "the epoch is made at each start", found: []string{"EpochStays"},
			plant: plant(func(o *oracle, b *broken) {
				_, _ = rand.Read(o.epoch[:]) // never fails: crypto/rand ends the process instead
			})},
	}
}
