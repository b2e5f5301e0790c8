package httpapi

import (
	"encoding/json"
	"errors"
	"net/http"
	"strconv"
	"strings"

	"github.com/rescind/rescind"
)

// fault is an answer that is no success, in the words of the server's own
// interface. Detail is for the caller and never holds what the caller sent.
type fault struct {
	status    int
	code      string
	detail    string
	challenge string // WWW-Authenticate
	retry     int    // Retry-After in seconds, if not zero
	cause     error
}

func (f *fault) Error() string { return f.code + ": " + f.detail }
func (f *fault) Unwrap() error { return f.cause }

// Codes of the member "code" of problem details. OAuth has its own words.
const (
	codeInvalidRequest = "invalid_request"
	codeInvalidClient  = "invalid_client"
	codeInvalidToken   = "invalid_token"
	codeScope          = "insufficient_scope"
	codeInactive       = "inactive"
	codeGrantType      = "unsupported_grant_type"
	codeForeign        = "foreign"
	codeReuse          = "reuse"
	codeForbidden      = "forbidden"
	codeNotFound       = "not_found"
	codeMethod         = "method_not_allowed"
	codeTooLarge       = "too_large"
	codeMediaType      = "unsupported_media_type"
	codeTimeout        = "timeout"
	codeConflict       = "conflict"
	codeLimit          = "limit"
	codeRateLimited    = "rate_limited"
	codeUnavailable    = "unavailable"
	codeInternal       = "internal"
)

// verdicts is the one table from errors to HTTP. The first that matches wins:
// what could not be known is said before what is thought to be known.
var verdicts = []struct {
	is     error
	status int
	code   string
	detail string // "": what the error says, which is about the request alone
}{
	{rescind.ErrUnavailable, http.StatusServiceUnavailable, codeUnavailable, "the state cannot be known at the moment; this says nothing about the token"},
	{rescind.ErrReuse, http.StatusBadRequest, codeReuse, "the token is not valid"},
	{rescind.ErrForeign, http.StatusForbidden, codeForeign, "the token was issued to another client"},
	{rescind.ErrInactive, http.StatusBadRequest, codeInactive, "the token is not valid"},
	{rescind.ErrScope, http.StatusForbidden, codeScope, "the scope goes beyond what was granted"},
	{rescind.ErrForbidden, http.StatusForbidden, codeForbidden, ""},
	{rescind.ErrNotFound, http.StatusNotFound, codeNotFound, ""},
	{rescind.ErrConflict, http.StatusConflict, codeConflict, ""},
	{rescind.ErrLimit, http.StatusConflict, codeLimit, ""},
	{rescind.ErrInvalid, http.StatusBadRequest, codeInvalidRequest, ""},
}

// oauthWords translates codes into those of RFC 6749 sections 4.1.2.1 and 5.2.
// A status other than zero replaces the one of the table above.
var oauthWords = map[string]struct {
	status int
	word   string
}{
	codeInvalidRequest: {0, "invalid_request"},
	codeInvalidClient:  {0, "invalid_client"},
	codeInvalidToken:   {0, "invalid_token"},
	codeScope:          {http.StatusBadRequest, "invalid_scope"},
	codeInactive:       {http.StatusBadRequest, "invalid_grant"},
	codeGrantType:      {0, "unsupported_grant_type"},
	codeForeign:        {http.StatusBadRequest, "invalid_grant"},
	codeReuse:          {http.StatusBadRequest, "invalid_grant"},
	codeForbidden:      {0, "unauthorized_client"},
	codeNotFound:       {0, "invalid_request"},
	codeMethod:         {0, "invalid_request"},
	codeTooLarge:       {0, "invalid_request"},
	codeMediaType:      {0, "invalid_request"},
	codeTimeout:        {0, "invalid_request"},
	codeConflict:       {0, "invalid_request"},
	codeLimit:          {0, "invalid_request"},
	codeRateLimited:    {0, "temporarily_unavailable"},
	codeUnavailable:    {0, "temporarily_unavailable"},
	codeInternal:       {0, "server_error"},
}

