import express from 'express'
import { rescind } from '@rescind/node/express'

const r = rescind({ url: 'http://127.0.0.1:9', clientId: 'app', clientSecret: 'x', audience: 'notes' })
const app = express()
app.post('/login', async (q, s) => { s.json(await r.login(q, { subject: 'ada' })) })
app.post('/refresh', r.refresh())
app.post('/logout', r.logout())
app.use('/api', r.requireToken())
app.get('/api/notes', (q, s) => { s.json([q.auth?.subject, q.auth?.session, q.auth?.scope, q.auth?.claims]) })
console.log('express')
