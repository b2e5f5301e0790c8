package main

import (
	"context"
	"crypto"
	"encoding/json"
	"errors"
	"os"

	"github.com/go-jose/go-jose/v4"
	"github.com/golang-jwt/jwt/v5"
)

// Tokens of each round, for one core and again for all of them.
const (
	checkRounds   = 9
	jwtsARound    = 2000
	opaquesARound = 9000

	smallSessions = 10_000
	smallTokens   = 4000 // of each kind
)

// enough is how many tokens a contest needs that shows each of them once.
func enough(aRound int) int { return aRound * (checkRounds + 1) }

// claims are those of our tokens, as an application would declare them.
type claims struct {
	jwt.RegisteredClaims
	Client  string `json:"client_id"`
	Scope   string `json:"scope"`
	Session string `json:"sid"`
}

// stateless is how applications check JWTs that nobody keeps state of: with
// golang-jwt, against the published keys.
type stateless struct {
	keys   map[string]crypto.PublicKey
	parser *jwt.Parser
}

func newStateless(ctx context.Context, l *ledger) (*stateless, error) {
	text, err := l.authority.JWKS(ctx)
	if err != nil {
		return nil, err
	}
	var set jose.JSONWebKeySet
	if err := json.Unmarshal(text, &set); err != nil {
		return nil, err
	}
	s := &stateless{keys: map[string]crypto.PublicKey{}, parser: jwt.NewParser(
		jwt.WithValidMethods([]string{"ES256"}), jwt.WithIssuer(issuer), jwt.WithAudience(audience), jwt.WithExpirationRequired())}
	for _, k := range set.Keys {
		s.keys[k.KeyID] = k.Key
	}
	return s, nil
}

func (s *stateless) check(token string) error {
	var c claims
	t, err := s.parser.ParseWithClaims(token, &c, func(t *jwt.Token) (any, error) {
		kid, _ := t.Header["kid"].(string)
		if key := s.keys[kid]; key != nil {
			return key, nil
		}
		return nil, errors.New("unknown key")
	})
	if err == nil && (!t.Valid || c.Subject == "" || c.Session == "") {
		err = errors.New("not valid")
	}
	return err
}

// jwtRows compares a check of a JWT in the ledger with one that asks no ledger.
func (b *bench) jwtRows(ctx context.Context) ([]row, error) {
	l, err := b.million(ctx)
	if err != nil {
		return nil, err
	}
	other, err := newStateless(ctx, l)
	if err != nil {
		return nil, err
	}
	tokens := l.jwt[:min(2*enough(jwtsARound), len(l.jwt))]
	half := len(tokens) / 2
	of := func(tokens []credential, measure func(int, func(int) error) (float64, error), check func(string) error) func(int) (float64, error) {
		return func(round int) (float64, error) {
			mine := share(tokens, round, checkRounds)
			return measure(len(mine), func(i int) error { return check(mine[i].access) })
		}
	}
	ours := func(token string) error { return l.check(ctx, token) }
	got, busy, err := contestBusy(checkRounds, 0,
		contender{"Authority.Check, one core", of(tokens[:half], timed, ours)},
		contender{"golang-jwt, one core", of(tokens[:half], timed, other.check)},
		contender{"Authority.Check, all cores", of(tokens[half:], timedOnAll, ours)},
		contender{"golang-jwt, all cores", of(tokens[half:], timedOnAll, other.check)})
	if err != nil {
		return nil, err
	}
	what := "check an ES256 JWT, " + b.size() + " sessions, first sight"
	one := against("jwt", what+", one core", nanoseconds, got[0], "golang-jwt v5, no state", got[1], &goal{atMost, 1.1}).note(
		"processor time of a check %s, of golang-jwt's %s", each(busy[0], checkRounds, half/(checkRounds+1)), each(busy[1], checkRounds, half/(checkRounds+1)))
	all := against("jwt", what+", per core with all at it", nanoseconds, got[2], "golang-jwt v5, no state", got[3], &goal{atMost, 1.1})
	return []row{one, all, throughput("jwt", "JWT checks, all cores", got[2], b.machine.Cores)}, nil
}

