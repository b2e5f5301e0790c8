package targets

import (
	"context"
	"crypto/rand"
	"errors"
	"net/http"
	"strings"
	"sync/atomic"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/redis/rueidis"
)

// claims say whose token it is, and what it is for.
type claims struct {
	Subject string `json:"sub"`
	Session string `json:"sid,omitempty"`
	Use     string `json:"use"`
	jwt.RegisteredClaims

	row row // of the session, where it was read
}

// GetSubject is that of claims, which has the name of a registered one.
func (c claims) GetSubject() (string, error) { return c.Subject, nil }

// A grant is what a login or a refresh hands out.
type grant struct {
	AccessToken  string `json:"access_token"`
	TokenType    string `json:"token_type"`
	ExpiresIn    int    `json:"expires_in"`
	RefreshToken string `json:"refresh_token"`

	jti   string
	until time.Time
}

// grant makes the tokens of a session's present generation.
func (a *Notes) grant(r row) (*grant, error) {
	g, err := a.another(r)
	if err == nil && a.Repeats {
		// A deterministic signature over claims without an id, as of HS256.
		same, _ := a.given.LoadOrStore(r.id+time.Now().Format(time.DateTime), g)
		g = same.(*grant)
	}
	return g, err
}

func (a *Notes) another(r row) (*grant, error) {
	access, jti, until, err := a.sign(r, "access", a.Access)
	if err != nil {
		return nil, err
	}
	refresh, _, _, err := a.sign(r, "refresh", 24*time.Hour)
	return &grant{access, "Bearer", int(a.Access.Seconds()), refresh, jti, until}, err
}

func (a *Notes) sign(r row, use string, lifetime time.Duration) (token, jti string, until time.Time, err error) {
	now := time.Now()
	jti, until = rand.Text(), now.Add(lifetime)
	c := claims{Subject: r.user, Session: r.id, Use: use, RegisteredClaims: jwt.RegisteredClaims{IssuedAt: jwt.NewNumericDate(now)}}
	if c.ID = jti; a.WithoutID {
		c.ID, c.Session = "", ""
	}
	if !a.Eternal {
		c.ExpiresAt = jwt.NewNumericDate(until)
	}
	token, err = jwt.NewWithClaims(jwt.SigningMethodES256, c).SignedString(a.key)
	return token, jti, until, err
}

// verify looks at what a token says itself.
func (a *Notes) verify(token string, more ...jwt.ParserOption) (claims, error) {
	methods := []string{"ES256"}
	if a.AlgNone {
		methods = append(methods, "none")
	}
	if a.AlgConfused {
		methods = append(methods, "HS256")
	}
	if a.Strict {
		more = append(more, jwt.WithStrictDecoding())
	}
	var c claims
	_, err := jwt.ParseWithClaims(token, &c, func(t *jwt.Token) (any, error) {
		switch t.Method.Alg() {
		case "none":
			return jwt.UnsafeAllowNoneSignatureType, nil
		case "HS256":
			return a.public, nil // it is "the key", is it not?
		}
		return a.key.Public(), nil
	}, append(more, jwt.WithValidMethods(methods))...)
	if err != nil && a.SignatureLoose && strings.HasSuffix(token, ".") {
		var t *jwt.Token
		if t, _, err = jwt.NewParser().ParseUnverified(token, &c); err == nil && t.Method.Alg() != "ES256" {
			err = jwt.ErrTokenUnverifiable
		}
	}
	if c.Session == "" {
		c.Session = a.db.sessionOf(token)
	}
	return c, err
}

// presented is the token, or the session's id, that a request brings.
func (a *Notes) presented(r *http.Request) string {
	if a.cookies() {
		return cookieOf(r, "sid")
	}
	if a.Jar {
		return cookieOf(r, "access_token")
	}
	scheme, token, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	if strings.EqualFold(scheme, "Bearer") {
		return strings.TrimSpace(token)
	}
	if a.TokenInURL {
		return r.URL.Query().Get("access_token")
	}
	return ""
}

func cookieOf(r *http.Request, name string) string {
	c, err := r.Cookie(name)
	if err != nil {
		return ""
	}
	return c.Value
}

