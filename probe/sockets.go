package probe

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/rescind/rescind/probe/target"
)

// socketExperiment logs a session out that holds sockets open.
func socketExperiment() experiment {
	const check = "socket-open-after-logout"
	return experiment{
		name: "sockets", checks: []string{check},
		lacks: func(t *target.Target) string {
			if len(t.Sockets) == 0 {
				return "the description has no socket"
			}
			return needsLogout(t)
		},
		run: func(ctx context.Context, r *run) ([]Result, error) {
			instance := r.target.Instances[0]
			s, control, err := r.fresh(ctx, instance)
			if err != nil {
				return nil, err
			}
			other, err := r.otherLive(ctx, instance)
			if err != nil {
				return nil, err
			}
			var pairs []*pair
			defer func() {
				for _, p := range pairs {
					p.close()
				}
			}()
			for i := range r.target.Sockets {
				for _, at := range r.target.Instances {
					p := &pair{run: r, check: check, socket: &r.target.Sockets[i], instance: at, valid: control}
					pairs = append(pairs, p)
					if err := p.open(ctx, s, other); err != nil {
						return nil, err
					}
				}
			}
			if err := r.firstWords(ctx, pairs); err != nil {
				return nil, err
			}
			held := r.together(s)
			logout, err := r.logout(ctx, s, instance)
			if err != nil {
				return nil, err
			}
			if err := r.options.Sleep(ctx, r.window()); err != nil {
				return nil, err
			}
			for _, p := range pairs {
				if err := p.reopen(ctx, held); err != nil {
					return nil, err
				}
			}
			if err := r.options.Sleep(ctx, r.reopened()); err != nil {
				return nil, err
			}
			var results []Result
			for _, p := range pairs {
				results = append(results, p.judge(logout)...)
			}
			return results, nil
		},
	}
}

// otherLive logs in somebody whose sockets have to stay open: the same user again
// or, where sessions of a user end each other, another one.
func (r *run) otherLive(ctx context.Context, instance string) (*session, error) {
	user := 0
	if r.crowded {
		other, is := r.bystander()
		if !is {
			return nil, &errNone{"sessions of a user end each other, and the description has no second user whose socket could stay open"}
		}
		user = other
	}
	return r.login(ctx, user, instance)
}

// A pair is a socket as two sessions have it open, one of which is logged out, and
// as nobody has.
type pair struct {
	run      *run
	check    string
	socket   *target.Socket
	instance string
	valid    *answer

	mine, other *line // of the session that is logged out, and of the one that is not
	nobody      *line
	anew        *line // opened after the logout
}

func (p *pair) lines() []*line {
	return slices.DeleteFunc([]*line{p.mine, p.other, p.nobody, p.anew}, func(l *line) bool { return l == nil })
}

func (p *pair) close() {
	for _, l := range p.lines() {
		l.close()
	}
}

func (p *pair) open(ctx context.Context, s, other *session) (err error) {
	r := p.run
	if p.mine, err = r.dial(ctx, "socket of the session", p.socket, p.instance, r.together(s)); err != nil {
		return err
	}
	if p.other, err = r.dial(ctx, "socket of another session", p.socket, p.instance, r.together(other)); err != nil {
		return err
	}
	none := r.together(s)
	none.name, none.session = "invented tokens", ""
	none = r.replaced(none, func(_, value string) string { return invented(value) })
	p.nobody, err = r.dial(ctx, "socket of nobody", p.socket, p.instance, none)
	return err
}

// reopen opens the socket once more with what the session held.
func (p *pair) reopen(ctx context.Context, held artefact) (err error) {
	p.anew, err = p.run.dial(ctx, "socket opened after the logout", p.socket, p.instance, held)
	return err
}

// firstWords waits until every socket that is open has received something, but for not
// longer than sockets commonly take.
func (r *run) firstWords(ctx context.Context, pairs []*pair) error {
	wait := r.reopened()
	step := min(wait/20, 100*time.Millisecond)
	for waited := time.Duration(0); waited < wait; waited += step {
		if err := r.options.Sleep(ctx, step); err != nil {
			return err
		}
		if !slices.ContainsFunc(pairs, func(p *pair) bool { return p.mine.quiet() || p.other.quiet() }) {
			break
		}
	}
	return nil
}

