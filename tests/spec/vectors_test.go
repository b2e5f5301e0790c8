// Package spec runs the vectors and scripts of spec/ against the server, against
// package client, and against one small guarded application for each language.
// spec/README.md has their format.
package spec

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
)

const folder = "../../spec"

// suite is one file of spec/.
type suite struct {
	About   string            `json:"about"`
	Kind    string            `json:"kind"`
	Replies map[string]reply  `json:"replies"`
	Expects map[string]expect `json:"expects"`
	Scripts []script          `json:"scripts"`
	Vectors []vector          `json:"vectors"`
	file    string
}

// script is a conversation with an application or with the server. One step may
// stand in the script itself.
type script struct {
	Name  string           `json:"name"`
	Why   string           `json:"why"`
	App   app              `json:"app"`
	Needs []string         `json:"needs"`
	Wire  map[string]named `json:"wire"`
	Steps []step           `json:"steps"`
	step
}

func (s *script) steps() []step {
	if len(s.Steps) > 0 {
		return s.Steps
	}
	return []step{s.step}
}

// app is how the guarded application is started.
type app struct {
	Client   string          `json:"client,omitempty"`
	Audience string          `json:"audience"`
	Cookies  json.RawMessage `json:"cookies"` // null, true, or an object of options
	Timeout  int             `json:"timeout_ms"`
}

// step is a request and what comes back; or time that goes by.
type step struct {
	Advance int               `json:"advance"` // seconds of the server's clock
	Wire    map[string]named  `json:"wire"`
	To      string            `json:"to"` // "server"; default: what the suite is about
	Request *request          `json:"request"`
	Expect  expectation       `json:"expect"`
	Capture map[string]string `json:"capture"`
}

type request struct {
	Method  string           `json:"method"`
	Path    text             `json:"path"`
	Headers [][2]text        `json:"headers"`
	Basic   []text           `json:"basic"` // id and secret, form-encoded by the runner
	Body    text             `json:"body"`
	JSON    any              `json:"json"`
	Form    *json.RawMessage `json:"form"` // an object
}

type expect struct {
	Status  statuses       `json:"status"`
	Headers map[string]any `json:"headers"`
	JSON    any            `json:"json"`    // exactly
	Members map[string]any `json:"members"` // among others
	Absent  []string       `json:"absent"`  // members that are not there
	Body    *string        `json:"body"`
	Cookies *[]string      `json:"cookies"` // every Set-Cookie; * stands for anything but a semicolon
	Wire    *[]string      `json:"wire"`    // calls at the wire, in any order
	Within  int            `json:"within_ms"`
}

// expectation may name one of the file's, and add to it.
type expectation struct {
	Is string `json:"is"`
	expect
}

func (e *expectation) UnmarshalJSON(b []byte) error {
	if len(b) > 0 && b[0] == '"' {
		return json.Unmarshal(b, &e.Is)
	}
	type plain expectation
	return strict(b, (*plain)(e))
}

func (s *suite) resolve(e expectation) (expect, error) {
	if e.Is == "" {
		return e.expect, nil
	}
	base, ok := s.Expects[e.Is]
	if !ok {
		return base, fmt.Errorf("there is no expectation %q", e.Is)
	}
	to, from := reflect.ValueOf(&base).Elem(), reflect.ValueOf(e.expect)
	for i := range from.NumField() {
		if !from.Field(i).IsZero() {
			to.Field(i).Set(from.Field(i))
		}
	}
	return base, nil
}

// statuses is one status or a list of those that will do.
type statuses []int

func (s *statuses) UnmarshalJSON(b []byte) error {
	if len(b) > 0 && b[0] == '[' {
		return json.Unmarshal(b, (*[]int)(s))
	}
	*s = make(statuses, 1)
	return json.Unmarshal(b, &(*s)[0])
}

// text is a string, or parts to be joined: strings, {"repeat": [string, n]}, and
// {"latin1": string}, each character of which is one byte.
type text string

func (t *text) UnmarshalJSON(b []byte) error {
	switch {
	case len(b) > 0 && b[0] == '[':
		var parts []text
		if err := json.Unmarshal(b, &parts); err != nil {
			return err
		}
		for _, p := range parts {
			*t += p
		}
		return nil
	case len(b) > 0 && b[0] == '{':
		var r struct {
			Repeat []any   `json:"repeat"`
			Latin1 *string `json:"latin1"`
		}
		if err := strict(b, &r); err != nil {
			return err
		}
		if r.Latin1 != nil {
			for _, c := range *r.Latin1 {
				*t += text([]byte{byte(c)})
			}
			return nil
		}
		if len(r.Repeat) != 2 {
			return fmt.Errorf("repeat takes a string and a number")
		}
		s, ok1 := r.Repeat[0].(string)
		n, ok2 := r.Repeat[1].(float64)
		if !ok1 || !ok2 {
			return fmt.Errorf("repeat takes a string and a number")
		}
		*t = text(strings.Repeat(s, int(n)))
		return nil
	}
	return json.Unmarshal(b, (*string)(t))
}

