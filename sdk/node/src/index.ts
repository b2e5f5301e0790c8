/**
 * Node's client of a Rescind server. Every check asks the server, so that:
 *
 *     When a revocation returns without error, every check that begins
 *     afterwards, on any guard, on any node, fails.
 *
 * @packageDocumentation
 */
import { Client, type ClientOptions } from './client.js'

export { Client, type ClientOptions } from './client.js'
export {
  ConflictError, type ErrorKind, ForbiddenError, ForeignError, InactiveError, InvalidError, LimitError, NotFoundError, RescindError, ScopeError, UnavailableError,
} from './errors.js'
export { type JwtHookOptions, checkJwt, isRevoked } from './jwt.js'
export type {
  Access, Checker, Device, Grant, Login, Receipt, Revocation, Session, SessionPage, SessionQuery, Sessions, Want,
} from './values.js'

/** The client of a server; url, clientId and clientSecret default to RESCIND_URL, RESCIND_CLIENT_ID and RESCIND_CLIENT_SECRET. */
export function rescind(options: ClientOptions = {}): Client { return new Client(options) }
