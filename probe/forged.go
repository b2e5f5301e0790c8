package probe

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"strings"
)

// forgedExperiment presents tokens that were made without the key, while the
// session lives whose claims they have.
func forgedExperiment() experiment {
	checks := []string{"token-signature-stripped", "token-alg-none", "token-alg-confusion"}
	return experiment{
		name: "forged tokens", checks: checks,
		run: func(ctx context.Context, r *run) ([]Result, error) {
			instance := r.target.Instances[0]
			s, control, err := r.fresh(ctx, instance)
			if err != nil {
				return nil, err
			}
			values, err := r.values(ctx, s, r.on(instance))
			if err != nil {
				return nil, err
			}
			var results []Result
			for _, v := range values {
				token := readJWT(v.text)
				if token == nil {
					continue
				}
				matters, err := r.matters(ctx, v, r.on(instance))
				if err != nil {
					return results, err
				}
				if !matters {
					continue
				}
				more, err := r.forge(ctx, s, v, token, control)
				if err != nil {
					return results, err
				}
				results = append(results, more...)
			}
			if results == nil {
				return nil, &errNone{"no token that gives access is a JWT"}
			}
			return results, nil
		},
	}
}

// matters reports whether the target looks at a value at all: with nonsense in its
// place, what carries it has to be refused.
func (r *run) matters(ctx context.Context, v value, rt *route) (bool, error) {
	out, err := r.try(ctx, "dead control", r.with(v, "replaced by nonsense", "nonsense"), rt)
	if err != nil {
		return false, err
	}
	if proves(out) == Unclear {
		return false, fmt.Errorf("%s on %s of %s: neither taken nor refused for certain", out.request.artefact, rt.line, rt.instance)
	}
	return proves(out) == Dead, nil
}

// forge tries every forgery of one token.
func (r *run) forge(ctx context.Context, s *session, v value, t *jwt, control *answer) ([]Result, error) {
	stripped, err := t.withoutSignature()
	if err != nil {
		return nil, err
	}
	none, err := t.withoutAlgorithm()
	if err != nil {
		return nil, err
	}
	confused, about, err := r.confusions(ctx, t)
	if err != nil {
		return nil, err
	}
	var results []Result
	for _, set := range []struct {
		check     string
		forgeries []forgery
		about     string
	}{
		{"token-signature-stripped", stripped, ""},
		{"token-alg-none", none, ""},
		{"token-alg-confusion", confused, about},
	} {
		result, err := r.presentAll(ctx, set.check, v, set.forgeries, set.about, control)
		if err != nil {
			return results, err
		}
		results = append(results, result)
	}
	// What was refused was refused for being forged only if the session lives on.
	if _, err := r.proven(ctx, r.together(s), r.on(s.instance)); err != nil {
		return nil, fmt.Errorf("after the forged tokens: %w", err)
	}
	return results, nil
}

// routesOfForgeries is how many routes of each instance forgeries are tried on.
const routesOfForgeries = 2

// presentAll presents forgeries of one kind.
func (r *run) presentAll(ctx context.Context, check string, v value, forgeries []forgery, about string, control *answer) (Result, error) {
	type attempt struct {
		forgery forgery
		route   *route
		answer  *answer
	}
	var attempts []*attempt
	for _, rt := range r.sample(routesOfForgeries) {
		for _, f := range forgeries {
			attempts = append(attempts, &attempt{forgery: f, route: rt})
		}
	}
	err := r.atOnce(ctx, len(attempts), func(i int) (err error) {
		a := attempts[i]
		a.answer, err = r.try(ctx, "forged token", r.with(v, a.forgery.name, a.forgery.text), a.route)
		return err
	})
	if err != nil {
		return Result{}, err
	}
	var accepted, refused, unclear []*answer
	var first *route
	took := map[string]bool{}
	for _, a := range attempts {
		switch proves(a.answer) {
		case Alive:
			accepted = append(accepted, a.answer)
			took[a.forgery.name] = true
			if first == nil {
				first = a.route
			}
		case Dead:
			refused = append(refused, a.answer)
		default:
			unclear = append(unclear, a.answer)
		}
	}
	switch {
	case len(accepted) > 0:
		var names []string
		for _, f := range forgeries {
			if took[f.name] {
				names = append(names, f.name)
			}
		}
		return r.result(check, v.name, Finding, fmt.Sprintf("accepted with %s, by %s of %s first", strings.Join(names, "; "), first.line, first.instance),
			append([]*answer{control}, firstOf(4, accepted)...)...), nil
	case len(unclear) > 0:
		return r.result(check, v.name, Inconclusive, fmt.Sprintf("%d of %d answers to forged tokens proved nothing: %s", len(unclear), len(unclear)+len(refused), unclear[0].note),
			append([]*answer{control}, firstOf(4, unclear)...)...), nil
	}
	return r.result(check, v.name, Pass, fmt.Sprintf("%d forged tokens, all refused%s", len(forgeries), about), control, refused[0]), nil
}

