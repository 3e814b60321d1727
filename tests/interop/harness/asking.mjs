// How are the broker asked for a token, and the gateway for a call?

import assert from 'node:assert/strict';

import { Client, StreamableHTTPClientTransport } from '@modelcontextprotocol/client';

/// `POST /token/{id}` by a script of the owner, at one of the brokers: status, headers, body, and how many milliseconds
/// it waited.
export async function askForToken(house, id, origin = house.broker) {
  return send('POST', house, `${origin}/token/${id}`);
}

/// `DELETE /token/{id}`
export async function disconnect(house, id) {
  return send('DELETE', house, `${house.broker}/token/${id}`);
}

/// `GET /connections`
export async function listed(house) {
  return (await send('GET', house, `${house.broker}/connections`)).body.services;
}

async function send(method, { keys }, url) {
  const start = performance.now();
  const headers = { authorization: `Bearer ${keys.apiKey}` };
  const answer = await fetch(url, { method, headers, signal: AbortSignal.timeout(90_000) });
  const text = await answer.text();
  const body = text ? JSON.parse(text) : {};
  return { status: answer.status, headers: answer.headers, body, took: performance.now() - start };
}

/// What `POST /resolve` of the gateway's own key says of one service, when its upstream has refused the token of that
/// fingerprint.
export async function resolve({ broker, gateway, keys }, service, refused) {
  const headers = { authorization: `Bearer ${keys.serviceKey}`, 'content-type': 'application/json' };
  const question = { subject_token: keys.apiKey, resource: `${gateway}/mcp`, services: [{ service, refused }] };
  const answer = await fetch(`${broker}/resolve`, { method: 'POST', headers, body: JSON.stringify(question) });
  const { services } = await answer.json();
  return services[0];
}

/// Who the guarded server says is calling it through the gateway.
export async function whoami(house) {
  const result = await call(house);
  assert.notEqual(result.isError, true, JSON.stringify(result));
  return result.content[0].text;
}

export async function call(house) {
  const client = new Client({ name: 'interop', version: '1.0.0' }, { versionNegotiation: { mode: 'auto' } });
  await client.connect(new StreamableHTTPClientTransport(new URL(`${house.gateway}/mcp`)));
  try {
    const result = await client.callTool({ name: 'guarded__whoami', arguments: {} });
    house.said.push(JSON.stringify(result));
    return result;
  } finally {
    await client.close();
  }
}
