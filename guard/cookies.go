package guard

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"slices"
	"strings"

	"github.com/rescind/rescind"
)

// Sessions opens, continues and ends sessions. [rescind.Authority] and the
// client of a remote server are Sessions.
type Sessions interface {
	Issue(ctx context.Context, l rescind.Login) (rescind.Grant, error)
	Refresh(ctx context.Context, r rescind.Refresh) (rescind.Grant, error)
	Logout(ctx context.Context, token string, all bool) (rescind.Receipt, error)
}

// CookieOptions are the options of [Cookies]. The zero value is ready for use.
type CookieOptions struct {
	// Client is whose sessions these are; empty leaves it to Sessions.
	Client string

	// RefreshPath narrows where browsers send the refresh cookie; the refresh and
	// logout handlers must then lie below it. The default, "/", gives the cookie
	// the prefix __Host-, with which a browser takes it from this very host alone.
	// A narrower path cannot have that prefix (it demands Path=/) and gets
	// __Secure- instead: other services under the same host name then do not see
	// the refresh token, but a page on a sibling subdomain can plant a cookie of
	// that name. Narrow it only where you trust your sibling subdomains more than
	// the other services of this host.
	RefreshPath string

	// TrustedOrigins may send requests with cookies as this origin does; each is
	// "scheme://host" or "scheme://host:port". SameSite still applies.
	TrustedOrigins []string

	// AllowCrossOrigin leaves unsafe methods beneath the middleware to a CSRF
	// protection of the application's own. Refresh and logout stay protected.
	AllowCrossOrigin bool

	// AfterLogout is a local path to which a logout redirects (303), for HTML
	// forms. By default it answers 204.
	AfterLogout string

	// ClearSiteData makes a logout ask the browser to drop this origin's cache and
	// storage as well. It is off because browsers take seconds over it, and
	// because storage may hold what the user wants to keep. It never says
	// "cookies": that would drop those of every subdomain.
	ClearSiteData bool

	// InsecureLoopback drops the prefixes and Secure, for development over plain
	// HTTP. Requests for any host but localhost and loopback addresses are refused.
	InsecureLoopback bool
}

// Names of the cookies. A browser takes a __Host- cookie only with Secure, with
// Path=/ and without Domain, so no other host, no subdomain and nobody on plain
// HTTP can plant one; __Secure- only promises Secure.
const (
	accessName     = "rescind-at"
	refreshName    = "rescind-rt"
	prefixHost     = "__Host-"
	prefixSecure   = "__Secure-"
	maxCookie      = 4096 // name and value; browsers silently drop longer ones
	maxCredentials = 8    // that one logout ends
)

// Cookies keeps a browser's tokens in cookies that its scripts cannot read, and
// speaks for the browser: [Cookies.Login], [Cookies.RefreshHandler],
// [Cookies.LogoutHandler], and middleware that takes the access cookie. Bearer
// headers pass the middleware too, one credential at a time.
//
// Who writes cookies when:
//
//   - A login sets them, having ended the session whose cookies the browser sent.
//   - A refresh sets them if the session still stands.
//   - A logout clears them once the session has ended, never before: while the
//     outcome is unknown, the cookies are what the user can try again with.
//   - Nothing else touches them. In particular a failed check or refresh clears
//     nothing. In the browser its answer may come after that of a parallel
//     request which brought a new login or a successor, and would delete those;
//     what it leaves behind is a dead token, which opens nothing and which the
//     next login replaces.
//
// A refresh that a logout overtakes installs no cookies: right before it writes,
// it asks again whether the session stands, and logouts of the same process are
// noticed even later. What has left for the network cannot be called back, but
// then it brings dead tokens.
//
// All methods may be called concurrently.
type Cookies struct {
	guard       *Guard
	sessions    Sessions
	client      string
	origins     *http.CrossOriginProtection
	anyOrigin   bool
	after       string
	clearSite   bool
	insecure    bool
	refreshPath string
	access      string // names in use
	refresh     string
	flights     flights
}

