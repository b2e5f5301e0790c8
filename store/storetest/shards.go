package storetest

import (
	"fmt"
	"slices"

	"github.com/rescind/rescind"
)

// place is where positions of a tag begin. A store says it by the head that it
// returns with an ending that finds nothing.
func (c *trial) place(tag rescind.Tag) rescind.Position {
	c.Helper()
	if c.shards == 1 {
		return 0
	}
	if p, known := c.places[tag]; known {
		return p
	}
	got, err := c.s.End(c.ctx, rescind.End{Session: rescind.NewSessionID(tag), At: c.now(), Reason: rescind.ReasonLogout})
	c.must("End of nothing", err)
	n := got.Position.Shard()
	if n >= c.shards || got.Changed {
		c.Fatalf("End of nothing returned %+v, and there are %d shards", got, c.shards)
	}
	c.places[tag] = rescind.ShardStart(n)
	return c.places[tag]
}

func (c *trial) shardOf(tag rescind.Tag) int { return c.place(tag).Shard() }

// beside returns a name, the same for each call, of a subject in the shard of
// another one: an ending of its sessions moves the head that the other's births come from.
func (c *trial) beside(name, other string) string {
	c.Helper()
	subject := name
	for i := 0; c.place(tagOf(subject)) != c.place(tagOf(other)); i++ {
		subject = fmt.Sprint(name, i)
	}
	return subject
}

// scattered returns subjects of as many shards as there are, up to a number; of
// one shard it returns two.
func (c *trial) scattered(most int) []string {
	c.Helper()
	subjects := []string{"ann"}
	if c.shards == 1 {
		return append(subjects, "ben")
	}
	taken := map[rescind.Position]bool{c.place(tagOf("ann")): true}
	for i := 0; len(subjects) < min(most, c.shards); i++ {
		subject := fmt.Sprint("scattered", i)
		if p := c.place(tagOf(subject)); !taken[p] {
			taken[p] = true
			subjects = append(subjects, subject)
		}
	}
	return subjects
}

// headOf returns the head of a shard.
func (c *trial) headOf(shard int) rescind.Position {
	c.Helper()
	page, err := c.s.Feed(c.ctx, rescind.ShardStart(shard), 1)
	c.must("Feed", err)
	if page.Head.Shard() != shard {
		c.Fatalf("the head of shard %d is %d, which is of shard %d", shard, page.Head, page.Head.Shard())
	}
	return page.Head
}

// heads returns the heads of all shards.
func (c *trial) heads() []rescind.Position {
	c.Helper()
	heads := make([]rescind.Position, c.shards)
	for i := range heads {
		heads[i] = c.headOf(i)
	}
	return heads
}

// feeds returns all endings of all shards.
func (c *trial) feeds() []rescind.Ending {
	c.Helper()
	var all []rescind.Ending
	for i := range c.shards {
		all = append(all, c.feed(rescind.ShardStart(i))...)
	}
	return all
}

// here is a position of the subject's shard for one that a step in all shards
// has returned, at a time when nothing else happens.
func (c *trial) here(p rescind.Position, subject string) rescind.Position {
	c.Helper()
	if p.Shard() != c.shards-1 {
		c.Fatalf("a step in all of %d shards returned position %d, of shard %d", c.shards, p, p.Shard())
	}
	if c.shardOf(tagOf(subject)) == p.Shard() {
		return p
	}
	return c.head(subject)
}

// moved fails unless a cutoff moved as its kind demands, from these heads.
func (c *trial) moved(m rescind.CutoffMove, heads []rescind.Position, p rescind.Position) {
	c.Helper()
	own := -1 // of all
	if m.Kind == rescind.EndSubject {
		own = c.shardOf(m.Tag)
	}
	for i, head := range heads {
		var want []rescind.Ending
		if own < 0 || own == i {
			want = append(want, rescind.Ending{Position: head + 1, Kind: m.Kind, Tag: m.Tag, Name: m.Name, At: m.At})
		}
		c.equal(fmt.Sprintf("the endings in shard %d", i), showEndings(c.feed(head)), showEndings(want))
		if last := own < 0 && i == c.shards-1; (last || own == i) && p != head+1 {
			c.Fatalf("MoveCutoff at the head %d returned %d", head, p)
		}
	}
}

func shardClauses() []clause {
	return []clause{
		{"EachShardHasItsOwnFeed", eachShardHasItsOwnFeed},
		{"CutoffsReachEveryShard", cutoffsReachEveryShard},
		{"ConfigureReachesEveryShard", configureReachesEveryShard},
		{"ListIsInOrderAcrossShards", listIsInOrderAcrossShards},
	}
}

