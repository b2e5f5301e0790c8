package httpapi

import (
	"encoding/base64"
	"errors"
	"math"
	"net/http"
	"net/url"
	"strings"

	"github.com/rescind/rescind"
)

const (
	challengeBasic  = `Basic realm="rescind", charset="UTF-8"`
	challengeBearer = `Bearer realm="rescind"`
)

// credentials are a client's id and secret as they came in. Without a secret they
// only say who it claims to be.
type credentials struct {
	id, secret string
	proving    bool
}

// authenticate finds out which client calls (RFC 6749 section 2.3).
func (c *call) authenticate() error {
	cred, err := c.credentials()
	if err != nil {
		return err
	}
	switch {
	case cred.proving:
		c.client, err = c.authority.Authenticate(c.context(), cred.id, cred.secret)
		c.proved = err == nil
	case cred.id != "" && c.route.credential == anyClient:
		if c.client, err = c.authority.Client(c.context(), cred.id); err == nil && !c.client.Public {
			err = rescind.ErrForbidden
		}
	case cred.id == "":
		return invalidClient() // it has not tried: nothing to count
	default:
		err = rescind.ErrForbidden
	}
	switch {
	case err == nil:
		return nil
	case errors.Is(err, rescind.ErrForbidden), errors.Is(err, rescind.ErrNotFound):
		c.client = nil
		c.metrics.refusedClients.Inc()
		if limited := c.failed(cred.id); limited != nil {
			return limited
		}
		return invalidClient()
	}
	return err
}

func invalidClient() *fault {
	return &fault{status: http.StatusUnauthorized, code: codeInvalidClient, detail: "unknown client, wrong secret, or no authentication", challenge: challengeBasic}
}

// credentials reads what the client sent: the Authorization header, or, under
// /oauth/, parameters of the form. Both at once are refused.
func (c *call) credentials() (credentials, error) {
	header := c.r.Header["Authorization"]
	inForm := c.route.style == oauth
	id, secret := "", ""
	if inForm {
		id, secret = c.form.get("client_id"), c.form.get("client_secret")
		if c.form.get("client_assertion") != "" || c.form.get("client_assertion_type") != "" {
			return credentials{}, invalidClient()
		}
	}
	switch {
	case len(header) > 1 || (len(header) == 1 && secret != ""):
		return credentials{}, badRequest("a client authenticates in one way only (RFC 6749 section 2.3)")
	case len(header) == 1:
		user, password, ok := parseBasic(header[0])
		if !ok {
			return credentials{}, invalidClient()
		}
		if id != "" && id != user {
			return credentials{}, badRequest("the form names another client than the Authorization header")
		}
		return credentials{user, password, true}, nil
	case secret != "" && id == "":
		return credentials{}, badRequest("client_secret without client_id")
	}
	return credentials{id, secret, secret != ""}, nil
}

// parseBasic reads the Basic scheme with both parts form-encoded (RFC 6749
// section 2.3.1, RFC 7617).
func parseBasic(header string) (id, secret string, ok bool) {
	scheme, text, found := strings.Cut(header, " ")
	if !found || !strings.EqualFold(scheme, "Basic") || len(text) > 1024 {
		return "", "", false
	}
	raw, err := base64.StdEncoding.Strict().DecodeString(strings.Trim(text, " "))
	if err != nil {
		return "", "", false
	}
	id, secret, found = strings.Cut(string(raw), ":")
	if !found || id == "" {
		return "", "", false
	}
	if strings.ContainsAny(id, "%+") || strings.ContainsAny(secret, "%+") {
		var err1, err2 error
		id, err1 = url.QueryUnescape(id)
		secret, err2 = url.QueryUnescape(secret)
		if err1 != nil || err2 != nil {
			return "", "", false
		}
	}
	return id, secret, true
}

// Why a bearer header is no credential.
var (
	errNoBearer  = errors.New("no bearer token")
	errBadBearer = errors.New("malformed bearer token")
	errTwoTokens = errors.New("more than one credential")
)

// parseBearer reads the token of an Authorization header (RFC 6750 section 2.1).
// Other schemes are somebody else's business: errNoBearer.
func parseBearer(header []string) (string, error) {
	switch len(header) {
	case 0:
		return "", errNoBearer
	case 1:
	default:
		return "", errTwoTokens
	}
	const scheme = "bearer"
	h := header[0]
	if len(h) < len(scheme) || !strings.EqualFold(h[:len(scheme)], scheme) {
		return "", errNoBearer
	}
	token := strings.TrimLeft(h[len(scheme):], " ")
	if len(token) == len(h)-len(scheme) { // no space: another scheme, or no token
		if token != "" {
			return "", errNoBearer
		}
		return "", errBadBearer
	}
	if !rescind.WellFormed(token) {
		return "", errBadBearer
	}
	return token, nil
}

// failed counts a failure of this source, and of a client if one was named. It
// returns the answer of 429 if there have been too many: only failures are
// counted, and only they are ever answered so.
func (c *call) failed(client string) error {
	wait := c.failures.count(c.source(), client)
	if wait == 0 {
		return nil
	}
	c.metrics.rateLimited.Inc()
	return &fault{
		status: http.StatusTooManyRequests, code: codeRateLimited, detail: "too many failed attempts",
		retry: int(math.Ceil(wait.Seconds())),
	}
}

// forged counts a token that none of our keys made. A caller that has proved who
// it is does not guess.
func (c *call) forged(err error) error {
	if c.proved || !(errors.Is(err, rescind.ErrMalformed) || errors.Is(err, rescind.ErrUnknown)) {
		return nil
	}
	return c.failed("")
}
