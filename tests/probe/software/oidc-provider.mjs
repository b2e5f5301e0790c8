// The OpenID provider as its own quick start has it, with one client: logins by its
// development form, refresh tokens that rotate, revocation.
import { createServer } from 'node:http'
import Provider from 'oidc-provider'

const { PORT, CLIENT_SECRET } = process.env
const issuer = `http://127.0.0.1:${PORT}`
const provider = new Provider(issuer, {
  clients: [{
    client_id: 'app', client_secret: CLIENT_SECRET, redirect_uris: [`${issuer}/callback`],
    grant_types: ['authorization_code', 'refresh_token'], response_types: ['code'],
  }],
  features: { revocation: { enabled: true } },
  issueRefreshToken: () => true,
  rotateRefreshToken: true,
  pkce: { required: () => false },
})
createServer(provider.callback()).listen(PORT, '127.0.0.1')