// reply is what the wire answers in the server's place.
type reply struct {
	Status  int               `json:"status"`  // default 200
	Headers map[string]string `json:"headers"` // default Content-Type: application/json; "" leaves one out
	Twice   [][2]string       `json:"twice"`   // more headers, for those that come twice
	JSON    json.RawMessage   `json:"json"`    // the body, as it stands here
	Body    *text             `json:"body"`    // or as text
	Bytes   []byte            `json:"bytes"`   // or base64
	Pad     int               `json:"pad"`     // spaces behind the body
	Raw     *text             `json:"raw"`     // instead of all of the above
	End     string            `json:"end"`     // "hang": the connection stays open and silent; "drip": one more byte every 50 ms
	Real    bool              `json:"real"`    // the real server answers
}

// bytes is what goes over the wire.
func (r *reply) bytes() []byte {
	if r.Raw != nil {
		return []byte(*r.Raw)
	}
	body := append(bytes.Clone(r.JSON), r.Bytes...)
	if r.Body != nil {
		body = append(body, *r.Body...)
	}
	body = append(body, strings.Repeat(" ", r.Pad)...)
	status := r.Status
	if status == 0 {
		status = 200
	}
	var b bytes.Buffer
	fmt.Fprintf(&b, "HTTP/1.1 %d X\r\n", status)
	head := map[string]string{"Content-Type": "application/json", "Content-Length": fmt.Sprint(len(body)), "Connection": "close"}
	for name, value := range r.Headers {
		head[name] = value
	}
	for name, value := range head {
		if value != "" {
			fmt.Fprintf(&b, "%s: %s\r\n", name, value)
		}
	}
	for _, h := range r.Twice {
		fmt.Fprintf(&b, "%s: %s\r\n", h[0], h[1])
	}
	return append(append(b.Bytes(), "\r\n"...), body...)
}

// named is a reply, or the name of one of the file's.
type named struct {
	name  string
	reply reply
}

func (n *named) UnmarshalJSON(b []byte) error {
	if len(b) > 0 && b[0] == '"' {
		return json.Unmarshal(b, &n.name)
	}
	return strict(b, &n.reply)
}

func (s *suite) reply(n named) (reply, error) {
	if n.name == "" {
		return n.reply, nil
	}
	if n.name == "real" {
		return reply{Real: true}, nil
	}
	r, ok := s.Replies[n.name]
	if !ok {
		return r, fmt.Errorf("there is no reply %q", n.name)
	}
	return r, nil
}

// strict refuses members that nobody reads: a misspelt one would check nothing.
func strict(b []byte, v any) error {
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	return d.Decode(v)
}

// load reads the files of one kind.
func load(t *testing.T, kind string) []*suite {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(folder, "*.json"))
	if err != nil {
		t.Fatal(err)
	}
	var found []*suite
	for _, file := range files {
		b, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		s := &suite{file: strings.TrimSuffix(filepath.Base(file), ".json")}
		if err := strict(b, s); err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		switch s.Kind {
		case "client", "application", "server":
		default:
			t.Fatalf("%s: unknown kind %q", file, s.Kind)
		}
		if s.Kind == kind {
			found = append(found, s)
		}
	}
	if len(found) == 0 {
		t.Fatalf("no file of kind %s", kind)
	}
	return found
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// vector is one call of a client, and what it makes of the answer.
type vector struct {
	Name   string   `json:"name"`
	Why    string   `json:"why"`
	Calls  []string `json:"calls"` // default: check
	Client struct {
		ID       text   `json:"id"`
		Secret   text   `json:"secret"`
		Audience string `json:"audience"`
	} `json:"client"`
	Want struct {
		Scope       string   `json:"scope"`
		Audience    []string `json:"audience"`
		AnyAudience bool     `json:"any_audience"`
	} `json:"want"`
	Token   *text          `json:"token"`
	Session *text          `json:"session"`
	Reply   named          `json:"reply"`
	Outcome string         `json:"outcome"`
	Access  map[string]any `json:"access"`
	Sent    *int           `json:"sent"`

	// What stands in the Authorization header: a text, null for none, or id and
	// secret, however they are encoded.
	Authorization json.RawMessage `json:"authorization"`
}
