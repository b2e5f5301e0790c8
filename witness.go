package rescind

import (
	"context"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// A store can go back in time: an old snapshot is restored, a restart loses
// writes that had been acknowledged. Whatever was revoked since then would live
// again. So an Authority remembers, outside the store, the newest that the store
// has told it, and compares: when it starts, every second, and after every look-up
// that failed. A store that contradicts what is remembered has every session in it
// ended, gets a new epoch, and the operator is told.
//
// What nobody remembers cannot be noticed: a store that is rolled back together
// with every Testimony, or while no node runs and none has a Witness; and writes
// that were lost with no ending and no configuration among them. A refresh token
// that is newer than its record is then the evidence.

// Testimony is what a node remembers of its store.
type Testimony struct {
	Issuer string   `json:"issuer,omitempty"` // whose ledger it is
	Epoch  string   `json:"epoch"`            // the one last seen
	Past   []string `json:"past,omitempty"`   // those before it: a store in one of them has gone back
	Config uint64   `json:"config"`           // the version of the configuration
	Marks  []Mark   `json:"marks,omitempty"`
}

// Mark is an ending that the store has told of: the newest of its shard.
type Mark struct {
	Position Position `json:"position"`
	Nonce    string   `json:"nonce"`
}

// maxPast bounds the epochs that are remembered.
const maxPast = 64

// leftDocID is the document in which the store itself says which epochs it has
// left: a node that is new must know them too, should the store be in one again.
const leftDocID = "left"

func leftEpochs(cfg *StoreConfig) []string {
	for _, d := range cfg.Documents {
		if d.Kind == ServerDocument && d.ID == leftDocID {
			return strings.Fields(string(d.Value))
		}
	}
	return nil
}

// left adds epochs to those that were left, and forgets the oldest.
func left(past []string, more ...string) []string {
	past = slices.Clone(past)
	for _, epoch := range more {
		if epoch != "" && !slices.Contains(past, epoch) {
			past = append(past, epoch)
		}
	}
	return past[max(0, len(past)-maxPast):]
}

// Witness keeps a Testimony where the fate of the store does not reach it: in a
// small file of the node's own. It is used by one Authority at a time.
type Witness interface {
	// Recall returns what was last remembered, the zero Testimony if nothing was.
	Recall() (Testimony, error)
	// Remember replaces what is kept. It need not be durable at once.
	Remember(Testimony) error
}

// memory is the Witness of those who have none: a Testimony as long as the
// process lives.
type memory struct{ t Testimony }

func (m *memory) Recall() (Testimony, error) { return m.t, nil }
func (m *memory) Remember(t Testimony) error { m.t = t; return nil }

// verifyEvery is how long a store that went back unseen, without one failed call,
// may answer from the past.
const verifyEvery = time.Second

// inquiry is one comparison with the store, shared by all who wait for it.
type inquiry struct {
	done chan struct{}
	err  error
}

// inquiries makes sure that there is one at a time.
type inquiries struct {
	mu  sync.Mutex
	now *inquiry
}

// doubt counts the failures after which the store may have gone back in time, and
// how many of them a comparison that began afterwards has answered.
type doubt struct{ raised, settled atomic.Uint64 }

func (d *doubt) raise() { d.raised.Add(1) }

// dispel returns once every failure so far has been answered. A comparison under
// way says nothing of those that came after it had begun.
func (a *Authority) dispel(ctx context.Context) error {
	for failures := a.doubt.raised.Load(); a.doubt.settled.Load() < failures; {
		if err := a.assure(ctx); err != nil {
			return err
		}
	}
	return nil
}

// acknowledged are the newest positions that the store gave to writes of this
// node, one per shard: marks that nobody has read yet.
type acknowledged struct {
	mu    sync.Mutex
	epoch string
	heads []Position
}

// note takes down a position that a write of an epoch was given.
func (k *acknowledged) note(epoch string, at Position) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.epoch != epoch {
		k.epoch, k.heads = epoch, nil
	}
	for i, head := range k.heads {
		if head.Shard() == at.Shard() {
			k.heads[i] = max(head, at)
			return
		}
	}
	k.heads = append(k.heads, at)
}

func (k *acknowledged) under(epoch string) []Position {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.epoch != epoch {
		return nil
	}
	return slices.Clone(k.heads)
}

// assure returns once the store has been compared with what is remembered, and
// what contradicted it has been ended. A comparison that was under way and failed
// may have met an outage that is over: then there is one more.
func (a *Authority) assure(ctx context.Context) error {
	q, joined := a.inquire(ctx)
	err := q.answer(ctx)
	if err != nil && joined && ctx.Err() == nil {
		q, _ = a.inquire(ctx)
		err = q.answer(ctx)
	}
	return err
}

