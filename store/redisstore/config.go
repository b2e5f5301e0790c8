package redisstore

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"fmt"
	"strconv"
	"strings"

	"github.com/redis/rueidis"

	"github.com/rescind/rescind"
)

const (
	maxDocument = 64 << 10 // bytes of a value
	maxName     = 1 << 10  // bytes of a kind, an id, a client's name
)

// A change of the configuration is compared and written in one slot, with a note
// of what it means for every shard: its version, and what it ends. Then that is
// done in every shard, each of which takes a version once; and then the note goes.
// Whoever meets a note, here or on another node, does all of this first, so nobody
// is told of a version that is not in every shard.

// appendPending is the note.
func appendPending(b []byte, version uint64, ends []rescind.Ending) []byte {
	b = binary.BigEndian.AppendUint64(b, version)
	for i := range ends {
		e := endingEntry(&ends[i])
		b = append(binary.BigEndian.AppendUint16(b, uint16(len(e))), e...)
	}
	return b
}

func parsePending(v string) (version uint64, ends []rescind.Ending, err error) {
	broken := damaged("a change of the configuration")
	if len(v) < 8 {
		return 0, nil, broken
	}
	version, v = number(v[:8]), v[8:]
	for v != "" {
		if len(v) < 2 {
			return 0, nil, broken
		}
		size := int(v[0])<<8 | int(v[1])
		if v = v[2:]; size > len(v) {
			return 0, nil, broken
		}
		e, err := parseEnding(0, v[:size])
		if err != nil {
			return 0, nil, err
		}
		ends, v = append(ends, e), v[size:]
	}
	return version, ends, nil
}

// Config implements [rescind.Store].
func (s *Store) Config(ctx context.Context) (cfg rescind.StoreConfig, err error) {
	ctx, cancel, err := s.begin(ctx)
	if err != nil {
		return cfg, err
	}
	defer cancel()
	for {
		m, err := s.run(ctx, steps["config"], []string{configKey, documentsKey})
		if err != nil {
			return cfg, err
		}
		parts, err := m.ToArray()
		if err != nil || len(parts) != 2 {
			return cfg, unavailable("config", err)
		}
		if parts[0].IsNil() {
			return cfg, s.fail(errGone)
		}
		h, err := s.headOf(&parts[0])
		if err != nil {
			return cfg, err
		}
		if h.pending != "" {
			if _, err := s.complete(ctx, &h); err != nil {
				return cfg, err
			}
			continue
		}
		list, err := parts[1].AsStrSlice()
		if err != nil || len(list)%2 != 0 {
			return cfg, unavailable("config", err)
		}
		cfg = rescind.StoreConfig{Version: h.version, Epoch: h.epoch, Shards: h.shards, Documents: make([]rescind.Document, 0, len(list)/2)}
		for i := 0; i < len(list); i += 2 {
			kind, id, ok := strings.Cut(list[i], "\x00")
			if !ok {
				return rescind.StoreConfig{}, damaged("the name of a document")
			}
			cfg.Documents = append(cfg.Documents, rescind.Document{Kind: kind, ID: id, Value: []byte(list[i+1])})
		}
		s.known(h.version)
		return cfg, nil
	}
}

func (s *Store) headOf(m *rueidis.RedisMessage) (head, error) {
	v, err := m.ToString()
	if err != nil {
		return head{}, unavailable("config", err)
	}
	h, err := parseHead(v)
	if err == nil && h.shards != len(s.shards) {
		err = s.fail(errGone) // it was made anew by somebody
	}
	return h, err
}

// known notes that a version is in every shard.
func (s *Store) known(version uint64) {
	for {
		old := s.settled.Load()
		if version <= old || s.settled.CompareAndSwap(old, version) {
			return
		}
	}
}

// ConfigVersion implements [rescind.Store].
func (s *Store) ConfigVersion(ctx context.Context) (uint64, error) {
	ctx, cancel, err := s.begin(ctx)
	if err != nil {
		return 0, err
	}
	defer cancel()
	return s.version(ctx)
}

// version reads the version of the configuration, once it is in every shard.
func (s *Store) version(ctx context.Context) (uint64, error) {
	for {
		m, err := s.read(ctx, func(b rueidis.Builder) rueidis.Completed { return b.Get().Key(configKey).Build() })
		if err != nil {
			return 0, err
		}
		if m.IsNil() {
			return 0, s.fail(errGone)
		}
		h, err := s.headOf(&m)
		if err != nil {
			return 0, err
		}
		if h.pending == "" {
			s.known(h.version)
			return h.version, nil
		}
		if _, err := s.complete(ctx, &h); err != nil {
			return 0, err
		}
	}
}

