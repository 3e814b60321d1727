// What is left of a grant when the host is killed in the middle of something?
//
// Each step that can be seen from outside the broker is a place for a kill: before and after a row of the store is
// written or deleted, and around each request to the provider. They are counted and not named: the first kill is at the
// first such step of a flow, the next at the second, and so on, until the flow ends before there is one. Then the host
// comes up again, and all that were hit are asked for until they settle, which is at most for as long as a lease lasts.

import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';

import { askForToken, disconnect, listed } from './harness/asking.mjs';
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
/// Milliseconds until a revocation that was cut off has been taken up again for sure.
const REVOCATION = 120_000;

describe('the host is killed at every step', { concurrency: true }, () => {
  for (const grace of [false, true]) {
    const kind = grace ? 'takes an old refresh token once more' : 'ends a grant whose old refresh token comes again';
    test(`of a refresh, at a provider that ${kind}`, { timeout: 240_000 }, (t) => refreshes(t, grace));
  }
  test('of connecting: what is stored is good, and what is not can be done again', { timeout: 240_000 }, connects);
  test('of connecting again: nothing is lost before something has come', { timeout: 240_000 }, connectsAgain);
  test('of disconnecting: it is done, or can be done again, and the provider is told', { timeout: 240_000 }, disconnects);
});

async function refreshes(t, grace) {
  const scene = await setUp(t, 20, { grace, seconds: 5 });
  const { house, provider } = scene;
  const spent = new Map();
  for (const id of scene.ids) {
    await connect(house, id);
    spent.set(id, provider.latest.refresh_token);
  }
  await sleep(provider.lifetime + 1_000);

  const hits = [];
  const each = scene.ids.map((id) => ({ ...scene, id })).values();
  for await (const hit of killEverywhere(each, askForToken)) {
    // Whether the broker has stored a refresh token that the provider takes.
    hits.push({ ...hit, isAlive: hit.isKept || (await provider.introspect(spent.get(hit.id))).active });
  }
  assert.ok(hits.length >= 8, `only ${hits.length} steps were found`);
  assert.ok(!grace || hits.every(({ isAlive }) => isAlive));

  await t.test('whoever has a grant that lives gets a token, and everybody else is told to connect again', async () => {
    const refused = provider.refused.length;
    await Promise.all(hits.map(async (hit) => (hit.settled = await settled(hit))));
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

async function connects(t) {
  const hits = await eachInItsOwnHouse(t, connect, async (hit) => {
    const { house, id, name, isKept } = hit;
    const { status, body, isActive } = await settled(hit);
    if (status === 200) assert.ok(isActive, name);
    else assert.deepEqual([status, typeof body.connect_url], [404, 'string'], name);
    if (isKept) assert.equal(status, 200, name);
    await connect(house, id, name);
    assert.equal((await askForToken(house, id)).status, 200, name);
  });
  assert.ok(hits.length >= 12, `only ${hits.length} steps were found`);
}

async function connectsAgain(t) {
  const hits = await eachInItsOwnHouse(t, connect, isStillConnected, connect);
  assert.ok(hits.length >= 12, `only ${hits.length} steps were found`);
}

async function isStillConnected(hit) {
  const { status, body, isActive } = await settled(hit);
  assert.deepEqual([status, isActive], [200, true], `${hit.name}: ${body.error}`);
}

async function disconnects(t) {
  const hits = await eachInItsOwnHouse(t, disconnect, isDisconnected, connect);
  assert.ok(hits.length >= 5, `only ${hits.length} steps were found`);
  t.diagnostic(`seconds until the provider was told: ${hits.map(({ told }) => Math.round(told / 1000)).join(', ')}`);
}

async function isDisconnected(hit) {
  const { house, provider, id, name, since } = hit;
  const { status, body, isActive } = await settled(hit);
  if (status === 200) assert.ok(isActive, name);
  else assert.deepEqual([status, typeof body.connect_url], [404, 'string'], name);
  assert.ok((await disconnect(house, id)).status < 300, name);
  assert.equal((await askForToken(house, id)).status, 404, name);
  while ((await provider.introspect(provider.latest.refresh_token)).active) {
    assert.ok(Date.now() - since < REVOCATION, `${name}: the provider was not told`);
    await sleep(2_000);
    // Whoever looks at what a subject has goes on with what is to be revoked of it.
    await listed(house);
  }
  hit.told = Date.now() - since;
}

/// Kills a house at each step of `flow`, and judges what is left while the next is hit. What somebody who was killed still
/// holds would stand in the way of others, so no two share a store.
async function eachInItsOwnHouse(t, flow, judge, before = () => undefined) {
  const scenes = async function* () {
    for (;;) {
      const scene = await setUp(t, 1, { seconds: 600 });
      await before(scene.house, 'op0');
      yield { ...scene, id: 'op0' };
    }
  };
  const judged = [];
  for await (const hit of killEverywhere(scenes(), flow)) {
    judged.push(Promise.resolve(judge(hit)).then(() => hit.house.close()).then(() => hit));
    judged.at(-1).catch(() => undefined);
  }
  const hits = await Promise.all(judged);
  t.diagnostic(`${hits.length} kills`);
  return hits;
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

/// Runs `flow` in one scene after the other, and kills the host at another step each time. Gives what was hit when the
/// host is up again.
async function* killEverywhere(scenes, flow) {
  for (const place of PLACES) {
    for (let nth = 1; ; nth += 1) {
      const name = `${place} ${nth}`;
      const { value: scene, done } = await scenes.next();
      assert.ok(!done, `${name}: nothing is left for it`);
      const { house, provider, trap, id } = scene;
      trap.set(place, nth, provider, () => house.kill());
      const flowing = flow(house, id).catch((failure) => failure);
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
      yield { ...scene, name, isKept, since: Date.now() };
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
async function settled({ house, provider, id, name, since }) {
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
