// A tool of the newer era whose result is a list: do the official clients of the older era, which check each schema and each
// result, list and call it?

import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createServer } from 'node:http';
import { test } from 'node:test';

import { toNodeHandler } from '@modelcontextprotocol/node';
import { Client as ClientV2, StreamableHTTPClientTransport as TransportV2 } from '@modelcontextprotocol/client';
import { Client as ClientV1 } from '@modelcontextprotocol/sdk/client/index.js';
import { StreamableHTTPClientTransport as TransportV1 } from '@modelcontextprotocol/sdk/client/streamableHttp.js';
import { createMcpHandler, fromJsonSchema, McpServer } from '@modelcontextprotocol/server';

import { House } from './harness/house.mjs';
import { atEnd } from './harness/processes.mjs';

const INFO = { name: 'interop', version: '1.0.0' };

/// A server of 2026-07-28 alone, until the test ends. Gives its URL.
async function startServer(t) {
  const either = { anyOf: [{ type: 'string' }, { type: 'object', properties: { n: { type: 'number' } } }] };
  const trees = {
    type: 'array',
    items: { type: 'object', properties: { name: { type: 'string' }, children: { $ref: '#' } }, required: ['name'] },
  };
  const mcp = createMcpHandler(
    () => {
      const server = new McpServer({ name: 'lists', version: '1.0.0' });
      const offer = (name, outputSchema, structuredContent) =>
        server.registerTool(name, { outputSchema: fromJsonSchema(outputSchema) }, () => ({ content: [], structuredContent }));
      offer('names', { type: 'array', items: { type: 'string' } }, ['Alice', 'Bob']);
      offer('trees', trees, [{ name: 'a', children: [{ name: 'b', children: [] }] }]);
      offer('either_text', either, 'x');
      offer('either_object', either, { n: 1 });
      return server;
    },
    { legacy: 'reject' },
  );
  const http = createServer(toNodeHandler({ fetch: (request) => mcp.fetch(request) })).listen(0, '127.0.0.1');
  await once(http, 'listening');
  atEnd(t, async () => {
    http.closeAllConnections();
    http.close();
    await mcp.close();
  });
  return `http://127.0.0.1:${http.address().port}/mcp`;
}

test('R45: legacy clients list and call tools whose results are no objects', { timeout: 120_000 }, async (t) => {
  const house = await House.plan(t);
  await house.open(t, { servers: { lists: { type: 'http', url: await startServer(t) } } });
  const clients = {
    'the TypeScript client 1': () => [new ClientV1(INFO), TransportV1],
    'the TypeScript client 2': () => [new ClientV2(INFO), TransportV2],
    'the TypeScript client 2 in its auto mode': () => [
      new ClientV2(INFO, { versionNegotiation: { mode: 'auto' } }),
      TransportV2,
    ],
  };
  const isModern = (name) => name.includes('auto');
  for (const [name, make] of Object.entries(clients)) {
    for (const [path, prefix] of [
      ['/mcp', 'lists__'],
      ['/mcp/lists', ''],
    ]) {
      await t.test(`R45: ${name} at ${path}`, async (t) => {
        const [client, Transport] = make();
        await client.connect(new Transport(new URL(house.gateway + path)));
        t.after(() => client.close());
        // The client checks each result against the schema that it was shown.
        const { tools } = await client.listTools();
        assert.equal(tools.length, 4);
        const value = async (tool) =>
          (await client.callTool({ name: prefix + tool, arguments: {} })).structuredContent;
        const wrapped = (value) => (isModern(name) ? value : { result: value });
        assert.deepEqual(await value('names'), wrapped(['Alice', 'Bob']));
        assert.deepEqual(await value('trees'), wrapped([{ name: 'a', children: [{ name: 'b', children: [] }] }]));
        assert.deepEqual(await value('either_text'), wrapped('x'));
        assert.deepEqual(await value('either_object'), { n: 1 });
      });
    }
  }
});
