package target

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
)

// MaxHAR is the largest recording that FromHAR reads, in bytes, and maxEntries how
// many requests may be in it.
const (
	MaxHAR     = 128 << 20
	maxEntries = 20_000
	maxText    = 2 << 20 // of one body; a larger one is not looked at
)

// harEntry is what is read of an entry of a recording (HAR 1.2).
type harEntry struct {
	Request struct {
		Method   string    `json:"method"`
		URL      string    `json:"url"`
		Headers  []harPair `json:"headers"`
		Cookies  []harPair `json:"cookies"`
		PostData struct {
			MimeType string    `json:"mimeType"`
			Text     string    `json:"text"`
			Params   []harPair `json:"params"`
		} `json:"postData"`
	} `json:"request"`
	Response struct {
		Status  int       `json:"status"`
		Headers []harPair `json:"headers"`
		Cookies []harPair `json:"cookies"`
		Content struct {
			MimeType string `json:"mimeType"`
			Text     string `json:"text"`
			Encoding string `json:"encoding"`
		} `json:"content"`
		RedirectURL string `json:"redirectURL"`
	} `json:"response"`
}

type harPair struct {
	Name     string `json:"name"`
	Value    string `json:"value"`
	FileName string `json:"fileName"`
}

// FromHAR drafts a description from a browser's recording: one in which a user
// logs in, looks at a few pages, and logs out. It finds the login by its password,
// follows every token from the answer that brings it to the requests that carry
// it, and writes none of them down: a token becomes a finder and a variable, the
// password a variable of the environment. base overrides scheme, host and port of
// the application if it is not empty.
func FromHAR(recording []byte, base string) (*Draft, error) {
	all, err := readHAR(recording)
	if err != nil {
		return nil, err
	}
	return draftHAR(all, base)
}

var errNotHAR = errors.New("this is no HAR recording: JSON with log.entries is expected")

// readHAR reads the entries one by one, and keeps of each what is needed.
func readHAR(recording []byte) ([]*exchange, error) {
	if len(recording) > MaxHAR {
		return nil, fmt.Errorf("the recording has %d bytes, at most %d are read", len(recording), MaxHAR)
	}
	dec := json.NewDecoder(bytes.NewReader(bytes.TrimPrefix(recording, []byte("\xef\xbb\xbf"))))
	if !enter(dec, "log") || !enter(dec, "entries") {
		return nil, errNotHAR
	}
	if t, err := dec.Token(); err != nil || t != json.Delim('[') {
		return nil, errNotHAR
	}
	var all []*exchange
	for n := 0; dec.More(); n++ {
		var e harEntry
		// A member of another type than it should have is as if it were missing.
		if err := dec.Decode(&e); err != nil && !errors.As(err, new(*json.UnmarshalTypeError)) {
			return nil, fmt.Errorf("entry %d of the recording is broken", n) // err may quote it
		}
		if n >= maxEntries {
			return nil, fmt.Errorf("the recording has more than %d requests", maxEntries)
		}
		if x := e.exchange(); x != nil {
			all = append(all, x)
		}
	}
	if _, err := dec.Token(); err != nil {
		return nil, errors.New("the recording ends in the middle")
	}
	return all, nil
}

// enter moves into an object, up to the value of a member.
func enter(dec *json.Decoder, member string) bool {
	if t, err := dec.Token(); err != nil || t != json.Delim('{') {
		return false
	}
	for dec.More() {
		name, err := dec.Token()
		if err != nil {
			return false
		}
		if name == member {
			return true
		}
		var skipped json.RawMessage
		if dec.Decode(&skipped) != nil {
			return false
		}
	}
	return false
}

