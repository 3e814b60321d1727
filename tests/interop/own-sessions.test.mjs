// Shows that clients of one person have sessions of their own at a server with state in its session, as without Gatehouse.
//
// The servers are one of ours that keeps pages as a browser does, and the example server of the TypeScript SDK 1.

import assert from 'node:assert/strict';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';

import { Client } from '@modelcontextprotocol/sdk/client/index.js';
import { StreamableHTTPClientTransport } from '@modelcontextprotocol/sdk/client/streamableHttp.js';
import { ElicitRequestSchema, ListRootsRequestSchema, LoggingMessageNotificationSchema } from '@modelcontextprotocol/sdk/types.js';

import { COMPOSITIONS, House } from './harness/house.mjs';
import { startPages } from './harness/pages-server.mjs';
import { answers, atEnd, freePort, Running } from './harness/processes.mjs';

const SDK = join(import.meta.dirname, 'node_modules/@modelcontextprotocol/sdk/dist/esm');
const EXAMPLE = join(SDK, 'examples/server/simpleStreamableHttp.js');
const NAMES = ['alice', 'bob'];
/// How long what is said on a stream of its own may be on its way.
const PATIENCE = 10_000;

for (const composition of Object.keys(COMPOSITIONS)) {
  test(`R41: two clients have their own pages, roots and logs: ${composition}`, { timeout: 90_000 }, async (t) => {
    const pages = await startPages(t);
    const house = await House.plan(t, composition);
    await house.open(t, { servers: { pages: { type: 'http', url: pages.url } } });
    const [alice, bob] = await Promise.all(NAMES.map((name) => connect(t, `${house.gateway}/mcp/pages`, name)));
    await Promise.all([alice, bob].map(({ listens }) => listens()));

    assert.deepEqual(await alice.call('open', { page: 'a' }), ['a']);
    assert.deepEqual(await bob.call('open', { page: 'b' }), ['b']);
    assert.deepEqual(await alice.call('open', { page: 'c' }), ['a', 'c']);
    const asked = await Promise.all([alice, bob].map(({ call }) => call('roots')));
    assert.deepEqual(asked, [['file:///alice'], ['file:///bob']]);
    await until(() => alice.said.length + bob.said.length === 3);
    assert.deepEqual([alice.said, bob.said], [['opened a', 'opened c'], ['opened b']]);

    assert.equal(pages.sessions.size, 2);
    await alice.transport.terminateSession();
    await until(() => pages.sessions.size === 1);
    assert.deepEqual(await bob.call('open', { page: 'd' }), ['b', 'd']);
  });
}

describe("R41: the SDK's example server of Streamable HTTP", { concurrency: true }, () => {
  test('three clients at once hear their own notifications, and all of them', { timeout: 60_000 }, async (t) => {
    const url = await startExample(t);
    const house = await House.plan(t);
    await house.open(t, { servers: { example: { type: 'http', url } } });
    for (const place of [url, `${house.gateway}/mcp/example`]) {
      const counts = [5, 3, 8];
      const clients = await Promise.all(counts.map((count) => connect(t, place, `${count}`)));
      await Promise.all(clients.map(({ listens }) => listens()));
      const start = ({ client }, at) =>
        client.callTool({ name: 'start-notification-stream', arguments: { interval: 20 * (at + 1), count: counts[at] } });
      await Promise.all(clients.map(start));
      await until(() => clients.reduce((heard, { said }) => heard + said.length, 0) === 16);
      for (const [at, { said }] of clients.entries()) {
        const numbers = said.map((text) => Number(/#(\d+) /.exec(text)[1]));
        assert.deepEqual(numbers, Array.from({ length: counts[at] }, (_, before) => before + 1), place);
      }
    }
  });

  test('each person is asked what their own client has called', { timeout: 60_000 }, async (t) => {
    const house = await House.plan(t);
    await house.open(t, { servers: { example: { type: 'http', url: await startExample(t) } } });
    const clients = await Promise.all(NAMES.map((name) => connect(t, `${house.gateway}/mcp/example`, name)));
    await Promise.all(clients.map(({ listens }) => listens()));
    const asked = clients.map(({ client }) =>
      client.callTool({ name: 'collect-user-info', arguments: { infoType: 'preferences' } }),
    );
    for (const [at, { content }] of (await Promise.all(asked)).entries()) {
      assert.match(content[0].text, new RegExp(NAMES[at]));
      assert.doesNotMatch(content[0].text, new RegExp(NAMES[1 - at]));
    }
  });
});

/// A client of that name, until the test ends. `said` is what its server has logged.
async function connect(t, url, name) {
  const client = new Client({ name, version: '1.0.0' }, { capabilities: { roots: {}, elicitation: {} } });
  const said = [];
  const streams = [];
  client.setRequestHandler(ListRootsRequestSchema, () => ({ roots: [{ uri: `file:///${name}` }] }));
  client.setRequestHandler(ElicitRequestSchema, () => ({ action: 'accept', content: { theme: 'dark', language: name } }));
  client.setNotificationHandler(LoggingMessageNotificationSchema, ({ params }) => void said.push(params.data));
  const observed = async (to, options) => {
    const answer = await fetch(to, options);
    if (options.method === 'GET') streams.push(answer.status);
    return answer;
  };
  const transport = new StreamableHTTPClientTransport(new URL(url), { fetch: observed });
  await client.connect(transport);
  atEnd(t, () => client.close());
  const call = async (name, args = {}) => JSON.parse((await client.callTool({ name, arguments: args })).content[0].text);
  return { client, transport, said, call, listens: () => until(() => streams.includes(200)) };
}

async function startExample(t) {
  const port = await freePort();
  const env = { ...process.env, MCP_PORT: `${port}` };
  const server = new Running(process.execPath, [EXAMPLE], { env });
  atEnd(t, () => server.stop());
  const url = `http://127.0.0.1:${port}/mcp`;
  await server.ready(() => answers(url));
  return url;
}

async function until(holds) {
  const deadline = Date.now() + PATIENCE;
  while (!holds()) {
    assert.ok(Date.now() < deadline, `not in time: ${holds}`);
    await sleep(50);
  }
}
