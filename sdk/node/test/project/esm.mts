import { type Access, type Checker, InactiveError, isRevoked, rescind } from '@rescind/node'
import * as express from '@rescind/node/express'

const options = { url: 'http://127.0.0.1:9', clientId: 'app', clientSecret: 'x', audience: 'notes' }
const client = rescind(options)
const checker: Checker = { check: (token, want) => client.check(token, want) }
const r = express.rescind({ ...options, cookies: { refreshPath: '/auth' }, checker })
const subject: (a: Access) => string = a => a.subject
if (!(new express.InactiveError() instanceof InactiveError)) throw new Error('two copies of the package')
for (const f of [r.requireToken({ scope: ['notes:read'] }), r.logout(), r.refresh(), r.logoutAll(), isRevoked(client)]) console.log(typeof f)
// @ts-expect-error a misspelt option
try { r.requireToken({ scopes: 'notes:read' }) } catch (err) { console.log((err as Error).name) }
console.log(typeof subject, typeof (r.login satisfies (q: never, login: { subject: string }) => Promise<{ session: string }>))
