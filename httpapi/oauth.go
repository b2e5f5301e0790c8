package httpapi

import (
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"

	"github.com/rescind/rescind"
)

// tokenForm is a request of RFC 6749 section 6.
type tokenForm struct {
	GrantType    string `formData:"grant_type" required:"true" enum:"refresh_token"`
	RefreshToken string `formData:"refresh_token" required:"true"`
	Scope        string `formData:"scope" description:"Narrows the one access token that is handed out."`
	formClient
}

// formClient is a client that authenticates in the form.
type formClient struct {
	ClientID     string `formData:"client_id" description:"Without Basic authentication."`
	ClientSecret string `formData:"client_secret" description:"Without Basic authentication; none for a public client."`
}

func (c *call) token() error {
	grantType, token := c.form.get("grant_type"), c.form.get("refresh_token")
	switch {
	case grantType == "":
		return badRequest("grant_type is missing")
	case grantType != "refresh_token":
		return &fault{status: http.StatusBadRequest, code: codeGrantType, detail: "the only grant type here is refresh_token"}
	case token == "":
		return badRequest("refresh_token is missing")
	}
	grant, err := c.authority.Refresh(c.context(), rescind.Refresh{Client: c.client.ID, Token: token, Scope: c.form.get("scope")})
	c.metrics.refreshed(err)
	switch {
	case err == nil:
		return c.json(http.StatusOK, grant)
	case errors.Is(err, rescind.ErrInvalid): // the scope is all that can be
		return &fault{status: http.StatusBadRequest, code: codeScope, detail: judge(err).detail}
	case errors.Is(err, rescind.ErrNotFound): // its client has been removed meanwhile
		return invalidClient()
	}
	if limited := c.forged(err); limited != nil {
		return limited
	}
	return err
}

// introspectForm is a request of RFC 7662 section 2.1. The hint is not needed:
// a token shows what it is.
type introspectForm struct {
	Token string `formData:"token" required:"true"`
	Hint  string `formData:"token_type_hint"`
	Touch string `formData:"touch" enum:"true,false" description:"false: a monitor asks, and this is not activity of the session."`
	formClient
}

// introspection is the answer of RFC 7662 section 2.2, to which the session's own
// claims are added.
type introspection struct {
	Active    bool     `json:"active"`
	Scope     string   `json:"scope,omitempty"`
	ClientID  string   `json:"client_id,omitempty"`
	TokenType string   `json:"token_type,omitempty" description:"Bearer for an access token, absent for a refresh token."`
	ExpiresAt int64    `json:"exp,omitempty"`
	IssuedAt  int64    `json:"iat,omitempty"`
	Subject   string   `json:"sub,omitempty"`
	Audience  []string `json:"aud,omitempty"`
	Issuer    string   `json:"iss,omitempty"`
	ID        string   `json:"jti,omitempty" description:"Of an access token."`
	Session   string   `json:"sid,omitempty"`
	_         struct{} `additionalProperties:"true"`
}

var inactive = []byte(`{"active":false}`)

// introspect answers one of the two questions that are asked on every request,
// so its answer is put together by hand.
func (c *call) introspect() error {
	token := c.form.get("token")
	if token == "" {
		return badRequest("token is missing")
	}
	touch := c.form.get("touch")
	if touch != "" && touch != "true" && touch != "false" {
		return badRequest("touch is true or false")
	}
	in, err := c.authority.Introspect(c.context(), c.client, token, touch != "false")
	if err != nil {
		c.metrics.checked(byIntrospection, err)
		return err
	}
	if !in.Active {
		c.metrics.checked(byIntrospection, rescind.ErrInactive)
		return c.answer(http.StatusOK, typeJSON, inactive)
	}
	c.metrics.checked(byIntrospection, nil)
	buf := buffers.Get().(*[]byte)
	*buf = c.appendIntrospection((*buf)[:0], &in)
	err = c.answer(http.StatusOK, typeJSON, *buf)
	buffers.Put(buf)
	return err
}

var buffers = sync.Pool{New: func() any { b := make([]byte, 0, 1024); return &b }}

