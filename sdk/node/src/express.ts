/**
 * Middleware for Express 5 and 4.
 *
 *     const r = rescind({ audience: 'notes' })
 *     app.post('/login', async (q, s) => s.json(await r.login(q, { subject: await checkPassword(q.body) })))
 *     app.post('/refresh', r.refresh())
 *     app.post('/logout', r.logout())
 *     app.use('/api', r.requireToken())     // q.auth: subject, session, scope, claims
 *
 * Routes for logout and refresh stand in front of the guard: they take tokens that
 * the guard would refuse, such as an expired one.
 *
 * @packageDocumentation
 */
import type { IncomingMessage, ServerResponse } from 'node:http'
import type { Answer } from './answers.js'
import type { Client } from './client.js'
import { InvalidError, UnavailableError } from './errors.js'
import type { CookieGrant, LoginOptions } from './flows.js'
import { type Need, type RescindOptions, assemble, need } from './front.js'
import { type JwtHookOptions, checkJwt, isRevoked } from './jwt.js'
import { Response, isResponse } from './response.js'
import type { Access, Checker, Grant, Login, Receipt, Revocation, Session, SessionPage, SessionQuery, Want } from './values.js'

export type { CookieOptions } from './cookies.js'
export type { CookieGrant, LoginOptions } from './flows.js'
export type { Need, RescindOptions } from './front.js'
export * from './index.js'

declare global {
  // eslint-disable-next-line @typescript-eslint/no-namespace
  namespace Express {
    interface Request {
      /** What the ledger says of the request's token, behind requireToken. */
      auth?: Access
    }
  }
}

/** A handler as Express, connect and their like take it. */
export type Handler = (request: IncomingMessage, response: ServerResponse, next: (error?: unknown) => void) => void

/** What requireToken needs, and of whom it does not. */
export interface GuardOptions extends Need {
  /**
   * Paths, from the root and letter by letter, whose POST requests pass without a
   * token: login, refresh and logout, where the guard stands in front of them. An
   * expired access token must be able to log out.
   */
  except?: readonly string[]
}

/** Everything an Express application needs. */
export interface Rescind extends Checker {
  readonly client: Client

  /**
   * Opens a session after the application's own login, and returns what to send:
   * the grant; or, with cookies, {session, expires_in}, having put the tokens into
   * cookies. It rejects with UnavailableError, which Express answers with 503, or
   * with InvalidError, LimitError and others; then no cookie is set.
   */
  login(request: IncomingMessage, login: Login, options?: LoginOptions): Promise<Grant | CookieGrant>

  /** Continues a session by the refresh cookie or by the refresh_token in the body. POST. 401: it has ended; 503: the token is as good as before. */
  refresh(): Handler

  /** Ends a session by cookies, bearer token or refresh_token in the body. POST. An expired access token is enough. */
  logout(): Handler

  /** Ends every session of the subject. POST. It needs a token that stands. */
  logoutAll(): Handler

  /** Lets requests pass whose token is good for what is needed. */
  requireToken(options?: GuardOptions): Handler

  /**
   * Asks again about the token that a request came with, for what stays open behind
   * requireToken: event streams and WebSockets. It is no activity of the session. It
   * rejects with UnavailableError if nobody can know.
   */
  stands(request: IncomingMessage, needed?: Need): Promise<boolean>

  check(token: string, want?: Want): Promise<Access>
  sessions(query?: SessionQuery): Promise<SessionPage>
  devices(subject: string, limit?: number): Promise<Session[]>
  endSession(session: string, subject: string): Promise<Receipt>
  revoke(revocation: Revocation): Promise<Receipt>

  /** For express-jwt; see isRevoked. */
  isRevoked(options?: JwtHookOptions): ReturnType<typeof isRevoked>
  /** For passport-jwt; see checkJwt. */
  checkJwt(options?: JwtHookOptions): ReturnType<typeof checkJwt>

  /** Closes the connections to the server. */
  close(): void
}

/** Rescind for an Express application. */
export function rescind(options: RescindOptions = {}): Rescind {
  const { client, flows } = assemble(options)
  const checker = options.checker ?? client

  // The answer is written outside of every try: what a handler throws is its own.
  const answering = (flow: (request: IncomingMessage, response: Response) => Promise<Answer>): Handler =>
    (request, response, next) => {
      flow(request, new Response(response)).then(answer => send(response, answer), next)
    }

  return {
    client,
    async login(request, login, loginOptions) {
      const response = (request as { res?: unknown }).res
      if (!isResponse(response)) throw new InvalidError('login: this is no request of Express')
      return await flows.login(request, new Response(response), login, loginOptions)
    },
    refresh: () => answering((request, response) => flows.refresh(request, response)),
    logout: () => answering((request, response) => flows.logout(request, response, false)),
    logoutAll: () => answering((request, response) => flows.logout(request, response, true)),
    requireToken(given = {}) {
      if (typeof given !== 'object' || given === null) throw new InvalidError("requireToken: give an object, as in { scope: 'notes:read' }")
      const { except = [], ...rest } = given
      const want = need('requireToken', rest)
      if (!Array.isArray(except) || !except.every(path => /^\/[^?#]*$/.test(path))) throw new InvalidError('requireToken: except is a list of paths, each with a slash in front')
      return (request, response, next) => {
        if (request.method === 'POST' && except.includes(pathOf(request))) return next()
        void flows.judge(request, want, new Response(response)).then(verdict => {
          if ('answer' in verdict) return send(response, verdict.answer)
          ;(request as { auth?: Access }).auth = verdict.access
          next()
        })
      }
    },
    async stands(request, needed = {}) {
      const verdict = await flows.judge(request, { ...need('stands', needed), touch: false })
      if ('answer' in verdict && verdict.answer.status === 503) throw new UnavailableError()
      return 'access' in verdict
    },
    check: (token, want) => checker.check(token, want),
    sessions: query => client.sessions(query),
    devices: (subject, limit) => client.devices(subject, limit),
    endSession: (session, subject) => client.endSession(session, subject),
    revoke: revocation => client.revoke(revocation),
    isRevoked: hook => isRevoked(checker, hook),
    checkJwt: hook => checkJwt(checker, hook),
    close: () => client.close(),
  }
}

// The path as it came, whatever routers in between have cut off it.
function pathOf(request: IncomingMessage): string {
  const url = (request as { originalUrl?: unknown }).originalUrl ?? request.url
  return String(url).split('?', 1)[0]!
}

function send(response: ServerResponse, answer: Answer): void {
  if (response.headersSent || response.writableEnded) return // somebody has answered meanwhile, as time-out middleware does
  new Response(response).set(answer.headers)
  response.statusCode = answer.status
  if (!answer.body) {
    response.end()
    return
  }
  const body = JSON.stringify(answer.body)
  response.setHeader('Content-Type', 'application/json')
  response.setHeader('Content-Length', Buffer.byteLength(body))
  response.end(body)
}
