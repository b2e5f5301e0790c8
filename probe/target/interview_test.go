package target

import (
	"errors"
	"strings"
	"testing"
)

// answers is somebody who answers questions by how they begin, and tries a wrong
// answer first where there is one.
type answers struct {
	t     *testing.T
	given map[string][]string
	tries []bool // what each login comes to
	tried int
	asked []string
}

func (a *answers) Ask(q Question) (string, error) {
	a.asked = append(a.asked, q.Text)
	for begin, all := range a.given {
		if !strings.HasPrefix(q.Text, begin) {
			continue
		}
		for i, answer := range all {
			err := q.Check(answer)
			if last := i == len(all)-1; last != (err == nil) {
				a.t.Errorf("%s: %q: %v", q.Text, answer, err)
			}
		}
		return all[len(all)-1], nil
	}
	if q.Default == "" {
		return "", errors.New("there is no answer to: " + q.Text)
	}
	return q.Default, q.Check(q.Default)
}

func (a *answers) Say(string) {}

func (a *answers) Try(d *Target) (bool, error) {
	if err := d.Validate(); err != nil {
		a.t.Errorf("what is tried does not hold: %v", err)
	}
	a.tried++
	return a.tries[a.tried-1], nil
}

func TestAnswersBecomeADescription(t *testing.T) {
	for _, c := range []struct {
		name  string
		given map[string][]string
		tries []bool
		want  string
	}{
		{"only what is usual", map[string][]string{}, nil, `instances:
  - http://127.0.0.1:3000
users:
  - name: ${PROBE_USER}
    password: ${PROBE_PASSWORD}
login:
  request: POST /login
  json:
    password: "{{user.password}}"
    username: "{{user.name}}"
protected:
  - GET /me
logout: POST /logout
`},
		{"everything", map[string][]string{
			"Base URL":            {"", "none", "ftp://x", "http://a:b@h", "http://127.0.0.1:1/app/, http://127.0.0.1:2"},
			"Request that logs i": {"none", "", "login", "PUT https://auth.example.org/in"},
			"It takes":            {"xml", "form"},
			"Field of the user":   {"", "a b", "email"},
			"Further":             {"x", "=y", "a={{", "client=web secret=${CLIENT_SECRET}"},
			"Request that logs o": {"log out", "delete /session"},
			"Field in which the":  {"", "token"},
			"Log in once":         {"maybe", "yes"},
			"Once more":           {"y"},
			"If not so":           {"token", "/a b", "header X-Token"},
			"And the refresh":     {"cookie rt"},
			"Paths":               {"", "none", "me", "//evil.example.org/", "GET /me, /notes?page=1"},
			"Which":               {"/me", "/me sub", "/me /sub"},
			"Request that r":      {"/refresh"},
			"Field in which it":   {"none"},
			"Request that e":      {"/logout-all"},
			"Path of":             {"ws", "sse /events"},
			"Is there":            {"y"},
		}, []bool{false, true}, `instances:
  - http://127.0.0.1:1/app
  - http://127.0.0.1:2
hosts:
  - auth.example.org
users:
  - name: ${PROBE_USER}
    password: ${PROBE_PASSWORD}
  - name: ${PROBE_USER_2}
    password: ${PROBE_PASSWORD_2}
login:
  request: PUT https://auth.example.org/in
  form:
    client: web
    email: "{{user.name}}"
    password: "{{user.password}}"
    secret: ${CLIENT_SECRET}
  find:
    access_token:
      header: X-Token
    refresh_token:
      cookie: rt
protected:
  - GET /me
  - GET /notes?page=1
identity:
  request: GET /me
  find:
    json: /sub
refresh: POST /refresh
logout:
  request: DELETE /session
  json:
    token: "{{refresh_token}}"
logout_all: POST /logout-all
sockets:
  - sse: /events
`},
		{"no logout, and Basic", map[string][]string{"It takes": {"basic"}, "Request that logs o": {"none"}}, nil, `instances:
  - http://127.0.0.1:3000
users:
  - name: ${PROBE_USER}
    password: ${PROBE_PASSWORD}
login:
  request: POST /login
  basic: "{{user.name}}:{{user.password}}"
protected:
  - GET /me
`},
	} {
		t.Run(c.name, func(t *testing.T) {
			a := &answers{t: t, given: c.given, tries: c.tries}
			d, err := Init(a)
			if err != nil {
				t.Fatal(err)
			}
			text, err := Marshal(d.Target)
			if err != nil {
				t.Fatal(err)
			}
			if string(text) != c.want {
				t.Errorf("got\n%s\nwant\n%s", text, c.want)
			}
			if a.tried != len(c.tries) {
				t.Errorf("tried %d times, want %d", a.tried, len(c.tries))
			}
			drafted(t, d, nil)
		})
	}
}
