// A provider that does everything wrong: does a grant survive it, and does the caller learn when to ask again?
//
// The provider itself is sound. What is wrong happens on the way to it, to each service something else.

import assert from 'node:assert/strict';
import { once } from 'node:events';
import { readFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';

import { askForToken, disconnect, resolve } from './harness/asking.mjs';
import { House } from './harness/house.mjs';
import { atEnd } from './harness/processes.mjs';
import { startProvider } from './harness/provider.mjs';
import { Visitor } from './harness/visitor.mjs';
import { answered, startWay } from './harness/way.mjs';

const SECONDS = 10;
const RETRY_AFTER = 3;
const HUGE = 50 * 1024 * 1024;
/// For how many milliseconds a person looks at a page that is still loading.
const PATIENCE = 40_000;
const JSON_TYPE = { 'content-type': 'application/json' };

/// Where a redirect would lead. Whoever comes has followed one.
const lure = { url: '', visits: 0 };

/// What a request meets instead of the provider.
const FAULTS = {
  'no answer': () => undefined,
  'an answer that never ends': async ({ answer }) => {
    answer.writeHead(200, JSON_TYPE).write('{"access_token":"');
    while (!answer.destroyed) await sleep(1_000).then(() => answer.write('x'));
  },
  'a reset connection': ({ answer }) => answer.socket.resetAndDestroy(),
  'a server error': says(500, { error: 'server_error' }),
  'a server error in HTML': ({ answer }) => page(answer, 502),
  'a rate limit': says(429, { error: 'rate_limited' }, { 'retry-after': RETRY_AFTER }),
  'a body that is cut off': ({ answer }) => {
    answer.writeHead(200, { ...JSON_TYPE, 'content-length': 500 }).write('{"access_token":"only-half-of');
    setTimeout(() => answer.destroy(), 50);
  },
  'JSON that is cut off': ({ answer }) => answer.writeHead(200, JSON_TYPE).end('{"access_token":"only-half-of'),
  'a body of 50 MB': ({ answer }) => huge(answer, { ...JSON_TYPE, 'content-length': HUGE }),
  'a body of 50 MB of unknown length': ({ answer }) => huge(answer, JSON_TYPE),
  'HTML instead of JSON': ({ answer }) => page(answer, 200),
  'nothing at all': ({ answer }) => answer.writeHead(200, JSON_TYPE).end(),
  'an error in a success': says(200, { ok: false, error: 'temporarily_unavailable' }),
  'an error that says nothing of the grant': says(400, { error: 'invalid_request' }),
  'a client that is not accepted': says(401, { error: 'invalid_client' }),
  ...Object.fromEntries([301, 302, 303, 307, 308].map((status) => [`a redirect (${status})`, redirects(status)])),
};
const NAMES = Object.keys(FAULTS);

/// What is asked of the provider, to meet each fault: by a name for the services of it.
const QUESTIONS = {
  refresh: ['a refresh that meets it is put off', refresh],
  code: ['a callback that meets it leaves what was there', callback],
  whoami: ['a question for the account that meets it costs no more than the label', whoami],
  revoke: ['a disconnection that meets it forgets the connection here', revocation],
};
const SKEWED = { ahead: 600, behind: -600 };

test('what goes wrong at a provider costs no grant', { timeout: 180_000 }, async (t) => {
  const idOf = (question, number) => `${question}${number}`;
  const ids = Object.keys(QUESTIONS).flatMap((question) => NAMES.map((_, number) => idOf(question, number)));
  const scene = await setUp(t, [...ids, ...Object.keys(SKEWED)], { seconds: SECONDS });

  // All at once: some take long.
  await t.test('whatever meets what', { concurrency: true }, async (t) => {
    const tests = Object.entries(QUESTIONS).map(([question, [name, act]]) =>
      t.test(name, { concurrency: true }, (t) =>
        Promise.all(NAMES.map((fault, number) => t.test(fault, () => act(scene, idOf(question, number), fault)))),
      ),
    );
    for (const [id, offset] of Object.entries(SKEWED)) {
      tests.push(t.test(`a provider's clock that is ten minutes ${id} ends nothing`, () => skew(scene, id, offset)));
    }
    await Promise.all(tests);
  });

  await t.test('no redirect was followed', () => assert.equal(lure.visits, 0));

  await t.test('and no grant was touched at the provider', () => assert.deepEqual(scene.provider.refused, []));
});

async function refresh(scene, id, fault) {
  const { house, way } = scene;
  const isLimit = fault === 'a rate limit';
  await connect(scene, id);
  const first = await askForToken(house, id);
  const end = Date.now() + first.body.expires_in * 1000;
  way.meet(id, 'token', FAULTS[fault]);
  const asked = way.count(id, 'token');

  // When the half of its life is over it is due, and good.
  await sleep(end - Date.now() - (SECONDS / 2 - 0.5) * 1000);
  const early = await askForToken(house, id);
  assert.equal(way.count(id, 'token'), asked + 1);
  if (Date.now() < end - 1_000) {
    assert.deepEqual([early.status, early.body.access_token], [200, first.body.access_token]);
    if (isLimit) {
      await askForToken(house, id);
      assert.equal(way.count(id, 'token'), asked + 1, 'it was asked before the time that it had said');
    }
  }

  await sleep(end - Date.now() + 1_000);
  const late = await askForToken(house, id);
  assert.deepEqual([late.status, late.body.error], [503, 'temporarily_unavailable']);
  const seconds = Number(late.headers.get('retry-after'));
  assert.ok(seconds > 0 && (!isLimit || seconds <= RETRY_AFTER), `Retry-After: ${seconds}`);

  way.meet(id, 'token');
  if (isLimit) await sleep(seconds * 1000);
  await hasGoodToken(scene, id);
}

async function callback(scene, id, fault) {
  const { house, way } = scene;
  for (const before of ['not connected', 'connected']) {
    way.meet(id, 'token', FAULTS[fault]);
    const page = await logIn(scene, id);
    assert.ok(page.status >= 400, `${before}: ${page.status}`);
    way.meet(id, 'token');
    if (before === 'connected') return hasGoodToken(scene, id);
    const none = await askForToken(house, id);
    assert.deepEqual([none.status, none.body.error], [404, 'not_connected']);
    await connect(scene, id);
  }
}

async function whoami(scene, id, fault) {
  scene.way.meet(id, 'whoami', FAULTS[fault]);
  await connect(scene, id);
  await hasGoodToken(scene, id);
}

async function revocation(scene, id, fault) {
  const { house, way } = scene;
  await connect(scene, id);
  way.meet(id, 'revoke', FAULTS[fault]);
  const { status } = await disconnect(house, id);
  assert.ok(status < 300, `${status}`);
  assert.equal((await askForToken(house, id)).status, 404);
}

async function skew(scene, id, offset) {
  const { house, way, provider } = scene;
  way.meet(id, 'token', async ({ pass, answer }) => {
    const said = await pass();
    const now = Math.floor(Date.now() / 1000) + offset;
    const { expires_in, ...tokens } = JSON.parse(said.body);
    const headers = { ...said.headers, date: new Date(now * 1000).toUTCString() };
    await answered(answer, { ...said, headers, body: Buffer.from(JSON.stringify({ ...tokens, expires_at: now + expires_in })) });
  });
  await connect(scene, id);
  await sleep((SECONDS + 1) * 1000);
  // The broker may take a token for good that is not any more. Then the upstream says so.
  let token = await resolve(house, id);
  assert.equal(token.status, 'token');
  if (!(await provider.introspect(token.access_token)).active) token = await resolve(house, id, token.fingerprint);
  assert.equal(token.status, 'token');
  assert.ok((await provider.introspect(token.access_token)).active);
}

for (const grace of [false, true]) {
  const after = grace ? 'is asked for again, and lives' : 'is ended, and its person told so';
  test(`a grant whose provider ${grace ? 'forgives' : 'forgives nothing'} and whose answer is lost ${after}`, async (t) => {
    const scene = await setUp(t, ['op'], { seconds: 2, grace });
    const { house, way, provider } = scene;
    await connect(scene, 'op');
    await sleep(3_000);
    way.meet('op', 'token', async ({ pass, answer }) => {
      await pass();
      answer.destroy();
    });
    const first = await askForToken(house, 'op');
    assert.deepEqual([first.status, provider.granted.refresh_token], [503, 1]);
    assert.ok(Number(first.headers.get('retry-after')) > 0);
    way.meet('op', 'token');
    if (grace) return hasGoodToken(scene, 'op');
    const second = await askForToken(house, 'op');
    assert.deepEqual([second.status, second.body.error], [409, 'needs_reconnect']);
    assert.ok(second.body.connect_url);
    await connect(scene, 'op');
    await hasGoodToken(scene, 'op');
  });
}

test('bodies of 50 MB cost the host little memory', { timeout: 60_000 }, async (t) => {
  const ids = Array.from({ length: 8 }, (_, number) => `op${number}`);
  const scene = await setUp(t, ids);
  const { house, way } = scene;
  const all = (act) => Promise.all(ids.map(act));
  await all((id) => connect(scene, id));
  const before = await mostMemory(house);
  for (const fault of NAMES.filter((name) => name.includes('50 MB'))) {
    await all((id) => way.meet(id, 'token', FAULTS[fault]));
    const pages = await all((id) => logIn(scene, id));
    assert.ok(pages.every(({ status }) => status >= 400));
  }
  const grown = (await mostMemory(house)) - before;
  t.diagnostic(`${ids.length} at a time cost ${Math.round(grown / 1024)} MiB`);
  assert.ok(grown * 1024 < HUGE, `${grown} KiB`);
});

/// A house whose ways to its provider lead past whatever a test wants.
async function setUp(t, ids, options) {
  const house = await House.plan(t);
  const provider = await startProvider(t, house, { ids, ...options });
  const way = await startWay(t);
  await startLure(t);
  await house.open(t, { services: Object.fromEntries(ids.map((id) => [id, way.service(id, provider.service)])) });
  return { house, provider, way, doors: { free: 10, queue: [] } };
}

/// A subject has at most 16 flows under way, and here is but one subject.
async function logIn({ house, doors }, id) {
  while (doors.free === 0) await new Promise((resolve) => doors.queue.push(resolve));
  doors.free -= 1;
  try {
    return await new Visitor(PATIENCE).logIn(`${house.broker}/auth/${id}`, 'alice');
  } finally {
    doors.free += 1;
    doors.queue.shift()?.();
  }
}

async function connect(scene, id) {
  const page = await logIn(scene, id);
  assert.equal(page.status, 200, page.text);
}

async function hasGoodToken({ house, provider }, id) {
  const { status, body } = await askForToken(house, id);
  assert.equal(status, 200, body.error);
  assert.ok((await provider.introspect(body.access_token)).active);
}

async function mostMemory(house) {
  const status = await readFile(`/proc/${house.apps[0].child.pid}/status`, 'utf8');
  return Number(/VmHWM:\s+(\d+)/.exec(status)[1]);
}

async function startLure(t) {
  const server = createServer((_, answer) => {
    lure.visits += 1;
    answer.writeHead(200, JSON_TYPE).end('{"access_token":"of-somebody-else","token_type":"bearer"}');
  }).listen(0, '127.0.0.1');
  await once(server, 'listening');
  atEnd(t, () => {
    server.closeAllConnections();
    server.close();
  });
  lure.url = `http://127.0.0.1:${server.address().port}/`;
}

function says(status, body, headers = {}) {
  return ({ answer }) => answer.writeHead(status, { ...JSON_TYPE, ...headers }).end(JSON.stringify(body));
}

function redirects(status) {
  return ({ answer }) => answer.writeHead(status, { location: lure.url }).end();
}

function page(answer, status) {
  answer.writeHead(status, { 'content-type': 'text/html' }).end('<!doctype html><title>Something is wrong</title>');
}

async function huge(answer, headers) {
  answer.writeHead(200, headers).write('{"access_token":"');
  const piece = Buffer.alloc(1024 * 1024, 'x');
  for (let left = HUGE; left > 0 && !answer.destroyed; left -= piece.length) {
    if (!answer.write(piece)) await Promise.race([once(answer, 'drain'), once(answer, 'close')]);
  }
  answer.end();
}
