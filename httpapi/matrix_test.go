package httpapi_test

import (
	"net/http"
	"strconv"
	"strings"
	"testing"

	"github.com/rescind/rescind"
	"github.com/rescind/rescind/rescindtest"
)

// Who may do what: every route, every role, with one's own and with another
// client's. Each cell is a fresh server's answer to one request.
func TestAuthorizationMatrix(t *testing.T) {
	h := start(t)
	roles := []string{"issue", "introspect", "revoke", "guard", "admin", "none"}
	clients := map[string]rescindtest.Credentials{}
	for _, name := range roles {
		c := rescind.Client{ID: name}
		if name != "none" {
			c.Roles = []rescind.Role{rescind.Role(name)}
		}
		clients[name] = h.AddClient(t, c)
	}
	h.AddClient(t, rescind.Client{ID: "public", Public: true})
	h.AddClient(t, rescind.Client{ID: "stranger"})

	// A case gets a session of its caller or of somebody else, and says how to ask.
	type fresh struct {
		rescind.Grant
		owner string
	}
	rows := []struct {
		name  string
		ask   func(g fresh) (method, path string, e edit)
		own   string // statuses in the order of roles
		other string
	}{
		{"create", func(g fresh) (string, string, edit) {
			return "POST", "/v1/sessions", jsonText(`{"subject":"x","client_id":"` + g.owner + `"}`)
		},
			"201 403 403 403 201 403", "403 403 403 403 201 403"},
		{"list", func(g fresh) (string, string, edit) { return "GET", "/v1/sessions?client_id=" + g.owner, nil },
			"200 403 403 403 200 403", "403 403 403 403 200 403"},
		{"show", func(g fresh) (string, string, edit) { return "GET", "/v1/sessions/" + g.Session.String(), nil },
			"200 403 403 403 200 403", "404 403 403 403 200 403"},
		{"end", func(g fresh) (string, string, edit) { return "DELETE", "/v1/sessions/" + g.Session.String(), nil },
			"200 403 200 403 200 403", "404 403 200 403 200 403"},
		{"revoke session", func(g fresh) (string, string, edit) {
			return "POST", "/v1/revocations", jsonText(`{"session":"` + g.Session.String() + `"}`)
		},
			"200 403 200 403 200 403", "404 403 200 403 200 403"},
		{"revoke token", func(g fresh) (string, string, edit) {
			return "POST", "/v1/revocations", jsonText(`{"token":"` + g.AccessToken.Reveal() + `"}`)
		},
			"200 403 200 403 200 403", "403 403 200 403 200 403"},
		{"revoke subject", func(fresh) (string, string, edit) { return "POST", "/v1/revocations", jsonText(`{"subject":"x"}`) },
			"403 403 200 403 200 403", "403 403 200 403 200 403"},
		{"revoke client", func(g fresh) (string, string, edit) {
			return "POST", "/v1/revocations", jsonText(`{"client":"` + g.owner + `"}`)
		},
			"403 403 403 403 200 403", "403 403 403 403 200 403"},
		{"revoke key", func(fresh) (string, string, edit) {
			return "POST", "/v1/revocations", jsonText(`{"key":"AAAAAAAB"}`)
		},
			"403 403 403 403 404 403", "403 403 403 403 404 403"},
		{"revoke all", func(fresh) (string, string, edit) { return "POST", "/v1/revocations", jsonText(`{"all":true}`) },
			"403 403 403 403 200 403", "403 403 403 403 200 403"},
		{"dry run of all", func(fresh) (string, string, edit) {
			return "POST", "/v1/revocations", jsonText(`{"all":true,"dry_run":true}`)
		},
			"403 403 403 403 200 403", "403 403 403 403 200 403"},
		{"events", func(fresh) (string, string, edit) { return "GET", "/v1/events", nil },
			"403 403 403 403 200 403", ""},
		{"keys", func(fresh) (string, string, edit) { return "GET", "/v1/keys", nil },
			"403 403 403 403 200 403", ""},
		{"rotate", func(fresh) (string, string, edit) { return "POST", "/v1/keys/rotate", jsonText(`{"use":"mac"}`) },
			"403 403 403 403 200 403", ""},
		{"clients", func(fresh) (string, string, edit) { return "GET", "/v1/clients", nil },
			"403 403 403 403 200 403", ""},
		{"add client", func(fresh) (string, string, edit) {
			return "POST", "/v1/clients", jsonText(`{"id":"new","replace":true}`)
		},
			"403 403 403 403 201 403", ""},
		{"remove client", func(fresh) (string, string, edit) { return "DELETE", "/v1/clients/nobody", nil },
			"403 403 403 403 404 403", ""},
		{"backup", func(fresh) (string, string, edit) { return "GET", "/v1/backup", nil },
			"403 403 403 403 200 403", ""},
		{"erase", func(fresh) (string, string, edit) {
			return "POST", "/v1/erasures", jsonText(`{"subject":"nobody"}`)
		},
			"403 403 403 403 200 403", ""},
		{"introspect", func(g fresh) (string, string, edit) {
			return "POST", "/oauth/introspect", form("token", g.AccessToken.Reveal())
		},
			"403 200 403 200 200 403", "403 200 403 200 200 403"},
		{"oauth revoke", func(g fresh) (string, string, edit) {
			return "POST", "/oauth/revoke", form("token", g.AccessToken.Reveal())
		},
			"200 200 200 200 200 200", "400 400 200 400 200 400"},
		{"refresh", func(g fresh) (string, string, edit) {
			return "POST", "/oauth/token", form("grant_type", "refresh_token", "refresh_token", g.RefreshToken.Reveal())
		},
			"200 200 200 200 200 200", "400 400 400 400 400 400"},
	}
	covered := map[string]bool{}
	for _, row := range rows {
		for who, statuses := range map[string]string{"own": row.own, "other": row.other} {
			if statuses == "" {
				continue
			}
			for i, want := range strings.Fields(statuses) {
				name := roles[i]
				t.Run(row.name+"/"+who+"/"+name, func(t *testing.T) {
					h.t = t
					g := fresh{owner: name}
					if who == "other" {
						g.owner = "stranger"
					}
					g.Grant = h.Login(t, rescind.Login{Subject: "x", Client: g.owner})
					method, path, e := row.ask(g)
					edits := []edit{basic(clients[name])}
					if e != nil {
						edits = append(edits, e)
					}
					route, _, _ := strings.Cut(path, "?")
					route = strings.Replace(strings.Replace(route, g.Session.String(), "{id}", 1), "clients/nobody", "clients/{id}", 1)
					covered[method+" "+route] = true
					if _, ok := h.Store.(rescind.Backuper); row.name == "backup" && want == "200" && !ok {
						want = "400" // it is left to the database
					}
					a := h.do(method, path, edits...)
					if got := http.StatusText(a.status); want != strconv.Itoa(a.status) {
						t.Fatalf("%d %s, want %s: %s", a.status, got, want, a.body)
					}
					// What was refused has not happened.
					if a.status >= 400 && strings.HasPrefix(row.name, "revoke") || a.status >= 400 && row.name == "end" || a.status >= 400 && row.name == "oauth revoke" {
						h.do("GET", "/forward-auth", bearer(g.AccessToken)).want(t, 200)
					}

					// Nobody does it without a secret: no client, a public one, a wrong secret.
					if name == roles[0] && e == nil || strings.HasPrefix(path, "/v1/") {
						for _, cred := range []edit{header("X-None"), header("Authorization", "Basic cHVibGljOg=="), basic(rescindtest.Credentials{ID: name, Secret: "wrong"}), bearer(g.AccessToken)} {
							edits[0] = cred
							if a := h.do(method, path, edits...); a.status != 401 && a.status != 429 {
								t.Fatalf("%d without a secret: %s", a.status, a.body)
							}
						}
					}
				})
			}
		}
	}
	h.t = t
	// No route that asks for a client is left out of this table.
	var doc struct {
		Paths map[string]map[string]struct {
			Security []map[string][]string
		}
	}
	h.do("GET", "/openapi.json").want(t, 200).into(t, &doc)
	n := 0
	for path, methods := range doc.Paths {
		for method, op := range methods {
			for _, s := range op.Security {
				if _, ok := s["client"]; ok {
					n++
					if route := strings.ToUpper(method) + " " + path; !covered[route] {
						t.Errorf("%s is not in the matrix", route)
					}
				}
			}
		}
	}
	if n == 0 {
		t.Fatal("the document names no route that asks for a client")
	}
}
