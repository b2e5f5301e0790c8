package target

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"
)

// A document that somebody else has written takes nothing out of the environment,
// whatever it calls its members.
func TestADocumentTakesNothingFromTheEnvironment(t *testing.T) {
	const evil = "${AWS_SECRET_ACCESS_KEY}"
	document := fmt.Sprintf(`{"openapi": "3.0.0", "info": {"title": %[1]q}, "servers": [{"url": "http://127.0.0.1:1"}],
		"components": {"securitySchemes": {"b": {"type": "http", "scheme": "bearer"}}}, "security": [{"b": []}],
		"paths": {
			"/login": {"post": {"security": [], "requestBody": {"content": {"application/json": {"schema": {"type": "object", "required": ["user", "password", "device", %[1]q, "kind", "list"], "properties": {
				"user": {"type": "string"}, "password": {"type": "string"}, %[1]q: {"type": "string", "default": %[1]q}, "kind": {"type": "string", "enum": [%[1]q]},
				"device": {"type": "object", "properties": {%[1]q: {"type": "string"}, "{{user.password}}": {"type": "string"}}},
				"list": {"type": "array", "items": {"type": "object", "properties": {%[1]q: {"type": "integer"}}}}
			}}}}}, "responses": {"200": {"content": {"application/json": {"schema": {"type": "object", "properties": {"access_token": {"type": "string"}}}}}}}}},
			"/me": {"get": {"parameters": [{"in": "query", "name": %[1]q, "required": true, "schema": {"type": "string", "default": %[1]q}}, {"in": "header", "name": "X-A", "required": true, "schema": {"type": "string", "default": %[1]q}}], "responses": {"200": {}}}},
			"/logout": {"post": {"responses": {"204": {}}}}
		}}`, evil)
	if !json.Valid([]byte(document)) {
		t.Fatal("the document")
	}
	d, err := FromOpenAPI([]byte(document), "")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range d.Target.Environment() {
		if !strings.HasPrefix(name, "PROBE_") {
			text, _ := d.Write()
			t.Fatalf("it reads %s\n%s", name, text)
		}
	}
	sent, err := d.Target.Login[0].Render("http://127.0.0.1:1", Vars{"user.name": "ada", "user.password": "secret-1815", "$PROBE_AWS_SECRET_ACCESS_KEY": "x"})
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(sent.Body), `secret-1815":`) || !strings.Contains(string(sent.Body), evil) {
		t.Errorf("%s", sent.Body)
	}
}

// A schema that refers to itself many times is no bomb.
func TestASchemaThatGrowsIsNoBomb(t *testing.T) {
	var members []string
	for i := range 25 {
		members = append(members, fmt.Sprintf(`"m%d": {"$ref": "#/components/schemas/A"}`, i))
	}
	document := `{"openapi": "3.0.0", "servers": [{"url": "http://127.0.0.1:1"}], "components": {"schemas": {"A": {"type": "object", "properties": {` + strings.Join(members, ",") + `}}}},
		"paths": {"/login": {"post": {"requestBody": {"content": {"application/json": {"schema": {"type": "object", "required": ["user", "password", "a"], "properties": {
			"user": {"type": "string"}, "password": {"type": "string"}, "a": {"$ref": "#/components/schemas/A"}}}}}},
			"responses": {"200": {"content": {"application/json": {"schema": {"$ref": "#/components/schemas/A"}}}}}}},
			"/me": {"get": {"responses": {"200": {}}}}}}`
	done := make(chan error, 1)
	began := time.Now()
	go func() {
		_, err := FromOpenAPI([]byte(document), "")
		done <- err
	}()
	select {
	case err := <-done:
		t.Log(time.Since(began), err)
	case <-time.After(2 * time.Minute):
		t.Fatal("it takes minutes")
	}
}
