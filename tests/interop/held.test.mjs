// A server of the older era asks in the middle of a call, whose client answers with a new call: does that find the first
// one, on whatever host it comes in, and what does the client learn when that host has died?

import assert from 'node:assert/strict';
import { once } from 'node:events';
import { request } from 'node:http';
import { describe, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';

import { startFixture } from './conformance/fixtures.mjs';
import { COMPOSITIONS, House } from './harness/house.mjs';

const VERSION = '2026-07-28';
const META = {
  'io.modelcontextprotocol/protocolVersion': VERSION,
  'io.modelcontextprotocol/clientCapabilities': { elicitation: {}, sampling: {}, roots: {} },
};
const NAME = { action: 'accept', content: { name: 'Alice' } };
const COLOR = { action: 'accept', content: { color: 'blue' } };

// Most of it is waiting for time to pass.
describe('a call that is held', { concurrency: true }, () => {
  for (const composition of ['one app', 'two apps']) {
    test(`goes on on another host: ${composition}`, { timeout: 120_000 }, async (t) => {
      const house = await House.plan(t, composition, 'redis', 2);
      const python = await startFixture(t, 'python', 'legacy');
      const typescript = await startFixture(t, 'typescript', 'legacy');
      const http = (url) => ({ type: 'http', url });
      await house.open(t, { servers: { python: http(python), typescript: http(typescript) } });
      const each = COMPOSITIONS[composition].length;
      const [here, there] = [each - 1, 2 * each - 1].map((app) => ({ app, port: house.ports[app] }));

      for (const server of ['python', 'typescript']) {
        await t.test(`${server} asks twice in one call, and is answered by way of either host`, async () => {
          const tool = `${server}__test_input_required_result_multi_round`;
          const first = await call(house, here, tool);
          const second = await call(house, there, tool, answered(first, NAME));
          const third = await call(house, here, tool, answered(second, COLOR));
          assert.deepEqual([first, second, third].map(kind), ['input_required', 'input_required', 'complete']);
          assert.match(third.result.content[0].text, /blue/);
          const again = await call(house, there, tool, answered(second, COLOR));
          assert.deepEqual(again.result, third.result, 'what came of it can be fetched again');
        });

        await t.test(`${server} asks for three things at once, and its answers may be long`, async () => {
          const tool = `${server}__test_input_required_result_multiple_inputs`;
          const first = await call(house, here, tool);
          const asked = Object.entries(first.result.inputRequests);
          assert.deepEqual(asked.map(([, { method }]) => method).sort(), [
            'elicitation/create',
            'roots/list',
            'sampling/createMessage',
          ]);
          const text = 'long '.repeat(200_000);
          const given = {
            'elicitation/create': NAME,
            'roots/list': { roots: [{ uri: 'file:///test' }] },
            'sampling/createMessage': { role: 'assistant', content: { type: 'text', text }, model: 'm' },
          };
          const inputResponses = Object.fromEntries(asked.map(([key, { method }]) => [key, given[method]]));
          const { requestState } = first.result;
          const last = await call(house, there, tool, { inputResponses, requestState });
          assert.equal(kind(last), 'complete');
          assert.ok(last.result.content[0].text.includes(text));
        });
      }

      await t.test('nothing stays in the store', async () => {
        const isEmpty = async () => (await house.store.ask('keys', 'g.h.*')).trim() === '';
        for (let tries = 0; tries < 45 && !(await isEmpty()); tries += 1) await sleep(1000);
        assert.ok(await isEmpty(), await house.store.ask('keys', 'g.h.*'));
      });

      await t.test('a host that dies is missed, and the answer can be given to a new call', async () => {
        const tool = 'python__test_input_required_result_elicitation';
        const first = await call(house, here, tool);
        house.apps[here.app].child.kill('SIGKILL');
        const lost = await call(house, there, tool, answered(first, NAME));
        assert.match(lost.error?.message ?? lost.result.content[0].text, /it can be made again/);
        const anew = await call(house, there, tool);
        assert.equal(kind(await call(house, there, tool, answered(anew, NAME))), 'complete');
      });
    });
  }
});

function answered({ result: { inputRequests, requestState } }, answer) {
  return { inputResponses: { [Object.keys(inputRequests)[0]]: answer }, requestState };
}

function kind({ result }) {
  return result?.resultType;
}

/// Both hosts answer to one name, as behind a load balancer.
async function call(house, { port }, name, more = {}) {
  const params = { name, arguments: {}, ...more, _meta: META };
  const headers = {
    host: new URL(house.gateway).host,
    'content-type': 'application/json',
    accept: 'application/json, text/event-stream',
    'mcp-protocol-version': VERSION,
    'mcp-method': 'tools/call',
    'mcp-name': name,
  };
  const sent = request({ port, host: '127.0.0.1', path: '/mcp', method: 'POST', headers });
  sent.end(JSON.stringify({ jsonrpc: '2.0', id: 1, method: 'tools/call', params }));
  const [answer] = await once(sent, 'response');
  const text = (await answer.setEncoding('utf8').toArray()).join('');
  const lines = text.split('\n').filter((line) => line.startsWith('data: '));
  return JSON.parse(lines.length ? lines.at(-1).slice('data: '.length) : text);
}
