package targets

import (
	"context"
	"crypto/elliptic"
	"encoding/base64"
	"math/big"
	"net/http"
	"strings"
	"testing"
	"time"
)

// A Plant is a flaw of the application.
type Plant struct {
	Name string
	// Sound is the application's shape, and Flaw what makes it unsound. What is
	// built without Flaw is the twin.
	Sound Options
	Flaw  func(*Options)
	// Parts are what of the application is described to the probe, besides login,
	// logout and protected routes.
	Parts []string
	// Finds are the checks that find the flaw, and nothing else does. The twin has
	// no finding.
	Finds []string
	// May are checks that find it, too, if the moment is right; Notes are those that
	// only say something of it.
	May, Notes []string
	// Patient says that it takes the time until a token expires to see it.
	Patient bool
	// Slow says that make test does without it: another plant of the same flaw, or of
	// the same shape, is there.
	Slow bool
	// Shows proves the flaw by hand: it reports whether it is there.
	Shows func(testing.TB, *Notes) bool
}

// Broken is the application with the flaw.
func (p Plant) Broken() Options {
	o := p.Sound
	p.Flaw(&o)
	return o
}

// Plants are all flaws that the application can have by itself. Those that take a
// Redis are in the tests.
func Plants() []Plant {
	return append(append(append(logouts(), blocklists()...), rotations()...), append(others(), hygiene()...)...)
}

// ended reports whether a session that logged out goes on.
func ended(t testing.TB, a *Notes) bool {
	v := a.Login(t, "ada")
	v.Logout(t)
	return v.In(t)
}

// renews reports whether the refresh token of a session that logged out does.
func renews(t testing.TB, a *Notes) bool {
	v := a.Login(t, "ada")
	v.Logout(t)
	return v.Renews(t)
}

