package probe

import (
	"cmp"
	"slices"
	"time"
)

// A Verdict is what a check came to.
type Verdict string

const (
	// Pass: the experiment was made, its controls held, and the flaw did not show.
	Pass Verdict = "pass"
	// Finding: the flaw showed, and the controls say that it was no accident.
	Finding Verdict = "finding"
	// Inconclusive: the experiment was made, or tried, and proves nothing: an
	// outage, a lock-out, a rate limit, answers that contradict each other. It
	// never counts as a pass.
	Inconclusive Verdict = "inconclusive"
	// NotApplicable: the description lacks what the experiment needs, or the
	// application has nothing that it is about. Reason says what.
	NotApplicable Verdict = "not-applicable"
	// Note: worth knowing, and no flaw.
	Note Verdict = "note"
)

// A Class is what the judge says of one answer to a request for a protected
// route, after comparing it with answers to a valid session and to none.
type Class string

const (
	Alive   Class = "alive"   // what a valid session gets
	Dead    Class = "dead"    // what somebody without a session gets
	Unclear Class = "unclear" // neither, or no answer at all
)

// Severity is how bad a finding of a check is.
type Severity string

const (
	High   Severity = "high"
	Medium Severity = "medium"
	Low    Severity = "low"
	Info   Severity = "info"
)

// A Check is an entry of the catalogue: what a check with this id looks for.
type Check struct {
	ID       string // public and for good: kebab-case
	Title    string // what is wrong if it finds something, in one line
	Severity Severity
	CWE      []string // "CWE-613"
	ASVS     []string // requirements of OWASP ASVS 5.0: "v5.0.0-7.4.1"
	Tests    string   // what the engine does, and what it judges by
	Matters  string   // why
	Cure     string   // what to do without Rescind
	Rescind  string   // what to do with it
}

// A Report is what one run found out. No part of it holds a token, a cookie's
// value or a password: all of them are masked before they get here.
type Report struct {
	Name        string // of the target
	Instances   []string
	Started     time.Time
	Ended       time.Time
	Requests    int  // sent in all
	Interrupted bool // ended before it was through: by its caller or, as a remark says then, at limits.duration
	// Remarks are about the run as such: a route that turned out to be
	// unprotected, users that cannot have two sessions at once.
	Remarks []string
	// Routes are the protected routes, once per instance, with what the controls
	// said of them.
	Routes []Route
	// Results are in the order of the engine's list of checks; a check may have
	// several (one for each cookie, say), and has at least one.
	Results []Result
	// Lives are what became of each artefact on each route and instance, for the
	// table of times to death and for the picture; each at the place of its number.
	Lives []Life
}

// A Route is a protected route on an instance.
type Route struct {
	Request   string // "GET /api/me"
	Instance  string // base URL
	Protected bool   // a valid session gets something that nobody else gets
	Reason    string // why it is not used, if it is not protected
	Controls  []Exchange
}

// A Result is what one check came to on one subject.
type Result struct {
	Check   string // its id
	Subject string // what it is about, where there are several: `cookie "sid"`, "GET /api/me"; may be empty
	Verdict Verdict
	// Says is one or two sentences of what was seen, with its numbers: "alive on
	// 2 of 2 routes of http://…, last after 5.0 s". Set for every verdict but
	// NotApplicable and Inconclusive.
	Says string
	// Reason is why there is no verdict (Inconclusive, NotApplicable).
	Reason string
	// Evidence is the requests that show it, in the order in which they were
	// begun: the control before, the logout, the replay, the control after.
	Evidence []Exchange
	// Lives are the numbers (Life.ID) of the lives that it was judged by.
	Lives []int
}

// An Exchange is a request and its answer, masked.
type Exchange struct {
	Role     string // "login", "valid control", "dead control", "logout", "replay", "live control", …
	Session  string // whose request it was: "ada#2"; empty for nobody's
	Artefact string // what it carried: "access token"; empty for nothing
	Began    time.Time
	Took     time.Duration // until the answer was read
	Request  Request
	Status   int // 0 without an answer
	Header   []Field
	Body     string // shortened
	BodySize int64  // bytes read; the limit if there were more
	Error    string // why there is no answer
	Class    Class  // of the answer, if it is one of a protected route
	Note     string // what the engine made of it, if that is not plain
}

