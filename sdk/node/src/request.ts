import type { IncomingHttpHeaders } from 'node:http'
import type { Readable } from 'node:stream'
import type { DenialName } from './answers.js'
import { maxToken, wellFormed } from './values.js'

/** What is needed of a request. Those of node:http, Express and Fastify have it. */
export interface Request {
  method?: string | undefined
  headers: IncomingHttpHeaders
  rawHeaders?: string[]
  raw?: { rawHeaders?: string[] } // Fastify's request wraps that of node:http
  body?: unknown
  ip?: string | undefined
}

/** A token, or why there is none. */
export type Found = { token: string; denied?: undefined } | { denied: DenialName; token?: undefined }

/** Every value of a header, as they came: request.headers joins some and drops others. */
export function values(request: Request, name: string): string[] {
  const raw = request.rawHeaders ?? request.raw?.rawHeaders
  if (raw === undefined) {
    const value = request.headers[name]
    return value === undefined ? [] : Array.isArray(value) ? value : [value]
  }
  const found: string[] = []
  for (let i = 0; i + 1 < raw.length; i += 2) {
    if (raw[i]!.length === name.length && raw[i]!.toLowerCase() === name) found.push(raw[i + 1]!)
  }
  return found
}

export function header(request: Request, name: string): string {
  return values(request, name)[0] ?? ''
}

/**
 * Takes the token from the Authorization header: exactly one, and nowhere else.
 * Tokens in the query end up in logs and histories (RFC 6750 section 5.3, RFC 9700
 * section 4.3.2); here they are no credentials at all.
 */
export function bearer(request: Request): Found {
  const headers = values(request, 'authorization')
  if (headers.length === 0) return { denied: 'noCredentials' }
  if (headers.length > 1) return { denied: 'twoCredentials' }
  const [scheme] = headers[0]!.split(' ', 1)
  if (scheme!.toLowerCase() !== 'bearer') return { denied: 'noCredentials' } // another scheme is somebody else's business
  const token = headers[0]!.slice(scheme!.length).replace(/^ +| +$/g, '')
  if (!token) return { denied: 'noBearer' }
  if (/[ ,\t]/.test(token)) return { denied: 'twoCredentials' } // headers that a proxy has joined
  return wellFormed(token) ? { token } : { denied: 'invalidToken' }
}

/** Every cookie of a name. Two of one name have come from two places. */
export function cookies(request: Request, name: string): string[] {
  const found: string[] = []
  for (const line of values(request, 'cookie')) {
    for (const pair of line.split(';')) {
      const at = pair.indexOf('=')
      if (at > 0 && trimmed(pair.slice(0, at)) === name) found.push(trimmed(pair.slice(at + 1), /[ \t]+$/))
    }
  }
  return found
}

// Without spaces and tabs, and no more: trim() also takes off characters with which
// a sibling subdomain gets a name past the browser that looks like __Host- here.
function trimmed(text: string, of = /^[ \t]+|[ \t]+$/g): string { return text.replace(of, '') }

/** The value of a cookie that came exactly once. */
export function cookie(request: Request, name: string): Found {
  const found = cookies(request, name)
  if (found.length === 0 || found.length === 1 && found[0] === '') return { denied: 'noCredentials' }
  if (found.length > 1) return { denied: 'twoCredentials' }
  return wellFormed(found[0]) ? { token: found[0] } : { denied: 'invalidToken' }
}

const maxBody = maxToken + 1024

/**
 * The refresh token in a body, JSON or form, whether or not a parser has read it
 * already.
 */
export async function bodyToken(request: Request): Promise<Found> {
  let body = request.body
  if (body === undefined && isUnread(request)) {
    const text = await read(request)
    if (text === undefined) return { denied: 'badBody' }
    body = text
  }
  if (body instanceof Uint8Array) body = Buffer.from(body).toString('utf8')
  if (typeof body === 'string') {
    body = body.length > maxBody ? null : parse(body, header(request, 'content-type'))
    if (body === null) return { denied: 'badBody' }
  }
  if (body === undefined || body === null) return { denied: 'noCredentials' }
  if (typeof body !== 'object' || Array.isArray(body)) return { denied: 'badBody' }
  const token = Object.hasOwn(body, 'refresh_token') ? (body as { refresh_token: unknown }).refresh_token : undefined
  if (token === undefined || token === null || token === '') return { denied: 'noCredentials' }
  if (typeof token !== 'string') return { denied: 'badBody' }
  return wellFormed(token) ? { token } : { denied: 'invalidToken' }
}

function isUnread(request: Request): request is Request & Readable {
  const stream = request as Partial<Readable>
  return typeof stream.on === 'function' && stream.readableDidRead === false && !stream.destroyed
}

function read(stream: Readable): Promise<string | undefined> {
  return new Promise(resolve => {
    const chunks: Buffer[] = []
    let size = 0
    stream.on('data', (chunk: Buffer) => {
      size += chunk.length
      if (size <= maxBody) return chunks.push(chunk)
      chunks.length = 0
      resolve(undefined) // and the rest flows by
    })
    stream.on('end', () => resolve(Buffer.concat(chunks).toString('utf8')))
    stream.on('error', () => resolve(undefined))
    stream.on('close', () => resolve(undefined))
  })
}

function parse(text: string, contentType: string): unknown {
  const type = contentType.split(';', 1)[0]!.trim().toLowerCase()
  if (text.trim() === '') return undefined
  if (type === 'application/json') {
    try { return JSON.parse(text) } catch { return null }
  }
  if (type !== 'application/x-www-form-urlencoded') return null
  const found = new URLSearchParams(text).getAll('refresh_token')
  return { refresh_token: found.length > 1 ? found : found[0] }
}
