// An MCP client that is a web page uses the gateway, and no other page can. A person who opens an endpoint gets a page.

import assert from 'node:assert/strict';
import { test } from 'node:test';

import { accessibilityProblems, person, picture, startChromium } from './harness/chromium.mjs';
import { startEverything } from './harness/everything.mjs';
import { startFixture } from './conformance/fixtures.mjs';
import { House } from './harness/house.mjs';
import { startPage } from './harness/pages.mjs';

const NAVIGATION = { accept: 'text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8' };

test('R35: a client in a page that is let in uses the gateway, and no other page', { timeout: 240_000 }, async (t) => {
  const house = await House.plan(t);
  const [listed, other] = [await startPage(t), await startPage(t)];
  const everything = await startEverything(t);
  const newer = await startFixture(t, 'typescript', 'modern');
  await house.open(t, {
    servers: { everything: { type: 'http', url: everything }, newer: { type: 'http', url: newer } },
    browserOrigins: [listed],
  });
  const browser = await startChromium(t);
  const open = async (origin) => {
    const { page } = await person(browser, [origin, house.gateway]);
    await page.goto(origin);
    await page.waitForFunction(() => globalThis.isReady);
    return page;
  };
  const use = (page, wish) => page.evaluate((wish) => globalThis.useTool(wish), wish);
  const client = await open(listed);

  for (const [mode, path, version] of [
    ['legacy', '/mcp', '2025-11-25'],
    ['auto', '/mcp', '2026-07-28'],
    ['legacy', '/mcp/everything/sse', '2025-11-25'],
  ]) {
    await t.test(`in the mode ${mode}, at ${path}, with progress on the way`, async () => {
      const prefix = path === '/mcp' ? 'everything__' : '';
      const tool = `${prefix}trigger-long-running-operation`;
      const used = await use(client, { url: house.gateway + path, mode, tool, args: { duration: 1, steps: 2 } });
      assert.equal(used.version, version);
      assert.ok(used.tools.includes(tool), used.tools.join());
      assert.deepEqual(used.progress, [1, 2]);
      assert.match(used.text, /completed/);
    });
  }

  await t.test('it can read why it is refused', async () => {
    const read = (path, headers) =>
      client.evaluate(
        async ([url, headers]) => {
          const body = '{"jsonrpc":"2.0","id":1,"method":"tools/list"}';
          const answer = await fetch(url, { method: 'POST', headers, body });
          return [answer.status, answer.headers.get('www-authenticate'), await answer.text()];
        },
        [house.gateway + path, headers],
      );
    const json = { 'content-type': 'application/json', accept: 'application/json, text/event-stream' };
    const [status, challenge, body] = await read('/mcp', { ...json, authorization: 'Bearer no-such-key' });
    assert.deepEqual([status, challenge], [401, 'Bearer error="invalid_token"'], body);
    assert.equal((await read('/mcp', { 'content-type': 'text/plain' }))[0], 415);
    assert.equal((await read('/mcp', { ...json, 'mcp-session-id': 'x' }))[0], 404);
  });

  await t.test('what is no endpoint of MCP stays closed to it', async () => {
    const get = (url, init) => client.evaluate(([url, init]) => fetch(url, init).then(({ status }) => status), [url, init]);
    for (const url of [`${house.gateway}/mcp/servers`, `${house.broker}/connections`, `${house.broker}/admin/audit`]) {
      await assert.rejects(get(url), /Failed to fetch/, url);
    }
    await assert.rejects(get(`${house.broker}/token/op`, { method: 'POST' }), /Failed to fetch/);
  });

  await t.test('another page of this machine gets nothing', async () => {
    const foreign = await open(other);
    const wish = { url: `${house.gateway}/mcp`, mode: 'auto', tool: 'everything__echo', args: { message: 'x' } };
    await assert.rejects(use(foreign, wish), /Failed to fetch/);
    await assert.rejects(foreign.evaluate((url) => fetch(url), `${house.gateway}/mcp`), /Failed to fetch/);
  });
});

test('R55: a person who opens an endpoint gets a page that everybody can read', { timeout: 120_000 }, async (t) => {
  const house = await House.plan(t);
  await house.open(t, { servers: { everything: { type: 'http', url: await startEverything(t) } } });
  const browser = await startChromium(t);
  const { page, requests } = await person(browser, [house.gateway]);
  const endpoints = ['/mcp', '/mcp/everything', '/mcp/nobody', '/mcp/sse', '/mcp/everything/sse'];

  await t.test('it says what the address is for', async () => {
    const errors = [];
    page.on('console', (said) => said.type() === 'error' && errors.push(said.text()));
    const answer = await page.goto(`${house.gateway}/mcp`);
    assert.equal(answer.status(), 200);
    await page.getByRole('heading', { name: 'MCP endpoint' }).waitFor();
    assert.match(await page.getByRole('main').innerText(), /Streamable HTTP/);
    await picture(page, 'endpoint');
    assert.deepEqual(await accessibilityProblems(page), []);
    assert.deepEqual(errors.filter((text) => !/favicon/.test(text)), [], 'the policy lets our style in');
    await page.getByRole('link', { name: 'your connections' }).click();
    await page.waitForURL(`${house.broker}/`);
    await page.getByRole('heading', { name: 'Your connections' }).waitFor();
    assert.ok(requests.every(({ url }) => url.startsWith(house.gateway)));
  });

  await t.test('at each endpoint it is the same, also of a server that is not there', async () => {
    const texts = new Set();
    for (const path of endpoints) {
      await page.goto(house.gateway + path);
      texts.add(await page.content());
    }
    assert.equal(texts.size, 1);
  });

  await t.test('HEAD has its head, and a client that takes events its stream', async () => {
    for (const path of endpoints) {
      const [get, head] = await Promise.all(
        ['GET', 'HEAD'].map((method) => fetch(house.gateway + path, { method, headers: NAVIGATION })),
      );
      const length = (await get.arrayBuffer()).byteLength;
      assert.equal((await head.arrayBuffer()).byteLength, 0);
      for (const answer of [get, head]) {
        assert.deepEqual([answer.status, answer.headers.get('vary')], [200, 'Accept'], path);
        assert.equal(answer.headers.get('content-length'), `${length}`, path);
      }
    }
    const leaving = new AbortController();
    const headers = { accept: 'text/event-stream' };
    const stream = await fetch(`${house.gateway}/mcp`, { headers, signal: leaving.signal });
    assert.deepEqual([stream.status, stream.headers.get('content-type')], [200, 'text/event-stream']);
    leaving.abort();
  });
});
