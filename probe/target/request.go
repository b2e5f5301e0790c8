package target

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"mime/multipart"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
)

// Request is one request of the description. At most one of JSON, Form, Multipart
// and Body is set. The YAML writes one that has only a line as that line.
type Request struct {
	Line      Template            `yaml:"request"` // METHOD path-or-absolute-URL
	Headers   map[string]Template `yaml:"headers,omitempty"`
	Basic     Template            `yaml:"basic,omitempty"` // NAME:PASSWORD of HTTP Basic
	JSON      any                 `yaml:"json,omitempty"`  // every string in it is a template
	Form      map[string]Template `yaml:"form,omitempty"`
	Multipart map[string]Template `yaml:"multipart,omitempty"`
	Body      Template            `yaml:"body,omitempty"`
	Expect    Expect              `yaml:"expect,omitempty"`
	Finds     map[string]Finder   `yaml:"find,omitempty"`
	Carry     Carry               `yaml:"carry,omitempty"`
}

// Carry says what a request carries of its session, beside what its own headers
// and body say. A login carries the cookies of its earlier steps, a refresh the
// cookies, and every other request all, unless the description says otherwise.
type Carry string

// What a request carries.
const (
	CarryDefault Carry = ""
	CarryAll     Carry = "all"     // what Present says, and cookies
	CarryCookies Carry = "cookies" // cookies only
	CarryNothing Carry = "nothing"
)

// Or returns what the request carries where its place says fallback.
func (c Carry) Or(fallback Carry) Carry {
	if c == CarryDefault {
		return fallback
	}
	return c
}

// Get returns the request that asks for a path or URL.
func Get(ref string) Request { return Request{Line: Template("GET " + ref)} }

// Method returns the method, in capitals as it is sent.
func (r *Request) Method() string {
	method, _, _ := strings.Cut(string(r.Line), " ")
	return method
}

// Ref returns the path or URL of the request line.
func (r *Request) Ref() Template {
	_, ref, _ := strings.Cut(string(r.Line), " ")
	return Template(strings.TrimSpace(ref))
}

// String returns the request line as it is written, without any value.
func (r *Request) String() string { return string(r.Line) }

// Rendered is a request with all its values. It holds secrets: print no part of
// it but the method.
type Rendered struct {
	Method string
	URL    string
	Header http.Header
	Body   []byte
}

// Format keeps what was rendered out of logs.
func (r Rendered) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, r.Method+" "+redacted) }

// LogValue keeps it out of logs that are JSON.
func (r Rendered) LogValue() slog.Value { return slog.StringValue(r.Method + " " + redacted) }

// MarshalJSON keeps it out of JSON.
func (r Rendered) MarshalJSON() ([]byte, error) { return json.Marshal(r.Method + " " + redacted) }

// HTTP returns the request to send.
func (r *Rendered) HTTP(ctx context.Context) (*http.Request, error) {
	var body io.Reader
	if r.Body != nil {
		body = bytes.NewReader(r.Body)
	}
	req, err := http.NewRequestWithContext(ctx, r.Method, r.URL, body)
	if err != nil {
		return nil, errors.New("the request cannot be built") // err holds the URL
	}
	req.Header = r.Header.Clone()
	if host := req.Header.Get("Host"); host != "" {
		req.Host = host
		req.Header.Del("Host")
	}
	return req, nil
}

// Render puts the values in. A path is resolved against base, an instance. Values
// are encoded for where they stand: in a path, a query, JSON, or a form; in Body
// they stand as they are. Render adds a Content-Type where the description names
// none; what the session presents is not its matter. An error never holds a value.
func (r *Request) Render(base string, vars Vars) (Rendered, error) {
	out := Rendered{Method: r.Method(), Header: http.Header{}}
	var err error
	if out.URL, err = renderURL(base, r.Ref(), vars); err != nil {
		return Rendered{}, err
	}
	if err := RenderHeaders(out.Header, r.Headers, vars); err != nil {
		return Rendered{}, err
	}
	if r.Basic != "" {
		credentials, err := r.Basic.Render(vars)
		if err != nil {
			return Rendered{}, err
		}
		out.Header.Set("Authorization", "Basic "+base64.StdEncoding.EncodeToString([]byte(credentials)))
	}
	kind, err := r.renderBody(&out, vars)
	if err != nil {
		return Rendered{}, err
	}
	if kind != "" && out.Header.Get("Content-Type") == "" {
		out.Header.Set("Content-Type", kind)
	}
	return out, nil
}

