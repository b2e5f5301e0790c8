package redisstore

import (
	"context"
	"sync"
	"time"

	"github.com/redis/rueidis"

	"github.com/rescind/rescind"
)

// Look-ups that wait at the same time are read by one MGET. It is sent after all
// of them have begun, and a server executes it at one moment, so each of them is an
// atomic read that sees every write before it. Nothing is kept from one to the next.
const (
	flights   = 3   // of one gatherer on their way at once
	batchSize = 128 // look-ups that one MGET answers, at most
)

// gatherer is where look-ups wait for the next MGET. A cluster has one for each
// shard, because a command there can read one slot only, and because a server that
// does not answer must not hold up the others.
type gatherer struct {
	mu      sync.Mutex
	waiting []*lookup
	flying  int
}

// lookup is one that waits. Its fields are set before done is closed.
type lookup struct {
	id      rescind.SessionID
	shard   *shard
	done    chan struct{}
	meta    meta
	record  []byte // nil: there is none
	subject uint64 // the cutoff's count
	err     error
}

// Lookup implements [rescind.Store].
func (s *Store) Lookup(ctx context.Context, id rescind.SessionID) (rescind.Snapshot, error) {
	if err := s.open(ctx); err != nil {
		return rescind.Snapshot{}, err
	}
	tag := id.Tag()
	l := &lookup{id: id, shard: s.shardOf(&tag)}
	patience := patiences.Get().(*time.Timer)
	defer patiences.Put(patience)
	patience.Reset(s.timeout)
	defer patience.Stop()
	for {
		l.done = make(chan struct{})
		if err := s.gather(l); err != nil {
			return rescind.Snapshot{}, err
		}
		select {
		case <-l.done:
		case <-patience.C:
			return rescind.Snapshot{}, unavailable("lookup", context.DeadlineExceeded)
		case <-ctx.Done():
			return rescind.Snapshot{}, unavailable("lookup", context.Cause(ctx))
		case <-s.closed:
			return rescind.Snapshot{}, errClosed
		}
		if l.err != nil {
			return rescind.Snapshot{}, l.err
		}
		snap, same, err := s.snapshot(ctx, l)
		if err != nil || same {
			return snap, err
		}
	}
}

// patiences saves the making of a timer for each look-up.
var patiences = sync.Pool{New: func() any { return time.NewTimer(time.Hour) }}

// gather queues a look-up, and begins a flight if there is none that will take it.
func (s *Store) gather(l *lookup) error {
	g := s.gatherers[l.shard.number%len(s.gatherers)]
	g.mu.Lock()
	if len(g.waiting) >= maxWaiting {
		g.mu.Unlock()
		return errOverload
	}
	g.waiting = append(g.waiting, l)
	begin := g.flying < flights
	if begin {
		g.flying++
	}
	g.mu.Unlock()
	if begin {
		go s.fly(g)
	}
	return nil
}

// fly takes what waits until nothing does.
func (s *Store) fly(g *gatherer) {
	for {
		g.mu.Lock()
		n := min(len(g.waiting), batchSize)
		if n == 0 {
			g.flying--
			g.mu.Unlock()
			return
		}
		batch := g.waiting[:n:n]
		g.waiting = g.waiting[n:]
		g.mu.Unlock()
		if err := s.flight(batch); err != nil {
			for _, l := range batch {
				l.err = err
			}
		}
		for _, l := range batch {
			close(l.done)
		}
	}
}

// flight has a context of its own: whoever waits has one for the waiting.
func (s *Store) flight(batch []*lookup) error {
	ctx, cancel := context.WithTimeout(context.Background(), s.timeout)
	defer cancel()
	return s.answer(ctx, batch)
}

// answer reads what a batch asks for.
func (s *Store) answer(ctx context.Context, batch []*lookup) error {
	keys := make([]string, 0, 3*len(batch))
	var metas [rescind.MaxShards]int // of each shard, its place among the keys and one
	for _, l := range batch {
		if n := l.shard.number; metas[n] == 0 {
			keys = append(keys, l.shard.meta)
			metas[n] = len(keys)
		}
	}
	first := len(keys)
	for _, l := range batch {
		tag := l.id.Tag()
		keys = append(keys, l.shard.session(&l.id), l.shard.subject(&tag))
	}
	m, err := s.read(ctx, func(b rueidis.Builder) rueidis.Completed { return b.Mget().Key(keys...).Build() })
	if err != nil {
		return err
	}
	values, err := m.ToArray()
	if err != nil || len(values) != len(keys) {
		return unavailable("lookup", err)
	}
	for i, l := range batch {
		l.err = s.read3(l, &values[metas[l.shard.number]-1], &values[first+2*i], &values[first+2*i+1])
	}
	return nil
}

