import type { Agent } from 'node:http'
import { inspect } from 'node:util'
import {
  ConflictError, ForbiddenError, ForeignError, InactiveError, InvalidError, LimitError, NotFoundError, RescindError, ScopeError, UnavailableError, onlyKnown,
} from './errors.js'
import { type Call, NoAnswer, type Reply, Transport } from './transport.js'
import {
  type Access, type Checker, type Grant, type Login, type Receipt, type Revocation, type Session, type SessionPage, type SessionQuery, type Sessions,
  type Want, isSessionId, isTokenId, list, veiled, wellFormed, words,
} from './values.js'

/** Which server to call, and as whom. */
export interface ClientOptions {
  /** As in https://rescind.example.com; default: RESCIND_URL. */
  url?: string
  /** Default: RESCIND_CLIENT_ID. */
  clientId?: string
  /** Default: RESCIND_CLIENT_SECRET. */
  clientSecret?: string
  /**
   * The audience of logins and checks that name none. Without it, it is the
   * server's own for logins, and any that this client is registered with for checks.
   */
  audience?: string | readonly string[]
  /** Of a whole call, in milliseconds; default 2000. Half of it at most goes into connecting and sending, so that there is time for a second attempt. */
  timeout?: number
  /** Makes the connections: a private CA, a proxy. It should keep them alive. */
  agent?: Agent
  /** Permits http:// to hosts other than loopback ones: everybody on the way can then read secrets and tokens. */
  allowHttp?: boolean
}

export const clientOptions = ['url', 'clientId', 'clientSecret', 'audience', 'timeout', 'agent', 'allowHttp'] as const

const defaultTimeout = 2000
const maxPage = 16 << 20 // bytes: at most 1000 sessions, each with claims and tokens
const loginMembers = ['subject', 'client_id', 'audience', 'scope', 'claims', 'device', 'expires_in', 'session_expires_in', 'idle_timeout', 'replaces']
const revocationMembers = ['token', 'session', 'subject', 'except_session', 'client', 'key', 'all', 'reason', 'dry_run']
const refreshPrefix = 'rsr_' // of refresh tokens: they are presented differently
const form = 'application/x-www-form-urlencoded'

const logoutPath = '/v1/logout'

/** How often a "my devices" list turns the page. */
const maxPages = 100

/**
 * The client of one Rescind server. An answer counts only if it is exactly what
 * the server promises: status, content type and members. Everything else (no
 * connection, a time-out, a redirect, a proxy's page, 429, any 5xx) is
 * {@link UnavailableError}. So a token is inactive only if the server said so, and a
 * session has ended only if there is a receipt.
 *
 * A call whose connection breaks is sent once more within the same time-out,
 * where that does no harm: checks, lists, endings, and refreshes, which get the
 * same successor again inside the grace window; logins are not.
 */
export class Client implements Checker, Sessions {
  readonly #transport: Transport
  readonly #id: string
  readonly #secret: string
  readonly #basic: string
  readonly #audience: readonly string[]

