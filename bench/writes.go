package main

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	crand "crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"runtime"
	"time"

	"github.com/cockroachdb/pebble/v2"

	"github.com/rescind/rescind"
)

const (
	writeRounds     = 5
	writePatience   = 10 * time.Second
	revokers        = 256
	revokesARound   = 60_000
	logins          = 64 // at once
	loginsARound    = 15_000
	signsARound     = 30_000
	subjectRounds   = 3
	subjectSessions = 100_000
)

// loginRows compares logins and refreshes, each durable before it is answered,
// with bare signatures.
func (b *bench) loginRows(ctx context.Context) ([]row, error) {
	l, err := b.million(ctx)
	if err != nil {
		return nil, err
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), crand.Reader)
	if err != nil {
		return nil, err
	}
	sign := func(int) (float64, error) {
		return rate(runtime.GOMAXPROCS(0), signsARound, func(i int) error {
			sum := sha256.Sum256(binary.BigEndian.AppendUint64(nil, uint64(i)))
			_, err := ecdsa.SignASN1(crand.Reader, key, sum[:])
			return err
		})
	}
	login := func(client string) func(int) (float64, error) {
		return func(round int) (float64, error) {
			return rate(logins, loginsARound, func(i int) error {
				_, err := l.authority.Issue(ctx, newLogin(fmt.Sprintf("%s-%d-%d", client, round, i), client))
				return err
			})
		}
	}
	// Each session is refreshed once: random ones of all, as users come back.
	refresh := func(client string, all []credential) func(int) (float64, error) {
		return func(round int) (float64, error) {
			mine := share(all, round, writeRounds)
			mine = mine[:min(loginsARound, len(mine))]
			return rate(logins, len(mine), func(i int) error {
				_, err := l.authority.Refresh(ctx, rescind.Refresh{Client: client, Token: mine[i].refresh})
				return err
			})
		}
	}
	got, busy, err := contestBusy(writeRounds, writePatience,
		contender{"ES256 signatures", sign},
		contender{"logins, JWT", login(jwtClient)},
		contender{"refreshes, JWT", refresh(jwtClient, l.jwt)},
		contender{"logins, opaque", login(opaqueClient)},
		contender{"refreshes, opaque", refresh(opaqueClient, l.opaque)})
	if err != nil {
		return nil, err
	}
	const versus = "ES256 signatures, all cores"
	half := &goal{atLeast, 0.5}
	refreshes := min(loginsARound, len(l.jwt)/(writeRounds+1))
	return []row{
		against("login", "durable logins with a JWT, 64 at once", perSecond, got[1], versus, got[0], half).note(
			"processor time of a signature %s, of a login %s, of a refresh %s", each(busy[0], writeRounds, signsARound), each(busy[1], writeRounds, loginsARound), each(busy[2], writeRounds, refreshes)),
		against("login", "durable refreshes with a JWT, 64 at once", perSecond, got[2], versus, got[0], half),
		against("login", "durable logins, opaque", perSecond, got[3], versus, got[0], nil),
		against("login", "durable refreshes, opaque", perSecond, got[4], versus, got[0], nil),
	}, nil
}