// inquire joins the comparison under way, or begins one.
func (a *Authority) inquire(ctx context.Context) (q *inquiry, joined bool) {
	a.inquiries.mu.Lock()
	defer a.inquiries.mu.Unlock()
	if a.inquiries.now != nil {
		return a.inquiries.now, true
	}
	q = &inquiry{done: make(chan struct{})}
	a.inquiries.now = q
	go func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), endTime) // others wait for it too
		defer cancel()
		q.err = a.compare(ctx)
		a.inquiries.mu.Lock()
		a.inquiries.now = nil
		a.inquiries.mu.Unlock()
		close(q.done)
	}()
	return q, false
}

func (q *inquiry) answer(ctx context.Context) error {
	select {
	case <-q.done:
		return q.err
	case <-ctx.Done():
		return unavailable("comparing the store with what it said before", ctx.Err())
	}
}

// compare is called by assure alone, one at a time.
func (a *Authority) compare(ctx context.Context) error {
	failures := a.doubt.raised.Load() // before reading: it says nothing of what fails meanwhile
	err := a.examine(ctx)
	if err != nil {
		a.doubt.raise()
		return err
	}
	a.doubt.settled.Store(failures)
	return nil
}

func (a *Authority) examine(ctx context.Context) error {
	kept, err := a.witness.Recall()
	if err != nil {
		return unavailable("witness", err)
	}
	if kept.Issuer != "" && kept.Issuer != a.issuer {
		a.log.WarnContext(ctx, "the witness tells of another ledger: give each server a file of its own", "issuer", kept.Issuer)
		kept = Testimony{}
	}
	known := kept
	if set := a.set.Load(); set != nil && set.epoch == known.Epoch {
		known.Config = max(known.Config, set.version) // before reading what must not be older
	}
	heads := a.acked.under(known.Epoch)
	cfg, err := a.store.Config(ctx)
	if err != nil {
		return unavailable("configuration", err)
	}
	why, err := a.contradiction(ctx, &known, heads, &cfg)
	if err != nil {
		return err
	}
	if why != "" {
		if err := a.wentBack(ctx, why, left(known.Past, known.Epoch)); err != nil {
			return err
		}
		if cfg, err = a.store.Config(ctx); err != nil {
			return unavailable("configuration", err)
		}
	}
	epoch := hex.EncodeToString(cfg.Epoch[:])
	if set := a.set.Load(); set == nil || set.epoch != epoch {
		if _, err := a.reload(ctx); err != nil {
			return err
		}
	}
	return a.remember(ctx, kept, &cfg)
}

// contradiction says in what the store differs from what it said before; "" if
// in nothing. An epoch that nobody has heard of is none: whoever made it has ended
// everything first.
func (a *Authority) contradiction(ctx context.Context, known *Testimony, heads []Position, cfg *StoreConfig) (string, error) {
	epoch := hex.EncodeToString(cfg.Epoch[:])
	switch {
	case slices.Contains(known.Past, epoch):
		return "it is in an epoch that had been left", nil
	case known.Epoch != epoch:
		return "", nil
	case cfg.Version < known.Config:
		return fmt.Sprintf("its configuration has version %d after %d", cfg.Version, known.Config), nil
	}
	found := make([]string, len(known.Marks)+len(heads))
	err := each(len(found), func(i int) (err error) {
		if i < len(known.Marks) {
			found[i], err = a.contradictsMark(ctx, &known.Marks[i])
		} else {
			found[i], err = a.contradictsHead(ctx, heads[i-len(known.Marks)])
		}
		return err
	})
	for _, why := range found {
		if why != "" {
			return why, nil
		}
	}
	return "", err
}

func (a *Authority) contradictsMark(ctx context.Context, m *Mark) (string, error) {
	page, err := a.store.Feed(ctx, m.Position-1, 1)
	switch {
	case err != nil:
		return "", unavailable("feed", err)
	case page.Head < m.Position:
		return fmt.Sprintf("its feed ends at %d after %d", page.Head, m.Position), nil
	case page.Gone || len(page.Endings) == 0: // purged by now: no evidence
	case hex.EncodeToString(page.Endings[0].Nonce[:]) != m.Nonce:
		return fmt.Sprintf("another ending stands at %d", m.Position), nil
	}
	return "", nil
}

func (a *Authority) contradictsHead(ctx context.Context, head Position) (string, error) {
	page, err := a.store.Feed(ctx, head, 1)
	switch {
	case err != nil:
		return "", unavailable("feed", err)
	case page.Head < head:
		return fmt.Sprintf("its feed ends at %d after %d was acknowledged", page.Head, head), nil
	}
	return "", nil
}

// shardsAtOnce bounds what a comparison asks at one time: there can be many shards,
// and a comparison has no more time than an ending.
const shardsAtOnce = 32