// throughput turns the time of a check on each core into checks per second.
func throughput(key, what string, perCore series, cores int) row {
	var s series
	for _, v := range perCore {
		s = append(s, 1e9*float64(cores)/v)
	}
	return alone(key, what, perSecond, s, nil)
}

// opaqueRows measures a check of an opaque token.
func (b *bench) opaqueRows(ctx context.Context) ([]row, error) {
	l, err := b.million(ctx)
	if err != nil {
		return nil, err
	}
	half := len(l.opaque) / 2
	side := func(tokens []credential, measure func(int, func(int) error) (float64, error)) func(int) (float64, error) {
		return func(round int) (float64, error) {
			mine := share(tokens, round, checkRounds)
			return measure(len(mine), func(i int) error { return l.check(ctx, mine[i].access) })
		}
	}
	got, busy, err := contestBusy(checkRounds, 0,
		contender{"opaque, one core", side(l.opaque[:half], timed)},
		contender{"opaque, all cores", side(l.opaque[half:], timedOnAll)})
	if err != nil {
		return nil, err
	}
	what := "check an opaque token, " + b.size() + " sessions, first sight"
	return []row{
		alone("opaque", what+", one core", nanoseconds, got[0], &goal{atMost, 10_000}).note("processor time of a check %s", each(busy[0], checkRounds, half/(checkRounds+1))),
		alone("opaque", what+", per core with all at it", nanoseconds, got[1], &goal{atMost, 10_000}),
		throughput("opaque", "opaque checks, all cores", got[1], b.machine.Cores),
	}, nil
}

// growthRows compares check times in a large ledger with those in a small one.
// The small one has too few sessions for every token to be new each time, so its
// tokens come again; nothing on the way remembers verdicts.
func (b *bench) growthRows(ctx context.Context, large *ledger, key, name string, aim *goal) (rows []row, err error) {
	small, err := b.build(ctx, "small", plan{sessions: smallSessions, jwt: smallTokens, opaque: smallTokens, ids: smallSessions})
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, small.close(), os.RemoveAll(small.dir)) }()
	if err := small.warm(ctx); err != nil {
		return nil, err
	}
	few := func(tokens []credential, n int) func(int) (float64, error) {
		return func(int) (float64, error) {
			return timed(n, func(i int) error { return small.check(ctx, tokens[i%len(tokens)].access) })
		}
	}
	many := func(tokens []credential) func(int) (float64, error) {
		return func(round int) (float64, error) {
			mine := share(tokens, round, checkRounds)
			return timed(len(mine), func(i int) error { return large.check(ctx, mine[i].access) })
		}
	}
	jwts, opaques := large.jwt[:min(enough(jwtsARound), len(large.jwt))], large.opaque[:min(enough(opaquesARound), len(large.opaque))]
	jwtsOnce, opaquesOnce := len(jwts)/(checkRounds+1), len(opaques)/(checkRounds+1)
	got, busy, err := contestBusy(checkRounds, 0,
		contender{"JWT, " + name, many(jwts)},
		contender{"JWT, 10 k", few(small.jwt, jwtsOnce)},
		contender{"opaque, " + name, many(opaques)},
		contender{"opaque, 10 k", few(small.opaque, opaquesOnce)})
	if err != nil {
		return nil, err
	}
	return []row{
		against(key, "check a JWT, "+name+" sessions", nanoseconds, got[0], "10 k sessions", got[1], aim).note(
			"processor time of a JWT's check at %s %s, at 10 k %s", name, each(busy[0], checkRounds, jwtsOnce), each(busy[1], checkRounds, jwtsOnce)),
		against(key, "check an opaque token, "+name+" sessions", nanoseconds, got[2], "10 k sessions", got[3], aim).note(
			"processor time of an opaque token's check at %s %s, at 10 k %s", name, each(busy[2], checkRounds, opaquesOnce), each(busy[3], checkRounds, opaquesOnce)),
	}, nil
}
