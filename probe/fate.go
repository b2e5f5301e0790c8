package probe

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// A fate is what became of an artefact after the end of its session.
type fate int

const (
	unknown  fate = iota // nothing that was seen proves anything
	refused              // whenever it was presented
	survived             // alive whenever it was presented
	late                 // alive at first, and then refused
	revived              // refused at first, and then alive
	flapping             // alive, refused, alive: the answers contradict each other
)

// fate judges a life by its replays. A refusal that is not backed counts for
// nothing, and neither do the refusals of a route whose live controls fail, those
// after which nothing more could be known, or those of what was not seen alive
// before; an answer as to the living is one.
func (l *life) fate() fate {
	var proven []Class
	for _, a := range l.answers {
		if class := proves(a); class != Unclear && (len(proven) == 0 || proven[len(proven)-1] != class) {
			proven = append(proven, class)
		}
	}
	switch {
	case len(proven) == 0:
		return unknown
	case len(proven) == 1 && proven[0] == Alive:
		return survived
	case len(proven) == 1 && (l.before != nil && l.before.silent() || l.doubtful() > len(l.answers)/2 || proves(l.answers[len(l.answers)-1]) == Unclear || l.route.pulse.unreliable()):
		return unknown
	case len(proven) == 1:
		return refused
	case slices.Equal(proven, []Class{Alive, Dead}):
		return late
	case slices.Equal(proven, []Class{Dead, Alive}):
		return revived
	}
	return flapping
}

// doubtful is how many replays proved nothing.
func (l *life) doubtful() int {
	n := 0
	for _, a := range l.answers {
		if proves(a) == Unclear {
			n++
		}
	}
	return n
}

func (l *life) lastAs(class Class) (time.Duration, bool) {
	for _, a := range slices.Backward(l.answers) {
		if proves(a) == class {
			return a.began.Sub(l.ended), true
		}
	}
	return 0, false
}

func (l *life) firstAs(class Class) (time.Duration, bool) {
	for _, a := range l.answers {
		if proves(a) == class {
			return a.began.Sub(l.ended), true
		}
	}
	return 0, false
}

// patterns are the checks that compare lives with each other, or one with itself.
func (o *observation) patterns() []Result {
	oneInstance := "the description names one instance only"
	if len(o.run.target.Instances) > 1 {
		oneInstance = "a session worked at one instance only, before its logout"
	}
	return []Result{
		o.disagreement("instance-disagrees", oneInstance,
			func(l *life) string { return l.route.instance },
			func(l *life) string { return l.artefact.session + " " + l.artefact.name + " " + l.route.line }),
		o.disagreement("route-disagrees", "one protected route cannot disagree with itself",
			func(l *life) string { return l.route.line },
			func(l *life) string { return l.artefact.session + " " + l.artefact.name + " " + l.route.instance }),
		o.lateness(),
		o.revival(),
	}
}

// disagreement compares lives of the same group in different places.
func (o *observation) disagreement(check, none string, place, group func(*life) string) Result {
	groups := map[string][]*life{}
	var order, seen []string
	for _, l := range o.lives {
		if check == "route-disagrees" && l.artefact.kind == RefreshToken {
			continue
		}
		if p := place(l); !slices.Contains(seen, p) {
			seen = append(seen, p)
		}
		g := group(l)
		if groups[g] == nil {
			order = append(order, g)
		}
		groups[g] = append(groups[g], l)
	}
	if len(seen) < 2 {
		return Result{Check: check, Verdict: NotApplicable, Reason: none}
	}
	var unclear []*life
	var says []string
	var shown []*life
	contradictory := ""
	for _, g := range order {
		var dead, living []*life
		for _, l := range groups[g] {
			switch f := l.fate(); {
			case check == "route-disagrees" && (f == flapping || f == revived):
				contradictory = l.route.line // by luck, or by time, and not by the route
			case f == refused, f == late:
				dead = append(dead, l)
			case f == survived, f == flapping:
				living = append(living, l)
			case f == unknown:
				unclear = append(unclear, l)
			}
		}
		if len(dead) == 0 || len(living) == 0 {
			continue
		}
		say := fmt.Sprintf("%s: refused at %s, alive at %s", living[0].artefact.name, list(dead, place), list(living, place))
		if !slices.Contains(says, say) {
			says = append(says, say)
			shown = append(shown, dead[0], living[0])
		}
	}
	result := Result{Check: check}
	switch {
	case says != nil:
		result.Verdict, result.Says = Finding, strings.Join(says, "; ")
		result.Lives = o.file(shown)
		result.Evidence = append(o.evidence(shown[0]), o.evidence(shown[1])...)
	case unclear != nil:
		result.Verdict, result.Reason = Inconclusive, doubts(unclear, o.lives)
	case contradictory != "":
		result.Verdict, result.Reason = NotApplicable, "the answers of "+contradictory+" contradict each other, which is another finding"
	default:
		result.Verdict, result.Says = Pass, fmt.Sprintf("%d of them agree", len(seen))
	}
	return result
}

