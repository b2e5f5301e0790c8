// oauth4webapi against a running server, as its documentation says. What to try
// comes as JSON on standard input (see node_test.go); each step that came out as
// it should is a line of standard output, anything else ends this with an error.

import assert from 'node:assert/strict'
import { text } from 'node:stream/consumers'
import * as oauth from 'oauth4webapi'

const { issuer, clients } = JSON.parse(await text(process.stdin))

// The library refuses plain HTTP unless it is told not to. That is all it is told.
const options = new URL(issuer).protocol === 'http:' ? { [oauth.allowInsecureRequests]: true } : {}

let group
async function step(name, run) {
  try {
    await run()
  } catch (err) {
    err.message = `${group}: ${name}: ${err.message}`
    throw err
  }
  console.log(`${group}: ${name}`)
}

group = 'server'
let as
await step('discovery', async () => {
  const url = new URL(issuer)
  const response = await oauth.discoveryRequest(url, { algorithm: 'oauth2', ...options })
  as = await oauth.processDiscoveryResponse(url, response)
  assert.deepEqual(as.grant_types_supported, ['refresh_token'])
})

for (const c of clients) {
  group = c.name
  await life(c)
}

// life is that of a session in the hands of the library.
async function life({ id, secret, method, jwt, grants }) {
  const client = { client_id: id }
  const auth = { basic: oauth.ClientSecretBasic, post: oauth.ClientSecretPost, none: oauth.None }[method](secret)
  const confidential = method !== 'none'

  const refresh = async (token, by = auth, more = {}) =>
    oauth.processRefreshTokenResponse(as, client, await oauth.refreshTokenGrantRequest(as, client, by, token, { ...options, ...more }))
  const introspect = async (token, more = {}) =>
    oauth.processIntrospectionResponse(as, client, await oauth.introspectionRequest(as, client, auth, token, { ...options, ...more }))
  const revoke = async (token, more = {}) =>
    oauth.processRevocationResponse(await oauth.revocationRequest(as, client, auth, token, { ...options, ...more }))
  const validate = (token) =>
    oauth.validateJwtAccessToken(as, new Request('https://api.example/things', { headers: { authorization: `Bearer ${token}` } }), issuer, options)
  const refused = (promise, error) => assert.rejects(promise, (err) => {
    assert.ok(err instanceof oauth.ResponseBodyError, `not a ResponseBodyError: ${err}`)
    assert.deepEqual([err.code, err.error, err.status], [oauth.RESPONSE_BODY_ERROR, error, 400])
    return true
  })

  let now = grants[0]

  await step('refresh', async () => {
    const next = await refresh(now.refresh_token)
    assert.equal(next.token_type, 'bearer')
    assert.ok(next.expires_in > 200 && next.expires_in <= 300, `expires_in ${next.expires_in}`)
    assert.equal(next.scope, 'read write')
    assert.ok(next.refresh_token && next.refresh_token !== now.refresh_token)
    assert.notEqual(next.access_token, now.access_token)
    const again = await refresh(now.refresh_token) // as after a lost answer
    assert.equal(again.refresh_token, next.refresh_token)
    now = next
  })

  await step('narrower scope', async () => {
    const next = await refresh(now.refresh_token, auth, { additionalParameters: { scope: 'read' } })
    assert.equal(next.scope, 'read')
    await refused(refresh(next.refresh_token, auth, { additionalParameters: { scope: 'read admin' } }), 'invalid_scope')
    now = await refresh(next.refresh_token)
    assert.equal(now.scope, 'read write')
  })

  if (confidential) {
    await step('introspection', async () => {
      const access = await introspect(now.access_token)
      assert.equal(access.active, true)
      assert.deepEqual(
        [access.sub, access.client_id, access.iss, access.token_type, access.scope, access.sid],
        ['ada', id, issuer, 'Bearer', 'read write', grants[0].session])
      assert.deepEqual([access.aud].flat(), [issuer])
      assert.ok(access.exp - access.iat === 300 && typeof access.jti === 'string')
      const refreshing = await introspect(now.refresh_token, { additionalParameters: { token_type_hint: 'refresh_token' } })
      assert.deepEqual([refreshing.active, refreshing.sub, refreshing.token_type], [true, 'ada', undefined])
      assert.deepEqual(await introspect('no-token-of-this-server'), { active: false })
    })
  }

  if (jwt) {
    await step('validation by RFC 9068', async () => {
      const claims = await validate(now.access_token)
      assert.deepEqual(
        [claims.iss, claims.sub, claims.client_id, claims.scope, claims.sid],
        [issuer, 'ada', id, 'read write', grants[0].session])
      await assert.rejects(validate(now.refresh_token))
      const end = now.access_token.lastIndexOf('.') + 1
      const other = now.access_token[end] === 'A' ? 'B' : 'A'
      await assert.rejects(validate(now.access_token.slice(0, end) + other + now.access_token.slice(end + 1)))
    })
  }

  await step('revocation', async () => {
    assert.equal(await revoke(now.access_token), undefined)
    await refused(refresh(now.refresh_token), 'invalid_grant')
    if (confidential) {
      assert.deepEqual(await introspect(now.access_token), { active: false })
      assert.deepEqual(await introspect(now.refresh_token), { active: false })
    }
    // Once more, by the other token, with a wrong hint, and what is no token: RFC
    // 7009 section 2.2 calls none of it an error.
    await revoke(now.access_token)
    await revoke(now.refresh_token, { additionalParameters: { token_type_hint: 'access_token' } })
    await revoke('no-token-of-this-server')
  })

  await step('revocation by refresh token', async () => {
    const { access_token, refresh_token } = grants[1]
    await revoke(refresh_token, { additionalParameters: { token_type_hint: 'refresh_token' } })
    await refused(refresh(refresh_token), 'invalid_grant')
    if (confidential) assert.deepEqual(await introspect(access_token), { active: false })
  })

  await step('reuse ends the session', async () => {
    const first = grants[2].refresh_token
    const second = await refresh(first)
    const third = await refresh(second.refresh_token)
    await refused(refresh(first), 'invalid_grant')
    await refused(refresh(third.refresh_token), 'invalid_grant')
    if (confidential) assert.deepEqual(await introspect(third.access_token), { active: false })
  })

  await step('errors', async () => {
    const foreign = grants[3] // another client's
    await refused(refresh(foreign.refresh_token), 'invalid_grant')
    await refused(revoke(foreign.access_token), 'invalid_grant')
    await refused(
      oauth.processClientCredentialsResponse(as, client, await oauth.clientCredentialsGrantRequest(as, client, auth, {}, options)),
      'unsupported_grant_type')
    if (confidential) {
      const wrong = (method === 'basic' ? oauth.ClientSecretBasic : oauth.ClientSecretPost)(secret.toUpperCase())
      await assert.rejects(refresh(grants[0].refresh_token, wrong), (err) => {
        // The library reads the challenge of a 401 before its body.
        assert.ok(err instanceof oauth.WWWAuthenticateChallengeError, `not a WWWAuthenticateChallengeError: ${err}`)
        assert.deepEqual([err.status, err.cause[0].scheme], [401, 'basic'])
        return true
      })
    }
  })
}
