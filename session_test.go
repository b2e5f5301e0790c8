package rescind

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// An id has one spelling: two texts for one session would be two keys in every
// cache, log and block list that goes by the text.

// idKind is one kind of id under test.
type idKind struct {
	name  string
	size  int
	print func([]byte) string
	parse func(string) ([]byte, error)
}

func idKinds() []idKind {
	return []idKind{
		{"session", len(SessionID{}),
			func(b []byte) string { return SessionID(b).String() },
			func(s string) ([]byte, error) { id, err := ParseSessionID(s); return id[:], err }},
		{"token", len(TokenID{}),
			func(b []byte) string { return TokenID(b).String() },
			func(s string) ([]byte, error) { id, err := ParseTokenID(s); return id[:], err }},
		{"key", len(KeyID{}),
			func(b []byte) string { return KeyID(b).String() },
			func(s string) ([]byte, error) { id, err := ParseKeyID(s); return id[:], err }},
	}
}

func TestIDsAreReadAsWritten(t *testing.T) {
	for _, k := range idKinds() {
		t.Run(k.name, func(t *testing.T) {
			rapid.Check(t, func(t *rapid.T) {
				b := rapid.SliceOfN(rapid.Byte(), k.size, k.size).Draw(t, "id")
				got, err := k.parse(k.print(b))
				if err != nil || !bytes.Equal(got, b) {
					t.Fatalf("%x is printed as %q and read as %x, %v", b, k.print(b), got, err)
				}
			})
		})
	}
}

func TestIDHasOneSpelling(t *testing.T) {
	for _, k := range idKinds() {
		t.Run(k.name, func(t *testing.T) {
			refuse := func(s string) {
				t.Helper()
				if got, err := k.parse(s); !errors.Is(err, ErrInvalid) || !bytes.Equal(got, make([]byte, k.size)) {
					t.Errorf("%q is read as %x, %v", s, got, err)
				}
			}
			for _, fill := range []byte{0x00, 0xff, 0x5a} {
				good := k.print(bytes.Repeat([]byte{fill}, k.size))
				for i := range len(good) {
					refuse(good[:i])
					refuse(good[:i] + "=" + good[i+1:])
					for _, c := range []string{"\n", "\r", "\r\n", "\n\n", " ", "+", "/", "\x00", "%41", "é"} {
						refuse(good[:i] + c + good[i:])
						if i+len(c) <= len(good) {
							refuse(good[:i] + c + good[i+len(c):])
						}
					}
				}
				refuse(good + good)
				for _, c := range []string{"=", "==", "\n", "A", "\x00", " "} {
					refuse(good + c)
					refuse(c + good)
				}
			}
			refuse("")
		})
	}
}

// FuzzIDs: a text that is read as an id is the one that the id prints.
func FuzzIDs(f *testing.F) {
	f.Add(strings.Repeat("A", 32))
	f.Add(strings.Repeat("A", 22))
	f.Add("AAAAAAA\n")
	f.Fuzz(func(t *testing.T, s string) {
		for _, k := range idKinds() {
			if b, err := k.parse(s); err == nil && k.print(b) != s {
				t.Errorf("%s id: %q is read as what prints %q", k.name, s, k.print(b))
			}
		}
	})
}

func TestIDsAsText(t *testing.T) {
	type ids struct {
		Session SessionID
		Token   TokenID
		Key     KeyID
	}
	want := ids{Session: NewSessionID(Tag{1, 2, 3}), Token: TokenID{4, 5}, Key: NewKeyID()}
	b, err := json.Marshal(want)
	if err != nil {
		t.Fatal(err)
	}
	var got ids
	if err := json.Unmarshal(b, &got); err != nil || got != want {
		t.Fatalf("%s is read as %+v, %v", b, got, err)
	}
	if err := json.Unmarshal([]byte(`{"Session":"short"}`), &got); !errors.Is(err, ErrInvalid) {
		t.Errorf("a short session id: %v", err)
	}
	if want.Session.Tag() != (Tag{1, 2, 3}) || want.Session.IsZero() || !(SessionID{}).IsZero() {
		t.Errorf("session %s has tag %x", want.Session, want.Session.Tag())
	}
	if again := NewSessionID(want.Session.Tag()); again == want.Session {
		t.Errorf("two fresh session ids are %s", again)
	}
	if again := NewKeyID(); again == want.Key {
		t.Errorf("two fresh key ids are %s", again)
	}
	for range 1000 {
		if id := NewKeyID(); strings.HasPrefix(id.String(), "-") {
			t.Fatalf("a command line takes %s for a flag", id)
		}
	}
}

func TestSecretIsNeverPrinted(t *testing.T) {
	const secret = "rsr_not-for-anybody-else"
	s := Secret(secret)
	type inside struct {
		Name   string
		Secret Secret
		List   []Secret
		Map    map[string]Secret
		Key    map[Secret]int
		Any    any
		Ptr    *Secret
	}
	whole := inside{"n", s, []Secret{s}, map[string]Secret{"k": s}, map[Secret]int{s: 1}, s, &s}
	printed := map[string]string{
		"String":     s.String(),
		"Sprint":     fmt.Sprint(s, &s, whole, &whole),
		"Sprintln":   fmt.Sprintln(s, whole),
		"Errorf":     fmt.Errorf("failed with %s: %w", s, ErrMalformed).Error(),
		"panic text": fmt.Sprint(any(s)),
	}
	// All verbs but %T and %p: fmt answers those before it asks the type. %T is the
	// type's name, and vet refuses %p of a text.
	for _, verb := range "vsqxXdboOeEfFgGtcU" {
		for _, flag := range []string{"", "+", "#", "-", " ", "0", "40", ".3", "+.2"} {
			format := "%" + flag + string(verb)
			printed[format] = fmt.Sprintf(format, s)
			printed[format+" inside"] = fmt.Sprintf(format, whole)
			printed[format+" inside, by pointer"] = fmt.Sprintf(format, &whole)
		}
	}
	for name, handler := range map[string]func(io.Writer) slog.Handler{
		"slog text": func(w io.Writer) slog.Handler { return slog.NewTextHandler(w, nil) },
		"slog json": func(w io.Writer) slog.Handler { return slog.NewJSONHandler(w, nil) },
	} {
		var b bytes.Buffer
		log := slog.New(handler(&b)).With("with", s)
		log.Info("message", "token", s, slog.Any("any", s), slog.Group("group", "token", s))
		log.Info("message", "error", fmt.Errorf("failed with %s", s))
		log.Info(fmt.Sprint(s))
		printed[name] = b.String()
	}
	hex := fmt.Sprintf("%x", secret)
	for how, text := range printed {
		if strings.Contains(text, "not-for") || strings.Contains(strings.ToLower(text), hex[:16]) || strings.Contains(text, "114 115 114") {
			t.Errorf("%s shows the secret: %s", how, text)
		}
	}
	if s.Reveal() != secret {
		t.Errorf("Reveal returns %q", s.Reveal())
	}
	if b, err := json.Marshal(s); err != nil || string(b) != `"`+secret+`"` {
		t.Errorf("JSON, which carries it to its client, is %s, %v", b, err)
	}
}
