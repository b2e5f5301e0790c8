package linear

import (
	"fmt"
	"strings"

	"github.com/anishathalye/porcupine"
)

// The sequential model is one subject with the sessions that it ever had: what a
// single process that does one thing after another would answer.

const (
	// sessionsMost bounds the sessions of one subject, and so its state.
	sessionsMost = 10
	// liveTokens is how many access tokens of a session stand: those of its last
	// generations (rescind.MaxAccessEntries).
	liveTokens = 4
)

// doing is what an operation does.
type doing uint8

const (
	login      doing = iota // opens session, and ends the session other if there is one
	check                   // asks about the access token of a generation
	inspect                 // asks about the refresh token of a generation
	refresh                 // redeems the refresh token of a generation
	end                     // ends session
	endAll                  // ends every session of the subject
	endOthers               // ends every one but session
	everywhere              // ends every session, if the access token of a generation stands
)

var doings = [...]string{"login", "check", "introspection of a refresh token", "refresh", "end", "end of all", "end of all others", "logout everywhere"}

// input is what was asked. Sessions are numbered within their subject.
type input struct {
	do         doing
	session    int // none: -1
	other      int // none: -1
	generation int
	how        string // by which request, and of which node; for people
}

// verdict is what was answered.
type verdict uint8

const (
	yes     verdict = iota // done; the token stands
	no                     // the token is no good
	unknown                // 503, or no answer: it may have happened, may happen yet, or never
)

// output is an answer, and the tokens that it handed out.
type output struct {
	is     verdict
	tokens uint64 // a hash of them
}

type cell struct {
	is         standing
	generation uint16
	tokens     uint64 // of this generation; 0 where nobody was told yet
}

type standing uint8

const (
	unborn standing = iota
	alive
	ended
)

type state [sessionsMost]cell

// honours reports whether the access token of a generation stands.
func (c *cell) honours(generation int) bool {
	return c.is == alive && generation <= int(c.generation) && generation > int(c.generation)-liveTokens
}

func step(s state, in input, out output) (bool, state) {
	switch in.do {
	case login:
		if in.session >= 0 { // one whose outcome is unknown opens a session that nobody can name
			s[in.session] = cell{is: alive, tokens: out.tokens}
		}
		if in.other >= 0 {
			s[in.other].is = ended
		}
	case check:
		return out.is == unknown || s[in.session].honours(in.generation) == (out.is == yes), s
	case inspect:
		c := &s[in.session]
		live := c.is == alive && (in.generation == int(c.generation) || in.generation == int(c.generation)-1)
		return out.is == unknown || live == (out.is == yes), s
	case refresh:
		return redeem(s, in, out)
	case end:
		s[in.session].is = ended
	case everywhere:
		if out.is == no {
			return !s[in.session].honours(in.generation), s
		}
		fallthrough // it may have ended since the token was looked at: so did the others
	case endAll:
		for i := range s {
			if s[i].is == alive {
				s[i].is = ended
			}
		}
	case endOthers:
		for i := range s {
			if s[i].is == alive && i != in.session {
				s[i].is = ended
			}
		}
	}
	return out.is != no, s
}

// redeem: the current generation has a successor; the one before has the same one;
// anything older is reuse, and ends the session.
func redeem(s state, in input, out output) (bool, state) {
	c := &s[in.session]
	g := int(c.generation)
	switch {
	case c.is != alive:
		return out.is != yes, s
	case in.generation == g:
		if out.is == no {
			return false, s
		}
		c.generation++
		c.tokens = out.tokens // 0 if the outcome is unknown
		return true, s
	case in.generation == g-1:
		switch {
		case out.is == yes && c.tokens == 0:
			c.tokens = out.tokens
		case out.is == yes && c.tokens != out.tokens, out.is == no:
			return false, s
		}
		return true, s
	case in.generation < g-1:
		if out.is == yes {
			return false, s
		}
		c.is = ended
		return true, s
	}
	return out.is == unknown, s // of a generation that there is not yet
}

var model = porcupine.Model{
	Init: func() any { return state{} },
	Step: func(s, in, out any) (bool, any) {
		ok, next := step(s.(state), in.(input), out.(output))
		return ok, next
	},
	Hash: func(s any) uint64 {
		h := uint64(14695981039346656037)
		for _, c := range s.(state) {
			h = (h ^ uint64(c.is) ^ uint64(c.generation)<<2 ^ c.tokens<<20) * 1099511628211
		}
		return h
	},
	DescribeOperation: func(in, out any) string { return describe(in.(input), out.(output)) },
}

func describe(in input, out output) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s", doings[in.do])
	switch in.do {
	case endAll:
	case check, inspect, refresh, everywhere:
		fmt.Fprintf(&b, " of session %d, generation %d", in.session, in.generation)
	case login:
		if in.session >= 0 {
			fmt.Fprintf(&b, " opens session %d", in.session)
		}
		if in.other >= 0 {
			fmt.Fprintf(&b, " and ends session %d", in.other)
		}
	case end, endOthers:
		fmt.Fprintf(&b, " of session %d", in.session)
	}
	fmt.Fprintf(&b, " (%s): %s", in.how, [...]string{"yes", "no", "unknown"}[out.is])
	if out.tokens != 0 {
		fmt.Fprintf(&b, ", tokens %04x", out.tokens&0xffff)
	}
	return b.String()
}
