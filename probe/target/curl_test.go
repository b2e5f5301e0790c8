package target

import (
	"strings"
	"testing"
)

// As a user would have it in a script, and pasted from a browser.
const curlScript = `
BASE=http://localhost:3000
TOKEN=$(curl -s -X POST "$BASE/api/login" -H 'Content-Type: application/json' -d '{"email":"ada@example.org","password":"correct horse"}' | jq -r .access_token)
curl "$BASE/api/me" -H "Authorization: Bearer $TOKEN"
curl 'http://localhost:3000/api/notes?limit=10' \
  -H 'Accept: application/json' \
  -H 'Authorization: Bearer eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJhZGEifQ.c2lnbmF0dXJl' \
  -H 'User-Agent: Mozilla/5.0' --compressed
curl -X POST $BASE/api/token/refresh --json '{"refresh_token":"rt_0123456789abcdef0123"}'
curl -X POST $BASE/api/logout -H "Authorization: Bearer $TOKEN" --data-raw $'{"refresh_token":"rt_0123456789abcdef0123","why":"it\u0027s over"}'
`

func TestCurlCommandsBecomeADescription(t *testing.T) {
	for _, c := range []struct{ name, script, base, want string }{
		{"a script", curlScript, "", `instances:
  - http://localhost:3000
users:
  - name: ${PROBE_USER}
    password: ${PROBE_PASSWORD}
login:
  request: POST /api/login
  json:
    email: "{{user.name}}"
    password: "{{user.password}}"
protected:
  - GET /api/me
  - request: GET /api/notes?limit=10
    headers:
      Accept: application/json
refresh:
  request: POST /api/token/refresh
  json:
    refresh_token: "{{refresh_token}}"
logout:
  request: POST /api/logout
  json:
    refresh_token: "{{refresh_token}}"
    why: it's over
`},
		{"cookies and a token against CSRF, from a browser", `
curl 'https://shop.example.org/login' -H 'content-type: application/x-www-form-urlencoded' -b 'lang=en; XSRF-TOKEN=abcdef0123456789' \
  --data-raw 'user%5Bemail%5D=ada%40example.org&user%5Bpassword%5D=p%26w&commit=Log+in' ;
curl 'https://shop.example.org/account' -b 'sid=s3ss10n-0123456789abcdef; XSRF-TOKEN=fedcba9876543210' -H 'sec-fetch-mode: navigate' ;
curl 'https://shop.example.org/logout' -X 'DELETE' -b 'sid=s3ss10n-0123456789abcdef; XSRF-TOKEN=fedcba9876543210' -H 'x-xsrf-token: fedcba9876543210'
`, "http://127.0.0.1:8080/shop", `instances:
  - http://127.0.0.1:8080/shop
users:
  - name: ${PROBE_USER}
    password: ${PROBE_PASSWORD}
login:
  request: POST /login
  form:
    commit: Log in
    user[email]: "{{user.name}}"
    user[password]: "{{user.password}}"
  find:
    csrf:
      cookie: XSRF-TOKEN
protected:
  - GET /account
logout:
  request: DELETE /logout
  headers:
    X-Xsrf-Token: "{{csrf}}"
`},
		{"variables, a header of its own, a form with parts", `
curl -sS "$API/v1/session" -F user="$MY_USER" -F password="$MY_PASSWORD" -F avatar=@face.png -u "app:$CLIENT_SECRET"
curl -sSL "$API/v1/things?page=1" -H "X-Session-Token: $SESSION"
curl -sSI "$API/v1/me" -H "X-Session-Token: $SESSION"
curl -X DELETE "${API}/v1/session" -H "X-Session-Token: $SESSION"
`, "", `instances:
  - ${API}
users:
  - name: ${MY_USER}
    password: ${MY_PASSWORD}
login:
  request: POST /v1/session
  basic: app:${CLIENT_SECRET}
  multipart:
    password: "{{user.password}}"
    user: "{{user.name}}"
present:
  headers:
    X-Session-Token: "{{access_token}}"
protected:
  - GET /v1/things?page=1
  - HEAD /v1/me
logout: DELETE /v1/session
`},
	} {
		t.Run(c.name, func(t *testing.T) {
			d, err := FromCurl([]byte(c.script), c.base)
			if err != nil {
				t.Fatal(err)
			}
			text, err := Marshal(d.Target)
			if err != nil {
				t.Fatal(err)
			}
			if string(text) != c.want {
				t.Errorf("got\n%s\nwant\n%s\nremarks:\n%s", text, c.want, strings.Join(d.Remarks, "\n"))
			}
			whole, err := d.Write()
			if err != nil {
				t.Fatal(err)
			}
			for _, secret := range []string{"correct horse", "c2lnbmF0dXJl", "rt_0123", "p&w", "s3ss10n", "fedcba98", "abcdef0123456789"} {
				if strings.Contains(string(whole), secret) {
					t.Errorf("%s is in the description", secret)
				}
			}
		})
	}
}

