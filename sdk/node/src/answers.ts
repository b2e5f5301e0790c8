import { retryAfter } from './errors.js'

/** What is answered to a request, by the guard itself. */
export interface Answer {
  readonly status: number
  readonly headers: Readonly<Record<string, string>>
  readonly body?: object
}

interface Denial { status: number; code: string; about: string; challenge: boolean }

const bearer = (status: number, code: string, about: string): Denial => ({ status, code, about, challenge: true })
const other = (status: number, code: string, about: string): Denial => ({ status, code, about, challenge: false })

/** All denials. Those with a challenge are about the credentials. */
export const denials = {
  // Without credentials there is no error code (RFC 6750 section 3.1).
  noCredentials: bearer(401, '', ''),
  invalidToken: bearer(401, 'invalid_token', 'the token is expired, revoked or malformed'),
  insufficientScope: bearer(403, 'insufficient_scope', 'the token lacks a scope that this needs'),
  twoCredentials: bearer(400, 'invalid_request', 'one credential is needed, more than one was sent'),
  noBearer: bearer(400, 'invalid_request', 'the Authorization header holds no bearer token'),

  badBody: other(400, 'invalid_request', 'the body is no JSON object or form with a refresh_token, or is too long'),
  forbidden: other(403, 'forbidden', 'this is not allowed'),
  crossOrigin: other(403, 'cross_origin', 'the request comes from another origin'),
  insecureHost: other(403, 'insecure_host', 'cookies without protection are for loopback addresses only'),
  onlyPost: other(405, 'method_not_allowed', 'use POST'),
  unavailable: other(503, 'temporarily_unavailable', 'the state of the token could not be known; try again'),
  cookieTooLong: other(500, 'server_error', 'the token is too long for a cookie'),
} satisfies Record<string, Denial>

export type DenialName = keyof typeof denials

/** A small JSON object that no cache may keep. The scope stands in the challenge of insufficientScope. */
export function deny(name: DenialName, realm: string, scope = ''): Answer {
  const d: Denial = denials[name]
  const headers: Record<string, string> = { ...noStore }
  if (d.challenge) {
    let challenge = `Bearer realm="${realm}"`
    if (d.code) challenge += `, error="${d.code}", error_description="${d.about}"`
    if (name === 'insufficientScope') challenge += `, scope="${quotable(scope)}"`
    headers['WWW-Authenticate'] = challenge
  }
  if (name === 'unavailable') headers['Retry-After'] = retryAfter
  if (name === 'onlyPost') headers.Allow = 'POST'
  return { status: d.status, headers, body: { status: d.status, ...(d.code ? { error: d.code, error_description: d.about } : {}) } }
}

export const noStore = { 'Cache-Control': 'no-store', 'X-Content-Type-Options': 'nosniff' } as const

/** Drops what may not stand in the attributes of a challenge (RFC 6750 section 3). */
export function quotable(text: string): string { return text.replace(/[^ !#-[\]-~]/g, '') }
