package probe

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/rescind/rescind/probe/target"
)

func answered(status int, kind, body string) *answer {
	a := &answer{status: status, header: http.Header{"Content-Type": {kind}}, body: []byte(body)}
	if location, is := strings.CutPrefix(kind, "to "); is {
		a.header = http.Header{"Location": {location}}
	}
	a.request = get(&testing.T{}, "http://a.test/me")
	return a
}

const isJSON, isHTML = "application/json", "text/html"

// The judge says what an answer means by what the controls were answered, and in
// no other way: the same words mean one thing at one target, and another at the
// next.
func TestJudgeComparesWithBothControls(t *testing.T) {
	page := func(middle string) string {
		return "<html>\n<head><title>Notes</title></head>\n<body>\n<nav>Home | About</nav>\n" + middle + "\n<footer>2026</footer>\n</body>\n</html>"
	}
	for name, test := range map[string]struct {
		alive, dead []*answer
		identity    string
		answers     map[Class][]*answer
	}{
		"by status": {
			alive: []*answer{answered(200, isJSON, `{"user":"ada","at":1}`), answered(200, isJSON, `{"user":"ada","at":2}`)},
			dead:  []*answer{answered(401, isJSON, `{"error":"no"}`)},
			answers: map[Class][]*answer{
				Alive:   {answered(200, isJSON, `{"user":"ada","at":3}`), answered(200, isJSON, `{"user":"ada","at":4,"error":"Unauthorized"}`)},
				Dead:    {answered(401, isJSON, `{"error":"no"}`), answered(403, isJSON, ``), answered(400, "", ""), answered(404, "", ""), answered(302, "to /login", "")},
				Unclear: {answered(500, "", ""), answered(502, "", ""), answered(503, "", ""), answered(429, "", ""), answered(408, "", ""), answered(200, isJSON, `{"message":"revoked"}`), answered(200, isHTML, "<p>hello")},
			},
		},
		"by the members, where values change": {
			alive: []*answer{answered(200, isJSON, `{"user":"ada","unread":1}`), answered(200, isJSON, `{"user":"ada","unread":1}`)},
			dead:  []*answer{answered(401, "", ``)},
			answers: map[Class][]*answer{
				Alive:   {answered(200, isJSON, `{"user":"ada","unread":2}`), answered(200, isJSON, `{"user":"Ada","unread":3}`)},
				Unclear: {answered(200, isJSON, `{"user":null}`), answered(200, isJSON, `{"user":null,"unread":null}`), answered(200, isJSON, `{"error":"revoked"}`)},
			},
		},
		"by the values, where members are the same": {
			alive: []*answer{answered(200, isJSON, `{"message":"hello"}`), answered(200, isJSON, `{"message":"hello"}`)},
			dead:  []*answer{answered(401, isJSON, `{"message":"log in"}`)},
			answers: map[Class][]*answer{
				Alive: {answered(200, isJSON, `{"message":"hello"}`)}, Unclear: {answered(200, isJSON, `{"message":"your session has ended"}`)},
				Dead: {answered(401, isJSON, `{"message":"your session has ended"}`)},
			},
		},
		"by the body, where refusals say 200": {
			alive: []*answer{answered(200, isJSON, `{"data":{"me":{"name":"ada"}},"n":5}`), answered(200, isJSON, `{"data":{"me":{"name":"ada"}},"n":6}`)},
			dead:  []*answer{answered(200, isJSON, `{"data":{"me":null},"n":7}`), answered(200, isJSON, `{"data":{"me":null},"n":8}`)},
			answers: map[Class][]*answer{
				Alive:   {answered(200, isJSON, `{"data":{"me":{"name":"ada"}},"n":9}`)},
				Dead:    {answered(200, isJSON, `{"data":{"me":null},"n":10}`)},
				Unclear: {answered(200, isJSON, `{"data":{},"n":11}`), answered(200, isHTML, `busy`)},
			},
		},
		"by what is left out, where refusals say 200": {
			alive: []*answer{answered(200, isJSON, `{"user":"ada"}`), answered(200, isJSON, `{"user":"ada"}`)},
			dead:  []*answer{answered(200, isJSON, `{}`), answered(200, isJSON, `{}`)},
			answers: map[Class][]*answer{
				Alive:   {answered(200, isJSON, `{"user":"ada"}`)},
				Dead:    {answered(200, isJSON, `{}`)},
				Unclear: {answered(200, isJSON, `{"error":"busy","code":7}`), answered(200, isHTML, `busy`)},
			},
		},
		"by a word in a page": {
			alive: []*answer{answered(200, isHTML, page("<p>ada</p>")), answered(200, isHTML, page("<p>ada</p>"))},
			dead:  []*answer{answered(200, isHTML, page("<a href=/login>Log in</a>")), answered(200, isHTML, page("<a href=/login>Log in</a>"))},
			answers: map[Class][]*answer{
				Alive:   {answered(200, isHTML, page("<p>ada</p>"))},
				Dead:    {answered(200, isHTML, page("<a href=/login>Log in</a>"))},
				Unclear: {answered(200, isHTML, page("<p>maintenance</p>"))},
			},
		},
		"by a flag": {
			alive: []*answer{answered(200, isJSON, `{"in":true}`), answered(200, isJSON, `{"in":true}`)},
			dead:  []*answer{answered(200, isJSON, `{"in":false}`), answered(200, isJSON, `{"in":false}`)},
			answers: map[Class][]*answer{
				Alive: {answered(200, isJSON, `{"in":true}`)},
				Dead:  {answered(200, isJSON, `{"in":false}`)},
			},
		},
		"by where it leads": {
			alive: []*answer{answered(302, "to /home?x=1", ""), answered(302, "to /home?x=2", "")},
			dead:  []*answer{answered(302, "to /login?next=1", ""), answered(302, "to /login?next=2", "")},
			answers: map[Class][]*answer{
				Alive: {answered(302, "to /home?x=3", "")},
				Dead:  {answered(302, "to /login?next=3", "")},
			},
		},
		"by the identity": {
			alive:    []*answer{answered(200, isJSON, `{"me":"ada"}`), answered(200, isJSON, `{"me":"ada"}`)},
			dead:     []*answer{answered(200, isJSON, `{"me":"guest"}`), answered(200, isJSON, `{"me":"guest"}`)},
			identity: "/me",
			answers: map[Class][]*answer{
				Alive:   {answered(200, isJSON, `{"me":"ada"}`)},
				Unclear: {answered(200, isJSON, `{"me":"alan"}`), answered(200, isJSON, `{"me":"guest"}`), answered(200, isJSON, `{"you":"ada"}`)},
			},
		},
		"without a body": {
			alive: []*answer{answered(204, "", ""), answered(204, "", "")},
			dead:  []*answer{answered(401, "", "")},
			answers: map[Class][]*answer{
				Alive: {answered(204, "", "")}, Dead: {answered(401, "", "")}, Unclear: {answered(200, "", "")},
			},
		},
		"where a corrupted token is an error of the server": {
			alive: []*answer{answered(200, "", "yes"), answered(200, "", "yes")},
			dead:  []*answer{answered(500, "", "")},
			answers: map[Class][]*answer{
				Alive: {answered(200, "", "yes")}, Dead: {answered(500, "", ""), answered(401, "", "")}, Unclear: {answered(502, "", "")},
			},
		},
	} {
		t.Run(name, func(t *testing.T) {
			rt := newRoute(&target.Request{Line: "GET /me"}, "http://a.test")
			if test.identity != "" {
				rt.identity = &target.Finder{JSON: test.identity}
			}
			rt.teach(0, test.alive...)
			if rt.passes(0, test.dead) {
				t.Fatal("the refusals pass for valid answers")
			}
			rt.teach(-1, test.dead...)
			for class, answers := range test.answers {
				for _, a := range answers {
					if got, note := rt.judge(0, a); got != class {
						t.Errorf("%d %q is %s (%s), want %s", a.status, a.body, got, note, class)
					}
				}
			}
			if got, _ := rt.judge(0, &answer{err: fmt.Errorf("reset")}); got != Unclear {
				t.Errorf("no answer is %s", got)
			}
		})
	}
}