// NewCookies returns cookies for the sessions of s. The guard's checker must know
// the access tokens that s hands out, whatever their audience: a refresh asks it.
func NewCookies(s Sessions, g *Guard, o CookieOptions) (*Cookies, error) {
	c := &Cookies{
		guard: g, sessions: s, client: o.Client, origins: http.NewCrossOriginProtection(), anyOrigin: o.AllowCrossOrigin,
		after: o.AfterLogout, clearSite: o.ClearSiteData, insecure: o.InsecureLoopback,
		refreshPath: o.RefreshPath, access: prefixHost + accessName, refresh: prefixHost + refreshName,
	}
	if s == nil || g == nil {
		return nil, fmt.Errorf("%w: cookies need sessions and a guard", rescind.ErrInvalid)
	}
	if c.refreshPath == "" {
		c.refreshPath = "/"
	}
	if !localPath(c.refreshPath) || strings.ContainsAny(c.refreshPath, ";,?#") {
		return nil, fmt.Errorf("%w: a refresh path begins with one slash and is a path alone", rescind.ErrInvalid)
	}
	if c.after != "" && !localPath(c.after) {
		return nil, fmt.Errorf("%w: after logout comes a path of this host, with one slash in front", rescind.ErrInvalid)
	}
	for _, origin := range o.TrustedOrigins {
		if err := c.origins.AddTrustedOrigin(origin); err != nil {
			return nil, fmt.Errorf("%w: trusted origin: %w", rescind.ErrInvalid, err)
		}
	}
	switch {
	case c.insecure:
		c.access, c.refresh = accessName, refreshName
	case c.refreshPath != "/":
		c.refresh = prefixSecure + refreshName
	}
	return c, nil
}

