import assert from 'node:assert/strict'
import { once } from 'node:events'
import { after, before, describe, test } from 'node:test'
import express5 from 'express'
import express4 from 'express4'
import { InactiveError, UnavailableError, InvalidError, rescind } from '@rescind/node/express'
import { Browser, Server, bearer, known, patience, raw, send, settled, sleep } from './server.mjs'

let server
before(async () => { server = await Server.start() })
after(() => server.stop())

/** An application as its author would write it. */
async function application(express, options = {}, more = () => {}) {
  const r = rescind({ ...server.options, ...options })
  const app = express()
  const calls = { notes: 0 }
  app.disable('etag')
  app.post('/raw/refresh', r.refresh()) // in front of every parser
  app.post('/raw/logout', r.logout())
  app.use(express.json())
  app.use(express.urlencoded({ extended: true }))
  app.post('/login', (q, s, next) => { // Express 4 does not look after promises
    r.login(q, { subject: q.body.user ?? 'ada', scope: 'notes:read notes:write', claims: { plan: 'gold' }, ...q.body.login }).then(grant => s.json(grant), next)
  })
  app.all('/refresh', r.refresh())
  app.all('/logout', r.logout())
  app.post('/logout-all', r.logoutAll())
  app.use('/api', r.requireToken())
  app.all('/api/notes', (q, s) => { calls.notes++; s.json(q.auth) })
  app.get('/api/devices', (q, s, next) => { r.devices(q.auth.subject).then(d => s.json(d.map(x => x.device)), next) })
  app.delete('/api/devices/:id', (q, s, next) => { r.endSession(q.params.id, q.auth.subject).then(receipt => s.json(receipt), next) })
  app.get('/api/write', r.requireToken({ scope: 'notes:write' }), (q, s) => s.json('written'))
  app.get('/api/delete', r.requireToken({ scope: ['notes:write', 'notes:delete'] }), (q, s) => s.json('deleted'))
  app.get('/api/kept', (q, s) => s.set('Cache-Control', 'private, max-age=60').json('kept'))
  app.get('/api/throws', () => { throw new Error('a bug') })
  app.get('/api/inactive', (q, s, next) => next(new InactiveError('some other token')))
  app.get('/api/other', (q, s, next) => { r.check('some.other.token').then(() => s.end(), next) })
  app.get('/api/401', (q, s) => { s.status(401).json({ mine: true }) })
  app.get('/api/unavailable', (q, s, next) => next(new UnavailableError()))
  more(app, r)
  app.use((err, q, s, next) => { if (!err.status) err.expose = false; next(err) }) // Express's own handler answers
  const listener = app.listen(0, '127.0.0.1')
  await once(listener, 'listening')
  return {
    r, calls, url: `http://127.0.0.1:${listener.address().port}`,
    close: () => { r.close(); listener.closeAllConnections(); listener.close() },
  }
}

const noStore = a => assert.equal(a.headers['cache-control'], 'no-store')

function is401(answer, code = 'invalid_token') {
  assert.equal(answer.status, 401, answer.text)
  const challenge = answer.headers['www-authenticate']
  assert.match(challenge, /^Bearer realm="rescind"/)
  if (code) assert.ok(challenge.includes(`error="${code}"`), challenge)
  else assert.ok(!challenge.includes('error'), challenge)
  noStore(answer)
}

function is503(answer) {
  assert.equal(answer.status, 503, answer.text)
  assert.equal(answer.headers['retry-after'], '1')
  noStore(answer)
  assert.deepEqual(answer.cookies, [])
  assert.ok(answer.ms < patience, `took ${answer.ms} ms`)
}

function is403(answer, error) {
  assert.equal(answer.status, 403, answer.text)
  assert.equal(answer.json.error, error)
  assert.deepEqual(answer.cookies, [])
}

process.env.NODE_ENV = 'test' // Express prints no errors then

