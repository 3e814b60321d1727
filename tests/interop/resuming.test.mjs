// Does a call on the official SDK go on when its server closes the stream to be polled, when the client's connection breaks,
// and when our host is restarted in between?

import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createServer } from 'node:http';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';

import { Client as ClientV2, StreamableHTTPClientTransport as TransportV2 } from '@modelcontextprotocol/client';
import { Client as ClientV1 } from '@modelcontextprotocol/sdk/client/index.js';
import { StreamableHTTPClientTransport as TransportV1 } from '@modelcontextprotocol/sdk/client/streamableHttp.js';
import { InMemoryEventStore } from '@modelcontextprotocol/sdk/examples/shared/inMemoryEventStore.js';
import { McpServer } from '@modelcontextprotocol/sdk/server/mcp.js';
import { StreamableHTTPServerTransport } from '@modelcontextprotocol/sdk/server/streamableHttp.js';

import { House } from './harness/house.mjs';
import { atEnd } from './harness/processes.mjs';

const INFO = { name: 'interop', version: '1.0.0' };
const MODERN = { versionNegotiation: { mode: 'auto' } };

test('calls of the official SDK are resumed', { timeout: 120_000 }, async (t) => {
  const house = await House.plan(t);
  const server = await startResumable(t);
  await house.open(t, { servers: { up: { type: 'http', url: server.url } } });
  const url = new URL(`${house.gateway}/mcp/up`);
  const connected = async (client, transport) => {
    await client.connect(transport);
    atEnd(t, () => client.close());
    return client;
  };

  for (const [era, open] of Object.entries({
    legacy: () => connected(new ClientV1(INFO), new TransportV1(url)),
    modern: () => connected(new ClientV2(INFO, MODERN), new TransportV2(url)),
  })) {
    await t.test(`R22: a server that closes the stream and is polled, ${era} client`, async () => {
      const client = await open();
      const before = server.resumed.length;
      const { content } = await client.callTool({ name: 'polled', arguments: {} });
      assert.equal(content[0].text, 'polled');
      assert.equal(server.resumed.length, before + 1);
    });
  }

  for (const restarts of [false, true]) {
    await t.test(`R56: the client's connection breaks${restarts ? ' with our host' : ''}`, async () => {
      let breaks;
      const broken = new Promise((resolve) => (breaks = resolve));
      const transport = new TransportV1(url, {
        fetch: breaking(broken),
        reconnectionOptions: {
          initialReconnectionDelay: 1000,
          maxReconnectionDelay: 1000,
          reconnectionDelayGrowFactor: 1,
          maxRetries: 10,
        },
      });
      const client = await connected(new ClientV1(INFO), transport);
      const [calls, before] = [server.calls, server.resumed.length];
      const answer = client.callTool({ name: 'slow', arguments: {} });
      // The first sign of life, with the id of an event in it, comes after two seconds.
      await sleep(3500);
      if (restarts) {
        house.kill();
        await house.restart();
      }
      breaks();
      const { content } = await answer;
      assert.equal(content[0].text, 'slow');
      assert.equal(server.calls, calls + 1, 'the call was made once');
      assert.ok(server.resumed.length > before);
    });
  }
});

/// Fetches like the platform does; an answer to a call that is a stream breaks off once `broken` is settled.
function breaking(broken) {
  return async (url, init) => {
    const answer = await fetch(url, init);
    const isCall = typeof init?.body === 'string' && init.body.includes('"tools/call"');
    if (!isCall || !answer.headers.get('content-type')?.startsWith('text/event-stream')) return answer;
    const reader = answer.body.getReader();
    const body = new ReadableStream({
      async pull(controller) {
        const read = await Promise.race([reader.read(), broken]).catch((error) => ({ error }));
        if (read && !read.error && !read.done) return controller.enqueue(read.value);
        await reader.cancel().catch(() => {});
        controller.error(read?.error ?? new Error('the connection broke'));
      },
    });
    return new Response(body, { status: answer.status, headers: answer.headers });
  };
}

/// A server with sessions, whose events are kept. `resumed`: the events after which a stream was asked for.
async function startResumable(t) {
  const sessions = new Map();
  const state = { resumed: [], calls: 0 };
  const http = createServer(async (request, response) => {
    const { 'mcp-session-id': id, 'last-event-id': event } = request.headers;
    if (event) state.resumed.push(event);
    const body = request.method === 'POST' ? JSON.parse((await request.toArray()).join('')) : undefined;
    if (body?.method === 'tools/call') state.calls += 1;
    if (id && !sessions.has(id)) return response.writeHead(404).end();
    const transport = sessions.get(id) ?? (await newSession(sessions));
    await transport.handleRequest(request, response, body);
  }).listen(0, '127.0.0.1');
  await once(http, 'listening');
  atEnd(t, async () => {
    http.closeAllConnections();
    await new Promise((resolve) => http.close(resolve));
  });
  return Object.assign(state, { url: `http://127.0.0.1:${http.address().port}/mcp` });
}

async function newSession(sessions) {
  const server = new McpServer({ name: 'resumable', version: '1' });
  server.registerTool('polled', {}, async ({ closeSSEStream }) => {
    closeSSEStream();
    await sleep(1500);
    return { content: [{ type: 'text', text: 'polled' }] };
  });
  server.registerTool('slow', {}, async () => {
    await sleep(6000);
    return { content: [{ type: 'text', text: 'slow' }] };
  });
  const transport = new StreamableHTTPServerTransport({
    eventStore: new InMemoryEventStore(),
    retryInterval: 300,
    sessionIdGenerator: () => crypto.randomUUID(),
    onsessioninitialized: (id) => void sessions.set(id, transport),
  });
  await server.connect(transport);
  return transport;
}
