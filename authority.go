package rescind

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"sync"
	"sync/atomic"
	"time"
)

// Defaults of [Config].
const (
	DefaultAccessLifetime  = 5 * time.Minute
	DefaultIdleTimeout     = 24 * time.Hour
	DefaultSessionLifetime = 30 * 24 * time.Hour
	DefaultRetention       = 90 * 24 * time.Hour
	MaxAccessLifetime      = 24 * time.Hour
	DefaultClient          = "app"
)

// LimitPolicy says what a login does when its subject has enough sessions.
type LimitPolicy string

// Policies for Config.MaxSessions.
const (
	LimitRefuse    LimitPolicy = "refuse"
	LimitEndOldest LimitPolicy = "end-oldest"
)

// Config is what an Authority is made from. Store, Keys and Issuer are required.
type Config struct {
	Store  Store
	Keys   Keys
	Issuer string // the iss of every token: an absolute URL without query or fragment

	Audience        string // of sessions and checks that name none; default: the issuer
	AccessLifetime  time.Duration
	IdleTimeout     time.Duration
	SessionLifetime time.Duration
	MaxSessions     int // of one subject at once; 0: any number
	LimitPolicy     LimitPolicy
	Retention       time.Duration // of ended sessions and of events
	Witness         Witness       // remembers across restarts what the store said; default: for the life of the process

	Logger *slog.Logger
	// WithoutUpkeep leaves purge, key rotation and the look whether the store has
	// gone back in time to calls of Upkeep.
	WithoutUpkeep bool
}

// Authority judges. It issues, checks, refreshes and revokes, and is the only
// place where the rules stand. All methods may be called concurrently.
type Authority struct {
	store     Store
	keys      Keys
	issuer    string
	audience  string
	access    time.Duration
	idle      time.Duration
	lifetime  time.Duration
	max       int
	policy    LimitPolicy
	retention time.Duration
	log       *slog.Logger

	set     atomic.Pointer[settings]
	loading sync.Mutex

	witness   Witness
	acked     acknowledged
	doubt     doubt // the store may have gone back in time: compare before judging
	inquiries inquiries

	stop   context.CancelFunc
	done   chan struct{}
	cursor []byte // of the purge round; used by Upkeep alone
	upkeep sync.Mutex
}

// settings is one version of the stored configuration, read and unsealed.
type settings struct {
	version uint64
	epoch   string
	ring    KeyRing
	clients map[string]*Client
	stored  StoreConfig
}

const (
	issuerDocID  = "issuer"
	upkeepEvery  = time.Minute
	conflictsMax = 64 // attempts of a compare-and-swap before it counts as unavailable
)

// New returns an Authority over a store. On a new store it makes the first keys;
// on one that belongs to another issuer it fails. Upkeep runs in the background
// until Close.
func New(ctx context.Context, c Config) (*Authority, error) {
	a := &Authority{
		store: c.Store, keys: c.Keys, issuer: c.Issuer,
		audience: or(c.Audience, c.Issuer),
		access:   or(c.AccessLifetime, DefaultAccessLifetime),
		idle:     or(c.IdleTimeout, DefaultIdleTimeout),
		lifetime: or(c.SessionLifetime, DefaultSessionLifetime),
		max:      c.MaxSessions, policy: or(c.LimitPolicy, LimitRefuse),
		retention: or(c.Retention, DefaultRetention),
		log:       c.Logger,
		witness:   c.Witness,
	}
	if a.witness == nil {
		a.witness = new(memory)
	}
	if a.log == nil {
		a.log = slog.New(slog.DiscardHandler)
	}
	if c.Store == nil || c.Keys == nil {
		return nil, invalid("an authority needs a store and keys")
	}
	if err := c.Validate(); err != nil {
		return nil, err
	}
	if err := a.prepare(ctx); err != nil {
		return nil, err
	}
	if err := a.assure(ctx); err != nil {
		return nil, err
	}
	if !c.WithoutUpkeep {
		var background context.Context
		background, a.stop = context.WithCancel(context.Background())
		a.done = make(chan struct{})
		go a.keepUp(background)
	}
	return a, nil
}

// Validate reports what is wrong with the settings, Store and Keys apart: [New]
// refuses them with the same error, but only where there is a store already. The
// error wraps ErrInvalid.
func (c Config) Validate() error {
	u, err := url.Parse(c.Issuer)
	if err != nil || !u.IsAbs() || u.Host == "" || u.RawQuery != "" || u.Fragment != "" || u.User != nil || len(c.Issuer) > MaxAudience {
		return invalid("the issuer must be an absolute URL without user, query or fragment, as in https://login.example.com")
	}
	switch policy := or(c.LimitPolicy, LimitRefuse); {
	case policy != LimitRefuse && policy != LimitEndOldest:
		return invalid("limit policy is %q or %q", LimitRefuse, LimitEndOldest)
	case c.MaxSessions < 0 || c.MaxSessions > 1000:
		return invalid("max sessions is 0 to 1000")
	case c.Retention < 0:
		return invalid("retention cannot be negative")
	case !validAudience(or(c.Audience, c.Issuer)):
		return invalid("an audience has 1 to %d printable ASCII characters", MaxAudience)
	}
	return checkLifetimes(or(c.AccessLifetime, DefaultAccessLifetime), or(c.IdleTimeout, DefaultIdleTimeout), or(c.SessionLifetime, DefaultSessionLifetime))
}

// Close ends the upkeep. The store stays open: it belongs to who opened it.
func (a *Authority) Close() {
	if a.stop != nil {
		a.stop()
		<-a.done
	}
}

