import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { createServer as createHttpServer } from 'node:http'
import { Agent } from 'node:https'
import { createRequire } from 'node:module'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, test } from 'node:test'
import { TLSSocket, createSecureContext } from 'node:tls'
import { inspect } from 'node:util'
import {
  ForbiddenError, InactiveError, InvalidError, NotFoundError, RescindError, ScopeError, UnavailableError, rescind,
} from '@rescind/node'
import { Server, audience, patience, raw, reply, settled, sleep } from './server.mjs'

let server, client
before(async () => {
  server = await Server.start()
  client = rescind(server.options)
})
after(async () => {
  client.close()
  await server.stop()
})

const isInactive = err => err instanceof InactiveError && !(err instanceof UnavailableError)
const isUnavailable = err => err instanceof UnavailableError && !(err instanceof InactiveError) && err.status === 503 && err.headers['Retry-After'] === '1'

test('a login is checked, and nothing passes again after the logout', async () => {
  const grant = await client.login({ subject: 'ada', scope: 'notes:read notes:write', claims: { plan: 'gold', ['__proto__']: 1 }, device: { name: 'Firefox' } })
  const access = await client.check(grant.access_token, { scope: ['notes:read'] })
  assert.equal(access.subject, 'ada')
  assert.equal(access.session, grant.session)
  assert.equal(access.client, 'app')
  assert.deepEqual(access.audience, [audience])
  assert.equal(access.scope, 'notes:read notes:write')
  assert.equal(access.claims.plan, 'gold')
  assert.equal(Object.getPrototypeOf(access.claims), Object.prototype)
  assert.ok(access.expiresAt > new Date())
  await assert.rejects(client.check(grant.access_token, { scope: 'notes:read notes:delete' }), ScopeError)
  await assert.rejects(client.check(grant.access_token, { audience: 'others' }), isInactive)
  assert.equal((await client.check(grant.access_token, { audience: 'others', anyAudience: true })).subject, 'ada')

  const receipt = await client.logout(grant.access_token)
  assert.equal(receipt.changed, true)
  assert.equal(receipt.session, grant.session)
  await assert.rejects(client.check(grant.access_token), isInactive)
  await assert.rejects(client.refresh(grant.refresh_token), isInactive)
  assert.equal((await client.logout(grant.refresh_token)).changed, false)
})

test('an expired access token logs out, and the refresh token is dead with it', async () => {
  const grant = await client.login({ subject: 'ada', expires_in: 1 })
  await sleep(2100)
  await assert.rejects(client.check(grant.access_token), isInactive)
  assert.equal((await client.logout(grant.access_token)).changed, true)
  await assert.rejects(client.refresh(grant.refresh_token), isInactive)
})

test('parallel refreshes and a retry get one successor; reuse ends the session', async () => {
  const grant = await client.login({ subject: 'ada' })
  const all = await Promise.all(Array.from({ length: 8 }, () => client.refresh(grant.refresh_token)))
  assert.equal(new Set(all.map(g => g.refresh_token)).size, 1)
  const again = await client.refresh(grant.refresh_token)
  assert.equal(again.refresh_token, all[0].refresh_token)
  assert.notEqual(again.refresh_token, grant.refresh_token)
  const third = await client.refresh(again.refresh_token)
  await client.check(third.access_token)
  await assert.rejects(client.refresh(grant.refresh_token), isInactive)
  await assert.rejects(client.check(third.access_token), isInactive)
  await assert.rejects(client.refresh(third.refresh_token), isInactive)
})

test('a subject sees and ends its own devices, and all of them', async () => {
  const [one, two, three] = await Promise.all(['phone', 'tablet', 'desk'].map(name => client.login({ subject: 'eve', device: { name } })))
  assert.deepEqual((await client.devices('eve')).map(s => s.device.name).sort(), ['desk', 'phone', 'tablet'])
  assert.equal((await client.devices('eve', 2)).length, 2)
  assert.equal((await client.sessions({ subject: 'eve', limit: 1 })).sessions.length, 1)
  await assert.rejects(client.endSession(one.session, 'mallory'), NotFoundError)
  await assert.rejects(client.endSession('../admin', 'eve'), NotFoundError)
  await client.check(one.access_token)
  const ended = await client.endSession(one.session, 'eve')
  assert.deepEqual([ended.changed, ended.session], [true, one.session])
  await assert.rejects(client.check(one.access_token), isInactive)
  assert.equal((await client.revoke({ subject: 'eve', dry_run: true })).sessions, 2)
  await client.revoke({ subject: 'eve', except_session: two.session, reason: 'new password' })
  await assert.rejects(client.check(three.access_token), isInactive)
  await client.check(two.access_token)
  assert.equal((await client.logoutAll(two.access_token)).changed, true)
  await assert.rejects(client.check(two.access_token), isInactive)
  await assert.rejects(client.logoutAll(two.access_token), isInactive)
})

