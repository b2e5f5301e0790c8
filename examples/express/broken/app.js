// A notes application.
import cluster from 'node:cluster'
import { createHash, timingSafeEqual } from 'node:crypto'
import { join } from 'node:path'
import express from 'express'
import * as tokens from './tokens.js'

const app = express()
app.use((q, s, next) => { s.set('X-Worker', process.pid); next() })
app.use(express.static(join(import.meta.dirname, '../../page')))
app.use(express.json())

// Who logs in. The tokens are in the answer; a browser that asks for cookies gets them there.
app.post('/login', async (q, s) => {
  const subject = checkPassword(q.body)
  if (!subject) return s.sendStatus(401)
  s.json(await tokens.login(q, s, subject, q.body.cookies === true))
})
app.post('/refresh', tokens.refresh)
app.post('/logout', tokens.logout)
app.post('/logout-all', tokens.logoutAll)

// From here on there is no way without a token.
app.use('/api', tokens.guard)

app.get('/api/me', (q, s) => s.json({ subject: q.auth.subject, session: q.auth.session }))

app.get('/api/notes', (q, s) => s.json(notesOf(q.auth.subject)))
app.post('/api/notes', (q, s) => {
  const { text } = q.body ?? {}
  if (typeof text !== 'string' || text.length > 1000) return s.sendStatus(400)
  notesOf(q.auth.subject).push({ text })
  s.status(201).json({ text })
})

app.get('/api/devices', async (q, s) => s.json(await tokens.devices(q.auth.subject)))
app.delete('/api/devices/:id', async (q, s) => s.json(await tokens.endDevice(q.params.id, q.auth.subject)))

// The users, and their notes: every worker has its own, as long as it lives. Yours are in a database.
const users = new Map([['ada', 'lovelace'], ['alan', 'turing']])
const notes = new Map()

function notesOf(subject) {
  if (!notes.has(subject)) notes.set(subject, [])
  return notes.get(subject)
}

function checkPassword({ user, password } = {}) {
  const digest = text => createHash('sha256').update(String(text)).digest()
  const right = timingSafeEqual(digest(password), digest(users.get(user)))
  return right && users.has(user) ? user : undefined
}

const { HOST = '127.0.0.1', PORT = '8080', WORKERS = '1' } = process.env
if (cluster.isPrimary && WORKERS > 1) {
  for (let i = 0; i < WORKERS; i++) cluster.fork()
} else {
  app.listen(PORT, HOST, () => console.log(`notes at http://${HOST}:${PORT}`))
}