// confusions are forgeries with another algorithm than the application's: with its
// public key as a secret, if the key can be had, and with keys that are nobody's.
func (r *run) confusions(ctx context.Context, t *jwt) ([]forgery, string, error) {
	all, err := t.withOwnKey()
	if err != nil {
		return nil, "", err
	}
	if strings.HasPrefix(t.alg(), "HS") {
		return all, " (the application signs with a secret, so that there is no public key to try)", nil
	}
	keys, err := r.publishedKeys(ctx, t)
	if err != nil {
		return nil, "", err
	}
	if keys == nil {
		return all, " (without the public key as a secret: no key set was found at the hosts of the description)", nil
	}
	for _, key := range forToken(keys, t) {
		more, err := t.withPublicKey(key.key)
		if err != nil {
			return nil, "", err
		}
		all = append(all, more...)
	}
	return all, "", nil
}

// Where key sets commonly are, and what tells where they are.
var (
	keySets  = []string{"/.well-known/jwks.json", "/jwks", "/jwks.json", "/.well-known/jwks", "/oauth/jwks", "/oauth2/jwks"}
	metadata = []string{"/.well-known/openid-configuration", "/.well-known/oauth-authorization-server"}
)

// publishedKeys looks for the application's key set at its instances, at the other
// hosts of the description, and at the token's issuer if that is one of them. Nil
// if there is none.
func (r *run) publishedKeys(ctx context.Context, t *jwt) ([]publicKey, error) {
	var bases []string
	for _, instance := range r.target.Instances {
		u, err := url.Parse(instance)
		if err != nil {
			return nil, err
		}
		bases = append(bases, instance, u.Scheme+"://"+u.Host)
		for _, host := range r.target.Hosts {
			bases = append(bases, u.Scheme+"://"+host)
		}
	}
	bases = append(bases, t.text("iss"))
	seen := map[string]bool{}
	var asked int
	get := func(u *url.URL) (*answer, error) {
		if seen[u.String()] || !r.client.allows(u) || asked >= maxKeyRequests {
			return nil, nil
		}
		seen[u.String()] = true
		asked++
		out := r.client.do(ctx, request{role: "key set", method: http.MethodGet, url: u, header: http.Header{"Accept": {"application/json"}}})
		if err := fatal(ctx, out.err); err != nil {
			return nil, err
		}
		if out.err != nil || out.status != http.StatusOK {
			return nil, nil
		}
		return out, nil
	}
	for _, base := range bases {
		for _, path := range append(append([]string(nil), metadata...), keySets...) {
			u := wellKnown(base, path)
			if u == nil {
				continue
			}
			out, err := get(u)
			if err != nil {
				return nil, err
			}
			if out == nil {
				continue
			}
			if to := keySetOf(out.body); to != nil {
				if out, err = get(to); err != nil {
					return nil, err
				}
			}
			if out == nil {
				continue
			}
			if keys, err := publicKeys(out.body); err == nil {
				return keys, nil
			}
		}
	}
	return nil, nil
}

// maxKeyRequests is how many requests look for a key set.
const maxKeyRequests = 40

// wellKnown is a path at the end of a base URL; nil if the base is none.
func wellKnown(base, path string) *url.URL {
	u, err := url.Parse(strings.TrimSuffix(base, "/") + path)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return nil
	}
	return u
}
