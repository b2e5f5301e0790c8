import assert from 'node:assert/strict'
import { createRequire } from 'node:module'
import { after, before, describe, test } from 'node:test'
import 'reflect-metadata'
import { Browser, Server, bearer, known, patience, send, sleep } from './server.mjs'

const load11 = createRequire(new URL('./nest11/package.json', import.meta.url))
load11('reflect-metadata')
const load12 = createRequire(import.meta.url)
const versions = [
  { name: 'NestJS 12', load: name => import(name) },
  { name: 'NestJS 12 by require', load: async name => load12(name), only: 'express' },
  { name: 'NestJS 11 by require', load: async name => load11(name) },
]

let server
before(async () => { server = await Server.start() })
after(() => server.stop())

/** Applies decorators as TypeScript does. */
function decorate(target, decorators, members = {}) {
  for (const [name, { on = [], parameters = [] }] of Object.entries(members)) {
    parameters.forEach((list, index) => [list].flat().forEach(d => d(target.prototype, name, index)))
    for (const d of [...on].reverse()) d(target.prototype, name, Object.getOwnPropertyDescriptor(target.prototype, name))
  }
  for (const d of [...decorators].reverse()) d(target)
  return target
}

async function application(load, platform, options = {}, { async = false, guard = true } = {}) {
  const common = await load('@nestjs/common')
  const core = await load('@nestjs/core')
  const { FastifyAdapter } = platform === 'fastify' ? await load('@nestjs/platform-fastify') : {}
  const { CurrentSession, InactiveError, Public, RescindGuard, RescindModule, RescindService, Scopes, UnavailableError } = await load('@rescind/node/nestjs')
  const { Body, Controller, Delete, Get, HttpCode, Inject, Module, Param, Post, Req, UseGuards, UseInterceptors } = common
  const held = {}

  class Auth {
    constructor(rescind) { this.rescind = rescind }
    login(q, body) { return this.rescind.login(q, { subject: body.user ?? 'ada', scope: 'notes:read notes:write', ...body.login }) }
    refresh(q) { return this.rescind.refresh(q) }
    logout(q) { return this.rescind.logout(q) }
    logoutAll(q) { return this.rescind.logoutAll(q) }
  }
  Inject(RescindService)(Auth, undefined, 0)
  class Slow { // holds answers up after the handler
    async intercept(context, next) {
      const result = await next.handle().toPromise()
      if (held.answer && context.getHandler().name === 'refresh') {
        held.reached()
        await held.answer
      }
      const { of } = await load('rxjs')
      return of(result)
    }
  }
  decorate(Slow, [common.Injectable()])
  decorate(Auth, [Public(), Controller(), UseInterceptors(Slow)], {
    login: { on: [Post('login'), HttpCode(200)], parameters: [Req(), Body()] },
    refresh: { on: [Post('refresh'), HttpCode(200)], parameters: [Req()] },
    logout: { on: [Post('logout'), HttpCode(204)], parameters: [Req()] },
    logoutAll: { on: [Post('logout-all'), HttpCode(204)], parameters: [Req()] },
  })

  class Notes {
    list(session) { return session }
    add(session) { return session }
    who(subject) { return { subject } }
    open(session) { return { open: true, session: session ?? null } }
    remove() { return 'removed' }
    throws() { throw new Error('a bug') }
    mine() { throw new common.UnauthorizedException('mine') }
    inactive() { throw new InactiveError('some other token') }
    unavailable() { throw new UnavailableError() }
    devices(subject) { return this.rescind.devices(subject) }
    endDevice(id, subject) { return this.rescind.endSession(id, subject) }
    constructor(rescind) { this.rescind = rescind }
  }
  decorate(Notes, [Controller('notes'), ...guard ? [] : [UseGuards(RescindGuard)]], {
    list: { on: [Get()], parameters: [CurrentSession()] },
    add: { on: [Post()], parameters: [CurrentSession()] },
    who: { on: [Get('who'), Scopes('notes:read')], parameters: [CurrentSession('subject')] },
    open: { on: [Get('open'), Public()], parameters: [CurrentSession()] },
    remove: { on: [Get('remove'), Scopes('notes:read', 'notes:delete')] },
    throws: { on: [Get('throws')] }, mine: { on: [Get('mine')] }, inactive: { on: [Get('inactive')] }, unavailable: { on: [Get('unavailable')] },
    devices: { on: [Get('devices')], parameters: [CurrentSession('subject')] },
    endDevice: { on: [Delete('devices/:id')], parameters: [Param('id'), CurrentSession('subject')] },
  })
  Inject(RescindService)(Notes, undefined, 0)
  class Shop {
    window() { return 'look' }
    buy() { return 'bought' }
  }
  decorate(Shop, [Public(), Controller('shop')], { window: { on: [Get('window')] }, buy: { on: [Get('buy'), Scopes('shop:buy')] } })
  class Admin {
    panel() { return 'panel' }
    health() { return 'fine' }
  }
  decorate(Admin, [Scopes('admin'), Controller('admin')], { panel: { on: [Get('panel'), Scopes('notes:read')] }, health: { on: [Get('health'), Public()] } })

  const all = { ...server.options, ...options }
  class Config { static options = all }
  class ConfigModule {}
  decorate(ConfigModule, [Module({ providers: [{ provide: Config, useValue: Config }], exports: [Config] })])
  class App {}
  decorate(App, [Module({
    controllers: [Auth, Notes, Shop, Admin],
    imports: [async
      ? RescindModule.forRootAsync({ imports: [ConfigModule], inject: [Config], useFactory: async c => c.options, guard })
      : RescindModule.forRoot({ ...all, guard })],
  })])
  const app = await core.NestFactory.create(App, ...platform === 'fastify' ? [new FastifyAdapter()] : [], { logger: false, forceCloseConnections: true, abortOnError: false })
  await app.listen(0, '127.0.0.1')
  return { app, held, service: app.get(RescindService), url: await app.getUrl(), close: () => app.close() }
}

