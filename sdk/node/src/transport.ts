import { isUtf8 } from 'node:buffer'
import * as http from 'node:http'
import * as https from 'node:https'
import { isIP } from 'node:net'
import { InvalidError } from './errors.js'

/** One call on its way to the server. */
export interface Call {
  method: 'GET' | 'POST' | 'DELETE'
  path: string
  body?: string
  type?: 'application/json' | 'application/x-www-form-urlencoded'
  authorization?: string
  once?: boolean // to send it twice is not the same as once
  limit?: number // of the answer, in bytes
}

/** A whole answer. */
export interface Reply {
  status: number
  type: string // media type, without parameters
  challenge: string
  body: string
}

const maxReply = 256 << 10
const maxHeader = 32 << 10
const maxSockets = 256

/** No answer, for a reason that says nothing but that. */
export class NoAnswer extends Error {
  // sent: whether anything of the request may have reached the server.
  constructor(message: string, readonly again: boolean, readonly sent: boolean, cause?: unknown) { super(message, { cause }) }
}

/**
 * Connections to one server, kept alive. Redirects are not followed: they would
 * carry the token to whoever they name.
 */
export class Transport {
  readonly base: string
  readonly #to: http.RequestOptions
  readonly #prefix: string // in front of every path
  readonly #own: boolean
  readonly #agent: http.Agent
  readonly #request: typeof http.request
  readonly #timeout: number

  constructor(address: string, timeout: number, allowHttp: boolean, agent: http.Agent | undefined) {
    let url: URL
    try { url = new URL(address) } catch { throw new InvalidError('url is an address as in https://rescind.example.com') }
    if (url.protocol !== 'https:' && url.protocol !== 'http:') throw new InvalidError('url is an address as in https://rescind.example.com')
    if (url.username || url.password || url.search || url.hash) throw new InvalidError('url has no user, query or fragment: the secret has its own place')
    if (url.protocol === 'http:' && !allowHttp && !isLoopback(url.hostname)) {
      throw new InvalidError('http:// to a host that is not loopback shows secrets and tokens to everybody on the way: use https://, or allowHttp')
    }
    const kind = url.protocol === 'https:' ? https : http
    this.#prefix = url.pathname.replace(/\/+$/, '')
    this.#request = kind.request
    this.#own = agent === undefined
    this.#agent = agent ?? new kind.Agent({ keepAlive: true, maxSockets, maxFreeSockets: maxSockets, timeout: 60_000 })
    this.#timeout = timeout
    this.#to = { protocol: url.protocol, hostname: url.hostname.replace(/^\[|\]$/g, ''), port: url.port, agent: this.#agent, maxHeaderSize: maxHeader }
    this.base = url.origin + this.#prefix
  }

  /**
   * Makes a call and returns the answer, whatever it says; else NoAnswer, within
   * the time-out. It is sent a second time if its connection broke, which a
   * connection that was kept alive may do at any time, or if connecting and
   * sending took half of the time.
   */
  async send(call: Call): Promise<Reply> {
    const deadline = performance.now() + this.#timeout
    try {
      return await this.#attempt(call, this.#timeout, this.#timeout / 2)
    } catch (err) {
      const left = deadline - performance.now()
      if (!(err instanceof NoAnswer) || !err.again || call.once && err.sent || left < 1) throw err
      return await this.#attempt(call, left, left)
    }
  }

  close(): void {
    if (this.#own) this.#agent.destroy()
  }

  #attempt(call: Call, timeout: number, sending: number): Promise<Reply> {
    return new Promise((resolve, reject) => {
      const headers: http.OutgoingHttpHeaders = { accept: 'application/json', 'user-agent': 'rescind-node' }
      if (call.authorization) headers.authorization = call.authorization
      if (call.body !== undefined) {
        headers['content-type'] = call.type
        headers['content-length'] = Buffer.byteLength(call.body)
      }
      const request = this.#request({ ...this.#to, method: call.method, path: this.#prefix + call.path, headers })
      let settled = false
      let sent = false
      let written = false
      let early: NodeJS.Timeout | undefined
      const timer = setTimeout(() => {
        this.#forgetIdle()
        fail(`no answer within ${Math.round(this.#timeout)} ms`, false)
      }, timeout)
      const done = (): void => {
        settled = true
        clearTimeout(timer)
        clearTimeout(early)
      }
      const fail = (why: string, again: boolean, cause?: unknown): void => {
        if (settled) return // the connection may be somebody else's by now
        done()
        reject(new NoAnswer(why, again, sent, cause))
        request.destroy()
      }
      // Its time begins when it is this call's turn to use a connection.
      request.on('socket', socket => {
        sent = !socket.connecting
        if (!sent) socket.once('encrypted' in socket ? 'secureConnect' : 'connect', () => { sent = true })
        // What was done while this process was busy is looked at before it is judged.
        if (!settled) early = setTimeout(() => setImmediate(() => { if (!written) fail('the request could not be sent in time', true) }), sending)
      })
      request.on('finish', () => {
        written = true
        clearTimeout(early)
      })
      request.on('error', (err: NodeJS.ErrnoException) => {
        const dialling = err.syscall === 'connect' || err.syscall === 'getaddrinfo'
        fail(err.code ?? 'the connection failed', !dialling, err)
      })
      request.on('close', () => fail('the connection was closed', true))
      request.on('response', response => {
        const chunks: Buffer[] = []
        let size = 0
        response.on('data', (chunk: Buffer) => {
          size += chunk.length
          if (size > (call.limit ?? maxReply)) fail('the answer is too long', false)
          else chunks.push(chunk)
        })
        response.on('error', (err: NodeJS.ErrnoException) => fail(err.code ?? 'the answer was cut short', true, err))
        response.on('end', () => {
          if (!response.complete) return fail('the answer was cut short', true)
          const body = chunks.length === 1 ? chunks[0]! : Buffer.concat(chunks)
          if (!isUtf8(body)) return fail('the answer is not text', false)
          if (settled) return
          done()
          resolve({
            status: response.statusCode ?? 0,
            type: mediaType(response.headersDistinct['content-type']),
            challenge: response.headers['www-authenticate'] ?? '',
            body: body.toString('utf8'),
          })
        })
      })
      request.end(call.body)
    })
  }

  // Where one connection is silent, those beside it may be dead too, and each of
  // them would cost a request its whole time-out.
  #forgetIdle(): void {
    if (!this.#own) return
    for (const sockets of Object.values(this.#agent.freeSockets)) {
      for (const socket of [...sockets ?? []]) socket.destroy()
    }
  }
}

// The type of an answer that has one: of two, nobody knows which is the server's.
function mediaType(types: string[] | undefined): string {
  return types?.length === 1 ? types[0]!.split(';', 1)[0]!.trim().toLowerCase() : ''
}

/** Whether a host, with or without a port, can only be this machine. */
export function isLoopback(hostport: string): boolean {
  let host = hostport.trim().toLowerCase()
  if (host.startsWith('[')) host = host.slice(1).split(']', 1)[0]!
  else if (isIP(host) !== 6) host = host.replace(/:\d*$/, '')
  host = host.replace(/\.$/, '')
  if (host === 'localhost' || host.endsWith('.localhost')) return true
  return isIP(host) === 4 ? host.startsWith('127.') : isIP(host) === 6 && (host === '::1' || /^::ffff:127\.\d+\.\d+\.\d+$/.test(host))
}
