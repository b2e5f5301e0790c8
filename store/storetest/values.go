package storetest

import (
	"crypto/rand"
	"crypto/sha256"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/rescind/rescind"
)

// tagOf stands in for the keyed hash of a subject.
func tagOf(subject string) rescind.Tag {
	sum := sha256.Sum256([]byte(subject))
	return rescind.Tag(sum[:12])
}

// newSession returns a fresh session of ordinary content, as at a login at now.
func newSession(subject, client string, now time.Time) rescind.Session {
	now = now.Truncate(time.Millisecond)
	s := rescind.Session{
		ID:             rescind.NewSessionID(tagOf(subject)),
		Subject:        subject,
		Client:         client,
		Audience:       []string{"https://api.example"},
		Scope:          "read write",
		Claims:         []byte(`{"role":"editor"}`),
		Device:         rescind.Device{Name: "laptop", UserAgent: "Mozilla/5.0", IP: "192.0.2.1"},
		CreatedAt:      now,
		ExpiresAt:      now.Add(30 * 24 * time.Hour),
		IdleTimeout:    24 * time.Hour,
		AccessLifetime: 5 * time.Minute,
		LastActive:     now,
		RotatedAt:      now,
		MACKey:         rescind.NewKeyID(),
		Access:         []rescind.AccessEntry{newAccess(0, now)},
	}
	_, _ = rand.Read(s.Salt[:]) // never fails: crypto/rand ends the process instead
	return s
}

func newAccess(generation uint32, now time.Time) rescind.AccessEntry {
	e := rescind.AccessEntry{Generation: generation, IssuedAt: now.Truncate(time.Second)}
	e.ExpiresAt = e.IssuedAt.Add(5 * time.Minute)
	_, _ = rand.Read(e.ID[:]) // never fails: crypto/rand ends the process instead
	return e
}

func newEvent(kind rescind.EventKind, s rescind.Session, at time.Time) rescind.Event {
	return rescind.Event{
		At: at.Truncate(time.Millisecond), Kind: kind, Actor: "tester",
		Subject: s.Subject, Session: s.ID.String(), Client: s.Client,
	}
}

// The show functions write all of a value, one form for each: two values that
// mean the same are shown alike, whatever their slices' and times' inner form.

func showTime(t time.Time) string {
	if t.IsZero() {
		return "-"
	}
	return t.UTC().Format("2006-01-02T15:04:05.000000000")
}

func showSession(s rescind.Session) string {
	var access []string
	for _, e := range s.Access {
		access = append(access, fmt.Sprintf("%s/%d/%q/%s/%s", e.ID, e.Generation, e.Scope, showTime(e.IssuedAt), showTime(e.ExpiresAt)))
	}
	return fmt.Sprintf("id=%s v=%d birth=%d ended=%s reason=%q active=%s subject=%q client=%q aud=%q scope=%q claims=%q device=%q "+
		"created=%s expires=%s idle=%s lifetime=%s gen=%d rotated=%s salt=%x mac=%s access=%s cnf=%q",
		s.ID, s.Version, s.Birth, showTime(s.EndedAt), s.EndReason, showTime(s.LastActive), s.Subject, s.Client, s.Audience, s.Scope, s.Claims,
		[]string{s.Device.Name, s.Device.UserAgent, s.Device.IP},
		showTime(s.CreatedAt), showTime(s.ExpiresAt), s.IdleTimeout, s.AccessLifetime, s.Generation, showTime(s.RotatedAt),
		s.Salt, s.MACKey, access, s.Confirmation)
}

func showSnapshot(s rescind.Snapshot) string {
	if !s.Found {
		return "not found"
	}
	return fmt.Sprintf("%s cutoffs=%+v config=%d", showSession(s.Session), s.Cutoffs, s.Config)
}

// showEvent leaves out the id, which the store chooses.
func showEvent(e rescind.Event) string {
	return fmt.Sprintf("%s %s actor=%q subject=%q session=%q client=%q key=%q reason=%q detail=%q",
		showTime(e.At), e.Kind, e.Actor, e.Subject, e.Session, e.Client, e.Key, e.Reason, e.Detail)
}

// showEnding leaves out the nonce, which the store chooses, the time of a token
// that was dropped, which nobody gives, and the tag where the session says it.
func showEnding(e rescind.Ending) string {
	at := showTime(e.At)
	switch e.Kind {
	case rescind.EndToken:
		at = "-"
		fallthrough
	case rescind.EndSession:
		if e.Tag == e.Session.Tag() {
			e.Tag = rescind.Tag{}
		}
	}
	return fmt.Sprintf("%d: kind=%d session=%s token=%s tag=%x name=%q at=%s", e.Position, e.Kind, e.Session, e.Token, e.Tag, e.Name, at)
}

func showEndings(endings []rescind.Ending) string { return lines(endings, showEnding) }

func showConfig(c rescind.StoreConfig) string {
	docs := slices.SortedFunc(slices.Values(c.Documents), func(a, b rescind.Document) int {
		return strings.Compare(a.Kind+"\x00"+a.ID, b.Kind+"\x00"+b.ID)
	})
	return fmt.Sprintf("version=%d\n%s", c.Version, lines(docs, func(d rescind.Document) string {
		return fmt.Sprintf("%q %q %x", d.Kind, d.ID, sha256.Sum256(d.Value))
	}))
}

func lines[T any](list []T, show func(T) string) string {
	var b strings.Builder
	for _, v := range list {
		b.WriteString(show(v) + "\n")
	}
	return b.String()
}
