// Four processes of one application, as Node's cluster makes them.
import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { join } from 'node:path'
import { after, before, test } from 'node:test'
import { Browser, Server, bearer, known, patience, send } from './server.mjs'

const workers = 4
const timeout = 5000

let server, application, url
before(async () => {
  server = await Server.start()
  const { url: address, clientId, clientSecret } = server.options
  application = spawn(process.execPath, [join(import.meta.dirname, 'workers.mjs')], {
    stdio: ['pipe', 'pipe', 'inherit'],
    env: { ...process.env, WORKERS: workers, TIMEOUT: timeout, RESCIND_URL: address, RESCIND_CLIENT_ID: clientId, RESCIND_CLIENT_SECRET: clientSecret },
  })
  const [port] = await once(application.stdout, 'data')
  url = `http://127.0.0.1:${String(port).trim()}`
})
after(async () => {
  const exited = once(application, 'exit')
  application.stdin.end()
  await exited
  await server.stop()
})

const login = async user => (await send(url, 'POST', '/login', { body: { user } })).json
const me = token => send(url, 'GET', '/api/me', { headers: bearer(token) })
const refresh = token => send(url, 'POST', '/refresh', { body: { refresh_token: token } })
const logout = token => send(url, 'POST', '/logout', { headers: bearer(token) })

/** Asks, over new connections, until every worker has answered. */
async function everywhere(ask) {
  const answers = []
  for (let round = 0; round < 40; round++) {
    answers.push(...await Promise.all(Array.from({ length: 2 * workers }, ask)))
    const seen = new Set(answers.map(a => a.headers['x-worker']))
    assert.ok(seen.size <= workers, 'a worker was replaced')
    if (seen.size === workers) return answers
  }
  throw new Error('not every worker has answered')
}

const statuses = answers => [...new Set(answers.map(a => a.status))]
const pids = answers => [...new Set(answers.map(a => a.headers['x-worker']))].sort()

test('a logout in one process holds in all of them, at once', async () => {
  for (let i = 0; i < 3; i++) {
    const [grant, other] = [await login('ada'), await login('ada')]
    assert.deepEqual(statuses(await everywhere(() => me(grant.access_token))), [200])
    assert.equal((await logout(grant.access_token)).status, 204)
    assert.deepEqual(statuses(await everywhere(() => me(grant.access_token))), [401])
    assert.deepEqual(statuses(await everywhere(() => refresh(grant.refresh_token))), [401])
    assert.deepEqual(statuses(await everywhere(() => me(other.access_token))), [200])
    assert.equal((await send(url, 'POST', '/logout-all', { headers: bearer(other.access_token) })).status, 204)
    assert.deepEqual(statuses(await everywhere(() => me(other.access_token))), [401])
  }
})

test('refreshes in all processes at once get one successor', async () => {
  const grant = await login('ada')
  const answers = await everywhere(() => refresh(grant.refresh_token))
  assert.deepEqual(statuses(answers), [200])
  assert.equal(new Set(answers.map(a => a.json.refresh_token)).size, 1)
})

test('whatever process a logout overtakes a refresh in, the browser is left with nothing that works', async () => {
  for (let i = 0; i < 10; i++) {
    const browser = new Browser(url)
    await browser.send('POST', '/login', { body: { user: 'ada', cookies: true } })
    const thief = browser.copy()
    const tabs = Array.from({ length: 4 }, () => browser.copy())
    const [out] = await Promise.all([browser.send('POST', '/logout'), ...tabs.map(tab => tab.send('POST', '/refresh'))])
    assert.equal(out.status, 204)
    for (const tab of [browser, thief, ...tabs]) {
      assert.equal((await tab.send('GET', '/api/me')).status, 401)
      assert.equal((await tab.send('POST', '/refresh')).status, 401)
    }
  }
})

test('an outage is 503 in time in every process, and over without a restart', async () => {
  const [stays, goes] = [await login('ada'), await login('ada')]
  const before = pids(await everywhere(() => me(stays.access_token)))
  const unavailable = async () => {
    const all = await Promise.all([everywhere(() => me(stays.access_token)), everywhere(() => refresh(stays.refresh_token)), everywhere(() => logout(goes.access_token))])
    for (const answer of all.flat()) {
      assert.equal(answer.status, 503)
      assert.equal(answer.headers['retry-after'], '1')
      assert.ok(answer.ms < timeout + patience, `${answer.ms} ms`)
    }
  }
  for (const [down, up] of [[() => server.freeze(), () => server.thaw()], [() => server.kill(), () => server.up()]]) {
    await down()
    await unavailable()
    await up()
    const answers = await everywhere(() => known(() => me(stays.access_token)))
    assert.deepEqual(statuses(answers), [200])
    assert.deepEqual(pids(answers), before)
  }
  assert.equal((await logout(goes.access_token)).status, 204)
  assert.deepEqual(statuses(await everywhere(() => me(goes.access_token))), [401])
})
