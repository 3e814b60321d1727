// What is left of a grant when the host is killed in the middle of something?
//
// Each step that can be seen from outside the broker is a place for a kill: before and after a row of the store is
// written or deleted, and around each request to the provider. They are counted and not named: the first kill is at the
// first such step of a flow, the next at the second, and so on, until the flow ends before there is one. Then the host
// comes up again, and all that were hit are asked for until they settle, which is at most for as long as the lease of a
// refresh lasts.

import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';

import { askForToken, disconnect } from './harness/asking.mjs';
import { House } from './harness/house.mjs';
import { startProvider } from './harness/provider.mjs';
import { redis } from './harness/stores.mjs';
import { Visitor } from './harness/visitor.mjs';
import { answered, startWay } from './harness/way.mjs';
import { startWire } from './harness/wire.mjs';

const PLACES = [
  'before a write',
  'after a write',
  'before the provider is asked',
  'after the provider has answered',
  'after the answer was passed on',
];
/// Milliseconds until the lease of somebody who is gone has ended for sure (`docs/storage.md`).
const LEASE = 60_000;

describe('the host is killed at every step', { concurrency: 3 }, () => {
  for (const grace of [false, true]) {
    const kind = grace ? 'takes an old refresh token once more' : 'ends a grant whose old refresh token comes again';
    test(`of a refresh, at a provider that ${kind}`, { timeout: 240_000 }, (t) => refreshes(t, grace));
  }
  test('of connecting, of connecting again and of disconnecting', { timeout: 240_000 }, connectsAndDisconnects);
});

async function refreshes(t, grace) {
  const scene = await setUp(t, 24, { grace, seconds: 5 });
  const { house, provider } = scene;
  const spent = new Map();
  for (const id of scene.ids) {
    await connect(house, id);
    spent.set(id, provider.latest.refresh_token);
  }
  await sleep(provider.lifetime + 1_000);

  const hits = [];
  for await (const hit of killEverywhere(scene, scene.ids.values(), (id) => askForToken(house, id))) {
    // Whether the broker has stored a refresh token that the provider takes.
    hits.push({ ...hit, isAlive: hit.isKept || (await provider.introspect(spent.get(hit.id))).active });
  }
  assert.ok(hits.length >= 8, `only ${hits.length} steps were found`);
  assert.ok(!grace || hits.every(({ isAlive }) => isAlive));

  await t.test('whoever has a grant that lives gets a token, and everybody else is told to connect again', async () => {
    const refused = provider.refused.length;
    await Promise.all(hits.map(async (hit) => (hit.settled = await settled(scene, hit))));
    for (const { name, isAlive, settled } of hits) {
      if (isAlive) assert.equal(settled.status, 200, `${name}: ${settled.body.error}`);
      if (settled.status === 200) assert.ok(settled.isActive, name);
      else assert.deepEqual([settled.status, typeof settled.body.connect_url], [409, 'string'], name);
    }
    const lost = hits.filter(({ settled }) => settled.status !== 200);
    t.diagnostic(`${hits.length} kills; lost, as the provider's answer was: ${lost.map(({ name }) => name).join(', ') || 'none'}`);
    t.diagnostic(`seconds until it was settled: ${hits.map(({ settled }) => Math.round(settled.after / 1000)).join(', ')}`);
    assert.equal(provider.refused.length - refused, lost.length, 'a grant that has ended is not asked for again');
  });

  await t.test('who got one gets the next, and who was told to connect again can', async () => {
    await sleep(provider.lifetime + 1_000);
    for (const { id, name, settled } of hits) if (settled.status !== 200) await connect(house, id, name);
    const next = await Promise.all(hits.map(({ id }) => askForToken(house, id)));
    for (const [index, { name, settled }] of hits.entries()) {
      assert.equal(next[index].status, 200, `${name}: ${next[index].body.error}`);
      assert.notEqual(next[index].body.access_token, settled.body.access_token, name);
    }
  });
}

