package probe

import (
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

// A cookie is one that a server has set.
type cookie struct {
	name, value string
	host        string // that it belongs to, in lower case
	wide        bool   // also for what is below host
	path        string
	expires     time.Time // zero: with the browser's session
	raw         *http.Cookie
}

// A jar holds the cookies of one session. It does as a browser does (RFC 6265),
// with two exceptions. All instances count as one host, because they are one
// application. And a cookie with Secure goes over plain HTTP too: tests do without
// TLS, and browsers make the same exception for the loopback address.
type jar struct {
	instances []string // host names
	cookies   []cookie
}

func (j *jar) clone() *jar { return &jar{instances: j.instances, cookies: slices.Clone(j.cookies)} }

// store takes over what an answer sets, and drops what it deletes.
func (j *jar) store(u *url.URL, header http.Header, now time.Time) {
	for _, set := range (&http.Response{Header: header}).Cookies() {
		host := strings.ToLower(u.Hostname())
		c := cookie{name: set.Name, value: set.Value, host: host, path: set.Path, raw: set}
		if domain := strings.ToLower(strings.TrimPrefix(set.Domain, ".")); domain != "" {
			if host != domain && !strings.HasSuffix(host, "."+domain) {
				continue
			}
			c.host, c.wide = domain, true
		}
		if !strings.HasPrefix(c.path, "/") {
			c.path = u.Path[:max(strings.LastIndexByte(u.Path, '/'), 0)]
			if c.path == "" {
				c.path = "/"
			}
		}
		switch {
		case set.MaxAge < 0:
			c.expires = now
		case set.MaxAge > 0:
			c.expires = now.Add(min(time.Duration(min(set.MaxAge, 1<<31))*time.Second, maxAge))
		case !set.Expires.IsZero():
			c.expires = set.Expires
		}
		j.cookies = slices.DeleteFunc(j.cookies, func(old cookie) bool {
			return old.name == c.name && old.path == c.path && (old.host == c.host || j.instance(old.host) && j.instance(c.host))
		})
		if c.value != "" && (c.expires.IsZero() || c.expires.After(now)) {
			j.cookies = append(j.cookies, c)
		}
	}
}

// maxAge is how long a cookie is kept: as browsers do (RFC 6265bis, section 5.5),
// and because some applications count milliseconds.
const maxAge = 400 * 24 * time.Hour

func (j *jar) instance(host string) bool { return slices.Contains(j.instances, host) }

// of returns the cookies that a request for a URL carries, those with the longest
// path first.
func (j *jar) of(u *url.URL, now time.Time) []cookie {
	host := strings.ToLower(u.Hostname())
	path := u.Path
	if path == "" {
		path = "/"
	}
	var all []cookie
	for _, c := range j.cookies {
		home := c.host == host || c.wide && strings.HasSuffix(host, "."+c.host) || j.instance(c.host) && j.instance(host)
		below := path == c.path || strings.HasPrefix(path, strings.TrimSuffix(c.path, "/")+"/")
		if home && below && (c.expires.IsZero() || c.expires.After(now)) {
			all = append(all, c)
		}
	}
	slices.SortStableFunc(all, func(a, b cookie) int { return len(b.path) - len(a.path) })
	return all
}

// cookieHeader is the field Cookie that carries them.
func cookieHeader(cookies []cookie, value func(cookie) string) string {
	parts := make([]string, 0, len(cookies))
	for _, c := range cookies {
		text := value(c)
		if c.raw != nil && c.raw.Quoted {
			text = strconv.Quote(text)
		}
		parts = append(parts, c.name+"="+text)
	}
	return strings.Join(parts, "; ")
}