test('what is no token is inactive, and is not even sent', async () => {
  const grant = await client.login({ subject: 'ada' })
  const dead = await raw('')
  const nowhere = rescind({ ...server.options, url: dead.url })
  for (const bad of ['', ' ', 'a b', 'a\r\nb', 'ä', '=', 'x'.repeat(16385), undefined, null, 7, {}, ['a'], grant.access_token + ' ']) {
    await assert.rejects(nowhere.check(bad), isInactive)
    await assert.rejects(nowhere.refresh(bad), isInactive)
    await assert.rejects(nowhere.logout(bad), isInactive)
  }
  assert.equal(dead.seen.connections, 0)
  dead.close()
  for (const bad of ['forged', 'rsr_forged', 'a.b.c', grant.refresh_token, grant.access_token.slice(0, -4) + 'AAAA', 'x'.repeat(16384)]) {
    await assert.rejects(client.check(bad), isInactive, bad.slice(0, 20))
  }
  await assert.rejects(client.refresh(grant.access_token), isInactive)
  await assert.rejects(client.logout('rsr_forged'), isInactive)
  await client.check(grant.access_token)
})

test('what is wrong with a request is said, and is no statement about a token', async () => {
  await assert.rejects(client.login({ subject: 'no spaces' }), InvalidError)
  await assert.rejects(client.login({ subject: '' }), InvalidError)
  await assert.rejects(client.login({ subject: 'ada', scopes: 'typo' }), InvalidError)
  await assert.rejects(client.login({ subject: 'ada', claims: { sub: 'root' } }), InvalidError)
  await assert.rejects(client.login({ subject: 'ada', client_id: 'admin' }), ForbiddenError)
  await assert.rejects(client.revoke({ all: true }), ForbiddenError)
  await assert.rejects(client.revoke({ subjects: 'typo' }), InvalidError)
  await assert.rejects(client.revoke({}), InvalidError)
  const stranger = rescind({ ...server.options, clientSecret: 'wrong'.repeat(8) })
  const grant = await client.login({ subject: 'ada' })
  await assert.rejects(stranger.check(grant.access_token), isUnavailable)
  await assert.rejects(stranger.login({ subject: 'ada' }), ForbiddenError)
  await assert.rejects(stranger.refresh(grant.refresh_token), ForbiddenError)
  stranger.close()
})

test('options are checked, and come from the environment', () => {
  const o = server.options
  for (const bad of [
    { url: '' }, { url: 'rescind' }, { url: 'ftp://127.0.0.1' }, { url: 'http://rescind.example.com' }, { url: 'http://u:p@127.0.0.1' }, { url: 'http://127.0.0.1/?a' },
    { clientId: '' }, { clientSecret: '' }, { timeout: 0 }, { timeout: -1 }, { timeout: NaN }, { timeout: 'x' }, { audiance: 'typo' },
  ]) {
    assert.throws(() => rescind({ ...o, ...bad }), InvalidError, inspect(bad))
  }
  rescind({ ...o, url: 'http://rescind.example.com', allowHttp: true }).close()
  rescind({ ...o, url: 'http://[::1]:8470/' }).close()
  assert.throws(() => rescind(), InvalidError)
  Object.assign(process.env, { RESCIND_URL: o.url, RESCIND_CLIENT_ID: 'app', RESCIND_CLIENT_SECRET: o.clientSecret })
  try { rescind().close() } finally { for (const name of ['URL', 'CLIENT_ID', 'CLIENT_SECRET']) delete process.env['RESCIND_' + name] }
})

