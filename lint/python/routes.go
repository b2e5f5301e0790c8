package python

import (
	"slices"
	"strings"

	"github.com/rescind/rescind/lint/program"
)

// verbs are the names of methods that register a handler for one HTTP method.
var verbs = []string{"get", "post", "put", "patch", "delete", "head", "options"}

// hooks register what is called before every handler.
var hooks = []string{"before_request", "before_app_request", "before_websocket"}

// routes finds what the file registers.
func (r *reader) routes() {
	program.Walk(r.file.Body, func(n *program.Node) bool {
		switch {
		case n.Kind == program.Assign && len(n.Args) > 0:
			r.madeRouter(n)
		case n.Kind == program.Func && n.Func.Name != "":
			r.decorated(n, n.Func)
		case n.Kind == program.Type:
			for _, m := range n.Class.Methods {
				handler := &program.Node{Kind: program.Func, Func: m, Range: m.Range}
				r.decorated(handler, m)
				r.ofClass(n.Class, handler, m)
			}
		case n.Kind == program.Call:
			r.registered(n)
		}
		return true
	})
}

func (r *reader) add(method, path string, router *program.Node, at program.Range, handlers ...*program.Node) {
	handlers = slices.DeleteFunc(handlers, func(h *program.Node) bool { return h == nil })
	if len(handlers) == 0 {
		return
	}
	if router != nil && router.Kind == program.Name && method != "USE" {
		path = r.prefixes[router.Text] + path
	}
	r.file.Routes = append(r.file.Routes, program.Route{Method: method, Path: path, Router: router, Handlers: handlers, Range: at})
}

// madeRouter remembers the prefix of a Blueprint or an APIRouter, and what each
// request to it depends on.
func (r *reader) madeRouter(n *program.Node) {
	call := n.Args[0]
	if call.Kind != program.Call || n.On.Kind != program.Name {
		return
	}
	switch lastName(call.On) {
	case "Blueprint", "APIRouter", "FastAPI", "Namespace":
	default:
		return
	}
	for _, key := range []string{"url_prefix", "prefix"} {
		if prefix := call.Field(key); prefix != nil && prefix.Kind == program.String {
			r.prefixes[n.On.Text] = prefix.Text
		}
	}
	if needed := dependencies(call.Field("dependencies")); len(needed) > 0 {
		r.add("USE", "", n.On, call.Range, needed...)
	}
}

// decorated adds the routes that the decorators of a function make. Decorators above
// the one that makes the route do not come to run; those beneath it wrap the handler.
func (r *reader) decorated(n *program.Node, f *program.Function) {
	for i, d := range f.Decorators {
		call := d
		if d.Kind == program.Call {
			d = d.On
		}
		if d == nil || d.Kind != program.Member && d.Kind != program.Name {
			continue
		}
		if slices.Contains(hooks, d.Text) || d.Text == "middleware" && call.Kind == program.Call {
			r.add("USE", "", d.On, call.Range, n)
			continue
		}
		method, path, ok := decorator(call, d, f)
		if !ok {
			continue
		}
		var handlers []*program.Node
		for _, inner := range f.Decorators[i+1:] {
			on := inner
			if inner.Kind == program.Call {
				on = inner.On
			}
			if _, _, route := decorator(inner, on, f); !route {
				handlers = append(handlers, inner)
			}
		}
		handlers = append(handlers, dependencies(call.Field("dependencies"))...)
		for j := range f.Params {
			handlers = append(handlers, dependencies(f.Params[j].Default)...)
		}
		r.add(method, path, d.On, n.Range, append(handlers, n)...)
	}
}

// ofClass adds the routes that the decorators of a class make, as in Flask-RESTX and
// flask-smorest: a method answers the HTTP method of its name.
func (r *reader) ofClass(c *program.Class, handler *program.Node, m *program.Function) {
	if !slices.Contains(verbs, m.Name) {
		return
	}
	for _, d := range c.Decorators {
		if d.Kind != program.Call || d.On == nil || d.On.Kind != program.Member || d.On.Text != "route" {
			continue
		}
		if _, path, ok := decorator(d, d.On, m); ok {
			r.add(strings.ToUpper(m.Name), path, d.On.On, m.Range, append(slices.Clone(m.Decorators), handler)...)
		}
	}
}

// decorator reads one decorator; on is it without arguments.
func decorator(d, on *program.Node, f *program.Function) (method, path string, ok bool) {
	if on == nil {
		return "", "", false
	}
	switch {
	case on.Text == "expose" && (on.Kind == program.Member || on.Kind == program.Name) && f.Class != nil: // CherryPy
		return "", "/" + f.Name, true
	case d.Kind != program.Call:
		return "", "", false
	case on.Text == "action" && f.Class != nil: // Django REST framework
		path = "/" + f.Name
		if p := d.Field("url_path"); p != nil && p.Kind == program.String {
			path = "/" + p.Text
		}
		return methodOf(d.Field("methods"), "GET"), path, true
	case on.Kind != program.Member:
		return "", "", false
	}
	at := pathOf(d)
	if at == nil || at.Text != "" && !strings.HasPrefix(at.Text, "/") && !strings.HasPrefix(at.Text, "<") {
		return "", "", false
	}
	switch {
	case on.Text == "route":
		return methodOf(d.Field("methods"), "GET"), at.Text, true
	case on.Text == "api_route":
		return methodOf(d.Field("methods"), "GET"), at.Text, true
	case slices.Contains(verbs, on.Text):
		return strings.ToUpper(on.Text), at.Text, true
	}
	return "", "", false
}

// pathOf is the constant path that a call begins with.
func pathOf(call *program.Node) *program.Node {
	if len(call.Args) > 0 {
		if call.Args[0].Kind == program.String {
			return call.Args[0]
		}
		return nil
	}
	for _, key := range []string{"path", "rule", "route"} {
		if p := call.Field(key); p != nil && p.Kind == program.String {
			return p
		}
	}
	return nil
}

