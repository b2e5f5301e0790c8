import express = require('@rescind/node/express')
import main = require('@rescind/node')

const options: express.RescindOptions = { url: 'http://127.0.0.1:9', clientId: 'app', clientSecret: 'x', audience: 'notes' }
const client: main.Client = main.rescind(options as main.ClientOptions)
const r = express.rescind(options)
if (express.InactiveError !== main.InactiveError) throw new Error('two copies of the package')
for (const f of [r.requireToken({ scope: 'notes:read' }), r.logout(), r.refresh(), r.logoutAll(), main.isRevoked(client)]) console.log(typeof f)
try { r.requireToken({ scope: '' }) } catch (err) { console.log((err as Error).name) }
const list: Promise<main.Session[]> = client.devices('ada').catch(() => [])
console.log(typeof list, typeof r.login)
