package golang

import (
	"strings"

	"github.com/rescind/rescind/lint/program"
)

// What routers call the methods that register a handler: of net/http, gorilla/mux,
// chi, gin, echo, fiber and httprouter.
var verbs = map[string]string{
	"Handle": "", "HandleFunc": "", "HandlerFunc": "", "Any": "", "All": "", "Method": "", "MethodFunc": "", "Handler": "", "Add": "", "Match": "",
	"Get": "GET", "Post": "POST", "Put": "PUT", "Patch": "PATCH", "Delete": "DELETE", "Head": "HEAD", "Options": "OPTIONS",
	"GET": "GET", "POST": "POST", "PUT": "PUT", "PATCH": "PATCH", "DELETE": "DELETE", "HEAD": "HEAD", "OPTIONS": "OPTIONS",
	"Use": "USE", "With": "USE", "Group": "USE", "Route": "USE", "Mount": "USE", "Pre": "USE",
}

var methods = map[string]bool{"GET": true, "POST": true, "PUT": true, "PATCH": true, "DELETE": true, "HEAD": true, "OPTIONS": true}

// route reads a call that registers something.
func (r *reader) route(call *program.Node) (program.Route, bool) {
	name := call.On
	if name == nil || name.Kind != program.Member {
		return program.Route{}, false
	}
	method, ok := verbs[name.Text]
	if !ok {
		return program.Route{}, false
	}
	route := program.Route{Method: method, Router: name.On, Range: call.Range}
	args := call.Args
	if len(args) > 2 && methods[constant(args[0])] { // Method("POST", "/logout", h)
		route.Method, args = constant(args[0]), args[1:]
	}
	if method == "USE" && (len(args) == 0 || !strings.HasPrefix(constant(args[0]), "/")) {
		if name.Text != "Use" && name.Text != "With" && name.Text != "Pre" && name.Text != "Group" {
			return program.Route{}, false
		}
		route.Handlers = callables(args)
		return route, len(route.Handlers) > 0
	}
	if len(args) < 2 {
		return program.Route{}, false
	}
	route.Path = constant(args[0])
	if verb, path, ok := strings.Cut(route.Path, " "); ok && methods[verb] { // "POST /logout"
		route.Method, route.Path = verb, strings.TrimSpace(path)
	}
	route.Path = route.Path[max(strings.IndexByte(route.Path, '/'), 0):] // without the host
	if !strings.HasPrefix(route.Path, "/") && !(method != "" && route.Path == "" && args[0].Kind == program.String) {
		return program.Route{}, false
	}
	route.Handlers = callables(args[1:])
	if r.echo() && len(route.Handlers) > 1 { // its middleware comes last
		route.Handlers = append(route.Handlers[1:], route.Handlers[0])
	}
	return route, len(route.Handlers) > 0
}

func (r *reader) echo() bool {
	for i := range r.out.Imports {
		if strings.HasPrefix(r.out.Imports[i].Module, "github.com/labstack/echo") {
			return true
		}
	}
	return false
}

// callables are the arguments that may be called.
func callables(args []*program.Node) []*program.Node {
	var out []*program.Node
	for _, a := range args {
		switch a.Kind {
		case program.Name, program.Member, program.Call, program.Func:
			out = append(out, a)
		case program.Spread:
			out = append(out, a.Args...)
		case program.Object: // a type with ServeHTTP
			out = append(out, a)
		}
	}
	return out
}

// constant is the text of a string, or of what is constant of one that is put
// together: of prefix + "/logout" it is /logout.
func constant(n *program.Node) string {
	switch n.Kind {
	case program.String:
		return n.Text
	case program.Operator:
		if n.Text == "+" && len(n.Args) == 2 {
			return constant(n.Args[0]) + constant(n.Args[1])
		}
	}
	return ""
}
