package probe

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"regexp"
	"slices"
	"strings"
)

// cookies judges the attributes of the cookies that carry the session.
func (h *hygiene) cookies(ctx context.Context) error {
	const check = "cookie-attributes"
	bearing, err := h.bearing(ctx)
	if err != nil {
		return err
	}
	if len(bearing) == 0 {
		h.add(check, "", NotApplicable, "the session is carried by no cookie")
		return nil
	}
	for _, c := range bearing {
		set := h.setBy(c)
		if set == nil || c.raw == nil {
			continue // it came from another answer than those of the session
		}
		flaws, notes := judgeCookie(c.raw, set.request.url.Scheme == "https", isLoopback(set.request.url.Hostname()))
		subject := fmt.Sprintf("cookie %q", c.name)
		switch {
		case flaws != nil:
			h.add(check, subject, Finding, strings.Join(append(flaws, notes...), "; "), set)
		case notes != nil:
			h.add(check, subject, Note, strings.Join(notes, "; "), set)
		default:
			h.add(check, subject, Pass, "HttpOnly, Secure and SameSite="+sameSite(c.raw), set)
		}
	}
	return nil
}

// refreshes matches names of cookies that hold a refresh token.
var refreshes = regexp.MustCompile(`(?i)refresh`)

// bearing are the cookies without which the session's requests are refused, or
// which alone give access, and those that hold a token.
func (h *hygiene) bearing(ctx context.Context) ([]cookie, error) {
	var all []cookie
	for _, c := range h.session.jar.cookies {
		if refreshes.MatchString(c.name) || readJWT(c.value) != nil ||
			slices.ContainsFunc(h.values, func(v value) bool { return v.cookie == c.name && v.base.kind == Cookie }) {
			all = append(all, c)
			continue
		}
		without := h.run.together(h.session)
		without.name = fmt.Sprintf("all but the cookie %q", c.name)
		without.jar.cookies = slices.DeleteFunc(without.jar.cookies, func(other cookie) bool { return other.name == c.name })
		out, err := h.run.try(ctx, "without a cookie", without, h.route)
		if err != nil {
			return nil, err
		}
		if proves(out) == Dead {
			all = append(all, c)
		}
	}
	return all, nil
}

// setBy is the answer of the session that set a cookie.
func (h *hygiene) setBy(c cookie) *answer {
	for _, a := range slices.Backward(h.session.trail) {
		for _, set := range (&http.Response{Header: a.header}).Cookies() {
			if set.Name == c.name && set.Value == c.value {
				return a
			}
		}
	}
	return nil
}

// judgeCookie says what the attributes of a cookie lack that carries a session:
// what is wrong, and what is worth knowing.
func judgeCookie(c *http.Cookie, https, loopback bool) (flaws, notes []string) {
	if !c.HttpOnly {
		flaws = append(flaws, "without HttpOnly, so that scripts can read it")
	}
	switch {
	case c.Secure:
	case loopback && !https:
		notes = append(notes, "without Secure, on a loopback address and over plain HTTP: it has to be there where users are")
	default:
		flaws = append(flaws, "without Secure, so that it travels over plain HTTP too")
	}
	switch {
	case c.SameSite == http.SameSiteNoneMode:
		notes = append(notes, "SameSite=None: foreign pages make the browser send it")
	case sameSite(c) == "":
		flaws = append(flaws, "without SameSite, so that it depends on the browser whether foreign pages make it send the cookie")
	}
	if c.Domain != "" {
		notes = append(notes, "Domain="+c.Domain+": every host below it gets the cookie")
	}
	if https && !strings.HasPrefix(c.Name, "__Host-") && !strings.HasPrefix(c.Name, "__Secure-") {
		notes = append(notes, "without the prefix __Host-, so that another host of the domain can plant its own")
	}
	return flaws, notes
}

func sameSite(c *http.Cookie) string {
	switch c.SameSite {
	case http.SameSiteLaxMode:
		return "Lax"
	case http.SameSiteStrictMode:
		return "Strict"
	case http.SameSiteNoneMode:
		return "None"
	}
	return ""
}

func isLoopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || strings.HasSuffix(host, ".localhost") || ip != nil && ip.IsLoopback()
}

// forgets judges what the answers to the logout tell a browser that held the
// cookies.
func (h *hygiene) forgets(answers []*answer, held *jar) {
	const check = "clear-site-data"
	if !slices.ContainsFunc(h.values, func(v value) bool { return v.cookie != "" }) {
		h.add(check, "", NotApplicable, "the session is carried by no cookie, so that it is the client's own code that forgets it")
		return
	}
	for _, a := range answers {
		if cleared := a.header.Get("Clear-Site-Data"); cleared != "" {
			h.add(check, "", Pass, "Clear-Site-Data: "+cleared, a)
			return
		}
	}
	var left []string
	for _, c := range held.cookies {
		if slices.ContainsFunc(h.values, func(v value) bool { return v.cookie == c.name }) &&
			slices.ContainsFunc(h.session.jar.cookies, func(now cookie) bool { return now.name == c.name && now.value == c.value }) {
			left = append(left, fmt.Sprintf("%q", c.name))
		}
	}
	text := "the answer to the logout has no Clear-Site-Data"
	if left != nil {
		text += ", and leaves the cookie " + strings.Join(left, ", ") + " in the browser"
	}
	h.add(check, "", Note, text, answers...)
}
