package target

import (
	"strings"
	"testing"
)

// As FastAPI writes it.
const fastAPI = `{"openapi":"3.1.0","info":{"title":"Notes\n API","version":"1"},"paths":{
"/token":{"post":{"operationId":"login_token_post","requestBody":{"required":true,"content":{"application/x-www-form-urlencoded":{"schema":{"$ref":"#/components/schemas/Body_login"}}}},
 "responses":{"200":{"content":{"application/json":{"schema":{"$ref":"#/components/schemas/Token"}}}}}}},
"/users/":{"post":{"operationId":"create_user","requestBody":{"content":{"application/json":{"schema":{"properties":{"email":{"type":"string"},"password":{"type":"string"}},"required":["email","password"]}}}},"responses":{"201":{}}}},
"/users/me":{"get":{"operationId":"read_me","security":[{"OAuth2PasswordBearer":[]}],"responses":{"200":{"content":{"application/json":{"schema":{"$ref":"#/components/schemas/User"}}}}}}},
"/items/{item_id}":{"get":{"security":[{"OAuth2PasswordBearer":[]}],"parameters":[{"name":"item_id","in":"path","required":true,"schema":{"type":"integer"}}],"responses":{"200":{}}}},
"/items":{"get":{"security":[{"OAuth2PasswordBearer":[]}],"parameters":[{"name":"kind","in":"query","required":true,"schema":{"enum":["a b","c"]}}],"responses":{"200":{}}}},
"/public":{"get":{"responses":{"200":{}}}},
"/users/me/events":{"get":{"security":[{"OAuth2PasswordBearer":[]}],"responses":{"200":{"content":{"text/event-stream":{}}}}}},
"/logout":{"post":{"security":[{"OAuth2PasswordBearer":[]}],"responses":{"204":{}}}},
"/users/me/password":{"put":{"security":[{"OAuth2PasswordBearer":[]}],"responses":{"204":{}}}}
},"components":{"schemas":{
"Body_login":{"type":"object","required":["username","password"],"properties":{"grant_type":{"anyOf":[{"type":"string","pattern":"^password$"},{"type":"null"}]},"username":{"type":"string"},"password":{"type":"string","format":"password"},"scope":{"type":"string","default":""},"client_id":{"type":"string"}}},
"Token":{"properties":{"access_token":{"type":"string"},"token_type":{"type":"string"}}},
"User":{"allOf":[{"properties":{"username":{"type":"string"}}},{"properties":{"id":{"type":"integer"},"self":{"$ref":"#/components/schemas/User"}}}]}},
"securitySchemes":{"OAuth2PasswordBearer":{"type":"oauth2","flows":{"password":{"scopes":{},"tokenUrl":"token"}}}}}}`

// As many servers in Node are documented, with a token under a name of its own.
const nodeAPI = `
openapi: 3.0.3
info: {title: Shop}
servers: [{url: "https://{host}/api/v1", variables: {host: {default: shop.example.org}}}]
security: [{auth: []}]
paths:
  /auth/register:
    post: {security: [], requestBody: {content: {application/json: {schema: {$ref: '#/components/schemas/Credentials'}}}}, responses: {201: {description: made}}}
  /auth/login:
    post:
      security: []
      requestBody: {content: {application/json: {schema: {$ref: '#/components/schemas/Credentials'}}}}
      responses:
        200: {description: ok, content: {application/json: {schema: {type: object, properties: {data: {type: object, properties: {sessionTokenValue: {type: string}, refreshToken: {type: string}}}}}}}}
  /auth/refresh-tokens:
    post: {security: [], requestBody: {content: {application/json: {schema: {type: object, required: [refreshToken], properties: {refreshToken: {type: string}}}}}}, responses: {200: {description: ok}}}
  /auth/logout:
    post: {requestBody: {content: {application/json: {schema: {type: object, required: [refreshToken], properties: {refreshToken: {type: string}}}}}}, responses: {204: {description: ok}}}
  /auth/logout-all:
    post: {responses: {204: {description: ok}}}
  /orders:
    get:
      parameters: [{name: X-Tenant, in: header, required: true, schema: {type: string}}, {name: page, in: query, schema: {type: integer, default: 1}}]
      responses: {200: {description: ok}}
  /health:
    get: {security: [{}], responses: {200: {description: ok}}}
components:
  schemas:
    Credentials:
      type: object
      required: [email, password, deviceType]
      properties: {email: {type: string}, name: {type: string}, password: {type: string, example: hunter2}, deviceType: {type: string, enum: [web, app]}, stay: {type: boolean}}
  securitySchemes:
    auth: {type: apiKey, in: header, name: X-Auth-Token}
`

