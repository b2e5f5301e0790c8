package linear

import (
	"math/rand/v2"
	"syscall"
	"testing"
	"time"

	"github.com/rescind/rescind/tests/nodes"
	"github.com/rescind/rescind/tests/postgres"
	"github.com/rescind/rescind/tests/proxy"
	"github.com/rescind/rescind/tests/redis"
)

// world is what a storm rages in: a ledger, nodes on it, and the connections
// between them.
type world struct {
	t       *testing.T
	url     string // of the ledger, past the proxies
	nodes   []*nodes.Node
	proxies []*proxy.Proxy // of each node, if there are any
	faults  []fault        // of the ledger's kind

	inOrder func() error // the ledger itself says in which order it committed, if it can
}

// fault is something that goes wrong for a while.
type fault struct {
	what   string
	happen func()
}

const nodesHere = 3

// connect starts the nodes, each behind a proxy of its own.
func (w *world) connect(addr string, url func(addr string) string) {
	var ledgers []string
	for range nodesHere {
		p := proxy.Start(w.t, addr)
		w.proxies = append(w.proxies, p)
		ledgers = append(ledgers, url(p.Addr()))
	}
	w.url = url(addr)
	w.nodes = nodes.Start(w.t, program, ledgers)
}

func onRedis(t *testing.T) *world {
	s := redis.Start(t)
	w := &world{t: t, faults: redisFaults(s)}
	w.connect(s.Addr(), func(addr string) string { return "redis://" + addr })
	return w
}

func redisFaults(s *redis.Server) []fault {
	return []fault{
		{"the ledger is frozen", func() { s.Freeze(); pause(300, 1200); s.Thaw() }},
		{"the ledger is frozen for longer than a call may take", func() { s.Freeze(); pause(2200, 3000); s.Thaw() }},
		{"the ledger is killed", func() { s.Kill(); pause(0, 300); s.Restart() }},
	}
}

func onCluster(t *testing.T) *world {
	c := redis.StartCluster(t)
	w := &world{t: t, url: c.URL()}
	var of [][]fault
	for _, s := range c.Masters {
		of = append(of, redisFaults(s))
	}
	for i, f := range of[0] {
		w.faults = append(w.faults, fault{f.what, func() {
			of[rand.IntN(len(of))][i].happen()
			c.Await(t)
		}})
	}
	w.nodes = nodes.Start(t, program, []string{w.url, w.url, w.url})
	return w
}

func onPostgreSQL(t *testing.T) *world {
	s := postgres.Start(t, postgres.With("track_commit_timestamp", "on"))
	w := &world{t: t, inOrder: func() error { return inOrder(t.Context(), s.URL("")) }, faults: []fault{
		{"the ledger is frozen", func() { s.Freeze(); pause(300, 1200); s.Thaw() }},
		{"the ledger is frozen for longer than a call may take", func() { s.Freeze(); pause(2200, 3000); s.Thaw() }},
		{"the ledger is killed", func() { s.Kill(); pause(0, 300); s.Restart() }},
		{"the ledger stops at once", func() { s.Stop(true); pause(0, 300); s.Restart() }},
		{"the ledger stops in order", func() { s.Stop(false); pause(0, 300); s.Restart() }},
	}}
	w.connect(s.Addr(), func(addr string) string { return "postgres://rescind@" + addr + "/postgres?sslmode=disable" })
	return w
}

// pause waits for a while, in milliseconds.
func pause(least, most int) {
	time.Sleep(time.Duration(least+rand.IntN(most-least)) * time.Millisecond)
}

// common are the faults of nodes and of the network.
func (w *world) common() []fault {
	all := []fault{
		{"a node is killed", func() {
			n := w.nodes[rand.IntN(len(w.nodes))]
			n.Kill(w.t)
			pause(0, 300)
			n.Again(w.t)
		}},
		{"a node is frozen", func() {
			n := w.nodes[rand.IntN(len(w.nodes))]
			w.signal(n, syscall.SIGSTOP)
			pause(300, 1500)
			w.signal(n, syscall.SIGCONT)
		}},
	}
	if w.proxies == nil {
		return all
	}
	return append(all,
		fault{"connections are severed", func() {
			for range 5 {
				w.proxies[rand.IntN(len(w.proxies))].Sever()
				pause(0, 200)
			}
		}},
		fault{"a node is cut off", func() {
			p := w.proxies[rand.IntN(len(w.proxies))]
			p.Cut()
			pause(300, 1000)
			p.Mend()
		}},
		fault{"the network is slow and loses things", func() {
			for _, p := range w.proxies {
				p.Slow(50 * time.Millisecond)
				p.Lose(0.01)
			}
			pause(1500, 2000)
			for _, p := range w.proxies {
				p.Mend()
			}
		}},
	)
}

func (w *world) signal(n *nodes.Node, s syscall.Signal) {
	w.t.Helper()
	if err := n.Signal(s); err != nil {
		w.t.Fatal(err)
	}
}

// torment lets everything go wrong, in any order and at least once, until the time
// is over. Nodes have to be there again at the end.
func (w *world) torment(length time.Duration) {
	until := time.Now().Add(length)
	for first := true; first || time.Now().Before(until); first = false {
		faults := append(w.common(), w.faults...)
		rand.Shuffle(len(faults), func(i, j int) { faults[i], faults[j] = faults[j], faults[i] })
		for _, f := range faults {
			if !first && time.Now().After(until) {
				return
			}
			begun := time.Now()
			pause(200, 500)
			f.happen()
			w.t.Logf("%s: %s (%s)", begun.Format("05.000"), f.what, time.Since(begun).Round(time.Millisecond))
		}
	}
	pause(500, 600)
}
