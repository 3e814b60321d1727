// Can the official clients of both languages and both eras use what is behind Gatehouse, together and one by one?

import assert from 'node:assert/strict';
import { join, resolve } from 'node:path';
import { test } from 'node:test';

import { Client as ClientV2, StreamableHTTPClientTransport as TransportV2 } from '@modelcontextprotocol/client';
import { Client as ClientV1 } from '@modelcontextprotocol/sdk/client/index.js';
import { StreamableHTTPClientTransport as TransportV1 } from '@modelcontextprotocol/sdk/client/streamableHttp.js';

import { startEverything } from './harness/everything.mjs';
import { startGuardedServer } from './harness/guarded-server.mjs';
import { COMPOSITIONS, House } from './harness/house.mjs';
import { run } from './harness/processes.mjs';

const INFO = { name: 'interop', version: '1.0.0' };
const PYTHON = resolve(
  import.meta.dirname,
  '../..',
  process.env.CARGO_TARGET_DIR ?? 'target',
  'interop-python/bin/python',
);

/// Each connects, lists the tools and calls one.
const CLIENTS = {
  'the TypeScript client 1': (url, tool) => typescript(new ClientV1(INFO), new TransportV1(url), tool),
  'the TypeScript client 2': (url, tool) => typescript(new ClientV2(INFO), new TransportV2(url), tool),
  'the TypeScript client 2 in its auto mode': (url, tool) =>
    typescript(new ClientV2(INFO, { versionNegotiation: { mode: 'auto' } }), new TransportV2(url), tool),
  'the Python client 2 in its auto mode': python,
};
const MODERN = ['the TypeScript client 2 in its auto mode', 'the Python client 2 in its auto mode'];

for (const composition of Object.keys(COMPOSITIONS)) {
  test(`official clients list and call tools: ${composition}`, { timeout: 120_000 }, async (t) => {
    const house = await House.plan(t, composition);
    const [everything, plain] = [await startEverything(t), await startGuardedServer(t)];
    await house.open(t, {
      servers: { everything: { type: 'http', url: everything }, plain: { type: 'http', url: plain.url } },
    });

    for (const [name, use] of Object.entries(CLIENTS)) {
      const version = MODERN.includes(name) ? '2026-07-28' : '2025-11-25';

      await t.test(`${name} uses all servers at once`, async () => {
        const used = await use(new URL(`${house.gateway}/mcp`), echo('everything__echo'));
        assert.equal(used.version, version);
        assert.equal(used.text, 'Echo: hello');
        assert.ok(used.tools.includes('plain__whoami'), used.tools.join());
        assert.ok(used.tools.filter((tool) => tool.startsWith('everything__')).length > 5, used.tools.join());
      });

      await t.test(`${name} uses one server by its own names`, async () => {
        const used = await use(new URL(`${house.gateway}/mcp/everything`), echo('echo'));
        assert.deepEqual([used.version, used.text], [version, 'Echo: hello']);
        assert.ok(used.tools.includes('echo') && used.tools.every((tool) => !tool.includes('__')), used.tools.join());
      });

      await t.test(`${name} uses a server of the newer era`, async () => {
        const used = await use(new URL(`${house.gateway}/mcp/plain`), { name: 'whoami', arguments: {} });
        assert.deepEqual(used, { version, tools: ['whoami'], text: 'nobody' });
      });
    }
  });
}

function echo(name) {
  return { name, arguments: { message: 'hello' } };
}

async function typescript(client, transport, tool) {
  await client.connect(transport);
  try {
    const { tools } = await client.listTools();
    const { content } = await client.callTool(tool);
    const version = client.getNegotiatedProtocolVersion?.() ?? transport.protocolVersion;
    return { version, tools: tools.map(({ name }) => name), text: content[0].text };
  } finally {
    await client.close();
  }
}

async function python(url, tool) {
  const script = join(import.meta.dirname, 'list_and_call.py');
  const { code, stdout, stderr } = await run(PYTHON, [script, url.href, tool.name, JSON.stringify(tool.arguments)]);
  assert.equal(code, 0, stderr);
  return JSON.parse(stdout);
}
