package target

import (
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
)

// Question is one question of an interview.
type Question struct {
	Text    string
	Default string // the answer of somebody who gives none; empty: there is none
	// Check says what is wrong with an answer. Nil: nothing ever is.
	Check func(answer string) error
}

// Interviewer asks a person.
type Interviewer interface {
	// Ask returns the answer without the space around it, or the default. Answers
	// that Check refuses it asks again for, or fails.
	Ask(Question) (string, error)
	// Say tells something.
	Say(text string)
	// Try logs in by a description and says whether that brought a token or cookie.
	// It tells the person what came of it. An error ends the interview.
	Try(*Target) (bool, error)
}

// Init asks for what a description needs, and returns it. Secrets are not asked
// for: they become variables of the environment.
func Init(i Interviewer) (*Draft, error) {
	v := &interview{Interviewer: i, scribe: newScribe(""), t: &Target{Limits: DefaultLimits()}}
	v.t.defaults()
	for _, part := range []func() error{v.addresses, v.login, v.logout, v.try, v.routes, v.refresh, v.others} {
		if err := part(); err != nil {
			return nil, err
		}
	}
	return v.finish(v.t)
}

type interview struct {
	Interviewer
	*scribe
	t *Target
}

// none is the answer to a question for something that there is not.
const none = "none"

// need asks for something that every application has.
func (v *interview) need(text, fallback string, check func(string) error) (string, error) {
	return v.Ask(Question{Text: text, Default: fallback, Check: func(answer string) error {
		if answer == "" || answer == none {
			return errors.New("an answer is needed")
		}
		return check(answer)
	}})
}

// may asks for something that there may not be; ok says that there is.
func (v *interview) may(text, fallback string, check func(string) error) (answer string, ok bool, err error) {
	answer, err = v.Ask(Question{Text: text, Default: fallback, Check: func(answer string) error {
		if answer == none {
			return nil
		}
		return check(answer)
	}})
	return answer, answer != none, err
}

func (v *interview) yes(text string, fallback string) (bool, error) {
	answer, err := v.Ask(Question{Text: text, Default: fallback, Check: func(answer string) error {
		if !slices.Contains([]string{"y", "yes", "n", "no"}, strings.ToLower(answer)) {
			return errors.New("yes or no?")
		}
		return nil
	}})
	return strings.HasPrefix(strings.ToLower(answer), "y"), err
}

func (v *interview) addresses() error {
	v.Say("Answer with Enter to take what stands in brackets, and with \"none\" for what the application has not.")
	_, err := v.need("Base URL of the application, and of further instances of it", "http://127.0.0.1:3000", func(answer string) error {
		var all []string
		for _, word := range words(answer) {
			u, err := parseBase(word)
			if err != nil {
				return err
			}
			all = append(all, strings.TrimSuffix(u.String(), "/"))
		}
		v.t.Instances = all
		return nil
	})
	return err
}

// words splits at commas and spaces.
func words(text string) []string {
	return strings.FieldsFunc(text, func(r rune) bool { return r == ',' || r == ' ' || r == '\t' })
}

// line checks a request line and adds its host, if it names one, to those that are
// allowed.
func (v *interview) line(method string) func(string) error {
	return func(answer string) error {
		r := v.read(method, answer)
		if u, err := url.Parse(string(r.Ref())); err == nil && u.Host != "" && u.User == nil && (u.Scheme == "http" || u.Scheme == "https") && !v.t.Allows(u) && hostPattern.MatchString(u.Host) {
			v.t.Hosts = append(v.t.Hosts, u.Host)
			v.remark("hosts: %s takes part, so requests will go there too", u.Host)
		}
		check := &validation{target: v.t}
		check.request("the request", &r)
		return errors.Join(check.errs...)
	}
}

