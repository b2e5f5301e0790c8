package javascript

import (
	"regexp"
	"slices"
	"strings"

	"github.com/rescind/rescind/lint/program"
)

// verbs are the methods of routers that register handlers, with the HTTP method.
var verbs = map[string]string{
	"get": "GET", "post": "POST", "put": "PUT", "patch": "PATCH", "delete": "DELETE", "del": "DELETE", "head": "HEAD", "options": "OPTIONS", "all": "", "any": "",
}

var (
	// What makes something that routes are registered on.
	makers = regexp.MustCompile(`^(express|fastify|Fastify|Router|Hono|Koa|KoaRouter|polka|restify|createServer|OpenAPIHono|Elysia|restana|createRouter|PromiseRouter|AsyncRouter|tinyhttp|App)$`)
	// What makes clients, whose calls look alike.
	clients = regexp.MustCompile(`(?i)^(axios|request|supertest|superagent|got|ky|fetch|http|https|nock|agent|chai|moxios|mock.*|.*client|api|cy|wretch|map|weakmap|set|urlsearchparams|headers|formdata|cookies)$`)
	// Names of what routes are registered on, when nothing else says what it is.
	routers = regexp.MustCompile(`(?i)(^|_|\b)(app|server|router|routes?|fastify|koa|hono|express|polka|webserver)$|[a-z](App|Server|Router|Routes?)$|^(r|instance|web)$`)
	// Parameters that only a handler has.
	requests = regexp.MustCompile(`(?i)^_?(req|request|ctx|context|c|q|res|response|reply|h)$`)
)

// routes finds what the file registers.
func (r *reader) routes() {
	r.madeRouters()
	program.Walk(r.file.Body, func(n *program.Node) bool {
		switch {
		case n.Kind == program.Call:
			r.registered(n)
		case n.Kind == program.Type && !n.Class.Interface:
			r.controller(n.Class)
		case n.Kind == program.Object:
			r.provided(n)
		}
		return true
	})
	r.byName()
}

func (r *reader) add(method, path string, router *program.Node, at program.Range, handlers ...*program.Node) {
	var all []*program.Node
	for _, h := range handlers {
		all = append(all, callables(h)...)
	}
	if len(all) == 0 {
		return
	}
	if router != nil && router.Kind == program.Name && method != "USE" {
		path = strings.TrimSuffix(r.prefixes[router.Text], "/") + path
	}
	r.file.Routes = append(r.file.Routes, program.Route{Method: method, Path: path, Router: router, Handlers: all, Range: at})
}

// callables are the handlers in an argument.
func callables(n *program.Node) []*program.Node {
	if n == nil {
		return nil
	}
	switch n.Kind {
	case program.Name, program.Member, program.Func:
		return []*program.Node{n}
	case program.Call:
		if n.On != nil && n.On.Kind == program.Member && n.On.Text == "bind" && !n.New {
			return callables(n.On.On)
		}
		return []*program.Node{n}
	case program.List:
		// [Controller, 'method'], as AdonisJS has it
		if len(n.Args) == 2 && n.Args[0].Kind == program.Name && n.Args[1].Kind == program.String {
			return []*program.Node{{Kind: program.Member, On: n.Args[0], Text: n.Args[1].Text, Range: n.Range}}
		}
		var all []*program.Node
		for _, a := range n.Args {
			all = append(all, callables(a)...)
		}
		return all
	case program.Spread:
		var all []*program.Node
		for _, a := range n.Args {
			all = append(all, callables(a)...)
		}
		return all
	case program.Operator, program.Assign, program.If:
		var all []*program.Node
		for _, a := range append(slices.Clone(n.Args), n.Then, n.Else) {
			all = append(all, callables(a)...)
		}
		return all
	}
	return nil
}

