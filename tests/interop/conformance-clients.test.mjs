// Can clients on other people's SDKs use three servers at once, of different eras and SDKs, with progress that streams?
//
// Each lists, calls, hears of progress and is asked for a name through `/mcp`, by a server of either era; by the older
// one twice in one call too.

import assert from 'node:assert/strict';
import { access } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { test } from 'node:test';

import { Client as ClientV2, StreamableHTTPClientTransport as TransportV2 } from '@modelcontextprotocol/client';
import { Client as ClientV1 } from '@modelcontextprotocol/sdk/client/index.js';
import { StdioClientTransport } from '@modelcontextprotocol/sdk/client/stdio.js';
import { StreamableHTTPClientTransport as TransportV1 } from '@modelcontextprotocol/sdk/client/streamableHttp.js';
import { ElicitRequestSchema } from '@modelcontextprotocol/sdk/types.js';

import { SDKS } from './conformance/fixtures.mjs';
import { COMPOSITIONS, House } from './harness/house.mjs';
import { run } from './harness/processes.mjs';
import { startThree } from './harness/three.mjs';

const TARGET = resolve(import.meta.dirname, '../..', process.env.CARGO_TARGET_DIR ?? 'target');
const MCP_REMOTE = join(import.meta.dirname, 'node_modules/mcp-remote/dist/proxy.js');
const RMCP = join(TARGET, 'interop-rmcp/debug/interop-rmcp');
const INFO = { name: 'interop', version: '1.0.0' };
const OPTIONS = { capabilities: { elicitation: {} } };
const [LEGACY, MODERN] = ['2025-11-25', '2026-07-28'];

/// Each makes the calls, one after the other, and says what came of them: `{ version, tools, texts, progress }`.
const CLIENTS = {
  'the TypeScript client 1': { version: LEGACY, use: (url, calls) => version1(new TransportV1(new URL(url)), calls) },
  'the TypeScript client 2': { version: LEGACY, use: (url, calls) => version2(url, calls, 'legacy') },
  'the TypeScript client 2 in its auto mode': { version: MODERN, use: (url, calls) => version2(url, calls, 'auto') },
  'the Python client in its auto mode': { version: MODERN, use: python },
  'mcp-remote': { version: LEGACY, use: mcpRemote },
  rmcp: { version: LEGACY, use: (url, calls) => rmcp(url, calls, 'legacy') },
  'rmcp in its auto mode': { version: MODERN, use: (url, calls) => rmcp(url, calls, 'auto') },
};

for (const composition of Object.keys(COMPOSITIONS)) {
  test(`clients meet three servers: ${composition}`, { timeout: 180_000 }, async (t) => {
    const house = await House.plan(t, composition);
    await house.open(t, { servers: await startThree(t) });

    for (const [name, { version, use }] of Object.entries(CLIENTS)) {
      await t.test(`${name} lists, calls, hears of progress and says its name`, async () => {
        const calls = [
          ['everything__echo', { message: 'hello' }],
          ['older__test_tool_with_progress', {}],
          ['newer__test_tool_with_progress', {}],
        ];
        for (const name of ['newer__elicitation', 'older__elicitation', 'older__multi_round']) {
          calls.push([name.replace('__', '__test_input_required_result_'), {}]);
        }
        const used = await use(`${house.gateway}/mcp`, calls);
        assert.equal(used.version, version);
        for (const [tool] of calls) assert.ok(used.tools.includes(tool), `${tool} is not in ${used.tools}`);
        const [echo, first, second, ...greetings] = used.texts;
        assert.deepEqual([echo, first, second], ['Echo: hello', 'Told three times.', 'Told three times.']);
        assert.deepEqual(used.progress, [0, 50, 100, 0, 50, 100]);
        for (const greeting of greetings) assert.match(greeting, /"name":\s?"Alice"/);
      });
    }
  });
}

async function version1(transport, calls) {
  const client = new ClientV1(INFO, OPTIONS);
  client.setRequestHandler(ElicitRequestSchema, sayName);
  await client.connect(transport);
  // Behind mcp-remote the transport is a pipe, which does not know.
  const version = transport.protocolVersion ?? LEGACY;
  return make(client, calls, version, (request, options) => client.callTool(request, undefined, options));
}

async function version2(url, calls, mode) {
  const client = new ClientV2(INFO, { ...OPTIONS, versionNegotiation: { mode } });
  client.setRequestHandler('elicitation/create', sayName);
  await client.connect(new TransportV2(new URL(url)));
  const version = client.getNegotiatedProtocolVersion();
  return make(client, calls, version, (request, options) => client.callTool(request, options));
}

/// Knows stdio only: the program between speaks HTTP, with a client of its own.
function mcpRemote(url, calls) {
  const args = [MCP_REMOTE, url, '--transport', 'http-only'];
  return version1(new StdioClientTransport({ command: process.execPath, args, stderr: 'ignore' }), calls);
}

function python(url, calls) {
  return printed(SDKS.python[0], [join(import.meta.dirname, 'conformance/python_client.py'), url], calls);
}

async function rmcp(url, calls, era) {
  await access(RMCP).catch(() => {
    throw new Error(`${RMCP} is missing: README.md says how it is built`);
  });
  return printed(RMCP, [url, era], calls);
}

async function make(client, calls, version, call) {
  try {
    const [texts, progress] = [[], []];
    const { tools } = await client.listTools();
    for (const [name, given] of calls) {
      // One client makes up progress of its own where it is asked something.
      const onprogress = (told) => name.endsWith('_progress') && progress.push(told.progress);
      const { content } = await call({ name, arguments: given }, { onprogress });
      texts.push(content[0].text);
    }
    return { version, tools: tools.map(({ name }) => name), texts, progress };
  } finally {
    await client.close();
  }
}

async function printed(program, args, calls) {
  const { code, stdout, stderr } = await run(program, [...args, JSON.stringify(calls)]);
  assert.equal(code, 0, stderr);
  return JSON.parse(stdout);
}

function sayName() {
  return { action: 'accept', content: { name: 'Alice' } };
}
