package targets

import (
	"context"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/go-jose/go-jose/v4"
	"github.com/golang-jwt/jwt/v5"
)

func rotations() []Plant {
	refresh := []string{"refresh"}
	slow := Options{Takes: 60 * time.Millisecond}
	return []Plant{
		{
			Name: "logout-lost-to-a-refresh", Sound: slow, Parts: refresh, Flaw: func(o *Options) { o.RevivesByRefresh = true },
			Finds: []string{"refresh-races-logout"},
			Shows: func(t testing.TB, a *Notes) bool {
				v := a.Login(t, "ada")
				var next Visit
				var taken bool
				during(t, func(context.Context) { next, taken = v.Renew(t) }, func() { v.Logout(t) })
				return taken && next.In(t)
			},
		}, {
			Name: "parallel-refreshes", Sound: Options{Takes: 300 * time.Millisecond}, Parts: refresh, Flaw: func(o *Options) { o.Forks = true },
			Finds: []string{"parallel-refreshes"},
			Shows: func(t testing.TB, a *Notes) bool {
				v := a.Login(t, "ada")
				var next [2]Visit
				var taken [2]bool
				var wg sync.WaitGroup
				for n := range next {
					wg.Go(func() { next[n], taken[n] = v.Renew(t) })
				}
				wg.Wait()
				return taken[0] && taken[1] && next[0].Refresh != next[1].Refresh && next[0].In(t) && next[1].In(t) && next[0].Renews(t)
			},
		}, {
			Name: "rotated-refresh-token-accepted", Parts: refresh, Flaw: func(o *Options) { o.RotatedAccepted = true },
			Finds: []string{"old-refresh-token-accepted"},
			Shows: func(t testing.TB, a *Notes) bool {
				v := a.Login(t, "ada")
				_, ok := v.Renew(t)
				return ok && v.Renews(t)
			},
		}, {
			Name: "reuse-tolerated", Parts: refresh, Flaw: func(o *Options) { o.ReuseTolerated = true },
			Finds: []string{"refresh-reuse-ends-family"},
			Shows: func(t testing.TB, a *Notes) bool {
				v := a.Login(t, "ada")
				next, _ := v.Renew(t)
				if v.Renews(t) {
					t.Error("the old token is taken")
				}
				return next.Renews(t)
			},
		}, {
			Name: "access-token-of-before-a-refresh", Sound: Options{Blocklist: &Blocklist{}}, Parts: refresh,
			Flaw:  func(o *Options) { o.ForgetsEarlier = true },
			Finds: []string{"access-token-of-before-refresh-alive-after-logout"}, May: []string{"refresh-races-logout", "parallel-refreshes"},
			Shows: func(t testing.TB, a *Notes) bool {
				v := a.Login(t, "ada")
				next, _ := v.Renew(t)
				next.Logout(t)
				if next.In(t) {
					t.Error("the token that logged out is taken")
				}
				return v.In(t)
			},
		}, {
			Name: "refresh-token-as-bearer", Parts: refresh, Flaw: func(o *Options) { o.AnyUse = true },
			Finds: []string{"refresh-token-as-bearer"},
			Shows: func(t testing.TB, a *Notes) bool {
				v := a.Login(t, "ada")
				v.Access = v.Refresh
				return v.In(t)
			},
		},
	}
}