// read takes a path alone for a request with a method.
func (v *interview) read(method, answer string) Request {
	if strings.HasPrefix(answer, "/") || absolute.MatchString(answer) {
		answer = method + " " + answer
	}
	first, rest, _ := strings.Cut(answer, " ")
	return Request{Line: Template(strings.ToUpper(first) + " " + strings.TrimSpace(rest))}
}

func (v *interview) login() error {
	answer, err := v.need("Request that logs in", "POST /login", v.line("POST"))
	if err != nil {
		return err
	}
	r := v.read("POST", answer)
	kind, err := v.Ask(Question{Text: "It takes name and password as json, form or basic", Default: "json", Check: oneOf("json", "form", "basic")})
	if err != nil {
		return err
	}
	if kind == "basic" {
		r.Basic = "{{user.name}}:{{user.password}}"
	} else if err := v.fields(&r, kind); err != nil {
		return err
	}
	v.t.Login = Steps{r}
	return nil
}

func oneOf(all ...string) func(string) error {
	return func(answer string) error {
		if !slices.Contains(all, answer) {
			return fmt.Errorf("it is one of %s", strings.Join(all, ", "))
		}
		return nil
	}
}

// fields asks how the body names what the login takes.
func (v *interview) fields(r *Request, kind string) error {
	members := map[string]Template{}
	for _, f := range []struct{ text, fallback, value string }{{"Field of the user's name", "username", "{{user.name}}"}, {"Field of the password", "password", "{{user.password}}"}} {
		name, err := v.Ask(Question{Text: f.text, Default: f.fallback, Check: fieldName})
		if err != nil {
			return err
		}
		members[string(Literal(name))] = Template(f.value)
	}
	_, _, err := v.may("Further fields, as NAME=VALUE; a secret as NAME=${VARIABLE}", none, func(answer string) error {
		for _, word := range words(answer) {
			name, value, ok := strings.Cut(word, "=")
			if _, err := Template(value).pieces(); !ok || fieldName(name) != nil || err != nil {
				return errors.New("it is NAME=VALUE")
			}
			members[string(Literal(name))] = Template(value)
		}
		return nil
	})
	fill(r, kind, members)
	return err
}

func fieldName(answer string) error {
	if answer == "" || len(answer) > 100 || !printable(answer) || strings.ContainsAny(answer, " =") {
		return errors.New("it is the name of a field")
	}
	return nil
}

// fill sends members as JSON or as a form.
func fill(r *Request, kind string, members map[string]Template) {
	if kind == "form" {
		r.Form = members
		return
	}
	object := map[string]any{}
	for name, value := range members {
		object[name] = string(value)
	}
	r.JSON = object
}

func (v *interview) logout() error {
	answer, ok, err := v.may("Request that logs out", "POST /logout", v.line("POST"))
	if err != nil || !ok {
		return err
	}
	r := v.read("POST", answer)
	if err := v.refreshField(&r, "Field in which the logout takes the refresh token", none); err != nil {
		return err
	}
	v.t.Logout = Steps{r}
	return nil
}

// refreshField asks whether and how a request takes the refresh token.
func (v *interview) refreshField(r *Request, text, fallback string) error {
	if r.Method() == "GET" {
		return nil
	}
	name, ok, err := v.may(text, fallback, fieldName)
	if err == nil && ok {
		fill(r, "json", map[string]Template{string(Literal(name)): "{{refresh_token}}"})
	}
	return err
}

