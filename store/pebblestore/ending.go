package pebblestore

import "github.com/rescind/rescind"

// An entry of the feed: nonce, kind, which fields follow, and the fields.
const (
	endingSession = 1 << iota
	endingToken
	endingTag
	endingName
)

// nonceSize is how many random bytes an entry begins with.
const nonceSize = 8

// appendEnding appends e without its position, which is its number, and without its
// nonce, which precedes it.
func appendEnding(b []byte, e *rescind.Ending) []byte {
	var has byte
	if !e.Session.IsZero() {
		has |= endingSession
	}
	if e.Token != (rescind.TokenID{}) {
		has |= endingToken
	}
	if e.Tag != (rescind.Tag{}) {
		has |= endingTag
	}
	if e.Name != "" {
		has |= endingName
	}
	b = appendTime(append(b, byte(e.Kind), has), e.At)
	if has&endingSession != 0 {
		b = append(b, e.Session[:]...)
	}
	if has&endingToken != 0 {
		b = append(b, e.Token[:]...)
	}
	if has&endingTag != 0 {
		b = append(b, e.Tag[:]...)
	}
	if has&endingName != 0 {
		b = appendText(b, e.Name)
	}
	return b
}

func parseEnding(at uint64, entry []byte) (rescind.Ending, error) {
	e := rescind.Ending{Position: rescind.Position(at)}
	r := reader{b: entry}
	copy(e.Nonce[:], r.take(nonceSize))
	e.Kind = rescind.EndingKind(r.byte())
	has := r.byte()
	e.At = r.time()
	if has&endingSession != 0 {
		copy(e.Session[:], r.take(len(e.Session)))
	}
	if has&endingToken != 0 {
		copy(e.Token[:], r.take(len(e.Token)))
	}
	if has&endingTag != 0 {
		copy(e.Tag[:], r.take(len(e.Tag)))
	}
	if has&endingName != 0 {
		e.Name = r.text()
	}
	if r.bad || len(r.b) > 0 {
		return rescind.Ending{}, damaged("an entry of the feed")
	}
	return e, nil
}
