// Does a connection hold with providers that nobody had in mind when the broker was written?

import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';

import { askForToken, call, disconnect, whoami } from './harness/asking.mjs';
import { startGuardedServer } from './harness/guarded-server.mjs';
import { House } from './harness/house.mjs';
import { OTHERS } from './harness/others.mjs';
import { Visitor } from './harness/visitor.mjs';
import { answered, startWay } from './harness/way.mjs';

describe('a connection lives on', { concurrency: true }, () => {
  for (const [name, start] of Object.entries(OTHERS)) {
    test(`at ${name}`, { timeout: 90_000 }, (t) => livesOn(t, start));
  }
});

async function livesOn(t, start) {
  const house = await House.plan(t);
  const other = await start(t, house);
  const server = await startGuardedServer(t, other);
  const way = await startWay(t);
  // What it issues is known by what passes by.
  way.meet('other', 'token', async ({ pass, answer }) => {
    const said = await pass();
    for (const [kind, value] of Object.entries(JSON.parse(said.body))) {
      if (kind.endsWith('_token')) house.secrets.set(`${kind} ${house.secrets.size}`, value);
    }
    await answered(answer, said);
  });
  await house.open(t, {
    services: { other: way.service('other', other.service) },
    servers: { guarded: { type: 'http', url: server.url, service: 'other' } },
  });
  const token = async () => {
    const { status, body } = await askForToken(house, 'other');
    assert.equal(status, 200, body.error);
    assert.ok((await other.introspect(body.access_token)).active);
    return body.access_token;
  };

  await t.test('nobody is connected who has not been there', async () => {
    const { status, body } = await askForToken(house, 'other');
    assert.deepEqual([status, body.error], [404, 'not_connected']);
  });

  await t.test('a person goes there and comes back', async () => {
    const page = await new Visitor().logIn(`${house.broker}/auth/other`, 'alice');
    assert.equal(page.status, 200, page.text);
    assert.match(page.text, new RegExp(other.account));
  });

  const first = await token();

  await t.test('its token is handed out, and goes with a call', async () => {
    assert.equal(await whoami(house), other.account);
    assert.ok(server.tokens.size > 0);
  });

  await t.test('after that has expired there is another', async () => {
    await sleep(other.lifetime + 1_000);
    assert.equal((await other.introspect(first)).active, false);
    assert.notEqual(await token(), first);
    assert.equal(await whoami(house), other.account);
  });

  await t.test('a restart loses nothing', async () => {
    await house.restart();
    await token();
    await sleep(other.lifetime + 1_000);
    await token();
    assert.equal(await whoami(house), other.account);
  });

  await t.test('whoever disconnects has no token left', async () => {
    const { status, body } = await disconnect(house, 'other');
    assert.equal(way.count('other', 'revoke'), other.revokes ? 1 : 0);
    if (other.revokes) assert.equal(status, 204);
    else assert.deepEqual([status, body.forgotten, body.revoked], [200, true, false]);
    assert.equal((await askForToken(house, 'other')).status, 404);
    assert.equal((await call(house)).isError, true);
  });
}
