// The guarded application of spec/README.md, in NestJS, over Express or Fastify.
import { createRequire } from 'node:module'
import { pathToFileURL } from 'node:url'

const require = createRequire(pathToFileURL(process.env.SPEC_NODE + '/package.json'))
require('reflect-metadata')
const { All, Body, Controller, HttpCode, HttpException, Inject, Module, Post, Req } = require('@nestjs/common')
const { NestFactory } = require('@nestjs/core')
const { CurrentSession, ForbiddenError, Public, RescindModule, RescindService, Scopes } = require('@rescind/node/nestjs')

const camel = name => name.replace(/_(.)/g, (_, c) => c.toUpperCase())

/** Applies decorators as TypeScript does. */
function decorate(target, decorators, members) {
  for (const [name, [on, ...parameters]] of Object.entries(members)) {
    parameters.forEach((d, index) => d(target.prototype, name, index))
    for (const d of [...on].reverse()) d(target.prototype, name, Object.getOwnPropertyDescriptor(target.prototype, name))
  }
  for (const d of [...decorators].reverse()) d(target)
}

class Auth {
  constructor(rescind) { this.rescind = rescind }
  async login(q, body) {
    try { return await this.rescind.login(q, body) } catch (err) {
      throw err instanceof ForbiddenError ? new HttpException('forbidden', 403) : err
    }
  }
  refresh(q) { return this.rescind.refresh(q) }
  logout(q) { return this.rescind.logout(q) }
  logoutAll(q) { return this.rescind.logoutAll(q) }
}
Inject(RescindService)(Auth, undefined, 0)
decorate(Auth, [Public(), Controller('auth')], {
  login: [[Post('login'), HttpCode(200)], Req(), Body()],
  refresh: [[All('refresh'), HttpCode(200)], Req()],
  logout: [[All('logout'), HttpCode(204)], Req()],
  logoutAll: [[All('logout-all'), HttpCode(204)], Req()],
})

const show = ({ subject, session, client, audience, scope }) => ({ subject, session, client, audience, scope })
class Api {
  me(session) { return show(session) }
  scoped(session) { return show(session) }
  own() { throw new HttpException('own', 401) }
}
decorate(Api, [Controller('api')], {
  me: [[All('me'), HttpCode(200)], CurrentSession()],
  scoped: [[All('scoped'), HttpCode(200), Scopes('notes:read', 'notes:write')], CurrentSession()],
  own: [[All('own')]],
})

async function start({ url, client_id: clientId, client_secret: clientSecret, cookies, audience, timeout_ms: timeout }) {
  class App {}
  decorate(App, [Module({
    controllers: [Auth, Api],
    imports: [RescindModule.forRoot({
      url, clientId, clientSecret, timeout, log: () => {}, ...audience ? { audience } : {},
      cookies: typeof cookies === 'object' && cookies ? Object.fromEntries(Object.entries(cookies).map(([name, value]) => [camel(name), value])) : cookies === true,
    })],
  })], {})
  const adapter = process.argv[2] === 'fastify' ? [new (require('@nestjs/platform-fastify').FastifyAdapter)()] : []
  const app = await NestFactory.create(App, ...adapter, { logger: false, forceCloseConnections: true, abortOnError: false })
  await app.listen(0, '127.0.0.1')
  return app
}

const apps = []
for (const options of JSON.parse(process.env.SPEC_APPS)) apps.push(await start(options))
console.log('ready', ...await Promise.all(apps.map(app => app.getUrl())))
process.stdin.resume().on('end', () => apps.forEach(app => app.close()))
