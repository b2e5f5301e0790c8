package probe

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/rescind/rescind/probe/target"
)

// attacker is the page that sends forged requests. It stands in headers only;
// nothing is ever sent to it.
const attacker = "https://attacker.example"

// An attack is a logout as a foreign page makes a browser send it: cookies and
// nothing else that is the session's.
type attack struct {
	name   string
	method string
	kind   string // Content-Type; empty without a body
	body   string
}

// getExperiment asks for the logout with GET, as a link or an image does.
func getExperiment() experiment {
	const check = "logout-by-get"
	return experiment{
		name: "logout by GET", checks: []string{check}, lacks: needsLogout,
		run: func(ctx context.Context, r *run) ([]Result, error) {
			return r.forced(ctx, check, []attack{{name: "GET", method: http.MethodGet}})
		},
	}
}

// crossOriginExperiment sends the logout as a form on a foreign page does.
func crossOriginExperiment() experiment {
	const check = "logout-cross-origin"
	return experiment{
		name: "logout across origins", checks: []string{check},
		lacks: func(t *target.Target) string {
			if reason := needsLogout(t); reason != "" {
				return reason
			}
			if method := t.Logout.Last().Method(); method == http.MethodGet || method == http.MethodHead {
				return "the logout is a GET: logout-by-get is about it"
			}
			return ""
		},
		run: func(ctx context.Context, r *run) ([]Result, error) {
			form, text, err := formBodies(r.target.Logout.Last())
			if err != nil {
				return nil, err
			}
			return r.forced(ctx, check, []attack{
				{"a form", http.MethodPost, "application/x-www-form-urlencoded", form},
				{"a form with enctype text/plain", http.MethodPost, "text/plain", text},
			})
		},
	}
}

// formBodies are the body of a request as a form can send it, without what the
// attacker does not know.
func formBodies(q *target.Request) (form, text string, err error) {
	values := url.Values{}
	for name, t := range q.Form {
		if len(t.Names()) == 0 {
			values.Set(name, string(t))
		}
	}
	document := []byte("{}")
	if members, is := q.JSON.(map[string]any); is {
		known := map[string]any{}
		for name, member := range members {
			if text, is := member.(string); !is || len(target.Template(text).Names()) == 0 {
				known[name] = member
			}
		}
		if document, err = json.Marshal(known); err != nil {
			return "", "", err
		}
	}
	return values.Encode(), string(document), nil
}

// forced sends attacks with the cookies that a browser would send along, and looks
// whether the session still lives. Where a browser would send none, all are sent:
// what happens then is a note, because only the browser stands between.
func (r *run) forced(ctx context.Context, check string, attacks []attack) ([]Result, error) {
	instance := r.target.Instances[0]
	s, control, err := r.fresh(ctx, instance)
	if err != nil {
		return nil, err
	}
	to, err := logoutURL(r.target.Logout.Last(), instance, s.vars)
	if err != nil {
		return nil, err
	}
	if !r.client.allows(to) {
		return nil, &errNone{"the logout is at another host than those of the description"}
	}
	if len(s.jar.cookies) == 0 || !r.target.Present.WithCookies() {
		return nil, &errNone{"the session is carried by no cookie, so that a foreign page cannot make a browser send it"}
	}
	cookies := s.jar.of(to, r.options.Now())
	sent := slices.DeleteFunc(slices.Clone(cookies), func(c cookie) bool { return !crosses(c, attacks[0].method) })
	held := len(sent) == 0 // what browsers hold back
	if held {
		sent = cookies
	}
	var evidence []*answer
	var statuses []string
	for _, attack := range attacks {
		q := attack.request(to, sent)
		q.session = s.label
		a := r.client.do(ctx, q)
		if err := fatal(ctx, a.err); err != nil {
			return nil, err
		}
		if a.err != nil {
			return []Result{r.result(check, "", Inconclusive, fmt.Sprintf("%s got no answer", attack.name), control, a)}, nil
		}
		evidence = append(evidence, a)
		statuses = append(statuses, fmt.Sprint(a.status))
		how, after, err := r.loggedOut(ctx, s, a)
		if err != nil {
			return nil, err
		}
		evidence = append(evidence, after, after.backing)
		if how == "" {
			continue
		}
		if proves(after) == Unclear {
			return []Result{r.result(check, "", Inconclusive, fmt.Sprintf("after %s: %s", attack.name, how), append(evidence, control)...)}, nil
		}
		verdict, says := Finding, fmt.Sprintf("%s from another site %s", attack.name, how)
		if held {
			verdict, says = Note, says+", if a browser sent its cookies along; SameSite makes it hold them back, so that only pages of the same site can do it"
		}
		return []Result{r.result(check, "", verdict, says, append(evidence, control)...)}, nil
	}
	return []Result{r.result(check, "", Pass, "the session lives on; answered "+strings.Join(statuses, ", "), append(evidence, control)...)}, nil
}