func others() []Plant {
	all := []string{"logout_all"}
	return []Plant{
		{
			Name: "activity-revives", Sound: Options{Cookies: true, Takes: 60 * time.Millisecond},
			Flaw:  func(o *Options) { o.RevivesByTouch = true },
			Finds: []string{"request-in-flight"},
			Shows: func(t testing.TB, a *Notes) bool {
				v := a.Login(t, "ada")
				during(t, func(ctx context.Context) { v.Call(t, "GET", "/api/me", nil) }, func() { v.Logout(t) })
				time.Sleep(2 * a.Takes) // the answer is there before the session is written
				return v.In(t)
			},
		}, {
			Name: "socket-left-open", Parts: []string{"websocket"}, Flaw: func(o *Options) { o.SocketsStay = true },
			Finds: []string{"socket-open-after-logout"}, Shows: socketStays,
		}, {
			Name: "stream-left-open", Parts: []string{"sse"}, Flaw: func(o *Options) { o.StreamsStay = true },
			Finds: []string{"socket-open-after-logout"}, Shows: streamStays,
		}, {
			Name: "logout-everywhere-misses", Parts: all, Flaw: func(o *Options) { o.OnlyThis = true },
			Finds: []string{"logout-everywhere-incomplete"},
			Shows: func(t testing.TB, a *Notes) bool {
				v, other := a.Login(t, "ada"), a.Login(t, "ada")
				v.Call(t, "POST", "/logout-all", nil)
				return !v.In(t) && other.In(t)
			},
		}, {
			Name: "logout-everywhere-hits-others", Parts: all, Flaw: func(o *Options) { o.EverybodyOut = true },
			Finds: []string{"logout-everywhere-hits-others"},
			Shows: func(t testing.TB, a *Notes) bool {
				v, other := a.Login(t, "ada"), a.Login(t, "alan")
				v.Call(t, "POST", "/logout-all", nil)
				return !v.In(t) && !other.In(t)
			},
		}, {
			Name: "password-change-keeps-sessions", Parts: []string{"change_password"}, Flaw: func(o *Options) { o.PasswordKeeps = true },
			Finds: []string{"password-change-keeps-sessions"},
			Shows: func(t testing.TB, a *Notes) bool {
				v, other := a.Login(t, "ada"), a.Login(t, "ada")
				said := v.Call(t, "POST", "/password", map[string]string{"old": "lovelace", "new": "babbage"})
				return said.Status == http.StatusNoContent && other.In(t)
			},
		},
	}
}

func hygiene() []Plant {
	return []Plant{
		{
			Name: "alg-none", Flaw: func(o *Options) { o.AlgNone = true }, Finds: []string{"token-alg-none"},
			Shows: func(t testing.TB, a *Notes) bool {
				return forged(t, a, jwt.SigningMethodNone, jwt.UnsafeAllowNoneSignatureType)
			},
		}, {
			Name: "alg-confusion", Flaw: func(o *Options) { o.AlgConfused = true }, Finds: []string{"token-alg-confusion"},
			Shows: func(t testing.TB, a *Notes) bool {
				var set jose.JSONWebKeySet
				a.Send(t, "GET", "/.well-known/jwks.json", nil, nil).JSON(t, &set)
				der, err := x509.MarshalPKIXPublicKey(set.Keys[0].Key)
				if err != nil {
					t.Fatal(err)
				}
				return forged(t, a, jwt.SigningMethodHS256, pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}))
			},
		}, {
			Name: "signature-stripped", Flaw: func(o *Options) { o.SignatureLoose = true }, Finds: []string{"token-signature-stripped"},
			Shows: func(t testing.TB, a *Notes) bool {
				v := a.Login(t, "ada")
				v.Access = v.Access[:strings.LastIndexByte(v.Access, '.')+1]
				return v.In(t)
			},
		}, {
			Name: "token-without-id", Sound: Options{Blocklist: &Blocklist{}}, Flaw: func(o *Options) { o.WithoutID = true },
			Finds: []string{"token-without-id", "access-token-alive-after-logout"},
			Shows: func(t testing.TB, a *Notes) bool {
				return says(t, a.Login(t, "ada").Access)["jti"] == nil && ended(t, a)
			},
		}, {
			Name: "token-without-end", Flaw: func(o *Options) { o.Eternal = true }, Finds: []string{"token-lifetime"},
			Shows: func(t testing.TB, a *Notes) bool { return says(t, a.Login(t, "ada").Access)["exp"] == nil },
		}, {
			Name: "token-that-lives-for-weeks", Flaw: func(o *Options) { o.Access = 30 * 24 * time.Hour }, Finds: []string{"token-lifetime"},
			Shows: func(t testing.TB, a *Notes) bool {
				exp, _ := says(t, a.Login(t, "ada").Access)["exp"].(float64)
				return time.Until(time.Unix(int64(exp), 0)) > 7*24*time.Hour
			},
		}, {
			Name: "token-in-url", Flaw: func(o *Options) { o.TokenInURL = true }, Finds: []string{"token-in-url"},
			Shows: func(t testing.TB, a *Notes) bool {
				v := a.Login(t, "ada")
				return a.Send(t, "GET", "/api/me?access_token="+url.QueryEscape(v.Access), nil, nil).Status == http.StatusOK
			},
		}, {
			Name: "plain-cookies", Sound: Options{Cookies: true}, Flaw: func(o *Options) { o.PlainCookies = true }, Finds: []string{"cookie-attributes"},
			Shows: func(t testing.TB, a *Notes) bool {
				said := a.Send(t, "POST", "/login", nil, map[string]string{"user": "ada", "password": "lovelace"})
				return !strings.Contains(said.Header.Get("Set-Cookie"), "HttpOnly")
			},
		}, {
			Name: "answers-are-kept", Flaw: func(o *Options) { o.Cached = true }, Finds: []string{"cache-control"},
			Shows: func(t testing.TB, a *Notes) bool {
				return a.Login(t, "ada").Call(t, "GET", "/api/me", nil).Header.Get("Cache-Control") == ""
			},
		}, {
			Name: "browser-keeps-its-data", Sound: Options{Cookies: true}, Flaw: func(o *Options) { o.Remains = true }, Notes: []string{"clear-site-data"},
			Shows: func(t testing.TB, a *Notes) bool {
				return a.Login(t, "ada").Call(t, "POST", "/logout", nil).Header.Get("Clear-Site-Data") == ""
			},
		},
	}
}

