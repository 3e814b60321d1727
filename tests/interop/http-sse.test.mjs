// Can clients of 2024-11-05, which know HTTP+SSE only, use what is behind Gatehouse?
//
// The official clients' own old transports, and mcp-remote made to use it: each lists, calls, hears of progress and is
// asked, at three servers of two eras. Then what a POST is told by whatever is wrong with it, where the stream is one
// process and the POST comes to another.

import assert from 'node:assert/strict';
import { once } from 'node:events';
import { request } from 'node:http';
import { join } from 'node:path';
import { test } from 'node:test';

import { Client } from '@modelcontextprotocol/sdk/client/index.js';
import { SSEClientTransport } from '@modelcontextprotocol/sdk/client/sse.js';
import { StdioClientTransport } from '@modelcontextprotocol/sdk/client/stdio.js';
import { CreateMessageRequestSchema, ElicitRequestSchema } from '@modelcontextprotocol/sdk/types.js';

import { SDKS } from './conformance/fixtures.mjs';
import { House } from './harness/house.mjs';
import { run } from './harness/processes.mjs';
import { startThree } from './harness/three.mjs';

const MCP_REMOTE = join(import.meta.dirname, 'node_modules/mcp-remote/dist/proxy.js');
const CALLS = [
  ['everything__echo', { message: 'hello' }],
  ['older__test_tool_with_progress', {}],
  ['newer__test_tool_with_progress', {}],
  ['newer__test_input_required_result_elicitation', {}],
  ['older__test_input_required_result_elicitation', {}],
  ['older__test_sampling', { prompt: 'hello' }],
];

/// Each makes the calls, one after the other, and says what came of them: `{ tools, texts, progress }`.
const CLIENTS = {
  'the TypeScript client 1': (url, key) => typescript(new SSEClientTransport(new URL(url), withKey(key))),
  'the Python client': python,
  'mcp-remote': (url, key) => {
    const args = [MCP_REMOTE, url, '--transport', 'sse-only', '--header', `Authorization: Bearer ${key}`];
    return typescript(new StdioClientTransport({ command: process.execPath, args, stderr: 'ignore' }));
  },
};

for (const [composition, store] of [
  ['one app', 'sqlite'],
  ['two apps', 'redis'],
]) {
  test(`clients of HTTP+SSE meet three servers: ${composition} on ${store}`, { timeout: 180_000 }, async (t) => {
    const house = await open(t, composition, store);
    for (const [name, use] of Object.entries(CLIENTS)) {
      await t.test(`${name} lists, calls, hears of progress and is asked`, async () => {
        const used = await use(`${house.gateway}/mcp/sse`, house.keys.apiKey);
        for (const [tool] of CALLS) assert.ok(used.tools.includes(tool), `${tool} is not in ${used.tools}`);
        const [echo, first, second, ...greetings] = used.texts;
        assert.deepEqual([echo, first, second], ['Echo: hello', 'Told three times.', 'Told three times.']);
        assert.deepEqual(used.progress, [0, 50, 100, 0, 50, 100]);
        for (const greeting of greetings.slice(0, 2)) assert.match(greeting, /"name":\s?"Alice"/);
        assert.match(greetings[2], /a sample/);
      });
    }
  });
}