async function connectsAndDisconnects(t) {
  const scene = await setUp(t, 60, { seconds: 600 });
  const { house, ids } = scene;

  await t.test('what was stored of a new connection is good, and what was not can be done again', async (t) => {
    let kills = 0;
    for await (const hit of killEverywhere(scene, ids.values(), (id) => connect(house, id))) {
      const { status, body, isActive } = await settled(scene, hit);
      if (status === 200) assert.ok(isActive, hit.name);
      else assert.deepEqual([status, typeof body.connect_url], [404, 'string'], hit.name);
      if (hit.isKept) assert.equal(status, 200, hit.name);
      await connect(house, hit.id, hit.name);
      assert.equal((await askForToken(house, hit.id)).status, 200, hit.name);
      kills += 1;
    }
    assert.ok(kills >= 12, `only ${kills} steps were found`);
    t.diagnostic(`${kills} kills`);
  });

  await t.test('connecting again loses nothing before it has brought something', async (t) => {
    let kills = 0;
    for await (const hit of killEverywhere(scene, connected(scene), (id) => connect(house, id))) {
      const { status, body, isActive } = await settled(scene, hit);
      assert.deepEqual([status, isActive], [200, true], `${hit.name}: ${body.error}`);
      kills += 1;
    }
    assert.ok(kills >= 12, `only ${kills} steps were found`);
    t.diagnostic(`${kills} kills`);
  });

  await t.test('a disconnection that was cut off is done, or can be done again', async (t) => {
    let kills = 0;
    for await (const hit of killEverywhere(scene, connected(scene), (id) => disconnect(house, id))) {
      const { status, body, isActive } = await settled(scene, hit);
      if (status === 200) assert.ok(isActive, hit.name);
      else assert.ok([404, 409].includes(status) && body.connect_url, `${hit.name}: ${status}`);
      assert.ok((await disconnect(house, hit.id)).status < 300, hit.name);
      assert.equal((await askForToken(house, hit.id)).status, 404, hit.name);
      kills += 1;
    }
    assert.ok(kills >= 5, `only ${kills} steps were found`);
    t.diagnostic(`${kills} kills`);
  });
}

/// A house whose ways to its store and to its provider are full of places for a kill.
async function setUp(t, services, options) {
  const ids = Array.from({ length: services }, (_, number) => `op${number}`);
  const trap = new Trap();
  const writes = {
    before: () => trap.springs('before a write'),
    after: (key) => {
      // A row of kind `c` is a connection.
      trap.isKept ||= key.startsWith('b.c.') && provider.latest !== trap.latest;
      return trap.springs('after a write');
    },
  };
  const house = await House.plan(t, 'one app', (t) => redis(t, (port) => startWire(t, port, writes)));
  const provider = await startProvider(t, house, { ids, ...options });
  const way = await startWay(t);
  await house.open(t, { services: Object.fromEntries(ids.map((id) => [id, way.service(id, provider.service)])) });
  way.meetAll(async ({ pass, answer }) => {
    if (trap.springs('before the provider is asked')) return;
    const said = await pass();
    if (trap.springs('after the provider has answered')) return;
    await answered(answer, said);
    trap.springs('after the answer was passed on');
  });
  return { house, provider, trap, ids };
}

/// Runs `flow` for one id after the other, and kills the host at another step each time. Gives what was hit when the
/// host is up again.
async function* killEverywhere({ house, provider, trap }, ids, flow) {
  for (const place of PLACES) {
    for (let nth = 1; ; nth += 1) {
      const name = `${place} ${nth}`;
      const { value: id, done } = await ids.next();
      assert.ok(!done, `${name}: no service is left for it`);
      trap.set(place, nth, provider, () => house.kill());
      const flowing = flow(id).catch((failure) => failure);
      const ended = await Promise.race([flowing, trap.sprung]);
      const { isSet, isKept } = trap;
      if (isSet) {
        trap.set();
        assert.ok(!(ended instanceof Error), `${name} was not reached: ${ended?.stack}`);
        break;
      }
      await flowing;
      trap.set();
      await house.restart();
      yield { id, name, isKept, since: Date.now() };
    }
  }
}

/// Ids of services that are connected, for ever.
async function* connected({ house, ids }) {
  for (;;) {
    for (const id of ids) {
      await connect(house, id);
      yield id;
    }
  }
}

/// Something that happens at the nth time that anybody comes to a place.
class Trap {
  /// `isKept` will say whether what the provider granted from now on was stored.
  set(place, nth, provider, act) {
    Object.assign(this, { place, left: nth, latest: provider?.latest, act, isKept: false });
    this.sprung = new Promise((resolve) => (this.tell = resolve));
  }

  get isSet() {
    return this.left > 0;
  }

  springs(place) {
    if (this.place !== place || !this.isSet) return false;
    this.left -= 1;
    if (this.left > 0) return false;
    this.act();
    this.tell();
    return true;
  }
}

/// The first answer that is not "ask again later", and whether its token is one that the provider takes.
async function settled({ house, provider }, { id, name, since }) {
  for (;;) {
    const answer = await askForToken(house, id);
    const after = Date.now() - since;
    if (answer.status === 200) {
      return { ...answer, after, isActive: (await provider.introspect(answer.body.access_token)).active };
    }
    if (answer.status !== 503) return { ...answer, after };
    assert.ok(Number(answer.headers.get('retry-after')) > 0, name);
    assert.ok(after < LEASE, `${name}: still told to ask again`);
    await sleep(1_000);
  }
}

async function connect(house, id, name = id) {
  const page = await new Visitor().logIn(`${house.broker}/auth/${id}`, 'alice');
  assert.equal(page.status, 200, `${name}: ${page.text}`);
}
