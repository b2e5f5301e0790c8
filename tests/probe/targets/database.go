package targets

import (
	"crypto/rand"
	"errors"
	"maps"
	"slices"
	"sync"
	"time"
)

// A row is what the table of sessions holds of one. It is read and written as a
// whole, as programs do with objects that they map to tables.
type row struct {
	id, user   string
	generation int // how often it was refreshed
	ended      bool
	refreshes  bool              // although it has ended
	access     map[string]issued // the access tokens that it was given, by jti
}

// issued is an access token that was given out.
type issued struct {
	text  string
	until time.Time
}

// A refreshRow is a refresh token that was given out.
type refreshRow struct {
	session    string
	generation int
	next       *grant // what it was exchanged for
	exchanged  time.Time
}

// database is shared by all instances. What one method does is atomic.
type database struct {
	mu        sync.Mutex
	passwords map[string]string
	sessions  map[string]row
	refresh   map[string]refreshRow
	cutoffs   map[string]int64 // of users, in whole seconds
	list      list
	logins    map[string]int
}

func newDatabase() *database {
	return &database{passwords: maps.Clone(passwords), sessions: map[string]row{}, refresh: map[string]refreshRow{},
		cutoffs: map[string]int64{}, logins: map[string]int{}}
}

var (
	errEnded = errors.New("does not stand")
	errReuse = errors.New("was used before: the session has to end")
	errDown  = errors.New("cannot be known now")
)

// password reports whether it is the user's, and how often it was asked.
func (d *database) password(user, password string) (right bool, times int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	want, known := d.passwords[user]
	d.logins[user]++
	return known && want == password, d.logins[user]
}

func (d *database) setPassword(user, password string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.passwords[user] = password
}

func (d *database) create(user string) row {
	d.mu.Lock()
	defer d.mu.Unlock()
	r := row{id: rand.Text(), user: user, access: map[string]issued{}}
	d.sessions[r.id] = r
	return r
}

// get reads a session that has not ended.
func (d *database) get(id string) (row, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	r, ok := d.sessions[id]
	if !ok || r.ended {
		return row{}, errEnded
	}
	return r, nil
}

// put writes a whole session, whatever has become of it since it was read.
func (d *database) put(r row) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if old := d.sessions[r.id]; old.access != nil {
		r.access = old.access
	}
	d.sessions[r.id] = r
}

// end ends sessions, but for their refreshing if that stays, and returns them,
// also those that had ended.
func (d *database) end(refreshes bool, of func(row) bool) []row {
	d.mu.Lock()
	defer d.mu.Unlock()
	var ended []row
	for id, r := range d.sessions {
		if of(r) {
			if !r.ended {
				r.ended, r.refreshes = true, refreshes
				d.sessions[id] = r
			}
			r.access = maps.Clone(r.access)
			ended = append(ended, r)
		}
	}
	return ended
}

// issue writes down what a session was given.
func (d *database) issue(r row, g *grant) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.given(r, g)
}

func (d *database) given(r row, g *grant) {
	d.sessions[r.id].access[g.jti] = issued{g.AccessToken, g.until}
	d.refresh[g.RefreshToken] = refreshRow{session: r.id, generation: r.generation}
}

func (d *database) findRefresh(token string) (refreshRow, bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	r, ok := d.refresh[token]
	return r, ok
}

// sessionOf finds the session that was given an access token.
func (d *database) sessionOf(token string) string {
	d.mu.Lock()
	defer d.mu.Unlock()
	for id, r := range d.sessions {
		for _, given := range r.access {
			if given.text == token {
				return id
			}
		}
	}
	return ""
}

// used writes down what a refresh token was exchanged for.
func (d *database) used(token string, r refreshRow, g *grant) {
	d.mu.Lock()
	defer d.mu.Unlock()
	r.next, r.exchanged = g, time.Now()
	d.refresh[token] = r
}

// A rotation is the rule by which refresh tokens follow each other.
type rotation struct {
	grace    time.Duration // see Options.Grace
	accepted bool          // see Options.RotatedAccepted
	tolerant bool          // see Options.ReuseTolerated
}

// exchange moves a session on to its next generation, in one step, and has next
// make the grant of it. A token of before is reuse; within the grace it gets the
// same grant again.
func (d *database) exchange(token string, by rotation, next func(row) (*grant, error)) (*grant, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	used, ok := d.refresh[token]
	r := d.sessions[used.session]
	switch {
	case !ok || r.ended && !r.refreshes:
		return nil, errEnded
	case used.generation == r.generation || by.accepted:
	case used.generation == r.generation-1 && used.next != nil && time.Since(used.exchanged) < by.grace:
		return used.next, nil
	default:
		if by.tolerant {
			return nil, errEnded
		}
		return nil, errReuse
	}
	if r.ended { // whoever refreshes has a new one
		d.sessions[r.id] = row{id: r.id, user: r.user, ended: true}
		r = row{id: rand.Text(), user: r.user, generation: r.generation, access: map[string]issued{}}
	}
	r.generation++
	g, err := next(r)
	if err != nil {
		return nil, err
	}
	d.sessions[r.id] = r
	used.next, used.exchanged = g, time.Now()
	d.refresh[token] = used
	d.given(r, g) // last: the new token may be the same text
	return g, nil
}

// cut refuses what a user was given until now, as far as seconds can tell.
func (d *database) cut(user string, second int64) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.cutoffs[user] = second
}

func (d *database) cutoff(user string) (int64, bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	second, ok := d.cutoffs[user]
	return second, ok
}

// A list remembers words, each for a while.
type list struct {
	mu    sync.Mutex
	until map[string]time.Time
}

func (l *list) add(word string, until time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.until == nil {
		l.until = map[string]time.Time{}
	}
	l.until[word] = until
}

func (l *list) has(word string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return time.Now().Before(l.until[word])
}

// cache keeps what was said of a token.
type cache struct {
	mu      sync.Mutex
	entries map[string]verdict
}

type verdict struct {
	who  claims
	err  error
	till time.Time
}

func (c *cache) get(token string) (verdict, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	v, ok := c.entries[token]
	return v, ok && time.Now().Before(v.till)
}

func (c *cache) set(token string, v verdict) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.entries == nil {
		c.entries = map[string]verdict{}
	}
	c.entries[token] = v
}

// hub knows who holds a connection open, by session.
type hub struct {
	mu   sync.Mutex
	open map[string][]func()
}

func newHub() *hub { return &hub{open: map[string][]func(){}} }

func (h *hub) add(session string, end func()) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.open[session] = append(h.open[session], end)
}

func (h *hub) close(session string) {
	h.mu.Lock()
	ends := h.open[session]
	delete(h.open, session)
	h.mu.Unlock()
	for _, end := range ends {
		end()
	}
}

func (h *hub) closeAll() {
	h.mu.Lock()
	ids := slices.Collect(maps.Keys(h.open))
	h.mu.Unlock()
	for _, id := range ids {
		h.close(id)
	}
}