// Swagger 2.0.
const swagger = `
swagger: "2.0"
host: pets.example.org
basePath: /v2
schemes: [http]
info: {title: Pets}
paths:
  /user/login:
    get:
      operationId: loginUser
      parameters:
        - {name: username, in: query, required: true, type: string}
        - {name: password, in: query, required: true, type: string}
      responses: {200: {description: ok, schema: {type: string}}}
  /user/logout:
    get: {operationId: logoutUser, responses: {default: {description: ok}}}
  /store/inventory:
    get: {security: [{api_key: []}], responses: {200: {description: ok}}}
securityDefinitions:
  api_key: {type: apiKey, name: api_key, in: header}
`

func TestOpenAPIBecomesADescription(t *testing.T) {
	for _, c := range []struct{ name, text, base, want string }{
		{"fastapi", fastAPI, "http://127.0.0.1:8000", `name: Notes API
instances:
  - http://127.0.0.1:8000
users:
  - name: ${PROBE_USER}
    password: ${PROBE_PASSWORD}
login:
  request: POST /token
  form:
    grant_type: password
    password: "{{user.password}}"
    username: "{{user.name}}"
protected:
  - GET /users/me
  - GET /items?kind=a+b
identity:
  request: GET /users/me
  find:
    json: /id
refresh:
  request: POST /token
  form:
    grant_type: refresh_token
    refresh_token: "{{refresh_token}}"
logout: POST /logout
sockets:
  - sse: /users/me/events
`},
		{"node", nodeAPI, "", `name: Shop
instances:
  - https://shop.example.org/api/v1
users:
  - name: ${PROBE_USER}
    password: ${PROBE_PASSWORD}
login:
  request: POST /auth/login
  json:
    deviceType: web
    email: "{{user.name}}"
    password: "{{user.password}}"
  find:
    access_token:
      json: /data/sessionTokenValue
    refresh_token:
      json: /data/refreshToken
present:
  headers:
    X-Auth-Token: "{{access_token}}"
protected:
  - request: GET /orders
    headers:
      X-Tenant: ${PROBE_X_TENANT}
refresh:
  request: POST /auth/refresh-tokens
  json:
    refreshToken: "{{refresh_token}}"
logout:
  request: POST /auth/logout
  json:
    refreshToken: "{{refresh_token}}"
logout_all: POST /auth/logout-all
`},
		{"swagger", swagger, "http://localhost:8080", `name: Pets
instances:
  - http://localhost:8080/v2
users:
  - name: ${PROBE_USER}
    password: ${PROBE_PASSWORD}
login: GET /user/login?username={{user.name}}&password={{user.password}}
present:
  headers:
    api_key: "{{access_token}}"
protected:
  - GET /store/inventory
logout: GET /user/logout
`},
	} {
		t.Run(c.name, func(t *testing.T) {
			d, err := FromOpenAPI([]byte(c.text), c.base)
			if err != nil {
				t.Fatal(err)
			}
			text, err := Marshal(d.Target)
			if err != nil {
				t.Fatal(err)
			}
			if string(text) != c.want {
				t.Errorf("got\n%s\nwant\n%s\nremarks: %s", text, c.want, strings.Join(d.Remarks, "\n"))
			}
		})
	}
}

