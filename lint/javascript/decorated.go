package javascript

import (
	"slices"
	"strings"

	"github.com/rescind/rescind/lint/program"
)

// Decorators of methods that make routes: of NestJS and routing-controllers, tsoa,
// and Inversify.
var routing = map[string]string{
	"Get": "GET", "Post": "POST", "Put": "PUT", "Patch": "PATCH", "Delete": "DELETE", "Head": "HEAD", "Options": "OPTIONS", "All": "",
	"httpGet": "GET", "httpPost": "POST", "httpPut": "PUT", "httpPatch": "PATCH", "httpDelete": "DELETE",
}

// Decorators of the classes that hold such methods, whose argument is a prefix.
var controllers = []string{"Controller", "JsonController", "Route", "controller"}

// Decorators that name what stands before a handler.
var guarding = []string{"UseGuards", "UseBefore", "UseMiddleware", "Middlewares"}

// controller adds the routes of a class with decorators.
func (r *reader) controller(c *program.Class) {
	prefix, isOne := "", false
	var before []*program.Node
	for _, d := range c.Decorators {
		name, call := decorator(d)
		switch {
		case slices.Contains(controllers, name):
			isOne = true
			if call != nil && len(call.Args) > 0 {
				prefix = r.pathOf(call.Args[0])
				if name == "controller" {
					before = append(before, call.Args[1:]...)
				}
			}
		case slices.Contains(guarding, name) && call != nil:
			before = append(before, call.Args...)
		}
	}
	for _, m := range c.Methods {
		handlers := slices.Clone(before)
		for _, d := range m.Decorators {
			if name, call := decorator(d); slices.Contains(guarding, name) && call != nil {
				handlers = append(handlers, call.Args...)
			}
		}
		for _, d := range m.Decorators {
			name, call := decorator(d)
			method, ok := routing[name]
			if !ok || !isOne && len(c.Decorators) == 0 {
				continue
			}
			at := "/" + strings.Trim(prefix, "/")
			if call != nil && len(call.Args) > 0 {
				at = strings.TrimSuffix(at, "/") + "/" + strings.TrimPrefix(r.pathOf(call.Args[0]), "/")
				if strings.HasPrefix(name, "http") {
					handlers = append(handlers, call.Args[1:]...)
				}
			}
			if len(at) > 1 {
				at = strings.TrimSuffix(at, "/")
			}
			r.add(method, at, nil, d.Range, append(handlers, &program.Node{Kind: program.Func, Func: m, Range: m.Range})...)
		}
	}
}

// decorator is the name of one, and the call that it is, or nil.
func decorator(d *program.Node) (string, *program.Node) {
	if d.Kind == program.Call {
		return lastName(d.On), d
	}
	return lastName(d), nil
}

// pathOf is a path in a decorator: 'auth', ['auth'] or { path: 'auth' }.
func (r *reader) pathOf(n *program.Node) string {
	switch {
	case n.Kind == program.Object:
		n = n.Field("path")
	case n.Kind == program.List && len(n.Args) > 0:
		n = n.Args[0]
	}
	text, _ := r.constant(n)
	return text
}

// provided is { provide: APP_GUARD, useClass: Guard } of NestJS: a guard of all.
func (r *reader) provided(n *program.Node) {
	if lastName(n.Field("provide")) != "APP_GUARD" {
		return
	}
	for _, key := range []string{"useClass", "useExisting", "useValue"} {
		if guard := n.Field(key); guard != nil {
			r.add("USE", "", nil, n.Range, guard)
		}
	}
}
