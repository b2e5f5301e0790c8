package probe

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"mime"
	"net/http"
	"slices"
	"strings"
	"sync"

	"github.com/rescind/rescind/probe/target"
)

// A route is a protected request on one instance, with what the judge has learned
// of its answers.
type route struct {
	request  *target.Request
	line     string // "GET /api/me"
	instance string
	// identity finds in an answer for whom it is; nil if it does not say.
	identity *target.Finder
	// reason is why the route is not used; empty if it is protected, and is. It and
	// controls are written before the experiments only.
	reason   string
	failed   bool // for that reason nothing is known of it, which it should be
	controls []*answer

	mu     sync.Mutex
	alive  map[int][]traits // answers to valid sessions, by user
	dead   [][]traits       // answers to no session: one list for each kind of control
	learnt map[int]*likeness
	ids    map[int]string // what identity found, by user

	pulse pulse
}

func newRoute(q *target.Request, instance string) *route {
	return &route{
		request: q, line: string(q.Line), instance: instance,
		alive: map[int][]traits{}, learnt: map[int]*likeness{}, ids: map[int]string{}, pulse: pulse{latch: newLatch(), last: map[int]*answer{}},
	}
}

// traits are what an answer looks like: its status, where it leads, and what its
// body consists of. Two answers are compared by the traits that they share, and
// never by words that somebody expects in them.
type traits map[string]bool

// maxTraits bounds what is kept of one answer.
const maxTraits = 4000

// What traits begin with that are the status, and the value of a member of JSON.
const (
	statusTrait = "status "
	valueTrait  = "value "
)

func traitsOf(a *answer) traits {
	t := traits{fmt.Sprintf(statusTrait+"%d", a.status): true}
	if to := redirect(a); to != nil {
		t["leads to "+to.Host+to.Path] = true
	}
	kind, _, err := mime.ParseMediaType(a.header.Get("Content-Type"))
	if err == nil {
		t["type "+kind] = true
	}
	var document any
	decoder := json.NewDecoder(bytes.NewReader(a.body))
	decoder.UseNumber()
	if err := decoder.Decode(&document); err == nil {
		t.walk("", document, 0)
		return t
	}
	for part := range strings.FieldsFuncSeq(string(a.body), func(c rune) bool { return c == '\n' || c == '<' }) {
		if part = strings.TrimSpace(part); part != "" && len(t) < maxTraits {
			t["text "+brief(part)] = true
		}
	}
	return t
}

// brief is a text of an answer, or its hash if it is long: an answer decides how
// many traits it has, and the traits of all of them stay in memory.
func brief(text string) string {
	if len(text) <= maxTrait {
		return text
	}
	sum := sha256.Sum256([]byte(text))
	return text[:maxTrait/2] + hex.EncodeToString(sum[:])
}

// maxTrait is how long a text in a trait is, in bytes, and maxLevels how deep a
// document is looked into.
const (
	maxTrait  = 200
	maxLevels = 32
)

// walk adds the members of a JSON document: that they are there, and what they
// are. Elements of an array count as one.
func (t traits) walk(at string, value any, level int) {
	if len(t) >= maxTraits {
		return
	}
	if level > maxLevels {
		t[at+" deeper"] = true
		return
	}
	switch v := value.(type) {
	case map[string]any:
		t[at+" object"] = true
		for name, member := range v {
			t.walk(at+"/"+brief(name), member, level+1)
		}
	case []any:
		t[at+" array"] = true
		for _, element := range v {
			t.walk(at+"/*", element, level+1)
		}
	default:
		t[fmt.Sprintf("%s %T", at, v)] = true
		t[fmt.Sprintf(valueTrait+"%s = %.200v", at, v)] = true
	}
}

func both(a, b traits) traits {
	out := traits{}
	for trait := range a {
		if b[trait] {
			out[trait] = true
		}
	}
	return out
}

func common(all []traits) traits {
	if len(all) == 0 {
		return traits{}
	}
	out := all[0]
	for _, t := range all[1:] {
		out = both(out, t)
	}
	return out
}

func (t traits) without(all ...traits) traits {
	out := traits{}
	for trait := range t {
		if !slices.ContainsFunc(all, func(other traits) bool { return other[trait] }) {
			out[trait] = true
		}
	}
	return out
}

// share is how much of t is in other, from 0 to 1; and whether t is anything.
func (t traits) share(other traits) (float64, bool) {
	if len(t) == 0 {
		return 0, false
	}
	return float64(len(both(t, other))) / float64(len(t)), true
}

// likeness is what tells answers to a user's valid session from those to none.
type likeness struct {
	statuses []int    // of valid answers
	alive    traits   // in every valid answer, and in no other
	dead     []traits // for each kind of refusal: in each of its answers, and in no valid one
	refusals []int    // their statuses
	// bare are kinds of refusal of which everything is in valid answers too: what
	// tells them is what they lack.
	bare []traits
}

// teach adds answers of controls. A user of -1 means: nobody, a dead control of a
// new kind.
func (rt *route) teach(user int, answers ...*answer) {
	rt.mu.Lock()
	defer rt.mu.Unlock()
	var all []traits
	for _, a := range answers {
		all = append(all, traitsOf(a))
		if rt.identity != nil && user >= 0 {
			if id, found := rt.identity.Find(target.Answer{Header: a.header, Body: a.body}); found {
				rt.ids[user] = id.Reveal()
			}
		}
	}
	rt.learnt = map[int]*likeness{}
	if user < 0 {
		rt.dead = append(rt.dead, all)
		return
	}
	// What a route answers may change in the course of a run. The newest answers
	// count.
	if all = append(rt.alive[user], all...); len(all) > maxSamples {
		all = slices.Concat(all[:2], all[len(all)-maxSamples+2:])
	}
	rt.alive[user] = all
}