test('nothing that is printed holds a secret or a token', async () => {
  const grant = await client.login({ subject: 'ada' })
  const secrets = [server.options.clientSecret, Buffer.from('app:' + server.options.clientSecret).toString('base64'), grant.access_token, grant.refresh_token]
  const hidden = text => secrets.forEach(s => assert.ok(!text.includes(s), text.slice(0, 200)))
  hidden(inspect(client, { showHidden: true, depth: 9 }) + JSON.stringify({ client }) + String(client))
  hidden(inspect(grant) + inspect({ grant }, { depth: 9 }))
  assert.ok(JSON.stringify(grant).includes(grant.refresh_token), 'a grant is there to be sent')
  // A server that says everything back.
  const echo = await raw(socket => socket.write(reply(400, 'application/json', JSON.stringify({ error: 'invalid_request', error_description: 'you sent ' + secrets.join(' ') }))))
  const gossip = rescind({ ...server.options, url: echo.url })
  for (const call of [() => gossip.check(grant.access_token), () => gossip.refresh(grant.refresh_token)]) {
    const err = await call().catch(e => e)
    assert.ok(err instanceof RescindError)
    hidden(inspect(err, { showHidden: true, depth: 9 }) + err.stack + JSON.stringify(err))
  }
  echo.close()
})

test('silence ends with the time-out', async () => {
  const half = 'HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 16\r\n\r\n{"active"'
  for (const write of [() => {}, s => s.write('HTTP/1.1 200'), s => s.write(half)]) {
    const silent = await raw(write)
    const c = rescind({ ...server.options, url: silent.url, timeout: 300 })
    const started = performance.now()
    await Promise.all(Array.from({ length: 300 }, () => assert.rejects(c.check('token'), isUnavailable))) // more than there are connections
    assert.ok(performance.now() - started < patience, 'took ' + (performance.now() - started))
    silent.close()
  }
  // Bytes that trickle do not put it off.
  const slow = await raw(s => { const t = setInterval(() => s.write('1'), 50); s.on('close', () => clearInterval(t)); s.write('HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n') })
  const c = rescind({ ...server.options, url: slow.url, timeout: 300 })
  const started = performance.now()
  await assert.rejects(c.check('token'), isUnavailable)
  assert.ok(performance.now() - started < patience)
  slow.close()
})

test('one slow phase leaves time for a second attempt', async t => {
  const receipt = reply(200, 'application/json', '{"position":1,"epoch":"e","changed":true}')
  const granted = reply(201, 'application/json', JSON.stringify({ session: 's'.repeat(32), access_token: 'a', refresh_token: 'rsr_b', token_type: 'Bearer', expires_in: 1, refresh_token_timeout: 1, authorization_expires_in: 1 }))
  const long = 'x'.repeat(16_000_000) // more than there is room for on the way
  const timeout = 60_000

  // The client's time goes on when it is told to, and then all at once.
  let now = 0
  t.mock.timers.enable({ apis: ['setTimeout'] })
  t.mock.method(performance, 'now', () => now)
  const pass = ms => {
    now += ms
    t.mock.timers.tick(ms)
  }
  const pending = async promise => {
    let over = false
    const settle = () => { over = true }
    promise.then(settle, settle)
    for (let i = 0; i < 5; i++) await new Promise(setImmediate)
    assert.ok(!over, 'it did not wait')
  }
  // comes() is over when there is one connection more.
  const connections = async answer => {
    const seen = { connections: 0 }
    const sockets = []
    const listener = createServer(socket => {
      sockets.push(socket.on('error', () => {}))
      answer(socket, ++seen.connections).on('error', () => {})
    })
    await once(listener.listen(0, '127.0.0.1'), 'listening')
    t.after(() => {
      sockets.forEach(socket => socket.destroy())
      listener.close()
    })
    return Object.assign(seen, { url: `http://127.0.0.1:${listener.address().port}`, comes: () => once(listener, 'connection') })
  }

  await t.test('a request that is not taken', { timeout: patience }, async () => {
    // Reads nothing at first, and all that comes over the second connection.
    const deaf = await connections((s, n) => n === 1 ? s.pause() : s.on('data', d => { if (d.subarray(-2).toString() === '"}') s.end(receipt) }))
    const c = rescind({ ...server.options, url: deaf.url, timeout })
    let came = deaf.comes()
    const revoked = c.revoke({ session: 's', reason: long })
    await came
    pass(timeout / 2 - 1)
    await pending(revoked)
    assert.equal(deaf.connections, 1)
    pass(1)
    assert.equal((await revoked).changed, true)
    assert.equal(deaf.connections, 2)
    // A login is not sent twice.
    const wall = await connections(s => s.pause())
    const d = rescind({ ...server.options, url: wall.url, timeout })
    came = wall.comes()
    const login = d.login({ subject: 'ada', scope: long })
    await came
    pass(timeout / 2)
    await assert.rejects(login, isUnavailable)
    assert.equal(wall.connections, 1)
    // And both attempts together keep to the time-out.
    came = wall.comes()
    const twice = d.revoke({ session: 's', reason: long })
    await came
    came = wall.comes()
    pass(timeout / 2)
    await came
    pass(timeout / 2 - 1)
    await pending(twice)
    pass(1)
    await assert.rejects(twice, isUnavailable)
    assert.equal(wall.connections, 3)
  })

  await t.test('an application that is busy itself', { timeout: patience }, async () => {
    const prompt = await connections(s => s.on('data', () => s.write(reply(200, 'application/json', '{"active":false}'))))
    const c = rescind({ ...server.options, url: prompt.url, timeout })
    await new Promise(setImmediate) // from here, timers come before news of connections
    const checked = assert.rejects(c.check('token'), isInactive)
    for (let i = 0; i < 10; i++) await new Promise(process.nextTick) // the connection is on its way, and nobody has heard of it
    Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 200) // nor does anybody while this process does nothing else
    pass(timeout / 2)
    await checked
    assert.equal(prompt.connections, 1)
    c.close()
  })

  await t.test('a connection that does not come about', { timeout: patience }, async () => {
    // The first handshake is never answered.
    const dir = mkdtempSync(join(tmpdir(), 'rescind-node-tls-'))
    const [cert, key] = [join(dir, 'tls.crt'), join(dir, 'tls.key')]
    execFileSync('openssl', ['req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-days', '2', '-subj', '/CN=localhost',
      '-addext', 'subjectAltName=IP:127.0.0.1', '-keyout', key, '-out', cert], { stdio: 'ignore' })
    const context = createSecureContext({ cert: readFileSync(cert), key: readFileSync(key) })
    const mute = await connections((s, n) => n === 1 ? s.resume() : new TLSSocket(s, { isServer: true, secureContext: context }).once('data', function () { this.end(granted) }))
    const agent = new Agent({ keepAlive: true, ca: readFileSync(cert) })
    const c = rescind({ ...server.options, url: mute.url.replace('http:', 'https:'), timeout, agent })
    try {
      // Even what is sent only once: nothing of it has been.
      const came = mute.comes()
      const login = c.login({ subject: 'ada' })
      await came
      pass(timeout / 2 - 1)
      await pending(login)
      pass(1)
      assert.equal((await login).access_token, 'a')
      assert.equal(mute.connections, 2)
    } finally {
      agent.destroy()
      rmSync(dir, { recursive: true, force: true })
    }
  })
})