func eachShardHasItsOwnFeed(c *trial) {
	subjects := c.scattered(4)
	for range 2 {
		for n, subject := range subjects {
			for range n + 1 {
				heads, tag := c.heads(), tagOf(subject)
				s, own := c.created(subject, "web"), c.shardOf(tag)
				if s.Birth != heads[own] {
					c.Fatalf("a session of shard %d is born at %d, the head there is %d", own, s.Birth, heads[own])
				}
				got := c.end(s)
				for i, head := range heads {
					if i == own {
						head++
						if got.Position != head {
							c.Fatalf("an ending in shard %d returned position %d, want %d", i, got.Position, head)
						}
					}
					if is := c.headOf(i); is != head {
						c.Fatalf("after an ending in shard %d the head of shard %d is %d, want %d", own, i, is, head)
					}
				}
				if again := c.end(s); again.Changed || again.Position != got.Position {
					c.Fatalf("the second End returned %+v, the head of its shard is %d", again, got.Position)
				}
			}
		}
		c.restart()
	}
	total := 0
	for i := range c.shards {
		for _, e := range c.feed(rescind.ShardStart(i)) {
			if c.shardOf(e.Session.Tag()) != i {
				c.Fatalf("the feed of shard %d has an ending of another one: %s", i, showEnding(e))
			}
			total++
		}
	}
	if want := len(subjects) * (len(subjects) + 1); total != want {
		c.Fatalf("all feeds have %d endings, want %d", total, want)
	}
}

// cutoffsReachEveryShard: a cutoff of a client, or of all, ends sessions in shards
// whose heads stand at different counts, and spares logins behind it in each.
func cutoffsReachEveryShard(c *trial) {
	subjects := c.scattered(6)
	for n, subject := range subjects {
		for range 3 * n { // so that counts of different shards tell nothing about each other
			c.end(c.created(subject, "web"))
		}
	}
	for i := range 3 {
		var before, spared []rescind.Session
		for _, subject := range subjects {
			before = append(before, c.created(subject, "web"))
			spared = append(spared, c.created(subject, "app"))
		}
		m, heads := c.cutoffs(before[0])[i], c.heads()
		c.moved(m, heads, c.move(m))
		for range 2 {
			for j, s := range before {
				switch snap := c.found(s.ID); {
				case m.Kind == rescind.EndSubject && j > 0:
					c.mustStand("another subject's session", s.ID)
				case stands(snap):
					c.Fatalf("born before the cutoff, and it stands: %s", showSnapshot(snap))
				case snap.Cutoffs.Passed(c.headOf(c.shardOf(s.ID.Tag()))):
					c.Fatalf("a cutoff lies past the head: %s", showSnapshot(snap))
				}
				if m.Kind == rescind.EndClient {
					c.mustStand("another client's session", spared[j].ID)
				}
			}
			c.restart()
		}
		for _, subject := range subjects {
			after := c.created(subject, "web")
			c.mustStand("a login after the cutoff", after.ID)
			c.must("Replace of a session born after the cutoff", c.replace(after))
		}
	}
}

func configureReachesEveryShard(c *trial) {
	var sessions []rescind.Session
	for n, subject := range c.scattered(6) {
		for range n {
			c.end(c.created(subject, "app"))
		}
		sessions = append(sessions, c.created(subject, "web"))
	}
	heads, at := c.heads(), c.now()
	p := c.configure(rescind.Change{
		Documents: []rescind.Document{doc("client", "web", "gone")},
		Ends:      []rescind.Ending{{Kind: rescind.EndClient, Name: "web", At: at}, {Kind: rescind.EndKey, Name: "k1", At: at}},
	})
	if want := heads[c.shards-1] + 2; p != want {
		c.Fatalf("Configure with two endings returned %d, want %d", p, want)
	}
	version := c.config().Version
	for range 2 {
		for i, head := range heads {
			c.equal(fmt.Sprintf("the endings in shard %d", i), showEndings(c.feed(head)), showEndings([]rescind.Ending{
				{Position: head + 1, Kind: rescind.EndClient, Name: "web", At: at},
				{Position: head + 2, Kind: rescind.EndKey, Name: "k1", At: at},
			}))
		}
		for _, s := range sessions {
			snap := c.found(s.ID)
			if stands(snap) || snap.Cutoffs != (rescind.Cutoffs{Client: heads[c.shardOf(s.ID.Tag())] + 1}) {
				c.Fatalf("a session of the removed client: %s", showSnapshot(snap))
			}
			if snap.Config != version {
				c.Fatalf("a Lookup has configuration %d, want %d", snap.Config, version)
			}
		}
		c.restart()
	}
}

func listIsInOrderAcrossShards(c *trial) {
	var all []rescind.Session
	for i := range 60 {
		all = append(all, c.created(fmt.Sprint("subject", i%25), "web"))
	}
	slices.SortFunc(all, func(a, b rescind.Session) int { return compareIDs(a.ID, b.ID) })
	want := lines(all, func(s rescind.Session) string { return s.ID.String() })
	for _, limit := range []int{1, 7, 59, 60, 1000} {
		c.equal(fmt.Sprintf("List, %d a page", limit),
			lines(c.list(nil, limit), func(s rescind.Snapshot) string { return s.Session.ID.String() }), want)
	}
	seen := map[rescind.SessionID]int{}
	c.purge(rescind.PurgeStep{Limit: 7, Drop: func(s *rescind.Snapshot) bool { seen[s.Session.ID]++; return s.Session.Subject == "subject3" }})
	if len(seen) != len(all) {
		c.Fatalf("a round of Purge showed %d sessions of %d", len(seen), len(all))
	}
	all = slices.DeleteFunc(all, func(s rescind.Session) bool { return s.Subject == "subject3" })
	c.equal("List after Purge", lines(c.list(nil, 9), func(s rescind.Snapshot) string { return s.Session.ID.String() }),
		lines(all, func(s rescind.Session) string { return s.ID.String() }))
}
