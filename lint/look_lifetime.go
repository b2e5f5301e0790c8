package lint

import (
	"math"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/rescind/rescind/lint/program"
)

// blocklistExpiresEarly: messages: default.
func blocklistExpiresEarly(st *study) {
	for _, l := range st.logouts {
		lives, where := st.longestLife(l.file)
		if where == nil {
			continue
		}
		for _, s := range l.reach.sites {
			if v := st.verdict(s); !v.effect || !s.call() || !st.keeps(s) {
				continue
			}
			kept, ok := st.keptFor(s)
			if !ok || kept >= lives {
				continue
			}
			f := st.finding(s.scope.File, s.node.Range, Likely, "default", kept.String(), lives.String())
			st.step(f, where, "the token lives for "+lives.String())
			st.emit(f)
		}
	}
}

// keeps reports that a write is of what is refused, and not of what stands.
func (st *study) keeps(s *site) bool {
	return st.blocks(s) || st.about("revokes", s.fn().Name)
}

// longestLife is how long the access tokens of an application live, as far as that
// is a constant. Refresh tokens live longer, and are another matter.
func (st *study) longestLife(near *program.File) (time.Duration, *site) {
	var longest time.Duration
	var where *site
	for _, x := range st.signings() {
		s := x.site
		if !st.program.Together(s.scope.File, near) || st.other(s, s.fn()) {
			continue
		}
		if slices.ContainsFunc(append(words(s.node), owner(s.fn())), func(w string) bool { return st.about("refresh-word", w) }) {
			continue
		}
		if d, ok := st.lifeOf(s); ok && d > longest {
			longest, where = d, s
		}
	}
	return longest, where
}

// lifeOf is the lifetime of the tokens that are signed in one place.
func (st *study) lifeOf(s *site) (life time.Duration, ok bool) {
	var look func(n *program.Node, in *program.Scope, depth int)
	look = func(n *program.Node, in *program.Scope, depth int) {
		if n == nil || depth > 4 || ok {
			return
		}
		if n.Kind != program.Object {
			if v := st.program.Value(n, in); v.Node != nil && v.Node.Kind == program.Object && v.Scope != nil {
				n, in = v.Node, v.Scope
			}
		}
		for i := range n.Fields {
			f := &n.Fields[i]
			if f.Value == nil {
				continue
			}
			if st.about("expiry", f.Key) {
				if d, known := st.duration(f.Value, in, 0); known && d > 0 {
					life, ok = d, true
				}
			}
			look(f.Value, in, depth+1)
		}
	}
	for _, a := range s.node.Args {
		look(a, s.scope, 0)
	}
	return life, ok
}

// keptFor is how long a store keeps what a call writes.
func (st *study) keptFor(s *site) (time.Duration, bool) {
	args := s.node.Args
	at := func(i int) (time.Duration, bool) {
		if i < 0 || i >= len(args) {
			return 0, false
		}
		d, ok := st.duration(args[i], s.scope, 0)
		return d, ok && d > 0
	}
	for i, a := range args {
		if a.Kind == program.String && (strings.EqualFold(a.Text, "EX") || strings.EqualFold(a.Text, "PX")) {
			d, ok := at(i + 1)
			if strings.EqualFold(a.Text, "PX") {
				d /= 1000
			}
			return d, ok
		}
	}
	options := s.node
	for _, a := range args {
		if a.Kind == program.Object {
			options = a
		}
	}
	for i := range options.Fields {
		f := &options.Fields[i]
		switch strings.ToLower(f.Key) {
		case "ex", "ttl", "timeout", "expire", "expires", "nx_ex":
			return st.duration(f.Value, s.scope, 0)
		}
	}
	switch s.last() {
	case "setex":
		return at(1)
	case "expire":
		return at(1)
	case "set", "setnx":
		if s.scope.File.Language == program.Go {
			return at(len(args) - 1)
		}
	}
	return 0, false
}

var span = regexp.MustCompile(`^\s*(\d+(?:\.\d+)?)\s*(ms|milliseconds?|s|secs?|seconds?|m|mins?|minutes?|h|hrs?|hours?|d|days?|w|weeks?|y|yrs?|years?)?\s*$`)

var spans = map[byte]time.Duration{'s': time.Second, 'm': time.Minute, 'h': time.Hour, 'd': 24 * time.Hour, 'w': 7 * 24 * time.Hour, 'y': 365 * 24 * time.Hour}

