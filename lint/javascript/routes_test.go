package javascript

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/rescind/rescind/lint/program"
)

func routesOf(file *program.File) []string {
	var all []string
	for _, r := range file.Routes {
		method := r.Method
		if method == "" {
			method = "ANY"
		}
		var handlers []string
		for _, h := range r.Handlers {
			switch {
			case h.Func != nil && h.Func.Name != "":
				handlers = append(handlers, "func "+h.Func.Name)
			case h.Func != nil:
				handlers = append(handlers, "func")
			default:
				handlers = append(handlers, show(h))
			}
		}
		all = append(all, strings.TrimSpace(fmt.Sprintf("%s %s", method, r.Path))+" "+strings.Join(handlers, ", "))
	}
	return all
}

func TestRoutesAreFound(t *testing.T) {
	f := New(shared)
	for _, c := range []struct {
		path, source string
		want         []string
	}{
		{"a.js", "app.post('/logout', guard, auth.logout)", []string{"POST /logout guard, auth.logout"}},
		{"a.js", "router.route('/x').get(a).post(b, c).delete([d, e])", []string{"GET /x a", "POST /x b, c", "DELETE /x d, e"}},
		{"a.js", "app.get('/a', b).post('/c', d)", []string{"GET /a b", "POST /c d"}},
		{"a.js", "app.use(helmet()); app.use('/api', guard, api); app.use(['/a', '/b'], c)",
			[]string{"USE (call helmet)", "USE /api guard, api", "USE /a c"}},
		{"a.js", "router.post('/logout', asyncHandler(async (req, res) => {}), this.c.logout.bind(this.c))",
			[]string{"POST /logout (call asyncHandler [req,res]{}), this.c.logout"}},
		{"a.js", "router.post(['/a', '/b'], ...mine, ok && c)", []string{"POST /a mine, ok, c", "POST /b mine, ok, c"}},
		{"a.js", "const P = '/v1', R = { OUT: `${P}/logout` }; app.all(R.OUT, h); app.get(P + '/me', h)", []string{"ANY /v1/logout h", "GET /v1/me h"}},
		{"a.ts", "class A { path = '/auth'; router = Router(); c = new C(); constructor() { this.router.post(`${this.path}/logout`, this.c.logout) } }",
			[]string{"POST /auth/logout this.c.logout"}},
		{"a.js", "const auth = express.Router(); auth.post('/logout', h); app.use('/auth', auth)", []string{"POST /logout h", "USE /auth auth"}},
		{"a.js", "const x = new Router({ prefix: '/auth' }); x.post('out', '/logout', async ctx => {})", []string{"POST /auth/logout func"}},
		{"a.js", "const x = new Hono().basePath('/v'); x.post('/logout', c => c.text(''))", []string{"POST /logout func"}},
		{"a.js", "const web = await fastify(); web.post('/out', { preHandler: [a, b], schema }, c); web.addHook('onRequest', d)",
			[]string{"POST /out a, b, c", "USE d"}},
		{"a.js", "server.route({ method: 'POST', url: '/out', onRequest: a, handler: b }); server.route([{ method: ['GET'], path: '/me', options: { pre: [a], handler: c } }])",
			[]string{"POST /out a, b", "GET /me a, c"}},
		{"a.js", "router.post('/logout', [AuthController, 'logout'])", []string{"POST /logout AuthController.logout"}},
		{"a.js", "thing.get('/me', (req, res) => {}); thing.on('/x', (req) => {})", []string{"GET /me func"}},
		{"a.js", "express().use(a)", []string{"USE a"}},

		// what looks alike
		{"a.js", "import axios from 'axios'; const api = axios.create(); api.post('/logout', body); axios.delete('/session', x)", nil},
		{"a.js", "import request from 'supertest'; request(app).post('/logout', x); await request(server).get('/me')", nil},
		{"a.js", "cache.get('/x', (err, v) => {}); map.delete('/x', y); client.post('/logout', body)", nil},
		{"a.js", "apiClient.post('/logout', (req) => {}); app.get('env'); app.get('/x')", nil},
		{"a.js", "const app = new Map(); app.get('/x', h)", nil},

		{"a.ts", `@Controller('auth') @UseGuards(A) class C { constructor(private readonly s: S) {}
			@Post('logout') @UseGuards(B, new D()) @HttpCode(204) logout() {} @Get() list() {} @Delete(['x', 'y']) x() {} helper() {} }`,
			[]string{"POST /auth/logout A, B, (call new D), func logout", "GET /auth A, func list", "DELETE /auth/x A, func x"}},
		{"a.ts", "@Controller({ path: 'v/', version: '1' }) export class C { @All('/x') x() {} }", []string{"ANY /v/x func x"}},
		{"a.ts", "@Controller() export default class C { @Get() x() {} }", []string{"GET / func x"}},
		{"a.ts", "@JsonController('/auth') class C { @Post('/logout') @UseBefore(a) x() {} }", []string{"POST /auth/logout a, func x"}},
		{"a.ts", "@controller('/auth', a) class C { @httpPost('/logout', b) x() {} }", []string{"POST /auth/logout a, b, func x"}},
		{"a.ts", "const app = await NestFactory.create(M); app.useGlobalGuards(new G()); app.use(m)", []string{"USE (call new G)", "USE m"}},
		{"a.ts", "@Module({ providers: [S, { provide: APP_GUARD, useClass: G }] }) class M { configure(consumer: MiddlewareConsumer) { consumer.apply(A, b).forRoutes('*') } }",
			[]string{"USE A, b", "USE G"}},
		{"a.ts", "class Plain { @Get() x() {} }", nil},

		{"src/app/api/(auth)/logout/route.ts", "export async function POST(req: Request) {} export const GET = auth(h); export const dynamic = 'x'", []string{"POST /api/logout POST", "GET /api/logout GET"}},
		{"pages/api/auth/logout.ts", "export default async function handler(req, res) {}", []string{"ANY /api/auth/logout handler"}},
		{"pages/api/logout/index.js", "export default wrap(async (req, res) => {})", []string{"ANY /api/logout (call wrap [req,res]{})"}},
		{"src/routes/(app)/logout/+server.ts", "export const POST: RequestHandler = async ({ cookies }) => {}", []string{"POST /logout POST"}},
		{"src/routes/account/+page.server.ts", "export const actions = { default: async () => {}, logout: async ({ locals }) => {} }",
			[]string{"POST /account func default", "POST /account/logout func logout"}},
		{"server/api/auth/logout.post.ts", "export default defineEventHandler(async event => {})", []string{"POST /api/auth/logout (call defineEventHandler [event]{})"}},
		{"server/api/index.ts", "export default eventHandler(h)", []string{"ANY /api (call eventHandler h)"}},
		{"server/api/auth.controller.js", "export default new Controller()", nil},
		{"app/routes/auth.logout.tsx", "export async function action({ request }) {} export const loader = () => redirect('/')", []string{"POST /auth/logout action", "GET /auth/logout loader"}},
		{"trpc.ts", "export const auth = router({ logout: publicProcedure.input(z.any()).mutation(async ({ ctx }) => {}) })", []string{"POST /logout func logout"}},
		{"src/logout.ts", "export default async function handler(req, res) {}", nil},
	} {
		got, want := routesOf(parse(t, f, c.path, c.source)), slices.Clone(c.want)
		slices.Sort(got)
		slices.Sort(want)
		if !slices.Equal(got, want) {
			t.Errorf("%s\n got %q\nwant %q", c.source, got, want)
		}
	}
}

