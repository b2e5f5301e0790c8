import { createHash } from 'node:crypto'
import { type Answer, type DenialName, denials, deny, noStore, quotable } from './answers.js'
import { CookieJar, type CookieOptions } from './cookies.js'
import { ForbiddenError, ForeignError, InactiveError, InvalidError, ScopeError, UnavailableError } from './errors.js'
import { type Found, type Request, bearer, bodyToken, cookie, header } from './request.js'
import type { Response } from './response.js'
import { type Access, type Checker, type Grant, type Login, type Sessions, type Want, words } from './values.js'

const fresh = 10_000 // ms for which an access token counts as new: longer than the requests of one browser overtake each other

/** How an application shows itself to its callers. */
export interface FlowOptions {
  /** Keep the tokens of browsers in cookies that their scripts cannot read. Default: bearer tokens alone. */
  cookies?: boolean | CookieOptions
  /** Of the challenge; default "rescind". */
  realm?: string
  /** Answers checks in the client's place: see {@link Checker}. */
  checker?: Checker
  /** Hears why a state could not be known. Default: a process warning, at most one in ten seconds. */
  log?: (error: Error) => void
}

export const flowOptions = ['cookies', 'realm', 'checker', 'log'] as const

/** What a login with cookies tells the browser: the tokens stay out of the body. */
export interface CookieGrant { session: string; expires_in: number }

/** Options of one login. */
export interface LoginOptions {
  /** false: hand the tokens out although this application uses cookies, as to a mobile application. */
  cookies?: boolean
}

/**
 * What happens to requests: the guard in front of handlers, and login, refresh
 * and logout. Who writes cookies when:
 *
 * - A login sets them, having ended the session whose cookies the browser sent.
 * - A refresh sets them if the session still stands.
 * - A logout clears them once the session has ended, never before: while the
 *   outcome is unknown, the cookies are what the user can try again with.
 * - Nothing else touches them. In particular a failed check or refresh clears
 *   nothing. In the browser its answer may come after that of a parallel request
 *   which brought a new login or a successor, and would delete those.
 */
export class Flows {
  readonly #sessions: Sessions
  readonly #checker: Checker
  readonly #jar: CookieJar | undefined
  readonly #realm: string
  readonly #log: (error: Error) => void
  readonly #flights = new Set<Flight>()

  constructor(sessions: Sessions, checker: Checker, options: FlowOptions) {
    this.#sessions = sessions
    this.#checker = options.checker ?? checker
    this.#jar = options.cookies ? new CookieJar(options.cookies === true ? {} : options.cookies) : undefined
    this.#realm = quotable(options.realm ?? '') || 'rescind'
    this.#log = options.log ?? warnings()
  }

