package storetest

import (
	"time"

	"context"
	"slices"

	"github.com/rescind/rescind"
)

// shardBugs are mistakes that only a store of several shards can make.
func shardBugs() []bug {
	// undo takes back, in some shards, what a step in all of them has done.
	undo := func(o *oracle, heads []rescind.Position, cut map[cutoff]moved, in func(int) bool) {
		for i, l := range o.lanes {
			if !in(i) {
				continue
			}
			l.feed, l.head = l.feed[:len(l.feed)-int(l.head-heads[i])], heads[i]
			for k := range o.cutoffs {
				if k.shard == i {
					delete(o.cutoffs, k)
				}
			}
			for k, m := range cut {
				if k.shard == i {
					o.cutoffs[k] = m
				}
			}
		}
	}
	partly := func(in func(int) bool) func(*oracle) rescind.Store {
		return plant(func(o *oracle, b *broken) {
			around := func(f func() (rescind.Position, error)) (p rescind.Position, err error) {
				heads, cut := []rescind.Position{}, map[cutoff]moved{}
				o.locked(func() {
					for _, l := range o.lanes {
						heads = append(heads, l.head)
					}
					for k, m := range o.cutoffs {
						cut[k] = m
					}
				})
				if p, err = f(); err == nil {
					o.locked(func() { undo(o, heads, cut, in) })
				}
				return p, err
			}
			b.moveCutoff = func(ctx context.Context, m rescind.CutoffMove) (rescind.Position, error) {
				if m.Kind == rescind.EndSubject {
					return o.MoveCutoff(ctx, m)
				}
				return around(func() (rescind.Position, error) { return o.MoveCutoff(ctx, m) })
			}
			b.configure = func(ctx context.Context, c rescind.Change) (rescind.Position, error) {
				return around(func() (rescind.Position, error) { return o.Configure(ctx, c) })
			}
		})
	}
	const shards = 4
	return []bug{
		{name: "a step in all shards leaves the first out", shards: shards, found: []string{"CutoffsReachEveryShard", "ConfigureReachesEveryShard"},
			plant: partly(func(i int) bool { return i == 0 })},
		{name: "a step in all shards is done in the last only", shards: shards, found: []string{"CutoffsReachEveryShard", "ConfigureReachesEveryShard"},
			plant: partly(func(i int) bool { return i < shards-1 })},
		{name: "MoveCutoff returns the position in the first shard", shards: shards, found: []string{"CutoffsReachEveryShard"},
			plant: plant(func(o *oracle, b *broken) {
				b.moveCutoff = func(ctx context.Context, m rescind.CutoffMove) (p rescind.Position, err error) {
					if p, err = o.MoveCutoff(ctx, m); err == nil && m.Kind != rescind.EndSubject {
						o.locked(func() { p = o.lanes[0].head })
					}
					return p, err
				}
			})},
		{name: "cutoffs of the first shard are compared with births of all", shards: shards, found: []string{"CutoffsReachEveryShard", "ConfigureReachesEveryShard"},
			plant: plant(func(o *oracle, b *broken) {
				b.lookup = func(ctx context.Context, id rescind.SessionID) (rescind.Snapshot, error) {
					s, err := o.Lookup(ctx, id)
					o.locked(func() {
						s.Cutoffs.Client = o.cutoffs[cutoff{kind: rescind.EndClient, name: s.Session.Client}].to
						s.Cutoffs.All = o.cutoffs[cutoff{kind: rescind.EndAll}].to
					})
					return s, err
				}
			})},
		{name: "births are of the first shard", shards: shards, found: []string{"EachShardHasItsOwnFeed", "CutoffsReachEveryShard"},
			plant: plant(func(o *oracle, b *broken) {
				b.create = func(ctx context.Context, c rescind.Creation) (p rescind.Position, err error) {
					if _, err = o.Create(ctx, c); err == nil {
						o.edit(c.Session.ID, func(s *rescind.Session) { s.Birth = o.lanes[0].head; p = s.Birth })
					}
					return p, err
				}
			})},
		{name: "an ending goes into the feed of the first shard", shards: shards, found: []string{"EachShardHasItsOwnFeed"},
			plant: plant(func(o *oracle, b *broken) {
				b.end = func(ctx context.Context, e rescind.End) (rescind.Ended, error) {
					got, err := o.End(ctx, e)
					if err == nil && got.Changed {
						o.locked(func() {
							l := o.laneOf(e.Session.Tag())
							moved := l.feed[len(l.feed)-1]
							l.feed, l.head = l.feed[:len(l.feed)-1], l.head-1
							o.lanes[0].take(moved)
						})
					}
					return got, err
				}
			})},
		{name: "Feed reads the first shard, whatever is asked", shards: shards, found: []string{"EachShardHasItsOwnFeed"},
			plant: plant(func(o *oracle, b *broken) {
				b.feed = func(ctx context.Context, after rescind.Position, max int) (rescind.FeedPage, error) {
					return o.Feed(ctx, after-rescind.ShardStart(after.Shard()), max)
				}
			})},
		{name: "List begins with the last shard", shards: shards, found: []string{"ListIsInOrderAcrossShards"},
			plant: plant(func(o *oracle, b *broken) {
				b.list = func(ctx context.Context, q rescind.ListQuery) (rescind.ListPage, error) {
					page, err := o.List(ctx, q)
					slices.SortStableFunc(page.Sessions, func(a, b rescind.Snapshot) int {
						return o.place(b.Session.ID.Tag()) - o.place(a.Session.ID.Tag())
					})
					return page, err
				}
			})},
		{name: "Purge forgets the last shard", shards: shards, hidden: true, found: []string{"ListIsInOrderAcrossShards"},
			plant: plant(func(o *oracle, b *broken) {
				b.purge = func(ctx context.Context, q rescind.PurgeStep) (rescind.Purged, error) {
					if drop := q.Drop; drop != nil {
						q.Drop = func(s *rescind.Snapshot) bool { return o.place(s.Session.ID.Tag()) < shards-1 && drop(s) }
					}
					return o.Purge(ctx, q)
				}
			})},
	}
}

func copyBugs() []bug {
	return []bug{
		{name: "Create takes no notice of an end", found: []string{"CreatedAsEndedIsEnded"}, hidden: true,
			plant: plant(func(o *oracle, b *broken) {
				b.create = func(ctx context.Context, c rescind.Creation) (rescind.Position, error) {
					c.Session.EndedAt, c.Session.EndReason = time.Time{}, ""
					return o.Create(ctx, c)
				}
			})},
	}
}
