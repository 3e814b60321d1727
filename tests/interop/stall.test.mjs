// Does a caller on a kept-alive connection wait for anything but the work?
//
// A header and a body that leave in two small writes make a client's delayed acknowledgement a pause of some 40 ms
// before each answer. Many callers at once hide such pauses from each other, and a busy machine makes any limit in
// milliseconds a lie: so one caller's time for a call is compared with the time that a call takes when many share the
// machine. Without pauses the two are of one size.

import assert from 'node:assert/strict';
import { once } from 'node:events';
import { Agent, createServer, request } from 'node:http';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';

import { startGuardedServer } from './harness/guarded-server.mjs';
import { COMPOSITIONS, House } from './harness/house.mjs';
import { atEnd } from './harness/processes.mjs';

const CALLERS = 16;
const CALLS = 160;
/// What a call costs alone, in calls of many: 1 where one core does all the work, and more with idle cores; a pause of
/// 40 ms beside 2 ms of work makes it 20.
const LIMIT = 8;

for (const composition of Object.keys(COMPOSITIONS)) {
  test(`one caller is not kept waiting: ${composition}`, { timeout: 120_000 }, async (t) => {
    const house = await House.plan(t, composition);
    const server = await startGuardedServer(t);
    await house.open(t, { servers: { plain: { type: 'http', url: server.url } } });
    const modern = { 'mcp-protocol-version': '2026-07-28', 'mcp-method': 'tools/call', 'mcp-name': 'plain__whoami' };
    const _meta = {
      'io.modelcontextprotocol/protocolVersion': '2026-07-28',
      'io.modelcontextprotocol/clientInfo': { name: 'interop', version: '1.0.0' },
      'io.modelcontextprotocol/clientCapabilities': {},
    };
    const call = {
      jsonrpc: '2.0',
      id: 1,
      method: 'tools/call',
      params: { name: 'plain__whoami', arguments: {}, _meta },
    };
    const wait = await waiting(t, `${house.gateway}/mcp`, modern, JSON.stringify(call));
    t.diagnostic(`one caller waits for ${wait.toFixed(1)} calls of many`);
    assert.ok(wait < LIMIT, `one caller waits for ${wait.toFixed(1)} calls of many`);
  });
}

test('a pause would be seen', { timeout: 120_000 }, async (t) => {
  const server = createServer(async (incoming, answer) => {
    incoming.resume();
    await once(incoming, 'end');
    answer.socket.setNoDelay(false);
    answer.writeHead(200, { 'content-length': 7 }).flushHeaders();
    await sleep(1);
    answer.write('{"a":');
    await sleep(1);
    answer.end('1}');
  }).listen(0, '127.0.0.1');
  await once(server, 'listening');
  atEnd(t, () => server.close());
  const wait = await waiting(t, `http://127.0.0.1:${server.address().port}`, {}, '{}');
  assert.ok(wait > LIMIT, `one caller waits for ${wait.toFixed(1)} calls of many`);
});

/// How many calls of many a caller alone waits for. The best of three rounds: what disturbs one only makes it longer.
async function waiting(t, url, headers, body) {
  const agent = new Agent({ keepAlive: true, maxSockets: CALLERS });
  atEnd(t, () => agent.destroy());
  const call = () => post(agent, url, headers, body);
  const [many, alone] = [[], []];
  for (let round = 0; round < 3; round += 1) {
    many.push(await timed(() => Promise.all(Array.from({ length: CALLERS }, () => inTurn(CALLS / CALLERS, call)))));
    const each = [];
    await inTurn(CALLS / 4, async () => each.push(await timed(call)));
    alone.push(median(each));
  }
  return Math.min(...alone) / (Math.min(...many) / CALLS);
}

async function inTurn(times, act) {
  for (let turn = 0; turn < times; turn += 1) await act();
}

async function timed(act) {
  const start = performance.now();
  await act();
  return performance.now() - start;
}

async function post(agent, url, headers, body) {
  const all = { accept: 'application/json, text/event-stream', 'content-type': 'application/json', ...headers };
  const outgoing = request(url, { agent, method: 'POST', headers: { ...all, 'content-length': body.length } });
  outgoing.end(body);
  const [incoming] = await once(outgoing, 'response');
  assert.equal(incoming.statusCode, 200);
  const text = (await incoming.toArray()).join('');
  assert.ok(!text.includes('"isError"') && !text.includes('"error"'), text);
}

const median = (values) => values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)];