// maxSamples is how many valid answers are remembered.
const maxSamples = 6

func (rt *route) likeness(user int) *likeness {
	if l := rt.learnt[user]; l != nil {
		return l
	}
	l := &likeness{}
	valid := rt.alive[user]
	var refused []traits
	for _, kind := range rt.dead {
		refused = append(refused, kind...)
		own := common(kind).without(valid...)
		if len(own) == 0 {
			l.bare = append(l.bare, common(kind))
		}
		l.dead = append(l.dead, own)
		for _, t := range kind {
			l.refusals = append(l.refusals, t.status())
		}
	}
	for _, t := range valid {
		l.statuses = append(l.statuses, t.status())
	}
	l.alive = common(valid).without(refused...)
	rt.learnt[user] = l
	return l
}

func (t traits) status() int {
	for trait := range t {
		var status int
		if n, err := fmt.Sscanf(trait, statusTrait+"%d", &status); n == 1 && err == nil {
			return status
		}
	}
	return 0
}

// judge says what an answer to a user's artefact means, by what the route's
// controls have taught. The note says why it is unclear.
func (rt *route) judge(user int, a *answer) (Class, string) {
	switch {
	case a.err != nil:
		return Unclear, "no answer"
	case a.silent():
		return Unclear, fmt.Sprintf("%d says nothing of the session", a.status)
	}
	rt.mu.Lock()
	defer rt.mu.Unlock()
	l := rt.likeness(user)
	t := traitsOf(a)
	if !slices.Contains(l.statuses, a.status) {
		switch {
		case slices.Contains(l.refusals, a.status), a.status >= 300 && a.status < 500:
			return Dead, ""
		default:
			return Unclear, fmt.Sprintf("neither control was ever answered %d", a.status)
		}
	}
	sameStatus := slices.Contains(l.refusals, a.status)
	alive, dead, telling := l.compare(t, sameStatus)
	if id := rt.ids[user]; id != "" {
		switch got, found := rt.identity.Find(target.Answer{Header: a.header, Body: a.body}); {
		case found && got.Reveal() == id && dead < 0.5:
			return Alive, ""
		case found && got.Reveal() != id:
			return Unclear, "the answer is for somebody else"
		case !found:
			alive, telling = 0, true
		}
	}
	switch {
	case telling && alive >= alike && (dead < alike || !sameStatus), !telling && dead <= 1-alike:
		return Alive, ""
	case dead >= alike && alive <= 1-alike:
		return Dead, ""
	}
	return Unclear, fmt.Sprintf("%d%% like a valid session's answer, %d%% like a refusal", int(100*alive), int(100*dead))
}

// silent reports whether an answer, or its lack, says nothing of the session that it
// was asked for with.
func (a *answer) silent() bool {
	return a.err != nil || slices.Contains([]int{
		http.StatusTooManyRequests, http.StatusServiceUnavailable, http.StatusRequestTimeout, http.StatusTooEarly,
	}, a.status)
}

// alike is how much of what tells answers apart must be there.
const alike = 0.8

// compare says how much of an answer is what only valid answers have, and how much
// what only refusals of one kind have, from 0 to 1; and whether valid answers have
// anything that is only theirs. Its status is one of valid answers.
//
// Where refusals have another status, that has said most of it: what members an
// answer has must fit, and their values may change. Where they have the same
// status, the values count too: {"in": true} against {"in": false}.
func (l *likeness) compare(t traits, sameStatus bool) (alive, dead float64, telling bool) {
	skip := func(trait string) bool { return strings.HasPrefix(trait, statusTrait) }
	if shape := l.alive.but(func(trait string) bool {
		return skip(trait) || strings.HasPrefix(trait, valueTrait)
	}); !sameStatus && len(shape) > 0 {
		skip = func(trait string) bool {
			return strings.HasPrefix(trait, statusTrait) || strings.HasPrefix(trait, valueTrait)
		}
	}
	alive, telling = l.alive.but(skip).share(t)
	for _, kind := range l.dead {
		if share, is := kind.but(skip).share(t); is {
			dead = max(dead, share)
		}
	}
	if alive > 1-alike {
		return alive, dead, telling
	}
	for _, kind := range l.bare {
		// It has all that such a refusal has, and nothing else.
		has, _ := kind.share(t)
		only, _ := t.share(kind)
		dead = max(dead, min(has, only))
	}
	return alive, dead, telling
}

func (t traits) but(skip func(string) bool) traits {
	out := traits{}
	for trait := range t {
		if !skip(trait) {
			out[trait] = true
		}
	}
	return out
}

// passes reports whether the answers to one kind of dead control cannot be told
// from those to a valid session of the user.
func (rt *route) passes(user int, answers []*answer) bool {
	rt.mu.Lock()
	defer rt.mu.Unlock()
	var kind []traits
	for _, a := range answers {
		if a.err != nil || a.status >= 500 {
			return false
		}
		kind = append(kind, traitsOf(a))
	}
	valid := rt.alive[user]
	return len(common(valid).without(kind...)) == 0 && len(common(kind).without(valid...)) == 0
}