// localPath reports whether a browser that is sent to s stays on this host. Two
// slashes begin another host's name, and browsers read a backslash as a slash.
func localPath(s string) bool {
	return strings.HasPrefix(s, "/") && !strings.HasPrefix(s, "//") && !strings.Contains(s, `\`) && quotable(s) == s
}

// Handler is [Cookies.Require] for the Authority's own audience.
func (c *Cookies) Handler(next http.Handler) http.Handler { return c.Require(rescind.Want{})(next) }

// Require returns middleware like [Guard.Require] that takes the token from the
// access cookie or from the Authorization header; both at once are refused. A
// cookie counts for unsafe methods and for upgrades (WebSocket) only if the
// request comes from this origin or a trusted one. What a cookie opens is
// Cache-Control: no-store, unless the handler sets another value: browsers open
// it by address, and their back button would show it after the logout.
func (c *Cookies) Require(want rescind.Want) func(http.Handler) http.Handler {
	require := c.guard.require(want, func(r *http.Request) (string, *denial) {
		if bad := c.refuseHost(r); bad != nil {
			return "", bad
		}
		sent, bad := bearer(r)
		cookie, badCookie := one(r, c.access)
		switch {
		case badCookie == noCredentials:
			return sent, bad
		case bad != noCredentials:
			return "", twoCredentials
		case badCookie == nil && !c.anyOrigin && c.foreign(r):
			return "", crossOrigin
		}
		return cookie, badCookie
	})
	return func(next http.Handler) http.Handler {
		return require(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if _, bad := one(r, c.access); bad == nil {
				w.Header().Set("Cache-Control", "no-store")
			}
			next.ServeHTTP(w, r)
		}))
	}
}

// foreign reports whether a request that may change something comes from another
// origin. An upgrade is a GET, and yet it opens a way for everything.
func (c *Cookies) foreign(r *http.Request) bool {
	if r.Header.Get("Upgrade") != "" {
		unsafe := *r
		unsafe.Method = http.MethodPost
		r = &unsafe
	}
	// No browser says either of them twice.
	twice := len(r.Header["Sec-Fetch-Site"]) > 1 || len(r.Header["Origin"]) > 1
	safe := r.Method == http.MethodGet || r.Method == http.MethodHead || r.Method == http.MethodOptions
	return twice && !safe || c.origins.Check(r) != nil
}

// one returns the value of a cookie that came exactly once. Two of one name have
// come from two places, and nobody knows which is the user's.
func one(r *http.Request, name string) (string, *denial) {
	switch found := r.CookiesNamed(name); {
	case len(found) == 0 || len(found) == 1 && found[0].Value == "":
		return "", noCredentials
	case len(found) > 1:
		return "", twoCredentials
	case !token(found[0]):
		return "", invalidToken
	default:
		return found[0].Value, nil
	}
}

// token reports whether a cookie's value can be a token, as it came: in quotes,
// which net/http takes off, it would be a second spelling.
func token(k *http.Cookie) bool { return !k.Quoted && rescind.WellFormed(k.Value) }

// all returns the tokens in cookies of ours, whatever options set them: at most
// maxCredentials, those first that nobody else can have planted in such numbers.
func all(r *http.Request) []string {
	var tokens []string
	for _, prefix := range []string{prefixHost, prefixSecure, ""} {
		for _, name := range []string{prefix + accessName, prefix + refreshName} {
			for _, k := range r.CookiesNamed(name) {
				if token(k) && !slices.Contains(tokens, k.Value) && len(tokens) < maxCredentials {
					tokens = append(tokens, k.Value)
				}
			}
		}
	}
	return tokens
}

// refuseHost holds unprotected cookies back from everything but loopback. A proxy
// in front may have put its own idea of the host into the request; the browser's
// stands in Origin, and in what proxies add.
func (c *Cookies) refuseHost(r *http.Request) *denial {
	if !c.insecure {
		return nil
	}
	_, origin, _ := strings.Cut(r.Header.Get("Origin"), "://")
	for _, host := range []string{origin, r.Header.Get("X-Forwarded-Host")} {
		if host != "" && !loopback(host) {
			return insecureHost
		}
	}
	if !loopback(r.Host) {
		return insecureHost
	}
	return nil
}

func loopback(hostport string) bool {
	host, _, err := net.SplitHostPort(hostport)
	if err != nil {
		host = strings.Trim(hostport, "[]")
	}
	host = strings.ToLower(strings.TrimSuffix(host, "."))
	if host == "localhost" || strings.HasSuffix(host, ".localhost") {
		return true
	}
	ip := net.ParseIP(host)
	return ip != nil && ip.IsLoopback()
}

// Login opens a session and adds its cookies to the header of w, so it comes
// before anything is written. The session whose cookies the browser sent ends
// first (ASVS 7.2.4): they are about to be overwritten, and nobody could end it
// afterwards. On an error no cookie is set; it is that of Sessions, or ErrForbidden
// on a host where unprotected cookies are refused and for an unsafe method from
// another origin (whose author would choose in whose session the browser goes on;
// trust the origin of an identity provider that posts its answer), or ErrInvalid
// where a token is too long for a cookie: give the session fewer claims, or the
// client opaque access tokens.
func (c *Cookies) Login(w http.ResponseWriter, r *http.Request, l rescind.Login) (rescind.SessionID, error) {
	bad := c.refuseHost(r)
	if bad == nil && c.foreign(r) {
		bad = crossOrigin
	}
	if bad != nil {
		return rescind.SessionID{}, fmt.Errorf("%w: %s", rescind.ErrForbidden, bad.about)
	}
	if old := all(r); len(old) > 0 {
		if _, err := c.end(r.Context(), old); err != nil {
			return rescind.SessionID{}, fmt.Errorf("end the session before: %w", err)
		}
	}
	if l.Client == "" {
		l.Client = c.client
	}
	grant, err := c.sessions.Issue(r.Context(), l)
	if err != nil {
		return rescind.SessionID{}, err
	}
	if !c.fits(&grant) {
		// Nobody will hold its tokens: it must not stay behind alive.
		_, err := c.sessions.Logout(context.WithoutCancel(r.Context()), grant.RefreshToken.Reveal(), false)
		return rescind.SessionID{}, errors.Join(fmt.Errorf("%w: %s", rescind.ErrInvalid, cookieTooLong.about), err)
	}
	c.set(w, &grant)
	return grant.Session, nil
}

func (c *Cookies) fits(g *rescind.Grant) bool {
	return len(c.access)+len(g.AccessToken) <= maxCookie && len(c.refresh)+len(g.RefreshToken) <= maxCookie
}

// set adds the cookies of a grant. Both last until the session's absolute end:
// an access cookie that vanished with its token could not log out, and activity
// may keep the session past the idle time-out of now.
func (c *Cookies) set(w http.ResponseWriter, g *rescind.Grant) {
	w.Header().Set("Cache-Control", "no-store")
	age := int(g.AuthorizationEnds)
	http.SetCookie(w, c.cookie(c.access, "/", http.SameSiteLaxMode, g.AccessToken.Reveal(), age))
	// Only requests from this site refresh, so none from elsewhere need carry it.
	http.SetCookie(w, c.cookie(c.refresh, c.refreshPath, http.SameSiteStrictMode, g.RefreshToken.Reveal(), age))
}

func (c *Cookies) cookie(name, path string, site http.SameSite, value string, age int) *http.Cookie {
	return &http.Cookie{
		Name: name, Value: value, Path: path, MaxAge: age,
		Secure: strings.HasPrefix(name, "__"), HttpOnly: true, SameSite: site,
	}
}

// clear takes every cookie away that any options of ours may have set.
func (c *Cookies) clear(w http.ResponseWriter) {
	for _, name := range []string{prefixHost + accessName, prefixHost + refreshName, accessName, refreshName} {
		http.SetCookie(w, c.cookie(name, "/", http.SameSiteLaxMode, "", -1))
	}
	if c.refreshPath != "/" {
		for _, name := range []string{prefixSecure + refreshName, refreshName} {
			http.SetCookie(w, c.cookie(name, c.refreshPath, http.SameSiteLaxMode, "", -1))
		}
	}
}