// try logs in once if that is wanted, and asks where the token is if it was not
// found.
func (v *interview) try() error {
	want, err := v.yes("Log in once now, to see what it brings?", "no")
	if err != nil {
		return err
	}
	for want {
		draft := *v.t
		draft.Users = []User{{"name": v.name, "password": v.secret}}
		draft.Protected = []Request{Get("/")}
		found, err := v.Try(&draft)
		if err != nil {
			return err
		}
		if found {
			break
		}
		if want, err = v.yes("Once more?", "no"); err != nil {
			return err
		}
	}
	v.Say("Tokens are found under their usual names, as access_token, token or refresh_token, and cookies anyway.")
	_, _, err = v.may("If not so: where is the access token in the answer to the login? /pointer into JSON, header NAME or cookie NAME", none, func(answer string) error {
		f, err := finderOf(answer)
		if err == nil {
			v.t.Login[0].Finds = map[string]Finder{"access_token": f}
		}
		return err
	})
	if err != nil || v.t.Login[0].Finds == nil {
		return err
	}
	_, _, err = v.may("And the refresh token?", none, func(answer string) error {
		f, err := finderOf(answer)
		if err == nil {
			v.t.Login[0].Finds["refresh_token"] = f
		}
		return err
	})
	return err
}

func finderOf(answer string) (Finder, error) {
	kind, name, named := strings.Cut(answer, " ")
	switch {
	case strings.HasPrefix(answer, "/") && !named:
		return Finder{JSON: answer}, nil
	case named && kind == "header" && fieldPattern.MatchString(name):
		return Finder{Header: name}, nil
	case named && kind == "cookie" && fieldPattern.MatchString(name):
		return Finder{Cookie: name}, nil
	}
	return Finder{}, errors.New("it is as /data/token, header X-Token or cookie token")
}

func (v *interview) routes() error {
	_, err := v.need("Paths that need a login, a few different ones", "/me", func(answer string) error {
		var all []Request
		for _, word := range words(answer) {
			if strings.EqualFold(word, "GET") {
				continue
			}
			if err := v.line("GET")(word); err != nil {
				return err
			}
			all = append(all, v.read("GET", word))
		}
		if len(all) == 0 {
			return errors.New("without one nothing tells a living token from a dead one")
		}
		v.t.Protected = all
		return nil
	})
	if err != nil {
		return err
	}
	answer, ok, err := v.may("Which of them answers in JSON who is logged in, and where? As /me /subject", none, func(answer string) error {
		path, pointer, _ := strings.Cut(answer, " ")
		if !strings.HasPrefix(pointer, "/") {
			return errors.New("it is a path, a space, and a JSON pointer")
		}
		return v.line("GET")(path)
	})
	if err != nil || !ok {
		return err
	}
	path, pointer, _ := strings.Cut(answer, " ")
	v.t.Identity = &Identity{Request: v.read("GET", path), Find: Finder{JSON: pointer}}
	return nil
}

func (v *interview) refresh() error {
	answer, ok, err := v.may("Request that refreshes the tokens", none, v.line("POST"))
	if err != nil || !ok {
		return err
	}
	r := v.read("POST", answer)
	if err := v.refreshField(&r, "Field in which it takes the refresh token; none if that is a cookie", "refresh_token"); err != nil {
		return err
	}
	v.t.Refresh = Steps{r}
	return nil
}

func (v *interview) others() error {
	answer, ok, err := v.may("Request that ends all sessions of the user", none, v.line("POST"))
	if err != nil {
		return err
	}
	if ok {
		v.t.LogoutAll = Steps{v.read("POST", answer)}
	}
	_, _, err = v.may("Path of a WebSocket, or of server-sent events as \"sse /events\"", none, func(answer string) error {
		s := Socket{WebSocket: Template(answer)}
		if path, sse := strings.CutPrefix(answer, "sse "); sse {
			s = Socket{SSE: Template(strings.TrimSpace(path))}
		}
		check := &validation{target: v.t}
		if check.ref("the socket", s.WebSocket+s.SSE); check.errs == nil {
			v.t.Sockets = []Socket{s}
		}
		return errors.Join(check.errs...)
	})
	if err != nil {
		return err
	}
	second, err := v.yes("Is there a second account, whose sessions have to live on?", "no")
	if err != nil {
		return err
	}
	v.t.Users = []User{{}}
	if second {
		v.t.Users = append(v.t.Users, User{"name": "${PROBE_USER_2}", "password": "${PROBE_PASSWORD_2}"})
	}
	return nil
}
