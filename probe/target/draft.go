package target

import (
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
)

// Draft is a description that was derived from something recorded or documented,
// to be read by a person before it is trusted.
type Draft struct {
	Target  *Target
	Remarks []string // what had to be guessed, what is missing, what was left out
}

// Variable is a variable of the environment that a description needs.
type Variable struct {
	Name string
	For  string // the key it stands under
}

// Variables returns what has to be set before the description can be run, by
// name.
func (t *Target) Variables() []Variable {
	var all []Variable
	t.templates(func(key string, s Template) {
		for _, name := range s.Names() {
			name, env := strings.CutPrefix(name, "$")
			if env && !slices.ContainsFunc(all, func(v Variable) bool { return v.Name == name }) {
				all = append(all, Variable{name, key})
			}
		}
	})
	slices.SortFunc(all, func(a, b Variable) int { return strings.Compare(a.Name, b.Name) })
	return all
}

// Write returns the description as YAML, headed by comments that hold the remarks
// and the variables to be set.
func (d *Draft) Write() ([]byte, error) {
	text, err := Marshal(d.Target)
	if err != nil {
		return nil, err
	}
	var b strings.Builder
	b.WriteString("# A draft: read it before you run it. rescind probe schema explains every key.\n")
	comment := func(text string) {
		b.WriteString("#   " + strings.Map(func(r rune) rune {
			if r < ' ' || r == 0x7f || r == 0x85 || r == 0x2028 || r == 0x2029 {
				return ' ' // a comment ends with its line
			}
			return r
		}, text) + "\n")
	}
	if len(d.Remarks) > 0 {
		b.WriteString("# To be looked at:\n")
		for _, remark := range d.Remarks {
			comment(remark)
		}
	}
	if variables := d.Target.Variables(); len(variables) > 0 {
		b.WriteString("# To be set in the environment, so that no secret stands here:\n")
		for _, v := range variables {
			comment(v.Name + "  (" + v.For + ")")
		}
	}
	b.Write(text)
	return []byte(b.String()), nil
}

// finish makes a draft of a description, adds the user, and looks once more that
// nothing secret is in it.
func (s *scribe) finish(t *Target) (*Draft, error) {
	if len(t.Users) == 0 {
		t.Users = []User{{}}
	}
	u := t.Users[0]
	u["name"] = s.name
	t.templates(func(_ string, text Template) {
		for _, name := range text.Names() {
			switch name {
			case "user.password":
				u["password"] = s.secret
			case "user.new_password":
				u["new_password"] = "${PROBE_NEW_PASSWORD}"
			}
		}
	})
	for i, instance := range t.Instances {
		if u, err := url.Parse(instance); err == nil {
			t.Instances[i] = instanceOf(u) + strings.TrimSuffix(u.EscapedPath(), "/")
		}
	}
	for _, host := range s.hosts {
		if strings.HasSuffix(host, variableHost) {
			return nil, errors.New("requests go to hosts in several variables: write the hosts out, or give the base URL")
		}
		if !slices.Contains(t.Hosts, host) {
			t.Hosts = append(t.Hosts, host)
		}
	}
	if t.Limits == (Limits{}) {
		t.Limits = DefaultLimits()
	}
	t.defaults()
	if err := t.Validate(); err != nil {
		return nil, fmt.Errorf("what was found makes no description that holds:\n%w", err)
	}
	if err := s.withoutSecrets(t); err != nil {
		return nil, err
	}
	if len(t.Users) == 1 {
		s.remark("users: add a second one, whose sessions have to live on when the first logs out")
	}
	if t.Logout == nil {
		s.remark("logout: no request looks like one")
	}
	if t.Refresh == nil {
		s.remark("refresh: no request looks like one; without it refresh tokens cannot be tried")
	}
	if t.LogoutAll == nil {
		s.remark("logout_all: no request looks like one; add it if the application can end all sessions of a user")
	}
	return &Draft{Target: t, Remarks: s.remarks}, nil
}

// holdsSecret reports whether a secret of the recording stands in text: as a whole
// or, one that is long enough not to be any word, as a part.
func (s *scribe) holdsSecret(text string) bool {
	holds := func(secret string) bool {
		return secret == text && secret != "" || len(secret) >= 8 && strings.Contains(text, secret)
	}
	return holds(s.password) || slices.ContainsFunc(s.secrets, holds)
}

// withoutSecrets is the last door: it refuses a description in which a secret of
// the recording stands, wherever it came in.
func (s *scribe) withoutSecrets(t *Target) error {
	var at []string
	see := func(key, text string) {
		if s.holdsSecret(text) {
			at = append(at, key)
		}
	}
	t.templates(func(key string, text Template) {
		all, err := text.pieces()
		if err != nil {
			at = append(at, key)
		}
		for _, p := range all {
			if p.name == "" {
				see(key, p.text)
			}
		}
	})
	t.Requests(func(key string, r *Request) {
		for name, f := range r.Finds {
			see(key+".find."+name, f.Pattern)
			see(key+".find."+name, f.JSON)
		}
	})
	if at != nil {
		return errors.New("a secret of the recording would stand in the description, under " + strings.Join(slices.Compact(at), ", ") + ": write this description by hand")
	}
	return nil
}