// Issuer returns the iss of every token.
func (a *Authority) Issuer() string { return a.issuer }

// Audience returns the audience of sessions and checks that name none.
func (a *Authority) Audience() string { return a.audience }

// Now returns the store's time.
func (a *Authority) Now() time.Time { return a.store.Now() }

// Ready reports whether the store answers.
func (a *Authority) Ready(ctx context.Context) error {
	_, err := a.store.ConfigVersion(ctx)
	return unavailable("ready", err)
}

// prepare claims the store for this issuer and makes the keys that it lacks.
func (a *Authority) prepare(ctx context.Context) error {
	return a.configure(ctx, func(cfg StoreConfig, now time.Time) (Change, error) {
		change, err := a.keys.Maintain(cfg, now)
		if err != nil {
			return change, err
		}
		for _, d := range cfg.Documents {
			if d.Kind != ServerDocument || d.ID != issuerDocID {
				continue
			}
			if string(d.Value) != a.issuer {
				return change, invalid("this store belongs to the issuer %s, not %s: its tokens name it; start with that issuer, or with another store", d.Value, a.issuer)
			}
			return change, nil
		}
		change.Expect = cfg.Version
		change.Documents = append(change.Documents, Document{Kind: ServerDocument, ID: issuerDocID, Value: []byte(a.issuer)})
		return change, nil
	})
}

// configure plans a change against the newest configuration and applies it,
// again if somebody else was faster, and then loads what is in force.
func (a *Authority) configure(ctx context.Context, plan func(StoreConfig, time.Time) (Change, error)) error {
	_, err := a.configureAt(ctx, plan)
	return err
}

func (a *Authority) configureAt(ctx context.Context, plan func(StoreConfig, time.Time) (Change, error)) (Position, error) {
	for range conflictsMax {
		cfg, err := a.store.Config(ctx)
		if err != nil {
			return 0, unavailable("configuration", err)
		}
		if err := cfg.InForce(); err != nil {
			return 0, err
		}
		change, err := plan(cfg, a.store.Now())
		if err != nil {
			return 0, err
		}
		var at Position
		if !change.Empty() {
			at, err = a.store.Configure(ctx, change)
			if errors.Is(err, ErrConflict) {
				continue
			}
			if err != nil {
				return 0, unavailable("configure", err)
			}
			a.acked.note(hex.EncodeToString(cfg.Epoch[:]), at)
		}
		if _, err := a.reload(ctx); err != nil {
			return 0, err
		}
		return at, nil
	}
	return 0, fmt.Errorf("%w: the configuration keeps changing", ErrUnavailable)
}

// reload reads the stored configuration and keeps it, unless a newer one of the
// same epoch is kept.
func (a *Authority) reload(ctx context.Context) (*settings, error) {
	cfg, err := a.store.Config(ctx)
	if err != nil {
		return a.set.Load(), unavailable("configuration", err)
	}
	if err := cfg.InForce(); err != nil {
		return a.set.Load(), err
	}
	a.loading.Lock()
	defer a.loading.Unlock()
	epoch := hex.EncodeToString(cfg.Epoch[:])
	if old := a.set.Load(); old != nil && old.version >= cfg.Version && old.epoch == epoch {
		return old, nil
	}
	set := &settings{version: cfg.Version, epoch: epoch, clients: map[string]*Client{}, stored: cfg}
	if set.ring, err = a.keys.Load(cfg); err != nil {
		return a.set.Load(), unavailable("keys", err)
	}
	for _, d := range cfg.Documents {
		if d.Kind != clientKind {
			continue
		}
		c, err := parseClient(d)
		if err != nil {
			return a.set.Load(), unavailable("clients", err)
		}
		set.clients[c.ID] = c
	}
	a.set.Store(set)
	return set, nil
}

// latest returns the settings in force now, asking the store whether they are.
func (a *Authority) latest(ctx context.Context) (*settings, error) {
	set := a.set.Load() // before reading what must not be older
	v, err := a.store.ConfigVersion(ctx)
	if err != nil {
		return nil, unavailable("configuration", err)
	}
	switch {
	case v < set.version: // what was read once is not there any more
		if err := a.assure(ctx); err != nil {
			return nil, err
		}
		return a.set.Load(), nil
	case v == set.version:
		return set, nil
	}
	return a.reload(ctx)
}

// atLeast returns settings as new as a configuration version that came with a
// record. Older ones may lack the record's key, and would take it for revoked.
func (a *Authority) atLeast(ctx context.Context, version uint64) (*settings, error) {
	if set := a.set.Load(); set.version >= version {
		return set, nil
	}
	return a.reload(ctx)
}

func checkLifetimes(access, idle, lifetime time.Duration) error {
	switch {
	case access < MinAccess || access > MaxAccessLifetime:
		return invalid("an access token lives %s to %s", MinAccess, MaxAccessLifetime)
	case idle < time.Second:
		return invalid("an idle timeout is at least a second")
	case lifetime < time.Second || lifetime > MaxLifetime:
		return invalid("a session lives a second to %s", MaxLifetime)
	}
	return nil
}

func validAudience(s string) bool { return s != "" && len(s) <= MaxAudience && printable(s) }

func or[T comparable](v, otherwise T) T {
	var zero T
	if v == zero {
		return otherwise
	}
	return v
}

func newTokenID() (id TokenID) {
	_, _ = rand.Read(id[:]) // never fails: crypto/rand ends the process instead
	return id
}
