import { InactiveError, InvalidError, UnavailableError, onlyKnown } from './errors.js'
import { type Request, bearer } from './request.js'
import type { Access, Checker } from './values.js'

/** Options of the hooks for libraries that verify JWTs themselves. */
export interface JwtHookOptions {
  /** Where the library takes the token from; default: the Authorization header. It must be the same place. */
  getToken?: (request: any) => string | undefined | null
  audience?: string | readonly string[]
}

// What the ledger says of the very token whose payload the library has verified.
// Were the two taken from different places of a request, a good token in the one
// would vouch for a stolen one in the other: so the ids are compared.
async function standing(checker: Checker, options: JwtHookOptions, request: Request, payload: unknown): Promise<Access | undefined> {
  const token = options.getToken ? options.getToken(request) : bearer(request).token
  if (!token || typeof payload !== 'object' || payload === null) return undefined
  try {
    const access = await checker.check(token, options.audience === undefined ? {} : { audience: options.audience })
    const { jti, sid, sub } = payload as Record<string, unknown>
    return jti === access.token && sid === access.session && sub === access.subject ? access : undefined
  } catch (err) {
    if (err instanceof InactiveError) return undefined
    throw err instanceof UnavailableError ? err : new UnavailableError('the token could not be checked', { cause: err })
  }
}

function checked(what: string, options: JwtHookOptions): JwtHookOptions {
  onlyKnown(what, options, ['getToken', 'audience'])
  if (options.getToken !== undefined && typeof options.getToken !== 'function') throw new InvalidError(`${what}: getToken is a function`)
  return options
}

/**
 * isRevoked of express-jwt: true unless the ledger says that the token stands. It
 * throws {@link UnavailableError} if that could not be known, which Express answers
 * with 503.
 *
 *     app.use(expressjwt({ secret, algorithms: ['ES256'], isRevoked: isRevoked(client) }))
 */
export function isRevoked(checker: Checker, options: JwtHookOptions = {}): (request: any, token?: { payload: unknown }) => Promise<boolean> {
  checked('isRevoked', options)
  return async (request, token) => await standing(checker, options, request as Request, token?.payload) === undefined
}

/**
 * The check for the validate function of passport-jwt, which needs
 * passReqToCallback. It returns the session, or false, which passport takes for
 * 401; it throws {@link UnavailableError}, which must reach the error handler.
 *
 *     const standing = checkJwt(client)
 *     async validate(request, payload) { return standing(request, payload) }       // NestJS
 *     (request, payload, done) => standing(request, payload).then(a => done(null, a), done)
 */
export function checkJwt(checker: Checker, options: JwtHookOptions = {}): (request: any, payload: unknown) => Promise<Access | false> {
  checked('checkJwt', options)
  return async (request, payload) => await standing(checker, options, request as Request, payload) ?? false
}