function is401(answer, code = 'invalid_token') {
  assert.equal(answer.status, 401, answer.text)
  assert.match(answer.headers['www-authenticate'], code ? new RegExp(`error="${code}"`) : /^Bearer realm="rescind"$/)
  assert.equal(answer.headers['cache-control'], 'no-store')
  assert.deepEqual(answer.cookies, [])
}

function is503(answer) {
  assert.equal(answer.status, 503, answer.text)
  assert.equal(answer.headers['retry-after'], '1')
  assert.deepEqual(answer.cookies, [])
  assert.ok(answer.ms < patience, `took ${answer.ms} ms`)
}

for (const { name, load, only } of versions) {
  for (const platform of ['express', 'fastify'].filter(p => !only || p === only)) {
    describe(`${name}, ${platform}`, () => {
      let app
      before(async () => { app = await application(load, platform) })
      after(() => app.close())
      const login = async (body = {}) => (await send(app.url, 'POST', '/login', { body })).json
      const get = (path, token) => send(app.url, 'GET', path, { headers: token ? bearer(token) : {} })

      test('login, notes, logout, and the replay is refused', async () => {
        const grant = await login()
        const good = await get('/notes', grant.access_token)
        assert.equal(good.status, 200, good.text)
        assert.equal(good.json.subject, 'ada')
        assert.equal(good.json.session, grant.session)
        assert.deepEqual((await get('/notes/who', grant.access_token)).json, { subject: 'ada' })
        const refreshed = await send(app.url, 'POST', '/refresh', { body: { refresh_token: grant.refresh_token } })
        assert.equal(refreshed.status, 200, refreshed.text)
        assert.equal((await send(app.url, 'POST', '/logout', { headers: bearer(grant.access_token) })).status, 204)
        is401(await get('/notes', grant.access_token))
        is401(await get('/notes', refreshed.json.access_token))
        is401(await send(app.url, 'POST', '/refresh', { body: { refresh_token: refreshed.json.refresh_token } }))
      })

      test('an expired access token logs out although the guard stands before every route', async () => {
        const grant = await login({ login: { expires_in: 1 } })
        await sleep(2100)
        is401(await get('/notes', grant.access_token))
        assert.equal((await send(app.url, 'POST', '/logout', { headers: bearer(grant.access_token) })).status, 204)
        is401(await send(app.url, 'POST', '/refresh', { body: { refresh_token: grant.refresh_token } }))
      })

      test('every route is guarded unless it is public', async () => {
        const { access_token: token } = await login()
        is401(await get('/notes'), '')
        is401(await get('/notes', 'forged'))
        assert.equal((await send(app.url, 'GET', '/notes', { headers: { authorization: 'Bearer a b' } })).status, 400)
        for (const path of ['/notes/open', '/shop/window', '/admin/health']) {
          assert.equal((await get(path)).status, 200, path)
          assert.equal((await get(path, 'forged')).status, 200, path)
        }
        assert.deepEqual((await get('/notes/open', token)).json, { open: true, session: null })
        is401(await get('/shop/buy'), '') // a method's scopes outrank its controller's @Public()
        is401(await get('/admin/panel'), '')
        for (const [path, scope] of [['/notes/remove', 'notes:read notes:delete'], ['/shop/buy', 'shop:buy'], ['/admin/panel', 'admin notes:read']]) {
          const answer = await get(path, token)
          assert.equal(answer.status, 403, path)
          assert.ok(answer.headers['www-authenticate'].includes(`error="insufficient_scope"`))
          assert.ok(answer.headers['www-authenticate'].endsWith(`scope="${scope}"`), answer.headers['www-authenticate'])
        }
        is401(await get('/nothing/here/../../notes'), '')
      })

      test('what a handler throws is its own', async () => {
        const { access_token: token } = await login()
        for (const path of ['/notes/throws', '/notes/inactive']) {
          const answer = await get(path, token)
          assert.equal(answer.status, 500, path)
          assert.equal(answer.headers['www-authenticate'], undefined)
        }
        const mine = await get('/notes/mine', token)
        assert.equal(mine.json.message, 'mine')
        assert.equal(mine.headers['www-authenticate'], undefined)
        is503(await get('/notes/unavailable', token))
      })

      test('cookies: login, refresh, CSRF, logout, and the replay is refused', async () => {
        const own = await application(load, platform, { cookies: true }, { async: true })
        try {
          const browser = new Browser(own.url)
          const opened = await browser.send('POST', '/login', { body: {} })
          assert.equal(opened.status, 200, opened.text)
          assert.deepEqual(Object.keys(opened.json).sort(), ['expires_in', 'session'])
          assert.equal(opened.cookies.length, 2)
          assert.match(opened.cookies[0], /^__Host-rescind-at=\S+; Path=\/; Max-Age=\d+; HttpOnly; Secure; SameSite=Lax$/)
          assert.match(opened.cookies[1], /^__Host-rescind-rt=\S+; Path=\/; Max-Age=\d+; HttpOnly; Secure; SameSite=Strict$/)
          const first = browser.copy()
          const notes = await browser.send('GET', '/notes')
          assert.equal(notes.status, 200)
          assert.equal(notes.headers['cache-control'], 'no-store', 'what a cookie opens is not kept')
          const tabs = await Promise.all([browser, browser.copy(), browser.copy()].map(tab => tab.later().send('POST', '/refresh')))
          for (const tab of tabs) {
            assert.equal(tab.status, 200)
            assert.deepEqual(Object.keys(tab.json), ['expires_in'])
            assert.equal(tab.cookies[1], tabs[0].cookies[1])
          }
          for (const [method, path] of [['POST', '/logout'], ['POST', '/refresh'], ['POST', '/notes']]) {
            const answer = await browser.send(method, path, { headers: { 'sec-fetch-site': 'cross-site' } })
            assert.equal(answer.status, 403, answer.text)
            assert.equal(answer.json.error, 'cross_origin')
            assert.deepEqual(answer.cookies, [])
          }
          assert.equal((await browser.send('POST', '/notes')).status, 201)
          assert.equal((await browser.send('GET', '/notes', { headers: bearer('x') })).status, 400)
          const thief = browser.copy()

          // A refresh whose answer waits behind an interceptor while the logout is done.
          let release
          own.held.answer = new Promise(resolve => { release = resolve })
          const reached = new Promise(resolve => { own.held.reached = resolve })
          const late = browser.copy().later().send('POST', '/refresh')
          await reached
          const out = await browser.send('POST', '/logout')
          assert.equal(out.status, 204)
          assert.equal(browser.jar.size, 0)
          release()
          delete own.held.answer
          assert.deepEqual((await late).cookies, [])
          for (const b of [first, thief]) {
            is401(await b.send('GET', '/notes'))
            is401(await b.send('POST', '/refresh'))
          }
        } finally { await own.close() }
      })

      test('log out everywhere', async () => {
        const [one, two] = [await login({ user: 'eve' }), await login({ user: 'eve' })]
        assert.equal((await app.service.devices('eve')).length, 2)
        is401(await send(app.url, 'POST', '/logout-all'), '')
        assert.equal((await send(app.url, 'POST', '/logout-all', { headers: bearer(one.access_token) })).status, 204)
        is401(await get('/notes', two.access_token))
      })

      test('a device ends for its own user, and for others there is none', async () => {
        const [mine, phone, other] = [await login({ user: 'kim' }), await login({ user: 'kim' }), await login({ user: 'lee' })]
        const end = (id, token) => send(app.url, 'DELETE', '/notes/devices/' + id, { headers: bearer(token) })
        for (const id of [phone.session, 'nonsense', '0'.repeat(32)]) {
          const answer = await end(id, other.access_token)
          assert.equal(answer.status, 404)
          assert.deepEqual(answer.json, { status: 404, error: 'not_found', error_description: 'there is no such session' })
        }
        assert.equal((await get('/notes', phone.access_token)).status, 200)
        assert.equal((await end(phone.session, mine.access_token)).status, 200)
        is401(await get('/notes', phone.access_token))
        const left = (await get('/notes/devices', mine.access_token)).json.map(s => s.id)
        assert.ok(left.includes(mine.session) && !left.includes(phone.session) && !left.includes(other.session), left)
      })

      test('a guard where it is put, and nowhere else', async () => {
        const own = await application(load, platform, {}, { guard: false })
        try {
          is401(await send(own.url, 'GET', '/notes'), '')
          assert.equal((await send(own.url, 'GET', '/admin/panel')).status, 200)
          const grant = await send(own.url, 'POST', '/login', { body: {} })
          if (platform === 'fastify') return assert.equal(grant.status, 500, 'no guard has seen the request, and the response was not handed over')
          assert.equal(grant.status, 200)
          assert.equal((await send(own.url, 'GET', '/notes', { headers: bearer(grant.json.access_token) })).status, 200)
        } finally { await own.close() }
      })

      test('Rescind stopped or frozen: 503 within the deadline, and it recovers by itself', async () => {
        const rescind = await Server.start()
        const own = await application(load, platform, { ...rescind.options, timeout: 700, log: () => {} })
        try {
          const grant = (await known(() => send(own.url, 'POST', '/login', { body: {} }))).json
          const notes = () => send(own.url, 'GET', '/notes', { headers: bearer(grant.access_token) })
          const outage = async () => (await Promise.all([
            notes(), send(own.url, 'POST', '/refresh', { body: { refresh_token: grant.refresh_token } }), send(own.url, 'POST', '/login', { body: {} }),
          ])).forEach(answer => is503(answer))
          assert.equal((await known(notes)).status, 200)
          await rescind.freeze()
          await outage()
          rescind.thaw()
          assert.equal((await known(notes)).status, 200)
          await rescind.kill()
          await outage()
          await rescind.up()
          assert.equal((await known(notes)).status, 200)
        } finally {
          await own.close()
          await rescind.stop()
        }
      })
    })
  }
}

test('options that would be misunderstood are refused', async () => {
  const { InvalidError, RescindModule, Scopes } = await import('@rescind/node/nestjs')
  assert.throws(() => Scopes(), InvalidError)
  assert.throws(() => Scopes(''), InvalidError)
  const build = options => application(name => import(name), 'express', options)
  await assert.rejects(build({ cookies: { afterLogout: '/' } }), InvalidError)
  await assert.rejects(build({ cookie: true }), InvalidError)
  assert.equal(RescindModule.forRoot(server.options).global, true)
})
