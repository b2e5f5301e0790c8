package target

import (
	"crypto/rand"
	"encoding/json"
	"fmt"
	"log/slog"
	"maps"
	"regexp"
	"strings"
)

const redacted = "[redacted]"

// Secret is a password, a token, or anything else that no report may hold. Every
// printed form of it is redacted, also in JSON and YAML.
type Secret string

// Reveal returns the secret itself, to be sent.
func (s Secret) Reveal() string { return string(s) }

func (s Secret) String() string { return redacted }

// Format redacts every verb.
func (s Secret) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte(redacted)) }

// LogValue redacts it in logs.
func (s Secret) LogValue() slog.Value { return slog.StringValue(redacted) }

// MarshalJSON redacts it.
func (s Secret) MarshalJSON() ([]byte, error) { return json.Marshal(redacted) }

// MarshalYAML redacts it.
func (s Secret) MarshalYAML() (any, error) { return redacted, nil }

// Vars are the variables of one session, by name: "user.password",
// "access_token", and those of the environment as "$NAME". One goroutine at a
// time may change them.
type Vars map[string]Secret

// Clone returns a copy that may be changed.
func (v Vars) Clone() Vars { return maps.Clone(v) }

// SwapPasswords returns a copy in which {{user.password}} and
// {{user.new_password}} are exchanged: what puts a changed password back.
func (v Vars) SwapPasswords() Vars {
	c := v.Clone()
	c["user.password"], c["user.new_password"] = v["user.new_password"], v["user.password"]
	return c
}

// Template is text with variables: "{{name}}" stands for one that the user has or
// a request has found, "${NAME}" for one of the environment, "{{random}}" for 32
// hexadecimal digits that are new every time. "{{{{" and "$${" stand for "{{" and
// "${". A Template itself holds no secret and may be printed, unless its author
// wrote one in clear.
type Template string

var (
	variable = regexp.MustCompile(`^\{\{ *([A-Za-z_][A-Za-z0-9_.-]{0,63}) *\}\}`)
	fromEnv  = regexp.MustCompile(`^\$\{([A-Za-z_][A-Za-z0-9_]{0,63})\}`)
)

// A piece of a template is text, or the name of a variable as in Vars.
type piece struct {
	text string
	name string
}

func (t Template) pieces() ([]piece, error) {
	var all []piece
	var text strings.Builder
	flush := func() {
		if text.Len() > 0 {
			all = append(all, piece{text: text.String()})
			text.Reset()
		}
	}
	for s := string(t); s != ""; {
		i := strings.IndexAny(s, "{$")
		if i < 0 {
			text.WriteString(s)
			break
		}
		text.WriteString(s[:i])
		s = s[i:]
		switch {
		case strings.HasPrefix(s, "{{{{"):
			text.WriteString("{{")
			s = s[4:]
		case strings.HasPrefix(s, "$${"):
			text.WriteString("${")
			s = s[3:]
		case strings.HasPrefix(s, "{{"):
			m := variable.FindStringSubmatch(s)
			if m == nil {
				return nil, fmt.Errorf("{{ begins a variable as in {{access_token}}; write {{{{ for the two characters")
			}
			flush()
			all = append(all, piece{name: m[1]})
			s = s[len(m[0]):]
		case strings.HasPrefix(s, "${"):
			m := fromEnv.FindStringSubmatch(s)
			if m == nil {
				return nil, fmt.Errorf("${ begins a variable of the environment as in ${PASSWORD}; write $${ for the two characters")
			}
			flush()
			all = append(all, piece{name: "$" + m[1]})
			s = s[len(m[0]):]
		default:
			text.WriteByte(s[0])
			s = s[1:]
		}
	}
	flush()
	return all, nil
}

// Literal returns the template that renders to exactly this text.
func Literal(text string) Template {
	return Template(strings.NewReplacer("{{", "{{{{", "${", "$${").Replace(text))
}

// Names returns the variables of the template in their order, those of the
// environment as "$NAME".
func (t Template) Names() []string {
	all, err := t.pieces()
	if err != nil {
		return nil
	}
	var names []string
	for _, p := range all {
		if p.name != "" {
			names = append(names, p.name)
		}
	}
	return names
}

// Render puts the values in. An error names a variable that has none; it never
// holds a value.
func (t Template) Render(vars Vars) (string, error) { return t.render(vars, nil) }

// render passes every value, and no text, through encode.
func (t Template) render(vars Vars, encode func(string) string) (string, error) {
	all, err := t.pieces()
	if err != nil {
		return "", err
	}
	var b strings.Builder
	for _, p := range all {
		if p.name == "" {
			b.WriteString(p.text)
			continue
		}
		value, found := vars[p.name]
		if !found && p.name == "random" {
			var bytes [16]byte
			_, _ = rand.Read(bytes[:]) // never fails, by its contract
			value, found = Secret(fmt.Sprintf("%x", bytes[:])), true
		}
		if !found {
			return "", &MissingError{Name: p.name}
		}
		if encode != nil {
			value = Secret(encode(value.Reveal()))
		}
		b.WriteString(value.Reveal())
	}
	return b.String(), nil
}

// MissingError says that a variable has no value: nothing has found it, the user
// has no such key, or the environment does not set it.
type MissingError struct{ Name string }

func (e *MissingError) Error() string {
	switch name, env := strings.CutPrefix(e.Name, "$"); {
	case env:
		return fmt.Sprintf("the environment does not set %s", name)
	case strings.HasPrefix(name, "user."):
		return fmt.Sprintf("the user has no %q", strings.TrimPrefix(name, "user."))
	default:
		return fmt.Sprintf("there is no {{%s}}: no answer held it", name)
	}
}
