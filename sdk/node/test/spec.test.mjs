// The vectors about clients, which every language runs: spec/README.md has their format.
import assert from 'node:assert/strict'
import { once } from 'node:events'
import { readFileSync, readdirSync } from 'node:fs'
import { createServer } from 'node:http'
import { join } from 'node:path'
import { test } from 'node:test'
import { RescindError, rescind } from '@rescind/node'
import { patience } from './server.mjs'

const folder = join(import.meta.dirname, '..', '..', '..', 'spec')
const suites = readdirSync(folder).filter(f => f.endsWith('.json')).map(f => ({ file: f, ...JSON.parse(readFileSync(join(folder, f), 'utf8')) })).filter(s => s.kind === 'client')

const text = value => typeof value === 'string' ? value : Array.isArray(value) ? value.map(text).join('') : value.repeat[0].repeat(value.repeat[1])

/** What goes over the wire. */
function bytes({ raw, status = 200, headers = {}, twice = [], json, body, bytes: base64 = '', pad = 0 }) {
  if (raw !== undefined) return Buffer.from(text(raw))
  const said = Buffer.concat([
    Buffer.from(json === undefined ? '' : JSON.stringify(json)), Buffer.from(base64, 'base64'), Buffer.from(body === undefined ? '' : text(body)), Buffer.alloc(pad, ' '),
  ])
  const all = { 'Content-Type': 'application/json', 'Content-Length': said.length, Connection: 'close', ...headers }
  const lines = [...Object.entries(all).filter(([, value]) => value !== ''), ...twice].map(([name, value]) => `${name}: ${value}\r\n`)
  return Buffer.concat([Buffer.from(`HTTP/1.1 ${status} X\r\n${lines.join('')}\r\n`), said])
}

/** Answers in the server's place, always the same. */
async function impostor(reply) {
  const seen = { sent: 0, authorization: [] }
  const server = createServer((request, response) => {
    seen.sent++
    seen.authorization = request.headersDistinct.authorization ?? []
    const { socket } = response
    socket.on('error', () => {}) // clients that hang up are part of the test
    request.resume().on('end', () => {
      socket.write(bytes(reply))
      if (reply.end === 'drip') {
        const timer = setInterval(() => socket.write('1'), 50)
        socket.on('close', () => clearInterval(timer))
      } else if (reply.end !== 'hang') socket.end()
    })
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  return { seen, url: `http://127.0.0.1:${server.address().port}`, close: () => { server.closeAllConnections(); server.close() } }
}

const calls = {
  check: (c, v, token) => c.check(token, { ...v.want?.scope ? { scope: v.want.scope } : {}, ...v.want?.audience ? { audience: v.want.audience } : {}, anyAudience: v.want?.any_audience === true }),
  refresh: (c, v, token) => c.refresh(token),
  logout: (c, v, token) => c.logout(token),
  logout_refresh: (c, v, token) => c.logout(token),
  logout_all: (c, v, token) => c.logoutAll(token),
  login: c => c.login({ subject: 'ada' }),
  end_session: (c, v) => c.endSession(v.session === undefined ? 'BAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA' : text(v.session), 'ada'),
  list: c => c.sessions({ subject: 'ada' }),
}

function isAuthorized(want, got) {
  if (want === null) return assert.deepEqual(got, [])
  assert.equal(got.length, 1)
  if (typeof want === 'string') return assert.equal(got[0], want)
  const [, base64] = /^Basic ([A-Za-z0-9+/]+=*)$/.exec(got[0])
  const both = Buffer.from(base64, 'base64').toString()
  assert.match(both, /^[\w\-.~*%+:]*$/, 'what is left as it is has one meaning in every decoder')
  const decoded = part => decodeURIComponent(part.replaceAll('+', ' '))
  const at = both.indexOf(':')
  assert.deepEqual([decoded(both.slice(0, at)), decoded(both.slice(at + 1))], want)
}

async function run(suite, v, call) {
  const reply = typeof v.reply === 'string' ? suite.replies[v.reply] : v.reply
  const server = await impostor(reply)
  const { id = 'app', secret = 'secret', audience } = v.client ?? {}
  const c = rescind({ url: server.url, clientId: text(id), clientSecret: text(secret), timeout: reply.end ? 300 : patience, ...audience ? { audience } : {} })
  try {
    const began = performance.now()
    const token = v.token === undefined ? call === 'logout_refresh' ? 'rsr_token' : 'token' : text(v.token)
    let access
    const outcome = await calls[call](c, v, token).then(a => { access = a; return 'ok' }, err => err instanceof RescindError ? err.kind : String(err))
    assert.equal(outcome, v.outcome)
    if (reply.end) assert.ok(performance.now() - began < patience, 'took ' + (performance.now() - began))
    for (const [name, value] of Object.entries(v.access ?? {})) assert.deepEqual(access[name], value, name)
    if (v.sent !== undefined) assert.equal(server.seen.sent, v.sent)
    if (v.authorization !== undefined) isAuthorized(v.authorization, server.seen.authorization)
  } finally {
    c.close()
    server.close()
  }
}

let ran = 0
for (const suite of suites) {
  test(suite.file, { concurrency: 16 }, async t => {
    await Promise.all(suite.vectors.flatMap(v => (v.calls ?? ['check']).map(call => {
      ran++
      return t.test(`${v.name}/${call}`, () => run(suite, v, call))
    })))
  })
}
test('the vectors are there', () => assert.ok(ran > 150, String(ran)))
