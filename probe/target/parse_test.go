package target

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"log/slog"
	"reflect"
	"strings"
	"testing"
)

const notes = `
name: notes
instances: [http://127.0.0.1:3000, "${SECOND}"]
hosts: [auth.example.org]
users:
  - {name: ada, password: "${ADA_PASSWORD}", new_password: "${ADA_NEW_PASSWORD}"}
  - {name: alan, password: "${ALAN_PASSWORD}"}
login:
  request: POST /login
  json: {user: "{{user.name}}", password: "{{user.password}}", device: {id: 7, tags: [a, "{{random}}"]}}
  expect: [200, 3xx]
  find:
    access_token: {json: /access_token}
    refresh_token: {json: /refresh_token}
    csrf: {cookie: csrf}
present:
  headers: {Authorization: "Bearer {{access_token}}", X-CSRF: "{{csrf}}"}
  cookies: true
protected:
  - GET /api/me
  - {request: GET /api/notes, expect: 200}
identity: {request: GET /api/me, find: {json: /subject}}
refresh: {request: POST https://auth.example.org/refresh, json: {refresh_token: "{{refresh_token}}"}}
logout:
  - {request: GET /logout, find: {form: {pattern: 'name="xsrf" value="([^"]+)'}}}
  - {request: POST /logout, form: {xsrf: "{{form}}"}}
logout_all: POST /logout-all
change_password: {request: POST /password, json: {old: "{{user.password}}", new: "{{user.new_password}}"}, restore: {request: POST /password/back}}
sockets: [{websocket: /ws, send: ping, every: 2s}, {sse: /events}]
allow: {methods: [GET, HEAD, POST]}
limits: {requests: 100, per_second: 5, body: 64KiB}
delays: [0s, 50ms]
`

func env(pairs ...string) func(string) (string, bool) {
	return func(name string) (string, bool) {
		for i := 0; i < len(pairs); i += 2 {
			if pairs[i] == name {
				return pairs[i+1], true
			}
		}
		return "", false
	}
}

var notesEnv = env("SECOND", "http://127.0.0.1:3001", "ADA_PASSWORD", "pw-ada-s3cret", "ADA_NEW_PASSWORD", "pw-new-s3cret", "ALAN_PASSWORD", "pw-alan-s3cret")

// What is parsed, written and parsed again is the same description.
func TestMarshalledDescriptionParsesToTheSame(t *testing.T) {
	first, err := Parse([]byte(notes), notesEnv)
	if err != nil {
		t.Fatal(err)
	}
	text, err := Marshal(first)
	if err != nil {
		t.Fatal(err)
	}
	second, err := Parse(text, notesEnv)
	if err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	first.environment, second.environment = nil, nil
	if !reflect.DeepEqual(first, second) {
		t.Errorf("got\n%+v\nwant\n%+v", second, first)
	}
}

// No printed form of a description or its variables holds a secret.
func TestNoSecretIsEverPrinted(t *testing.T) {
	d, err := Parse([]byte(notes), notesEnv)
	if err != nil {
		t.Fatal(err)
	}
	vars := d.Vars(d.Users[0])
	if got := vars["user.password"].Reveal(); got != "pw-ada-s3cret" {
		t.Fatalf("user.password is %q", got)
	}
	sent, err := d.Login[0].Render(d.Instances[0], vars)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(sent.Body), "pw-ada-s3cret") {
		t.Fatalf("the login does not hold the password: %s", sent.Body)
	}
	var logged bytes.Buffer
	logger := slog.New(slog.NewJSONHandler(&logged, nil))
	for _, value := range []any{d, *d, vars, d.Secrets(), sent, &sent} {
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
			fmt.Fprintf(&logged, verb+"\n", value)
		}
		logger.Info("printed", "value", value)
		if asJSON, err := json.Marshal(value); err == nil {
			logged.Write(asJSON)
		}
	}
	text, err := Marshal(d)
	if err != nil {
		t.Fatal(err)
	}
	logged.Write(text)
	for _, secret := range []string{"s3cret", fmt.Sprintf("%x", "s3cret"), base64.StdEncoding.EncodeToString([]byte("pw-ada-s3cret"))} {
		if strings.Contains(logged.String(), secret) {
			t.Errorf("%q is in what was printed:\n%s", secret, logged.String())
		}
	}
}

// Text that looks like a number stays what it is.
func TestValuesAreReadAsTheyAreWritten(t *testing.T) {
	d, err := Parse([]byte(`
instances: [http://127.0.0.1:1]
users: [{name: 007, password: 0123, a: 1e3, b: true, c: 2026-11-20, d: 1_000, e: 12345678901234567890123, f: 1.50, g: 0x1F, h: "", i: 'x: y', j: .5, k: no}]
login:
  request: POST /login
  headers: {X-Pin: 0042}
  body: |
    line {{user.password}}
    more
protected: [GET /me]
`), nil)
	if err != nil {
		t.Fatal(err)
	}
	want := User{"name": "007", "password": "0123", "a": "1e3", "b": "true", "c": "2026-11-20", "d": "1_000", "e": "12345678901234567890123", "f": "1.50", "g": "0x1F", "h": "", "i": "x: y", "j": ".5", "k": "no"}
	if !reflect.DeepEqual(d.Users[0], want) {
		t.Errorf("got %q, want %q", d.Users[0], want)
	}
	sent, err := d.Login[0].Render(d.Instances[0], d.Vars(d.Users[0]))
	if err != nil || string(sent.Body) != "line 0123\nmore\n" || sent.Header.Get("X-Pin") != "0042" {
		t.Errorf("%q %q %v", sent.Body, sent.Header, err)
	}
	again(t, d)
	for value, says := range map[string]string{"[x]": "[4:", "{a: b}": "[4:", "~": "has no password", "null": "has no password", "": "has no password"} {
		_, err := Parse([]byte("instances: [http://127.0.0.1:1]\nusers:\n  - name: ada\n    password: "+value+"\nlogin: {request: POST /login, form: {p: '{{user.password}}'}}\nprotected: [GET /me]\n"), nil)
		if err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("password: %s: %v, want %q", value, err, says)
		}
	}
}