for (const [name, express] of [['Express 5', express5], ['Express 4', express4]]) {
  describe(name + ', bearer tokens', () => {
    let app
    before(async () => { app = await application(express) })
    after(() => app.close())
    const login = async body => (await send(app.url, 'POST', '/login', { body: body ?? {} })).json
    const notes = token => send(app.url, 'GET', '/api/notes', { headers: bearer(token) })

    test('login, notes, logout, and the replay is refused', async () => {
      const answer = await send(app.url, 'POST', '/login', { body: { user: 'ada' }, headers: { 'user-agent': 'Browser/1' } })
      assert.equal(answer.status, 200)
      noStore(answer)
      assert.deepEqual(answer.cookies, [])
      const grant = answer.json
      const good = await notes(grant.access_token)
      assert.equal(good.status, 200)
      assert.deepEqual([good.json.subject, good.json.session, good.json.scope, good.json.claims], ['ada', grant.session, 'notes:read notes:write', { plan: 'gold' }])
      const devices = await send(app.url, 'GET', '/api/devices', { headers: bearer(grant.access_token) })
      const other = await login({ user: 'mallory' })
      for (const id of [grant.session, 'nonsense', '0'.repeat(32)]) {
        assert.equal((await send(app.url, 'DELETE', '/api/devices/' + id, { headers: bearer(other.access_token) })).status, 404)
      }
      assert.ok(devices.json.some(d => d.user_agent === 'Browser/1' && d.ip.endsWith('127.0.0.1')), devices.text)
      const out = await send(app.url, 'POST', '/logout', { headers: bearer(grant.access_token) })
      assert.equal(out.status, 204)
      noStore(out)
      is401(await notes(grant.access_token))
      is401(await send(app.url, 'POST', '/refresh', { body: { refresh_token: grant.refresh_token } }))
      assert.equal((await send(app.url, 'POST', '/logout', { headers: bearer(grant.access_token) })).status, 204, 'logging out twice is no error')
    })

    test('a body may come as JSON or as a form, and before any parser', async () => {
      for (const at of ['', '/raw']) {
        const grant = await login()
        const form = await send(app.url, 'POST', at + '/refresh', { body: 'refresh_token=' + grant.refresh_token, headers: { 'content-type': 'application/x-www-form-urlencoded' } })
        assert.equal(form.status, 200, at)
        noStore(form)
        const json = await send(app.url, 'POST', at + '/refresh', { body: { refresh_token: grant.refresh_token } })
        assert.equal(json.json.refresh_token, form.json.refresh_token)
        assert.equal((await send(app.url, 'POST', at + '/logout', { body: { refresh_token: json.json.refresh_token } })).status, 204)
        is401(await notes(json.json.access_token))
      }
      for (const body of ['{', '[]', '"x"', '{"refresh_token":["a","b"]}', 'x'.repeat(40_000)]) {
        const answer = await send(app.url, 'POST', '/raw/refresh', { body })
        assert.equal(answer.status, 400, body.slice(0, 20) + answer.text)
        assert.equal(answer.json.error, 'invalid_request')
      }
      for (const [body, type] of [['{}', 'application/json'], ['', 'application/json'], ['a=b', 'application/x-www-form-urlencoded'], [undefined, '']]) {
        is401(await send(app.url, 'POST', '/raw/refresh', { body, headers: type ? { 'content-type': type } : {} }), '')
      }
      assert.equal((await send(app.url, 'POST', '/raw/refresh', { body: 'refresh_token=a&refresh_token=b', headers: { 'content-type': 'application/x-www-form-urlencoded' } })).status, 400)
      assert.equal((await send(app.url, 'POST', '/raw/refresh', { body: 'refresh_token=a', headers: { 'content-type': 'text/plain' } })).status, 400)
    })

    test('a missing scope is 403, with the scope in the challenge', async () => {
      const { access_token: token } = await login()
      assert.equal((await send(app.url, 'GET', '/api/write', { headers: bearer(token) })).status, 200)
      const answer = await send(app.url, 'GET', '/api/delete', { headers: bearer(token) })
      assert.equal(answer.status, 403)
      assert.match(answer.headers['www-authenticate'], /error="insufficient_scope".*scope="notes:write notes:delete"/)
    })

    test('what a handler throws or answers is its own', async () => {
      const { access_token: token } = await login()
      const get = path => send(app.url, 'GET', path, { headers: bearer(token) })
      for (const path of ['/api/throws', '/api/inactive', '/api/other']) {
        const answer = await get(path)
        assert.equal(answer.status, 500, path)
        assert.equal(answer.headers['www-authenticate'], undefined)
        assert.equal(answer.headers['retry-after'], undefined)
      }
      assert.deepEqual((await get('/api/401')).json, { mine: true })
      const answer = await get('/api/unavailable')
      assert.equal(answer.status, 503)
      assert.equal(answer.headers['retry-after'], '1')
    })
  })

  describe(name + ', cookies', () => {
    let app
    before(async () => { app = await application(express, { cookies: true }) })
    after(() => app.close())
    const loggedIn = async (on = app, body = {}) => {
      const browser = new Browser(on.url)
      const answer = await browser.send('POST', '/login', { body })
      assert.equal(answer.status, 200, answer.text)
      return browser
    }

    test('cookies that scripts, other hosts and plain HTTP cannot touch', async () => {
      const answer = await send(app.url, 'POST', '/login', { body: {} })
      assert.deepEqual(Object.keys(answer.json).sort(), ['expires_in', 'session'])
      noStore(answer)
      const [access, refresh] = answer.cookies
      assert.equal(answer.cookies.length, 2)
      assert.match(access, /^__Host-rescind-at=[\w.-]+; Path=\/; Max-Age=2592000; HttpOnly; Secure; SameSite=Lax$/)
      assert.match(refresh, /^__Host-rescind-rt=rsr_[\w-]+; Path=\/; Max-Age=2592000; HttpOnly; Secure; SameSite=Strict$/)
    })

    test('login, notes, refresh, logout, and the replay is refused', async () => {
      const browser = await loggedIn()
      const stolen = browser.copy()
      assert.equal((await browser.send('GET', '/api/notes')).json.subject, 'ada')
      const refreshed = await browser.later().send('POST', '/refresh')
      assert.equal(refreshed.status, 200)
      assert.deepEqual(Object.keys(refreshed.json), ['expires_in'])
      assert.notEqual(browser.jar.get('__Host-rescind-rt'), stolen.jar.get('__Host-rescind-rt'))
      const latest = browser.copy()
      const out = await browser.send('POST', '/logout')
      assert.equal(out.status, 204)
      assert.equal(browser.jar.size, 0)
      for (const thief of [stolen, latest]) {
        is401(await thief.send('GET', '/api/notes'))
        is401(await thief.send('POST', '/refresh'))
      }
      assert.equal((await browser.send('POST', '/logout')).status, 204, 'nothing is left to end')
    })

    test('parallel tabs that refresh at once stay logged in', async () => {
      const browser = await loggedIn()
      const tabs = Array.from({ length: 6 }, () => browser.copy().later())
      const answers = await Promise.all(tabs.map(tab => tab.send('POST', '/refresh')))
      assert.deepEqual(new Set(answers.map(a => a.status)), new Set([200]))
      assert.equal(new Set(tabs.map(tab => tab.jar.get('__Host-rescind-rt'))).size, 1)
      assert.equal((await tabs[3].send('GET', '/api/notes')).status, 200)
      assert.equal((await browser.send('GET', '/api/notes')).status, 200, 'a call under way with the old access token does not fail')
    })

    test('a tab that comes too late finds what the others have brought', async () => {
      const browser = await loggedIn()
      const slow = browser.copy().later()
      await browser.later().send('POST', '/refresh')
      const again = await browser.copy().send('POST', '/refresh')
      assert.equal(again.status, 200)
      assert.deepEqual(again.cookies, [], 'nothing is rotated twice at once')
      assert.ok(again.json.expires_in > 280 && again.json.expires_in <= 300)
      assert.equal((await slow.send('POST', '/refresh')).status, 200)
      assert.equal((await slow.send('GET', '/api/notes')).status, 200)
      assert.equal(slow.jar.get('__Host-rescind-rt'), browser.jar.get('__Host-rescind-rt'))
      const short = await loggedIn(app, { login: { expires_in: 2 } })
      await sleep(2100) // half of its life is the most that counts as new
      assert.equal((await short.send('POST', '/refresh')).cookies.length, 2)
      await short.send('POST', '/logout')
      is401(await short.copy().send('POST', '/refresh'), '')
    })

    test('a loser deletes nobody\'s cookies', async () => {
      const browser = await loggedIn()
      const late = browser.copy().later()
      await browser.later().send('POST', '/refresh')
      await browser.later().send('POST', '/refresh')
      const lost = await late.send('POST', '/refresh') // reuse
      is401(lost)
      assert.deepEqual(lost.cookies, [])
      const failed = await browser.send('GET', '/api/notes')
      is401(failed)
      assert.deepEqual(failed.cookies, [])
    })

    test('what a cookie opens is not kept, unless the handler says so', async () => {
      const browser = await loggedIn()
      assert.equal((await browser.send('GET', '/api/notes')).headers['cache-control'], 'no-store')
      assert.equal((await browser.send('GET', '/api/kept')).headers['cache-control'], 'private, max-age=60')
      const token = browser.jar.get('__Host-rescind-at')
      assert.equal((await send(app.url, 'GET', '/api/notes', { headers: bearer(token) })).headers['cache-control'], undefined)
    })
  })
}

