package target

import (
	"bytes"
	"encoding/json"
	"maps"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// A held value is one that an answer brought, and where in it.
type held struct {
	at     int // the exchange
	finder Finder
	name   string // of the member, cookie or parameter
}

// provenance says of each value of a recording which answer brought it first.
type provenance struct {
	all    []*exchange
	values map[string]held
	sent   map[string]int // the first request that carried a value
	// root is the request that a redirect began with.
	root []int
	// named are the variables that were given, by the finder.
	named map[string]string
	// uses are the finders that each exchange needs.
	uses  map[int]map[string]Finder
	needs []int
	// searches of pages so far.
	searches int
	// anew: what a page holds is fetched again for the request that sends it, since
	// each look at the page may change it.
	anew bool
}

// maxValues bounds what is remembered of a recording, and maxSearches how many
// values are looked for in its pages.
const (
	maxValues   = 300_000
	maxSearches = 100
)

// idName recognizes members that hold a number or word that identifies somebody,
// which may be short.
var idName = regexp.MustCompile(`(^|[a-z])(id|uuid|sub|slug)$`)

func trace(all []*exchange) *provenance {
	p := &provenance{all: all, values: map[string]held{}, sent: map[string]int{}, root: make([]int, len(all)), named: map[string]string{}, uses: map[int]map[string]Finder{}}
	var from string // what the last answer redirects to
	for i, x := range all {
		if p.root[i] = i; i > 0 && from != "" && from == x.url.String() {
			p.root[i] = p.root[i-1]
		}
		for _, f := range x.fields() {
			if _, known := p.values[f.value]; !known && len(p.sent) < maxValues {
				if _, sent := p.sent[f.value]; !sent {
					p.sent[f.value] = i
				}
			}
		}
		p.harvest(i)
		from = ""
		if x.status >= 300 && x.status < 400 {
			if to, err := x.url.Parse(x.answer.Header.Get("Location")); err == nil {
				to.Fragment = ""
				from = to.String()
			}
		}
	}
	return p
}

// harvest remembers what an answer brings.
func (p *provenance) harvest(i int) {
	x := p.all[i]
	add := func(value, name string, f Finder) {
		if _, known := p.values[value]; known || len(p.values) >= maxValues {
			return
		}
		if first, sent := p.sent[value]; sent && first <= i {
			return // the client made it up, or had it before the recording began
		}
		p.values[value] = held{i, f, name}
	}
	for _, c := range (&http.Response{Header: x.answer.Header}).Cookies() {
		if len(c.Value) < 4 {
			continue
		}
		add(c.Value, c.Name, Finder{Cookie: c.Name})
		if plain, err := url.PathUnescape(c.Value); err == nil && plain != c.Value {
			add(plain, c.Name, Finder{Cookie: c.Name, Unescape: true})
		}
	}
	for name, values := range x.answer.Header {
		if secretField.MatchString(plain(name)) && name != "Set-Cookie" && len(values) > 0 {
			f := Finder{Header: name}
			if value, ok := f.Find(x.answer); ok && len(value) >= 8 {
				add(value.Reveal(), name, f)
			}
		}
	}
	if to, err := url.Parse(x.answer.Header.Get("Location")); err == nil {
		fragment, _ := url.ParseQuery(to.EscapedFragment()) // none, if it is something else
		for _, query := range []url.Values{to.Query(), fragment} {
			for name, values := range query {
				if len(values[0]) >= 8 {
					add(values[0], name, Finder{Query: name})
				}
			}
		}
	}
	for _, f := range Places(x.answer) {
		if value, ok := f.Find(x.answer); ok && f.JSON != "" { // however short
			add(value.Reveal(), f.JSON[strings.LastIndexByte(f.JSON, '/')+1:], f)
		}
	}
	if isJSON(x.kind) || bytes.HasPrefix(bytes.TrimSpace(x.answer.Body), []byte("{")) {
		if document, err := decodeJSON(x.answer.Body); err == nil {
			pointers("", "", document, 0, func(pointer, name, value string, text bool) {
				if text && len(value) >= 8 || idName.MatchString(plain(name)) {
					add(value, name, Finder{JSON: pointer})
				}
			})
		}
	}
}

// pointers calls f for every string and number of a JSON value.
func pointers(pointer, name string, value any, level int, f func(pointer, name, value string, text bool)) {
	if level > maxNested {
		return
	}
	switch v := value.(type) {
	case []any:
		for i, item := range v {
			pointers(pointer+"/"+strconv.Itoa(i), name, item, level+1, f)
		}
	case map[string]any:
		for _, member := range slices.Sorted(maps.Keys(v)) {
			pointers(pointer+"/"+escapePointer(member), member, v[member], level+1, f)
		}
	case string:
		f(pointer, name, v, true)
	case json.Number:
		f(pointer, name, v.String(), false)
	}
}

// find returns where a value that request at carries comes from.
func (p *provenance) find(value string, at int) (held, bool) {
	h, ok := p.values[value]
	if ok {
		return h, h.at < at
	}
	// Pages are searched only for what is missing.
	if len(value) < 8 || !secretLike(value) || p.searches == maxSearches {
		return held{}, false
	}
	p.searches++
	for i := at - 1; i >= 0; i-- {
		x := p.all[i]
		if x.kind != "text/html" && x.kind != "application/xhtml+xml" {
			continue
		}
		if pattern, ok := patternBefore(x.answer.Body, value); ok {
			h := held{i, Finder{Pattern: pattern}, "page_token"}
			p.values[value] = h
			return h, true
		}
	}
	return held{}, false
}

// secretLike reports whether a value looks as if somebody had to be given it.
func secretLike(value string) bool { return !harmless("", value) }

var (
	tagStart = regexp.MustCompile(`[<>{};\n]`)
	nonce    = regexp.MustCompile(`[A-Za-z0-9+/_=-]{12,}`)
)

// patternBefore makes a pattern of what stands before a value in a page: the tag it is
// in, from its beginning. Long words in that are left open, for they may differ
// the next time.
func patternBefore(page []byte, value string) (string, bool) {
	i := bytes.Index(page, []byte(value))
	if i < 0 {
		return "", false
	}
	before := string(page[max(0, i-160):i])
	if starts := tagStart.FindAllStringIndex(before, -1); starts != nil {
		before = before[starts[len(starts)-1][0]:]
		before = strings.TrimLeft(before, ">{};\n ")
	}
	if !printable(before) || len(before) < 3 {
		return "", false
	}
	var out strings.Builder
	rest := before
	for _, at := range nonce.FindAllStringIndex(before, -1) {
		word := before[at[0]:at[1]]
		if harmless("", word) {
			continue
		}
		skip := len(before) - len(rest)
		out.WriteString(regexp.QuoteMeta(before[skip:at[0]]) + `[A-Za-z0-9+/_=-]+`)
		rest = before[at[1]:]
	}
	out.WriteString(regexp.QuoteMeta(rest))
	class := `([^"'<>\s&]+)`
	pattern := out.String() + class
	// It has to find what was recorded.
	found, ok := Finder{Pattern: pattern}.Find(Answer{Body: page})
	return pattern, ok && found.Reveal() == value && len(pattern) <= maxPattern
}

// use gives a held value a variable, and has its exchange find it.
func (p *provenance) use(h held) string {
	step := p.root[h.at]
	if p.anew && h.finder.Pattern != "" && p.all[h.at].method == http.MethodGet {
		step = h.at
	}
	if p.uses[step] == nil {
		p.uses[step] = map[string]Finder{}
	}
	name := p.nameFor(step, h)
	p.uses[step][name] = h.finder
	p.needs = append(p.needs, step)
	return name
}

// takeNeeds returns the exchanges whose values were used since it was last asked.
func (p *provenance) takeNeeds() []int {
	needs := p.needs
	p.needs = nil
	slices.Sort(needs)
	return slices.Compact(needs)
}

// nameFor is the variable of a held value: a common one for tokens, so that a
// refresh replaces what the login found, else one of its own.
func (p *provenance) nameFor(step int, h held) string {
	key := h.finder.String()
	if name, known := p.named[key]; known {
		return name
	}
	base, common := varName(h.name), false
	for variable, members := range wellKnown {
		if h.finder.Cookie == "" && slices.Contains(members, plain(h.name)) {
			base, common = variable, true
		}
	}
	name := base
	for n := 2; p.taken(name, step, common); n++ {
		name = base + "_" + strconv.Itoa(n)
	}
	p.named[key] = name
	return name
}

func (p *provenance) taken(name string, step int, common bool) bool {
	if common {
		_, taken := p.uses[step][name]
		return taken
	}
	return slices.Contains(slices.Collect(maps.Values(p.named)), name)
}
