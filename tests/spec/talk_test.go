package spec

import (
	"bufio"
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
)

// answer is a whole HTTP answer.
type answer struct {
	status int
	header http.Header
	body   []byte
	json   any // nil if it is none
	took   time.Duration
}

// talk is one script under way.
type talk struct {
	t      *testing.T
	suite  *suite
	vars   map[string]string
	app    string // host:port
	server string
	wire   *wire // nil in a script about the server
	clock  *clock
}

func (k *talk) run(s *script) {
	k.t.Helper()
	for i, st := range s.steps() {
		if !k.step(s, &st) {
			k.t.Errorf("  at step %d of %q", i+1, s.Name)
			return
		}
	}
}

func (k *talk) step(s *script, st *step) bool {
	k.t.Helper()
	if st.Advance > 0 {
		k.clock.advance(time.Duration(st.Advance) * time.Second)
	}
	if st.Request == nil {
		return true
	}
	if k.wire != nil {
		k.wire.play(k.t, k.suite, s.Wire, st.Wire)
	}
	want, err := k.suite.resolve(st.Expect)
	must(k.t, err)
	to := k.app
	if st.To == "server" || to == "" {
		to = k.server
	}
	a, err := send(to, k.bytes(st.Request), st.Request.Method)
	if err != nil {
		k.t.Errorf("%s %.60s: %v", st.Request.Method, st.Request.Path, err)
		return false
	}
	ok := k.check(&want, a)
	for name, from := range st.Capture {
		value, found := a.find(from)
		if !found {
			k.t.Errorf("%s: nothing to capture at %s", name, from)
			ok = false
		}
		k.vars[name] = value
	}
	if !ok {
		k.t.Logf("%s %.200s answered %d %v\n%.600s", st.Request.Method, st.Request.Path, a.status, a.header, a.body)
	}
	return ok
}

var variable = regexp.MustCompile(`\$\{([A-Za-z0-9_-]+)(?::(\w+))?\}`)

// fill puts captured values in: ${name}, or ${name:form} percent-encoded.
func (k *talk) fill(s string) string {
	return variable.ReplaceAllStringFunc(s, func(m string) string {
		part := variable.FindStringSubmatch(m)
		v, ok := k.vars[part[1]]
		if !ok {
			k.t.Fatalf("there is no value %s", m)
		}
		switch part[2] {
		case "form":
			return url.QueryEscape(v)
		case "swapcase": // another token of the same length
			return strings.Map(func(r rune) rune {
				switch {
				case 'a' <= r && r <= 'z':
					return r - 'a' + 'A'
				case 'A' <= r && r <= 'Z':
					return r - 'A' + 'a'
				}
				return r
			}, v)
		case "cut":
			return v[:len(v)-1]
		}
		return v
	})
}

func (k *talk) fillAll(v any) any {
	switch v := v.(type) {
	case string:
		return k.fill(v)
	case []any:
		out := make([]any, len(v))
		for i := range v {
			out[i] = k.fillAll(v[i])
		}
		return out
	case map[string]any:
		out := map[string]any{}
		for name := range v {
			out[k.fill(name)] = k.fillAll(v[name])
		}
		return out
	}
	return v
}

// bytes is a request as it goes over the wire, byte for byte.
func (k *talk) bytes(r *request) []byte {
	k.t.Helper()
	var head bytes.Buffer
	body := k.fill(string(r.Body))
	fmt.Fprintf(&head, "%s %s HTTP/1.1\r\n", r.Method, k.fill(string(r.Path)))
	names := map[string]bool{}
	add := func(name, value string) { fmt.Fprintf(&head, "%s: %s\r\n", name, value) }
	for _, h := range r.Headers {
		name := k.fill(string(h[0]))
		names[strings.ToLower(name)] = true
		add(name, k.fill(string(h[1])))
	}
	once := func(name, value string) {
		if !names[strings.ToLower(name)] {
			add(name, value)
		}
	}
	switch {
	case r.JSON != nil:
		b, err := json.Marshal(k.fillAll(r.JSON))
		must(k.t, err)
		body = string(b)
		once("Content-Type", "application/json")
	case r.Form != nil:
		var pairs map[string]text
		must(k.t, json.Unmarshal(*r.Form, &pairs))
		form := url.Values{}
		for name, value := range pairs {
			form.Set(name, k.fill(string(value)))
		}
		body = form.Encode()
		once("Content-Type", "application/x-www-form-urlencoded")
	}
	if len(r.Basic) == 2 {
		both := url.QueryEscape(k.fill(string(r.Basic[0]))) + ":" + url.QueryEscape(k.fill(string(r.Basic[1])))
		add("Authorization", "Basic "+base64.StdEncoding.EncodeToString([]byte(both)))
	}
	host := k.app
	if host == "" {
		host = k.server
	}
	once("Host", host)
	once("Connection", "close")
	if (body != "" || r.Method == "POST") && !names["transfer-encoding"] {
		once("Content-Length", fmt.Sprint(len(body)))
	}
	head.WriteString("\r\n")
	return append(head.Bytes(), body...)
}