// each runs f for 0 to n-1, several at a time, and returns the first error.
func each(n int, f func(int) error) error {
	errs := make([]error, n)
	room := make(chan struct{}, shardsAtOnce)
	var work sync.WaitGroup
	for i := range n {
		room <- struct{}{}
		work.Go(func() {
			errs[i] = f(i)
			<-room
		})
	}
	work.Wait()
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

// wentBack ends everything in a store that has gone back in time, and then gives
// it a new epoch: in this order, so that who sees the epoch can rely on the end.
// Two nodes may do so at once; that ends no more than one would have. Past are the
// epochs that this node knows to be left.
func (a *Authority) wentBack(ctx context.Context, why string, past []string) error {
	a.log.ErrorContext(ctx, "the store has gone back in time: every session in it ends. Was an old copy restored, or did it lose writes?", "why", why)
	now := a.store.Now()
	_, err := a.store.MoveCutoff(ctx, CutoffMove{Kind: EndAll, At: now, Event: Event{
		At: now, Kind: EventAllEnded, Actor: ActorSelf, Reason: string(ReasonRevoked), Detail: "the store has gone back in time",
	}})
	if err != nil {
		return unavailable("move cutoff", err)
	}
	return a.configure(ctx, func(cfg StoreConfig, now time.Time) (Change, error) {
		past := strings.Join(left(leftEpochs(&cfg), append(past, hex.EncodeToString(cfg.Epoch[:]))...), " ")
		return Change{Expect: cfg.Version, NewEpoch: true, Documents: []Document{{Kind: ServerDocument, ID: leftDocID, Value: []byte(past)}}, Events: []Event{{At: now, Kind: EventStoreWentBack, Actor: ActorSelf, Detail: why}}}, nil
	})
}

// remember takes down what the store says now.
func (a *Authority) remember(ctx context.Context, known Testimony, cfg *StoreConfig) error {
	next := Testimony{Issuer: a.issuer, Epoch: hex.EncodeToString(cfg.Epoch[:]), Past: left(known.Past, leftEpochs(cfg)...), Config: cfg.Version}
	if known.Epoch != next.Epoch && known.Epoch != "" {
		next.Past = left(next.Past, known.Epoch)
		known.Marks = nil
	}
	marks := make([]Mark, cfg.Shards)
	if err := each(len(marks), func(shard int) (err error) {
		marks[shard], err = a.mark(ctx, shard, known.Marks)
		return err
	}); err != nil {
		return err
	}
	for _, mark := range marks {
		if mark.Position != 0 {
			next.Marks = append(next.Marks, mark)
		}
	}
	if next.Issuer == known.Issuer && next.Epoch == known.Epoch && next.Config == known.Config && slices.Equal(next.Marks, known.Marks) {
		return nil
	}
	if err := a.witness.Remember(next); err != nil {
		// The store is as it should be; only the next start may not know it.
		a.log.ErrorContext(ctx, "what the store said could not be remembered", "error", err)
	}
	return nil
}

// mark returns the newest ending of a shard, or the one that is known already.
func (a *Authority) mark(ctx context.Context, shard int, known []Mark) (Mark, error) {
	var was Mark
	if i := slices.IndexFunc(known, func(m Mark) bool { return m.Position.Shard() == shard }); i >= 0 {
		was = known[i]
	}
	page, err := a.store.Feed(ctx, max(was.Position, ShardStart(shard)), 1)
	if err != nil {
		return was, unavailable("feed", err)
	}
	if page.Head <= max(was.Position, ShardStart(shard)) {
		return was, nil
	}
	if page, err = a.store.Feed(ctx, page.Head-1, 1); err != nil {
		return was, unavailable("feed", err)
	}
	if page.Gone || len(page.Endings) == 0 {
		return was, nil
	}
	newest := &page.Endings[0]
	return Mark{Position: newest.Position, Nonce: hex.EncodeToString(newest.Nonce[:])}, nil
}

// aheadOfStore is called where an authentic refresh token is newer than its record.
func (a *Authority) aheadOfStore(ctx context.Context, s *Session, generation uint32) error {
	ctx, done := context.WithTimeout(context.WithoutCancel(ctx), endTime)
	defer done()
	why := fmt.Sprintf("the session %s is at generation %d after %d", s.ID, s.Generation, generation)
	if err := a.wentBack(ctx, why, nil); err != nil {
		return err
	}
	return a.assure(ctx)
}

// testify remembers the last of what the store has said, before the node ends.
func (a *Authority) testify() {
	ctx, done := context.WithTimeout(context.Background(), endTime)
	defer done()
	if err := a.assure(ctx); err != nil {
		a.log.Warn("the end of what the store said could not be remembered", "error", err)
	}
}
