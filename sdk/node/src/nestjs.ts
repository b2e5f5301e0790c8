/**
 * A module for NestJS 12 and 11, over Express or Fastify.
 *
 *     @Module({ imports: [RescindModule.forRoot({ audience: 'notes' })], controllers: [AuthController, NotesController] })
 *     export class AppModule {}
 *
 * Every route then needs a token that stands, except those that are @Public().
 * Login, refresh and logout are: they take tokens that the guard would refuse,
 * such as an expired one.
 *
 *     @Public() @Controller()
 *     class AuthController {
 *       constructor(private readonly rescind: RescindService) {}
 *       @Post('login') async login(@Req() q, @Body() b) { return this.rescind.login(q, { subject: await checkPassword(b) }) }
 *       @Post('refresh') @HttpCode(200) refresh(@Req() q) { return this.rescind.refresh(q) }
 *       @Post('logout') @HttpCode(204) logout(@Req() q) { return this.rescind.logout(q) }
 *     }
 *
 * @packageDocumentation
 */
import {
  type ArgumentsHost, type CanActivate, Catch, type DynamicModule, type ExceptionFilter, type ExecutionContext, HttpException, Inject, Injectable,
  Module, type ModuleMetadata, type OnModuleDestroy, type Provider, SetMetadata, createParamDecorator,
} from '@nestjs/common'
import { APP_FILTER, APP_GUARD, Reflector } from '@nestjs/core'
import type { Answer } from './answers.js'
import type { Client } from './client.js'
import type { CookieOptions } from './cookies.js'
import { InvalidError, NotFoundError, UnavailableError } from './errors.js'
import type { CookieGrant, Flows, LoginOptions } from './flows.js'
import { type RescindOptions, assemble, need } from './front.js'
import { checkJwt, isRevoked, type JwtHookOptions } from './jwt.js'
import type { Request } from './request.js'
import { type AnyResponse, Response, isResponse } from './response.js'
import type { Access, Checker, Grant, Login, Receipt, Revocation, Session, SessionPage, SessionQuery, Want } from './values.js'

export type { CookieOptions } from './cookies.js'
export type { CookieGrant, LoginOptions } from './flows.js'
export * from './index.js'

const publicKey = 'rescind:public'
const scopesKey = 'rescind:scopes'

/** The options of the module, for providers of your own. */
export const RESCIND_OPTIONS: unique symbol = Symbol.for('@rescind/node/nestjs/options')

/** As RescindOptions; redirects after a logout are the controller's (@Redirect). */
export interface RescindModuleOptions extends Omit<RescindOptions, 'cookies'> {
  cookies?: boolean | Omit<CookieOptions, 'afterLogout'>
}

/** How the module stands in the application. */
export interface RescindPlacement {
  /** Guard every route (default). false: put @UseGuards(RescindGuard) where it is needed. */
  guard?: boolean
  /** Whether other modules see RescindService without importing this one; default true. */
  isGlobal?: boolean
}

export interface RescindModuleAsyncOptions extends Pick<ModuleMetadata, 'imports'>, RescindPlacement {
  useFactory: (...args: any[]) => RescindModuleOptions | Promise<RescindModuleOptions>
  inject?: any[]
}

/** A route, or all of a controller, without a token. A method's own @Scopes() outranks its controller's @Public(). */
export const Public = (): MethodDecorator & ClassDecorator => SetMetadata(publicKey, true)

/** Scopes that the token must have: those of the controller and of the method together. */
export const Scopes = (...scopes: [string, ...string[]]): MethodDecorator & ClassDecorator => {
  need('Scopes', { scope: scopes })
  return SetMetadata(scopesKey, scopes)
}

/** What the ledger says of the request's token, or one member of it; undefined on public routes. */
export const CurrentSession: (member?: keyof Access) => ParameterDecorator =
  createParamDecorator((member: keyof Access | undefined, context: ExecutionContext) => {
    const access = context.getType() === 'http' ? judged.get(context.switchToHttp().getRequest<object>()) : undefined
    return member ? access?.[member] : access
  })

// By request: what the guard has learned, and where its answer goes, which the
// requests of Fastify do not know. A request's own members others may write.
const judged = new WeakMap<object, Access>()
const responses = new WeakMap<object, AnyResponse>()

/** Login, refresh and logout for controllers, and the calls of the client. */
@Injectable()
export class RescindService implements Checker, OnModuleDestroy {
  readonly client: Client
  readonly #flows: Flows
  readonly #checker: Checker

  constructor(@Inject(RESCIND_OPTIONS) options: RescindModuleOptions) {
    if (typeof options.cookies === 'object' && 'afterLogout' in options.cookies) throw new InvalidError('afterLogout: use @Redirect() on the logout route')
    const { client, flows } = assemble(options)
    this.client = client
    this.#flows = flows
    this.#checker = options.checker ?? client
  }

  /**
   * Opens a session after the application's own login, and returns what to send:
   * the grant; or, with cookies, {session, expires_in}, having put the tokens into
   * cookies. The response is needed only where no guard of ours has seen the request.
   */
  login(request: object, login: Login, options?: LoginOptions, response?: object): Promise<Grant | CookieGrant> {
    return this.#flows.login(request as Request, responseOf(request, response), login, options)
  }

