import { inspect } from 'node:util'

/** What a check asks for. Every scope is needed; one audience is enough. */
export interface Want {
  /** Words separated by spaces, or a list of them. */
  scope?: string | readonly string[]
  /** Who must be meant; default: the audience of the options. */
  audience?: string | readonly string[]
  /** Any audience that the server answers for will do. */
  anyAudience?: boolean
  /** false: a monitor asks, and this is no activity of the session. */
  touch?: boolean
}

/** What the ledger says about an access token that stands. */
export interface Access {
  readonly subject: string
  readonly session: string
  readonly client: string
  readonly audience: readonly string[]
  /** Words separated by spaces; may be empty. */
  readonly scope: string
  /** The session's own claims. */
  readonly claims: Readonly<Record<string, unknown>>
  /** The token's id (jti). */
  readonly token: string
  readonly issuedAt: Date
  readonly expiresAt: Date
}

/**
 * Says whether an access token stands. It throws {@link InactiveError} if the
 * token is no good, {@link ScopeError} if it is good for something else, and
 * {@link UnavailableError} if that could not be known; every other error counts
 * as that one.
 *
 * The client is a Checker that asks the server every time. A guard that answers
 * from memory while it holds a lease has its place here too, in front of the
 * client, and nothing above it changes. A cache without a lease has not: for as
 * long as it keeps a "yes", logout does not work.
 */
export interface Checker {
  check(token: string, want?: Want): Promise<Access>
}

/** A login that the application has done. Members are those of POST /v1/sessions; times are seconds. */
export interface Login {
  /** The user, in the application's own words: 1 to 255 printable ASCII characters without spaces. */
  subject: string
  client_id?: string
  audience?: string | readonly string[]
  scope?: string
  /** At most 4 KB of JSON, without registered names. */
  claims?: Record<string, unknown>
  device?: Device
  /** Of the access token. */
  expires_in?: number
  session_expires_in?: number
  idle_timeout?: number
  /** A session of the same subject, which ends in the same step. */
  replaces?: string
}

/** Where a session was opened, for a person to recognise it. It decides nothing. */
export interface Device { name?: string; user_agent?: string; ip?: string }

/**
 * What a login or a refresh hands out (RFC 6749 section 5.1). It is meant to be
 * sent: JSON.stringify writes the tokens. util.inspect, and so console.log, does not.
 */
export interface Grant {
  session: string
  access_token: string
  token_type: string
  expires_in: number
  refresh_token: string
  refresh_token_timeout: number
  authorization_expires_in: number
  scope?: string
}

/** The proof of an ending. changed is false where there was nothing left to end. */
export interface Receipt {
  position: number
  epoch: string
  /** The one that ended, where the selector means one. */
  session?: string
  changed: boolean
  guards: number
  leases_expired: number
  longest_delay_ms: number
  dry_run?: boolean
  sessions?: number
  truncated?: boolean
}

/** A session as the ledger has it. Times are RFC 3339. */
export interface Session {
  id: string
  state: 'active' | 'ended'
  subject: string
  client_id: string
  audience: string[]
  scope?: string
  claims?: Record<string, unknown>
  device: Device
  created_at: string
  last_active_at: string
  idle_expires_at: string
  expires_at: string
  generation: number
  refreshed_at?: string
  ended_at?: string
  end_reason?: string
  access_tokens: { jti: string; state: string; scope?: string; issued_at: string; expires_at: string }[]
}

export interface SessionQuery { subject?: string; client_id?: string; state?: 'active' | 'ended'; after?: string; limit?: number }

/** A page may be short, even empty, and still have a next one: ask again with after = next. */
export interface SessionPage { sessions: Session[]; next?: string }

/** What a revocation ends: exactly one of token, session, subject, client, key and all. */
export interface Revocation {
  token?: string
  session?: string
  subject?: string
  /** Goes with subject: all but this one. */
  except_session?: string
  client?: string
  key?: string
  all?: boolean
  /** For the audit log. */
  reason?: string
  /** Only say how many sessions would end. */
  dry_run?: boolean
}

/** Opens, continues and ends sessions. The client does. */
export interface Sessions {
  login(login: Login): Promise<Grant>
  refresh(refreshToken: string, options?: { scope?: string }): Promise<Grant>
  logout(token: string): Promise<Receipt>
  logoutAll(token: string): Promise<Receipt>
}

/** The longest token that is looked at, in characters. */
export const maxToken = 16 << 10

/**
 * Whether a text can be a token at all (RFC 6750 section 2.1). What cannot is no
 * token of ours, and is not sent.
 */
export function wellFormed(token: unknown): token is string {
  return typeof token === 'string' && token.length <= maxToken && /^[A-Za-z0-9\-._~+/]+=*$/.test(token)
}

/** Whether a text is the id of a session: 24 bytes as base64url, not all zero. It has one spelling. */
export function isSessionId(id: unknown): id is string { return typeof id === 'string' && /^[\w-]{32}$/.test(id) && /[^A]/.test(id) }

/** Whether a text is the id of an access token: 16 bytes as base64url, without bits to spare. */
export function isTokenId(id: unknown): id is string { return typeof id === 'string' && /^[\w-]{21}[AQgw]$/.test(id) }

/** Makes util.inspect leave the tokens of a grant out. */
export function veiled(grant: Grant): Grant {
  return Object.defineProperty(grant, inspect.custom, { value: showGrant })
}

function showGrant(this: Grant): object {
  return { ...this, access_token: '[secret]', refresh_token: '[secret]' }
}

export function words(scope: string | readonly string[] | undefined): string[] {
  return (typeof scope === 'string' ? [scope] : scope ?? []).flatMap(s => s.split(' ')).filter(Boolean)
}

export function list(value: string | readonly string[] | undefined): readonly string[] {
  return typeof value === 'string' ? [value] : value ?? []
}