// quiet reports whether a line is open and has received nothing.
func (l *line) quiet() bool {
	messages, closed := l.seen()
	return len(messages) == 0 && closed.IsZero()
}

// every is the longest pause between two messages that are sent.
func (r *run) every() time.Duration {
	longest := time.Duration(0)
	for _, s := range r.target.Sockets {
		if s.Send != "" {
			longest = max(longest, time.Duration(s.Every))
		}
	}
	return longest
}

// window is how long sockets are listened to after the logout, and tolerance how
// much of that a server may take to close them: a second, if there is time.
func (r *run) window() time.Duration {
	return max(r.delays[len(r.delays)-1], 3*r.every())
}

func (r *run) tolerance() time.Duration { return min(time.Second, r.window()/2) }

// reopened is how long a socket is listened to that was opened just now.
func (r *run) reopened() time.Duration {
	return min(max(2*r.every(), r.tolerance()/2), 2*time.Second) + 100*time.Millisecond
}

// known are the shapes of what a live session is sent: what came before the logout,
// and what the session gets that goes on; but not what an invented token gets too,
// unless that gets everything.
func (p *pair) known(logout *answer) map[string]bool {
	known := map[string]bool{}
	live, _ := p.other.seen()
	mine, _ := p.mine.seen()
	none, _ := p.nobody.seen()
	for _, m := range live {
		known[m.shape] = true
	}
	for _, m := range mine {
		if m.at.Before(logout.began) {
			known[m.shape] = true
		}
	}
	if !p.everybodys(logout) {
		for _, m := range none {
			delete(known, m.shape)
		}
	}
	return known
}

// everybodys reports whether the socket with an invented token was still open at
// the logout, and had received the newest of what the session did.
func (p *pair) everybodys(logout *answer) bool {
	mine, _ := p.mine.seen()
	none, closed := p.nobody.seen()
	newest := ""
	for _, m := range mine {
		if m.at.Before(logout.began) {
			newest = m.shape
		}
	}
	return (closed.IsZero() || closed.After(logout.began)) && newest != "" &&
		slices.ContainsFunc(none, func(m message) bool { return m.shape == newest && m.at.Before(logout.began) })
}

// later are the messages that a line received later than the tolerance after the
// logout: those that a live session receives, and others.
func (p *pair) later(l *line, logout *answer, known map[string]bool) (live, strange []message) {
	messages, _ := l.seen()
	for _, m := range messages {
		switch {
		case !m.at.After(logout.ended.Add(p.run.tolerance())):
		case known[m.shape]:
			live = append(live, m)
		default:
			strange = append(strange, m)
		}
	}
	return live, strange
}

// variable reports whether messages to a live session come in ever new shapes, so
// that a new one says nothing.
func (p *pair) variable(logout *answer) bool {
	live, _ := p.other.seen()
	before := map[string]bool{}
	for _, m := range live {
		if m.at.Before(logout.began) {
			before[m.shape] = true
		}
	}
	return len(before) > 0 && slices.ContainsFunc(live, func(m message) bool { return m.at.After(logout.ended) && !before[m.shape] })
}