  /**
   * Judges the token of a request: what the ledger says of it, or what to answer
   * instead. It never throws. What a cookie opens, no cache keeps, unless the
   * handler says otherwise: browsers open it by address, and would show it again
   * after the logout to whoever presses the back button.
   */
  async judge(request: Request, want: Want, response?: Response): Promise<{ access: Access } | { answer: Answer }> {
    try {
      const { token, denied, kept } = this.#credential(request)
      if (denied) return { answer: this.#deny(denied) }
      const access = await this.#checker.check(token, want)
      if (kept) response?.set({ 'Cache-Control': 'no-store' })
      return { access }
    } catch (err) {
      return { answer: this.#refuse(err, words(want.scope).join(' ')) }
    }
  }

  // A cookie counts for unsafe methods only if the request comes from this origin
  // or a trusted one; a bearer header always. Both at once are refused.
  #credential(request: Request): Found & { kept?: boolean } {
    const found = bearer(request)
    if (!this.#jar) return found
    const bad = this.#jar.refuseHost(request)
    if (bad) return { denied: bad }
    const kept = cookie(request, this.#jar.access)
    if (kept.denied === 'noCredentials') return found
    if (found.denied !== 'noCredentials') return { denied: 'twoCredentials' }
    if (!kept.denied && !this.#jar.anyOrigin && this.#jar.isForeign(request)) return { denied: 'crossOrigin' }
    return { ...kept, kept: true }
  }

  /**
   * Opens a session. With cookies it adds them to the response, and the session
   * whose cookies the browser sent ends first (ASVS 7.2.4): they are about to be
   * overwritten, and nobody could end it afterwards. On an error no cookie is set.
   * An unsafe method from another origin is a ForbiddenError (403): its author would
   * choose in whose session the browser goes on. Trust the origin of an identity
   * provider that posts its answer.
   */
  async login(request: Request, response: Response, login: Login, options: LoginOptions = {}): Promise<Grant | CookieGrant> {
    const device = { user_agent: header(request, 'user-agent'), ...(request.ip ? { ip: request.ip } : {}), ...login.device }
    const jar = this.#jar
    if (!jar || options.cookies === false) {
      const grant = await this.#sessions.login({ ...login, device })
      response.set(noStore)
      return grant
    }
    const bad = jar.refuseHost(request) ?? (jar.isForeign(request) ? 'crossOrigin' : undefined)
    if (bad) throw Object.assign(new ForbiddenError(denials[bad].about), { status: 403, statusCode: 403 }) // as Express and Nest read it
    const old = jar.all(request)
    if (old.length > 0) await this.#end(old)
    const grant = await this.#sessions.login({ ...login, device })
    if (!jar.fits(grant)) {
      // Nobody will hold its tokens: it must not stay behind alive.
      await this.#sessions.logout(grant.refresh_token)
      throw new InvalidError('the token is too long for a cookie: give the session fewer claims, or the client opaque access tokens')
    }
    response.set(noStore)
    response.addCookies(jar.set(grant))
    return { session: grant.session, expires_in: grant.expires_in }
  }

  /**
   * Continues a session: by the refresh cookie, answered with new cookies and
   * {"expires_in"}; or by a refresh_token in the body, answered with a grant.
   * Parallel requests that present one refresh token all get its one successor.
   *
   * A browser whose access cookie stands and is new brings nothing to refresh: one
   * of its windows has just been here. To rotate again at once would put the token
   * of a slower window two generations behind, and that is reuse.
   */
  refresh(request: Request, response: Response): Promise<Answer> {
    return this.#post(request, async () => {
      const jar = this.#jar
      const kept: Found = jar ? cookie(request, jar.refresh) : { denied: 'noCredentials' }
      const sent = await bodyToken(request)
      if (kept.denied === 'noCredentials') {
        if (sent.token !== undefined) return { status: 200, headers: noStore, body: await this.#sessions.refresh(sent.token) }
        return this.#deny(jar?.isForeign(request) ? 'crossOrigin' : sent.denied)
      }
      if (sent.token !== undefined) return this.#deny('twoCredentials')
      if (!jar || jar.isForeign(request)) return this.#deny('crossOrigin')
      if (kept.denied) return this.#deny(kept.denied)
      const left = await this.#fresh(cookie(request, jar.access))
      if (left > 0) return { status: 200, headers: noStore, body: { expires_in: left } }
      const flight = new Flight(jar.all(request), response)
      this.#flights.add(flight)
      response.onceDone(() => this.#flights.delete(flight))
      const grant = await this.#sessions.refresh(kept.token)
      if (!jar.fits(grant)) {
        this.#log(new InvalidError('refresh: the token is too long for a cookie'))
        return this.#deny('cookieTooLong')
      }
      // A logout may have come between the refresh and here, perhaps in another
      // process. Only a certain "no" counts: the refresh itself was a yes, and to
      // withhold the successor because of an outage could cost the session.
      flight.hold(grant)
      const dead = await this.#checker.check(grant.access_token, { anyAudience: true, touch: false }).then(() => false, isDead)
      if (dead || flight.ended) return this.#deny('invalidToken')
      response.addCookies(jar.set(grant))
      return { status: 200, headers: noStore, body: { expires_in: grant.expires_in } }
    })
  }

  // The seconds that are left to an access token that stands and is new, else 0.
  // The clock is ours: if it is wrong, tokens are new for longer or never.
  async #fresh(kept: Found): Promise<number> {
    if (kept.denied) return 0
    const access = await this.#checker.check(kept.token, { anyAudience: true, touch: false }).catch(err => {
      if (!isDead(err)) throw err
    })
    if (!access) return 0
    const lifetime = access.expiresAt.getTime() - access.issuedAt.getTime()
    const age = Date.now() - access.issuedAt.getTime()
    return Math.abs(age) < Math.min(fresh, lifetime / 2) ? Math.floor((lifetime - Math.max(age, 0)) / 1000) : 0
  }

  /**
   * Ends the session of the cookies, of the bearer token (expired or not) and of
   * the refresh_token in the body, and then clears the cookies. If an end is not
   * certain, the answer is 503 and the cookies stay: without them nobody could try
   * again, and a copy of the token would live on. It ends even if the caller does
   * not wait. With everywhere it needs a token that stands, and ends every session
   * of the subject.
   */
  logout(request: Request, response: Response, everywhere: boolean): Promise<Answer> {
    return this.#post(request, async () => {
      const jar = this.#jar
      const sent = bearer(request)
      if (sent.denied !== undefined && sent.denied !== 'noCredentials') return this.#deny(sent.denied)
      const inBody = await bodyToken(request)
      if (inBody.denied === 'invalidToken') return this.#deny(inBody.denied)
      const own = [sent.token, inBody.token].filter(token => token !== undefined)
      const kept = jar?.all(request) ?? []
      const tokens = [...own, ...kept]
      // A body that cannot be read says nothing if there is a token beside it.
      if (tokens.length === 0 && inBody.denied === 'badBody') return this.#deny(inBody.denied)
      const browser = kept.length > 0 || own.length === 0 ? jar : undefined
      if (browser?.isForeign(request)) return this.#deny('crossOrigin')
      if (tokens.length === 0 && (!jar || everywhere)) return this.#deny('noCredentials')
      try {
        if (everywhere) await this.#endSubject(tokens)
      } catch (err) {
        if (err instanceof ForbiddenError) return this.#deny('forbidden')
        throw err
      }
      // A dead cookie has nothing to end. That a token which was sent by name is not
      // known is worth telling: another one may still be alive.
      const unknown = await this.#end(tokens)
      if (!everywhere && own.some(token => unknown.includes(token))) return this.#deny('invalidToken')
      const headers: Record<string, string> = { ...noStore }
      if (browser) {
        response.addCookies(browser.clear())
        if (browser.clearSite) headers['Clear-Site-Data'] = '"cache", "storage"'
        if (browser.after) return { status: 303, headers: { ...headers, Location: browser.after } }
      }
      return { status: 204, headers }
    })
  }

  // Ends the session of every one of tokens: usually that is one, but where they
  // come from two logins, both must end. When it returns, none of them passes
  // again, and refreshes under way write no cookies. One that fails does not keep
  // the others from ending. It returns those that the server does not know.
  async #end(tokens: string[]): Promise<string[]> {
    const results = await Promise.allSettled(tokens.map(token => this.#sessions.logout(token)))
    const failed = results.filter(r => r.status === 'rejected').map(r => r.reason as unknown)
    const open = failed.find(err => !isDead(err))
    if (open) throw open
    const names = tokens.map(digest)
    for (const r of results) {
      if (r.status === 'fulfilled' && r.value.session) names.push(r.value.session)
    }
    for (const flight of this.#flights) flight.endIf(names)
    return tokens.filter((_, i) => results[i]!.status === 'rejected')
  }

  // Ends all sessions of the subject with the first token that stands.
  async #endSubject(tokens: string[]): Promise<void> {
    for (const token of tokens) {
      try {
        await this.#sessions.logoutAll(token)
        return
      } catch (err) {
        if (!isDead(err)) throw err
      }
    }
    throw new InactiveError()
  }

  // Lets POST requests pass. Where cookies are used, next looks at the origin: who
  // names a token himself cannot be a browser that was tricked into it.
  async #post(request: Request, next: () => Promise<Answer>): Promise<Answer> {
    const jar = this.#jar
    const bad = jar?.refuseHost(request)
    if (bad) return this.#deny(bad)
    if (request.method !== 'POST') return this.#deny('onlyPost') // a link or an image must not log anybody out
    try {
      return await next()
    } catch (err) {
      return this.#refuse(err, '')
    }
  }

  #deny(name: DenialName, scope = ''): Answer { return deny(name, this.#realm, scope) }

  // Answers for an error of a Checker or of Sessions. What is not understood is
  // not known either. That this application may not ask belongs here too: its
  // users can do nothing about it.
  #refuse(err: unknown, scope: string): Answer {
    if (err instanceof ScopeError) return this.#deny('insufficientScope', scope)
    if (err instanceof InactiveError || err instanceof ForeignError) return this.#deny('invalidToken')
    this.#log(err instanceof Error ? err : new UnavailableError(String(err)))
    return this.#deny('unavailable')
  }
}

/** Whether an error says for certain that a token does not stand. */
function isDead(err: unknown): boolean { return err instanceof InactiveError }

function digest(token: string): string { return createHash('sha256').update(token).digest('base64') }

// One refresh under way in this process, until its answer has left. It closes the
// gap between a refresh's last look at the session and the cookies it brings.
class Flight {
  ended = false
  readonly #names: Set<string> // of the session: digests of its tokens, and its id
  readonly #response: Response

  constructor(tokens: string[], response: Response) {
    this.#names = new Set(tokens.map(digest))
    this.#response = response
  }

  hold(grant: Grant): void {
    for (const name of [digest(grant.access_token), digest(grant.refresh_token), grant.session]) this.#names.add(name)
  }

  endIf(names: string[]): void {
    if (this.ended || !names.some(name => this.#names.has(name))) return
    this.ended = true
    this.#response.dropCookies()
  }
}

// An outage must not become one of the log.
function warnings(): (error: Error) => void {
  let last = -Infinity
  return error => {
    const now = performance.now()
    if (now - last < 10_000) return
    last = now
    process.emitWarning(`token state unavailable: ${error.message}`, { type: 'RescindWarning' })
  }
}