// each makes a result of the lives with a fate, one for each artefact, or a pass.
func (o *observation) each(check string, passes string, fates []fate, say func(*life) string) Result {
	var with, unclear []*life
	for _, l := range o.lives {
		switch f := l.fate(); {
		case slices.Contains(fates, f):
			with = append(with, l)
		case f == unknown:
			unclear = append(unclear, l)
		}
	}
	result := Result{Check: check}
	switch {
	case with != nil:
		result.Verdict, result.Lives, result.Evidence = Finding, o.file(with), o.evidence(with[0])
		var says []string
		for _, name := range artefactNames(with) {
			some := named(with, name)
			says = append(says, fmt.Sprintf("%s: %s, on %s", name, say(some[0]), places(some, named(o.lives, name))))
		}
		result.Says = strings.Join(says, "; ")
	case unclear != nil:
		result.Verdict, result.Reason = Inconclusive, doubts(unclear, o.lives)
	default:
		result.Verdict, result.Says = Pass, passes
	}
	return result
}

// lateness reports what died late. Where what is the same artefact on another route
// is refused and taken again, what looks like a late death is luck.
func (o *observation) lateness() Result {
	rest := *o
	rest.lives = slices.DeleteFunc(slices.Clone(o.lives), func(l *life) bool {
		return l.fate() == late && slices.ContainsFunc(o.lives, func(other *life) bool {
			f := other.fate()
			return (f == flapping || f == revived) && other.artefact.session == l.artefact.session &&
				other.artefact.name == l.artefact.name && other.route.instance == l.route.instance
		})
	})
	return rest.each("death-is-late", "nothing that was refused had been taken after the logout", []fate{late}, func(l *life) string {
		alive, _ := l.lastAs(Alive)
		dead, _ := l.firstAs(Dead)
		return fmt.Sprintf("still alive %s after the logout, refused from %s on", round(alive), round(dead))
	})
}

func (o *observation) revival() Result {
	return o.each("revives", "nothing that was refused was taken again", []fate{revived, flapping}, func(l *life) string {
		dead, _ := l.firstAs(Dead)
		alive, _ := l.lastAs(Alive)
		taken := 0
		for _, a := range l.answers {
			if a.class == Alive {
				taken++
			}
		}
		return fmt.Sprintf("refused %s after the logout, and taken after %s; taken %d of %d times", round(dead), round(alive), taken, len(l.answers))
	})
}

func named(lives []*life, name string) []*life {
	return slices.DeleteFunc(slices.Clone(lives), func(l *life) bool { return l.artefact.name != name })
}

// list names the places of lives.
func list(lives []*life, place func(*life) string) string {
	var all []string
	for _, l := range lives {
		if p := place(l); !slices.Contains(all, p) {
			all = append(all, p)
		}
	}
	return strings.Join(all, ", ")
}

// places says on how many routes of how many instances lives are, of all.
func places(some, all []*life) string {
	line := func(l *life) string { return l.route.line }
	instance := func(l *life) string { return l.route.instance }
	count := func(lives []*life, f func(*life) string) int {
		seen := map[string]bool{}
		for _, l := range lives {
			seen[f(l)] = true
		}
		return len(seen)
	}
	text := fmt.Sprintf("%d of %d routes", count(some, line), count(all, line))
	if count(some, line) < count(all, line) || count(all, line) == 1 {
		text = list(some, line)
	}
	if n := count(all, instance); n > 1 {
		text += fmt.Sprintf(" of %d of %d instances", count(some, instance), n)
		if count(some, instance) < n {
			text += " (" + list(some, instance) + ")"
		}
	}
	return text
}

// replays says how lives were refused, and from when on.
func replays(lives []*life) string {
	n := 0
	var from, to time.Duration
	for _, l := range lives {
		n += len(l.answers)
		if dead, is := l.firstAs(Dead); is {
			from = max(from, dead)
		}
		if dead, is := l.lastAs(Dead); is {
			to = max(to, dead)
		}
	}
	return fmt.Sprintf("%d replays, from %s to %s after the logout", n, round(from), round(to))
}

// doubts says why lives prove nothing.
func doubts(unclear, all []*life) string {
	counts := map[string]int{}
	var order []string
	n := 0
	for _, l := range unclear {
		reasons := l.answers
		if l.before != nil && l.before.silent() {
			reasons = []*answer{l.before}
		}
		if len(reasons) == 0 {
			if counts["it expired before it could be replayed"]++; counts["it expired before it could be replayed"] == 1 {
				order = append(order, "it expired before it could be replayed")
			}
			continue
		}
		for _, a := range reasons {
			why := ""
			switch {
			case a.class == Dead && !a.backed:
				why = "a refusal, while a live session got no answer either"
			case a.class == Dead:
				why = "a refusal, on a route whose live controls fail now and then"
			case a.note != "":
				why = a.note
			default:
				why = "an answer that could not be judged"
			}
			n++
			if counts[why]++; counts[why] == 1 {
				order = append(order, why)
			}
		}
	}
	var parts []string
	for _, why := range order {
		parts = append(parts, fmt.Sprintf("%s (%d×)", why, counts[why]))
	}
	return fmt.Sprintf("%d of %d lives prove nothing: %s", len(unclear), len(all), strings.Join(parts, ", "))
}
