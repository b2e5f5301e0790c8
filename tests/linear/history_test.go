package linear

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"sort"
	"strings"
	"time"

	"github.com/anishathalye/porcupine"
)

// open is the return time of what may yet happen.
const open = math.MaxInt64

// history is what was done with one subject, each part with its times.
type history []porcupine.Operation

// undecided is how long the judge may think about one history.
const undecided = 5 * time.Minute

// judge says what is wrong with a history; "" if it is what a single process could
// have answered. Each session is judged by itself first, which is quick, and then
// all of them together: what ends several ends them at once.
func (h history) judge() string {
	for n := range sessionsMost {
		if part := h.of(n); part.check() != porcupine.Ok {
			return part.explain()
		}
	}
	switch h.check() {
	case porcupine.Ok:
		return ""
	case porcupine.Unknown:
		return fmt.Sprintf("a history of %d operations could not be judged in %s", len(h.reduced()), undecided)
	}
	return h.explain()
}

func (h history) check() porcupine.CheckResult {
	return porcupine.CheckOperationsTimeout(model, h.reduced(), undecided)
}

// of is what concerns one session.
func (h history) of(session int) history {
	var part history
	for _, op := range h {
		in := op.Input.(input)
		switch {
		case in.do == everywhere && in.session != session && op.Output.(output).is == no: // asks about another
		case in.ends(session), in.session == session && in.do != endOthers:
			part = append(part, op)
		}
	}
	return part
}

// reduced leaves out what follows from the rest, because a token that is no good
// stays so, and one that stands has stood since it was handed out: of the checks
// that say yes, those before another one; of those that say no, those after another
// one; and what was done with a session after its end had been acknowledged, unless
// it passed. So there is less to put in order.
func (h history) reduced() history {
	type question struct {
		do                  doing
		session, generation int
	}
	lastYes, firstNo := map[question]int64{}, map[question]int64{} // begun, and returned
	var born, over [sessionsMost]int64
	for n := range sessionsMost {
		over[n] = open
	}
	for _, op := range h {
		if in := op.Input.(input); in.do == login && in.session >= 0 {
			born[in.session] = op.Return
		}
	}
	for _, op := range h {
		in, is := op.Input.(input), op.Output.(output).is
		q := question{in.do, in.session, in.generation}
		switch {
		case is == unknown:
		case in.do == check || in.do == inspect:
			if is == yes {
				lastYes[q] = max(lastYes[q], op.Call)
			} else if at, ok := firstNo[q]; !ok || op.Return < at {
				firstNo[q] = op.Return
			}
		case in.do == refresh && is == no:
			over[in.session] = min(over[in.session], op.Return)
		case is == yes:
			for n := range sessionsMost {
				if in.ends(n) && op.Call > born[n] && born[n] > 0 {
					over[n] = min(over[n], op.Return)
				}
			}
		}
	}
	return slices.DeleteFunc(slices.Clone(h), func(op porcupine.Operation) bool {
		in, is := op.Input.(input), op.Output.(output).is
		q := question{in.do, in.session, in.generation}
		switch in.do {
		case check, inspect:
			if is == yes {
				return lastYes[q] > op.Return
			}
			at, ok := firstNo[q]
			return is == unknown || op.Call > over[in.session] || ok && op.Call > at
		case refresh:
			return is != yes && op.Call > over[in.session]
		case end:
			return is != no && op.Call > over[in.session]
		case everywhere:
			return is == no && op.Call > over[in.session]
		}
		return false
	})
}

// explain finds the first answer that cannot have been, and names the law.
func (h history) explain() string {
	ordered := slices.Clone(h)
	slices.SortStableFunc(ordered, func(a, b porcupine.Operation) int { return cmp.Compare(a.Return, b.Return) })
	n := sort.Search(len(ordered), func(n int) bool { return ordered.until(n+1).check() != porcupine.Ok })
	if n == len(ordered) {
		return "no part of the history is wrong, but the whole is"
	}
	wrong := ordered[n]
	var b strings.Builder
	fmt.Fprintf(&b, "%s: %s\n", ordered[:n].law(wrong), describe(wrong.Input.(input), wrong.Output.(output)))
	for _, op := range ordered.until(n + 1) {
		if concerns(op.Input.(input), wrong.Input.(input).session) {
			until := fmt.Sprintf("%9.3f", float64(op.Return)/1e6)
			if op.Return == open {
				until = "        …"
			}
			fmt.Fprintf(&b, "  %9.3f–%s ms %s\n", float64(op.Call)/1e6, until, describe(op.Input.(input), op.Output.(output)))
		}
	}
	return b.String()
}

func concerns(in input, session int) bool {
	return in.session == session || in.other == session || in.do == endAll || in.do == everywhere || in.do == endOthers
}

// until is what was known when the nth of an ordered history returned.
func (h history) until(n int) history {
	var part history
	now := h[n-1].Return
	for i, op := range h {
		in := op.Input.(input)
		switch {
		case i < n:
		case op.Call > now, in.do == check, in.do == inspect:
			continue
		default:
			if in.do == login {
				in.session = -1
			}
			op.Return, op.Input, op.Output = open, in, output{is: unknown}
		}
		part = append(part, op)
	}
	return part
}

// law names what an answer breaks, with what came before it.
func (h history) law(wrong porcupine.Operation) string {
	in, out := wrong.Input.(input), wrong.Output.(output)
	switch {
	case out.is == no && in.do != check && in.do != inspect && in.do != refresh && in.do != everywhere:
		return "durability: a session that was handed out is not there"
	case out.is == no:
		return "law 4 (closed): a token that stands is called bad"
	}
	if in.do == refresh {
		for _, op := range h {
			was, got := op.Input.(input), op.Output.(output)
			if was.do == refresh && was.session == in.session && was.generation == in.generation && got.is == yes && got.tokens != out.tokens {
				return "law 5 (one successor): a refresh token has two"
			}
		}
	}
	var born int64
	for _, op := range h {
		if was := op.Input.(input); was.do == login && was.session == in.session {
			born = op.Return
		}
	}
	told := false
	for _, op := range h {
		was, got := op.Input.(input), op.Output.(output)
		if op.Return >= wrong.Call {
			continue
		}
		if got.is == yes && op.Call > born && was.ends(in.session) {
			return "law 1 (logout): a token passes after a revocation returned"
		}
		told = told || got.is == no && was.session == in.session && (was.do == refresh || was.generation == in.generation)
	}
	if told {
		return "law 3 (last word): a token passes that was called bad before"
	}
	return "law 2 (ledger): a token passes that cannot stand"
}

// ends reports whether what was asked for ends a session that was there.
func (in input) ends(session int) bool {
	switch in.do {
	case end:
		return in.session == session
	case endAll, everywhere:
		return true
	case endOthers:
		return in.session != session
	case login:
		return in.other == session
	}
	return false
}