  /** Continues a session by the refresh cookie or by the refresh_token in the body; throws the HttpException to answer with. */
  async refresh(request: object, response?: object): Promise<Grant | { expires_in: number }> {
    const to = responseOf(request, response)
    return settle(to, await this.#flows.refresh(request as Request, to)) as unknown as Grant | { expires_in: number }
  }

  /** Ends a session by cookies, bearer token or refresh_token in the body; throws the HttpException to answer with. An expired access token is enough. */
  async logout(request: object, response?: object): Promise<void> {
    const to = responseOf(request, response)
    settle(to, await this.#flows.logout(request as Request, to, false))
  }

  /** Ends every session of the subject. It needs a token that stands. */
  async logoutAll(request: object, response?: object): Promise<void> {
    const to = responseOf(request, response)
    settle(to, await this.#flows.logout(request as Request, to, true))
  }

  /** Lets a request pass, or throws the HttpException to answer with. For guards. */
  async require(request: object, want: Want, response?: object): Promise<Access> {
    const to = responseOf(request, response)
    const verdict = await this.#flows.judge(request as Request, want, to)
    if ('access' in verdict) return verdict.access
    settle(to, verdict.answer)
    throw new UnavailableError() // a denial is never a success
  }

  check(token: string, want?: Want): Promise<Access> { return this.#checker.check(token, want) }
  sessions(query?: SessionQuery): Promise<SessionPage> { return this.client.sessions(query) }
  devices(subject: string, limit?: number): Promise<Session[]> { return this.client.devices(subject, limit) }
  endSession(session: string, subject: string): Promise<Receipt> { return this.client.endSession(session, subject) }
  revoke(revocation: Revocation): Promise<Receipt> { return this.client.revoke(revocation) }
  /** For express-jwt; see isRevoked. */
  isRevoked(options?: JwtHookOptions): ReturnType<typeof isRevoked> { return isRevoked(this.#checker, options) }
  /** For the validate method of a passport-jwt strategy; see checkJwt. */
  checkJwt(options?: JwtHookOptions): ReturnType<typeof checkJwt> { return checkJwt(this.#checker, options) }

  onModuleDestroy(): void { this.client.close() }
}

/** Lets requests pass whose token stands. What is no HTTP request is refused, unless its handler is @Public(). */
@Injectable()
export class RescindGuard implements CanActivate {
  readonly #service: RescindService
  readonly #reflector: Reflector

  constructor(@Inject(RescindService) service: RescindService, @Inject(Reflector) reflector: Reflector) {
    this.#service = service
    this.#reflector = reflector
  }

  async canActivate(context: ExecutionContext): Promise<boolean> {
    const http = context.getType() === 'http' ? context.switchToHttp() : undefined
    if (http) responses.set(http.getRequest<object>(), http.getResponse<object>())
    const own = this.#read(context.getHandler())
    const all = this.#read(context.getClass())
    if (own.public && !own.scopes.length || all.public && !own.scopes.length && !all.scopes.length) return true
    if (!http) return false
    const request = http.getRequest<object>()
    const access = await this.#service.require(request, { scope: [...all.scopes, ...own.scopes] }, http.getResponse<object>())
    judged.set(request, access)
    ;(request as { auth?: Access }).auth = access
    return true
  }

  #read(target: Parameters<Reflector['get']>[1]): { public: boolean; scopes: string[] } {
    return { public: this.#reflector.get(publicKey, target) === true, scopes: this.#reflector.get<string[] | undefined>(scopesKey, target) ?? [] }
  }
}

/** Answers what a handler did not catch: UnavailableError with 503 and Retry-After, NotFoundError with 404. */
@Catch(UnavailableError, NotFoundError)
export class RescindFilter implements ExceptionFilter {
  catch(error: UnavailableError | NotFoundError, host: ArgumentsHost): void {
    if (host.getType() !== 'http') throw error
    const response = host.switchToHttp().getResponse<{ status(code: number): { send(body: unknown): void } }>()
    const to = new Response(response)
    if (to.gone) return
    if (error instanceof UnavailableError) to.set(error.headers)
    const [code, description] = error instanceof UnavailableError
      ? ['temporarily_unavailable', 'the state of the token could not be known; try again'] : ['not_found', 'there is no such session']
    response.status(error.status).send({ status: error.status, error: code, error_description: description })
  }
}

/** The module. */
@Module({})
export class RescindModule {
  static forRoot(options: RescindModuleOptions & RescindPlacement = {}): DynamicModule {
    const { guard, isGlobal, ...rest } = options
    return place({ provide: RESCIND_OPTIONS, useValue: rest }, { guard, isGlobal } as RescindPlacement, [])
  }

  static forRootAsync(options: RescindModuleAsyncOptions): DynamicModule {
    return place({ provide: RESCIND_OPTIONS, useFactory: options.useFactory, inject: options.inject ?? [] }, options, options.imports ?? [])
  }
}

function place(options: Provider, { guard = true, isGlobal = true }: RescindPlacement, imports: NonNullable<ModuleMetadata['imports']>): DynamicModule {
  const providers: Provider[] = [options, RescindService, RescindGuard, { provide: APP_FILTER, useClass: RescindFilter }]
  if (guard) providers.push({ provide: APP_GUARD, useExisting: RescindGuard })
  return { module: RescindModule, global: isGlobal, imports, providers, exports: [RescindService, RescindGuard, RESCIND_OPTIONS] }
}

function responseOf(request: object, given: object | undefined): Response {
  const found = given ?? responses.get(request) ?? (request as { res?: unknown }).res
  if (!isResponse(found)) throw new InvalidError('no guard of ours has seen this request: hand over its response too, by @Res({ passthrough: true })')
  return new Response(found)
}

function settle(response: Response, answer: Answer): Answer['body'] {
  response.set(answer.headers)
  if (answer.status >= 400) throw new HttpException({ ...answer.body }, answer.status)
  return answer.body
}
