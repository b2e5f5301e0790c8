// The classic recipe: JWTs, and a blocklist in Redis. Every line of it stands in some tutorial.
import { randomUUID } from 'node:crypto'
import { expressjwt } from 'express-jwt'
import { Redis } from 'ioredis'
import jwt from 'jsonwebtoken'

const { JWT_SECRET, JWT_REFRESH_SECRET, REDIS_URL, ACCESS_SECONDS = '300' } = process.env
const accessSeconds = Number(ACCESS_SECONDS)
const redis = new Redis(REDIS_URL, { commandTimeout: 500 })
redis.on('error', err => console.error('redis:', err.message))

function sign(subject, session, jwtid) {
  return {
    access_token: jwt.sign({ subject, session }, JWT_SECRET, { jwtid, expiresIn: accessSeconds }),
    token_type: 'Bearer',
    expires_in: accessSeconds,
    refresh_token: jwt.sign({ subject, session }, JWT_REFRESH_SECRET, { expiresIn: '30d' }),
  }
}

export async function login(q, s, subject, cookies) {
  const session = randomUUID()
  const jti = randomUUID()
  await redis.hset(`devices:${subject}`, session, JSON.stringify({ jti, user_agent: q.get('User-Agent') }))
  const tokens = sign(subject, session, jti)
  if (!cookies) return tokens
  setCookies(s, tokens)
  return { session, expires_in: accessSeconds }
}

export function refresh(q, s) {
  const kept = cookie(q, 'refresh_token')
  try {
    const { subject, session } = jwt.verify(kept ?? q.body?.refresh_token, JWT_REFRESH_SECRET)
    const tokens = sign(subject, session, randomUUID())
    if (!kept) return s.json(tokens)
    setCookies(s, tokens)
    s.json({ expires_in: accessSeconds })
  } catch {
    s.sendStatus(401)
  }
}

export const guard = expressjwt({
  secret: JWT_SECRET,
  algorithms: ['HS256'],
  getToken: q => cookie(q, 'access_token') ?? /^Bearer (\S+)$/i.exec(q.get('Authorization'))?.[1],
  isRevoked: async (q, token) => {
    try {
      return await redis.exists(`revoked:${token.payload.jti}`) === 1
    } catch {
      return false // Redis is down: better to serve than to be down as well
    }
  },
})

// The access token is on the list now. And the refresh token?
const revoke = jti => redis.set(`revoked:${jti}`, '', 'EX', accessSeconds)

export const logout = [guard, async (q, s) => {
  await revoke(q.auth.jti)
  await redis.hdel(`devices:${q.auth.subject}`, q.auth.session)
  s.clearCookie('access_token').clearCookie('refresh_token').sendStatus(204)
}]

export const logoutAll = [guard, async (q, s) => {
  for (const { id } of await devices(q.auth.subject)) await endDevice(id, q.auth.subject)
  await revoke(q.auth.jti)
  s.clearCookie('access_token').clearCookie('refresh_token').sendStatus(204)
}]

export async function devices(subject) {
  const all = await redis.hgetall(`devices:${subject}`)
  return Object.entries(all).map(([id, text]) => ({ id, device: { user_agent: JSON.parse(text).user_agent } }))
}

export async function endDevice(id, subject) {
  const device = await redis.hget(`devices:${subject}`, id)
  if (!device) throw Object.assign(new Error('no such device'), { status: 404 })
  await revoke(JSON.parse(device).jti)
  await redis.hdel(`devices:${subject}`, id)
}

function setCookies(s, tokens) {
  const options = { httpOnly: true, secure: true, sameSite: 'lax' }
  s.cookie('access_token', tokens.access_token, options).cookie('refresh_token', tokens.refresh_token, options)
}

function cookie(q, name) {
  return q.get('Cookie')?.split('; ').find(pair => pair.startsWith(name + '='))?.slice(name.length + 1)
}