// read3 reads the shard's record, the session's, and its subject's cutoff.
func (s *Store) read3(l *lookup, shard, record, cut *rueidis.RedisMessage) (err error) {
	if l.meta, err = s.metaOf(shard); err != nil {
		return err
	}
	l.record, l.subject = nil, 0
	if record.IsNil() {
		return nil
	}
	if l.record, err = record.AsBytes(); err != nil {
		return unavailable("lookup", err)
	}
	if !cut.IsNil() {
		text, err := cut.ToString()
		c, ok := parseCutoff(text)
		if err != nil || !ok {
			return damaged("a cutoff")
		}
		l.subject = c.to
	}
	return nil
}

// snapshot is what was read, unless the cutoffs of clients, which are known here by
// their number, have moved meanwhile: all of it must be of one moment.
func (s *Store) snapshot(ctx context.Context, l *lookup) (snap rescind.Snapshot, same bool, err error) {
	view, same, err := s.view(ctx, l.shard, &l.meta)
	if err != nil || !same {
		return snap, same, err
	}
	if l.meta.config > s.settled.Load() {
		ctx, cancel := context.WithTimeout(ctx, s.timeout)
		defer cancel()
		if _, err := s.version(ctx); err != nil {
			return snap, true, err
		}
	}
	snap.Config = l.meta.config
	if l.record == nil {
		return snap, true, nil
	}
	if snap.Session, err = l.shard.parseRecord(l.id, l.record); err != nil {
		return rescind.Snapshot{}, true, err
	}
	snap.Found = true
	snap.Cutoffs = rescind.Cutoffs{
		Subject: l.shard.cutoff(l.subject), Client: l.shard.cutoff(view[snap.Session.Client]), All: l.shard.cutoff(l.meta.all),
	}
	return snap, true, nil
}

// metaOf reads a shard's own record. A shard that has none has lost everything.
func (s *Store) metaOf(v *rueidis.RedisMessage) (meta, error) {
	if v.IsNil() {
		return meta{}, s.fail(errGone)
	}
	text, err := v.ToString()
	if err != nil {
		return meta{}, unavailable("redis", err)
	}
	m, ok := parseMeta(text)
	if !ok {
		return meta{}, damaged("the record of a shard")
	}
	return m, nil
}

// view returns the cutoffs of clients of the moment of m, or reads them, if they
// are not known, and says that m is not of the same moment.
func (s *Store) view(ctx context.Context, h *shard, m *meta) (cutoffs map[string]uint64, same bool, err error) {
	if m.clients == 0 {
		return nil, true, nil
	}
	if v := s.clients[h.number].Load(); v != nil && v.number == m.clients {
		return v.cutoffs, true, nil
	}
	ctx, cancel := context.WithTimeout(ctx, s.timeout)
	defer cancel()
	v, err := s.readClients(ctx, h)
	if err != nil {
		return nil, false, err
	}
	s.clients[h.number].Store(v)
	return v.cutoffs, v.number == m.clients, nil
}

func (s *Store) readClients(ctx context.Context, h *shard) (*clientView, error) {
	list, number, err := s.clientCutoffs(ctx, h)
	if err != nil {
		return nil, err
	}
	v := &clientView{number: number, cutoffs: make(map[string]uint64, len(list))}
	for name, raw := range list {
		c, ok := parseCutoff(raw)
		if !ok {
			return nil, damaged("a cutoff")
		}
		v.cutoffs[name] = c.to
	}
	return v, nil
}

// clientCutoffs reads the cutoffs of clients as they are kept, with their number.
func (s *Store) clientCutoffs(ctx context.Context, h *shard) (map[string]string, uint64, error) {
	m, err := s.run(ctx, steps["clients"], []string{h.meta, h.clients})
	if err != nil {
		return nil, 0, err
	}
	parts, err := m.ToArray()
	if err != nil || len(parts) != 2 {
		return nil, 0, unavailable("lookup", err)
	}
	n, err := parts[0].AsInt64()
	if err != nil {
		return nil, 0, unavailable("lookup", err)
	}
	list, err := parts[1].AsStrMap()
	return list, uint64(n), unavailable("lookup", err)
}