// complete does what is left of a change, and returns the head of the last shard.
func (s *Store) complete(ctx context.Context, h *head) (rescind.Position, error) {
	version, ends, err := parsePending(h.pending)
	if err != nil {
		return 0, err
	}
	if version == 0 { // of a new ledger
		return 0, s.makeShards(ctx, h)
	}
	var at rescind.Position
	err = each(s.shards, func(h *shard) error {
		p, err := s.spread(ctx, h, version, ends)
		if h == s.last() {
			at = p
		}
		return err
	})
	if err != nil {
		return 0, err
	}
	if err := s.settleHead(ctx, version); err != nil {
		return 0, err
	}
	s.known(version)
	return at, nil
}

// spread does in one shard what a version means there, unless it has it already.
func (s *Store) spread(ctx context.Context, h *shard, version uint64, ends []rescind.Ending) (rescind.Position, error) {
	args := []string{s.stampNow(), decimal(version), randomNumber()}
	for i := range ends {
		args = append(args, clientArg(&ends[i]), decimal(milliseconds(ends[i].At)), endingEntry(&ends[i]))
	}
	m, err := s.run(ctx, steps["spread"], []string{h.meta, h.feed, h.clients}, args...)
	if err != nil {
		return 0, err
	}
	head, err := headOrConflict(&m)
	return h.position(head), err
}

func (s *Store) settleHead(ctx context.Context, version uint64) error {
	_, err := s.run(ctx, steps["settle"], []string{configKey}, versionArg(version))
	return err
}

// clientArg is how a script is told that an ending moves a client's cutoff.
func clientArg(e *rescind.Ending) string {
	if e.Kind == rescind.EndClient {
		return "=" + e.Name
	}
	return ""
}

func versionArg(v uint64) string { return string(binary.BigEndian.AppendUint64(nil, v)) }

// randomNumber is one that Lua can hold.
func randomNumber() string {
	var b [6]byte
	_, _ = rand.Read(b[:]) // never fails: crypto/rand ends the process instead
	return strconv.FormatUint(number(string(b[:]))+1, 10)
}

// Configure implements [rescind.Store].
func (s *Store) Configure(ctx context.Context, c rescind.Change) (rescind.Position, error) {
	if err := validChange(&c); err != nil {
		return 0, err
	}
	ctx, cancel, err := s.begin(ctx)
	if err != nil {
		return 0, err
	}
	defer cancel()
	// A change that cannot be finished holds up look-ups of its version. So it is
	// not begun while a shard does not answer.
	if _, err := s.written(ctx); err != nil {
		return 0, err
	}
	keys, args := s.change(&c)
	for {
		h, done, err := s.compare(ctx, keys, args)
		if err != nil {
			return 0, err
		}
		at, err := s.complete(ctx, h)
		if err != nil || done {
			return at, err
		}
		// An older change was in the way; now this one is compared again.
	}
}

// change is what the first part of Configure takes.
func (s *Store) change(c *rescind.Change) (keys, args []string) {
	epoch := ""
	if c.NewEpoch {
		var e [16]byte
		_, _ = rand.Read(e[:]) // never fails: crypto/rand ends the process instead
		epoch = string(e[:])
	}
	first := s.shards[0]
	args = []string{s.stampNow(), versionArg(c.Expect), versionArg(c.Expect + 1), epoch,
		string(appendPending(nil, c.Expect+1, c.Ends)), strconv.Itoa(len(c.Documents))}
	for _, d := range c.Documents {
		value := "-"
		if d.Value != nil {
			value = "+" + string(d.Value)
		}
		args = append(args, d.Kind+"\x00"+d.ID, value)
	}
	return []string{configKey, documentsKey, first.meta, first.events}, appendEvents(args, c.Events)
}

// compare writes a change, or finds another one in the way that is not in every
// shard yet. Either is in the head, for completing.
func (s *Store) compare(ctx context.Context, keys, args []string) (h *head, done bool, err error) {
	m, err := s.run(ctx, steps["configure"], keys, args...)
	if err != nil {
		return nil, false, err
	}
	parts, err := m.ToArray()
	if err != nil || len(parts) == 0 {
		return nil, false, unavailable("configure", err)
	}
	outcome, err := parts[0].AsInt64()
	if err != nil {
		return nil, false, unavailable("configure", err)
	}
	if outcome == conflict || len(parts) < 2 {
		return nil, false, rescind.ErrConflict
	}
	is, err := s.headOf(&parts[1])
	return &is, outcome == 1, err
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
