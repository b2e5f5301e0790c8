package probe

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"math"
	"strings"
	"time"
)

// A jwt is a JSON Web Token in the compact form of RFC 7515, as far as whoever
// carries it can read it. Nothing of it is verified: the key is the application's.
type jwt struct {
	parts  [3]string // header, claims and signature as they stand in the token
	header map[string]any
	claims map[string]any
}

// maxJWT is how long a token may be that is read as a JWT.
const maxJWT = 64 << 10

// readJWT reads a token. A token that is something else, encrypted ones included,
// gives nil.
func readJWT(token string) *jwt {
	if len(token) > maxJWT {
		return nil
	}
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		return nil
	}
	t := &jwt{parts: [3]string(parts)}
	if t.header = readObject(parts[0]); t.header == nil {
		return nil
	}
	if t.claims = readObject(parts[1]); t.claims == nil {
		return nil
	}
	if _, err := base64.RawURLEncoding.DecodeString(parts[2]); err != nil || t.alg() == "" {
		return nil
	}
	return t
}

// readObject reads a JSON object in base64url; nil if it is none.
func readObject(part string) map[string]any {
	text, err := base64.RawURLEncoding.DecodeString(part)
	if err != nil {
		return nil
	}
	dec := json.NewDecoder(bytes.NewReader(text))
	dec.UseNumber()
	var object map[string]any
	if dec.Decode(&object) != nil || dec.More() {
		return nil
	}
	return object
}

// alg is the algorithm that the header names; empty if it names none.
func (t *jwt) alg() string {
	alg, _ := t.header["alg"].(string)
	return alg
}

// text is a member of the claims that is a string; empty if it is none.
func (t *jwt) text(claim string) string {
	text, _ := t.claims[claim].(string)
	return text
}

// time is a claim that is a NumericDate, and whether there is one.
func (t *jwt) time(claim string) (time.Time, bool) {
	number, ok := t.claims[claim].(json.Number)
	if !ok {
		return time.Time{}, false
	}
	seconds, err := number.Float64()
	if err != nil || math.Abs(seconds) > 1e11 { // milliseconds, or nonsense
		return time.Time{}, false
	}
	whole, part := math.Modf(seconds)
	return time.Unix(int64(whole), int64(part*1e9)).UTC(), true
}

// signature is the signature's bytes.
func (t *jwt) signature() []byte {
	bytes, err := base64.RawURLEncoding.DecodeString(t.parts[2])
	if err != nil {
		return nil // readJWT has decoded it
	}
	return bytes
}

// with returns the token with another signature.
func (t *jwt) with(signature string) string {
	return t.parts[0] + "." + t.parts[1] + "." + signature
}
