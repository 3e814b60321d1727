// Which provider do people connect to? The certified `oidc-provider`, as strict as it can be set: PKCE is required,
// every refresh gives a new refresh token, and one that is used twice ends the whole grant. Or, with grace, as such
// providers are that honour the old one still.

import { once } from 'node:events';
import { createServer } from 'node:http';

import Provider from 'oidc-provider';
import { createMemoryAdapter } from 'oidc-provider/lib/adapters/memory_adapter.js';

import { atEnd } from './processes.mjs';

const SECONDS = {
  AccessToken: 5,
  AuthorizationCode: 60,
  Grant: 3600,
  IdToken: 60,
  Interaction: 600,
  RefreshToken: 3600,
  Session: 3600,
};

/// Runs until the test ends. What it issues to the house is noted there as secret; `granted` counts its token answers
/// by grant type, `latest` is the last of them, `refused` has the errors of those that got none. `ids` are the ids of the
/// services that the house knows it by, `seconds` is what an access token lives.
export async function startProvider(t, house, { ids = ['op'], seconds = SECONDS.AccessToken, grace = false } = {}) {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const issuer = `http://127.0.0.1:${server.address().port}`;
  atEnd(t, () => {
    server.closeAllConnections();
    server.close();
  });

  const clientSecret = house.keys.clientSecret;
  const guard = { client_id: 'guard', client_secret: 'of-the-mcp-server' };
  const adapter = createMemoryAdapter();
  const provider = new Provider(issuer, {
    adapter: grace ? (model) => Object.assign(adapter(model), model === 'RefreshToken' && { consume: forgive }) : adapter,
    clients: [
      {
        client_id: 'gatehouse',
        client_secret: clientSecret,
        redirect_uris: ids.map((id) => `${house.broker}/callback/${id}`),
        grant_types: ['authorization_code', 'refresh_token'],
        response_types: ['code'],
        token_endpoint_auth_method: 'client_secret_basic',
      },
      { ...guard, redirect_uris: [], grant_types: [], response_types: [] },
    ],
    cookies: { keys: ['of-this-test'] },
    features: { devInteractions: { enabled: true }, introspection: { enabled: true }, revocation: { enabled: true } },
    findAccount: (_, id) => ({ accountId: id, claims: () => ({ sub: id }) }),
    issueRefreshToken: () => true,
    pkce: { required: () => true },
    rotateRefreshToken: true,
    scopes: ['openid', 'offline_access'],
    ttl: { ...SECONDS, AccessToken: seconds },
  });
  house.secrets.set('client password', Buffer.from(`gatehouse:${clientSecret}`).toString('base64'));

  const seen = { granted: { authorization_code: 0, refresh_token: 0 }, latest: undefined, refused: [] };
  const secret = (what, value) => house.secrets.set(`${what} ${house.secrets.size}`, value);
  provider.on('grant.success', ({ oidc: { params }, body }) => {
    seen.granted[params.grant_type] += 1;
    seen.latest = body;
    for (const kind of ['access_token', 'refresh_token', 'id_token']) secret(kind, body[kind]);
    for (const kind of ['code', 'code_verifier']) if (params[kind]) secret(kind, params[kind]);
  });
  provider.on('grant.error', (_, error) => seen.refused.push(error.message));
  server.on('request', provider.callback());

  const ask = async (path, token) => {
    const headers = { authorization: `Basic ${btoa(`${guard.client_id}:${guard.client_secret}`)}` };
    const answer = await fetch(issuer + path, { method: 'POST', headers, body: new URLSearchParams({ token }) });
    return answer.json();
  };
  return Object.assign(seen, {
    issuer,
    lifetime: seconds * 1000,
    /// RFC 7662
    introspect: (token) => ask('/token/introspection', token),
    /// The entry of `oauth_clients`.
    service: {
      name: 'The Provider',
      client_id: 'gatehouse',
      client_secret: clientSecret,
      authorize_url: `${issuer}/auth`,
      token_url: `${issuer}/token`,
      issuer,
      issuer_required: true,
      scopes: ['openid', 'offline_access'],
      // OpenID Connect Core section 11: without it there is no offline_access.
      authorize_params: { prompt: 'consent' },
      revoke: { url: `${issuer}/token/revocation` },
      whoami: { url: `${issuer}/me`, account: ['sub'] },
    },
  });
}

async function forgive() {}
