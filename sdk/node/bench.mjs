// One of the applications that `go run ./bench sdk` measures: APPLICATION says
// which, PORT where.
import { createSecretKey } from 'node:crypto'
import express from 'express'
import { expressjwt } from 'express-jwt'
import { Redis } from 'ioredis'
import { rescind } from '@rescind/node/express'

const { APPLICATION, PORT, JWT_SECRET, REDIS_PORT } = process.env

const guards = {
  bare: () => (q, s, next) => next(),
  rescind: () => rescind().requireToken(),
  // As README files have it, with the secret as it comes from the environment.
  text: () => recipe(JWT_SECRET),
  // The same, with the secret made a key once.
  key: () => recipe(createSecretKey(Buffer.from(JWT_SECRET))),
}

function recipe(secret) {
  const redis = new Redis(REDIS_PORT, '127.0.0.1')
  return expressjwt({ secret, algorithms: ['HS256'], isRevoked: async (q, token) => await redis.exists('revoked:' + token.payload.jti) === 1 })
}

const app = express()
app.get('/', guards[APPLICATION](), (q, s) => s.json({ ok: true }))
app.listen(PORT, '127.0.0.1')
