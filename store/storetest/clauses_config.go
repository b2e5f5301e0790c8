package storetest

import (
	"bytes"
	"slices"

	"github.com/rescind/rescind"
)

func configClauses() []clause {
	return []clause{
		{"ConfigureCompares", configureCompares},
		{"ConfigurationIsReadAsWritten", configurationIsReadAsWritten},
		{"ConfigVersionIsThatOfTheWhole", configVersionIsThatOfTheWhole},
		{"ClientCutoffMovesWithConfigure", clientCutoffMovesWithConfigure},
		{"EpochStays", epochStays},
		{"EpochChangesWhenTold", epochChangesWhenTold},
		{"ShardsStay", shardsStay},
	}
}

func doc(kind, id, value string) rescind.Document {
	return rescind.Document{Kind: kind, ID: id, Value: []byte(value)}
}

func configureCompares(c *trial) {
	s := c.created("ann", "web")
	first := c.config().Version
	c.configure(rescind.Change{Documents: []rescind.Document{doc("client", "web", "1")}})
	for _, expect := range []uint64{first, first + 2, 1 << 40} {
		c.unchanged("Configure of another version", func() {
			_, err := c.s.Configure(c.ctx, rescind.Change{
				Expect:    expect,
				Documents: []rescind.Document{doc("client", "web", "2"), doc("client", "app", "2")},
				Ends:      []rescind.Ending{{Kind: rescind.EndClient, Name: "web", At: c.now()}},
				Events:    []rescind.Event{newEvent(rescind.EventClientAdded, s, c.now())},
			})
			c.mustConflict("Configure of another version", err)
		})
	}
	c.mustStand("a session of a client whose removal was refused", s.ID)
}

func configurationIsReadAsWritten(c *trial) {
	want := c.config().Documents
	if len(want) != 0 {
		c.Fatalf("a new store has documents: %s", showConfig(c.config()))
	}
	change := func(docs ...rescind.Document) {
		c.Helper()
		was := c.config().Version
		c.configure(rescind.Change{Documents: docs})
		for _, d := range docs {
			want = slices.DeleteFunc(slices.Clone(want), func(w rescind.Document) bool { return w.Kind == d.Kind && w.ID == d.ID })
			if d.Value != nil {
				want = append(want, d)
			}
		}
		c.equal("the configuration", showConfig(c.config()), showConfig(rescind.StoreConfig{Version: was + 1, Documents: want}))
	}
	change(doc("client", "web", "1"), doc("client", "app", "2"), doc("key", "web", "3"))
	change(doc("client", "web", "4"))
	change(doc("ab", "c", "5"), doc("a", "bc", "6"), doc("a", "b/c", "7"), doc("a/b", "c", "8"), doc("a", "b:c", "9"), doc("a:b", "c", "10"))
	change(rescind.Document{Kind: "client", ID: "web"}) // nil deletes
	change(rescind.Document{Kind: "client", ID: "never there"})
	change(doc("client", "web", "back"), rescind.Document{Kind: "ab", ID: "c"})
	change(rescind.Document{Kind: "setting", ID: "large", Value: bytes.Repeat([]byte{0, 255, '\'', '%'}, 16<<10)})
	change(rescind.Document{Kind: "setting", ID: "", Value: []byte{0}})
	change() // nothing at all
	was := c.config()
	c.restart()
	c.equal("the configuration after a restart", showConfig(c.config()), showConfig(was))
}

func configVersionIsThatOfTheWhole(c *trial) {
	s := c.created("ann", "web")
	for range 4 {
		cfg := c.config()
		v, err := c.s.ConfigVersion(c.ctx)
		c.must("ConfigVersion", err)
		if snap := c.found(s.ID); v != cfg.Version || snap.Config != v {
			c.Fatalf("Config has version %d, ConfigVersion %d, Lookup %d", cfg.Version, v, snap.Config)
		}
		if snap := c.lookup(c.session("zoe", "web").ID); snap.Config != v {
			c.Fatalf("a Lookup that finds nothing has configuration %d, want %d", snap.Config, v)
		}
		c.configure(rescind.Change{Events: []rescind.Event{newEvent(rescind.EventKeyRotated, s, c.now())}})
		now, err := c.s.ConfigVersion(c.ctx)
		c.must("ConfigVersion", err)
		if snap := c.found(s.ID); now != v+1 || snap.Config != now || c.config().Version != now {
			c.Fatalf("Configure took the version from %d to %d; Lookup has %d, Config %d", v, now, snap.Config, c.config().Version)
		}
		c.restart()
	}
	was := c.config().Version
	c.end(s)
	c.move(c.cutoffs(s)[1])
	if now := c.config().Version; now != was {
		c.Fatalf("endings took the version of the configuration from %d to %d", was, now)
	}
}