// What looks the same with and without a session is not protected.
func TestARouteWithOneAnswerForAllIsNotProtected(t *testing.T) {
	rt := newRoute(&target.Request{Line: "GET /me"}, "http://a.test")
	rt.teach(0, answered(200, isJSON, `{"now":1,"news":["a"]}`), answered(200, isJSON, `{"now":2,"news":["a","b"]}`))
	if !rt.passes(0, []*answer{answered(200, isJSON, `{"now":3,"news":["b"]}`), answered(200, isJSON, `{"now":4,"news":["a"]}`)}) {
		t.Error("it is told from a refusal")
	}
}

// The corrupted and the invented token are never the token itself.
func TestDeadControlsAreOtherTokens(t *testing.T) {
	jwt := "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJhZGEifQ.c2lnbmF0dXJlIG9mIDMyIGJ5dGVzIGZvciB0ZXN0cw"
	for _, value := range []string{jwt, "", "a", "0", "----", "s:abcdefgh.ijklmnop", "0123456789abcdef", "é", strings.Repeat("x", 100)} {
		for name, f := range map[string]func(string) string{"corrupted": corrupted, "invented": invented} {
			if f(value) == value {
				t.Errorf("%s %q is the same", name, value)
			}
		}
	}
	if c := corrupted(jwt); len(c) != len(jwt) || c[:strings.LastIndex(jwt, ".")] != jwt[:strings.LastIndex(jwt, ".")] {
		t.Errorf("not only the signature is corrupted: %s", c)
	}
}
