package targets

import (
	"context"
	"errors"
	"fmt"
	"html"
	"net/http"
	"slices"
	"time"

	"github.com/coder/websocket"
)

// admit is who logs in, or nobody, who has got an answer.
func (i *instance) admit(w http.ResponseWriter, user, password string) bool {
	right, times := i.db.password(user, password)
	switch {
	case i.Trouble.Locks > 0 && times > i.Trouble.Locks:
		reply(w, http.StatusLocked, map[string]string{"error": "too many logins"})
		return false
	case !right:
		reply(w, http.StatusUnauthorized, map[string]string{"error": "wrong user or password"})
		return false
	}
	return true
}

func (i *instance) login(w http.ResponseWriter, r *http.Request) {
	var body struct{ User, Password string }
	if !read(w, r, &body) {
		http.Error(w, "no JSON", http.StatusBadRequest)
		return
	}
	if !i.admit(w, body.User, body.Password) {
		return
	}
	if i.Single {
		i.db.end(false, func(s row) bool { return s.user == body.User })
	}
	s := i.db.create(body.User)
	if i.Cookies {
		i.setCookie(w, s.id)
		reply(w, http.StatusOK, map[string]string{"welcome": s.user})
		return
	}
	g, err := i.grant(s)
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	i.db.issue(s, g)
	if i.Jar {
		i.setTokens(w, g)
		reply(w, http.StatusOK, map[string]string{"welcome": s.user})
		return
	}
	if i.TokenInURL {
		w.Header().Set("Location", "/api/me?access_token="+g.AccessToken)
		reply(w, http.StatusSeeOther, g)
		return
	}
	reply(w, http.StatusOK, g)
}

// setTokens sets a cookie for each, that of the refresh token where it is wanted.
func (i *instance) setTokens(w http.ResponseWriter, g *grant) {
	http.SetCookie(w, &http.Cookie{Name: "access_token", Value: g.AccessToken, Path: "/", HttpOnly: true, Secure: true, SameSite: http.SameSiteStrictMode})
	http.SetCookie(w, &http.Cookie{Name: "refresh_token", Value: g.RefreshToken, Path: "/refresh", HttpOnly: true, Secure: true, SameSite: http.SameSiteStrictMode})
}

func (i *instance) setCookie(w http.ResponseWriter, id string) {
	c := &http.Cookie{Name: "sid", Value: id, Path: "/", HttpOnly: true, Secure: true, SameSite: http.SameSiteLaxMode}
	if i.PlainCookies {
		c = &http.Cookie{Name: "sid", Value: id, Path: "/"}
	}
	http.SetCookie(w, c)
}

// showLogin is the form, with a word that only who has seen it can send back.
func (i *instance) showLogin(w http.ResponseWriter, _ *http.Request) {
	s := i.db.create("")
	http.SetCookie(w, &http.Cookie{Name: "form", Value: s.id, Path: "/login", HttpOnly: true, Secure: true, SameSite: http.SameSiteStrictMode})
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	fmt.Fprintf(w, `<!doctype html><title>Log in</title><form method="post" action="/login">
<input type="hidden" name="csrf" value="%s"><input name="user"><input type="password" name="password"><button>Log in</button></form>`, html.EscapeString("f-"+s.id))
}

func (i *instance) submitLogin(w http.ResponseWriter, r *http.Request) {
	r.Body = http.MaxBytesReader(w, r.Body, 10_000)
	form, err := r.Cookie("form")
	if err != nil || r.PostFormValue("csrf") != "f-"+form.Value {
		http.Error(w, "this form was not shown here", http.StatusForbidden)
		return
	}
	if !i.admit(w, r.PostFormValue("user"), r.PostFormValue("password")) {
		return
	}
	i.setCookie(w, i.db.create(r.PostFormValue("user")).id)
	http.Redirect(w, r, "/", http.StatusSeeOther)
}