// madeRouters finds out which names stand for routers, and which for clients.
func (r *reader) madeRouters() {
	program.Walk(r.file.Body, func(n *program.Node) bool {
		switch {
		case n.Kind == program.Type:
			for i := range n.Class.Fields {
				if f := &n.Class.Fields[i]; f.Default != nil && f.Default.Kind == program.String {
					r.constants["this."+f.Name] = f.Default // of another class, hardly ever
				}
			}
		case n.Kind == program.Assign && len(n.Args) > 0:
			name := lastName(n.On)
			call := n.Args[0]
			for call.Kind == program.Call && call.On != nil && call.On.Kind == program.Member && call.On.On != nil && call.On.On.Kind == program.Call {
				call = call.On.On // new Hono().basePath('/x')
			}
			if name == "" || call.Kind != program.Call {
				break
			}
			switch made := lastName(call.On); {
			case makers.MatchString(made) || strings.HasSuffix(made, "Router"):
				r.made[name] = true
				if prefix := call.Args; len(prefix) > 0 && prefix[0].Kind == program.Object { // new Router({ prefix })
					if p, ok := r.constant(prefix[0].Field("prefix")); ok {
						r.prefixes[name] = p
					}
				}
			case clients.MatchString(made) || len(program.Written(call.On)) > 0 && clients.MatchString(program.Written(call.On)[0]):
				r.made[name] = false
			}
		}
		return true
	})
	for i := range r.file.Imports {
		if module := r.file.Imports[i].Module; clients.MatchString(module) {
			r.made[r.file.Imports[i].Local] = false
		}
	}
}

// constant is the text of a path, as far as it does not change.
func (r *reader) constant(n *program.Node) (string, bool) {
	return r.constantWithin(n, 0)
}

func (r *reader) constantWithin(n *program.Node, depth int) (string, bool) {
	if n == nil || depth > 8 {
		return "", false
	}
	switch n.Kind {
	case program.String:
		return n.Text, true
	case program.Template, program.Operator:
		if n.Kind == program.Operator && n.Text != "+" {
			return "", false
		}
		var whole strings.Builder
		some := false
		for _, a := range n.Args {
			piece, ok := r.constantWithin(a, depth+1)
			whole.WriteString(piece)
			some = some || ok
		}
		return whole.String(), some
	case program.Name:
		return r.constantWithin(r.constants[n.Text], depth+1)
	case program.Member:
		if n.On != nil && n.On.Kind == program.This {
			return r.constantWithin(r.constants["this."+n.Text], depth+1)
		}
		if n.On != nil && n.On.Kind == program.Name {
			return r.constantWithin(r.constants[n.On.Text].Field(n.Text), depth+1)
		}
	}
	return "", false
}

// registered adds the routes that a call makes.
func (r *reader) registered(n *program.Node) {
	if n.On == nil || n.On.Kind != program.Member || len(n.Args) == 0 {
		return
	}
	router, name := n.On.On, n.On.Text
	switch name {
	case "use":
		r.used(n, router)
	case "useGlobalGuards", "useGlobalInterceptors": // NestJS
		r.add("USE", "", router, n.Range, n.Args...)
	case "apply": // consumer.apply(…).forRoutes(…)
		if lastName(router) == "consumer" {
			r.add("USE", "", router, n.Range, n.Args...)
		}
	case "addHook", "decorateRequest": // Fastify
		if hook, _ := r.constant(n.Args[0]); len(n.Args) == 2 && slices.Contains(hooks, hook) {
			r.add("USE", "", router, n.Range, n.Args[1])
		}
	case "mutation": // tRPC: logout: procedure.mutation(…)
		if names := program.Written(router); len(names) > 0 && strings.HasSuffix(strings.ToLower(names[0]), "procedure") && n.Args[0].Kind == program.Func {
			r.add("POST", "/"+n.Args[0].Func.Name, nil, n.Range, n.Args[0])
		}
	case "route":
		for _, a := range n.Args {
			r.described(a, router)
		}
	default:
		method, ok := verbs[name]
		if !ok || n.New {
			return
		}
		r.verb(n, method)
	}
}

// used is app.use('/path', a, b).
func (r *reader) used(n, router *program.Node) {
	if !r.isRouter(router, n.Args) {
		return
	}
	args, at := n.Args, ""
	if path, ok := r.constant(args[0]); ok {
		args, at = args[1:], path
	} else if args[0].Kind == program.List && len(args[0].Args) > 0 && args[0].Args[0].Kind == program.String {
		args, at = args[1:], args[0].Args[0].Text
	}
	r.add("USE", at, router, n.Range, args...)
}

