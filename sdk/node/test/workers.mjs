// An application with several processes, as Node's cluster makes them.
import cluster from 'node:cluster'
import express from 'express'
import { rescind } from '@rescind/node/express'

if (cluster.isPrimary) {
  for (let i = 0; i < Number(process.env.WORKERS); i++) cluster.fork()
  let ready = 0
  cluster.on('listening', (_, { port }) => { if (++ready === Number(process.env.WORKERS)) console.log(port) })
  process.stdin.on('close', () => process.exit()).resume() // workers end with it, and it ends with the test
} else {
  const r = rescind({ audience: 'notes', timeout: Number(process.env.TIMEOUT), cookies: { insecureLoopback: true }, log: () => {} })
  const app = express()
  app.use((q, s, next) => { s.set('X-Worker', process.pid); next() })
  app.use(express.json())
  app.post('/login', async (q, s) => s.json(await r.login(q, { subject: q.body.user }, { cookies: q.body.cookies === true })))
  app.post('/refresh', r.refresh())
  app.post('/logout', r.logout())
  app.post('/logout-all', r.logoutAll())
  app.use('/api', r.requireToken())
  app.get('/api/me', (q, s) => s.json({ subject: q.auth.subject, session: q.auth.session }))
  app.listen(0, '127.0.0.1')
}
