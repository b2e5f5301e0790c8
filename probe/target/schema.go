package target

import (
	"bytes"
	_ "embed"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
)

//go:embed schema.json
var schema []byte

// Schema returns the JSON Schema (draft 2020-12) of the description: every key
// with what it means and what it is if it is left out. It says what a description
// looks like; [Parse] refuses more, such as an address on a host that is not named.
func Schema() []byte { return slices.Clone(schema) }

// Key is a key of the description.
type Key struct {
	Name    string // with those above it: "login.find", "limits.timeout"
	About   string
	Default string // as JSON; empty if there is none
}

// Keys returns every key of the description as the schema tells of it, in its
// order. What a request may have is listed once, under "request".
func Keys() []Key {
	var root schemaNode
	if err := json.Unmarshal(schema, &root); err != nil {
		panic(fmt.Sprintf("target: the schema that is built in does not parse: %v", err)) // a test parses it
	}
	all := root.keys(&root, "")
	request := root.Definitions.get("request").OneOf[1]
	all = append(all, request.keys(&root, "request.")...)
	finder := root.Definitions.get("finder")
	return append(all, finder.keys(&root, "finder.")...)
}

// schemaNode is what is read of a schema.
type schemaNode struct {
	Ref         string          `json:"$ref"`
	Description string          `json:"description"`
	Default     json.RawMessage `json:"default"`
	Properties  inOrder         `json:"properties"`
	Items       *schemaNode     `json:"items"`
	OneOf       []*schemaNode   `json:"oneOf"`
	Definitions inOrder         `json:"$defs"`
}

// inOrder are named schemas in the order of the document.
type inOrder []named

type named struct {
	name  string
	value *schemaNode
}

func (o inOrder) get(name string) *schemaNode {
	for _, n := range o {
		if n.name == name {
			return n.value
		}
	}
	return &schemaNode{}
}

// UnmarshalJSON keeps the order of the members.
func (o *inOrder) UnmarshalJSON(text []byte) error {
	dec := json.NewDecoder(bytes.NewReader(text))
	if _, err := dec.Token(); err != nil {
		return err
	}
	for dec.More() {
		name, err := dec.Token()
		if err != nil {
			return err
		}
		value := &schemaNode{}
		if err := dec.Decode(value); err != nil {
			return err
		}
		*o = append(*o, named{fmt.Sprint(name), value})
	}
	return nil
}

// asInAny is what the schema says of a key that stands under "request" too.
const asInAny = "As in any request."

// keys lists the properties of an object, and of objects in them that are no
// requests or finders.
func (n *schemaNode) keys(root *schemaNode, prefix string) []Key {
	var all []Key
	for _, p := range n.Properties {
		k := Key{Name: prefix + p.name, About: p.value.Description, Default: string(p.value.Default)}
		target := p.value
		if target.Items != nil {
			target = target.Items
		}
		name := strings.TrimPrefix(target.Ref, "#/$defs/")
		below := root.Definitions.get(name)
		if k.About == "" {
			k.About = below.Description
		}
		if k.Default == "" {
			k.Default = string(below.Default)
		}
		all = append(all, k)
		if slices.Contains([]string{"request", "steps", "finder"}, name) {
			continue
		}
		for _, k := range below.keys(root, prefix+p.name+".") {
			if k.About != asInAny {
				all = append(all, k)
			}
		}
	}
	return all
}
