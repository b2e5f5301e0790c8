// Requests per second of a route: bare Express, the classic recipes with Redis, and Rescind, in one run.
// It needs wrk and redis-server in PATH and RESCIND_BIN: npm run bench -- [seconds] [rounds]
import { spawn, execFileSync } from 'node:child_process'
import { createSecretKey, randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import express from 'express'
import { expressjwt } from 'express-jwt'
import { Redis } from 'ioredis'
import jwt from 'jsonwebtoken'
import { rescind } from '@rescind/node/express'
import { Server } from './test/server.mjs'

const targets = {
  'Express, bare route': () => (q, s, next) => next(),
  'express-jwt HS256, no revocation check': ({ secret }) => expressjwt({ secret, algorithms: ['HS256'] }),
  'express-jwt HS256 + isRevoked in Redis, secret as text': ({ secret, redis }) => recipe(secret, redis),
  'express-jwt HS256 + isRevoked in Redis, secret as KeyObject': ({ secret, redis }) => recipe(createSecretKey(Buffer.from(secret)), redis),
  'Rescind, bearer token': ({ options }) => rescind(options).requireToken(),
  'Rescind, cookie': ({ options }) => rescind({ ...options, cookies: true }).requireToken(),
}

function recipe(secret, port) {
  const redis = new Redis(port, '127.0.0.1')
  return expressjwt({ secret, algorithms: ['HS256'], isRevoked: async (q, token) => await redis.exists('revoked:' + token.payload.jti) === 1 })
}

if (process.argv[2] === 'serve') {
  const app = express()
  app.get('/', targets[process.argv[3]](JSON.parse(process.argv[4])), (q, s) => s.json({ ok: true }))
  const listener = app.listen(0, '127.0.0.1', () => console.log(listener.address().port))
} else {
  await main(Number(process.argv[2] ?? 2), Number(process.argv[3] ?? 3))
}

async function main(seconds, rounds) {
  const dir = mkdtempSync(join(tmpdir(), 'rescind-node-bench-'))
  const redis = await freePort()
  const processes = [spawn('redis-server', ['--port', String(redis), '--bind', '127.0.0.1', '--save', '', '--appendonly', 'no', '--dir', dir], { stdio: 'ignore' })]
  const server = await Server.start()
  const client = rescind(server.options)
  try {
    const secret = randomBytes(32).toString('hex')
    const config = JSON.stringify({ secret, redis, options: server.options })
    const classic = jwt.sign({ sub: 'ada', jti: 'a1' }, secret, { expiresIn: '1h' })
    const { access_token: token } = await client.client.login({ subject: 'ada', expires_in: 3600 })
    const found = []
    for (const name of Object.keys(targets)) {
      const child = spawn(process.execPath, [import.meta.filename, 'serve', name, config], { stdio: ['ignore', 'pipe', 'inherit'], env: { ...process.env, NODE_ENV: 'production' } })
      processes.push(child)
      const [line] = await once(child.stdout, 'data')
      const header = name.endsWith('cookie') ? 'Cookie: __Host-rescind-at=' + token : 'Authorization: Bearer ' + (name.startsWith('Rescind') ? token : classic)
      found.push({ name, pid: child.pid, url: `http://127.0.0.1:${String(line).trim()}/`, header, runs: [], cpu: [] })
    }
    for (let round = 0; round < rounds; round++) {
      for (const t of found) { // one after another, so that a slow minute hits all of them
        const before = cpu(t.pid)
        const out = execFileSync('wrk', ['-t1', '-c64', `-d${seconds}s`, '--latency', '-H', t.header, t.url]).toString()
        if (/Non-2xx|Socket errors/.test(out)) throw new Error(t.name + '\n' + out)
        const n = Number(/(\d+) requests in/.exec(out)[1])
        t.runs.push({ rate: Number(/Requests\/sec:\s+([\d.]+)/.exec(out)[1]), p50: /50%\s+(\S+)/.exec(out)[1], p99: /99%\s+(\S+)/.exec(out)[1] })
        t.cpu.push((cpu(t.pid) - before) / n)
      }
    }
    const base = middle(found[0].runs).rate
    console.log(`node ${process.version}, express ${version('express')}, wrk -t1 -c64 -d${seconds}s, ${rounds} rounds, all on one machine; median [min-max]\n`)
    console.log('| route | req/s | ratio | p50 / p99 | CPU µs/req |\n|---|---|---|---|---|')
    for (const { name, runs, cpu } of found) {
      const m = middle(runs)
      const rates = runs.map(r => Math.round(r.rate))
      console.log(`| ${name} | ${Math.round(m.rate)} [${Math.min(...rates)}-${Math.max(...rates)}] | ${(m.rate / base).toFixed(2)} | ${m.p50} / ${m.p99} | ${Math.round(cpu.sort((a, b) => a - b)[cpu.length >> 1])} |`)
    }
  } finally {
    for (const p of processes) p.kill()
    client.close()
    await server.stop()
    rmSync(dir, { recursive: true, force: true })
  }
}

function middle(runs) { return [...runs].sort((a, b) => a.rate - b.rate)[runs.length >> 1] }

function version(name) { return JSON.parse(readFileSync(join(import.meta.dirname, 'node_modules', name, 'package.json'))).version }

// Processor time of a process in microseconds, at 100 ticks a second.
function cpu(pid) {
  const stat = `/proc/${pid}/stat`
  if (!existsSync(stat)) return NaN
  const fields = readFileSync(stat, 'utf8').split(') ')[1].split(' ')
  return (Number(fields[11]) + Number(fields[12])) * 10_000
}

async function freePort() {
  const probe = createServer().listen(0, '127.0.0.1')
  await once(probe, 'listening')
  const { port } = probe.address()
  probe.close()
  return port
}
