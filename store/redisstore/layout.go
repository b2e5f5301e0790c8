package redisstore

import (
	"encoding/binary"
	"fmt"
	"time"

	"github.com/rescind/rescind"
)

// The keys. {rNN} is a shard's hash tag, so that all keys of a shard lie on one
// slot of a cluster, and a step is on one server.
//
//	{rNN}m             the shard's own record: see meta
//	{rNN}s + id        a session's record: a head of fixed size, and the rest
//	{rNN}i + bucket    the ids of the sessions of some tags, in their order
//	{rNN}b             a bit for each bucket that has an id in it
//	{rNN}c + tag       the cutoff of a subject: count and time
//	{rNN}x             tags that have a cutoff, by its time
//	{rNN}k             cutoffs of clients, by name
//	{rNN}n + tag       creation counter of a subject
//	{rNN}f, {rNN}e     streams: the feed by count, the audit log by stamp
//	{r00}g, {r00}d     the configuration: its head, its documents
type shard struct {
	number                                              int
	prefix, meta, feed, events, clients, moves, buckets string
}

func shardOf(n int) *shard {
	p := fmt.Sprintf("{r%02x}", n)
	return &shard{number: n, prefix: p, meta: p + "m", feed: p + "f", events: p + "e", clients: p + "k", moves: p + "x", buckets: p + "b"}
}

const (
	configKey    = "{r00}g"
	documentsKey = "{r00}d"
)

func (h *shard) session(id *rescind.SessionID) string { return h.prefix + "s" + string(id[:]) }
func (h *shard) subject(tag *rescind.Tag) string      { return h.prefix + "c" + string(tag[:]) }
func (h *shard) counter(tag *rescind.Tag) string      { return h.prefix + "n" + string(tag[:]) }

// bucketBits of a tag choose its bucket. A bucket of up to 128 ids is one
// compact piece of memory, and there are that many only above 100 M sessions.
const bucketBits = 20

// bucket is the number of a tag's bucket. Buckets are in the order of ids.
func bucketOf(tag *rescind.Tag) uint32 { return binary.BigEndian.Uint32(tag[:]) >> (32 - bucketBits) }

func (h *shard) bucket(n uint32) string {
	return h.prefix + "i" + string([]byte{byte(n >> 16), byte(n >> 8), byte(n)})
}

// shardOfTag: shards too are in the order of ids, so that a list of all needs no
// sorting.
func shardOfTag(tag *rescind.Tag, shards int) int {
	return int(uint64(binary.BigEndian.Uint16(tag[:])) * uint64(shards) >> 16)
}

// first is the number of the first bucket of a shard.
func (h *shard) first(shards int) uint32 {
	return uint32((uint64(h.number)<<16 + uint64(shards) - 1) / uint64(shards) << (bucketBits - 16))
}

// position is a count in the feed of a shard. No count is no position at all.
func (h *shard) position(count uint64) rescind.Position {
	return rescind.ShardStart(h.number) + rescind.Position(count)
}

func (h *shard) cutoff(count uint64) rescind.Position {
	if count == 0 {
		return 0
	}
	return h.position(count)
}

// count is the inverse of position.
func count(p rescind.Position) uint64 { return uint64(p - rescind.ShardStart(p.Shard())) }

const format = 1 // the first byte of every record of the store's own

// meta is what a shard knows of itself.
type meta struct {
	head    uint64 // count of the last ending
	tail    uint64 // count of the last one that is forgotten
	config  uint64 // version of the configuration
	all     uint64 // cutoff of everything, and when it moved
	allAt   uint64 // in milliseconds
	clients uint64 // a random number that changes with every cutoff of a client
	stamp   uint64 // of the last step, in microseconds; it never goes back
}

const metaSize = 1 + 7*8

func parseMeta(v string) (m meta, ok bool) {
	if len(v) != metaSize || v[0] != format {
		return m, false
	}
	for i, p := range [...]*uint64{&m.head, &m.tail, &m.config, &m.all, &m.allAt, &m.clients, &m.stamp} {
		*p = number(v[1+8*i : 9+8*i])
	}
	return m, true
}

func (m *meta) append(b []byte) []byte {
	b = append(b, format)
	for _, n := range [...]uint64{m.head, m.tail, m.config, m.all, m.allAt, m.clients, m.stamp} {
		b = binary.BigEndian.AppendUint64(b, n)
	}
	return b
}

// number reads a big-endian number of up to 8 bytes.
func number(s string) (n uint64) {
	for i := range len(s) {
		n = n<<8 | uint64(s[i])
	}
	return n
}

const (
	numberSize = 6 // of a number in a record: 48 bits
	largest    = 1<<(8*numberSize) - 1
)