func (i *instance) home(w http.ResponseWriter, r *http.Request) {
	i.guarded(i.show)(w, r)
}

func (i *instance) refresh(w http.ResponseWriter, r *http.Request) {
	var body struct {
		RefreshToken string `json:"refresh_token"`
	}
	if i.Jar {
		body.RefreshToken = cookieOf(r, "refresh_token")
	} else if !read(w, r, &body) {
		http.Error(w, "no refresh token", http.StatusUnauthorized)
		return
	}
	g, err := i.renew(body.RefreshToken)
	if used, known := i.db.findRefresh(body.RefreshToken); known && errors.Is(err, errReuse) {
		reused := i.db.end(false, func(s row) bool { return s.id == used.session })
		err = errors.Join(err, i.end(r.Context(), reused, "", claims{}))
	}
	if err != nil {
		reply(w, http.StatusUnauthorized, map[string]string{"error": "log in again"})
		return
	}
	if i.Jar {
		i.setTokens(w, g)
		reply(w, http.StatusOK, map[string]int{"expires_in": g.ExpiresIn})
		return
	}
	reply(w, http.StatusOK, g)
}

func (i *instance) renew(token string) (*grant, error) {
	if !i.RevivesByRefresh && !i.Forks {
		time.Sleep(i.Takes)
		return i.db.exchange(token, rotation{i.Grace, i.RotatedAccepted, i.ReuseTolerated}, i.grant)
	}
	if i.RevivesByRefresh {
		i.refreshing <- struct{}{}
		defer func() { <-i.refreshing }()
	}
	used, ok := i.db.findRefresh(token)
	if !ok {
		return nil, errEnded
	}
	s, err := i.db.get(used.session)
	if err != nil {
		return nil, err
	}
	if used.next != nil {
		return nil, errReuse
	}
	time.Sleep(i.Takes)
	g, err := i.grant(s)
	if err != nil {
		return nil, err
	}
	if i.RevivesByRefresh {
		i.db.put(s)
	}
	i.db.issue(s, g)
	i.db.used(token, used, g)
	return g, nil
}

// end ends what the given sessions hold.
func (i *instance) end(ctx context.Context, ended []row, presented string, who claims) error {
	for _, s := range ended {
		if i.Blocklist != nil {
			for jti, token := range s.access {
				if i.ForgetsEarlier && presented != "" && jti != who.ID {
					continue
				}
				if err := i.Blocklist.add(ctx, i, i.Blocklist.word(token.text, jti), token.until); err != nil {
					return err
				}
			}
		}
		i.sockets.close(s.id)
	}
	return nil
}

func (i *instance) logout(w http.ResponseWriter, r *http.Request) {
	var body struct {
		RefreshToken string `json:"refresh_token"`
	}
	_ = read(w, r, &body) // without one the access token is enough
	var who claims
	token := i.presented(r)
	switch {
	case i.cookies():
		if s, err := i.db.get(token); err == nil {
			who.Session, who.Subject = s.id, s.user
		}
		http.SetCookie(w, &http.Cookie{Name: "sid", Path: "/", MaxAge: -1, HttpOnly: true, Secure: true, SameSite: http.SameSiteLaxMode})
	case token != "":
		if i.Jar {
			for _, c := range []http.Cookie{{Name: "access_token", Path: "/"}, {Name: "refresh_token", Path: "/refresh"}} {
				c.MaxAge, c.HttpOnly, c.Secure, c.SameSite = -1, true, true, http.SameSiteStrictMode
				http.SetCookie(w, &c)
			}
		}
		var err error
		if who, err = i.verify(token); !i.ExpiredStays {
			err = unexpired(err)
		}
		if err != nil {
			reply(w, http.StatusUnauthorized, map[string]string{"error": "log in first"})
			return
		}
	default:
		used, ok := i.db.findRefresh(body.RefreshToken)
		if !ok {
			reply(w, http.StatusUnauthorized, map[string]string{"error": "log in first"})
			return
		}
		who.Session = used.session
	}
	if !i.Remains {
		w.Header().Set("Clear-Site-Data", `"cache", "cookies", "storage"`)
	}
	if i.LogoutForgets || i.RefreshLogout && token == "" {
		w.WriteHeader(http.StatusNoContent)
		return
	}
	end := func() error {
		ended := i.db.end(i.RefreshSurvives, func(s row) bool {
			return s.id == who.Session || i.OthersOut && s.user == who.Subject
		})
		return i.end(r.Context(), ended, token, who)
	}
	var err error
	if i.EndsLater > 0 {
		time.AfterFunc(i.EndsLater, func() { _ = end() }) // who would hear of it
	} else {
		err = end()
	}
	if err != nil {
		w.Header().Set("Retry-After", "1")
		http.Error(w, "try again", http.StatusServiceUnavailable)
		return
	}
	if i.Form {
		http.Redirect(w, r, "/login", http.StatusSeeOther)
		return
	}
	w.WriteHeader(http.StatusNoContent)
}