func logouts() []Plant {
	cookies := Options{Cookies: true}
	forgets := func(o *Options) { o.LogoutForgets = true }
	return []Plant{
		{
			Name: "client-only-logout", Parts: []string{"refresh"}, Flaw: forgets,
			Finds: []string{"access-token-alive-after-logout", "refresh-token-alive-after-logout"},
			Shows: func(t testing.TB, a *Notes) bool { return ended(t, a) && renews(t, a) },
		}, {
			Name: "access-token-alive", Parts: []string{"refresh"}, Flaw: func(o *Options) { o.AccessSurvives = true },
			Finds: []string{"access-token-alive-after-logout"},
			Shows: func(t testing.TB, a *Notes) bool { return ended(t, a) && !renews(t, a) },
		}, {
			Name: "refresh-token-alive", Parts: []string{"refresh"}, Flaw: func(o *Options) { o.RefreshSurvives = true },
			Finds: []string{"refresh-token-alive-after-logout"},
			Shows: func(t testing.TB, a *Notes) bool { return !ended(t, a) && renews(t, a) },
		}, {
			Name: "tokens-repeat-themselves", Sound: Options{Repeats: true}, Parts: []string{"refresh"}, Flaw: forgets,
			Finds: []string{"access-token-alive-after-logout", "refresh-token-alive-after-logout"},
			Shows: func(t testing.TB, a *Notes) bool { return ended(t, a) && renews(t, a) },
		}, {
			Name: "cookie-session-alive", Sound: cookies, Flaw: forgets,
			Finds: []string{"cookie-alive-after-logout"}, Shows: ended,
		}, {
			Name: "cookies-of-tokens-alive", Slow: true, Sound: Options{Jar: true}, Parts: []string{"refresh"}, Flaw: forgets,
			Finds: []string{"cookie-alive-after-logout", "refresh-token-alive-after-logout", "session-alive-after-logout"},
			Shows: func(t testing.TB, a *Notes) bool { return ended(t, a) && renews(t, a) },
		}, {
			Name: "cookie-of-refreshing-alive", Sound: Options{Jar: true}, Parts: []string{"refresh"}, Flaw: func(o *Options) { o.RefreshSurvives = true },
			Finds: []string{"refresh-token-alive-after-logout"},
			Shows: func(t testing.TB, a *Notes) bool { return !ended(t, a) && renews(t, a) },
		}, {
			Name: "one-session-a-user", Slow: true, Sound: Options{Single: true}, Flaw: forgets,
			Finds: []string{"access-token-alive-after-logout"}, Shows: ended,
		}, {
			Name: "refusals-that-say-404", Slow: true, Sound: Options{Answers: Answers{Status: http.StatusNotFound}}, Flaw: forgets,
			Finds: []string{"access-token-alive-after-logout"}, Shows: ended,
		}, {
			Name: "refresh-with-grace", Slow: true, Sound: Options{Grace: 3 * time.Second}, Parts: []string{"refresh"}, Flaw: forgets,
			Finds: []string{"access-token-alive-after-logout", "refresh-token-alive-after-logout"},
			Shows: func(t testing.TB, a *Notes) bool { return ended(t, a) && renews(t, a) },
		}, {
			Name: "logout-that-takes-effect-later", Slow: true, Flaw: func(o *Options) { o.EndsLater = 400 * time.Millisecond },
			Finds: []string{"death-is-late"}, May: []string{"request-in-flight"},
			Shows: func(t testing.TB, a *Notes) bool {
				v := a.Login(t, "ada")
				v.Logout(t)
				soon := v.In(t)
				time.Sleep(600 * time.Millisecond)
				return soon && !v.In(t)
			},
		}, {
			Name: "form-session-alive", Sound: Options{Form: true}, Flaw: forgets,
			Finds: []string{"cookie-alive-after-logout", "session-alive-after-logout"}, Shows: ended,
		}, {
			Name: "empty-answers", Slow: true, Sound: Options{Answers: Answers{Empty: true}}, Flaw: forgets,
			Finds: []string{"access-token-alive-after-logout"}, Shows: ended,
		}, {
			Name: "polite-refusals", Slow: true, Sound: Options{Answers: Answers{Polite: true}}, Flaw: forgets,
			Finds: []string{"access-token-alive-after-logout"}, Shows: ended,
		}, {
			Name: "blank-refusals", Sound: Options{Answers: Answers{Blank: true}}, Flaw: forgets,
			Finds: []string{"access-token-alive-after-logout"}, Shows: ended,
		}, {
			Name: "refusals-that-redirect", Slow: true, Sound: Options{Cookies: true, Answers: Answers{Door: true}}, Flaw: forgets,
			Finds: []string{"cookie-alive-after-logout"}, Shows: ended,
		}, {
			Name: "drifting-answers", Slow: true, Sound: Options{Answers: Answers{Drift: true}}, Flaw: forgets,
			Finds: []string{"access-token-alive-after-logout"}, Shows: ended,
		}, {
			Name: "drifting-polite-answers", Sound: Options{Answers: Answers{Drift: true, Polite: true}}, Flaw: forgets,
			Finds: []string{"access-token-alive-after-logout"}, Shows: ended,
		}, {
			Name: "logout-with-refresh-token-only", Parts: []string{"refresh"},
			Flaw:  func(o *Options) { o.RefreshLogout = true },
			Finds: []string{"logout-with-refresh-token-only"},
			Shows: func(t testing.TB, a *Notes) bool {
				v := a.Login(t, "ada")
				said := a.Send(t, "POST", "/logout", nil, map[string]string{"refresh_token": v.Refresh})
				return said.Status == http.StatusNoContent && v.In(t)
			},
		}, {
			Name: "logout-with-expired-access-token", Sound: Options{Access: 12 * time.Second}, Parts: []string{"refresh"}, Patient: true,
			Flaw:  func(o *Options) { o.ExpiredStays = true },
			Finds: []string{"logout-with-expired-access-token"},
			Shows: func(t testing.TB, a *Notes) bool {
				v := a.Login(t, "ada")
				for v.In(t) {
					time.Sleep(50 * time.Millisecond)
				}
				v.Call(t, "POST", "/logout", nil)
				return v.Renews(t)
			},
		}, {
			Name: "logout-by-get", Sound: cookies, Flaw: func(o *Options) { o.LogoutByGet = true },
			Finds: []string{"logout-by-get"},
			Shows: func(t testing.TB, a *Notes) bool {
				v := a.Login(t, "ada")
				v.Call(t, "GET", "/logout", nil)
				return !v.In(t)
			},
		}, {
			Name: "logout-cross-origin", Sound: cookies, Flaw: func(o *Options) { o.AnyOrigin, o.PlainCookies = true, true },
			Finds: []string{"logout-cross-origin", "cookie-attributes"},
			Shows: func(t testing.TB, a *Notes) bool {
				v := a.Login(t, "ada")
				a.Send(t, "POST", "/logout", map[string]string{"Cookie": "sid=" + v.Cookie, "Origin": "https://evil.example", "Sec-Fetch-Site": "cross-site"}, nil)
				return !v.In(t)
			},
		}, {
			Name: "logout-hits-other-session", Flaw: func(o *Options) { o.OthersOut = true },
			Finds: []string{"logout-hits-other-session"},
			Shows: func(t testing.TB, a *Notes) bool {
				v, other := a.Login(t, "ada"), a.Login(t, "ada")
				v.Logout(t)
				return !other.In(t)
			},
		},
	}
}