func (c *call) appendIntrospection(b []byte, in *rescind.Introspection) []byte {
	b = append(b, `{"active":true`...)
	if in.Scope != "" {
		b = appendMember(b, "scope", in.Scope)
	}
	b = appendMember(b, "client_id", in.Client)
	if in.Bearer {
		b = append(b, `,"token_type":"Bearer"`...)
		b = appendMember(b, "jti", in.Token.String())
	}
	b = strconv.AppendInt(append(b, `,"exp":`...), in.ExpiresAt.Unix(), 10)
	b = strconv.AppendInt(append(b, `,"iat":`...), in.IssuedAt.Unix(), 10)
	b = appendMember(b, "sub", in.Subject)
	b = append(b, `,"aud":[`...)
	for i, aud := range in.Audience {
		if i > 0 {
			b = append(b, ',')
		}
		b = appendString(b, aud)
	}
	b = append(b, ']')
	b = appendMember(b, "iss", c.authority.Issuer())
	b = appendMember(b, "sid", in.Session.String())
	// An object in compact form, none of whose names is registered (Issue sees to
	// both), so nothing above can be said twice.
	if own := in.Claims; len(own) > len("{}") {
		b = append(b, ',')
		b = append(b, own[1:len(own)-1]...)
	}
	return append(b, '}')
}

func appendMember(b []byte, name, value string) []byte {
	b = append(b, `,"`...)
	b = append(b, name...)
	b = append(b, `":`...)
	return appendString(b, value)
}

// appendString writes a JSON string. What is written here is printable ASCII and
// spaces; anything else takes the long way.
func appendString(b []byte, s string) []byte {
	for i := 0; i < len(s); i++ {
		if s[i] < ' ' || s[i] > '~' || s[i] == '"' || s[i] == '\\' {
			quoted, _ := json.Marshal(s) // a string is never refused
			return append(b, quoted...)
		}
	}
	b = append(b, '"')
	b = append(b, s...)
	return append(b, '"')
}

// revokeForm is a request of RFC 7009 section 2.1. A hint may be wrong or
// unknown: it is not needed.
type revokeForm struct {
	Token string `formData:"token" required:"true"`
	Hint  string `formData:"token_type_hint"`
	formClient
}

func (c *call) revoke() error {
	token := c.form.get("token")
	if token == "" {
		return badRequest("token is missing")
	}
	r := rescind.Revocation{Selector: rescind.Selector{Token: token}, Actor: c.client.ID, Owner: c.client.ID}
	if c.is(rescind.RoleRevoke) {
		r.Owner = ""
	}
	_, err := c.authority.Revoke(c.context(), r)
	c.metrics.revoked("token", err)
	if limited := c.forged(err); limited != nil {
		return limited
	}
	if err != nil && !errors.Is(err, rescind.ErrInactive) {
		return err
	}
	// RFC 7009 section 2.2: an invalid token is no error, it is as dead as can be.
	return c.answer(http.StatusOK, nil, nil)
}

// serverMetadata is RFC 8414. Section 2 requires response_types_supported and
// section 3.2 wants empty lists left out; a server without an authorization
// endpoint cannot do both. It is there, because clients look for it.
type serverMetadata struct {
	Issuer                string   `json:"issuer"`
	TokenEndpoint         string   `json:"token_endpoint"`
	TokenAuthMethods      []string `json:"token_endpoint_auth_methods_supported"`
	RevocationEndpoint    string   `json:"revocation_endpoint"`
	RevocationAuthMethods []string `json:"revocation_endpoint_auth_methods_supported"`
	IntrospectionEndpoint string   `json:"introspection_endpoint"`
	IntrospectAuthMethods []string `json:"introspection_endpoint_auth_methods_supported"`
	JWKSURI               string   `json:"jwks_uri"`
	GrantTypes            []string `json:"grant_types_supported"`
	ResponseTypes         []string `json:"response_types_supported"`
}

func metadata(issuer string) ([]byte, error) {
	base := strings.TrimSuffix(issuer, "/")
	secret := []string{"client_secret_basic", "client_secret_post"}
	all := append(secret[:2:2], "none")
	return json.Marshal(serverMetadata{
		Issuer:                issuer,
		TokenEndpoint:         base + "/oauth/token",
		TokenAuthMethods:      all,
		RevocationEndpoint:    base + "/oauth/revoke",
		RevocationAuthMethods: all,
		IntrospectionEndpoint: base + "/oauth/introspect",
		IntrospectAuthMethods: secret,
		JWKSURI:               base + "/.well-known/jwks.json",
		GrantTypes:            []string{"refresh_token"},
		ResponseTypes:         []string{},
	})
}

// issuerPath is what of an issuer follows the host, without a last slash.
func issuerPath(issuer string) string {
	u, err := url.Parse(issuer)
	if err != nil {
		return "" // the Authority has parsed it before
	}
	return strings.TrimSuffix(u.EscapedPath(), "/")
}

func (c *call) serverMetadata() error {
	return c.answer(http.StatusOK, typeJSON, c.metadata)
}

// keySet is RFC 7517.
type keySet struct {
	Keys []map[string]any `json:"keys"`
}

func (c *call) jwks() error {
	set, err := c.authority.JWKS(c.context())
	if err != nil {
		return err
	}
	return c.answer(http.StatusOK, typeJSON, set)
}