func (i *instance) logoutAll(w http.ResponseWriter, r *http.Request) {
	i.guarded(func(w http.ResponseWriter, r *http.Request, who claims) {
		var ended []row
		if i.Cutoff == EachSession {
			ended = i.db.end(false, func(s row) bool {
				return i.EverybodyOut || s.user == who.Subject && (!i.OnlyThis || s.id == who.Session)
			})
		} else {
			i.db.cut(who.Subject, time.Now().Unix())
		}
		if err := i.end(r.Context(), ended, "", claims{}); err != nil {
			http.Error(w, "try again", http.StatusServiceUnavailable)
			return
		}
		w.WriteHeader(http.StatusNoContent)
	})(w, r)
}

func (i *instance) changePassword(w http.ResponseWriter, r *http.Request) {
	i.guarded(func(w http.ResponseWriter, r *http.Request, who claims) {
		var body struct{ Old, New string }
		if !read(w, r, &body) || body.New == "" {
			http.Error(w, "no new password", http.StatusBadRequest)
			return
		}
		if !i.admit(w, who.Subject, body.Old) {
			return
		}
		i.db.setPassword(who.Subject, body.New)
		var ended []row
		if !i.PasswordKeeps {
			ended = i.db.end(false, func(s row) bool { return s.user == who.Subject && s.id != who.Session })
		}
		if err := i.end(r.Context(), ended, "", claims{}); err != nil {
			http.Error(w, "try again", http.StatusServiceUnavailable)
			return
		}
		w.WriteHeader(http.StatusNoContent)
	})(w, r)
}

// socket echoes until the session ends.
func (i *instance) socket(w http.ResponseWriter, r *http.Request, who claims) {
	c, err := websocket.Accept(w, r, nil)
	if err != nil {
		return // who asked knows
	}
	defer c.CloseNow()
	ctx, cancel := context.WithCancel(r.Context())
	defer cancel()
	i.sockets.add(who.Session, func() {
		if !i.SocketsStay {
			_ = c.Close(websocket.StatusPolicyViolation, "logged out") // or the other side was faster
			cancel()
		}
	})
	for {
		kind, text, err := c.Read(ctx)
		if err != nil || c.Write(ctx, kind, slices.Concat([]byte("you said "), text)) != nil {
			return
		}
	}
}

// stream sends an event a moment until the session ends.
func (i *instance) stream(w http.ResponseWriter, r *http.Request, who claims) {
	ctx, cancel := context.WithCancel(r.Context())
	defer cancel()
	i.sockets.add(who.Session, func() {
		if !i.StreamsStay {
			cancel()
		}
	})
	w.Header().Set("Content-Type", "text/event-stream")
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for n := 0; ; n++ {
		if _, err := fmt.Fprintf(w, "data: %d\n\n", n); err != nil || http.NewResponseController(w).Flush() != nil {
			return
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}
