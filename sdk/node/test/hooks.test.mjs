import assert from 'node:assert/strict'
import { createPublicKey } from 'node:crypto'
import { once } from 'node:events'
import { after, before, describe, test } from 'node:test'
import express from 'express'
import { expressjwt } from 'express-jwt'
import passport from 'passport'
import { ExtractJwt, Strategy } from 'passport-jwt'
import { InvalidError, checkJwt, isRevoked, rescind } from '@rescind/node'
import { Server, bearer, known, send } from './server.mjs'

process.env.NODE_ENV = 'test' // Express prints no errors then

let server, client, impatient, keys
before(async () => {
  server = await Server.start()
  client = rescind(server.options)
  impatient = rescind({ ...server.options, timeout: 700 })
  const set = await (await fetch(server.url + '/.well-known/jwks.json')).json()
  keys = new Map(set.keys.map(k => [k.kid, createPublicKey({ key: k, format: 'jwk' }).export({ type: 'spki', format: 'pem' })]))
})
after(async () => {
  client.close()
  impatient.close()
  await server.stop()
})

// Two places for one token: what an attacker would play against each other.
const fromQuery = q => q.query.token
const libraries = {
  'express-jwt': (app, path, { getToken, check } = {}) => {
    const options = { secret: (q, token) => keys.get(token.header.kid), algorithms: ['ES256'], isRevoked: check ?? isRevoked(client, getToken ? { getToken } : {}) }
    app.use(path, expressjwt(getToken ? { ...options, getToken } : options), (q, s) => s.json({ subject: q.auth.sub }))
  },
  'passport-jwt': (app, path, { getToken, check } = {}) => {
    const standing = check ?? checkJwt(client, getToken ? { getToken } : {})
    const jwtFromRequest = getToken ?? ExtractJwt.fromAuthHeaderAsBearerToken()
    const secretOrKeyProvider = (q, token, done) => done(null, keys.get(JSON.parse(Buffer.from(token.split('.')[0], 'base64url')).kid))
    const strategy = new Strategy({ secretOrKeyProvider, algorithms: ['ES256'], jwtFromRequest, passReqToCallback: true },
      (q, payload, done) => { standing(q, payload).then(access => done(null, access), done) })
    app.use(path, (q, s, next) => passport.authenticate(strategy, { session: false })(q, s, next), (q, s) => s.json({ subject: q.user.subject }))
  },
}

for (const [library, use] of Object.entries(libraries)) {
  describe(library, () => {
    let url, listener
    before(async () => {
      const app = express()
      use(app, '/header')
      use(app, '/query', { getToken: fromQuery })
      const mixed = library === 'express-jwt' ? isRevoked(client) : checkJwt(client)
      use(app, '/mixed', { getToken: fromQuery, check: mixed }) // misconfigured: the library reads the query, the hook the header
      use(app, '/other', { check: library === 'express-jwt' ? isRevoked(client, { audience: 'other' }) : checkJwt(client, { audience: 'other' }) })
      use(app, '/impatient', { check: library === 'express-jwt' ? isRevoked(impatient) : checkJwt(impatient) })
      app.use((err, q, s, next) => next(err))
      listener = app.listen(0, '127.0.0.1')
      await once(listener, 'listening')
      url = `http://127.0.0.1:${listener.address().port}`
    })
    after(() => listener.close())

    test('a token that stands passes, and an ended one does not', async () => {
      const grant = await client.login({ subject: 'ada' })
      const header = () => send(url, 'GET', '/header', { headers: bearer(grant.access_token) })
      const query = () => send(url, 'GET', '/query?token=' + grant.access_token)
      assert.deepEqual((await header()).json, { subject: 'ada' })
      assert.deepEqual((await query()).json, { subject: 'ada' })
      assert.equal((await send(url, 'GET', '/other', { headers: bearer(grant.access_token) })).status, 401)
      assert.equal((await send(url, 'GET', '/header')).status, 401)
      await client.logout(grant.refresh_token)
      assert.equal((await header()).status, 401)
      assert.equal((await query()).status, 401)
    })

    test('a good token in one place does not vouch for a stolen one in another', async () => {
      const stolen = await client.login({ subject: 'ada' })
      await client.logout(stolen.access_token)
      const own = await client.login({ subject: 'mallory' })
      const answer = await send(url, 'GET', '/mixed?token=' + stolen.access_token, { headers: bearer(own.access_token) })
      assert.equal(answer.status, 401)
      assert.equal((await send(url, 'GET', '/mixed?token=' + own.access_token, { headers: bearer(own.access_token) })).status, 200)
    })

    test('an outage is 503', async () => {
      const grant = await client.login({ subject: 'ada' })
      await server.freeze()
      const get = () => send(url, 'GET', '/impatient', { headers: bearer(grant.access_token) })
      const answer = await get()
      server.thaw()
      assert.equal(answer.status, 503)
      assert.equal(answer.headers['retry-after'], '1')
      assert.equal((await known(get)).status, 200)
    })
  })
}

test('options that would be misunderstood are refused', () => {
  assert.throws(() => isRevoked(client, { gettoken: fromQuery }), InvalidError)
  assert.throws(() => checkJwt(client, { getToken: 'query' }), InvalidError)
})