func appendNumber(b []byte, n uint64) []byte {
	return append(b, byte(n>>40), byte(n>>32), byte(n>>24), byte(n>>16), byte(n>>8), byte(n))
}

// milliseconds is t as a record holds it; 0 is never.
func milliseconds(t time.Time) uint64 {
	if t.IsZero() {
		return 0
	}
	return uint64(min(max(t.UnixMilli(), 1), largest))
}

func fromMilliseconds(n uint64) time.Time {
	if n == 0 {
		return time.Time{}
	}
	return time.UnixMilli(int64(n))
}

// A record begins with what a step compares or changes: format, version, birth,
// activity, end, idle time-out, the lengths of reason and client, reason, client. Behind it
// is the codec of package rescind, without these.
const (
	recordHead = 1 + 5*numberSize + 2
	maxText    = 255 // bytes of a client's name in a record
)

// validRecord refuses what a record cannot hold.
func validRecord(s *rescind.Session) error {
	switch {
	case len(s.Client) > maxText || len(s.EndReason) > maxText:
		return fmt.Errorf("%w: a client's name and a reason have at most %d bytes", rescind.ErrInvalid, maxText)
	case s.IdleTimeout < 0:
		return fmt.Errorf("%w: an idle time-out below zero", rescind.ErrInvalid)
	}
	return nil
}

// appendTail appends a record from the two lengths on.
func appendTail(b []byte, s *rescind.Session) []byte {
	b = append(b, byte(len(s.EndReason)), byte(len(s.Client)))
	b = append(append(b, s.EndReason...), s.Client...)
	rest := *s
	rest.Version, rest.Birth, rest.LastActive, rest.EndedAt, rest.IdleTimeout = 0, 0, time.Time{}, time.Time{}, 0
	rest.EndReason, rest.Client = "", ""
	return rescind.AppendRecord(b, &rest)
}

func idleOf(s *rescind.Session) uint64 { return uint64(s.IdleTimeout / time.Millisecond) }

// parseRecord reads a record of a session of a shard.
func (h *shard) parseRecord(id rescind.SessionID, v []byte) (rescind.Session, error) {
	if len(v) < recordHead || v[0] != format {
		return rescind.Session{}, damaged("a record")
	}
	var n [5]uint64
	for i := range n {
		at := 1 + i*numberSize
		n[i] = uint64(v[at])<<40 | uint64(v[at+1])<<32 | uint64(v[at+2])<<24 | uint64(v[at+3])<<16 | uint64(v[at+4])<<8 | uint64(v[at+5])
	}
	reason := recordHead + int(v[recordHead-2])
	client := reason + int(v[recordHead-1])
	if len(v) < client {
		return rescind.Session{}, damaged("a record")
	}
	s, err := rescind.ParseRecord(id, v[client:])
	if err != nil {
		return rescind.Session{}, damaged("a record")
	}
	s.Version, s.Birth = n[0], h.position(n[1])
	s.LastActive, s.EndedAt, s.IdleTimeout = fromMilliseconds(n[2]), fromMilliseconds(n[3]), time.Duration(n[4])*time.Millisecond
	s.EndReason, s.Client = rescind.Reason(v[recordHead-0:reason]), string(v[reason:client])
	return s, nil
}

// cutoff is when one moved, and to which count.
type cutoff struct {
	to uint64
	at time.Time
}

func parseCutoff(v string) (c cutoff, ok bool) {
	if len(v) != 2*numberSize {
		return c, false
	}
	return cutoff{to: number(v[:numberSize]), at: fromMilliseconds(number(v[numberSize:]))}, true
}

// head is the beginning of the configuration: what is compared, and what has not
// been done in every shard yet.
type head struct {
	shards  int
	version uint64
	epoch   [16]byte
	pending string
}

const headSize = 1 + 2 + 8 + 16

func parseHead(v string) (h head, err error) {
	switch {
	case v == "" || len(v) < headSize:
		return h, damaged("the head of the configuration")
	case v[0] != format:
		return h, fmt.Errorf("%w: written by a newer version of Rescind (format %d, this one knows %d)", rescind.ErrUnavailable, v[0], format)
	}
	h.shards, h.version, h.pending = int(number(v[1:3])), number(v[3:11]), v[headSize:]
	copy(h.epoch[:], v[11:27])
	if h.shards < 1 || h.shards > rescind.MaxShards {
		return h, damaged("the head of the configuration")
	}
	return h, nil
}

func (h *head) append(b []byte) []byte {
	b = binary.BigEndian.AppendUint16(append(b, format), uint16(h.shards))
	b = binary.BigEndian.AppendUint64(b, h.version)
	return append(append(b, h.epoch[:]...), h.pending...)
}

func damaged(what string) error {
	return fmt.Errorf("%w: damaged: %s", rescind.ErrUnavailable, what)
}
