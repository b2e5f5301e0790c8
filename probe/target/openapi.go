package target

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"
)

// MaxOpenAPI is the largest document that FromOpenAPI reads, in bytes. One in YAML
// may have a quarter of it, which takes the parser seconds.
const MaxOpenAPI = 16 << 20

// The parts of a document that are looked at.
const (
	maxOperations = 5000
	maxAliases    = 1000
	maxSchema     = 6    // levels of a schema
	maxParts      = 2000 // of a schema, which may refer to itself again and again
	maxHops       = 20
)

// FromOpenAPI drafts a description from an OpenAPI document, 3.x or 2.0 (Swagger),
// as JSON or YAML. It takes for the login what takes a password, by names for
// refresh and logout what they say, and for protected routes those GETs that name
// a security requirement and need no argument that the document does not give. References inside
// the document are followed, others are not. base overrides the address that the
// document names if it is not empty; without a path of its own it gets the
// document's.
//
// The document is read leniently, member by member: real ones are often invalid
// somewhere, and most of that is of no interest here.
func FromOpenAPI(document []byte, base string) (*Draft, error) {
	root, err := readOpenAPI(document)
	if err != nil {
		return nil, err
	}
	d := &documented{root: node{root: root, value: root}}
	return d.draft(base)
}

func readOpenAPI(document []byte) (any, error) {
	if len(document) > MaxOpenAPI {
		return nil, fmt.Errorf("the document has %d bytes, at most %d are read", len(document), MaxOpenAPI)
	}
	var root any
	var err error
	if bytes.HasPrefix(bytes.TrimSpace(document), []byte("{")) {
		root, err = decodeJSON(document)
		var syntax *json.SyntaxError
		if errors.As(err, &syntax) {
			err = fmt.Errorf("it is no JSON at byte %d", syntax.Offset)
		}
	} else {
		root, err = readYAML(document)
	}
	if err != nil {
		return nil, err
	}
	top, isObject := root.(map[string]any)
	if !isObject || top["openapi"] == nil && top["swagger"] == nil {
		return nil, errors.New("this is no OpenAPI document: openapi or swagger is missing")
	}
	return root, nil
}

// readYAML reads a document that may have anchors, but not so that it grows: an
// anchor with an alias in it is refused, and so are too many of them.
func readYAML(document []byte) (any, error) {
	if most := MaxOpenAPI / 4; len(document) > most {
		return nil, fmt.Errorf("the document has %d bytes, as YAML at most %d are read: convert it to JSON", len(document), most)
	}
	if err := shallow(document); err != nil {
		return nil, err
	}
	file, err := parser.ParseBytes(document, 0)
	if err != nil {
		return nil, located(err)
	}
	if len(file.Docs) == 0 || file.Docs[0].Body == nil {
		return nil, errors.New("the document is empty")
	}
	var found sharing
	ast.Walk(&found, file.Docs[0])
	if found.nested || found.aliases > maxAliases {
		return nil, errors.New("the document's anchors and aliases make it too large")
	}
	var root any
	if err := yaml.NodeToValue(file.Docs[0].Body, &root); err != nil {
		return nil, located(err)
	}
	// In one form with what JSON gives.
	text, err := json.Marshal(root)
	if err != nil {
		return nil, errors.New("the document holds what JSON cannot say")
	}
	return decodeJSON(text)
}

// sharing looks for anchors and aliases.
type sharing struct {
	aliases int
	nested  bool
	inside  bool
}

func (s *sharing) Visit(n ast.Node) ast.Visitor {
	switch n := n.(type) {
	case *ast.AliasNode:
		s.aliases++
		s.nested = s.nested || s.inside
	case *ast.AnchorNode:
		below := &sharing{inside: true}
		ast.Walk(below, n.Value)
		s.aliases += below.aliases
		s.nested = s.nested || below.nested || s.inside
		return nil
	}
	return s
}

// A node is a value in a document. Getting a member of one that is a reference
// gets that of what it refers to; what is not there is a node without a value.
type node struct {
	root  any
	value any
}

// resolved follows references inside the document.
func (n node) resolved() node {
	for range maxHops {
		object, _ := n.value.(map[string]any)
		ref, isRef := object["$ref"].(string)
		if !isRef {
			return n
		}
		local, ok := strings.CutPrefix(ref, "#")
		if !ok {
			return node{root: n.root}
		}
		if plain, err := url.PathUnescape(local); err == nil {
			local = plain
		}
		n.value = pointer(n.root, local)
	}
	return node{root: n.root}
}

// get returns a member of a member…
func (n node) get(names ...string) node {
	for _, name := range names {
		n = n.resolved()
		object, _ := n.value.(map[string]any)
		n.value = object[name]
	}
	return n.resolved()
}

func (n node) there() bool { return n.value != nil }

func (n node) text() string { return scalar(n.value) }

func (n node) yes() bool { is, _ := n.value.(bool); return is }

func (n node) list() []node {
	items, _ := n.value.([]any)
	all := make([]node, len(items))
	for i, item := range items {
		all[i] = node{n.root, item}.resolved()
	}
	return all
}

// members calls f for every member, by name.
func (n node) members(f func(name string, value node)) {
	object, _ := n.value.(map[string]any)
	for _, name := range slices.Sorted(maps.Keys(object)) {
		f(name, node{n.root, object[name]}.resolved())
	}
}

// An operation is one that the document describes.
type operation struct {
	node
	method, path string
	parameters   []node
	secured      []string // names of the security schemes of its first requirement
}

