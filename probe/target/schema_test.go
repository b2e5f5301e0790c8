package target

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"
	"github.com/santhosh-tekuri/jsonschema/v6"
)

// The schema has exactly the keys that are read, and tells of each.
func TestSchemaHasEveryKey(t *testing.T) {
	var root schemaNode
	if err := json.Unmarshal(Schema(), &root); err != nil {
		t.Fatal(err)
	}
	request := root.Definitions.get("request").OneOf[1]
	members := tags(reflect.TypeFor[Request]())
	for name, c := range map[string]struct {
		got  *schemaNode
		want []string
	}{
		"description":     {&root, tags(reflect.TypeFor[Target]())},
		"request":         {request, members},
		"finder":          {root.Definitions.get("finder"), tags(reflect.TypeFor[Finder]())},
		"present":         {root.Definitions.get("present"), tags(reflect.TypeFor[Present]())},
		"identity":        {root.Definitions.get("identity"), []string{"basic", "expect", "find", "headers", "request"}},
		"change_password": {root.Definitions.get("change_password"), slices.Sorted(slices.Values(append(slices.Clone(members), "restore")))},
		"socket":          {root.Definitions.get("socket"), tags(reflect.TypeFor[Socket]())},
		"allow":           {root.Definitions.get("allow"), tags(reflect.TypeFor[Allow]())},
		"limits":          {root.Definitions.get("limits"), tags(reflect.TypeFor[Limits]())},
	} {
		var got []string
		for _, p := range c.got.Properties {
			got = append(got, p.name)
		}
		if slices.Sort(got); !slices.Equal(got, c.want) {
			t.Errorf("%s: the schema has %v, what is read has %v", name, got, c.want)
		}
	}
	seen := map[string]bool{}
	for _, k := range Keys() {
		if k.About == "" {
			t.Errorf("%s: nothing is said of it", k.Name)
		}
		if seen[k.Name] {
			t.Errorf("%s is listed twice", k.Name)
		}
		seen[k.Name] = true
	}
	for _, want := range []string{"instances", "users.password", "limits.timeout", "request.find", "finder.json", "sockets.every", "change_password.restore", "identity.find"} {
		if !seen[want] {
			t.Errorf("%s is not listed", want)
		}
	}
}

func tags(t reflect.Type) []string {
	var all []string
	for i := range t.NumField() {
		if name, _, _ := strings.Cut(t.Field(i).Tag.Get("yaml"), ","); name != "" {
			all = append(all, name)
		}
	}
	slices.Sort(all)
	return all
}

// The defaults that the schema names are those that hold.
func TestSchemaNamesTheDefaults(t *testing.T) {
	got := map[string]string{}
	for _, k := range Keys() {
		got[k.Name] = k.Default
	}
	l := DefaultLimits()
	for name, value := range map[string]any{
		"limits.requests": l.Requests, "limits.parallel": l.Parallel, "limits.per_second": l.PerSecond, "limits.failed_logins": l.FailedLogins,
		"limits.timeout": l.Timeout.String(), "limits.duration": strings.TrimSuffix(l.Duration.String(), "0s"), "limits.body": "1MiB", "allow.methods": []string{"GET", "HEAD"}, "sockets.every": "1s",
	} {
		want, err := json.Marshal(value)
		if err != nil {
			t.Fatal(err)
		}
		if strings.ReplaceAll(got[name], " ", "") != string(want) {
			t.Errorf("%s: the schema says %s, it is %s", name, got[name], want)
		}
	}
	var delays []string
	for _, d := range DefaultDelays() {
		delays = append(delays, d.String())
	}
	want, err := json.Marshal(delays)
	if err != nil {
		t.Fatal(err)
	}
	if strings.ReplaceAll(got["delays"], " ", "") != string(want) {
		t.Errorf("delays: the schema says %s, they are %s", got["delays"], want)
	}
}

func compiled(t *testing.T) *jsonschema.Schema {
	document, err := jsonschema.UnmarshalJSON(bytes.NewReader(Schema()))
	if err != nil {
		t.Fatal(err)
	}
	c := jsonschema.NewCompiler()
	if err := c.AddResource("probe.schema.json", document); err != nil {
		t.Fatal(err)
	}
	s, err := c.Compile("probe.schema.json")
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// holds reports whether the schema accepts a description.
func holds(t *testing.T, s *jsonschema.Schema, text []byte) error {
	t.Helper()
	asJSON, err := yaml.YAMLToJSON(text)
	if err != nil {
		t.Fatal(err)
	}
	value, err := jsonschema.UnmarshalJSON(bytes.NewReader(asJSON))
	if err != nil {
		t.Fatal(err)
	}
	return s.Validate(value)
}

// Schema and parser agree on what is right and what is wrong.
func TestSchemaAndParserAgree(t *testing.T) {
	s := compiled(t)
	right := map[string][]byte{"notes": []byte(notes)}
	files, err := filepath.Glob("../../examples/*/probe.yaml")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		if right[file], err = os.ReadFile(file); err != nil {
			t.Fatal(err)
		}
	}
	if len(right) < 2 {
		t.Error("no example was found")
	}
	for name, text := range right {
		if err := holds(t, s, text); err != nil {
			t.Errorf("%s: the schema refuses it: %v", name, err)
		}
		parsed, err := Parse(text, notesEnv)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		again, err := Marshal(parsed)
		if err != nil {
			t.Fatal(err)
		}
		if err := holds(t, s, again); err != nil {
			t.Errorf("%s: the schema refuses what is written: %v\n%s", name, err, again)
		}
	}
	for name, change := range wrongOnes() {
		text := strings.Replace(notes, change.old, change.new, 1)
		if text == notes {
			t.Errorf("%s: nothing was changed", name)
		}
		_, wrong := Parse([]byte(text), notesEnv)
		if wrong == nil || !strings.Contains(wrong.Error(), change.says) {
			t.Errorf("%s: %v, want %q", name, wrong, change.says)
		}
		if err := holds(t, s, []byte(text)); (err == nil) != change.onlyParser {
			t.Errorf("%s: the schema says %v", name, err)
		}
	}
}