// link parses files and ties them together.
func link(t *testing.T, sources map[string]string) *program.Program {
	t.Helper()
	f := New(shared)
	tree := files(sources)
	var all []*program.File
	for name, source := range sources {
		if tree.Has(name) {
			all = append(all, parse(t, f, name, source))
		}
	}
	slices.SortFunc(all, func(a, b *program.File) int { return strings.Compare(a.Path, b.Path) })
	return program.Link(all, tree, f)
}

// called are the paths and functions that calls in a file lead to.
func called(p *program.Program, name string) []string {
	var all []string
	for _, fn := range p.Functions {
		if s := p.Scope(fn); s.File.Path != name {
			continue
		}
		p.Each(fn, func(n *program.Node, s *program.Scope) bool {
			if n.Func != nil && p.Scope(n.Func) != nil && n.Func != fn {
				return false // it has its turn
			}
			if n.Kind == program.Call {
				v := p.Value(n.On, s)
				to := v.Path.String()
				if len(v.Funcs) > 0 {
					to = p.Scope(v.Funcs[0]).File.Path + ":" + v.Funcs[0].Name
				}
				all = append(all, to)
			}
			return true
		})
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// What rules live on: a call leads to the library's function, or to ours.
func TestCallsLeadWhereTheyGo(t *testing.T) {
	for _, c := range []struct {
		name  string
		files map[string]string
		want  []string // of main.ts
	}{
		{"names of a library", map[string]string{"main.ts": `
			import jwt, { sign as make } from 'jsonwebtoken'
			import * as all from 'jsonwebtoken'
			const { verify } = require('jsonwebtoken'), whole = require('jsonwebtoken')
			const check = promisify(jwt.verify), again = verify
			export const f = () => { jwt.decode(); make(); all.sign(); verify(); whole.decode(); check(); again() }`},
			[]string{"jsonwebtoken:decode", "jsonwebtoken:sign", "jsonwebtoken:verify"}},
		{"instances", map[string]string{"main.ts": `
			import Redis from 'ioredis'
			const redis = new Redis(); const { exists } = redis
			class A { private r = redis; constructor(private jwt: JwtService) { this.s = new Redis() } f() { this.r.get(); this.s.set(); this.jwt.verify() } }
			import { JwtService } from '@nestjs/jwt'`},
			[]string{"@nestjs/jwt:JwtService.verify", "ioredis:", "ioredis:get", "ioredis:set"}},
		{"names that are members only", map[string]string{"main.ts": `
			import { verify } from 'jsonwebtoken'
			const auth = { verify(t) { return verify(t) } }
			class A { verify = t => verify(t) }
			exports.verify = t => verify(t)`},
			[]string{"jsonwebtoken:verify"}},
		{"functions of other files", map[string]string{
			"main.ts":     "import a, { b, c as d } from './lib'; import * as n from './lib'; const { e } = require('./common'); const w = require('./common'); const f = () => { a(); b(); d(); n.b(); e(); w.g(); w.h.i() }",
			"lib.ts":      "export default function one() {} export const b = async () => {}; export { two as c } from './deep'",
			"deep.ts":     "export function two() {}",
			"common.js":   "exports.e = () => {}; module.exports.g = function () {}; exports.h = require('./more')",
			"more.js":     "module.exports = { i, j() {} }; async function i() {}",
			"README.json": "",
		}, []string{"common.js:e", "common.js:g", "deep.ts:two", "lib.ts:b", "lib.ts:one", "more.js:i"}},
		{"injected by type", map[string]string{
			"main.ts": "import { S } from './s'; @Controller() class C { constructor(private readonly s: S) {} @Post() logout() { return this.s.end() } }",
			"s.ts":    "@Injectable() export class S { async end() {} }",
		}, []string{"s.ts:end"}},
		{"methods as values", map[string]string{
			"main.ts": "import c from './c'; import { D } from './c'; const d = new D(); const f = () => { c.out(); d.out() }",
			"c.ts":    "class C { out = async () => {} } export class D extends C {} export default new C()",
		}, []string{"c.ts:out"}},
	} {
		p := link(t, c.files)
		got := called(p, "main.ts")
		for _, want := range c.want {
			if !slices.Contains(got, want) {
				t.Errorf("%s: no call of %s: %q", c.name, want, got)
			}
		}
	}
}
