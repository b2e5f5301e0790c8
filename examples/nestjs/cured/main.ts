// A notes application. The ledger says which tokens stand: who logs out is out, everywhere and at once.
import 'reflect-metadata'
import cluster from 'node:cluster'
import { createHash, timingSafeEqual } from 'node:crypto'
import { BadRequestException, Body, Controller, Delete, Get, HttpCode, Injectable, Module, Param, Post, Req, UnauthorizedException } from '@nestjs/common'
import { NestFactory } from '@nestjs/core'
import { CurrentSession as CurrentUser, Public, RescindModule, RescindService } from '@rescind/node/nestjs'
import type { NextFunction, Request, Response } from 'express'

// Everything about sessions.
@Injectable()
class Sessions {
  constructor(private readonly rescind: RescindService) {}
  login(q: Request, subject: string) { return this.rescind.login(q, { subject }) }
  refresh(q: Request) { return this.rescind.refresh(q) }
  logout(q: Request) { return this.rescind.logout(q) } // an expired access token serves, and so does a refresh token
  logoutAll(q: Request) { return this.rescind.logoutAll(q) }
  devices(subject: string) { return this.rescind.devices(subject) }
  endDevice(id: string, subject: string) { return this.rescind.endSession(id, subject) }
}

@Public()
@Controller()
class LoginController {
  constructor(private readonly sessions: Sessions) {}
  @Post('login') @HttpCode(200) login(@Req() q: Request) { return this.sessions.login(q, checkPassword(q.body)) }
  @Post('refresh') @HttpCode(200) refresh(@Req() q: Request) { return this.sessions.refresh(q) }
  @Post('logout') @HttpCode(204) logout(@Req() q: Request) { return this.sessions.logout(q) }
  @Post('logout-all') @HttpCode(204) logoutAll(@Req() q: Request) { return this.sessions.logoutAll(q) }
}

@Controller('api')
class NotesController {
  constructor(private readonly sessions: Sessions) {}
  @Get('me') me(@CurrentUser('subject') subject: string) { return { subject } }
  @Get('notes') list(@CurrentUser('subject') subject: string) { return notesOf(subject) }
  @Post('notes') add(@CurrentUser('subject') subject: string, @Body('text') text: unknown) {
    if (typeof text !== 'string' || text.length > 1000) throw new BadRequestException()
    notesOf(subject).push({ text })
    return { text }
  }
  @Get('devices') devices(@CurrentUser('subject') subject: string) { return this.sessions.devices(subject) }
  @Delete('devices/:id') endDevice(@CurrentUser('subject') subject: string, @Param('id') id: string) { return this.sessions.endDevice(id, subject) }
}

@Module({
  imports: [RescindModule.forRoot({ audience: 'notes' })],
  controllers: [LoginController, NotesController],
  providers: [Sessions],
})
class AppModule {}

// The users, and their notes: every worker has its own, as long as it lives. Yours are in a database.
const users = new Map([['ada', 'lovelace'], ['alan', 'turing']])
const notes = new Map<string, { text: string }[]>()

function notesOf(subject: string) {
  if (!notes.has(subject)) notes.set(subject, [])
  return notes.get(subject)!
}

function checkPassword({ user = '', password = '' } = {}) {
  const digest = (text: unknown) => createHash('sha256').update(String(text)).digest()
  const right = timingSafeEqual(digest(password), digest(users.get(user)))
  if (!right || !users.has(user)) throw new UnauthorizedException()
  return user
}

const { HOST = '127.0.0.1', PORT = '8080', WORKERS = '1' } = process.env
if (cluster.isPrimary && Number(WORKERS) > 1) {
  for (let i = 0; i < Number(WORKERS); i++) cluster.fork()
} else {
  const app = await NestFactory.create(AppModule, { logger: ['error', 'warn'] })
  app.use((_q: Request, s: Response, next: NextFunction) => { s.set('X-Worker', String(process.pid)); next() })
  await app.listen(PORT, HOST)
  console.log(`notes at http://${HOST}:${PORT}`)
}
