package rescind

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
)

// errNoClient does not repeat what was asked for: it may be a token that was put
// in the wrong place.
var errNoClient = fmt.Errorf("%w: no such client", ErrNotFound)

// maxClients bounds what every node keeps in memory.
const maxClients = 10_000

// client returns a client's settings. An application that uses the library alone
// need not register itself: "app" exists even where nobody added it.
func (s *settings) client(id string) (*Client, error) {
	if c := s.clients[id]; c != nil {
		return c, nil
	}
	if id == DefaultClient {
		return &Client{ID: DefaultClient, Format: FormatJWT}, nil
	}
	return nil, errNoClient
}

// Authenticate returns the client with this id and secret. ErrForbidden if there
// is none; that takes as long as a wrong secret does. The client is the one that
// is in force: it must not be changed.
func (a *Authority) Authenticate(ctx context.Context, id, secret string) (*Client, error) {
	set, err := a.latest(ctx)
	if err != nil {
		return nil, err
	}
	c := set.clients[id]
	if c == nil {
		c = &Client{SecretHash: make([]byte, 32)} // no secret has this hash
	}
	if !c.Authentic(secret) {
		return nil, fmt.Errorf("%w: unknown client or wrong secret", ErrForbidden)
	}
	return c, nil
}

// Client returns a registered client, ErrNotFound if there is none.
func (a *Authority) Client(ctx context.Context, id string) (*Client, error) {
	set, err := a.latest(ctx)
	if err != nil {
		return nil, err
	}
	if c := set.clients[id]; c != nil {
		return c.clone(), nil
	}
	return nil, errNoClient
}

// Clients returns all clients, by id.
func (a *Authority) Clients(ctx context.Context) ([]*Client, error) {
	set, err := a.latest(ctx)
	if err != nil {
		return nil, err
	}
	all := make([]*Client, 0, len(set.clients))
	for _, c := range set.clients {
		all = append(all, c.clone())
	}
	slices.SortFunc(all, func(x, y *Client) int { return strings.Compare(x.ID, y.ID) })
	return all, nil
}

// AddClient registers a client and returns it as it is stored. ErrConflict if the
// id is taken, unless replace is set: then its settings change and its sessions
// stay. ErrConflict too where that takes the role admin from the last client that
// has it.
func (a *Authority) AddClient(ctx context.Context, c Client, replace bool, actor string) (Client, error) {
	if err := c.Validate(); err != nil {
		return Client{}, err
	}
	err := a.configure(ctx, func(cfg StoreConfig, now time.Time) (Change, error) {
		n := 0
		c.CreatedAt = now.UTC().Truncate(time.Millisecond)
		for _, d := range cfg.Documents {
			if d.Kind != clientKind {
				continue
			}
			if d.ID != c.ID {
				n++
				continue
			}
			if !replace {
				return Change{}, fmt.Errorf("%w: the client %q exists", errTaken, c.ID)
			}
			if old, err := parseClient(d); err == nil {
				c.CreatedAt = old.CreatedAt
			}
		}
		if n >= maxClients {
			return Change{}, invalid("there are %d other clients already", n)
		}
		if !c.Has(RoleAdmin) && lastAdmin(cfg, c.ID) {
			return Change{}, errLastAdmin
		}
		doc, err := c.document()
		if err != nil {
			return Change{}, err
		}
		return Change{
			Expect:    cfg.Version,
			Documents: []Document{doc},
			Events:    []Event{{At: now, Kind: EventClientAdded, Actor: or(actor, ActorSelf), Client: c.ID}},
		}, nil
	})
	if err != nil {
		return Client{}, err
	}
	return c, nil
}

// Conflicts that trying again does not cure.
var (
	errTaken     = fmt.Errorf("%w: name taken", ErrConflict)
	errLastAdmin = fmt.Errorf("%w: this is the last client with the role %s: give the role to another one first", ErrConflict, RoleAdmin)
)

// lastAdmin reports whether this client alone has the role admin. It keeps the
// role then: over HTTP nobody could give it back.
func lastAdmin(cfg StoreConfig, id string) bool {
	last := false
	for _, d := range cfg.Documents {
		if d.Kind != clientKind {
			continue
		}
		if c, err := parseClient(d); err == nil && c.Has(RoleAdmin) {
			if d.ID != id {
				return false
			}
			last = true
		}
	}
	return last
}

// RemoveClient removes a client and, in the same step, ends its sessions: access
// that a client opened does not outlive it. ErrConflict for the last one with the
// role admin.
func (a *Authority) RemoveClient(ctx context.Context, id, actor string) (Receipt, error) {
	at, err := a.configureAt(ctx, func(cfg StoreConfig, now time.Time) (Change, error) {
		if !slices.ContainsFunc(cfg.Documents, func(d Document) bool { return d.Kind == clientKind && d.ID == id }) {
			return Change{}, errNoClient
		}
		if lastAdmin(cfg, id) {
			return Change{}, errLastAdmin
		}
		actor := or(actor, ActorSelf)
		return Change{
			Expect:    cfg.Version,
			Documents: []Document{{Kind: clientKind, ID: id}},
			Ends:      []Ending{{Kind: EndClient, Name: id, At: now}},
			Events: []Event{
				{At: now, Kind: EventClientEnded, Actor: actor, Client: id, Reason: string(ReasonClient)},
				{At: now, Kind: EventClientRemoved, Actor: actor, Client: id},
			},
		}, nil
	})
	if err != nil {
		return Receipt{}, err
	}
	return Receipt{Position: at, Epoch: a.set.Load().epoch, Changed: true}, nil
}

// ListKeys returns what may be shown of every key.
func (a *Authority) ListKeys(ctx context.Context) ([]KeyInfo, error) {
	set, err := a.latest(ctx)
	if err != nil {
		return nil, err
	}
	return set.ring.List(), nil
}

// JWKS returns the public signing keys as RFC 7517 has them. Checking a JWT
// against them alone is not a guard: it does not know what has ended.
func (a *Authority) JWKS(ctx context.Context) ([]byte, error) {
	set, err := a.latest(ctx)
	if err != nil {
		return nil, err
	}
	return set.ring.JWKS(), nil
}

// RotateKey brings in a new key of a use. A signing key becomes current only
// when it has been published long enough.
func (a *Authority) RotateKey(ctx context.Context, use KeyUse, actor string) error {
	if use != KeyUseSign && use != KeyUseMAC {
		return invalid("a key's use is %q or %q", KeyUseSign, KeyUseMAC)
	}
	return a.configure(ctx, func(cfg StoreConfig, now time.Time) (Change, error) {
		change, err := a.keys.Rotate(cfg, use, now)
		sign(&change, or(actor, ActorSelf), "")
		return change, err
	})
}

func unavailableUnlessInvalid(op string, err error) error {
	if errors.Is(err, ErrInvalid) {
		return err
	}
	return unavailable(op, err)
}
