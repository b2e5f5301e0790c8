import 'reflect-metadata'
import { Body, Controller, Get, HttpCode, Inject, Module, Post, Req } from '@nestjs/common'
import { type Access, CurrentSession, Public, RescindGuard, RescindModule, RescindService, Scopes } from '@rescind/node/nestjs'

@Public()
@Controller()
class AuthController {
  constructor(@Inject(RescindService) private readonly rescind: RescindService) {}
  @Post('login') async login(@Req() q: object, @Body() b: { user: string }) { return this.rescind.login(q, { subject: b.user }) }
  @Post('refresh') @HttpCode(200) refresh(@Req() q: object) { return this.rescind.refresh(q) }
  @Post('logout') @HttpCode(204) logout(@Req() q: object): Promise<void> { return this.rescind.logout(q) }
}

@Controller('notes')
class NotesController {
  @Get() @Scopes('notes:read') list(@CurrentSession() session: Access, @CurrentSession('subject') subject: string) { return [session.claims, subject] }
}

const options = { url: 'http://127.0.0.1:9', clientId: 'app', clientSecret: 'x', audience: 'notes' }

@Module({
  imports: [RescindModule.forRoot({ ...options, cookies: true }), RescindModule.forRootAsync({ useFactory: async () => options, guard: false })],
  controllers: [AuthController, NotesController],
})
export class AppModule {}
console.log(typeof RescindGuard)