func (o *operation) id() string { return o.get("operationId").text() }

func (o *operation) label() string { return o.method + " " + o.path }

func (o *operation) purpose() purpose { return purposeOf(o.method, o.path, o.id()) }

// operations returns all operations of the document, by path.
func (d *documented) operations() []*operation {
	var all []*operation
	global := d.root.get("security")
	d.root.get("paths").members(func(path string, item node) {
		for _, method := range []string{http.MethodGet, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete} {
			n := item.get(strings.ToLower(method))
			if !n.there() || len(all) >= maxOperations || !strings.HasPrefix(path, "/") {
				continue
			}
			o := &operation{node: n, method: method, path: path}
			o.parameters = append(item.get("parameters").list(), n.get("parameters").list()...)
			security := global
			if own := n.get("security"); own.there() {
				security = own
			}
			for _, requirement := range security.list() {
				var names []string
				requirement.members(func(name string, _ node) { names = append(names, name) })
				if names == nil { // {}: also without
					o.secured = nil
					break
				}
				if o.secured == nil {
					o.secured = names
				}
			}
			all = append(all, o)
		}
	})
	return all
}

// A property is a member of a request's body, or a parameter of its query.
type property struct {
	name     string
	above    []string // the objects that it lies in
	schema   node
	required bool
	where    string // "json", "form", "multipart", "query"
}

// properties returns what a request takes, of the body the kind that is most
// easily written.
func (o *operation) properties() []property {
	var all []property
	for _, p := range o.parameters {
		where := map[string]string{"query": "query", "formData": "form"}[p.get("in").text()]
		if where != "" {
			all = append(all, property{name: p.get("name").text(), schema: or(p.get("schema"), p), required: p.get("required").yes(), where: where})
		}
		if p.get("in").text() == "body" {
			all = append(all, flat(p.get("schema"), "json", nil, true)...)
		}
	}
	content := o.get("requestBody", "content")
	for _, kind := range [][2]string{{"application/json", "json"}, {"application/x-www-form-urlencoded", "form"}, {"multipart/form-data", "multipart"}} {
		if body := content.get(kind[0]); body.there() {
			return append(all, flat(body.get("schema"), kind[1], nil, true)...)
		}
	}
	content.members(func(kind string, body node) {
		if isJSON(kindOf(kind)) && all == nil {
			all = flat(body.get("schema"), "json", nil, true)
		}
	})
	return all
}

// flat returns the members of an object's schema and, for JSON, of the objects in
// it. What lies in one that is not required is not required.
func flat(schema node, where string, above []string, required bool) []property {
	var all []property
	for _, p := range properties(schema, where) {
		p.above, p.required = above, p.required && required
		var below []property
		if where == "json" && len(above) < 3 {
			below = flat(p.schema, where, append(slices.Clone(above), p.name), p.required)
		}
		if below == nil {
			below = []property{p}
		}
		all = append(all, below...)
	}
	return all
}

func or(n, otherwise node) node {
	if n.there() {
		return n
	}
	return otherwise
}

// properties returns the members of an object's schema.
func properties(schema node, where string) []property {
	seen := map[string]property{}
	required := map[string]bool{}
	left := maxParts
	var look func(s node, level int)
	look = func(s node, level int) {
		if left--; level > maxSchema || left < 0 {
			return
		}
		for _, name := range s.get("required").list() {
			required[name.text()] = true
		}
		s.get("properties").members(func(name string, p node) {
			if _, known := seen[name]; !known {
				seen[name] = property{name: name, schema: p, where: where}
			}
		})
		for _, part := range s.get("allOf").list() {
			look(part, level+1)
		}
		for _, choice := range []string{"oneOf", "anyOf"} {
			if parts := s.get(choice).list(); len(parts) > 0 {
				look(parts[0], level+1)
			}
		}
	}
	look(schema.resolved(), 0)
	var all []property
	for _, name := range slices.Sorted(maps.Keys(seen)) {
		p := seen[name]
		p.required = required[name]
		all = append(all, p)
	}
	return all
}

// sample is a value that fits a schema, as far as it tells, with "x" for every
// text: something to look for tokens in.
func sample(schema node) any {
	left := maxParts
	return sampleOf(schema, 0, &left)
}

func sampleOf(schema node, level int, left *int) any {
	schema = schema.resolved()
	if *left--; level > maxSchema || *left < 0 {
		return nil
	}
	if members := properties(schema, ""); members != nil {
		object := map[string]any{}
		for _, p := range members {
			object[p.name] = sampleOf(p.schema, level+1, left)
		}
		return object
	}
	switch kind := schema.get("type"); {
	case kind.text() == "array":
		return []any{sampleOf(schema.get("items"), level+1, left)}
	case kind.text() == "string", slices.ContainsFunc(kind.list(), func(n node) bool { return n.text() == "string" }):
		return "x"
	case kind.text() == "integer", kind.text() == "number":
		return 1
	}
	return nil
}

// answer is a sample of what the operation answers when all is well.
func (o *operation) answer() Answer {
	for _, status := range []string{"200", "201", "2XX", "default"} {
		response := o.get("responses", status)
		schema := or(response.get("content", "application/json", "schema"), response.get("schema"))
		if !schema.there() {
			response.get("content").members(func(kind string, body node) {
				if isJSON(kindOf(kind)) {
					schema = body.get("schema")
				}
			})
		}
		if !schema.there() {
			continue
		}
		if body, err := json.Marshal(sample(schema)); err == nil {
			return Answer{Body: body}
		}
	}
	return Answer{}
}
