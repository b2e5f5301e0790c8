// Tokens as the recipe for Passport makes and checks them: whoever holds one that is well signed is in.
import {
  Injectable, Module, SetMetadata, UnauthorizedException, createParamDecorator,
  type ExecutionContext,
} from '@nestjs/common'
import { APP_GUARD, Reflector } from '@nestjs/core'
import { JwtModule, JwtService } from '@nestjs/jwt'
import { AuthGuard, PassportStrategy } from '@nestjs/passport'
import { ExtractJwt, Strategy } from 'passport-jwt'

const seconds = Number(process.env.ACCESS_SECONDS ?? 300)
const secret = process.env.JWT_SECRET ?? 'change me'
const refreshSecret = process.env.JWT_REFRESH_SECRET ?? 'change me too'

@Injectable()
export class Tokens {
  constructor(private readonly jwt: JwtService) {}

  issue(subject: string) {
    return {
      access_token: this.jwt.sign({ sub: subject }, { secret, expiresIn: seconds }), token_type: 'Bearer', expires_in: seconds,
      refresh_token: this.jwt.sign({ sub: subject }, { secret: refreshSecret, expiresIn: '30d' }),
    }
  }

  refresh(token: string) {
    try {
      return this.issue(this.jwt.verify(token, { secret: refreshSecret }).sub)
    } catch {
      throw new UnauthorizedException()
    }
  }
}

@Injectable()
export class JwtStrategy extends PassportStrategy(Strategy) {
  constructor() { super({ jwtFromRequest: ExtractJwt.fromAuthHeaderAsBearerToken(), secretOrKey: secret }) }

  // The flaw: the signature is right and the time is not over, and nothing is looked up.
  validate(payload: { sub: string }) { return { subject: payload.sub } }
}

export const Public = () => SetMetadata('public', true)

export const CurrentUser = createParamDecorator((member: 'subject', context: ExecutionContext) => context.switchToHttp().getRequest().user[member])

@Injectable()
class JwtGuard extends AuthGuard('jwt') {
  constructor(private readonly reflector: Reflector) { super() }

  override canActivate(context: ExecutionContext) {
    return this.reflector.getAllAndOverride<boolean>('public', [context.getHandler(), context.getClass()]) || super.canActivate(context)
  }
}

@Module({
  imports: [JwtModule],
  providers: [Tokens, JwtStrategy, { provide: APP_GUARD, useClass: JwtGuard }],
  exports: [Tokens],
})
export class TokensModule {}
