package pebblestore

import (
	"errors"
	"fmt"
	"maps"

	"github.com/cockroachdb/pebble/v2"

	"github.com/rescind/rescind"
)

const (
	// flightBytes is how large a batch grows before it is sent off.
	flightBytes = 4 << 20
	// flightsAhead is how many batches may wait for their sync while the next is
	// collected. More would make batches smaller, not callers faster.
	flightsAhead = 4
)

// committer is the one writer. Its fields are what the store will be once all
// that it has applied is on disk; only its goroutine touches them.
type committer struct {
	s      *Store
	seq    uint64 // of the flight being collected
	batch  *pebble.Batch
	wrote  bool // whether the batch holds anything
	purged bool // whether it rewrites blocks
	err    error

	head    rescind.Position
	events  uint64
	view    *view
	changed bool // whether view differs from the last flight's
	tags    []uint64

	endings, log block // of this flight, not in the batch yet
	buf          []byte
}

// flight is a batch on its way to the disk, and what becomes known when it is
// there.
type flight struct {
	seq    uint64
	batch  *pebble.Batch // nil where nothing was written
	head   rescind.Position
	events uint64
	view   *view    // nil where it is unchanged
	tags   []uint64 // slots of tags that have a cutoff now
	group  *group   // to be answered, if this is its last flight
}

// commit is the committer's goroutine.
func (s *Store) commit(c *committer) {
	defer close(s.flights)
	for g := s.queue.take(); g != nil; g = s.queue.take() {
		if err := s.failure(); err != nil {
			s.queue.end(g, err)
			continue
		}
		if s.queue.expired(g) {
			s.queue.end(g, nil)
			continue
		}
		if err := c.run(g); err != nil {
			s.fail(err)
		}
	}
	if s.failure() == nil {
		if err := c.run(&group{steps: []step{&timeStep{}}, done: make(chan struct{})}); err != nil {
			s.fail(err)
		}
	}
}

// run takes the steps of a group. After an error nothing more can be written.
func (c *committer) run(g *group) (err error) {
	defer func() {
		if r := recover(); r != nil { // Pebble panics when its log fails
			err = fmt.Errorf("commit: %v", r)
		}
	}()
	c.begin()
	for _, st := range g.steps {
		if c.batch.Len() > flightBytes {
			c.seal(nil)
		}
		*st.result() = unavailable("write", st.apply(c))
		if c.err != nil {
			return c.err
		}
	}
	c.seal(g)
	return c.err
}

// begin starts the next flight.
func (c *committer) begin() {
	c.seq++
	c.s.started.Store(c.seq) // before anything of it can be seen
	c.batch = c.s.db.NewBatch()
	c.wrote, c.purged = false, false
}

// seal applies the batch and sends it off. A group is given with its last flight;
// without one the next flight begins at once, on top of this one.
func (c *committer) seal(g *group) {
	f := &flight{seq: c.seq, head: c.head, events: c.events, tags: c.tags, group: g}
	c.tags = nil
	c.send(&c.endings)
	c.send(&c.log)
	if c.wrote {
		m := meta{head: c.head, events: c.events, config: c.view.config, time: c.s.Now().UnixNano(), epoch: c.view.epoch}
		c.buf = m.append(c.buf[:0])
		c.set([]byte{keyMeta}, c.buf)
		f.batch = c.batch
		if c.err == nil {
			c.err = c.s.db.ApplyNoSyncWait(c.batch, pebble.Sync)
		}
	} else {
		c.err = firstOf(c.err, c.batch.Close())
	}
	c.err = firstOf(c.err, c.s.failure()) // the database may have failed while it applied
	if c.err != nil {
		return
	}
	if c.changed {
		f.view, c.changed = c.view, false
	}
	c.s.applied.Store(c.seq)
	c.s.flights <- f
	if g == nil {
		c.begin()
	}
}

// acknowledge waits for the sync of each flight in turn, makes known what it
// brought, and answers.
func (s *Store) acknowledge() {
	defer close(s.atRest)
	for f := range s.flights {
		if f.batch != nil {
			if err := f.batch.SyncWait(); err != nil {
				s.fail(fmt.Errorf("sync: %w", err))
			} else if err := f.batch.Close(); err != nil {
				s.fail(fmt.Errorf("commit: %w", err))
			}
		}
		err := s.failure()
		if err == nil {
			s.publish(f)
		}
		if f.group != nil {
			s.queue.end(f.group, err)
		}
	}
}