test('id and secret are form-encoded', async t => { // RFC 6749 section 2.3.1
  const seen = []
  const listener = createHttpServer((q, s) => {
    seen.push(q.headers.authorization)
    s.setHeader('content-type', 'application/json').end('{"active":false}')
  })
  await once(listener.listen(0, '127.0.0.1'), 'listening')
  t.after(() => { listener.closeAllConnections(); listener.close() })
  for (const [clientId, clientSecret] of [['backend', '1+1 is 2, 100%, %2B: ~&=é'], ['https://app.example/?a=b', 's%ecret+']]) {
    const c = rescind({ url: `http://127.0.0.1:${listener.address().port}`, clientId, clientSecret })
    await assert.rejects(c.check('token'), isInactive)
    const parts = Buffer.from(seen.pop().replace(/^Basic /, ''), 'base64').toString('latin1').split(':')
    assert.deepEqual(parts.map(p => decodeURIComponent(p.replaceAll('+', ' '))), [clientId, clientSecret])
    c.close()
  }
  // The server reads what it permits.
  const secret = 'a-secret-of/this=test&with:what*needs?#encoding~"<'
  const own = await Server.start('clients:\n  - {id: odd, roles: [issue, introspect], secret_env: RESCIND_TEST_SECRET}\n', { RESCIND_TEST_SECRET: secret })
  const c = rescind({ ...own.options, clientId: 'odd', clientSecret: secret })
  try {
    assert.equal((await c.login({ subject: 'ada' })).token_type, 'Bearer')
  } finally {
    c.close()
    await own.stop()
  }
})

