// As which client does the official suite meet Gatehouse? As broker and gateway together, used by a person with a browser
// and by a client that knows nothing of all this.
//
// The suite starts this with the URL of an MCP server, which is all that Gatehouse is told: it becomes an upstream and a
// service. Each call through the gateway that answers with a link has the person go there and agree, and is made again.

import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createServer, request } from 'node:http';

import { Client, StreamableHTTPClientTransport } from '@modelcontextprotocol/client';

import { House } from '../harness/house.mjs';
import { atEnd } from '../harness/processes.mjs';
import { Visitor } from '../harness/visitor.mjs';

/// Where others reach the broker, for those scenarios in which an authorization server asks it who it is.
const PUBLIC = 'https://gatehouse.test';
/// How often a person agrees to connect before they see that it leads nowhere.
const PATIENCE = 2;

const url = process.argv.at(-1);
const { MCP_CONFORMANCE_SCENARIO: scenario, MCP_CONFORMANCE_PROTOCOL_VERSION: version } = process.env;
const { client_id, client_secret } = JSON.parse(process.env.MCP_CONFORMANCE_CONTEXT ?? '{}');

const closing = [];
try {
  await judged({ after: (close) => closing.push(close) });
} catch (error) {
  console.error(error.message);
  process.exitCode = 1;
} finally {
  for (const close of closing) await close();
}

async function judged(t) {
  const house = await House.plan(t);
  const visitor = new Visitor();
  const isPublic = scenario === 'auth/basic-cimd';
  if (isPublic) {
    const [front, plain] = [await startFront(t, house.ports[0]), globalThis.fetch];
    globalThis.fetch = (to, options) => plain(`${to}`.replace(PUBLIC, front), options);
    house.reachedAt(PUBLIC);
  }
  const servers = { judge: { type: 'http', url, service: 'judge' } };
  await house.open(t, {
    servers,
    services: { judge: { mcp_server: url, client_id, client_secret } },
    settings: { internal_hosts: (await hostsBehind(url)).join() },
  });
  if (isPublic) await visitor.post(`${PUBLIC}/sign-in`, { credential: house.keys.ownerPassphrase });

  const mode = version === '2026-07-28' ? 'auto' : 'legacy';
  const client = new Client({ name: 'interop', version: '1.0.0' }, { versionNegotiation: { mode } });
  const headers = isPublic ? { authorization: `Bearer ${house.keys.apiKey}` } : {};
  await client.connect(
    new StreamableHTTPClientTransport(new URL(`${house.gateway}/mcp/judge`), { requestInit: { headers } }),
  );
  const called = new Set();
  for (;;) {
    const { tools } = await connected(house, visitor, () => client.listTools());
    // Before anything is connected there is but a tool that tells how.
    const next = tools.find(({ name }) => !called.has(name));
    if (!next) break;
    called.add(next.name);
    await connected(house, visitor, () => client.callTool({ name: next.name, arguments: {} }));
  }
  await client.close();
}

/// A server may move to another authorization server: the operator names that one too, and starts again.
async function nameHosts(house) {
  const named = house.variables.internal_hosts.split(',').filter(Boolean);
  const all = [...new Set([...named, ...(await hostsBehind(url))])];
  if (all.length === named.length) return;
  house.variables.internal_hosts = all.join();
  await house.restart();
}

/// The hosts that the server's metadata are at and name, with their ports. Of this machine the operator names each.
async function hostsBehind(server) {
  const { origin, pathname } = new URL(server);
  const headers = { 'content-type': 'application/json', accept: 'application/json, text/event-stream' };
  const answer = await fetch(server, { method: 'POST', headers, body: '{}' }).catch(() => undefined);
  const named = /resource_metadata="?([^",\s]+)/.exec(answer?.headers.get('www-authenticate') ?? '')?.[1];
  const places = [pathname, ''].map((path) => `${origin}/.well-known/oauth-protected-resource${path}`);
  for (const place of named ? [named] : places) {
    const said = await fetch(place).then((document) => document.json()).catch(() => ({}));
    if (said.authorization_servers) return [place, ...said.authorization_servers].map((at) => new URL(at).host);
  }
  return [];
}

/// The answer, once the person has gone wherever it sends them.
async function connected(house, visitor, ask) {
  for (let agreed = 0; ; agreed += 1) {
    const answer = await ask().catch((error) => error);
    const said = answer instanceof Error ? `${answer.message} ${JSON.stringify(answer)}` : JSON.stringify(answer);
    const link = new RegExp(`${house.broker}/auth/judge[^"\\\\\\s]*`).exec(said)?.[0];
    if (!link) {
      assert.ok(!(answer instanceof Error) && !answer.isError, said);
      return answer;
    }
    assert.ok(agreed < PATIENCE, `connecting leads back to connecting: ${said}`);
    await nameHosts(house);
    const page = await visitor.logIn(link);
    const alert = /role="alert">([^<]*)/.exec(page.text)?.[1];
    assert.ok(page.status === 200 && !alert, `not connected: ${page.status} ${alert}`);
  }
}

/// What a proxy is to the app that ends TLS before it. Nobody here goes through TLS, so it is left out.
async function startFront(t, port) {
  const server = createServer((incoming, answer) => {
    const { method, url: path } = incoming;
    const headers = { ...incoming.headers, host: new URL(PUBLIC).host };
    const inside = request({ host: '127.0.0.1', port, method, path, headers });
    inside.on('response', (said) => said.pipe(answer.writeHead(said.statusCode, said.rawHeaders)));
    inside.on('error', () => answer.destroy());
    incoming.pipe(inside);
  }).listen(0, '127.0.0.1');
  await once(server, 'listening');
  atEnd(t, () => {
    server.closeAllConnections();
    server.close();
  });
  return `http://127.0.0.1:${server.address().port}`;
}