func blocklists() []Plant {
	list := Options{Blocklist: &Blocklist{}}
	return []Plant{
		{
			Name: "blocklist-never-read", Sound: list, Parts: []string{"refresh"}, Flaw: func(o *Options) { o.Blind = []string{"*"} },
			Finds: []string{"access-token-alive-after-logout"},
			Shows: func(t testing.TB, a *Notes) bool { return ended(t, a) && !renews(t, a) && a.listed() },
		}, {
			Name: "blocklist-read-on-some-routes", Sound: list, Flaw: func(o *Options) { o.Blind = []string{"/api/files"} },
			Finds: []string{"access-token-alive-after-logout", "route-disagrees"},
			Shows: func(t testing.TB, a *Notes) bool {
				v := a.Login(t, "ada")
				v.Logout(t)
				return v.In(t) && v.Call(t, "GET", "/api/me", nil).Status == http.StatusUnauthorized
			},
		}, {
			Name: "blocklist-of-one-instance", Sound: Options{Instances: 2, Blocklist: &Blocklist{}},
			Flaw:  func(o *Options) { o.Blocklist = &Blocklist{Own: true} },
			Finds: []string{"access-token-alive-after-logout", "instance-disagrees"},
			Shows: func(t testing.TB, a *Notes) bool {
				v := a.Login(t, "ada")
				v.Logout(t)
				return v.count(t) == 3 && v.Call(t, "GET", "/api/me", nil).Status == http.StatusUnauthorized
			},
		}, {
			Name: "blocklist-entry-expires-first", Sound: Options{Access: 12 * time.Second, Blocklist: &Blocklist{}}, Patient: true,
			Flaw:  func(o *Options) { o.Blocklist = &Blocklist{Keeps: 6 * time.Second} },
			Finds: []string{"access-token-alive-after-logout", "revives"}, May: []string{"token-variant-alive-after-logout"},
			Shows: func(t testing.TB, a *Notes) bool {
				v := a.Login(t, "ada")
				v.Logout(t)
				if v.In(t) {
					return false
				}
				time.Sleep(6500 * time.Millisecond)
				return v.In(t)
			},
		}, {
			Name: "blocklist-keyed-by-text", Sound: list, Flaw: func(o *Options) { o.Blocklist = &Blocklist{ByText: true} },
			Finds: []string{"token-variant-alive-after-logout"},
			Shows: func(t testing.TB, a *Notes) bool {
				v := a.Login(t, "ada")
				v.Logout(t)
				if v.In(t) {
					t.Error("the token itself is taken, too")
				}
				v.Access = loose(v.Access)
				return v.In(t)
			},
		}, {
			Name: "blocklist-keyed-by-strict-text", Slow: true, Sound: Options{Strict: true, Blocklist: &Blocklist{}},
			Flaw:  func(o *Options) { o.Blocklist = &Blocklist{ByText: true} },
			Finds: []string{"token-variant-alive-after-logout"},
			Shows: func(t testing.TB, a *Notes) bool {
				v := a.Login(t, "ada")
				v.Logout(t)
				in, loosely, twin := v.In(t), v, v
				loosely.Access, twin.Access = loose(v.Access), second(t, v.Access)
				if in || loosely.In(t) {
					t.Error("the token itself, or its other spelling in base64, is taken")
				}
				return twin.In(t)
			},
		}, {
			Name: "blocklist-keyed-by-header", Slow: true, Sound: Options{Strict: true, Blocklist: &Blocklist{}},
			Flaw:  func(o *Options) { o.Blocklist = &Blocklist{ByHeader: true} },
			Finds: []string{"token-variant-alive-after-logout"},
			Shows: func(t testing.TB, a *Notes) bool {
				v := a.Login(t, "ada")
				v.Logout(t)
				if v.In(t) {
					t.Error("the header itself is taken, too")
				}
				return a.Send(t, "GET", "/api/me", map[string]string{"Authorization": "bearer " + v.Access}, nil).Status == http.StatusOK
			},
		}, {
			Name: "verdict-cache", Flaw: func(o *Options) { o.VerdictCache = 30 * time.Second },
			Finds: []string{"access-token-alive-after-logout"},
			Shows: func(t testing.TB, a *Notes) bool {
				v := a.Login(t, "ada")
				before := v.In(t)
				v.Logout(t)
				return before && v.In(t) && !ended(t, a)
			},
		}, {
			Name: "verdict-cache-of-a-moment", Slow: true, Flaw: func(o *Options) { o.VerdictCache = 700 * time.Millisecond },
			Finds: []string{"death-is-late"}, May: []string{"request-in-flight"},
			Shows: func(t testing.TB, a *Notes) bool {
				v := a.Login(t, "ada")
				before := v.In(t)
				v.Logout(t)
				late := v.In(t)
				time.Sleep(800 * time.Millisecond)
				return before && late && !v.In(t)
			},
		}, {
			Name: "cutoff-misses-its-own-second", Parts: []string{"logout_all"}, Flaw: func(o *Options) { o.Cutoff = BeforeThisSecond },
			Finds: []string{"same-second-login"}, May: []string{"logout-everywhere-incomplete"},
			Shows: func(t testing.TB, a *Notes) bool {
				nextSecond()
				v := a.Login(t, "ada")
				v.Call(t, "POST", "/logout-all", nil)
				soon := v.In(t)
				nextSecond()
				w := a.Login(t, "ada")
				nextSecond()
				w.Call(t, "POST", "/logout-all", nil)
				return soon && !w.In(t)
			},
		}, {
			Name: "cutoff-hits-the-next-login", Parts: []string{"logout_all"}, Flaw: func(o *Options) { o.Cutoff = UpToThisSecond },
			Finds: []string{"same-second-login"},
			Shows: func(t testing.TB, a *Notes) bool {
				nextSecond()
				v := a.Login(t, "ada")
				v.Call(t, "POST", "/logout-all", nil)
				again := a.Login(t, "ada")
				return !v.In(t) && !again.In(t)
			},
		},
	}
}