// publish makes known what is durable. The horizon moves last: whoever sees it
// there sees all the rest.
func (s *Store) publish(f *flight) {
	for _, slot := range f.tags {
		s.moved[slot].Store(true)
	}
	if f.view != nil {
		s.view.Store(f.view)
	}
	s.head.Store(uint64(f.head))
	s.durableEvents.Store(f.events)
	s.horizon.advance(f.seq)
}

// What steps write.

func (c *committer) set(key, value []byte) {
	c.wrote = true
	c.err = firstOf(c.err, c.batch.Set(key, value, nil))
}

func (c *committer) delete(key []byte) {
	c.wrote = true
	c.err = firstOf(c.err, c.batch.Delete(key, nil))
}

// enter notes that this flight writes what belongs to a slot. It comes before the
// batch is applied, which is what readers rely on.
func (c *committer) enter(slot uint64) { c.s.touched[slot].Store(c.seq) }

func (c *committer) record(s *seen, value []byte) {
	c.enter(s.slot)
	c.wrote = true
	op := c.batch.SetDeferred(1+len(s.id), len(value))
	op.Key[0] = keySession
	copy(op.Key[1:], s.id[:])
	copy(op.Value, value)
	c.err = firstOf(c.err, op.Finish())
}

// markEnded ends a record. See mark.go.
func (c *committer) markEnded(s *seen, mark []byte) {
	c.enter(s.slot)
	c.wrote = true
	op := c.batch.MergeDeferred(1+len(s.id), len(mark))
	op.Key[0] = keySession
	copy(op.Key[1:], s.id[:])
	copy(op.Value, mark)
	c.err = firstOf(c.err, op.Finish())
}

// ending gives an entry ([rescind.AppendEnding]) the next position.
func (c *committer) ending(value []byte) rescind.Position {
	c.head++
	c.endings.add(uint64(c.head), value)
	if c.endings.full() {
		c.send(&c.endings)
	}
	return c.head
}

// event gives an event ([rescind.AppendEvent]) the next sequence.
func (c *committer) event(value []byte) {
	c.events++
	c.log.add(c.events, value)
	if c.log.full() {
		c.send(&c.log)
	}
}

// change returns a copy of the view for the step to write to.
func (c *committer) change() *view {
	v := *c.view
	c.view, c.changed = &v, true
	return c.view
}

// moveCutoff moves a cutoff to the next position.
func (c *committer) moveCutoff(e *rescind.Ending) {
	to := cutoff{to: c.ending(rescind.AppendEnding(nil, e)), at: e.At}
	value := to.append(nil)
	switch e.Kind {
	case rescind.EndSubject:
		slot := c.s.slotOfTag(&e.Tag)
		c.enter(slot)
		c.tags = append(c.tags, slot)
		c.set(tagKey(keySubject, e.Tag), value)
	case rescind.EndClient:
		v := c.change()
		v.clients = maps.Clone(v.clients)
		v.clients[e.Name] = to
		c.set(append([]byte{keyClient}, e.Name...), value)
	case rescind.EndAll:
		c.change().all = to
		c.set([]byte{keyAll}, value)
	}
}

// What steps read. All of it comes before their first write.

// ready prepares for reading what belongs to a slot from the database: what this
// flight has written there must be applied first.
func (c *committer) ready(slot uint64) {
	if c.s.touched[slot].Load() == c.seq {
		c.seal(nil)
	}
}

// refresh reads a record again if it has changed since its caller read it, and
// reports whether it did.
func (c *committer) refresh(s *seen) (stale bool, err error) {
	if c.s.touched[s.slot].Load() <= s.applied {
		return false, nil
	}
	if c.ready(s.slot); c.err != nil {
		return false, c.err
	}
	return true, c.s.fill(s)
}

// passed reports whether a cutoff has ended a session.
func (c *committer) passed(r *rescind.Session) (bool, error) {
	if c.view.all.to > r.Birth || c.view.clients[r.Client].to > r.Birth {
		return true, nil
	}
	tag := r.ID.Tag()
	slot := c.s.slotOfTag(&tag)
	// A move that is not on disk yet has left its mark in touched.
	if c.s.touched[slot].Load() <= c.s.horizon.seq.Load() && !c.s.moved[slot].Load() {
		return false, nil
	}
	if c.ready(slot); c.err != nil {
		return false, c.err
	}
	cut, err := c.s.subjectCutoff(tag)
	return cut.to > r.Birth, err
}

// count reads a subject's creation counter.
func (c *committer) count(tag rescind.Tag) (uint64, error) {
	if c.ready(c.s.slotOfTag(&tag)); c.err != nil {
		return 0, c.err
	}
	return c.s.count(tag)
}

func isNotFound(err error) bool { return errors.Is(err, pebble.ErrNotFound) }