func TestOpenAPIThatIsNoneIsRefused(t *testing.T) {
	for name, c := range map[string]struct{ text, says string }{
		"empty":            {"", "empty"},
		"text":             {"hello", "no OpenAPI"},
		"broken JSON":      {`{"openapi":`, ""},
		"no address":       {`{"openapi":"3.1.0","paths":{}}`, "base URL"},
		"no login":         {`{"openapi":"3.1.0","servers":[{"url":"http://a"}],"paths":{"/x":{"get":{"security":[{"b":[]}]}}}}`, "login"},
		"growing":          {"openapi: 3.1.0\na: &a [x, x]\nb: &b [*a, *a]\nc: [*b, *b]\n", "anchors"},
		"refers to itself": {`{"openapi":"3.1.0","servers":[{"url":"http://a"}],"paths":{"$ref":"#/paths"}}`, "login"},
		"basic": {`{"openapi":"3.1.0","servers":[{"url":"http://a"}],"paths":{"/x":{"get":{"security":[{"b":[]}]}},
			"/login":{"post":{"requestBody":{"content":{"application/json":{"schema":{"properties":{"password":{}}}}}}}}},"components":{"securitySchemes":{"b":{"type":"http","scheme":"basic"}}}}`, "HTTP Basic"},
	} {
		if d, err := FromOpenAPI([]byte(c.text), ""); err == nil || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v %v, want %q", name, d, err, c.says)
		}
	}
	if _, err := FromOpenAPI(make([]byte, MaxOpenAPI+1), ""); err == nil {
		t.Error("a document that is too large was read")
	}
}

// As RealWorld and Supabase have it: members in objects, a key of the application
// beside the user's token, a grant in the query, a login without a body.
func TestOpenAPIWithHabitsOfItsOwnBecomesADescription(t *testing.T) {
	head := `{"openapi":"3.0.0","servers":[{"url":"http://127.0.0.1:1"}],"paths":{`
	for name, c := range map[string]struct {
		text string
		want []string
	}{
		"members in an object": {head + `"/users/login":{"post":{"requestBody":{"content":{"application/json":{"schema":{"required":["user"],"properties":{"user":{"required":["email","password"],"properties":{"email":{"type":"string"},"password":{"type":"string"}}}}}}}}}},
			"/user":{"get":{"security":[{"t":[]}]}}},"components":{"securitySchemes":{"t":{"type":"apiKey","in":"header","name":"Authorization","description":"The header is:\n\n    Token xxx.yyy.zzz\n"}}}}`,
			[]string{"json:\n    user:\n      email: \"{{user.name}}\"\n      password: \"{{user.password}}\"", "Authorization: Token {{access_token}}"}},
		"a key of the application": {head + `"/token":{"post":{"security":[{"key":[]}],"parameters":[{"name":"grant_type","in":"query","required":true,"schema":{"enum":["password","refresh_token"]}}],"requestBody":{"content":{"application/json":{"schema":{"properties":{"email":{"type":"string"},"password":{"type":"string"}}}}}}}},
			"/user":{"get":{"security":[{"key":[],"user":[]}]}},"/health":{"get":{"security":[{"key":[]}]}},"/admin/users":{"get":{"security":[{"key":[],"user":[]}]}}},
			"components":{"securitySchemes":{"key":{"type":"apiKey","in":"header","name":"apikey"},"user":{"type":"http","scheme":"bearer"}}}}`,
			[]string{"POST /token?grant_type=password\n  headers:\n    apikey: ${PROBE_APIKEY}", "POST /token?grant_type=refresh_token", "protected:\n  - request: GET /user\n    headers:\n      apikey: ${PROBE_APIKEY}\nrefresh:"}},
		"a login without a body": {head + `"/auth/login":{"post":{}},"/auth/register":{"post":{"requestBody":{"content":{"application/json":{"schema":{"properties":{"emailAddress":{"type":"string"},"password":{"type":"string"}}}}}}}},
			"/auth/me":{"get":{"security":[{"b":[]}]}}},"components":{"securitySchemes":{"b":{"type":"http","scheme":"bearer"}}}}`,
			[]string{"request: POST /auth/login\n  json:\n    emailAddress: \"{{user.name}}\"\n    password: \"{{user.password}}\""}},
		"an OAuth scheme alone": {head + `"/me":{"get":{"security":[{"o":[]}]}}},"components":{"securitySchemes":{"o":{"type":"oauth2","flows":{"password":{"tokenUrl":"https://auth.example.org/oauth/token"}}}}}}`,
			[]string{"hosts:\n  - auth.example.org", "request: POST https://auth.example.org/oauth/token\n  form:\n    grant_type: password", "grant_type: refresh_token"}},
	} {
		d, err := FromOpenAPI([]byte(c.text), "")
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		text, err := Marshal(d.Target)
		if err != nil {
			t.Fatal(err)
		}
		for _, want := range c.want {
			if !strings.Contains(string(text), want) {
				t.Errorf("%s: without\n%s\nit is\n%s", name, want, text)
			}
		}
	}
}
