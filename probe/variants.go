package probe

import (
	"encoding/base64"
	"math/big"
	"strings"
)

// A variant is another spelling of a token that is the same to whoever verifies
// it, and another to whoever compares texts: a blocklist keyed by the token's text
// or by its hash does not know it. Whether an application accepts it has to be
// seen while the token is alive.
type variant struct {
	name string
	text string
}

// variants returns other spellings of a token. A JWT's signing input is text, so
// its header and claims have one spelling; its signature has several.
func variants(token string) []variant {
	t := readJWT(token)
	if t == nil {
		if swapped := swapCase(token); swapped != "" {
			return []variant{{"letters in the other case", swapped}}
		}
		return nil
	}
	var all []variant
	add := func(name, signature string) {
		if signature != "" && signature != t.parts[2] {
			all = append(all, variant{name, t.with(signature)})
		}
	}
	add("the second form of its ECDSA signature", secondSignature(t.alg(), t.signature()))
	add("unused bits of its base64 set", trailingBits(t.parts[2]))
	add("its base64 padded", padded(t.parts[2]))
	add("the standard alphabet of base64", strings.NewReplacer("-", "+", "_", "/").Replace(t.parts[2]))
	if t.parts[2] != "" {
		// Python's decoder, and others, skip what is not of the alphabet.
		add("a character that lenient decoders of base64 skip", t.parts[2]+"~")
	}
	return all
}

// order is the order of the group of each ECDSA algorithm of JWS, in hexadecimal,
// and how many bytes one half of its signature has.
var order = map[string]struct {
	n    string
	size int
}{
	"ES256":  {"ffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551", 32},
	"ES256K": {"fffffffffffffffffffffffffffffffebaaedce6af48a03bbfd25e8cd0364141", 32},
	"ES384":  {"ffffffffffffffffffffffffffffffffffffffffffffffffc7634d81f4372ddf581a0db248b0a77aecec196accc52973", 48},
	"ES512":  {"01fffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffa51868783bf2f966b7fcc0148f709a5d03bb5c9b8899c47aebb6fb71e91386409", 66},
}

// secondSignature returns the other signature of the same input under the same
// key, in base64url: for every (r, s) that verifies, (r, n-s) does. Whoever holds
// a token can make it, without any key. Empty for what is no ECDSA signature.
func secondSignature(alg string, signature []byte) string {
	o, known := order[alg]
	if !known || len(signature) != 2*o.size {
		return ""
	}
	n, ok := new(big.Int).SetString(o.n, 16)
	s := new(big.Int).SetBytes(signature[o.size:])
	if !ok || s.Sign() == 0 || s.Cmp(n) >= 0 {
		return ""
	}
	second := append([]byte(nil), signature[:o.size]...)
	second = append(second, s.Sub(n, s).FillBytes(make([]byte, o.size))...)
	return base64.RawURLEncoding.EncodeToString(second)
}

const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"

// trailingBits changes a bit of the last character that stands for no bit of what
// is encoded (RFC 4648, section 3.5). Empty if there is none.
func trailingBits(text string) string {
	if len(text)%4 < 2 {
		return ""
	}
	i := strings.IndexByte(alphabet, text[len(text)-1])
	if i < 0 {
		return ""
	}
	return text[:len(text)-1] + string(alphabet[i^1])
}

// padded adds the padding that base64url in a JWT goes without (RFC 7515, section
// 2). Empty if there is none to add.
func padded(text string) string {
	if len(text)%4 < 2 {
		return ""
	}
	return text + strings.Repeat("=", 4-len(text)%4)
}

// swapCase returns hexadecimal text, or that of a UUID, in the other case: a
// database may compare without regard to it. Empty for any other text, which
// would be another value.
func swapCase(token string) string {
	if strings.Trim(token, "0123456789abcdefABCDEF-") != "" || len(token) < 16 {
		return ""
	}
	if upper := strings.ToUpper(token); upper != token {
		return upper
	}
	if lower := strings.ToLower(token); lower != token {
		return lower
	}
	return ""
}

// headerVariants returns other spellings of a header's value "SCHEME CREDENTIALS".
// The scheme has no case and may be followed by several spaces (RFC 9110, section
// 11.4). A value without a scheme has none.
func headerVariants(value string) []variant {
	scheme, credentials, two := strings.Cut(value, " ")
	credentials = strings.TrimLeft(credentials, " ")
	if !two || scheme == "" || credentials == "" {
		return nil
	}
	var all []variant
	for _, v := range []variant{
		{"the scheme in small letters", strings.ToLower(scheme) + " " + credentials},
		{"the scheme in capitals", strings.ToUpper(scheme) + " " + credentials},
		{"two spaces after the scheme", scheme + "  " + credentials},
		{"a tab after the scheme", scheme + "\t" + credentials},
		{"a word after the token", value + " x"},
	} {
		if v.text != value {
			all = append(all, v)
		}
	}
	return all
}

// cookieVariants returns other spellings of a cookie's value: with one character
// percent-encoded, which many frameworks decode, and in double quotes, which
// belong to no value (RFC 6265, section 4.1.1).
func cookieVariants(value string) []variant {
	if value == "" || strings.ContainsAny(value, "\"\\") {
		return nil
	}
	const digits = "0123456789ABCDEF"
	var all []variant
	if c := value[len(value)-1]; c != '%' && !(len(value) >= 3 && strings.ContainsRune(value[len(value)-3:], '%')) {
		all = append(all, variant{"its last character percent-encoded",
			value[:len(value)-1] + "%" + string(digits[c>>4]) + string(digits[c&15])})
	}
	return append(all, variant{"double quotes around it", `"` + value + `"`})
}