// says is what a token says of itself.
func says(t testing.TB, token string) map[string]any {
	t.Helper()
	text, err := base64.RawURLEncoding.DecodeString(strings.Split(token, ".")[1])
	if err != nil {
		t.Fatal(err)
	}
	var c map[string]any
	if err := json.Unmarshal(text, &c); err != nil {
		t.Fatal(err)
	}
	return c
}

// forged reports whether a token that was not signed by the application is taken.
func forged(t testing.TB, a *Notes, method jwt.SigningMethod, key any) bool {
	t.Helper()
	v := a.Login(t, "ada")
	token, err := jwt.NewWithClaims(method, jwt.MapClaims(says(t, v.Access))).SignedString(key)
	if err != nil {
		t.Fatal(err)
	}
	v.Access = token
	return v.In(t)
}

// while is how long an open connection is watched.
const while = 300 * time.Millisecond

func socketStays(t testing.TB, a *Notes) bool {
	v := a.Login(t, "ada")
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	header := http.Header{"Authorization": {"Bearer " + v.Access}}
	c, _, err := websocket.Dial(ctx, "ws"+strings.TrimPrefix(a.URLs[0], "http")+"/socket", &websocket.DialOptions{HTTPHeader: header, HTTPClient: a.hands})
	if err != nil {
		t.Fatal(err)
	}
	defer c.CloseNow()
	talk := func() bool {
		if err := c.Write(ctx, websocket.MessageText, []byte("hello")); err != nil {
			return false
		}
		_, text, err := c.Read(ctx)
		return err == nil && string(text) == "you said hello"
	}
	if !talk() {
		t.Fatal("the socket does not answer")
	}
	v.Logout(t)
	time.Sleep(while)
	return talk()
}

func streamStays(t testing.TB, a *Notes) bool {
	v := a.Login(t, "ada")
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, "GET", a.URLs[0]+"/events", nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer "+v.Access)
	response, err := a.hands.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	buffer := make([]byte, 1024)
	if _, err := response.Body.Read(buffer); err != nil {
		t.Fatal(err)
	}
	v.Logout(t)
	for over := time.Now().Add(while); time.Now().Before(over); {
		if _, err := response.Body.Read(buffer); err != nil {
			return false
		}
	}
	return true
}
