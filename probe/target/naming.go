package target

import (
	"regexp"
	"slices"
	"strings"
	"unicode"
)

// A purpose is what a request is for, as far as its address tells.
type purpose string

const (
	forNothing   purpose = ""
	forLogin     purpose = "login"
	forRefresh   purpose = "refresh"
	forLogout    purpose = "logout"
	forLogoutAll purpose = "logout everywhere"
	forPassword  purpose = "change of password"
	forIdentity  purpose = "identity"
)

// plain is a name in small letters, without what separates words.
func plain(name string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsLetter(r) || unicode.IsDigit(r) {
			return unicode.ToLower(r)
		}
		return -1
	}, name)
}

// Names of path segments and operations, in the form that plain gives.
var (
	logoutNames   = []string{"logout", "signout", "logoff", "signoff", "endsession", "revoke", "revoketoken", "revokesession", "invalidate", "destroysession", "deletesession"}
	everywhere    = []string{"all", "everywhere", "alldevices", "allsessions", "global", "everysession"}
	refreshNames  = []string{"refresh", "refreshtoken", "refreshtokens", "tokenrefresh", "refreshsession", "refreshaccesstoken", "renew", "renewtoken", "renewsession", "rotate"}
	loginNames    = []string{"login", "signin", "logon", "signon", "authenticate", "auth", "token", "tokens", "session", "sessions", "signinwithpassword", "localauth", "loginuser", "userlogin", "createsession", "createtoken", "gettoken", "accesstoken", "obtaintoken"}
	passwordNames = []string{"password", "changepassword", "passwordchange", "updatepassword", "setpassword"}
	identityNames = []string{"me", "userinfo", "whoami", "self", "currentuser", "getcurrentuser", "myprofile", "profile", "account", "user", "session", "getme", "viewer", "getprofile"}
	neverNames    = []string{"register", "signup", "registration", "forgot", "forgotpassword", "reset", "resetpassword", "passwordreset", "verify", "verifyemail", "confirm", "callback", "introspect"}
)

// purposeOf tells what a request is for by the last segments of its path, or by
// the name of its operation, which counts first.
func purposeOf(method, path, operation string) purpose {
	var words []string
	for segment := range strings.SplitSeq(path, "/") {
		if segment == "" || strings.HasPrefix(segment, "{") {
			continue
		}
		words = append(words, plain(strings.TrimSuffix(segment, ".json")))
	}
	if operation != "" {
		words = append(words, plain(operation))
	}
	tail := words[max(0, len(words)-3):]
	has := func(list []string) bool {
		return slices.ContainsFunc(tail, func(w string) bool { return slices.Contains(list, w) })
	}
	ends := func(list []string) bool {
		n := len(words)
		return n > 0 && slices.Contains(list, words[n-1]) || operation != "" && n > 1 && slices.Contains(list, words[n-2])
	}
	all := has(everywhere) || slices.ContainsFunc(tail, func(w string) bool {
		return slices.ContainsFunc(everywhere, func(e string) bool {
			return strings.HasSuffix(w, e) && slices.ContainsFunc(logoutNames, func(l string) bool { return strings.HasPrefix(w, l) })
		})
	})
	switch {
	case all && (has(logoutNames) || slices.ContainsFunc(tail, startsLogout)):
		return forLogoutAll
	case has(logoutNames) || slices.ContainsFunc(tail, startsLogout):
		return forLogout
	case method == "DELETE" && ends([]string{"sessions", "tokens"}):
		return forLogoutAll
	case method == "DELETE" && (ends([]string{"session", "token", "auth", "login"}) || has([]string{"sessions", "session"}) && ends([]string{"current", "me", "this"})):
		return forLogout
	case has(neverNames):
		return forNothing
	case has(refreshNames):
		return forRefresh
	case method != "GET" && method != "HEAD" && ends(passwordNames):
		return forPassword
	case method == "POST" && ends(loginNames):
		return forLogin
	case (method == "GET" || method == "HEAD") && ends(identityNames):
		return forIdentity
	}
	return forNothing
}

