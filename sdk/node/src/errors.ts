/** What went wrong, in one word. It never changes for an error of one class. */
export type ErrorKind =
  | 'inactive' | 'scope' | 'unavailable' | 'invalid' | 'forbidden' | 'foreign' | 'not_found' | 'conflict' | 'limit'

// A program can hold this package twice, once by import and once by require. The
// brand makes instanceof true for errors of either copy.
const brand: unique symbol = Symbol.for('@rescind/node/error')

/** Every error of this package. No message holds a token or a secret. */
export class RescindError extends Error {
  /** What went wrong, in one word. */
  declare readonly kind: ErrorKind

  constructor(kind: ErrorKind, name: string, message: string, options?: ErrorOptions) {
    super(message, options)
    for (const [key, value] of [['name', name], ['kind', kind], [brand, kind]] as const) {
      Object.defineProperty(this, key, { value, configurable: true, enumerable: key === 'kind' })
    }
  }

  static override [Symbol.hasInstance](value: unknown): boolean {
    return isBranded(this, RescindError, value, undefined)
  }
}

function isBranded(asked: unknown, ours: unknown, value: unknown, kind: ErrorKind | undefined): boolean {
  if (asked !== ours) { // a subclass of somebody else's
    return typeof value === 'object' && value !== null && Object.prototype.isPrototypeOf.call((asked as { prototype: object }).prototype, value)
  }
  const found = typeof value === 'object' && value !== null ? (value as { [brand]?: unknown })[brand] : undefined
  return kind === undefined ? found !== undefined : found === kind
}

/**
 * The token does not stand: expired, revoked, unknown, malformed, or meant for
 * another audience. The server said so; nothing else becomes this error.
 *
 * It carries no HTTP status on purpose: a handler that checks some other token
 * must not make its own caller throw away a good one.
 */
export class InactiveError extends RescindError {
  constructor(message = 'the token is not active', options?: ErrorOptions) { super('inactive', 'InactiveError', message, options) }
  static override [Symbol.hasInstance](value: unknown): boolean { return isBranded(this, InactiveError, value, 'inactive') }
}

/** The token stands and lacks a scope; or a refresh asked for more than was granted. */
export class ScopeError extends RescindError {
  constructor(message = 'the token lacks a scope', options?: ErrorOptions) { super('scope', 'ScopeError', message, options) }
  static override [Symbol.hasInstance](value: unknown): boolean { return isBranded(this, ScopeError, value, 'scope') }
}

/** Seconds that a 503 asks callers to wait. */
export const retryAfter = '1'

/**
 * The state could not be known, or the outcome of a write is unknown. It says
 * nothing about any token: keep it and try again. Endings are idempotent, so
 * repeat them until they return.
 *
 * Express answers it with 503 and Retry-After when it reaches the error handler.
 */
export class UnavailableError extends RescindError {
  readonly status = 503
  readonly statusCode = 503
  readonly headers = { 'Retry-After': retryAfter, 'Cache-Control': 'no-store' }

  constructor(message = 'the state could not be known', options?: ErrorOptions) { super('unavailable', 'UnavailableError', message, options) }
  static override [Symbol.hasInstance](value: unknown): boolean { return isBranded(this, UnavailableError, value, 'unavailable') }
}

/** The request itself, or the configuration, is wrong; the message says how. */
export class InvalidError extends RescindError {
  constructor(message: string, options?: ErrorOptions) { super('invalid', 'InvalidError', message, options) }
  static override [Symbol.hasInstance](value: unknown): boolean { return isBranded(this, InvalidError, value, 'invalid') }
}

/** This client may not do this, or is unknown to the server. Nothing is said about a token. */
export class ForbiddenError extends RescindError {
  constructor(message = 'not allowed', options?: ErrorOptions) { super('forbidden', 'ForbiddenError', message, options) }
  static override [Symbol.hasInstance](value: unknown): boolean { return isBranded(this, ForbiddenError, value, 'forbidden') }
}

/** The token was issued to another client. */
export class ForeignError extends RescindError {
  constructor(message = 'the token was issued to another client', options?: ErrorOptions) { super('foreign', 'ForeignError', message, options) }
  static override [Symbol.hasInstance](value: unknown): boolean { return isBranded(this, ForeignError, value, 'foreign') }
}

/**
 * There is no such session, client or key, or it is not yours. Express and Nest
 * answer it with 404 when it reaches their error handling: ids come from users.
 */
export class NotFoundError extends RescindError {
  readonly status = 404
  readonly statusCode = 404

  constructor(message = 'not found', options?: ErrorOptions) { super('not_found', 'NotFoundError', message, options) }
  static override [Symbol.hasInstance](value: unknown): boolean { return isBranded(this, NotFoundError, value, 'not_found') }
}

/** What the step was compared against has changed since. Nothing was written. */
export class ConflictError extends RescindError {
  constructor(message = 'changed meanwhile', options?: ErrorOptions) { super('conflict', 'ConflictError', message, options) }
  static override [Symbol.hasInstance](value: unknown): boolean { return isBranded(this, ConflictError, value, 'conflict') }
}

/** The subject already has as many sessions as the server allows. */
export class LimitError extends RescindError {
  constructor(message = 'too many concurrent sessions', options?: ErrorOptions) { super('limit', 'LimitError', message, options) }
  static override [Symbol.hasInstance](value: unknown): boolean { return isBranded(this, LimitError, value, 'limit') }
}

/** Refuses members of an options object that nobody reads: a misspelt one would protect nothing. */
export function onlyKnown(what: string, given: object, known: readonly string[]): void {
  for (const name of Object.keys(given)) {
    if (!known.includes(name)) throw new InvalidError(`${what}: there is no option ${JSON.stringify(name.slice(0, 40))}`)
  }
}
