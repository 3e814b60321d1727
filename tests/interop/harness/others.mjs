// Which other providers are there? Two that share no code with each other, nor with `oidc-provider`: an OAuth server of
// JavaScript and an OpenID provider of Python, on Authlib.

import { createPublicKey, verify } from 'node:crypto';
import { join, resolve } from 'node:path';

import { OAuth2Server } from 'oauth2-mock-server';

import { answers, atEnd, freePort, Running } from './processes.mjs';

/// Seconds that an access token lives.
const SECONDS = 5;
const BIN = resolve(import.meta.dirname, '../../..', process.env.CARGO_TARGET_DIR ?? 'target', 'interop-python/bin');

/// Each runs until the test ends, and gives the `service` for `oauth_clients`, what its `account` is called,
/// `introspect` and for how many milliseconds a token lives.
export const OTHERS = { 'oauth2-mock-server': mockServer, 'oidc-provider-mock': mockProvider };

async function mockServer(t, house) {
  const server = new OAuth2Server();
  await server.issuer.keys.generate('RS256');
  server.service.on('beforeTokenSigning', ({ payload }) => (payload.exp = payload.iat + SECONDS));
  server.service.on('beforeResponse', ({ body }) => (body.expires_in = SECONDS));
  await server.start(0, '127.0.0.1');
  atEnd(t, () => server.stop());
  const origin = `http://127.0.0.1:${server.address().port}`;

  /// It would take any token. But it signs what it gives.
  const introspect = async (token) => {
    const { keys } = await (await fetch(`${origin}/jwks`)).json();
    const [head, claims, signature] = token.split('.');
    const key = createPublicKey({ key: keys[0], format: 'jwk' });
    const isSigned = verify('sha256', Buffer.from(`${head}.${claims}`), key, Buffer.from(signature, 'base64url'));
    const { sub, exp } = JSON.parse(Buffer.from(claims, 'base64url'));
    return { active: isSigned && exp > Date.now() / 1000, client_id: 'gatehouse', scope: '', sub, exp };
  };
  const service = {
    ...client('The Mock Server', house),
    authorize_url: `${origin}/authorize`,
    token_url: `${origin}/token`,
    revoke: { url: `${origin}/revoke` },
    whoami: { url: `${origin}/userinfo`, account: ['sub'] },
  };
  return { service, account: 'johndoe', introspect, lifetime: SECONDS * 1000, revokes: true };
}

async function mockProvider(t, house) {
  const port = await freePort();
  const program = join(BIN, 'python');
  const args = ['-m', 'oidc_provider_mock', '--port', `${port}`, '--token-max-age', `${SECONDS}`];
  const running = new Running(program, args);
  atEnd(t, () => running.stop());
  const origin = `http://127.0.0.1:${port}`;
  await running.ready(() => answers(`${origin}/jwks`));

  /// It has no introspection, but asks about the bearer of a question for the account.
  const introspect = async (token) => {
    const answer = await fetch(`${origin}/userinfo`, { headers: { authorization: `Bearer ${token}` } });
    if (!answer.ok) return { active: false };
    const { sub } = await answer.json();
    return { active: true, client_id: 'gatehouse', scope: 'openid', sub, exp: Math.floor(Date.now() / 1000) + SECONDS };
  };
  const service = {
    ...client('The Mock Provider', house),
    authorize_url: `${origin}/oauth2/authorize`,
    token_url: `${origin}/oauth2/token`,
    scopes: ['openid'],
    whoami: { url: `${origin}/userinfo`, account: ['sub'] },
  };
  return { service, account: 'alice', introspect, lifetime: SECONDS * 1000, revokes: false };
}

function client(name, { keys }) {
  return { name, client_id: 'gatehouse', client_secret: keys.clientSecret };
}
