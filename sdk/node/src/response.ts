import { CookieJar } from './cookies.js'

/** What is needed of a response. Those of node:http, Express and Fastify have it. */
interface NodeLike {
  headersSent: boolean
  writableEnded: boolean
  getHeader(name: string): unknown
  setHeader(name: string, value: string | string[]): unknown
  removeHeader(name: string): unknown
  once(event: 'close', listener: () => void): unknown
}

interface FastifyLike {
  raw: NodeLike
  sent: boolean
  header(name: string, value: unknown): unknown
  getHeader(name: string): unknown
  removeHeader(name: string): unknown
}

export type AnyResponse = object

/** A response of any of the frameworks. What comes after it has left is dropped. */
export class Response {
  readonly #node: NodeLike
  readonly #fastify: FastifyLike | undefined

  constructor(response: AnyResponse) {
    this.#fastify = isFastify(response) ? response : undefined
    this.#node = this.#fastify?.raw ?? response as NodeLike
  }

  get gone(): boolean { return this.#node.headersSent || this.#node.writableEnded }

  set(headers: Readonly<Record<string, string>>): void {
    if (this.gone) return
    for (const [name, value] of Object.entries(headers)) {
      if (this.#fastify) this.#fastify.header(name, value)
      else this.#node.setHeader(name, value)
    }
  }

  /** Adds Set-Cookie lines to those that are there. */
  addCookies(lines: string[]): void { this.#replaceCookies(there => [...there, ...lines]) }

  /** Takes cookies of ours out again. */
  dropCookies(): void { this.#replaceCookies(there => there.filter(c => !CookieJar.isOurs(c))) }

  onceDone(listener: () => void): void { this.#node.once('close', listener) }

  #replaceCookies(change: (there: string[]) => string[]): void {
    if (this.gone) return
    const headers = this.#fastify ?? this.#node
    const before = headers.getHeader('set-cookie')
    const there = Array.isArray(before) ? before.map(String) : before === undefined ? [] : [String(before)]
    const lines = change(there)
    headers.removeHeader('set-cookie') // Fastify would add to it
    if (lines.length === 0) return
    if (this.#fastify) this.#fastify.header('set-cookie', lines)
    else this.#node.setHeader('set-cookie', lines)
  }
}

export function isResponse(value: unknown): value is AnyResponse {
  return isFastify(value) || typeof value === 'object' && value !== null && typeof (value as Partial<NodeLike>).setHeader === 'function'
}

function isFastify(value: unknown): value is FastifyLike {
  const reply = value as Partial<FastifyLike> | null
  return typeof reply === 'object' && reply !== null && typeof reply.header === 'function' && typeof reply.raw === 'object'
}