// methodOf reads methods=["POST"]; more than one is any.
func methodOf(methods *program.Node, none string) string {
	if methods == nil {
		return none
	}
	if methods.Kind == program.List && len(methods.Args) == 1 && methods.Args[0].Kind == program.String {
		return strings.ToUpper(methods.Args[0].Text)
	}
	return ""
}

// registered adds the routes that a call makes.
func (r *reader) registered(n *program.Node) {
	if n.On == nil {
		return
	}
	name, router := lastName(n.On), n.On.On
	arg := func(i int, keys ...string) *program.Node {
		for _, key := range keys {
			if v := n.Field(key); v != nil {
				return v
			}
		}
		if i < len(n.Args) {
			return n.Args[i]
		}
		return nil
	}
	constant := func(v *program.Node) string {
		if v != nil && v.Kind == program.String {
			return v.Text
		}
		return ""
	}
	register := func(method string, path, handler *program.Node) {
		if handler != nil && handler.Kind == program.Call && lastName(handler.On) == "as_view" && n.Field("methods") == nil {
			method = "" // the class says which
		}
		if path != nil && path.Kind == program.String && handler != nil && handler.Kind != program.String {
			r.add(method, path.Text, router, n.Range, unwrap(handler)...)
		}
	}
	if made := n.On; made.Kind == program.Call { // app.post("/logout")(logout)
		if handler := arg(0); handler != nil && made.On != nil && made.On.Kind == program.Member {
			if method, path, ok := decorator(made, made.On, &program.Function{}); ok {
				r.add(method, path, made.On.On, n.Range, unwrap(handler)...)
			}
		}
		return
	}
	if n.On.Kind == program.Name {
		switch name {
		case "path", "re_path", "url": // Django
			if handler := arg(1, "view"); handler != nil && lastName(handler.On) != "include" {
				if p := arg(0, "route", "regex"); p != nil && p.Kind == program.String {
					r.add("", "/"+strings.Trim(p.Text, "^$/"), nil, n.Range, unwrap(handler)...)
				}
			}
		case "Route": // Starlette
			register(methodOf(n.Field("methods"), "GET"), arg(0, "path"), arg(1, "endpoint"))
		}
		return
	}
	switch {
	case slices.Contains(hooks, name):
		if hook := arg(0, "f"); hook != nil {
			r.add("USE", "", router, n.Range, hook)
		}
	case name == "add_middleware":
		r.add("USE", "", router, n.Range, arg(0, "middleware_class"))
	case name == "register_blueprint" || name == "include_router" || name == "add_namespace":
		r.add("USE", constant(arg(99, "url_prefix", "prefix")), router, n.Range, append(dependencies(n.Field("dependencies")), arg(0, "blueprint", "router"))...)
	case name == "mount" && len(n.Args) > 1:
		r.add("USE", constant(n.Args[0]), router, n.Range, n.Args[1])
	case name == "add_url_rule":
		register(methodOf(n.Field("methods"), "GET"), arg(0, "rule"), arg(2, "view_func"))
	case name == "add_api_route":
		register(methodOf(n.Field("methods"), "GET"), arg(0, "path"), arg(1, "endpoint"))
	case name == "add_resource": // Flask-RESTful
		for _, path := range n.Args[min(1, len(n.Args)):] {
			register("", path, n.Args[0])
		}
	case name == "add_route" && len(n.Args) > 1 && n.Args[1].Kind == program.String: // Sanic
		register(methodOf(n.Field("methods"), "GET"), n.Args[1], n.Args[0])
	case name == "add_route" && len(n.Args) > 2: // aiohttp: method, path, handler
		register(strings.ToUpper(constant(n.Args[0])), n.Args[1], n.Args[2])
	case name == "add_route":
		register(methodOf(n.Field("methods"), "GET"), arg(0, "path"), arg(1, "route"))
	case strings.HasPrefix(name, "add_") && slices.Contains(verbs, name[4:]): // aiohttp
		register(strings.ToUpper(name[4:]), arg(0, "path"), arg(1, "handler"))
	case router != nil && router.Kind == program.Name && router.Text == "web" && slices.Contains(verbs, name): // aiohttp
		register(strings.ToUpper(name), arg(0, "path"), arg(1, "handler"))
	}
}

// unwrap returns the handlers in a view: the class in View.as_view(), and what wraps
// it, as in csrf_exempt(view), before it.
func unwrap(view *program.Node) []*program.Node {
	var handlers []*program.Node
	for view != nil && view.Kind == program.Call && len(handlers) < 10 {
		if view.On != nil && view.On.Kind == program.Member && view.On.Text == "as_view" {
			return append(handlers, view.On.On)
		}
		if len(view.Args) != 1 || len(view.Fields) > 0 {
			break
		}
		handlers = append(handlers, view.On)
		view = view.Args[0]
	}
	return append(handlers, view)
}

// dependencies returns what FastAPI calls for a Depends(f), or for a list of them.
func dependencies(n *program.Node) []*program.Node {
	if n == nil {
		return nil
	}
	var all []*program.Node
	switch {
	case n.Kind == program.List:
		for _, item := range n.Args {
			all = append(all, dependencies(item)...)
		}
	case n.Kind == program.Call && len(n.Args) > 0:
		if name := lastName(n.On); name == "Depends" || name == "Security" {
			all = append(all, n.Args[0])
		}
	}
	return all
}

// lastName is c of a.b.c.
func lastName(n *program.Node) string {
	if n != nil && (n.Kind == program.Name || n.Kind == program.Member) {
		return n.Text
	}
	return ""
}