// Whatever a shell takes for an argument is one, also as people quote it.
func TestCurlArgumentsAreThoseOfTheShell(t *testing.T) {
	for quoted, want := range map[string]string{
		`'it'\''s'`:            "it's",
		`"a \"b\" \\ c"`:       `a "b" \ c`,
		`a\ b`:                 "a b",
		`$'a\u0027b\n\x41'`:    "a'b\nA",
		`'a'"b"c`:              "abc",
		`"a'b"`:                "a'b",
		"\"a\\\nb\"":           "ab",
		`'$HOME {a,b} * ~ \n'`: `$HOME {a,b} * ~ \n`,
		`"a$NAME-b"`:           "a" + markOpen + "NAME" + markClose + "-b",
		`${NAME}`:              markOpen + "NAME" + markClose,
	} {
		all, err := readCurl([]byte("curl http://h/ --data-raw " + quoted))
		if err != nil || len(all) != 1 || string(all[0].body) != want {
			t.Errorf("%s: %q %v, want %q", quoted, all[0].body, err, want)
		}
	}
}

func TestCurlThatCannotBeReadIsRefused(t *testing.T) {
	login := "curl http://h/login -d 'user=ada&password=hunter2hunter2'\n"
	for name, c := range map[string]struct{ script, says string }{
		"nothing":                    {"", "no curl command"},
		"another program":            {"wget http://h/", "no curl command"},
		"the Windows prompt":         {"curl ^\"http://h/login^\" ^\n  -d ^\"password=hunter2hunter2^\"", "cURL (bash)"},
		"PowerShell":                 {"Invoke-WebRequest -Uri http://h/", "cURL (bash)"},
		"a quote that is open":       {"curl 'http://h/ -d password=hunter2hunter2", "[1:6]"},
		"control characters":         {"curl http://h/\x00", "control characters"},
		"marks":                      {"curl http://h/" + markOpen + "HOME" + markClose, "control characters"},
		"a file of data":             {login + "curl http://h/x -d @hunter2hunter2", "[2:1]"},
		"a file of headers":          {login + "curl http://h/x -H @f", "write the headers out"},
		"an option that is unknown":  {login + "curl http://h/x --hyper", "--hyper is not understood"},
		"an option without a value":  {login + "curl http://h/x -H", "needs a value"},
		"no address":                 {login + "curl -v", "no URL"},
		"another scheme":             {login + "curl ftp://h/x", "http:// or https://"},
		"a computed argument":        {login + "curl http://h/x -H \"A: $(cat f)\"", "result of another command"},
		"a shell's own variable":     {login + "curl http://h/x -H \"A: ${X:-hunter2hunter2}\"", "only $NAME"},
		"braces that expand":         {login + "curl http://h/{1..999999999}", "braces outside quotes"},
		"no login":                   {"curl http://h/x -H 'Authorization: Bearer hunter2hunter2'", "login"},
		"no route":                   {login, "needs a session"},
		"a method that is none":      {login + "curl -X 'A B' http://h/x", "-X takes a method"},
		"bases in several variables": {"curl $A/login -d 'user=ada&password=hunter2hunter2'\ncurl $B/me -H 'Authorization: Bearer x'", "several variables"},
	} {
		d, err := FromCurl([]byte(c.script), "")
		if err == nil || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v %v, want %q", name, d, err, c.says)
		}
		if err != nil && strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s: the message holds the password: %v", name, err)
		}
	}
	if _, err := FromCurl(make([]byte, MaxCurl+1), ""); err == nil {
		t.Error("a file that is too large was read")
	}
}