func clientCutoffMovesWithConfigure(c *trial) {
	web, app := c.created("ann", "web"), c.created("ann", "app")
	c.configure(rescind.Change{Documents: []rescind.Document{doc("client", "web", "1"), doc("client", "app", "1")}})
	c.mustStand("after Configure that ends nothing", web.ID)
	head := c.head("ann")
	at := c.now()
	p := c.configure(rescind.Change{
		Documents: []rescind.Document{{Kind: "client", ID: "web"}},
		Ends: []rescind.Ending{
			{Kind: rescind.EndClient, Name: "web", At: at},
			{Kind: rescind.EndKey, Name: "k1", At: at},
		},
	})
	if p = c.here(p, "ann"); p != head+2 || c.head("ann") != p {
		c.Fatalf("Configure with two endings at the head %d returned %d, and the head is %d", head, p, c.head("ann"))
	}
	c.equal("the endings", showEndings(c.feed(head)), showEndings([]rescind.Ending{
		{Position: head + 1, Kind: rescind.EndClient, Name: "web", At: at},
		{Position: head + 2, Kind: rescind.EndKey, Name: "k1", At: at},
	}))
	for range 2 {
		c.mustBeOver("a session of the client that was removed", web.ID)
		if got := c.found(web.ID).Cutoffs; got != (rescind.Cutoffs{Client: head + 1}) {
			c.Fatalf("the removed client's session has cutoffs %+v, want %d for its client", got, head+1)
		}
		c.mustStand("another client's session", app.ID)
		c.restart()
	}
	c.mustConflict("Replace of a session whose client was removed", c.replace(web))
	c.mustStand("a login behind the cutoff", c.created("ann", "web").ID)
	keyed := c.created("ann", "k1")
	c.configure(rescind.Change{Ends: []rescind.Ending{{Kind: rescind.EndKey, Name: "k1", At: at}}})
	c.mustStand("the session of a client with the name of a key that ended", keyed.ID)
}

func epochStays(c *trial) {
	epoch := c.config().Epoch
	if epoch == [16]byte{} {
		c.Fatalf("the epoch is not set")
	}
	for range 2 {
		c.configure(rescind.Change{Documents: []rescind.Document{doc("k", "i", "v")}})
		c.move(c.cutoffs(c.created("ann", "web"))[2])
		c.restart()
		if got := c.config().Epoch; got != epoch {
			c.Fatalf("the epoch was %x and is %x", epoch, got)
		}
	}
}

func epochChangesWhenTold(c *trial) {
	known := map[[16]byte]bool{c.config().Epoch: true}
	for range 3 {
		s := c.created("ann", "web")
		was := c.config()
		c.configure(rescind.Change{NewEpoch: true, Documents: []rescind.Document{doc("k", "i", "v")}})
		is := c.config()
		if known[is.Epoch] || is.Version != was.Version+1 {
			c.Fatalf("a new epoch was asked for: %x of version %d followed %x of version %d", is.Epoch, is.Version, was.Epoch, was.Version)
		}
		known[is.Epoch] = true
		c.mustStand("a session, which no new epoch ends by itself", s.ID)
		c.restart()
		if again := c.config(); again.Epoch != is.Epoch {
			c.Fatalf("the epoch was %x and is %x after a restart", is.Epoch, again.Epoch)
		}
		_, err := c.s.Configure(c.ctx, rescind.Change{Expect: was.Version, NewEpoch: true})
		c.mustConflict("a new epoch for another version", err)
		if again := c.config(); again.Epoch != is.Epoch || again.Version != is.Version {
			c.Fatalf("a refused change made an epoch")
		}
	}
}

func shardsStay(c *trial) {
	shards := c.config().Shards
	if shards < 1 || shards > rescind.MaxShards {
		c.Fatalf("a feed of %d shards", shards)
	}
	for range 2 {
		if got := c.config().Shards; got != shards {
			c.Fatalf("the feed had %d shards and has %d", shards, got)
		}
		c.restart()
	}
}