// send sends raw bytes and reads one answer.
func send(addr string, raw []byte, method string) (*answer, error) {
	started := time.Now()
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	if err := conn.SetDeadline(started.Add(time.Minute)); err != nil {
		return nil, err
	}
	// A server may answer before it has read everything.
	go func() { _, _ = conn.Write(raw) }()
	res, err := http.ReadResponse(bufio.NewReader(conn), &http.Request{Method: method})
	if err != nil {
		return nil, err
	}
	a := &answer{status: res.StatusCode, header: res.Header, took: time.Since(started)}
	if a.body, err = io.ReadAll(res.Body); err != nil {
		return nil, err
	}
	if json.Unmarshal(a.body, &a.json) != nil {
		a.json = nil
	}
	return a, nil
}

// find returns a value of the answer: "json:name", "cookie:name" or "header:name".
func (a *answer) find(from string) (string, bool) {
	kind, name, _ := strings.Cut(from, ":")
	switch kind {
	case "json":
		members, _ := a.json.(map[string]any)
		v, ok := members[name].(string)
		return v, ok
	case "cookie":
		for _, c := range (&http.Response{Header: a.header}).Cookies() {
			if c.Name == name {
				return c.Value, true
			}
		}
	case "header":
		v := a.header.Get(name)
		return v, v != ""
	}
	return "", false
}

// check compares an answer with what is wanted of it.
func (k *talk) check(w *expect, a *answer) bool {
	k.t.Helper()
	ok := true
	fail := func(format string, args ...any) {
		k.t.Helper()
		ok = false
		k.t.Errorf(format, args...)
	}
	if !slices.Contains(w.Status, a.status) {
		fail("status %d, want %v", a.status, w.Status)
	}
	for name, want := range w.Headers {
		got := a.header.Values(name)
		switch want := k.fillAll(want).(type) {
		case nil:
			if len(got) > 0 {
				fail("%s is %q, want none", name, got)
			}
		case string:
			if len(got) != 1 || got[0] != want {
				fail("%s is %q\nwant [%q]", name, got, want)
			}
		case map[string]any:
			if has, _ := want["has"].(string); has == "" || len(got) != 1 || !strings.Contains(got[0], has) {
				fail("%s is %q, want something with %q", name, got, has)
			}
		default:
			k.t.Fatalf("%s: %v is no expectation", name, want)
		}
	}
	if w.JSON != nil {
		if want := k.fillAll(w.JSON); !reflect.DeepEqual(a.json, want) {
			fail("the body is %.300s\nwant %v", a.body, want)
		}
	}
	members, _ := a.json.(map[string]any)
	for name, want := range w.Members {
		want = k.fillAll(want)
		got, there := members[name]
		if want == "*" && there && got != nil && got != "" {
			continue
		}
		if !there || !reflect.DeepEqual(got, want) {
			fail("the member %s is %v, want %v", name, got, want)
		}
	}
	for _, name := range w.Absent {
		if _, there := members[name]; there {
			fail("there is a member %s", name)
		}
	}
	if w.Body != nil && string(a.body) != k.fill(*w.Body) {
		fail("the body is %.300q, want %q", a.body, *w.Body)
	}
	if w.Cookies != nil {
		k.cookies(*w.Cookies, a.header.Values("Set-Cookie"), fail)
	}
	if w.Wire != nil && k.wire != nil {
		want := slices.Sorted(slices.Values(*w.Wire))
		if got := k.wire.heard(); !slices.Equal(got, want) {
			fail("calls at the wire: %q, want %q", got, want)
		}
	}
	if w.Within > 0 && a.took > time.Duration(w.Within)*time.Millisecond {
		fail("it took %v, want %d ms at most", a.took, w.Within)
	}
	// No answer shows why, or what somebody else may use.
	for name, secret := range k.vars {
		if strings.HasPrefix(name, "secret_") && bytes.Contains(a.body, []byte(secret)) {
			fail("the answer holds %s", name)
		}
	}
	return ok
}

func (k *talk) cookies(want, got []string, fail func(string, ...any)) {
	k.t.Helper()
	if len(got) != len(want) {
		fail("cookies are set: %q, want %q", got, want)
		return
	}
	for i, line := range want {
		pattern := strings.ReplaceAll(regexp.QuoteMeta(line), `\*`, `[^;]*`)
		if !regexp.MustCompile("^" + pattern + "$").MatchString(got[i]) {
			fail("cookie %q, want %q", got[i], line)
		}
	}
}