const retryUnavailable = 1 // seconds

// judge turns an error into what is answered.
func judge(err error) *fault {
	var f *fault
	if errors.As(err, &f) {
		return f
	}
	for _, v := range verdicts {
		if !errors.Is(err, v.is) {
			continue
		}
		f := &fault{status: v.status, code: v.code, detail: v.detail, cause: err}
		if f.detail == "" {
			f.detail = strings.TrimPrefix(err.Error(), v.is.Error()+": ") // the code says it
		}
		if f.status == http.StatusServiceUnavailable {
			f.retry = retryUnavailable
		}
		return f
	}
	return &fault{status: http.StatusInternalServerError, code: codeInternal, detail: "something went wrong here, and has been logged", cause: err}
}

// problem is RFC 9457 problem details. Code tells what the status leaves open.
type problem struct {
	Type   string `json:"type"`
	Title  string `json:"title"`
	Status int    `json:"status"`
	Detail string `json:"detail,omitempty"`
	Code   string `json:"code"`
}

// oauthError is RFC 6749 section 5.2.
type oauthError struct {
	Error       string `json:"error"`
	Description string `json:"error_description,omitempty"`
}

// fail is the one writer of errors. It logs every 500, and outages.
func (c *call) fail(err error) {
	f := judge(err)
	switch f.code {
	case codeInternal:
		c.log.ErrorContext(c.context(), "request failed", "route", c.route.name, "error", err)
	case codeUnavailable:
		c.outage(err)
	}
	if c.status != 0 {
		return // an answer is under way already
	}
	status, h := f.status, c.w.Header()
	if f.retry > 0 {
		h["Retry-After"] = []string{strconv.Itoa(f.retry)}
	}
	if f.challenge != "" {
		h["Www-Authenticate"] = []string{f.challenge}
	}
	var body any
	contentType := typeProblem
	switch c.route.style {
	case oauth:
		word := oauthWords[f.code]
		if word.status != 0 {
			status = word.status
		}
		contentType, body = typeJSON, oauthError{Error: word.word, Description: describable(f.detail)}
	case gateway:
		switch status {
		case http.StatusUnauthorized, http.StatusForbidden:
		default: // a gateway takes anything else for a fault of its own
			status = http.StatusServiceUnavailable
		}
		fallthrough
	default:
		body = problem{Type: "about:blank", Title: http.StatusText(status), Status: status, Detail: f.detail, Code: f.code}
	}
	b, err := json.Marshal(body)
	if err != nil {
		c.log.ErrorContext(c.context(), "error not encoded", "route", c.route.name, "error", err)
	}
	_ = c.answer(status, contentType, b)
}

// outage logs that the state was not known: one line a second at most, or an
// outage of the store would become one of the log.
func (c *call) outage(err error) {
	c.metrics.unavailable.Inc()
	n := c.outages.Add(1)
	now := c.now().Unix()
	last := c.outageLogged.Load()
	if now == last || !c.outageLogged.CompareAndSwap(last, now) {
		return
	}
	c.outages.Add(-n)
	c.log.WarnContext(c.context(), "state unavailable", "route", c.route.name, "answers", n, "error", err)
}

// describable keeps the characters that RFC 6749 allows in error_description.
func describable(s string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r == '"' || r == '\\':
			return '\''
		case r < ' ' || r > '~':
			return ' '
		}
		return r
	}, s)
}

func badRequest(detail string) *fault {
	return &fault{status: http.StatusBadRequest, code: codeInvalidRequest, detail: detail}
}

func (c *call) notFound() error {
	return &fault{status: http.StatusNotFound, code: codeNotFound, detail: "there is no such endpoint"}
}

func (c *call) methodNotAllowed() error {
	if c.r.Method == http.MethodOptions && c.preflight() {
		c.begin(http.StatusNoContent, nil)
		return nil
	}
	c.w.Header().Set("Allow", c.route.allow)
	return &fault{status: http.StatusMethodNotAllowed, code: codeMethod, detail: "this endpoint takes " + c.route.allow}
}
