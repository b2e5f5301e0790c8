package target

import (
	"errors"
	"net/url"
	"slices"
	"strings"
)

// logIn finds the operation that takes a password, or the token endpoint of an
// OAuth scheme that does.
func (d *documented) logIn(t *Target) error {
	var best *operation
	most := 0
	for _, o := range d.all {
		score := 0
		for _, p := range o.properties() {
			if name := plain(p.name); passwordField.MatchString(name) && !newPassword.MatchString(name) {
				score = 3
			}
		}
		_, token := Places(o.answer())["access_token"]
		switch p := o.purpose(); {
		case score == 0, p == forLogout, p == forPassword, p == forRefresh:
			continue
		case p == forLogin, o.method == "GET" && purposeOf("POST", o.path, o.id()) == forLogin:
			score += 2
		case !token:
			continue // it makes a user, most likely
		}
		if token {
			score++
		}
		if o.secured == nil {
			score++
		}
		if score > most {
			best, most = o, score
		}
	}
	if best != nil {
		r := d.request(best, true)
		d.finds(&r, best)
		t.Login = Steps{r}
		return nil
	}
	var wrong error
	d.schemes().members(func(name string, scheme node) {
		endpoint := or(scheme.get("flows", "password", "tokenUrl"), node{})
		if scheme.get("flow").text() == "password" {
			endpoint = scheme.get("tokenUrl")
		}
		if endpoint.text() == "" || t.Login != nil {
			return
		}
		ref, err := d.endpoint(endpoint.text())
		if err != nil {
			wrong = err
			return
		}
		t.Login = Steps{{Line: "POST " + ref, Form: map[string]Template{"grant_type": "password", "username": "{{user.name}}", "password": "{{user.password}}"}}}
		d.remark("login: taken from the OAuth scheme %s; add client_id if the server asks for it", name)
	})
	if t.Login == nil {
		t.Login = d.undocumentedLogin()
	}
	switch {
	case t.Login != nil:
		return nil
	case wrong != nil:
		return wrong
	}
	return errors.New("no operation of the document takes a password and looks like a login: write the description with rescind probe init, or record a login (HAR)")
}

// undocumentedLogin is a login whose body the document leaves out, as frameworks do
// that check it in a filter. It most likely takes what the registration does.
func (d *documented) undocumentedLogin() Steps {
	user, rank := "username", -1
	var login *operation
	for _, o := range d.all {
		members := o.properties()
		if login == nil && o.method == "POST" && len(members) == 0 && o.purpose() == forLogin && strings.Contains(plain(o.path), "log") {
			login = o
		}
		for _, p := range members {
			if r := userRank(plain(p.name)); r > rank && slices.ContainsFunc(members, func(p property) bool { return plain(p.name) == "password" }) {
				user, rank = p.name, r
			}
		}
	}
	if login == nil {
		return nil
	}
	r := d.request(login, true)
	r.JSON = map[string]any{string(Literal(user)): "{{user.name}}", "password": "{{user.password}}"}
	d.finds(&r, login)
	d.remark("login: the document does not say what %s takes; %q and \"password\" are assumed", login.label(), user)
	return Steps{r}
}

// schemes are the security schemes, wherever the version has them.
func (d *documented) schemes() node {
	return or(d.root.get("components", "securitySchemes"), d.root.get("securityDefinitions"))
}

// endpoint writes an address of a document relative to the instance, if it is on it.
func (d *documented) endpoint(ref string) (Template, error) {
	base, err := url.Parse(d.base + "/")
	if err != nil {
		return "", err
	}
	u, err := base.Parse(ref)
	if err != nil || u.Host == "" || u.User != nil || !hostPattern.MatchString(u.Host) || u.Scheme != "http" && u.Scheme != "https" {
		return "", errors.New("an address in the document's security schemes is no URL")
	}
	return d.address(&exchange{method: "POST", url: u}, 0), nil
}

// finds says where the answer to the login has its token, if that is not where
// it is looked for anyway.
func (d *documented) finds(r *Request, o *operation) {
	answer := o.answer()
	places := Places(answer)
	if _, known := places["access_token"]; known || answer.Body == nil {
		if answer.Body == nil {
			d.remark("login: the document does not say what it answers; tokens are looked for under their usual names, and all cookies are kept")
		}
		return
	}
	document, err := decodeJSON(answer.Body)
	if err != nil {
		return
	}
	pointers("", "", document, 0, func(pointer, name, _ string, text bool) {
		kind := plain(name)
		if _, taken := places["access_token"]; !taken && text && strings.Contains(kind, "token") && !strings.Contains(kind, "refresh") && kind != "tokentype" && !strings.Contains(kind, "expir") {
			places["access_token"] = Finder{JSON: pointer}
		}
	})
	if _, found := places["access_token"]; found {
		r.Finds = places
	}
}
