// A server of the older era asks outside of the call's own stream: does the person with a modern client hear of it? And does
// a server that lives from its sessions get clients that have one?

import assert from 'node:assert/strict';
import { resolve } from 'node:path';
import { describe, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';

import { Client, StreamableHTTPClientTransport } from '@modelcontextprotocol/client';

import { startEverything } from './harness/everything.mjs';
import { House } from './harness/house.mjs';
import { run } from './harness/processes.mjs';
import { startSdk1Server } from './harness/sdk1-server.mjs';

const INFO = { name: 'interop', version: '1.0.0' };
const PYTHON = resolve(
  import.meta.dirname,
  '../..',
  process.env.CARGO_TARGET_DIR ?? 'target',
  'interop-python/bin/python',
);
const RMCP = resolve(import.meta.dirname, '../..', process.env.CARGO_TARGET_DIR ?? 'target', 'interop-rmcp/debug/interop-rmcp');
const FORM = {
  message: 'Who are you?',
  requestedSchema: { type: 'object', properties: { name: { type: 'string' } }, required: ['name'] },
};
const ROOTS = [{ uri: 'file:///work', name: 'work' }];

/// The official client in its auto mode, which tries the newer era first. It answers each form with the next name.
async function connect(t, url, names = ['Alice']) {
  const options = { capabilities: { elicitation: {}, roots: {} }, versionNegotiation: { mode: 'auto' } };
  const client = new Client(INFO, options);
  const asked = [];
  client.setRequestHandler('elicitation/create', async ({ params }) => {
    asked.push(params.message);
    return { action: 'accept', content: { name: names[(asked.length - 1) % names.length] } };
  });
  client.setRequestHandler('roots/list', async () => ({ roots: ROOTS }));
  await client.connect(new StreamableHTTPClientTransport(new URL(url)));
  t.after(() => client.close());
  return { client, asked, version: client.getNegotiatedProtocolVersion() };
}

async function printed(command, args) {
  const { code, stdout, stderr } = await run(command, args);
  assert.equal(code, 0, stderr);
  return JSON.parse(stdout);
}

/// Tools that ask on the stream of GET.
function asksOutside(server) {
  server.registerTool('greet', {}, async () => {
    const { content } = await server.server.elicitInput(FORM);
    return { content: [{ type: 'text', text: `Hello ${content.name}` }] };
  });
  server.registerTool('greet_two', {}, async () => {
    const first = await server.server.elicitInput(FORM);
    await sleep(300);
    const second = await server.server.elicitInput(FORM);
    return { content: [{ type: 'text', text: `Hello ${first.content.name} and ${second.content.name}` }] };
  });
  server.registerTool('roots', {}, async () => {
    const { roots } = await server.server.listRoots();
    return { content: [{ type: 'text', text: roots.map(({ uri }) => uri).join() }] };
  });
}

/// A tool whose result depends on its session.
function counts(server) {
  let count = 0;
  server.registerTool('count', {}, () => ({ content: [{ type: 'text', text: `${(count += 1)}` }] }));
}

describe('outside of the call', { concurrency: true }, () => {
  test('R44: a legacy server asks on its GET stream, and a modern client answers', { timeout: 120_000 }, async (t) => {
    const house = await House.plan(t);
    const [streaming, json] = [
      await startSdk1Server(t, asksOutside),
      await startSdk1Server(t, asksOutside, { enableJsonResponse: true }),
    ];
    const everything = await startEverything(t);
    const http = (url) => ({ type: 'http', url });
    await house.open(t, {
      servers: { streaming: http(streaming.url), json: http(json.url), everything: http(everything) },
    });

    for (const [name, server] of Object.entries({ streaming, json })) {
      await t.test(`R44: a server that answers by ${name} asks by elicitInput and listRoots`, async (t) => {
        const { client, asked, version } = await connect(t, `${house.gateway}/mcp/${name}`, ['Alice', 'Bob']);
        assert.equal(version, '2026-07-28');
        const text = async (tool) => (await client.callTool({ name: tool, arguments: {} })).content[0].text;
        assert.equal(await text('greet'), 'Hello Alice');
        assert.equal(await text('greet_two'), 'Hello Bob and Alice');
        assert.equal(await text('roots'), ROOTS[0].uri);
        assert.deepEqual(asked, Array(3).fill(FORM.message));
        // One session for what is not a call, and one in which the calls were made.
        assert.equal(server.seen.filter((method) => method === 'initialize').length, 2);
        assert.equal(server.seen.filter((method) => method === 'tools/call').length, 3);
      });
    }

    await t.test('R44: calls at once are each asked for themselves', async (t) => {
      const names = ['Alice', 'Bob', 'Carol', 'Dave'];
      const clients = await Promise.all(names.map((name) => connect(t, `${house.gateway}/mcp/streaming`, [name])));
      const called = clients.map(({ client }) => client.callTool({ name: 'greet', arguments: {} }));
      const said = (await Promise.all(called)).map(({ content }) => content[0].text);
      assert.deepEqual(said, names.map((name) => `Hello ${name}`));
    });

    await t.test('R44: the client of the Rust SDK is asked too', async () => {
      const used = await printed(RMCP, [`${house.gateway}/mcp/streaming`, 'auto', '[["greet", {}]]']);
      assert.deepEqual([used.version, used.texts], ['2026-07-28', ['Hello Alice']]);
    });

    await t.test('R44: get-roots-list of the reference server', async (t) => {
      const { client } = await connect(t, `${house.gateway}/mcp`);
      const { content } = await client.callTool({ name: 'everything__get-roots-list', arguments: {} });
      assert.match(content[0].text, /file:\/\/\/work/);
      const { tools } = await client.listTools();
      assert.ok(tools.some(({ name }) => name === 'everything__trigger-elicitation-request'));
      const form = await client.callTool({ name: 'everything__trigger-elicitation-request', arguments: {} });
      assert.match(JSON.stringify(form.content), /Alice/);
    });
  });

  test('R58: clients of both eras have sessions of their own at a server that is not bridged', { timeout: 120_000 }, async (t) => {
    const house = await House.plan(t);
    const server = await startSdk1Server(t, counts);
    await house.open(t, {
      servers: {
        own: { type: 'http', url: server.url, bridge: false },
        bridged: { type: 'http', url: server.url },
      },
    });

    await t.test('R58: the TypeScript client 2 in its auto mode comes by initialize', async (t) => {
      const [one, other] = [await connect(t, `${house.gateway}/mcp/own`), await connect(t, `${house.gateway}/mcp/own`)];
      assert.deepEqual([one.version, other.version], ['2025-11-25', '2025-11-25']);
      const count = async ({ client }) => (await client.callTool({ name: 'count', arguments: {} })).content[0].text;
      const counted = [await count(one), await count(one), await count(other), await count(one), await count(other)];
      assert.deepEqual(counted, ['1', '2', '1', '3', '2']);
    });

    await t.test('R58: so does the Python client 2', async () => {
      const url = `${house.gateway}/mcp/own`;
      const script = resolve(import.meta.dirname, 'list_and_call.py');
      const used = await printed(PYTHON, [script, url, 'count', '{}']);
      assert.deepEqual([used.version, used.text], ['2025-11-25', '1']);
    });

    await t.test('R58: so does the client of the Rust SDK', async () => {
      const used = await printed(RMCP, [`${house.gateway}/mcp/own`, 'auto', '[["count", {}], ["count", {}]]']);
      assert.deepEqual([used.version, used.texts], ['2025-11-25', ['1', '2']]);
    });

    await t.test('R58: bridging stays the default, and among many servers it is left out with a reason', async (t) => {
      const { client, version } = await connect(t, `${house.gateway}/mcp/bridged`);
      assert.equal(version, '2026-07-28');
      assert.equal((await client.callTool({ name: 'count', arguments: {} })).content[0].text, '1');
      const all = await connect(t, `${house.gateway}/mcp`);
      assert.deepEqual((await all.client.listTools()).tools.map(({ name }) => name), ['bridged__count']);
      const refused = await all.client.callTool({ name: 'own__count', arguments: {} });
      assert.match(refused.content[0].text, /"bridge" is false/);
      const { servers } = await (await fetch(`${house.gateway}/mcp/servers`)).json();
      assert.match(servers.find(({ name }) => name === 'own').left_out[0], /2026-07-28.*2025-11-25/);
    });
  });
});