  constructor(options: ClientOptions = {}) {
    onlyKnown('rescind', options, clientOptions)
    const url = options.url ?? process.env.RESCIND_URL ?? ''
    const timeout = options.timeout ?? defaultTimeout
    this.#id = options.clientId ?? process.env.RESCIND_CLIENT_ID ?? ''
    this.#secret = options.clientSecret ?? process.env.RESCIND_CLIENT_SECRET ?? ''
    this.#audience = list(options.audience)
    if (!url) throw new InvalidError('no server: set url or RESCIND_URL')
    if (!this.#id) throw new InvalidError('no client: set clientId or RESCIND_CLIENT_ID')
    if (!this.#secret) throw new InvalidError('no secret: set clientSecret or RESCIND_CLIENT_SECRET')
    if (!(timeout > 0 && timeout <= 600_000)) throw new InvalidError('timeout is a number of milliseconds, more than 0 and at most 600000')
    this.#transport = new Transport(url, timeout, options.allowHttp === true, options.agent)
    // Both parts are form-encoded first (RFC 6749 section 2.3.1).
    this.#basic = 'Basic ' + Buffer.from(`${encoded(this.#id)}:${encoded(this.#secret)}`).toString('base64')
  }

  /** Closes the connections. Calls under way fail. */
  close(): void { this.#transport.close() }

  toString(): string { return `rescind client ${this.#id} of ${this.#transport.base}` }
  toJSON(): string { return this.toString() }
  [inspect.custom](): string { return this.toString() }

  /**
   * Says whether an access token stands, now, by introspection (RFC 7662). It
   * needs the role introspect or guard. {@link InactiveError} comes from a 200 that
   * says so, or that is about another kind of token or audience, and from nothing
   * else; that the server refuses this client is {@link UnavailableError}, for it
   * says nothing about the token.
   */
  async check(token: string, want: Want = {}): Promise<Access> {
    if (!wellFormed(token)) throw new InactiveError('the token is malformed')
    const path = '/oauth/introspect'
    const body = 'token=' + encodeURIComponent(token) + (want.touch === false ? '&touch=false' : '')
    let said: Record<string, unknown>
    try {
      said = await this.#fetch({ method: 'POST', path, body, type: form, authorization: this.#basic }, 200, token)
    } catch (err) {
      if (err instanceof UnavailableError) throw err
      throw new UnavailableError(err instanceof Error ? err.message : path, { cause: err })
    }
    if (said.active === false) throw new InactiveError()
    if (said.active !== true) throw unknown(path, 'the answer does not say whether the token is active')
    // A refresh token is active too, to its own client, and has no token_type.
    if (said.token_type === undefined) throw new InactiveError('the token is no access token')
    const access = readAccess(said)
    if (!access) throw unknown(path, 'the answer lacks something, or has it in another form')
    const audience = want.audience === undefined ? this.#audience : list(want.audience)
    if (!want.anyAudience && audience.length > 0 && !audience.some(a => access.audience.includes(a))) {
      throw new InactiveError('the token is meant for another audience')
    }
    const have = words(access.scope)
    if (!words(want.scope).every(word => have.includes(word))) throw new ScopeError()
    return access
  }

  /**
   * Records a new session and returns its tokens. It needs the role issue. After
   * {@link UnavailableError} there may be a session whose tokens nobody has; it ends
   * with its idle time-out.
   */
  async login(login: Login): Promise<Grant> {
    onlyKnown('login', login, loginMembers)
    if (typeof login.subject !== 'string' || !login.subject) throw new InvalidError('login: subject is missing')
    const path = '/v1/sessions'
    const audience = login.audience ?? (this.#audience.length > 0 ? this.#audience : undefined)
    return granted(path, await this.#fetch(this.#json('POST', path, { ...login, audience }, { once: true }), 201))
  }

  /**
   * Rotates a refresh token (RFC 6749 section 6). {@link InactiveError}: it will never
   * work again, whatever the reason. scope narrows the one access token.
   */
  async refresh(refreshToken: string, options: { scope?: string } = {}): Promise<Grant> {
    if (!wellFormed(refreshToken)) throw new InactiveError('the token is malformed')
    const path = '/oauth/token'
    const body = new URLSearchParams({ grant_type: 'refresh_token', refresh_token: refreshToken })
    if (options.scope) body.set('scope', options.scope)
    return granted(path, await this.#fetch({ method: 'POST', path, body: body.toString(), type: form, authorization: this.#basic }, 200, refreshToken))
  }

  /**
   * Ends the session that a token belongs to, be it an access token, expired or
   * not, or a refresh token of any generation. When it returns, no check passes
   * any more. {@link InactiveError}: the token is forged.
   */
  logout(token: string): Promise<Receipt> { return this.#logout(token, false) }

  /** Ends every session of the token's subject. {@link InactiveError}: the token does not stand. */
  logoutAll(token: string): Promise<Receipt> { return this.#logout(token, true) }

  async #logout(token: string, all: boolean): Promise<Receipt> {
    if (!wellFormed(token)) throw new InactiveError('the token is malformed')
    const body: Record<string, unknown> = all ? { all } : {}
    const refresh = token.startsWith(refreshPrefix)
    if (refresh) body.refresh_token = token
    return this.#receipt(this.#json('POST', logoutPath, body, { authorization: refresh ? '' : 'Bearer ' + token }), token)
  }

  /** One page of sessions, of this client's. It needs the role issue. */
  async sessions(query: SessionQuery = {}): Promise<SessionPage> {
    onlyKnown('sessions', query, ['subject', 'client_id', 'state', 'after', 'limit'])
    const search = new URLSearchParams()
    for (const [name, value] of Object.entries(query)) {
      if (value !== undefined) search.set(name, String(value))
    }
    const path = '/v1/sessions'
    const page = await this.#fetch({ method: 'GET', path: `${path}?${search}`, authorization: this.#basic, limit: maxPage }, 200)
    if (!Array.isArray(page.sessions) || page.next !== undefined && typeof page.next !== 'string') throw unknown(path, 'the answer is no page')
    return page as unknown as SessionPage
  }

  /** "My devices": the active sessions of a subject, limit (default 100) at most. */
  async devices(subject: string, limit = 100): Promise<Session[]> {
    if (!subject) throw new InvalidError('devices: subject is missing')
    const found: Session[] = []
    let after: string | undefined
    for (let page = 0; page < maxPages && found.length < limit; page++) {
      const { sessions, next } = await this.sessions({ subject, state: 'active', ...(after ? { after } : {}) })
      found.push(...sessions)
      if (!next) return found.slice(0, limit)
      after = next
    }
    return found.slice(0, limit)
  }

  /**
   * Ends one session of a subject: that of the user who asks, because session ids
   * come from the browser. {@link NotFoundError} if it is not that subject's.
   */
  async endSession(session: string, subject: string): Promise<Receipt> {
    if (!subject) throw new InvalidError('endSession: subject is missing')
    if (!isSessionId(session)) throw new NotFoundError('no such session')
    const path = `/v1/sessions/${session}?subject=${encodeURIComponent(subject)}`
    const receipt = await this.#receipt({ method: 'DELETE', path, authorization: this.#basic })
    if (receipt.session !== session) throw unknown('/v1/sessions', 'the receipt is for something else')
    return receipt
  }

  /**
   * Ends what the selector names. Tokens and sessions of its own client need the
   * role issue, others and subjects the role revoke, the rest admin.
   */
  async revoke(revocation: Revocation): Promise<Receipt> {
    onlyKnown('revoke', revocation, revocationMembers)
    return this.#receipt(this.#json('POST', '/v1/revocations', revocation), revocation.token, revocation.dry_run ?? false)
  }

  /** Returns when the server and its store answer; else {@link UnavailableError}. */
  async ready(): Promise<void> {
    const said = await this.#fetch({ method: 'GET', path: '/readyz' }, 200)
    if (said.status !== 'ready') throw unknown('/readyz', 'the server does not say that it is ready')
  }

  #json(method: 'POST', path: string, body: object, more: Partial<Call> = {}): Call {
    return { method, path, type: 'application/json', body: JSON.stringify(body), authorization: this.#basic, ...more }
  }

  // Without a receipt that names the ledger's epoch nothing has been promised.
  async #receipt(call: Call, token?: string, dryRun = false): Promise<Receipt> {
    const r = await this.#fetch(call, 200, token)
    const { position, epoch, changed, session = '', dry_run = false } = r
    if (!isCount(position) || typeof epoch !== 'string' || !epoch || typeof changed !== 'boolean' || typeof session !== 'string' || dry_run !== dryRun) {
      throw unknown(call.path, 'the answer is no receipt')
    }
    return r as unknown as Receipt
  }

  // The only way to an error other than UnavailableError.
  async #fetch(call: Call, status: number, token?: string): Promise<Record<string, unknown>> {
    let reply: Reply
    try {
      reply = await this.#transport.send(call)
    } catch (err) {
      if (err instanceof NoAnswer) throw unknown(call.path, err.message, err.cause)
      throw unknown(call.path, 'the request could not be sent', err)
    }
    if (reply.status !== status) throw this.#refusal(call, reply, token)
    if (reply.type !== 'application/json') throw unknown(call.path, 'the answer is no JSON')
    const said = parse(reply.body)
    if (!said) throw unknown(call.path, 'the answer is not what it should be')
    return said
  }

  // Only the server's own refusals count; a proxy in front of it can answer 401 or
  // 404 too, and knows nothing about tokens.
  #refusal(call: Call, reply: Reply, token: string | undefined): RescindError {
    const said = parse(reply.body) ?? {}
    const [word, detail] = reply.type === 'application/problem+json' ? [said.code, said.detail]
      : reply.type === 'application/json' ? [said.error, said.error_description] : []
    // Who fails too often is told so in place of why, and at logout nothing fails
    // but a token that is forged.
    const guessed = call.path === logoutPath && word === 'rate_limited' ? { error: InactiveError, status: 429 } : undefined
    const meaning = guessed ?? (typeof word === 'string' && Object.hasOwn(refusals, word) ? refusals[word] : undefined)
    const fits = meaning && reply.status >= 400 && reply.status < 500 && (meaning.status === 0 || meaning.status === reply.status)
    // Only a bearer challenge refuses the token (RFC 6750 section 3); without one
    // the server has seen none.
    if (!fits || word === 'invalid_token' && !reply.challenge.includes('error="invalid_token"')) {
      return unknown(call.path, `status ${reply.status}`)
    }
    let text = typeof detail === 'string' ? detail.replace(/[^ -~]/g, '').slice(0, 300) : ''
    const secret = [this.#secret, this.#basic, token ?? '']
    if (!text || secret.some(s => s && text.includes(s))) text = word as string
    return new meaning.error(`${plain(call.path)}: ${text}`)
  }
}

// The server's words for errors: "code" of problem details (RFC 9457) and "error"
// of OAuth (RFC 6749 section 5.2), with the status that goes with them; 0 is any.
// What is not here is not understood.
const refusals: Record<string, { error: new (message: string) => RescindError; status: number }> = {
  invalid_request: { error: InvalidError, status: 0 },
  unsupported_grant_type: { error: InvalidError, status: 0 },
  method_not_allowed: { error: InvalidError, status: 0 },
  too_large: { error: InvalidError, status: 0 },
  unsupported_media_type: { error: InvalidError, status: 0 },
  invalid_token: { error: InactiveError, status: 401 },
  invalid_grant: { error: InactiveError, status: 400 },
  inactive: { error: InactiveError, status: 400 },
  reuse: { error: InactiveError, status: 400 },
  foreign: { error: ForeignError, status: 403 },
  invalid_scope: { error: ScopeError, status: 0 },
  insufficient_scope: { error: ScopeError, status: 0 },
  invalid_client: { error: ForbiddenError, status: 0 },
  unauthorized_client: { error: ForbiddenError, status: 0 },
  forbidden: { error: ForbiddenError, status: 0 },
  not_found: { error: NotFoundError, status: 404 },
  conflict: { error: ConflictError, status: 409 },
  limit: { error: LimitError, status: 409 },
}

// Queries name subjects, and belong in no message.
function plain(path: string): string { return path.split('?', 1)[0]! }

function unknown(path: string, why: string, cause?: unknown): UnavailableError {
  return new UnavailableError(`${plain(path)}: ${why}`, cause === undefined ? undefined : { cause })
}

function encoded(text: string): string { return new URLSearchParams([['', text]]).toString().slice(1) }

function parse(text: string): Record<string, unknown> | undefined {
  try {
    const value: unknown = JSON.parse(text)
    return typeof value === 'object' && value !== null && !Array.isArray(value) ? value as Record<string, unknown> : undefined
  } catch {
    return undefined
  }
}

function isCount(n: unknown): n is number { return Number.isSafeInteger(n) && (n as number) >= 0 }

function granted(path: string, said: Record<string, unknown>): Grant {
  const kind = typeof said.token_type === 'string' && said.token_type.toLowerCase() === 'bearer'
  const times = [said.expires_in, said.refresh_token_timeout, said.authorization_expires_in]
  if (!kind || !isSessionId(said.session) || !wellFormed(said.access_token) || !wellFormed(said.refresh_token) || !times.every(isCount) ||
      typeof (said.scope ?? '') !== 'string' || said.scope === null) {
    throw unknown(path, 'the answer holds no tokens')
  }
  return veiled(said as unknown as Grant)
}

// What is not of the standard is the session's own claims.
const standard = new Set(['active', 'scope', 'client_id', 'username', 'token_type', 'exp', 'iat', 'nbf', 'sub', 'aud', 'iss', 'jti', 'sid', 'cnf'])

// Reads an active answer of RFC 7662 section 2.2.
function readAccess(said: Record<string, unknown>): Access | undefined {
  const { token_type: kind, sub, sid, jti, client_id: client, aud, exp, iat, scope = '' } = said
  const texts = [kind, sub, client].every(t => typeof t === 'string' && t !== '') && typeof scope === 'string'
  const ids = isSessionId(sid) && isTokenId(jti)
  const times = [exp, iat].every(t => isCount(t) && t > 0)
  const meant = Array.isArray(aud) && aud.every(a => typeof a === 'string' && a !== '')
  if (!texts || !ids || !times || !meant || (kind as string).toLowerCase() !== 'bearer') return undefined
  return {
    subject: sub as string, session: sid, client: client as string, audience: aud as string[], scope: scope as string,
    claims: Object.fromEntries(Object.entries(said).filter(([name]) => !standard.has(name))),
    token: jti, issuedAt: new Date((iat as number) * 1000), expiresAt: new Date((exp as number) * 1000),
  }
}