// revokeRows compares revocations by session id with what the database under
// them does with the least of writes.
func (b *bench) revokeRows(ctx context.Context) (rows []row, err error) {
	l, err := b.million(ctx)
	if err != nil {
		return nil, err
	}
	dir := filepath.Join(b.dir, "pebble")
	o, err := likeStore(l.data())
	if err != nil {
		return nil, err
	}
	bare, err := pebble.Open(dir, o)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, bare.Close()) }()

	n := min(revokesARound, len(l.ids)/(2*(writeRounds+1)))
	half := len(l.ids) / 2
	var p50, p99 series
	commit := func(int) (float64, error) {
		return rate(revokers, n, func(int) error {
			var key [16]byte
			var value [100]byte
			binary.BigEndian.PutUint64(key[:], rand.Uint64())
			binary.BigEndian.PutUint64(key[8:], rand.Uint64())
			copy(value[:], key[:])
			return bare.Set(key[:], value[:], pebble.Sync)
		})
	}
	revoke := func(round int) (float64, error) {
		mine := share(l.ids[:half], round, writeRounds)[:n]
		took := make([]time.Duration, n)
		per, err := rate(revokers, n, func(i int) error {
			begin := time.Now()
			r, err := l.authority.Revoke(ctx, rescind.Revocation{Selector: rescind.Selector{Session: mine[i]}, Actor: "bench"})
			took[i] = time.Since(begin)
			if err == nil && !r.Changed {
				err = errors.New("nothing was left to end")
			}
			return err
		})
		if round > 0 {
			p50, p99 = append(p50, float64(percentile(took, 0.5))), append(p99, float64(percentile(took, 0.99)))
		}
		return per, err
	}
	end := func(round int) (float64, error) {
		mine := share(l.ids[half:], round, writeRounds)[:n]
		return rate(revokers, n, func(i int) error {
			now := l.store.Now()
			r, err := l.store.End(ctx, rescind.End{Session: mine[i], At: now, Reason: rescind.ReasonRevoked, Event: rescind.Event{
				At: now, Kind: rescind.EventSessionEnded, Actor: "bench", Session: mine[i].String(),
				Client: opaqueClient, Subject: "user-4711", Reason: string(rescind.ReasonRevoked),
			}})
			if err == nil && !r.Changed {
				err = errors.New("nothing was left to end")
			}
			return err
		})
	}
	got, busy, err := contestBusy(writeRounds, writePatience, contender{"bare Pebble", commit}, contender{"Authority.Revoke", revoke}, contender{"Store.End", end})
	if err != nil {
		return nil, err
	}
	const versus = "bare Pebble, 16 B + 100 B, synced"
	aim := &goal{atLeast, 0.7}
	return []row{
		against("revoke", "durable revocations by session id (Authority.Revoke), 256 at once", perSecond, got[1], versus, got[0], aim).note(
			"processor time of a bare commit %s, of Authority.Revoke %s, of Store.End %s", each(busy[0], writeRounds, n), each(busy[1], writeRounds, n), each(busy[2], writeRounds, n)),
		against("revoke", "the same by Store.End", perSecond, got[2], versus, got[0], aim),
		alone("revoke", "one of 256 Authority.Revoke at once, p50", nanoseconds, p50, nil),
		alone("revoke", "one of 256 Authority.Revoke at once, p99", nanoseconds, p99, nil),
	}, nil
}

// subjectRows ends 100,000 sessions of one subject by one revocation.
func (b *bench) subjectRows(ctx context.Context) ([]row, error) {
	l, err := b.million(ctx)
	if err != nil {
		return nil, err
	}
	n := min(subjectSessions, l.sessions)
	var whole, step series
	for round := range 2 * subjectRounds {
		subject := fmt.Sprintf("crowd-%d", round)
		tokens := make([]string, n)
		if _, err := crowd(builders, n, func(i int) error {
			g, err := l.authority.Issue(ctx, newLogin(subject, opaqueClient))
			tokens[i] = g.AccessToken.Reveal()
			return err
		}); err != nil {
			return nil, err
		}
		settle(10 * time.Second)
		if round%2 == 0 {
			begin := time.Now()
			if _, err := l.authority.Revoke(ctx, rescind.Revocation{Selector: rescind.Selector{Subject: subject}, Actor: "bench"}); err != nil {
				return nil, err
			}
			whole = append(whole, float64(time.Since(begin)))
		} else {
			tag, err := l.tagOf(ctx, tokens[0])
			if err != nil {
				return nil, err
			}
			now := l.store.Now()
			begin := time.Now()
			if _, err := l.store.MoveCutoff(ctx, rescind.CutoffMove{Kind: rescind.EndSubject, Tag: tag, At: now,
				Event: rescind.Event{At: now, Kind: rescind.EventSubjectEnded, Actor: "bench", Subject: subject}}); err != nil {
				return nil, err
			}
			step = append(step, float64(time.Since(begin)))
		}
		// A revocation that left a token alive would be quick for nothing.
		if _, err := crowd(runtime.GOMAXPROCS(0), n, func(i int) error {
			if err := l.check(ctx, tokens[i]); !errors.Is(err, rescind.ErrRevoked) {
				return fmt.Errorf("a token of a revoked subject: %v", err)
			}
			return nil
		}); err != nil {
			return nil, err
		}
	}
	aim := &goal{atMost, 10e6}
	ended := thousands(float64(n)) + " sessions of one subject ended by one "
	return []row{
		alone("subject", ended+"Authority.Revoke", nanoseconds, whole, aim),
		alone("subject", ended+"Store.MoveCutoff", nanoseconds, step, aim),
	}, nil
}

// tagOf returns the tag of the subject that a token belongs to.
func (l *ledger) tagOf(ctx context.Context, token string) (rescind.Tag, error) {
	access, err := l.authority.Check(ctx, token, rescind.Want{})
	return access.Session.Tag(), err
}
