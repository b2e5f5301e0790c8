// The guarded application of spec/README.md, in Express 5 or 4.
import { createRequire } from 'node:module'
import { pathToFileURL } from 'node:url'

const require = createRequire(pathToFileURL(process.env.SPEC_NODE + '/package.json'))
const express = require(process.argv[2])
const { ForbiddenError, rescind } = require('@rescind/node/express')

const camel = name => name.replace(/_(.)/g, (_, c) => c.toUpperCase())
const ends = []

function start({ url, client_id: clientId, client_secret: clientSecret, cookies, audience, timeout_ms: timeout }) {
  const r = rescind({
    url, clientId, clientSecret, timeout, log: () => {}, ...audience ? { audience } : {},
    cookies: typeof cookies === 'object' && cookies ? Object.fromEntries(Object.entries(cookies).map(([name, value]) => [camel(name), value])) : cookies === true,
  })
  const app = express()
  app.all('/auth/refresh', r.refresh())
  app.all('/auth/logout', r.logout())
  app.all('/auth/logout-all', r.logoutAll())
  app.post('/auth/login', express.json(), (q, s, next) => { r.login(q, q.body).then(said => s.json(said), next) })
  const me = (q, s) => { const { subject, session, client, audience, scope } = q.auth; s.json({ subject, session, client, audience, scope }) }
  app.all('/api/scoped', r.requireToken({ scope: 'notes:read notes:write' }), me)
  app.all('/elsewhere/me', r.requireToken({ audience: 'elsewhere' }), me)
  app.use('/api', r.requireToken())
  app.all('/api/me', me)
  app.all('/api/own', (q, s) => s.status(401).set('WWW-Authenticate', 'Own').send('own'))
  app.use((err, q, s, next) => err instanceof ForbiddenError ? s.status(403).end() : next(err))
  return new Promise(resolve => {
    const listener = app.listen(0, '127.0.0.1', () => resolve(`http://127.0.0.1:${listener.address().port}`))
    ends.push(() => { r.close(); listener.close(); listener.closeAllConnections() })
  })
}

console.log('ready', ...await Promise.all(JSON.parse(process.env.SPEC_APPS).map(start)))
process.stdin.resume().on('end', () => ends.forEach(end => end()))
