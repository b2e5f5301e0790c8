package httpapi

import (
	"errors"
	"io"
	"mime"
	"net/http"
	"net/url"
	"os"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/rescind/rescind"
)

// pair is one parameter of a form or a query.
type pair struct{ name, value string }

// form is the parameters of a body of type application/x-www-form-urlencoded.
type form []pair

// get returns a parameter's value. One without a value is as good as absent
// (RFC 6749 section 3.2).
func (f form) get(name string) string {
	for i := range f {
		if f[i].name == name {
			return f[i].value
		}
	}
	return ""
}

// Faults of forms and queries. They never say what was sent: it may be a secret.
var (
	errRepeated   = badRequest("a parameter is repeated")
	errEscape     = badRequest("a parameter is not form-encoded")
	errParameters = badRequest("there are more than " + strconv.Itoa(MaxParameters) + " parameters")
)

// parseForm reads form-encoded parameters. A repeated one is refused, known or
// not: two readers would take it for different things.
func parseForm(s string) (form, error) {
	var f form
	for s != "" {
		var part string
		if part, s, _ = strings.Cut(s, "&"); part == "" {
			continue
		}
		if len(f) == MaxParameters {
			return nil, errParameters
		}
		name, value, _ := strings.Cut(part, "=")
		var err1, err2 error
		if strings.ContainsAny(part, "%+") {
			name, err1 = url.QueryUnescape(name)
			value, err2 = url.QueryUnescape(value)
		}
		if err1 != nil || err2 != nil {
			return nil, errEscape
		}
		for i := range f {
			if f[i].name == name {
				return nil, errRepeated
			}
		}
		if f == nil {
			f = make(form, 0, 6)
		}
		f = append(f, pair{name, value})
	}
	return f, nil
}

const formType = "application/x-www-form-urlencoded"

func (c *call) readForm() error {
	if !c.only(formType) {
		return c.mediaType(formType)
	}
	b, err := c.readBody(MaxForm)
	if err != nil {
		return err
	}
	c.form, err = parseForm(string(b))
	return err
}

// only reports whether the request has this content type and only this one.
func (c *call) only(want string) bool {
	types := c.r.Header["Content-Type"]
	if len(types) != 1 || len(c.r.Header["Content-Encoding"]) > 0 {
		return false
	}
	if types[0] == want {
		return true
	}
	got, _, err := mime.ParseMediaType(types[0])
	return err == nil && got == want
}

func (c *call) mediaType(want string) error {
	c.w.Header().Set("Accept-Post", want)
	return &fault{status: http.StatusUnsupportedMediaType, code: codeMediaType, detail: "the body must be " + want + ", without content encoding"}
}

// readBody reads all of a body that is not too long and does not take too long.
func (c *call) readBody(limit int64) ([]byte, error) {
	if c.read {
		return nil, nil
	}
	if c.r.ContentLength > limit {
		return nil, tooLarge(limit)
	}
	if err := c.deadline(c.bodyTimeout); err != nil {
		return nil, &fault{status: http.StatusBadRequest, code: codeInvalidRequest, detail: "the body could not be read", cause: err}
	}
	var b []byte
	var err error
	if n := c.r.ContentLength; n > 0 {
		b = make([]byte, n)
		_, err = io.ReadFull(c.r.Body, b)
	} else {
		b, err = io.ReadAll(io.LimitReader(c.r.Body, limit+1))
	}
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded):
		return nil, &fault{status: http.StatusRequestTimeout, code: codeTimeout, detail: "the body took longer than " + c.bodyTimeout.String()}
	case err != nil:
		return nil, &fault{status: http.StatusBadRequest, code: codeInvalidRequest, detail: "the body could not be read", cause: err}
	case int64(len(b)) > limit:
		return nil, tooLarge(limit)
	}
	c.read = true
	return b, c.deadline(0)
}

func tooLarge(limit int64) *fault {
	return &fault{status: http.StatusRequestEntityTooLarge, code: codeTooLarge, detail: "the body has more than " + strconv.FormatInt(limit, 10) + " bytes"}
}

// decode reads the JSON body into v, which is a pointer to a struct. A body that
// is optional may be missing altogether.
func (c *call) decode(v any, optional bool) error {
	if optional && c.read && len(c.r.Header["Content-Type"]) == 0 {
		return nil
	}
	if !c.only("application/json") {
		return c.mediaType("application/json")
	}
	b, err := c.readBody(MaxJSON)
	if err != nil {
		return err
	}
	return decodeJSON(b, v)
}