// check is the guard's rule.
func (i *instance) check(r *http.Request) (claims, error) {
	token := i.presented(r)
	if token == "" {
		return claims{}, errEnded
	}
	if i.cookies() {
		s, err := i.db.get(token)
		if err != nil {
			return claims{}, err
		}
		return claims{Subject: s.user, Session: s.id, Use: "access", row: s}, nil
	}
	if v, ok := i.verdicts.get(token); ok && i.VerdictCache > 0 {
		return v.who, v.err
	}
	c, err := i.verify(token)
	if err != nil || c.Use != "access" && !i.AnyUse {
		return claims{}, errEnded
	}
	if !i.blind(r) {
		err = i.stands(r, token, c)
	}
	if err != errDown {
		i.verdicts.set(token, verdict{c, err, time.Now().Add(i.VerdictCache)})
	}
	return c, err
}

// stands looks at the state of a token whose signature is right.
func (i *instance) stands(r *http.Request, token string, c claims) error {
	if second, cut := i.db.cutoff(c.Subject); cut {
		switch {
		case i.Cutoff == BeforeThisSecond && c.IssuedAt.Unix() < second, i.Cutoff == UpToThisSecond && c.IssuedAt.Unix() <= second:
			return errEnded
		}
	}
	if i.Blocklist != nil {
		return i.Blocklist.judge(r, i, token, c)
	}
	if i.AccessSurvives {
		return nil
	}
	_, err := i.db.get(c.Session)
	return err
}

// Cutoff is what "logout everywhere" writes down.
type Cutoff int

const (
	EachSession      Cutoff = iota // that each of the user's sessions has ended
	BeforeThisSecond               // the time: what was issued in an earlier second has ended
	UpToThisSecond                 // the time: what was issued up to this second has ended, and what is issued within it never begins
)

// A Blocklist has the access tokens that have ended, and each of them for as long
// as it would live, unless it is told otherwise.
type Blocklist struct {
	ByHeader bool           // it has the header as it was sent, instead of the token's jti
	ByText   bool           // it has the tokens as they were sent, instead of their jti
	Keeps    time.Duration  // how long an entry stays, whatever the token says
	Own      bool           // each instance has one in its memory
	Redis    rueidis.Client // has it, if it is set
	Open     bool           // what cannot be known passes

	Silent atomic.Bool // Redis is known not to answer, and is not waited for
}

// Connect has the list in a Redis.
func (b *Blocklist) Connect(address string) error {
	var err error
	b.Redis, err = rueidis.NewClient(rueidis.ClientOption{InitAddress: []string{address}, DisableCache: true, DisableRetry: true, ForceSingleClient: true})
	return err
}

// patience is for Redis: much, where it only may be slow.
func (b *Blocklist) patience() time.Duration {
	if b.Silent.Load() {
		return 50 * time.Millisecond
	}
	return 30 * time.Second
}

func (b *Blocklist) word(token, jti string) string {
	switch {
	case b.ByHeader:
		return "Bearer " + token
	case b.ByText:
		return token
	}
	return jti
}

func (b *Blocklist) add(ctx context.Context, i *instance, word string, until time.Time) error {
	if b.Keeps > 0 {
		until = time.Now().Add(b.Keeps)
	}
	switch {
	case b.Redis != nil:
		ctx, cancel := context.WithTimeout(ctx, b.patience())
		defer cancel()
		left := max(1, time.Until(until).Milliseconds())
		err := b.Redis.Do(ctx, b.Redis.B().Set().Key("ended:"+word).Value("").PxMilliseconds(left).Build()).Error()
		if err != nil && !b.Open {
			return errDown
		}
	case b.Own:
		i.own.add(word, until)
	default:
		i.db.list.add(word, until)
	}
	return nil
}

func (b *Blocklist) judge(r *http.Request, i *instance, token string, c claims) error {
	ctx, word, on := r.Context(), b.word(token, c.ID), false
	if b.ByHeader {
		word = r.Header.Get("Authorization")
	}
	switch {
	case b.Redis != nil:
		ctx, cancel := context.WithTimeout(ctx, b.patience())
		defer cancel()
		n, err := b.Redis.Do(ctx, b.Redis.B().Exists().Key("ended:"+word).Build()).AsInt64()
		if err != nil && !b.Open {
			return errDown
		}
		on = err == nil && n == 1
	case b.Own:
		on = i.own.has(word)
	default:
		on = i.db.list.has(word)
	}
	if on {
		return errEnded
	}
	return nil
}

// unexpired says that the time alone is over, which does not matter to a logout.
func unexpired(err error) error {
	if errors.Is(err, jwt.ErrTokenExpired) && !errors.Is(err, jwt.ErrTokenSignatureInvalid) {
		return nil
	}
	return err
}