test('a broken connection is tried once more where that does no harm', async () => {
  const no = reply(200, 'application/json', '{"active":false}')
  const flaky = await raw((s, seen) => seen.requests % 2 === 0 ? s.destroy() : s.write(no)) // every second one
  const c = rescind({ ...server.options, url: flaky.url })
  for (let i = 0; i < 4; i++) await assert.rejects(c.check('token'), isInactive)
  assert.equal(flaky.seen.requests, 7)
  flaky.close()
  const broken = await raw(s => s.destroy())
  const d = rescind({ ...server.options, url: broken.url })
  await assert.rejects(d.check('token'), isUnavailable)
  assert.equal(broken.seen.requests, 2)
  await assert.rejects(d.login({ subject: 'ada' }), isUnavailable)
  assert.equal(broken.seen.requests, 3, 'a login is sent once')
  broken.close()
})

test('connections are kept alive', async () => {
  const counting = await raw(reply(200, 'application/json', '{"active":false}'))
  const c = rescind({ ...server.options, url: counting.url })
  for (let i = 0; i < 50; i++) await assert.rejects(c.check('token'), isInactive)
  assert.equal(counting.seen.requests, 50)
  assert.equal(counting.seen.connections, 1)
  counting.close()
})

test('an error of either copy of the package is an instance for both', async () => {
  const other = createRequire(import.meta.url)('@rescind/node')
  assert.notEqual(other.InactiveError, InactiveError)
  const err = await other.rescind(server.options).check('forged').catch(e => e)
  assert.ok(err instanceof InactiveError && err instanceof other.InactiveError && err instanceof RescindError && err instanceof Error)
  assert.ok(!(err instanceof UnavailableError) && !(err instanceof ScopeError))
  assert.ok(!(new Error('x') instanceof RescindError) && !(null instanceof RescindError) && !({ kind: 'inactive' } instanceof InactiveError))
  class Mine extends InactiveError {}
  assert.ok(new Mine() instanceof Mine && new Mine() instanceof InactiveError && !(err instanceof Mine))
})

test('over TLS, a server counts only if its certificate does', async () => {
  const dir = mkdtempSync(join(tmpdir(), 'rescind-node-tls-'))
  const [cert, key] = [join(dir, 'tls.crt'), join(dir, 'tls.key')]
  execFileSync('openssl', ['req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-days', '2', '-subj', '/CN=localhost',
    '-addext', 'subjectAltName=IP:127.0.0.1', '-keyout', key, '-out', cert], { stdio: 'ignore' })
  const own = await Server.start(`tls: {cert_file: ${cert}, key_file: ${key}}\n`)
  const agent = new Agent({ keepAlive: true, ca: readFileSync(cert) })
  const [trusting, wary] = [rescind({ ...own.options, agent }), rescind(own.options)]
  try {
    assert.match(own.url, /^https:/)
    const grant = await trusting.login({ subject: 'ada' })
    assert.equal((await trusting.check(grant.access_token)).subject, 'ada')
    await assert.rejects(wary.check(grant.access_token), isUnavailable)
    await assert.rejects(wary.login({ subject: 'ada' }), isUnavailable)
    await assert.rejects(rescind({ ...own.options, url: own.url.replace('https', 'http') }).check(grant.access_token), isUnavailable)
    await trusting.logout(grant.access_token)
    await assert.rejects(trusting.check(grant.access_token), isInactive)
  } finally {
    agent.destroy()
    wary.close()
    await own.stop()
    rmSync(dir, { recursive: true, force: true })
  }
})

test('a server that is frozen or gone is unavailable within the time-out, and comes back by itself', async () => {
  const own = await Server.start()
  const c = rescind({ ...own.options, timeout: 700 })
  try {
    await settled(() => c.ready())
    const grant = await settled(() => c.login({ subject: 'ada' }))
    const gone = await settled(() => c.login({ subject: 'ada' }))
    await Promise.all(Array.from({ length: 20 }, () => settled(() => c.check(grant.access_token)))) // connections to be stale later
    const failsInTime = async () => {
      for (let i = 0; i < 2; i++) {
        const started = performance.now()
        await Promise.all([c.check(grant.access_token), c.refresh(grant.refresh_token), c.logout(gone.access_token), c.ready()].map(p => assert.rejects(p, isUnavailable)))
        assert.ok(performance.now() - started < patience)
      }
    }
    await own.freeze()
    await failsInTime()
    own.thaw()
    assert.equal((await settled(() => c.check(grant.access_token))).subject, 'ada')
    await own.kill()
    await failsInTime()
    await own.up()
    assert.equal((await settled(() => c.check(grant.access_token))).subject, 'ada')
    await settled(() => c.logout(gone.access_token))
    await assert.rejects(settled(() => c.check(gone.access_token)), isInactive)
  } finally {
    c.close()
    await own.stop()
  }
})