// exchange is the entry as far as it is of interest, or nil.
func (e *harEntry) exchange() *exchange {
	u, err := url.Parse(e.Request.URL)
	if err != nil || u.Hostname() == "" || !slices.Contains([]string{"http", "https", "ws", "wss"}, u.Scheme) ||
		!hostPattern.MatchString(u.Host) || !methodPattern.MatchString(e.Request.Method) || e.Request.Method == http.MethodOptions {
		return nil
	}
	u.User, u.Fragment, u.RawFragment = nil, "", ""
	x := &exchange{method: e.Request.Method, url: u, header: harHeader(e.Request.Headers), status: e.Response.Status}
	if x.header.Get("Cookie") == "" {
		var pairs []string
		for _, c := range e.Request.Cookies {
			pairs = append(pairs, c.Name+"="+c.Value)
		}
		if pairs != nil {
			x.header.Set("Cookie", strings.Join(pairs, "; "))
		}
	}
	e.body(x)
	x.answer.Header = harHeader(e.Response.Headers)
	if x.answer.Header.Get("Set-Cookie") == "" {
		for _, c := range e.Response.Cookies {
			if fieldPattern.MatchString(c.Name) {
				x.answer.Header.Add("Set-Cookie", c.Name+"="+c.Value)
			}
		}
	}
	if x.answer.Header.Get("Location") == "" && e.Response.RedirectURL != "" {
		x.answer.Header.Set("Location", e.Response.RedirectURL)
	}
	x.kind = kindOf(e.Response.Content.MimeType)
	text := e.Response.Content.Text
	if len(text) > maxText || !x.readable() {
		return x
	}
	x.answer.Body = []byte(text)
	if e.Response.Content.Encoding == "base64" {
		if x.answer.Body, err = base64.StdEncoding.DecodeString(text); err != nil {
			x.answer.Body = nil // as if it had not been recorded
		}
	}
	return x
}

// body reads what the request sent.
func (e *harEntry) body(x *exchange) {
	post := e.Request.PostData
	if x.header.Get("Content-Type") == "" && post.MimeType != "" {
		x.header.Set("Content-Type", post.MimeType)
	}
	if len(post.Text) > maxText {
		return
	}
	kind := kindOf(x.header.Get("Content-Type"))
	if post.Text != "" && !(kind == "multipart/form-data" && len(post.Params) > 0) {
		x.body = []byte(post.Text)
		return
	}
	c := &curl{header: http.Header{}}
	form := url.Values{}
	for _, p := range post.Params {
		if p.FileName != "" {
			x.files = true
			continue
		}
		form.Add(p.Name, p.Value)
		c.form = append(c.form, p.Name+"="+p.Value)
	}
	switch {
	case len(form) == 0:
	case kind == "multipart/form-data":
		if c.multipart() == nil && len(c.data) == 1 {
			x.body = []byte(c.data[0])
			x.header.Set("Content-Type", c.header.Get("Content-Type"))
		}
	default:
		x.body = []byte(form.Encode())
		x.header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
}

// harHeader reads headers; HTTP/2 has names in small letters, and some browsers
// join several Set-Cookie by line breaks.
func harHeader(pairs []harPair) http.Header {
	h := http.Header{}
	for _, p := range pairs {
		if !fieldPattern.MatchString(p.Name) {
			continue // as :authority
		}
		for value := range strings.SplitSeq(p.Value, "\n") {
			h.Add(p.Name, strings.TrimSpace(value))
		}
	}
	return h
}

// readable reports whether the answer's body may hold tokens.
func (x *exchange) readable() bool {
	return isJSON(x.kind) || x.kind == "text/html" || x.kind == "application/xhtml+xml" || x.kind == "text/plain"
}

// static reports whether the answer is a part of a page.
func (x *exchange) static() bool {
	for _, prefix := range []string{"image/", "font/", "audio/", "video/", "text/css", "text/javascript", "application/javascript", "application/x-javascript", "application/font", "application/wasm", "application/manifest"} {
		if strings.HasPrefix(x.kind, prefix) {
			return true
		}
	}
	dot := strings.LastIndexByte(x.url.Path, '.')
	return dot >= 0 && slices.Contains([]string{"js", "mjs", "css", "map", "png", "jpg", "jpeg", "gif", "svg", "ico", "woff", "woff2", "ttf", "webp", "wasm"}, strings.ToLower(x.url.Path[dot+1:]))
}