test('a POST finds its stream in another process, and is refused for what is wrong with it', { timeout: 90_000 }, async (t) => {
  const house = await open(t, 'one app', 'redis', 2);
  const [here, there] = house.brokers;
  const key = { Authorization: `Bearer ${house.keys.apiKey}` };
  const left = new AbortController();
  const stream = await fetch(`${here}/mcp/sse`, { headers: { Accept: 'text/event-stream', ...key }, signal: left.signal });
  assert.equal(stream.status, 200);
  const events = eventsOf(stream.body);
  const endpoint = (await events.next()).value;
  assert.equal(endpoint.event, 'endpoint');
  assert.match(endpoint.data, /^\/mcp\/sse\?sessionId=/);
  // By the address that the gateway is known by, as from a load balancer.
  const post = (body, headers = {}, path = endpoint.data) => {
    const sent = { 'Content-Type': 'application/json', ...key, ...headers, Host: new URL(here).host };
    return posted(there + path, sent, body);
  };
  const ping = (id) => JSON.stringify({ jsonrpc: '2.0', id, method: 'ping' });

  await t.test('what is right is taken, and answered on the stream', async () => {
    const times = [];
    for (let id = 1; id <= 20; id++) {
      const began = performance.now();
      const { status, text } = await post(ping(id));
      assert.equal(status, 202, text);
      const { value } = await events.next();
      times.push(performance.now() - began);
      assert.deepEqual(JSON.parse(value.data), { jsonrpc: '2.0', id, result: {} });
    }
    times.sort((a, b) => a - b);
    t.diagnostic(`a ping takes ${Math.round(times[10])} ms, at most ${Math.round(times[19])} ms`);
  });

  for (const [what, expected, send] of [
    ['no bearer that is known', 401, () => post(ping(1), { Authorization: 'Bearer not-a-key' })],
    ['another stream', 404, () => post(ping(1), {}, '/mcp/sse?sessionId=0.AAAAAAAAAAAAAAAAAAAAAA')],
    ['what is not JSON', 400, () => post('{')],
    ['what is not said to be JSON', 415, () => post(ping(1), { 'Content-Type': 'text/plain' })],
    ['more than 4 MiB', 413, () => post('', { 'Content-Length': 5 << 20 })],
    ['a page from elsewhere', 403, () => post(ping(1), { Origin: 'https://elsewhere.example' })],
  ]) {
    await t.test(`${what}: ${expected}`, async () => {
      const { status, text } = await send();
      assert.equal(status, expected, text);
      assert.ok(JSON.parse(text).error.message);
    });
  }

  await t.test('without a bearer there is no stream', async () => {
    const headers = { Accept: 'text/event-stream', Authorization: 'Bearer not-a-key' };
    assert.equal((await fetch(`${here}/mcp/sse`, { headers })).status, 401);
  });
  left.abort();
});

async function open(t, composition, store, twins) {
  const house = await House.plan(t, composition, store, twins);
  return house.open(t, { servers: await startThree(t) });
}

function withKey(key) {
  const headers = { Authorization: `Bearer ${key}` };
  return { requestInit: { headers } };
}

async function typescript(transport) {
  const client = new Client({ name: 'interop', version: '1.0.0' }, { capabilities: { elicitation: {}, sampling: {} } });
  client.setRequestHandler(ElicitRequestSchema, () => ({ action: 'accept', content: { name: 'Alice' } }));
  client.setRequestHandler(CreateMessageRequestSchema, () => ({
    role: 'assistant',
    model: 'none',
    content: { type: 'text', text: 'a sample' },
  }));
  await client.connect(transport);
  try {
    const [texts, progress] = [[], []];
    const { tools } = await client.listTools();
    for (const [name, given] of CALLS) {
      const onprogress = (told) => name.endsWith('_progress') && progress.push(told.progress);
      const { content } = await client.callTool({ name, arguments: given }, undefined, { onprogress });
      texts.push(content[0].text);
    }
    return { tools: tools.map(({ name }) => name), texts, progress };
  } finally {
    await client.close();
  }
}

async function python(url, key) {
  const script = join(import.meta.dirname, 'http_sse.py');
  const { code, stdout, stderr } = await run(SDKS.python[0], [script, url, key, JSON.stringify(CALLS)]);
  assert.equal(code, 0, stderr);
  return JSON.parse(stdout);
}

/// A POST under another host's name, which `fetch` does not allow.
async function posted(url, headers, body) {
  const sent = request(url, { method: 'POST', headers });
  sent.on('error', () => {});
  sent.end(body);
  const [response] = await once(sent, 'response');
  const text = (await response.setEncoding('utf8').toArray()).join('');
  return { status: response.statusCode, text };
}

/// The events of a stream.
async function* eventsOf(body) {
  let text = '';
  for await (const piece of body.pipeThrough(new TextDecoderStream())) {
    text += piece;
    for (let end; (end = text.indexOf('\n\n')) >= 0; text = text.slice(end + 2)) {
      const event = Object.fromEntries(text.slice(0, end).split('\n').map((line) => line.split(/: ?(.*)/s, 2)));
      if (event.event) yield event;
    }
  }
}