// A Request is what was sent, masked.
type Request struct {
	Method string
	URL    string
	Header []Field
	Body   string
	// Curl is a command that sends it again. Secrets stand in it as variables of
	// the shell, which the reader has to set: "$ACCESS_TOKEN".
	Curl string
}

// A Field is one line of a header.
type Field struct{ Name, Value string }

// A Life is what became of one artefact on one route of one instance: what it was
// answered, before and after the end of its session.
type Life struct {
	ID         int    // its index in Report.Lives
	Experiment string // "logout", "logout everywhere", …
	Session    string // "ada#2"
	Artefact   string // "access token", `cookie "sid"`, "all together"
	Kind       Kind
	Route      string // "GET /api/me"; for a refresh token the refresh request
	Instance   string // base URL
	EndedAt    string // the instance that was told to end it; empty if it was not to end
	Born       time.Time
	Ended      time.Time // when the answer to the logout was read; zero if it was not to end
	Expires    time.Time // what the artefact itself says; zero if it says nothing
	Answers    []Answer  // in the order in which the requests were begun
	Marks      []Mark    // what else happened to it; for the picture
}

// A Mark is something that happened to a life besides its answers.
type Mark struct {
	After time.Duration // as in Answer
	What  string        // "refresh", "closed by the server"
}

// Kind is what an artefact is.
type Kind string

const (
	AccessToken  Kind = "access-token"
	RefreshToken Kind = "refresh-token"
	Cookie       Kind = "cookie"
	Credential   Kind = "credential" // any other value that requests carry
	Together     Kind = "all"        // everything that a session's request carries
	Socket       Kind = "socket"     // a WebSocket or event stream; each message is an answer
)

// An Answer is one point of a life.
type Answer struct {
	// After is when the request was begun, counted from the end of the session:
	// from the moment at which the answer to the logout had been read. Controls of
	// before are negative. For a life that was not to end it counts from its birth.
	After  time.Duration
	Took   time.Duration
	Status int
	Class  Class
	// Backed says that a refusal means something: another live session of the same
	// user got its answer on the same route within a second after it. An answer
	// that is not a refusal needs no backing.
	Backed bool
}

// LastAlive is the last time after its end at which it was answered as if it were
// alive, and whether there was one.
func (l Life) LastAlive() (time.Duration, bool) {
	for _, a := range slices.Backward(l.Answers) {
		if a.After >= 0 && a.Class == Alive {
			return a.After, true
		}
	}
	return 0, false
}

// FirstDead is the first time after its end at which it was refused for certain,
// and not heard as alive again; and whether there was one.
func (l Life) FirstDead() (time.Duration, bool) {
	last, lived := l.LastAlive()
	for _, a := range l.Answers {
		if a.After >= 0 && a.Class == Dead && a.Backed && (!lived || a.After > last) {
			return a.After, true
		}
	}
	return 0, false
}

// Revived reports whether it was refused for certain after its end, and answered
// as if it were alive later on.
func (l Life) Revived() bool {
	dead := false
	for _, a := range l.Answers {
		if a.After < 0 {
			continue
		}
		if dead && a.Class == Alive {
			return true
		}
		dead = dead || a.Class == Dead && a.Backed
	}
	return false
}

// Count says how many results there are with a verdict.
func (r *Report) Count(v Verdict) int {
	n := 0
	for _, result := range r.Results {
		if result.Verdict == v {
			n++
		}
	}
	return n
}

// Verdict is that of the whole run: Finding if there is one, else Inconclusive if
// anything is or if nothing has passed, else Pass.
func (r *Report) Verdict() Verdict {
	switch {
	case r.Count(Finding) > 0:
		return Finding
	case r.Interrupted || r.Count(Inconclusive) > 0 || r.Count(Pass) == 0:
		return Inconclusive
	default:
		return Pass
	}
}

// add files a life, and returns its number.
func (r *Report) add(l Life) int {
	l.ID = len(r.Lives)
	slices.SortStableFunc(l.Answers, func(a, b Answer) int { return cmp.Compare(a.After, b.After) })
	r.Lives = append(r.Lives, l)
	return l.ID
}
