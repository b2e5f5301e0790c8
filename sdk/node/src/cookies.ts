import { type DenialName, quotable } from './answers.js'
import { InvalidError, onlyKnown } from './errors.js'
import { type Request, cookies, header, values } from './request.js'
import { isLoopback } from './transport.js'
import { type Grant, wellFormed } from './values.js'

/** Options of cookies. {} is ready for use. */
export interface CookieOptions {
  /**
   * Narrows where browsers send the refresh cookie; the refresh and logout routes
   * must then lie below it. The default, "/", gives the cookie the prefix
   * __Host-, with which a browser takes it from this very host alone. A narrower
   * path cannot have that prefix and gets __Secure- instead: other services under
   * the same host name then do not see the refresh token, but a page on a sibling
   * subdomain can plant a cookie of that name.
   */
  refreshPath?: string
  /** May send requests with cookies as this origin does: "https://host" or "https://host:port". SameSite still applies. */
  trustedOrigins?: readonly string[]
  /** Leaves unsafe methods behind requireToken to a CSRF protection of the application's own. Refresh and logout stay protected. */
  allowCrossOrigin?: boolean
  /** A local path to which a logout redirects (303), for HTML forms. By default it answers 204. */
  afterLogout?: string
  /** Makes a logout ask the browser to drop this origin's cache and storage too. It never says "cookies": that would drop those of every subdomain. */
  clearSiteData?: boolean
  /** Drops the prefixes and Secure, for development over plain HTTP. Requests for any host but localhost and loopback addresses are refused. */
  insecureLoopback?: boolean
}

const names = ['refreshPath', 'trustedOrigins', 'allowCrossOrigin', 'afterLogout', 'clearSiteData', 'insecureLoopback']

// A browser takes a __Host- cookie only with Secure, with Path=/ and without
// Domain, so no other host, no subdomain and nobody on plain HTTP can plant one;
// __Secure- only promises Secure.
const accessName = 'rescind-at'
const refreshName = 'rescind-rt'
const hostPrefix = '__Host-'
const securePrefix = '__Secure-'

const maxCookie = 4096 // name and value; browsers silently drop longer ones
const maxCredentials = 8 // that one logout ends

/** The cookies of this application: their names, what they look like, and where requests with them may come from. */
export class CookieJar {
  readonly access: string
  readonly refresh: string
  readonly anyOrigin: boolean
  readonly after: string
  readonly clearSite: boolean
  readonly #refreshPath: string
  readonly #trusted: ReadonlySet<string>
  readonly #insecure: boolean

  constructor(options: CookieOptions) {
    onlyKnown('cookies', options, names)
    this.#insecure = options.insecureLoopback === true
    this.#refreshPath = options.refreshPath ?? '/'
    this.anyOrigin = options.allowCrossOrigin === true
    this.clearSite = options.clearSiteData === true
    this.after = options.afterLogout ?? ''
    if (!isLocalPath(this.#refreshPath) || /[;,?#]/.test(this.#refreshPath)) throw new InvalidError('refreshPath begins with one slash and is a path alone')
    if (this.after && !isLocalPath(this.after)) throw new InvalidError('afterLogout is a path of this host, with one slash in front')
    for (const origin of options.trustedOrigins ?? []) {
      if (!URL.canParse(origin) || new URL(origin).origin !== origin) throw new InvalidError('trustedOrigins are origins as in https://app.example.com')
    }
    this.#trusted = new Set(options.trustedOrigins)
    const prefix = this.#insecure ? '' : hostPrefix
    this.access = prefix + accessName
    this.refresh = (!this.#insecure && this.#refreshPath !== '/' ? securePrefix : prefix) + refreshName
  }

  fits(grant: Grant): boolean {
    return this.access.length + grant.access_token.length <= maxCookie && this.refresh.length + grant.refresh_token.length <= maxCookie
  }

  /**
   * Set-Cookie lines of a grant. Both last until the session's absolute end: an
   * access cookie that vanished with its token could not log out, and activity may
   * keep the session past the idle time-out of now.
   */
  set(grant: Grant): string[] {
    const age = grant.authorization_expires_in
    return [
      line(this.access, '/', 'Lax', grant.access_token, age),
      // Only requests from this site refresh, so none from elsewhere need carry it.
      line(this.refresh, this.#refreshPath, 'Strict', grant.refresh_token, age),
    ]
  }

  /** Set-Cookie lines that take every cookie away that any options of ours may have set. */
  clear(): string[] {
    const lines = [hostPrefix + accessName, hostPrefix + refreshName, accessName, refreshName].map(name => line(name, '/', 'Lax', '', 0))
    if (this.#refreshPath === '/') return lines
    return [...lines, ...[securePrefix + refreshName, refreshName].map(name => line(name, this.#refreshPath, 'Lax', '', 0))]
  }

  /** Whether a Set-Cookie line is one of ours. */
  static isOurs(setCookie: string): boolean { return /^(?:__Host-|__Secure-)?rescind-[ar]t=/.test(setCookie) }

  /**
   * The tokens in cookies of ours, whatever options set them: a few at most, those
   * first that nobody else can have planted in such numbers.
   */
  all(request: Request): string[] {
    const tokens = new Set<string>()
    for (const prefix of [hostPrefix, securePrefix, '']) {
      for (const name of [accessName, refreshName]) {
        for (const value of cookies(request, prefix + name)) {
          if (wellFormed(value) && tokens.size < maxCredentials) tokens.add(value)
        }
      }
    }
    return [...tokens]
  }

  /**
   * Whether a request that may change something comes from another origin: by
   * Sec-Fetch-Site, which browsers set and scripts cannot, else by Origin. Without
   * either it comes from no browser of these years. An upgrade (WebSocket) is a
   * GET, and yet it opens a way for everything.
   */
  isForeign(request: Request): boolean {
    const method = request.method ?? ''
    if (['GET', 'HEAD', 'OPTIONS'].includes(method) && !header(request, 'upgrade')) return false
    const [origin = '', ...origins] = values(request, 'origin')
    const [site = '', ...sites] = values(request, 'sec-fetch-site')
    if (origins.length > 0 || sites.length > 0) return true // no browser says it twice
    if (site === 'same-origin' || site === 'none') return false
    if (!site) {
      if (!origin) return false
      const host = /^[a-z][a-z0-9+.-]*:\/\/(.+)$/i.exec(origin)?.[1]
      if (host && host === hostOf(request)) return false
    }
    return !this.#trusted.has(origin)
  }

  /**
   * Holds unprotected cookies back from everything but loopback. A proxy in front
   * may have put its own idea of the host into the request; the browser's stands
   * in Origin, and in what proxies add.
   */
  refuseHost(request: Request): DenialName | undefined {
    if (!this.#insecure) return undefined
    const named = [header(request, 'origin').split('://')[1], header(request, 'x-forwarded-host')].filter(Boolean) as string[]
    return [...named, hostOf(request)].every(isLoopback) ? undefined : 'insecureHost'
  }
}

function hostOf(request: Request): string {
  return header(request, ':authority') || header(request, 'host')
}

function line(name: string, path: string, site: 'Lax' | 'Strict', value: string, age: number): string {
  return `${name}=${value}; Path=${path}; Max-Age=${age}; HttpOnly;${name.startsWith('__') ? ' Secure;' : ''} SameSite=${site}`
}

// Whether a browser that is sent there stays on this host. Two slashes begin
// another host's name, and browsers read a backslash as a slash.
function isLocalPath(path: string): boolean {
  return path.startsWith('/') && !path.startsWith('//') && !path.includes('\\') && quotable(path) === path
}