type mistake struct {
	old, new, says string
	onlyParser     bool // a schema cannot say it
}

func wrongOnes() map[string]mistake {
	return map[string]mistake{
		"an unknown key":               {"name: notes", "nam: notes", "[2:1]", false},
		"an unknown key of a request":  {"request: POST /login\n", "request: POST /login\n  methd: x\n", "[10:3] unknown field", false},
		"an unknown key below":         {"{cookie: csrf}", "{cookies: csrf}", "unknown field", false},
		"no instances":                 {`instances: [http://127.0.0.1:3000, "${SECOND}"]`, "instances: []", "instances", false},
		"no users":                     {"users:\n  - {name: ada, password: \"${ADA_PASSWORD}\", new_password: \"${ADA_NEW_PASSWORD}\"}\n  - {name: alan, password: \"${ALAN_PASSWORD}\"}\n", "", "users", false},
		"no name":                      {"{name: alan, ", "{", "users[1]: name is missing", false},
		"a request without a method":   {"- GET /api/me", "- /api/me", "protected[0]", false},
		"a status that is none":        {"expect: [200, 3xx]", "expect: [200, ok]", "expect", false},
		"a limit that is too high":     {"requests: 100,", "requests: 100000000,", "limits.requests", false},
		"a size that is none":          {"body: 64KiB", "body: big", "size", false},
		"a duration without unit":      {"every: 2s", "every: 2", "duration", false},
		"a pointer without slash":      {"json: /access_token", "json: access_token", "JSON pointer", false},
		"carry of something else":      {"logout_all: POST /logout-all", "logout_all: {request: POST /logout-all, carry: some}", "carry", false},
		"two places for one value":     {"{cookie: csrf}", "{cookie: csrf, header: X}", "says where the value is", true},
		"two bodies":                   {"form: {xsrf: \"{{form}}\"}", "form: {xsrf: \"{{form}}\"}, json: {}", "only one of", true},
		"a host that is not named":     {"auth.example.org/refresh", "evil.example.org/refresh", "none of the hosts", true},
		"a variable that nobody sets":  {"{{csrf}}", "{{crsf}}", "no request finds", true},
		"a key the user lacks":         {"{{user.name}}", "{{user.nmae}}", "has no nmae", true},
		"an environment not set":       {"${ALAN_PASSWORD}", "${ALAN_PASWORD}", "ALAN_PASWORD", true},
		"braces that do not close":     {"{{user.name}}", "{{user.name", "{{", true},
		"a method that is not allowed": {"methods: [GET, HEAD, POST]", "methods: [HEAD]", "allow.methods", true},
		"a broken pattern":             {`'name="xsrf" value="([^"]+)'`, "'([a-z'", "regular expression", true},
		"delays that shrink":           {"delays: [0s, 50ms]", "delays: [50ms, 0s]", "grow", true},
		"a password in the address":    {"http://127.0.0.1:3000", "http://ada:pw@127.0.0.1:3000", "base URL", true},
		"an address with a fragment":   {"GET /api/notes,", "GET /api/notes#x,", "fragment", true},
		"a relative address":           {"GET /api/notes,", "GET api/notes,", "path that begins with /", true},
		"a scheme-relative address":    {"GET /api/notes,", "GET //evil.example.org/,", "path that begins with /", true},
		"a host in a variable":         {"POST https://auth.example.org/refresh", "'POST https://{{csrf}}/refresh'", "plain text", true},
		"a line break in a header":     {`X-CSRF: "{{csrf}}"`, `X-CSRF: "a\r\nb"`, "line break", true},
		"a change without a password":  {`, new_password: "${ADA_NEW_PASSWORD}"`, "", "new_password", true},
		"both kinds of socket":         {"{sse: /events}", "{sse: /events, websocket: /x}", "websocket and sse", true},
		"two descriptions":             {"delays: [0s, 50ms]", "delays: [0s, 50ms]\n---\nname: x", "one YAML document", true},
		"an anchor":                    {"name: notes", "name: &a notes", "anchors", true},
	}
}