test('a refresh that a logout overtakes installs no cookies', async () => {
  const held = {}
  // The real checks, of which one is held up before it asks, or after it has been answered.
  const checker = {
    async check(token, want) {
      const wait = async where => {
        if (want?.touch !== false || !held[where]) return
        held.reached()
        await held[where]
      }
      await wait('before')
      const access = await app.r.client.check(token, want)
      await wait('after')
      return access
    },
  }
  const app = await application(express5, { cookies: true, checker })
  try {
    for (const [where, logout] of [
      ['before', browser => browser.send('POST', '/logout')], // of this process
      ['after', browser => browser.send('POST', '/logout')],
      ['before', browser => app.r.client.logout(browser.jar.get('__Host-rescind-rt'))], // of another one
    ]) {
      const browser = new Browser(app.url)
      await browser.send('POST', '/login', { body: {} })
      let release
      held[where] = new Promise(resolve => { release = resolve })
      const reached = new Promise(resolve => { held.reached = resolve })
      const late = browser.copy().later().send('POST', '/refresh')
      await reached
      await logout(browser)
      release()
      delete held[where]
      const answer = await late
      is401(answer)
      assert.deepEqual(answer.cookies, [], where)
    }
    // Without a logout the same refresh brings them.
    const browser = new Browser(app.url)
    await browser.send('POST', '/login', { body: {} })
    assert.equal((await browser.later().send('POST', '/refresh')).cookies.length, 2)
  } finally { app.close() }
})