// decodeJSON reads exactly one JSON object: no unknown member, none twice, none
// in another case, no invalid UTF-8, nothing behind it. What it says of a bad one
// names no value.
func decodeJSON(b []byte, v any) error {
	if jsontext.Value(b).Kind() != '{' {
		return badRequest("the body must be a JSON object")
	}
	err := json.Unmarshal(b, v, json.RejectUnknownMembers(true))
	if err == nil {
		return nil
	}
	var semantic *json.SemanticError
	var syntactic *jsontext.SyntacticError
	switch {
	case errors.As(err, &syntactic) && errors.Is(err, jsontext.ErrDuplicateName):
		return badRequest("a member is named twice, near byte " + strconv.FormatInt(syntactic.ByteOffset, 10) + " of the body")
	case errors.As(err, &syntactic):
		return badRequest("the body is no JSON, near byte " + strconv.FormatInt(syntactic.ByteOffset, 10))
	case errors.Is(err, json.ErrUnknownName) && errors.As(err, &semantic):
		return badRequest("there is an unknown member near byte " + strconv.FormatInt(semantic.ByteOffset, 10) + " of the body; known are " + strings.Join(tagged(v, "json"), ", "))
	case errors.As(err, &semantic):
		detail := "a member has the wrong type or form, near byte " + strconv.FormatInt(semantic.ByteOffset, 10) + " of the body"
		if name := strings.TrimPrefix(string(semantic.JSONPointer), "/"); slices.Contains(tagged(v, "json"), name) {
			detail = "the member " + name + " has the wrong type or form"
		}
		return badRequest(detail)
	}
	return badRequest("the body does not fit")
}

// tagged lists the names that the tags of a struct give its fields.
func tagged(v any, tag string) []string {
	t := reflect.TypeOf(v)
	if t == nil {
		return nil
	}
	if t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	if t.Kind() != reflect.Struct {
		return nil
	}
	var names []string
	for i := range t.NumField() {
		if t.Field(i).Anonymous {
			names = append(names, tagged(reflect.Zero(t.Field(i).Type).Interface(), tag)...)
			continue
		}
		if name, _, _ := strings.Cut(t.Field(i).Tag.Get(tag), ","); name != "" && name != "-" {
			names = append(names, name)
		}
	}
	return names
}

func queryNames(request any) []string { return tagged(request, "query") }

// Names that must not stand in a query string: they end up in logs, histories
// and Referer headers.
var secrets = []string{"token", "access_token", "refresh_token", "client_secret", "client_id", "client_assertion", "id_token", "code"}

// checkQuery refuses credentials in the query string everywhere, and under /v1/
// whatever the endpoint does not know.
func (c *call) checkQuery() error {
	raw := c.r.URL.RawQuery
	if raw == "" {
		return nil
	}
	if len(raw) > MaxQuery {
		return badRequest("the query string has more than " + strconv.Itoa(MaxQuery) + " bytes")
	}
	q, err := parseForm(raw)
	if err != nil {
		return err
	}
	strict := strings.HasPrefix(c.route.path, "/v1/")
	for _, p := range q {
		switch {
		case slices.Contains(c.route.query, p.name):
		case slices.Contains(secrets, p.name):
			return badRequest("credentials do not belong into the query string; this one may be in logs now and should be revoked")
		case strict && len(c.route.query) == 0:
			return badRequest("this endpoint takes no query string")
		case strict:
			return badRequest("an unknown query parameter; known are " + strings.Join(c.route.query, ", "))
		}
	}
	c.query = q
	return nil
}

// limit reads the page size of a list.
func (c *call) limit() (int, error) {
	s := c.query.get("limit")
	if s == "" {
		return 0, nil
	}
	n, err := strconv.Atoi(s)
	if err != nil || n < 1 {
		return 0, badRequest("limit is a number from 1 to 1000")
	}
	return n, nil
}

// moment reads a time of RFC 3339.
func (c *call) moment(name string) (time.Time, error) {
	s := c.query.get(name)
	if s == "" {
		return time.Time{}, nil
	}
	t, err := time.Parse(time.RFC3339, s)
	if err != nil {
		return t, badRequest(name + " is a time as in 2026-11-20T10:00:00Z (RFC 3339)")
	}
	return t, nil
}

// seconds reads a duration of whole seconds; nil is none.
func seconds(name string, n *int64) (time.Duration, error) {
	const most = int64(rescind.MaxLifetime / time.Second)
	switch {
	case n == nil:
		return 0, nil
	case *n < 1 || *n > most:
		return 0, badRequest(name + " is a number of seconds from 1 to " + strconv.FormatInt(most, 10))
	}
	return time.Duration(*n) * time.Second, nil
}