// startsLogout recognizes operations as logoutUser and signOutCurrentSession.
func startsLogout(word string) bool {
	return strings.HasPrefix(word, "logout") || strings.HasPrefix(word, "signout") || strings.HasPrefix(word, "userlogout")
}

// Names of fields, in the form that plain gives.
var (
	passwordField = regexp.MustCompile(`password|passwd|passphrase|^(pass|pwd|pw|pin|passcode)$`)
	newPassword   = regexp.MustCompile(`^(new|confirm|repeat)|(new|confirm|confirmation|repeat|again|2)$`)
	userField     = regexp.MustCompile(`^(user|login|identifier|account|handle|phone|mobile|name|nickname|userid|loginid|uid|principal|id)$|(username|useremail|email|emailaddress|loginname|phonenumber|usernameoremail|mail)$`)
	secretField   = regexp.MustCompile(`token|secret|key|auth|session|sid$|csrf|xsrf|nonce|code|otp|totp|credential|signature|password|passwd|pass|pwd|pin$|captcha|assertion|cookie|ticket|jwt|bearer|challenge|verifier|fingerprint|hash|hmac`)
	// What sounds like a secret and is none.
	openField = regexp.MustCompile(`^(clientid|granttype|tokentype|tokentypehint|responsetype|authtype|authmethod|codechallengemethod|scope|audience|resource|realm|locale|lang|language|countrycode|keeploggedin|rememberme|xrequestedwith|contenttype|accept)$`)

	jwtLike    = regexp.MustCompile(`eyJ[A-Za-z0-9_-]{8,}`)
	randomLike = regexp.MustCompile(`[0-9a-fA-F]{16,}|[0-9a-fA-F]{8}-[0-9a-fA-F]{4}|[0-9]{9,}`)
	longWord   = regexp.MustCompile(`[A-Za-z0-9+/_=-]{20,}`)
	hasDigit   = regexp.MustCompile(`[0-9]`)
	hasUpper   = regexp.MustCompile(`[A-Z]`)
	hasLower   = regexp.MustCompile(`[a-z]`)
)

// harmless reports whether a recorded value may be written down. It errs towards
// no: what it refuses becomes a variable of the environment.
func harmless(field, value string) bool {
	name := plain(field)
	switch {
	case len(value) > 200 || jwtLike.MatchString(value):
		return false
	case openField.MatchString(name):
		return true
	case secretField.MatchString(name) || randomLike.MatchString(value):
		return false
	}
	for _, word := range longWord.FindAllString(value, -1) {
		if hasDigit.MatchString(word) || hasUpper.MatchString(word) && hasLower.MatchString(word) || strings.ContainsAny(word, "+=") {
			return false
		}
	}
	// A word as Tr0ub4dor is more likely a password than anything else.
	return !(len(value) >= 8 && !strings.ContainsAny(value, " /.:,") &&
		hasDigit.MatchString(value) && hasUpper.MatchString(value) && hasLower.MatchString(value))
}

// envName is the variable of the environment for a field.
func envName(field string) string {
	var b strings.Builder
	for i, r := range field {
		switch {
		case r < 128 && (unicode.IsLetter(r) || unicode.IsDigit(r)):
			if unicode.IsUpper(r) && i > 0 && b.Len() > 0 && unicode.IsLower(rune(field[i-1])) {
				b.WriteByte('_')
			}
			b.WriteRune(unicode.ToUpper(r))
		case b.Len() > 0 && !strings.HasSuffix(b.String(), "_"):
			b.WriteByte('_')
		}
	}
	name := strings.Trim(b.String(), "_")
	if name == "" {
		name = "VALUE"
	}
	return "PROBE_" + name[:min(len(name), 40)]
}

// varName is a variable for something found under a name.
func varName(name string) string {
	v := strings.ToLower(strings.TrimPrefix(envName(name), "PROBE_"))
	if v == "random" || v[0] >= '0' && v[0] <= '9' {
		v = "found_" + v
	}
	return v
}
