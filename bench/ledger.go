package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"sync/atomic"
	"time"

	"github.com/rescind/rescind"
	"github.com/rescind/rescind/keys"
	"github.com/rescind/rescind/store/pebblestore"
)

const (
	issuer   = "https://login.example"
	audience = "https://api.example"

	jwtClient    = "web"
	opaqueClient = "mobile"
	gateway      = "gateway" // may introspect

	builders = 512 // logins at once while a ledger is filled
)

// ledger is a store in a folder, with an Authority over it.
type ledger struct {
	dir       string
	store     rescind.Store
	keys      *keys.Keeper
	authority *rescind.Authority
	secret    rescind.Secret // of the client that may introspect

	sessions int
	stalls   atomic.Int64        // logins that had to be repeated while it was filled
	ids      []rescind.SessionID // of every n-th session, shuffled
	jwt      []credential        // of every n-th session, shuffled
	opaque   []credential
}

// credential is what one session was handed out.
type credential struct{ access, refresh string }

// plan says how a ledger is filled. So many of its sessions have JWTs, which are
// kept; of the others, so many opaque tokens are kept; and so many ids of any.
type plan struct{ sessions, jwt, opaque, ids int }

// openLedger opens or makes the ledger in a folder, as a server would.
func openLedger(ctx context.Context, dir string, log *slog.Logger) (*ledger, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	master, _, err := keys.LoadOrCreateMaster(filepath.Join(dir, "master.key"))
	if err != nil {
		return nil, err
	}
	l := &ledger{dir: dir}
	if l.keys, err = keys.New(master, keys.Options{}); err != nil {
		return nil, err
	}
	if err := l.open(ctx, log); err != nil {
		return nil, err
	}
	return l, nil
}

func (l *ledger) data() string { return filepath.Join(l.dir, "data") }

func (l *ledger) open(ctx context.Context, log *slog.Logger) (err error) {
	store, err := pebblestore.Open(l.data(), pebblestore.Options{Logger: log})
	if err != nil {
		return err
	}
	return l.over(ctx, store, log)
}

// over puts an Authority over a store.
func (l *ledger) over(ctx context.Context, store rescind.Store, log *slog.Logger) (err error) {
	l.store = store
	l.authority, err = rescind.New(ctx, rescind.Config{
		Store: l.store, Keys: l.keys, Issuer: issuer, Audience: audience, Logger: log,
		// The tokens of a run must outlive it, and nobody is idle in it.
		AccessLifetime: rescind.MaxAccessLifetime, IdleTimeout: rescind.DefaultSessionLifetime,
	})
	return err
}

func (l *ledger) close() error {
	l.authority.Close()
	return l.store.Close()
}

// fill adds sessions by logging them in, durably, as an application would. A
// login that the disk did not answer in time is repeated.
func (l *ledger) fill(ctx context.Context, p plan, progress func(done int)) error {
	clients := []rescind.Client{
		{ID: jwtClient, Format: rescind.FormatJWT},
		{ID: opaqueClient, Format: rescind.FormatOpaque},
		{ID: gateway, Roles: []rescind.Role{rescind.RoleIntrospect}},
	}
	for _, c := range clients {
		secret := rescind.NewSecret()
		if c.ID == gateway {
			l.secret = secret
		}
		if err := c.SetSecret(secret.Reveal()); err != nil {
			return err
		}
		if _, err := l.authority.AddClient(ctx, c, false, "bench"); err != nil {
			return err
		}
	}
	l.sessions = p.sessions
	l.jwt, l.opaque, l.ids = make([]credential, p.jwt), make([]credential, p.opaque), make([]rescind.SessionID, p.ids)
	// Every n-th login gives a token that is kept. Ids begin with keyed hashes of
	// subjects, so in the store's order they lie anywhere.
	every, everyID := p.sessions/max(p.jwt, p.opaque), p.sessions/p.ids
	var done atomic.Int64
	_, err := crowd(builders, p.sessions, func(i int) error {
		login := newLogin(fmt.Sprintf("user-%d", i), opaqueClient)
		at, keepJWT := i/every, i%every == 0 && i/every < p.jwt
		if keepJWT {
			login.Client = jwtClient
		}
		g, err := l.authority.Issue(ctx, login)
		for tries := 1; errors.Is(err, rescind.ErrUnavailable) && tries < 10 && ctx.Err() == nil; tries++ {
			l.stalls.Add(1)
			g, err = l.authority.Issue(ctx, login)
		}
		if err != nil {
			return err
		}
		kept := credential{g.AccessToken.Reveal(), g.RefreshToken.Reveal()}
		if keepJWT {
			l.jwt[at] = kept
		} else if i%every == every-1 && at < p.opaque {
			l.opaque[at] = kept
		}
		if at := i / everyID; i%everyID == 0 && at < p.ids {
			l.ids[at] = g.Session
		}
		if n := done.Add(1); n%100_000 == 0 {
			progress(int(n))
		}
		return nil
	})
	rand.Shuffle(len(l.jwt), func(i, j int) { l.jwt[i], l.jwt[j] = l.jwt[j], l.jwt[i] })
	rand.Shuffle(len(l.opaque), func(i, j int) { l.opaque[i], l.opaque[j] = l.opaque[j], l.opaque[i] })
	rand.Shuffle(len(l.ids), func(i, j int) { l.ids[i], l.ids[j] = l.ids[j], l.ids[i] })
	return err
}

// newLogin is a login as they come: one audience, two scopes, a browser.
func newLogin(subject, client string) rescind.Login {
	return rescind.Login{
		Subject: subject, Client: client, Scope: "read write",
		Device: rescind.Device{UserAgent: userAgent(), IP: fmt.Sprintf("198.51.100.%d", rand.IntN(256))},
	}
}

// userAgentSize is the length of every user agent, in bytes.
const userAgentSize = 120

// userAgent makes one that is seldom like another.
func userAgent() string {
	ua := fmt.Sprintf("Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.%d (KHTML, like Gecko) Chrome/%d.0.%d.%d Safari/537.%d Build/%016x",
		rand.IntN(100), 100+rand.IntN(60), rand.IntN(10_000), rand.IntN(1000), rand.IntN(100), rand.Uint64())
	for len(ua) < userAgentSize {
		ua += "0"
	}
	return ua[:userAgentSize]
}

// warm reads random sessions until the store's cache holds what a cache holds
// after long service.
func (l *ledger) warm(ctx context.Context) error {
	n := min(len(l.ids), 400_000)
	_, err := crowd(runtime.GOMAXPROCS(0), n, func(i int) error {
		snap, err := l.store.Lookup(ctx, l.ids[len(l.ids)-1-i])
		if err == nil && !snap.Found {
			err = fmt.Errorf("a recorded session is not there")
		}
		return err
	})
	return err
}

func (l *ledger) check(ctx context.Context, token string) error {
	_, err := l.authority.Check(ctx, token, rescind.Want{})
	return err
}

// settle waits until the store has tidied up behind a burst of writes: until
// this process is at rest.
func settle(patience time.Duration) {
	const look = 200 * time.Millisecond
	for end := time.Now().Add(patience); time.Now().Before(end); {
		before, err := processTime()
		time.Sleep(look)
		after, err2 := processTime()
		if err != nil || err2 != nil || after-before <= look/20 {
			return // at rest, or this system does not say
		}
	}
}
