package targets

import (
	"fmt"
	"strings"
)

// Describe describes the application for the probe, with its login, logout and
// protected routes, and with those of the further parts that are named: refresh,
// logout_all, change_password, websocket, sse.
func (a *Notes) Describe(parts ...string) string {
	var b strings.Builder
	line := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	line("name: notes")
	line("instances: [%s]", strings.Join(a.URLs, ", "))
	line("users:")
	line("  - {name: ada, password: lovelace, new_password: babbage}")
	line("  - {name: alan, password: turing}")
	switch {
	case a.Form:
		line("login:")
		line("  - {request: GET /login, find: {csrf: {pattern: 'name=\"csrf\" value=\"([^\"]+)\"'}}}")
		line("  - {request: POST /login, form: {user: '{{user.name}}', password: '{{user.password}}', csrf: '{{csrf}}'}, expect: 303}")
		line("present: {cookies: true}")
	case a.TokenInURL:
		line("login: {request: POST /login, json: {user: '{{user.name}}', password: '{{user.password}}'}, expect: 303}")
	default:
		line("login: {request: POST /login, json: {user: '{{user.name}}', password: '{{user.password}}'}}")
	}
	line("protected: [GET /api/me, GET /api/notes, GET /api/files]")
	if !a.Form && !a.Answers.Empty {
		line("identity: {request: GET /api/me, find: {json: /subject}}")
	}
	line("logout: {request: POST /logout}")
	var sockets []string
	for _, part := range parts {
		switch part {
		case "refresh":
			if a.Jar {
				line("refresh: {request: POST /refresh}")
				continue
			}
			line("refresh: {request: POST /refresh, json: {refresh_token: '{{refresh_token}}'}}")
		case "logout_all":
			line("logout_all: {request: POST /logout-all}")
		case "change_password":
			line("change_password: {request: POST /password, json: {old: '{{user.password}}', new: '{{user.new_password}}'}}")
		case "websocket":
			sockets = append(sockets, "{websocket: /socket, send: ping, every: 50ms}")
		case "sse":
			sockets = append(sockets, "{sse: /events}")
		default:
			line("%s", part)
		}
	}
	if sockets != nil {
		line("sockets: [%s]", strings.Join(sockets, ", "))
	}
	return b.String()
}
