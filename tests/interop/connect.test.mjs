// Does a connection through a strict provider hold: through expiry, restart and disconnect, in every composition, on
// every store?

import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';

import { call, whoami } from './harness/asking.mjs';
import { startGuardedServer } from './harness/guarded-server.mjs';
import { COMPOSITIONS, House } from './harness/house.mjs';
import { startProvider } from './harness/provider.mjs';
import { STORES } from './harness/stores.mjs';
import { Visitor } from './harness/visitor.mjs';

describe('a connection to oidc-provider lives on', { concurrency: 3 }, () => {
  for (const composition of Object.keys(COMPOSITIONS)) {
    for (const store of Object.keys(STORES)) {
      test(`${composition} on ${store}`, { timeout: 90_000 }, (t) => livesOn(t, composition, store));
    }
  }
});

async function livesOn(t, composition, store) {
  const house = await House.plan(t, composition, store);
  const provider = await startProvider(t, house);
  const server = await startGuardedServer(t, provider);
  await house.open(t, {
    services: { op: provider.service },
    servers: { guarded: { type: 'http', url: server.url, service: 'op' } },
  });
  const visitor = new Visitor();

  await t.test('a call before it gets a link to connect, and no token', async () => {
    const result = await call(house);
    assert.equal(result.isError, true);
    assert.ok(result.structuredContent.connect_url.startsWith(`${house.broker}/auth/op?ticket=`));
    assert.equal(server.tokens.size, 0);
  });

  await t.test('a person logs in at the provider and comes back to a page that says so', async () => {
    const page = await visitor.logIn(`${house.broker}/auth/op`, 'alice');
    assert.equal(page.status, 200);
    assert.match(page.text, /The Provider is connected/);
    assert.match(page.text, /alice/);
    assert.equal(provider.granted.authorization_code, 1);
  });

  const before = await connection(house);

  await t.test('a tool is called with the token of that person', async () => {
    assert.equal(await whoami(house), 'alice');
    assert.ok(server.tokens.size > 0);
  });

  await t.test('after the token has expired it is refreshed, without a new login', async () => {
    const { refresh_token: refreshes } = provider.granted;
    const expired = new Set(server.tokens);
    await sleep(provider.lifetime + 1_000);
    assert.equal(await whoami(house), 'alice');
    assert.ok(!expired.has([...server.tokens].at(-1)));
    assert.equal(provider.granted.authorization_code, 1);
    assert.ok(provider.granted.refresh_token > refreshes);
  });

  await t.test('many who find it expired at once spend no refresh token twice, and all get through', async () => {
    await sleep(provider.lifetime + 1_000);
    const said = await Promise.all(Array.from({ length: 8 }, () => whoami(house)));
    assert.deepEqual([...new Set(said)], ['alice']);
    assert.equal(provider.granted.authorization_code, 1);
  });

  await t.test('a restart of the host loses nothing', async () => {
    await house.restart();
    assert.equal(await whoami(house), 'alice');
    await sleep(provider.lifetime + 1_000);
    assert.equal(await whoami(house), 'alice');
    assert.equal(provider.granted.authorization_code, 1);
  });

  await t.test('it still is the same connection', async () => {
    const now = await connection(house);
    assert.deepEqual([now.label, now.connected_at], ['alice', before.connected_at]);
    assert.ok(now.refreshed_at > before.refreshed_at);
  });

  await t.test('no secret is in any output, any answer, or the raw store', async () => {
    const ours = visitor.answers.filter(({ url }) => url.startsWith(house.broker));
    house.said.push(...ours.map(({ text, headers }) => text + JSON.stringify([...headers])));
    assert.ok(house.secrets.size >= 15 && ours.length >= 3, 'there is something to search for, and where');
    assert.deepEqual(await house.leaks(), []);
    // A search that finds what is there, in the form in which it is there, would have found a secret too.
    const known = new Map([
      ['a line of the host', 'Gatehouse is open'],
      ['a row of the broker', 'b.c.'],
    ]);
    assert.deepEqual(await house.leaks(known), ['a line of the host in output', 'a row of the broker in the store']);
  });

  await t.test('whoever disconnects has no token left, here or at the provider', async () => {
    const { access_token, refresh_token } = provider.latest;
    assert.equal((await provider.introspect(refresh_token)).active, true);
    const answer = await visitor.post(`${house.broker}/disconnect/op`, {});
    assert.equal(answer.status, 303);
    for (const token of [access_token, refresh_token]) {
      assert.equal((await provider.introspect(token)).active, false);
    }
    assert.equal((await call(house)).isError, true);
  });
}

async function connection(house) {
  const answer = await fetch(`${house.broker}/connections`);
  house.said.push(await answer.clone().text());
  return (await answer.json()).services.find(({ service }) => service === 'op');
}