// verb is router.post('/path', a, b) or router.route('/path').post(a, b), or the next
// one in a chain of such.
func (r *reader) verb(n *program.Node, method string) {
	base := n.On.On
	for base != nil && base.Kind == program.Call && base.On != nil && base.On.Kind == program.Member {
		_, chained := verbs[base.On.Text]
		if base.On.Text == "route" && len(base.Args) == 1 {
			if path, ok := r.constant(base.Args[0]); ok {
				r.add(method, path, base.On.On, n.Range, n.Args...)
			}
			return
		}
		if !chained && base.On.Text != "use" || len(base.Args) == 0 {
			break
		}
		base = base.On.On
	}
	var paths []string
	args := n.Args
	switch {
	case args[0].Kind == program.List:
		for _, a := range args[0].Args {
			if path, ok := r.constant(a); ok {
				paths = append(paths, path)
			}
		}
	default:
		path, ok := r.constant(args[0])
		if second, both := "", false; ok && len(args) > 2 && !strings.HasPrefix(path, "/") { // a name first
			if second, both = r.constant(args[1]); both && strings.HasPrefix(second, "/") {
				path, args = second, args[1:]
			}
		}
		if !ok && !r.made[lastName(base)] {
			return
		}
		paths = []string{path}
	}
	if args = args[1:]; len(args) == 0 || !r.isRouter(base, args) {
		return
	}
	var before []*program.Node
	handlers := args[:0:0]
	for _, a := range args {
		if a.Kind == program.Object {
			before = append(before, hooked(a)...)
			handlers = append(handlers, callables(a.Field("handler"))...)
			continue
		}
		handlers = append(handlers, a)
	}
	for _, path := range paths {
		r.add(method, path, base, n.Range, append(before, handlers...)...)
	}
}

// isRouter says whether routes can be registered on n, by what was bound to it, by
// what it is called, or by the handlers.
func (r *reader) isRouter(n *program.Node, handlers []*program.Node) bool {
	if n == nil {
		return false
	}
	name := lastName(n)
	if n.Kind == program.Call && (makers.MatchString(lastName(n.On)) || strings.HasSuffix(lastName(n.On), "Router")) {
		return true // express().use(…)
	}
	if known, ok := r.made[name]; ok && name != "" {
		return known
	}
	if clients.MatchString(name) {
		return false
	}
	if len(handlers) > 0 {
		last := handlers[len(handlers)-1]
		if last.Kind == program.Call && len(last.Args) > 0 {
			last = last.Args[len(last.Args)-1]
		}
		if last.Kind == program.Func && len(last.Func.Params) > 0 && requests.MatchString(last.Func.Params[0].Name) {
			return true
		}
	}
	return routers.MatchString(name)
}

// Hooks of Fastify that stand before a handler, in their order.
var hooks = []string{"onRequest", "preParsing", "preValidation", "preHandler", "onPreAuth", "onPreHandler", "pre"}

func hooked(options *program.Node) []*program.Node {
	var all []*program.Node
	for _, hook := range hooks {
		all = append(all, callables(options.Field(hook))...)
	}
	return all
}

// described is fastify.route({ method, url, handler }), or hapi's.
func (r *reader) described(n, router *program.Node) {
	if n.Kind == program.List {
		for _, a := range n.Args {
			r.described(a, router)
		}
		return
	}
	handler := n.Field("handler")
	if inner := n.Field("options"); handler == nil && inner != nil {
		handler = inner.Field("handler")
	}
	if n.Kind != program.Object || handler == nil {
		return
	}
	at := n.Field("url")
	if at == nil {
		at = n.Field("path")
	}
	path, ok := r.constant(at)
	if !ok {
		return
	}
	method := ""
	if m := n.Field("method"); m != nil && m.Kind == program.String && m.Text != "*" {
		method = strings.ToUpper(m.Text)
	} else if m != nil && m.Kind == program.List && len(m.Args) == 1 && m.Args[0].Kind == program.String {
		method = strings.ToUpper(m.Args[0].Text)
	}
	handlers := append(hooked(n), hooked(n.Field("options"))...)
	r.add(method, path, router, n.Range, append(handlers, handler)...)
}
