// Package target describes an HTTP API whose logout is to be tested: how a user
// logs in, where the answer holds the tokens, which requests need a session, and
// how a session is refreshed and ended.
//
// A description is written by hand as YAML ([Parse]), or drafted from an OpenAPI
// document, a HAR recording or curl commands ([FromOpenAPI], [FromHAR],
// [FromCurl]). It names secrets and never holds their values: "${NAME}" in any
// value stands for a variable of the environment, which is read when the
// description is resolved and lives in [Vars] only.
package target

import (
	"time"
)

// Target is one application under test. A Target that [Parse] returned is valid
// and resolved; one made otherwise needs [Target.Resolve].
type Target struct {
	Name      string          `yaml:"name,omitempty"`
	Instances []string        `yaml:"instances"`
	Hosts     []string        `yaml:"hosts,omitempty"`
	Users     []User          `yaml:"users,omitempty"`
	Login     Steps           `yaml:"login"`
	Present   *Present        `yaml:"present,omitempty"`
	Protected []Request       `yaml:"protected"`
	Identity  *Identity       `yaml:"identity,omitempty"`
	Refresh   Steps           `yaml:"refresh,omitempty"`
	Logout    Steps           `yaml:"logout,omitempty"`
	LogoutAll Steps           `yaml:"logout_all,omitempty"`
	Password  *PasswordChange `yaml:"change_password,omitempty"`
	Sockets   []Socket        `yaml:"sockets,omitempty"`
	Allow     Allow           `yaml:"allow,omitempty"`
	Limits    Limits          `yaml:"limits,omitempty"`
	Delays    []Duration      `yaml:"delays,omitempty"`

	// environment returns the values of every ${NAME}. It is a function because a
	// printed Target would show a map, whatever its values know about printing.
	environment func() map[string]Secret
}

// User is one account of the application: its name, its password, and whatever
// else its login takes. Each key is a variable {{user.KEY}}.
type User map[string]Template

// Name returns how the user may be called in reports: as written in the
// description, or nothing if it comes from the environment, where it stays.
func (u User) Name() string {
	if len(u["name"].Names()) > 0 {
		return ""
	}
	return string(u["name"])
}

// Steps are requests that do one thing together, in this order: what an earlier
// one finds is a variable of the later ones. Most have one step, which the YAML
// writes without a list. The last step is the one that does it; those before it
// fetch what it needs.
type Steps []Request

// Last returns the step that does what the steps are for.
func (s Steps) Last() *Request {
	if len(s) == 0 {
		return nil
	}
	return &s[len(s)-1]
}

// Present says how a request carries its session. Nil means: the access token, if
// one was found, as bearer, and all cookies.
type Present struct {
	Headers map[string]Template `yaml:"headers,omitempty"`
	Query   map[string]Template `yaml:"query,omitempty"`
	Cookies *bool               `yaml:"cookies,omitempty"` // default: true
}

// WithCookies reports whether a request carries the cookies of its session.
func (p *Present) WithCookies() bool { return p == nil || p.Cookies == nil || *p.Cookies }

// Identity is a request whose answer says whom the application takes the caller
// for.
type Identity struct {
	Request `yaml:",inline"`
	Find    Finder `yaml:"find"`
}

// PasswordChange changes the password of the user from {{user.password}} to
// {{user.new_password}}. Restore puts it back; where it is nil, the same request
// does, with the two exchanged ([Vars.SwapPasswords]).
type PasswordChange struct {
	Request `yaml:",inline"`
	Restore *Request `yaml:"restore,omitempty"`
}

// Socket is a connection that stays open: exactly one of WebSocket and SSE is
// set, to a path or URL as in a request line. It carries its session as a request
// does.
type Socket struct {
	WebSocket Template            `yaml:"websocket,omitempty"`
	SSE       Template            `yaml:"sse,omitempty"`
	Headers   map[string]Template `yaml:"headers,omitempty"`
	Carry     Carry               `yaml:"carry,omitempty"`
	First     Template            `yaml:"first,omitempty"` // sent once, when the WebSocket is open
	Send      Template            `yaml:"send,omitempty"`  // sent again and again
	Every     Duration            `yaml:"every,omitempty"` // between two of them; default: 1s
}

// Allow lifts safety limits.
type Allow struct {
	Methods []string `yaml:"methods,omitempty"` // of protected routes; default: GET and HEAD
}

// Limits bound what a run does to the target.
type Limits struct {
	Requests     int      `yaml:"requests"`      // in the whole run
	Parallel     int      `yaml:"parallel"`      // at once
	PerSecond    float64  `yaml:"per_second"`    // 0: no limit
	FailedLogins int      `yaml:"failed_logins"` // the run stops there
	Timeout      Duration `yaml:"timeout"`       // of one request
	Duration     Duration `yaml:"duration"`      // of the run, beside its longest delay and what a patient run waits
	Body         Size     `yaml:"body"`          // read from one answer
}

// DefaultLimits holds for what a description does not say.
func DefaultLimits() Limits {
	return Limits{Requests: 5000, Parallel: 8, FailedLogins: 3, Timeout: Duration(10 * time.Second), Duration: Duration(10 * time.Minute), Body: 1 << 20}
}

// DefaultDelays are how long after a logout artefacts are replayed.
func DefaultDelays() []Duration {
	var delays []Duration
	for _, d := range []time.Duration{0, 50 * time.Millisecond, 200 * time.Millisecond, time.Second, 5 * time.Second} {
		delays = append(delays, Duration(d))
	}
	return delays
}

// defaults fills in what the description leaves out.
func (t *Target) defaults() {
	if t.Limits == (Limits{}) {
		t.Limits = DefaultLimits()
	}
	if t.Delays == nil {
		t.Delays = DefaultDelays()
	}
	if t.Allow.Methods == nil {
		t.Allow.Methods = []string{"GET", "HEAD"}
	}
	for i := range t.Sockets {
		if s := &t.Sockets[i]; s.Send != "" && s.Every == 0 {
			s.Every = Duration(time.Second)
		}
	}
}

// Requests calls f for every request of the description, with the key it stands
// under ("login", "protected[2]", "change_password.restore").
func (t *Target) Requests(f func(key string, r *Request)) {
	steps := func(key string, s Steps) {
		for i := range s {
			if len(s) > 1 {
				f(index(key, i), &s[i])
			} else {
				f(key, &s[i])
			}
		}
	}
	steps("login", t.Login)
	for i := range t.Protected {
		f(index("protected", i), &t.Protected[i])
	}
	if t.Identity != nil {
		f("identity", &t.Identity.Request)
	}
	steps("refresh", t.Refresh)
	steps("logout", t.Logout)
	steps("logout_all", t.LogoutAll)
	if t.Password != nil {
		f("change_password", &t.Password.Request)
		if t.Password.Restore != nil {
			f("change_password.restore", t.Password.Restore)
		}
	}
}

// Vars returns the variables that a login of the user begins with: {{user.KEY}}
// for each of its keys, and every ${NAME}. The caller adds what its requests find.
func (t *Target) Vars(u User) Vars {
	vars := Vars{}
	if t.environment != nil {
		for name, value := range t.environment() {
			vars["$"+name] = value
		}
	}
	env := vars.Clone()
	for key, value := range u {
		// Validate let only variables of the environment in, and Resolve has them all.
		if text, err := value.Render(env); err == nil {
			vars["user."+key] = Secret(text)
		}
	}
	return vars
}