test('cookies: options', async () => {
  const app = await application(express5, { cookies: { refreshPath: '/auth', trustedOrigins: ['https://app.example.com'], afterLogout: '/bye', clearSiteData: true } }, (a, r) => {
    a.post('/auth/refresh', r.refresh())
  })
  const browser = new Browser(app.url)
  const login = await browser.send('POST', '/login', { body: {} })
  assert.match(login.cookies[1], /^__Secure-rescind-rt=\S+; Path=\/auth; .* Secure; SameSite=Strict$/)
  assert.equal((await browser.send('POST', '/auth/refresh', { headers: { 'sec-fetch-site': 'cross-site', origin: 'https://app.example.com' } })).status, 200)
  assert.equal((await browser.send('POST', '/auth/refresh', { headers: { 'sec-fetch-site': 'cross-site', origin: 'https://app.example.com:444' } })).status, 403)
  const out = await browser.send('POST', '/logout')
  assert.equal(out.status, 303)
  assert.equal(out.headers.location, '/bye')
  assert.equal(out.headers['clear-site-data'], '"cache", "storage"')
  assert.ok(out.cookies.some(c => c.startsWith('__Secure-rescind-rt=; Path=/auth; Max-Age=0')))
  assert.equal(browser.jar.size, 0)
  app.close()

  const loopback = await application(express5, { cookies: { insecureLoopback: true } })
  const developer = new Browser(loopback.url)
  const plain = await developer.send('POST', '/login', { body: {} })
  assert.match(plain.cookies[0], /^rescind-at=\S+; Path=\/; Max-Age=\d+; HttpOnly; SameSite=Lax$/)
  assert.equal((await developer.send('GET', '/api/notes')).status, 200)
  for (const headers of [{ host: 'notes.example.com' }, { host: '127.0.0.1.evil.example' }, { 'x-forwarded-host': 'notes.example.com' }, { origin: 'https://notes.example.com' }]) {
    for (const [method, path] of [['GET', '/api/notes'], ['POST', '/refresh'], ['POST', '/logout']]) is403(await developer.send(method, path, { headers }), 'insecure_host')
    assert.equal((await new Browser(loopback.url).send('POST', '/login', { body: {}, headers })).cookies.length, 0)
  }
  loopback.close()

  for (const cookies of [
    { refreshPath: 'auth' }, { refreshPath: '//evil' }, { refreshPath: '/a;b' }, { afterLogout: 'https://evil' }, { afterLogout: '//evil' }, { afterLogout: '/\\evil' },
    { trustedOrigins: ['https://a.example/'] }, { trustedOrigins: ['*'] }, { trustedOrigin: [] },
  ]) {
    assert.throws(() => rescind({ ...server.options, cookies }), InvalidError, JSON.stringify(cookies))
  }
})