// renderBody returns the type of the body that it wrote.
func (r *Request) renderBody(out *Rendered, vars Vars) (string, error) {
	switch {
	case r.JSON != nil:
		value, err := renderJSON(r.JSON, vars)
		if err != nil {
			return "", err
		}
		var b bytes.Buffer
		enc := json.NewEncoder(&b)
		enc.SetEscapeHTML(false)
		if err := enc.Encode(value); err != nil {
			return "", errors.New("json: it holds what JSON cannot say")
		}
		out.Body = bytes.TrimSuffix(b.Bytes(), []byte("\n"))
		return "application/json", nil
	case r.Form != nil:
		form := url.Values{}
		for key, t := range r.Form {
			value, err := t.Render(vars)
			if err != nil {
				return "", err
			}
			form.Set(key, value)
		}
		out.Body = []byte(form.Encode())
		return "application/x-www-form-urlencoded", nil
	case r.Multipart != nil:
		var b bytes.Buffer
		w := multipart.NewWriter(&b)
		for _, key := range slices.Sorted(maps.Keys(r.Multipart)) {
			value, err := r.Multipart[key].Render(vars)
			if err != nil {
				return "", err
			}
			if err := w.WriteField(key, value); err != nil {
				return "", err
			}
		}
		if err := w.Close(); err != nil {
			return "", err
		}
		out.Body = b.Bytes()
		return w.FormDataContentType(), nil
	case r.Body != "":
		text, err := r.Body.Render(vars)
		if err != nil {
			return "", err
		}
		out.Body = []byte(text)
		return "text/plain; charset=utf-8", nil
	}
	return "", nil
}

// renderJSON copies a value and renders every string in it, also the names of
// members.
func renderJSON(value any, vars Vars) (any, error) {
	switch v := value.(type) {
	case string:
		return Template(v).Render(vars)
	case []any:
		out := make([]any, len(v))
		for i := range v {
			var err error
			if out[i], err = renderJSON(v[i], vars); err != nil {
				return nil, err
			}
		}
		return out, nil
	case map[string]any:
		out := make(map[string]any, len(v))
		for name, member := range v {
			key, err := Template(name).Render(vars)
			if err != nil {
				return nil, err
			}
			if out[key], err = renderJSON(member, vars); err != nil {
				return nil, err
			}
		}
		return out, nil
	}
	return value, nil
}

// RenderHeaders sets headers with their values put in.
func RenderHeaders(h http.Header, templates map[string]Template, vars Vars) error {
	for name, t := range templates {
		value, err := t.Render(vars)
		if err != nil {
			return err
		}
		if strings.ContainsAny(value, "\r\n\x00") {
			return fmt.Errorf("headers: the value of %s has a line break in it", name)
		}
		h.Set(name, value)
	}
	return nil
}

var absolute = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9+.-]*://`)

// renderURL puts values into a path or URL, encoded for where they stand, and
// resolves a path against an instance.
func renderURL(base string, ref Template, vars Vars) (string, error) {
	path, query, asks := strings.Cut(string(ref), "?")
	out, err := Template(path).render(vars, url.PathEscape)
	if err != nil {
		return "", err
	}
	if asks {
		text, err := Template(query).render(vars, url.QueryEscape)
		if err != nil {
			return "", err
		}
		out += "?" + text
	}
	if !absolute.MatchString(out) {
		out = strings.TrimSuffix(base, "/") + out
	}
	return out, nil
}

// URL returns the address of a socket on an instance.
func (s *Socket) URL(base string, vars Vars) (string, error) {
	if s.WebSocket == "" {
		return renderURL(base, s.SSE, vars)
	}
	u, err := renderURL(base, s.WebSocket, vars)
	if err != nil {
		return "", err
	}
	if rest, ok := strings.CutPrefix(u, "http"); ok { // http: and https: alike
		u = "ws" + rest
	}
	return u, nil
}