// logoutURL is where the logout goes, without what only the session knows.
func logoutURL(q *target.Request, instance string, vars target.Vars) (*url.URL, error) {
	known := vars.Clone()
	for name := range known {
		if own(name) {
			known[name] = ""
		}
	}
	for _, name := range q.Ref().Names() {
		if _, has := known[name]; !has && own(name) {
			known[name] = "" // that an earlier step finds
		}
	}
	plain := target.Request{Line: q.Line}
	rendered, err := plain.Render(instance, known)
	if err != nil {
		return nil, err
	}
	return url.Parse(rendered.URL)
}

// crosses reports whether a browser sends a cookie along with a request that
// another site caused: with SameSite=Lax only for navigations that are GETs.
// Without SameSite some do.
func crosses(c cookie, method string) bool {
	switch sameSite(c.raw) {
	case "Strict":
		return false
	case "Lax":
		return method == http.MethodGet
	}
	return true
}

func (a attack) request(to *url.URL, cookies []cookie) request {
	header := http.Header{
		"Cookie":         {cookieHeader(cookies, func(c cookie) string { return c.value })},
		"Referer":        {attacker + "/"},
		"Accept":         {"text/html,application/xhtml+xml,*/*;q=0.8"},
		"Sec-Fetch-Site": {"cross-site"}, "Sec-Fetch-Mode": {"navigate"}, "Sec-Fetch-Dest": {"document"},
	}
	shell := header.Clone()
	shell.Set("Cookie", cookieHeader(cookies, func(c cookie) string { return mark("cookie_" + c.name) }))
	for _, h := range []http.Header{header, shell} {
		if a.method != http.MethodGet {
			h.Set("Origin", attacker)
			h.Set("Content-Type", a.kind)
		}
	}
	return request{
		role: "logout by a foreign page", artefact: "cookies", method: a.method, url: to, header: header, body: []byte(a.body),
		shell: &shellForm{url: to.String(), header: shell, body: a.body},
	}
}

// loggedOut says how an attack has logged the session out; empty if it has not. The
// answer is that which shows it.
func (r *run) loggedOut(ctx context.Context, s *session, attack *answer) (how string, after *answer, err error) {
	rt := r.on(s.instance)
	if after, err = r.try(ctx, "replay", r.together(s), rt); err != nil {
		return "", nil, err
	}
	switch proves(after) {
	case Dead:
		return "ends the session", after, nil
	case Unclear:
		return "whether the session lives cannot be told: " + after.note, after, nil
	}
	// A logout that only clears the browser is one for whoever sits before it.
	browser := s.copied()
	browser.jar.store(attack.request.url, attack.header, r.options.Now())
	if len(browser.jar.cookies) < len(s.jar.cookies) {
		left := r.together(browser)
		left.name = "what the attack leaves in the browser"
		out, err := r.try(ctx, "replay", left, rt)
		if err != nil {
			return "", nil, err
		}
		if proves(out) == Dead {
			return "takes the session's cookies out of the browser", out, nil
		}
	}
	return "", after, nil
}