// listed reports whether there is anything on the blocklist.
func (a *Notes) listed() bool {
	a.db.list.mu.Lock()
	defer a.db.list.mu.Unlock()
	return len(a.db.list.until) > 0
}

// loose writes a token otherwise: in the last letter of a signature of 64 bytes
// four bits mean nothing.
func loose(token string) string {
	const letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
	last := strings.IndexByte(letters, token[len(token)-1])
	return token[:len(token)-1] + letters[last^1:last^1+1]
}

// second is a token with the second form of its signature: for every (r, s) of
// ECDSA, (r, n-s) is as good.
func second(t testing.TB, token string) string {
	t.Helper()
	head := token[:strings.LastIndexByte(token, '.')+1]
	signature, err := base64.RawURLEncoding.DecodeString(token[len(head):])
	if err != nil {
		t.Fatal(err)
	}
	s := new(big.Int).SetBytes(signature[32:])
	s.Sub(elliptic.P256().Params().N, s).FillBytes(signature[32:])
	return head + base64.RawURLEncoding.EncodeToString(signature)
}

// nextSecond waits for the beginning of one.
func nextSecond() {
	now := time.Now()
	time.Sleep(now.Truncate(time.Second).Add(time.Second).Sub(now))
}

// during runs a call while another goes on, which was begun a moment before.
func during(t testing.TB, long func(context.Context), short func()) {
	t.Helper()
	done := make(chan struct{})
	go func() {
		defer close(done)
		long(t.Context())
	}()
	time.Sleep(20 * time.Millisecond)
	short()
	<-done
}