test('a protection that was misunderstood is refused', async () => {
  const r = rescind(server.options)
  for (const need of [{ scopes: 'a' }, { scope: '' }, { scope: [] }, { scope: ['a', 7] }, { audience: '' }, 'a', null, { except: '/logout' }, { except: ['logout'] }, { except: ['/a?b'] }]) {
    assert.throws(() => r.requireToken(need), InvalidError, JSON.stringify(need))
  }
  assert.throws(() => rescind({ ...server.options, cookie: true }), InvalidError)
  await assert.rejects(r.login({}, { subject: 'ada' }), InvalidError)
  r.close()
})

test('Rescind stopped or frozen: 503 within the deadline, cookies stay, and it recovers by itself', async () => {
  const own = await Server.start()
  const heard = []
  const app = await application(express5, { ...own.options, cookies: true, timeout: 800, log: err => heard.push(err) })
  try {
    const browser = new Browser(app.url)
    await known(() => browser.send('POST', '/login', { body: {} }))
    const outage = async () => {
      const answers = await Promise.all([
        browser.send('GET', '/api/notes'), browser.send('POST', '/refresh'), browser.send('POST', '/logout'), browser.send('POST', '/logout-all'),
        send(app.url, 'GET', '/api/notes', { headers: bearer(browser.jar.get('__Host-rescind-at')) }),
      ])
      for (const answer of answers) is503(answer)
      const login = await send(app.url, 'POST', '/login', { body: {} })
      assert.equal(login.status, 503)
      assert.equal(login.headers['retry-after'], '1')
      assert.deepEqual(login.cookies, [])
    }
    await own.freeze()
    await outage()
    own.thaw()
    // What was asked of the frozen server it may do now, to all of ada's sessions: a 503 says that the outcome is unknown.
    await known(() => browser.send('POST', '/login', { body: { user: 'eve' } }))
    assert.equal((await known(() => browser.send('GET', '/api/notes'))).status, 200)
    await own.kill()
    await outage()
    is401(await send(app.url, 'GET', '/api/notes'), '') // this needs no server
    await own.up()
    assert.equal((await known(() => browser.send('GET', '/api/notes'))).status, 200)
    assert.equal((await known(() => browser.send('POST', '/logout'))).status, 204)
    assert.ok(heard.length > 0 && heard.every(err => err instanceof UnavailableError))
  } finally {
    app.close()
    await own.stop()
  }
})

