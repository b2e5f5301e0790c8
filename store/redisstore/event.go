package redisstore

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/redis/rueidis"

	"github.com/rescind/rescind"
)

func eventEntry(e *rescind.Event) string { return string(rescind.AppendEvent(nil, e)) }

func endingEntry(e *rescind.Ending) string { return string(rescind.AppendEnding(nil, e)) }

func appendEvents(args []string, events []rescind.Event) []string {
	for i := range events {
		args = append(args, eventEntry(&events[i]))
	}
	return args
}

func parseEvent(id, entry string) (rescind.Event, error) {
	e, err := rescind.ParseEvent(id, []byte(entry))
	return e, unavailable("events", err)
}

func parseEnding(at rescind.Position, entry string) (rescind.Ending, error) {
	e, err := rescind.ParseEnding(at, []byte(entry))
	return e, unavailable("feed", err)
}

// stamp is the place of an event in the log: when it was written, and, where two
// shards share a microsecond, the shard.
type stamp struct {
	at    uint64
	shard int
}

const stampDigits = 13 // of a time in microseconds, until the year 2112

// String sorts as the log does.
func (s stamp) String() string { return fmt.Sprintf("%0*x%02x", stampDigits, s.at, s.shard) }

func parseStamp(id string) (s stamp, ok bool) {
	if len(id) != stampDigits+2 {
		return s, false
	}
	at, err := strconv.ParseUint(id[:stampDigits], 16, 64)
	n, nerr := strconv.ParseUint(id[stampDigits:], 16, 8)
	s = stamp{at: at, shard: int(n)}
	return s, err == nil && nerr == nil && s.String() == id
}

const (
	maxEvents   = 1000   // on a page
	eventsAPage = 20_000 // read for one page
	eventChunk  = 200    // read from a shard at once, at most
)

// trail is the log of one shard, read backwards in chunks.
type trail struct {
	shard *shard
	next  []rueidis.XRangeEntry // read and not used, newest first
	end   uint64                // the next chunk is below this stamp
	over  bool
}

// Events reads the logs of all shards and merges them. Their order is that of
// the store's time; two steps of different shards that overlap have no other.
func (s *Store) Events(ctx context.Context, q rescind.EventQuery) (page rescind.EventPage, err error) {
	limit := q.Limit
	if limit == 0 {
		limit = 100
	}
	if limit < 0 || limit > maxEvents {
		return page, fmt.Errorf("%w: a page has 1 to %d events", rescind.ErrInvalid, maxEvents)
	}
	end := stamp{at: 1<<52 - 1}
	if q.After != "" {
		var ok bool
		if end, ok = parseStamp(q.After); !ok {
			return page, fmt.Errorf("%w: no cursor of this log", rescind.ErrInvalid)
		}
	}
	ctx, cancel, err := s.begin(ctx)
	if err != nil {
		return page, err
	}
	defer cancel()
	begun := time.Now()
	trails := make([]*trail, len(s.shards))
	for i, h := range s.shards {
		trails[i] = &trail{shard: h, end: end.at}
		if i < end.shard {
			trails[i].end++ // of the same microsecond, it comes later in the page
		}
	}
	for read := 0; ; read++ {
		if err := s.refill(ctx, trails, min(limit+1, eventChunk)); err != nil {
			return page, err
		}
		at, newest := -1, stamp{}
		for i, t := range trails {
			if len(t.next) == 0 {
				continue
			}
			n, err := streamNumber(t.next[0].ID)
			if err != nil {
				return page, err
			}
			if at < 0 || n >= newest.at {
				at, newest = i, stamp{at: n, shard: i}
			}
		}
		if at < 0 {
			return page, nil
		}
		if len(page.Events) == limit || read >= eventsAPage || time.Since(begun) > s.timeout/2 {
			page.Next = stamp{at: newest.at, shard: newest.shard + 1}.String() // this one is the first of the next page
			if newest.shard == rescind.MaxShards-1 {
				page.Next = stamp{at: newest.at + 1}.String()
			}
			return page, nil
		}
		e, err := parseEvent(newest.String(), trails[at].next[0].FieldValues["e"])
		if err != nil {
			return page, err
		}
		trails[at].next = trails[at].next[1:]
		if q.Match(&e) {
			page.Events = append(page.Events, e)
		}
	}
}

// refill reads on where a chunk is used up, in all such shards at once.
func (s *Store) refill(ctx context.Context, trails []*trail, chunk int) error {
	empty := slices.DeleteFunc(slices.Clone(trails), func(t *trail) bool { return t.over || len(t.next) > 0 })
	return each(empty, func(t *trail) error {
		var err error
		if t.next, err = s.entries(ctx, t.shard, t.shard.events, "XREVRANGE", "("+decimal(t.end)+"-0", "-", chunk); err != nil {
			return err
		}
		t.over = len(t.next) < chunk
		if n := len(t.next); n > 0 {
			if t.end, err = streamNumber(t.next[n-1].ID); err != nil {
				return err
			}
		}
		return nil
	})
}

// entries reads a part of a stream of a shard.
func (s *Store) entries(ctx context.Context, h *shard, stream, command, from, to string, most int) ([]rueidis.XRangeEntry, error) {
	m, err := s.run(ctx, steps["entries"], []string{h.meta, stream}, command, from, to, strconv.Itoa(most))
	if err != nil {
		return nil, err
	}
	list, err := m.AsXRange()
	return list, unavailable("redis", err)
}

// streamNumber is the first part of a stream's id; the second is always 0.
func streamNumber(id string) (uint64, error) {
	text, ok := strings.CutSuffix(id, "-0")
	n, err := strconv.ParseUint(text, 10, 64)
	if !ok || err != nil {
		return 0, damaged("the number of an entry")
	}
	return n, nil
}
