package pebblestore

import (
	"bytes"
	"context"
	"crypto/rand"
	"fmt"
	"maps"
	"strings"

	"github.com/rescind/rescind"
)

const (
	maxDocument = 64 << 10 // bytes of a value
	maxName     = 1 << 10  // bytes of a kind, an id, a client's name
)

// Config implements [rescind.Store]. The configuration is small and kept in
// memory; it is read without touching the disk.
func (s *Store) Config(ctx context.Context) (rescind.StoreConfig, error) {
	if err := s.enter(ctx); err != nil {
		return rescind.StoreConfig{}, err
	}
	defer s.leave()
	v := s.view.Load()
	cfg := rescind.StoreConfig{Version: v.config, Epoch: v.epoch, Shards: 1, Documents: make([]rescind.Document, 0, len(v.docs))}
	for k, value := range v.docs {
		cfg.Documents = append(cfg.Documents, rescind.Document{Kind: k.kind, ID: k.id, Value: bytes.Clone(value)})
	}
	return cfg, nil
}

// ConfigVersion implements [rescind.Store].
func (s *Store) ConfigVersion(ctx context.Context) (uint64, error) {
	if err := s.enter(ctx); err != nil {
		return 0, err
	}
	defer s.leave()
	return s.view.Load().config, nil
}

type configureStep struct {
	outcome
	expect uint64
	docs   []rescind.Document
	ends   []rescind.Ending
	events [][]byte
	epoch  *[16]byte // the new one
	head   rescind.Position
}

// Configure implements [rescind.Store].
func (s *Store) Configure(ctx context.Context, c rescind.Change) (rescind.Position, error) {
	if err := validChange(&c); err != nil {
		return 0, err
	}
	st := &configureStep{expect: c.Expect}
	err := s.write(ctx, st, func() error {
		for _, d := range c.Documents {
			d.Value = bytes.Clone(d.Value)
			st.docs = append(st.docs, d)
		}
		st.ends = append(st.ends, c.Ends...)
		st.events = encodeEvents(c.Events)
		if c.NewEpoch {
			st.epoch = new([16]byte)
			_, _ = rand.Read(st.epoch[:]) // never fails: crypto/rand ends the process instead
		}
		return nil
	})
	if err != nil {
		return 0, err
	}
	return st.head, nil
}

func validChange(c *rescind.Change) error {
	for _, d := range c.Documents {
		switch {
		case d.Kind == "" || strings.Contains(d.Kind, "\x00") || len(d.Kind)+len(d.ID) > maxName:
			return fmt.Errorf("%w: no name of a document", rescind.ErrInvalid)
		case len(d.Value) > maxDocument:
			return fmt.Errorf("%w: a document has at most %d bytes", rescind.ErrInvalid, maxDocument)
		}
	}
	for _, e := range c.Ends {
		if e.Kind != rescind.EndClient && e.Kind != rescind.EndKey || len(e.Name) > maxName {
			return fmt.Errorf("%w: a change of the configuration ends clients and keys", rescind.ErrInvalid)
		}
	}
	return nil
}

func (st *configureStep) apply(c *committer) error {
	if c.view.config != st.expect {
		return rescind.ErrConflict
	}

	v := c.change()
	v.config++
	v.docs = maps.Clone(v.docs)
	for _, d := range st.docs {
		k := docKey{d.Kind, d.ID}
		if d.Value == nil {
			delete(v.docs, k)
			c.delete(docKeyOf(k))
		} else {
			v.docs[k] = d.Value
			c.set(docKeyOf(k), d.Value)
		}
	}
	if st.epoch != nil {
		v.epoch = *st.epoch
	}
	c.wrote = true // the version alone is a change
	for i := range st.ends {
		if e := &st.ends[i]; e.Kind == rescind.EndClient {
			c.moveCutoff(e)
		} else {
			c.ending(rescind.AppendEnding(nil, e))
		}
	}
	for _, e := range st.events {
		c.event(e)
	}
	st.head = c.head
	return nil
}