test('what stays open can ask again', async () => {
  let asked
  const a = await application(express5, { timeout: 700, cookies: true }, (app, r) => {
    app.get('/open', r.requireToken(), (q, s) => { asked = needed => r.stands(q, needed); s.end() })
  })
  const browser = new Browser(a.url)
  await known(() => browser.send('POST', '/login', { body: {} }))
  await known(() => browser.send('GET', '/open'))
  assert.equal(await settled(() => asked()), true)
  assert.equal(await settled(() => asked({ scope: 'notes:delete' })), false)
  await server.freeze()
  await assert.rejects(asked(), UnavailableError)
  server.thaw()
  assert.equal(await settled(() => asked()), true)
  assert.equal((await known(() => browser.send('POST', '/logout'))).status, 204)
  assert.equal(await settled(() => asked()), false)
  a.close()
})

test('a wrong client secret logs nobody out', async () => {
  const good = await application(express5)
  const heard = []
  const app = await application(express5, { clientSecret: 'wrong'.repeat(8), log: err => heard.push(err) })
  const grant = (await send(good.url, 'POST', '/login', { body: {} })).json
  is503(await send(app.url, 'GET', '/api/notes', { headers: bearer(grant.access_token) }))
  is503(await send(app.url, 'POST', '/refresh', { body: { refresh_token: grant.refresh_token } }))
  assert.ok(heard.length === 2)
  assert.equal((await send(app.url, 'POST', '/login', { body: {} })).status, 500)
  good.close()
  app.close()
})

test('behind a guard in front of everything, what is excepted still logs in, refreshes and logs out', async () => {
  for (const express of [express5, express4]) {
    const r = rescind(server.options)
    const app = express()
    app.use(r.requireToken({ except: ['/auth/login', '/auth/refresh', '/auth/logout'] }))
    const auth = express.Router()
    auth.post('/login', (q, s, next) => { r.login(q, { subject: 'ada', expires_in: 1 }).then(g => s.json(g), next) })
    auth.post('/refresh', r.refresh())
    auth.all('/logout', r.logout())
    app.use('/auth', auth)
    app.all('/*rest'.slice(0, express === express5 ? 6 : 2), (q, s) => s.json('seen'))
    const listener = app.listen(0, '127.0.0.1')
    await once(listener, 'listening')
    const url = `http://127.0.0.1:${listener.address().port}`
    const { access_token: token, refresh_token } = (await send(url, 'POST', '/auth/login?next=/')).json
    assert.equal((await send(url, 'POST', '/auth/refresh', { body: { refresh_token } })).status, 200)
    await sleep(2100)
    for (const [method, path] of [
      ['GET', '/auth/logout'], ['POST', '/AUTH/logout'], ['POST', '/auth/logout/'], ['POST', '/auth//logout'], ['POST', '/auth/%6cogout'], ['POST', '/auth/logout/../../x'],
      ['POST', '/x?/auth/logout'], ['PUT', '/auth/login'], ['POST', '/x/auth/logout'],
    ]) {
      is401(await send(url, method, path, { headers: bearer(token) }))
    }
    assert.equal((await send(url, 'POST', '/auth/logout', { headers: bearer(token) })).status, 204)
    is401(await send(url, 'POST', '/auth/refresh', { body: { refresh_token } }))
    listener.close()
    r.close()
  }
})

test('an answer that came meanwhile is left alone', async () => {
  const silent = await raw(() => {})
  const app = await application(express5, { url: silent.url, timeout: 500, log: () => {} }, (a, r) => {
    a.get('/impatient', (q, s, next) => { setTimeout(() => s.status(504).end('too late'), 100); next() }, r.requireToken())
  })
  const answer = await send(app.url, 'GET', '/impatient', { headers: bearer('token') })
  assert.equal(answer.status, 504)
  await sleep(600)
  app.close()
  silent.close()
})
