// A real server for tests: rescind serve on loopback, with data in a temporary folder.
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, mkdtempSync, readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs'
import * as http from 'node:http'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'

export const audience = 'notes'

/** Longer than a busy machine ever takes, in milliseconds: what takes longer hangs. */
export const patience = 30_000

/**
 * Asks until the answer is a certain one. A deadline that is short enough for a test
 * of an outage may pass on a busy machine too, and then nobody knows; what the answer
 * is when somebody does is what counts.
 */
export async function known(ask) {
  for (const end = performance.now() + patience; ;) {
    const answer = await ask()
    if (answer.status !== 503 || performance.now() > end) return answer
  }
}

/** The same for calls of a client, whose errors have the status. */
export async function settled(call) {
  for (const end = performance.now() + patience; ;) {
    try {
      return await call()
    } catch (err) {
      if (err.status !== 503 || performance.now() > end) throw err
    }
  }
}

export class Server {
  static async start(config = '', env = {}) {
    const server = new Server()
    server.env = { PATH: process.env.PATH, ...env }
    server.dir = mkdtempSync(join(tmpdir(), 'rescind-node-'))
    writeFileSync(join(server.dir, 'rescind.yaml'), 'store: pebble:./rescind-data\n' + config)
    // A port that no system hands out by itself: while this server is down nobody takes it.
    for (let again = true; again;) {
      again = await server.up(`127.0.0.1:${10_000 + Math.floor(Math.random() * 20_000)}`).then(() => false, err => {
        if (!/address already in use/.test(err.message)) throw err
        return true
      })
    }
    const secret = name => readFileSync(join(server.dir, 'rescind-data.keys', name + '.secret'), 'utf8').trim()
    server.options = { url: server.url, clientId: 'app', clientSecret: secret('app'), audience, timeout: patience }
    server.admin = { url: server.url, clientId: 'admin', clientSecret: secret('admin'), audience, timeout: patience }
    return server
  }

  async up(listen = new URL(this.url).host) {
    const binary = process.env.RESCIND_BIN
    if (!binary) throw new Error('RESCIND_BIN is not set: run npm test')
    this.process = spawn(binary, ['serve', '--config', 'rescind.yaml', '--listen', listen, '--audience', audience], {
      cwd: this.dir, stdio: ['ignore', 'pipe', 'pipe'], env: this.env,
    })
    let log = ''
    this.process.stderr.on('data', chunk => { log += chunk })
    this.exited = once(this.process, 'close')
    for await (const line of createInterface(this.process.stdout)) {
      const ready = /^rescind is ready at (\S+)$/.exec(line)
      if (ready) {
        this.url = ready[1]
        this.process.stdout.resume()
        return
      }
    }
    await this.exited
    throw new Error('the server did not start: ' + log)
  }

  /** Returns when every thread has stopped: a signal takes its time. */
  async freeze() {
    this.process.kill('SIGSTOP')
    const tasks = `/proc/${this.process.pid}/task`
    const stopped = id => {
      try {
        return /^State:\s+T/m.test(readFileSync(`${tasks}/${id}/status`, 'utf8'))
      } catch {
        return false // a thread that has just ended
      }
    }
    do await sleep(50); while (existsSync(tasks) && !readdirSync(tasks).every(stopped))
  }

  thaw() { this.process.kill('SIGCONT') }

  async kill() {
    this.process.kill('SIGKILL')
    await this.exited
  }

  async stop() {
    if (this.process.exitCode === null && this.process.signalCode === null) await this.kill()
    rmSync(this.dir, { recursive: true, force: true })
  }
}

/** One request with exactly these headers, and its whole answer. */
export function send(base, method, path, { headers = {}, body } = {}) {
  return new Promise((resolve, reject) => {
    const payload = body === undefined ? undefined : typeof body === 'string' ? body : JSON.stringify(body)
    const all = { connection: 'close', ...headers }
    if (payload !== undefined) {
      all['content-type'] ??= 'application/json'
      all['content-length'] = Buffer.byteLength(payload)
    }
    const started = performance.now()
    const request = http.request(new URL(path, base), { method, headers: all, agent: false }, response => {
      const chunks = []
      response.on('data', chunk => chunks.push(chunk))
      response.on('error', reject)
      response.on('end', () => {
        const text = Buffer.concat(chunks).toString()
        let json
        try { json = JSON.parse(text) } catch { json = undefined }
        resolve({
          status: response.statusCode, headers: response.headers, text, json, ms: performance.now() - started,
          cookies: response.headers['set-cookie'] ?? [],
        })
      })
    })
    request.on('error', reject)
    request.end(payload)
  })
}

export const bearer = token => ({ authorization: 'Bearer ' + token })

/** The browser's memory: cookies by name, as Set-Cookie changes them. */
export class Browser {
  constructor(base) {
    this.base = base
    this.jar = new Map()
  }

  async send(method, path, { headers = {}, body } = {}) {
    const cookie = [...this.jar].map(([name, value]) => `${name}=${value}`).join('; ')
    const answer = await send(this.base, method, path, { headers: { 'sec-fetch-site': 'same-origin', ...(cookie ? { cookie } : {}), ...headers }, body })
    this.take(answer)
    return answer
  }

  take(answer) {
    for (const line of answer.cookies) {
      const [pair, ...attributes] = line.split('; ')
      const [name, value] = pair.split('=')
      if (attributes.includes('Max-Age=0')) this.jar.delete(name)
      else this.jar.set(name, value)
    }
  }

  copy() {
    const other = new Browser(this.base)
    other.jar = new Map(this.jar)
    return other
  }

  /** As it is when its access token is no longer new. */
  later() {
    this.jar.delete('__Host-rescind-at')
    return this
  }
}

/** A server that writes raw bytes, for answers that no real one gives. write may be a function of the socket. */
export async function raw(write) {
  const seen = { requests: 0, connections: 0 }
  const sockets = new Set()
  const server = createServer(socket => {
    seen.connections++
    sockets.add(socket)
    socket.on('error', () => {}) // clients that hang up are part of the test
    socket.on('data', data => {
      const requests = data.toString('latin1').split(/^(?:GET|POST|DELETE) /m).length - 1
      for (let i = 0; i < requests; i++) {
        seen.requests++
        if (typeof write === 'function') write(socket, seen)
        else socket.write(write)
      }
    })
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  return {
    seen, url: `http://127.0.0.1:${server.address().port}`,
    close: () => { for (const s of sockets) s.destroy(); server.close() },
  }
}

export function reply(status, type, body, more = '') {
  return `HTTP/1.1 ${status} X\r\nContent-Type: ${type}\r\nContent-Length: ${Buffer.byteLength(body)}\r\n${more}\r\n${body}`
}

export const sleep = ms => new Promise(resolve => setTimeout(resolve, ms))