// Units by the names that time.Duration, timedelta and the like have for them.
var units = map[string]time.Duration{
	"second": time.Second, "seconds": time.Second, "minute": time.Minute, "minutes": time.Minute, "hour": time.Hour, "hours": time.Hour,
	"day": 24 * time.Hour, "days": 24 * time.Hour, "week": 7 * 24 * time.Hour, "weeks": 7 * 24 * time.Hour, "millisecond": time.Millisecond,
	"milliseconds": time.Millisecond,
}

// duration is the value of an expression as a length of time: a number is seconds,
// a string is as jsonwebtoken reads it, time.Now().Add(d) and the like are d.
func (st *study) duration(n *program.Node, in *program.Scope, depth int) (time.Duration, bool) {
	if n == nil || depth > 12 {
		return 0, false
	}
	seconds := func(f float64) (time.Duration, bool) {
		if f < 0 || f > 1e9 || math.IsNaN(f) {
			return 0, false
		}
		return time.Duration(f * float64(time.Second)), true
	}
	switch n.Kind {
	case program.Number:
		f, err := strconv.ParseFloat(n.Text, 64)
		if err != nil {
			return 0, false
		}
		return seconds(f)
	case program.String:
		m := span.FindStringSubmatch(strings.ToLower(n.Text))
		if m == nil {
			return 0, false
		}
		f, err := strconv.ParseFloat(m[1], 64)
		if err != nil {
			return 0, false
		}
		switch {
		case m[2] == "" || m[2] == "ms" || strings.HasPrefix(m[2], "milli"): // as a string, jsonwebtoken counts milliseconds
			return seconds(f / 1000)
		default:
			return seconds(f * spans[m[2][0]].Seconds())
		}
	case program.Operator:
		return st.computed(n, in, depth)
	case program.Call:
		return st.calledDuration(n, in, depth)
	case program.Member:
		if u, ok := units[strings.ToLower(n.Text)]; ok {
			return u, true
		}
	}
	v := st.program.Value(n, in)
	if v.Node != nil && v.Node != n && v.Scope != nil {
		return st.duration(v.Node, v.Scope, depth+1)
	}
	return 0, false
}

func (st *study) computed(n *program.Node, in *program.Scope, depth int) (time.Duration, bool) {
	if len(n.Args) != 2 {
		return 0, false
	}
	if n.Text == "+" { // from now on
		for i, a := range n.Args {
			if isNow(a) {
				return st.duration(n.Args[1-i], in, depth+1)
			}
		}
	}
	a, known := st.duration(n.Args[0], in, depth+1)
	b, too := st.duration(n.Args[1], in, depth+1)
	if !known || !too {
		return 0, false
	}
	switch n.Text {
	case "*": // 24 * time.Hour, 60 * 60
		if f := a.Seconds() * b.Seconds(); f < 1e9 {
			return time.Duration(f * float64(time.Second)), true
		}
	case "+":
		return a + b, true
	case "/":
		if b > 0 {
			return time.Duration(a.Seconds() / b.Seconds() * float64(time.Second)), true
		}
	}
	return 0, false
}

// isNow reports that an expression is the present time, as a number or not; what is
// left of a time, exp - now, is not.
func isNow(n *program.Node) bool {
	found := false
	program.Walk(n, func(n *program.Node) bool {
		if n.Kind == program.Operator && n.Text == "-" {
			return false
		}
		if n.Kind == program.Member || n.Kind == program.Name {
			switch strings.ToLower(n.Text) {
			case "now", "utcnow", "gettime", "time":
				found = true
			}
		}
		return !found
	})
	return found
}

func (st *study) calledDuration(n *program.Node, in *program.Scope, depth int) (time.Duration, bool) {
	name := strings.ToLower(last(program.Written(n.On)))
	switch {
	case name == "timedelta":
		var all time.Duration
		for i := range n.Fields {
			d, ok := st.duration(n.Fields[i].Value, in, depth+1)
			u, unit := units[n.Fields[i].Key]
			if !ok || !unit {
				return 0, false
			}
			all += time.Duration(d.Seconds() * float64(u))
		}
		return all, len(n.Fields) > 0
	case len(n.Args) == 0 && (name == "unix" || name == "seconds" || name == "total_seconds" || name == "timestamp"):
		if n.On.Kind == program.Member {
			return st.duration(n.On.On, in, depth+1)
		}
	case len(n.Args) == 1 && (name == "add" || name == "newnumericdate" || name == "number" || name == "parseint" || name == "floor" || name == "int" || name == "round" || name == "duration"):
		return st.duration(n.Args[0], in, depth+1)
	}
	return 0, false
}