func (p *pair) judge(logout *answer) []Result {
	r := p.run
	subject := p.mine.name + " on " + p.instance
	ended := logout.ended
	known := p.known(logout)
	_, closed := p.mine.seen()
	_, otherClosed := p.other.seen()
	mine, strange := p.later(p.mine, logout, known)
	others, _ := p.later(p.other, logout, known)
	evidence := []*answer{p.valid, p.mine.opened, logout}
	if n := len(mine); n > 0 {
		evidence = append(evidence, p.mine.exchangeOf(mine[0], Alive), p.mine.exchangeOf(mine[n-1], Alive))
	} else if n := len(strange); n > 0 {
		evidence = append(evidence, p.mine.exchangeOf(strange[n-1], Unclear))
	}
	result := func(v Verdict, format string, args ...any) []Result {
		out := r.result(p.check, subject, v, fmt.Sprintf(format, args...), evidence...)
		out.Lives = []int{p.file(p.mine, ended, known, closed)}
		return []Result{out}
	}
	switch {
	case p.mine.opened.class != Alive || !closed.IsZero() && closed.Before(logout.began):
		evidence = append(evidence, p.other.opened)
		return result(Inconclusive, "it was not open when the session was logged out: %s", p.mine.reason())
	case p.everybodys(logout):
		evidence = append(evidence, p.nobody.opened)
		return result(Note, "it is open to everybody: with invented tokens it carries the same")
	case len(mine) > 0:
		last := mine[len(mine)-1].at.Sub(ended)
		how := "it is still open"
		if !closed.IsZero() {
			how = "it was closed " + round(closed.Sub(ended)) + " after it"
		}
		return append(result(Finding, "%d messages came later than %s after the logout, the last one %s after it; %s",
			len(mine), round(r.tolerance()), round(last), how), p.again(logout, known)...)
	case p.mine.flooded():
		return result(Inconclusive, "so much came that it was closed %s after the logout: %d messages", round(closed.Sub(ended)), maxMessages)
	case !otherClosed.IsZero() && !p.other.flooded():
		evidence = append(evidence, p.other.opened)
		return result(Inconclusive, "the socket of a session that nobody logged out was closed too")
	case len(strange) > 0 && (p.variable(logout) || len(others) == 0):
		return result(Inconclusive, "it stays open and received %d messages later than %s after the logout, of which cannot be told whether a live session gets such", len(strange), round(r.tolerance()))
	case len(others) > 0 && closed.IsZero():
		return append(result(Pass, "it stays open and carries nothing of the session any more, while another session's does"), p.again(logout, known)...)
	case closed.IsZero():
		return result(Inconclusive, "it stays open, and neither it nor that of another session received anything: the description can say what to send")
	}
	text := fmt.Sprintf("closed %s after the logout (%s), while another session's stays open", round(max(closed.Sub(ended), 0)), p.mine.reason())
	return append(result(Pass, "%s", text), p.again(logout, known)...)
}

// again judges the socket that was opened after the logout. Where it carries
// something only now and then, nothing can be said of it.
func (p *pair) again(logout *answer, known map[string]bool) []Result {
	r := p.run
	subject := p.anew.name + " on " + p.instance + ", opened after the logout"
	messages, closed := p.anew.seen()
	for _, m := range messages {
		if known[m.shape] {
			return []Result{r.result(p.check, subject, Finding, "it is opened with the session's tokens, and carries what a live session's does", logout, p.anew.opened, p.anew.exchangeOf(m, Alive))}
		}
	}
	live, _ := p.other.seen()
	spoke := slices.ContainsFunc(live, func(m message) bool { return m.at.After(p.anew.opened.ended) })
	switch {
	case !closed.IsZero() && p.anew.opened.class != Unclear:
		return []Result{r.result(p.check, subject, Pass, "refused: "+p.anew.reason(), logout, p.anew.opened)}
	case spoke:
		return []Result{r.result(p.check, subject, Pass, "it is opened, and carries nothing", logout, p.anew.opened)}
	}
	return []Result{r.result(p.check, subject, Inconclusive, "it is opened, and nothing was received on it, nor on another session's in that time", logout, p.anew.opened)}
}

// reason is why a line is closed.
func (l *line) reason() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case l.opened.err != nil:
		return "the handshake got no answer: " + l.opened.err.Error()
	case l.opened.class == Dead:
		return fmt.Sprintf("the handshake was answered %d", l.opened.status)
	}
	return l.why
}

// file puts the socket into the report as a life: each message is an answer, and
// its end another.
func (p *pair) file(l *line, ended time.Time, known map[string]bool, closed time.Time) int {
	a := l.artefact
	a.name, a.kind = l.name, Socket
	out := &life{experiment: "sockets", artefact: a, route: &route{line: l.name, instance: p.instance}, ended: ended, endedAt: p.run.target.Instances[0]}
	messages, _ := l.seen()
	for _, m := range messages {
		class := Unclear
		if known[m.shape] {
			class = Alive
		}
		out.answers = append(out.answers, l.exchangeOf(m, class))
	}
	out.answers = firstOf(maxFiled, out.answers)
	if !closed.IsZero() {
		end := l.exchangeOf(message{at: closed}, Dead)
		_, other := p.other.seen()
		end.backed = other.IsZero()
		out.answers = append(out.answers, end)
		out.artefact.marks = append(out.artefact.marks, moment{closed, "closed"})
	}
	return p.run.file(out)
}

// maxFiled is how many messages of a socket a report has.
const maxFiled = 200
