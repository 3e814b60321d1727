// A hundred callers find a token expired at the same moment: does one refresh serve them all?
//
// The provider ends a grant whose refresh token comes twice, so a round that goes wrong is seen by all rounds after it.
// The callers are spread over all processes that share the store. `STORM_ROUNDS` makes a longer storm.

import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { describe, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';

import { askForToken } from './harness/asking.mjs';
import { House } from './harness/house.mjs';
import { startProvider } from './harness/provider.mjs';
import { Visitor } from './harness/visitor.mjs';

const ROUNDS = Number(process.env.STORM_ROUNDS ?? 50);
const CALLERS = 100;
/// Each round needs a token that has expired. With many connections there always is one that has, or nearly.
const IDS = Array.from({ length: 25 }, (_, number) => `op${number}`);
const SECONDS = 12;
/// Half a token's life, before which it is not renewed (milliseconds, less the second that clocks round off): a round
/// that lasts longer may see another refresh, and tells nothing.
const FRESH = (SECONDS / 2 - 1) * 1000;

describe(`${CALLERS} callers at expiry cost one refresh, ${ROUNDS} times`, { concurrency: true }, () => {
  test('two processes on one Redis', { timeout: 3_600_000 }, (t) => storms(t, 'redis', 2));
  test('one process on SQLite', { timeout: 3_600_000 }, (t) => storms(t, 'sqlite', 1));
});

async function storms(t, store, processes) {
  const house = await House.plan(t, 'one app', store, processes);
  const provider = await startProvider(t, house, { ids: IDS, seconds: SECONDS });
  await house.open(t, { services: Object.fromEntries(IDS.map((id) => [id, provider.service])) });
  const visitor = new Visitor();
  const expiry = new Map();
  for (const id of IDS) {
    const page = await visitor.logIn(`${house.broker}/auth/${id}`, 'alice');
    assert.equal(page.status, 200, page.text);
    expiry.set(id, Date.now() + provider.lifetime);
  }
  const measured = { waits: [], slow: 0, ...(await spent(house)) };

  /// All ask at once. Gives the tokens that they got, or nothing when it took too long to tell.
  const storm = async (id) => {
    const { refresh_token: before } = provider.granted;
    const start = performance.now();
    const all = Array.from({ length: CALLERS }, (_, caller) =>
      askForToken(house, id, house.brokers[caller % processes]),
    );
    const answers = await Promise.all(all);
    const refreshes = provider.granted.refresh_token - before;
    expiry.set(id, Date.now() + provider.lifetime);
    assert.deepEqual([...new Set(answers.map(({ status }) => status))], [200], said(answers, provider));
    if (performance.now() - start > FRESH) {
      measured.slow += 1;
      return undefined;
    }
    assert.equal(refreshes, 1);
    measured.waits.push(...answers.map(({ took }) => took));
    return new Set(answers.map(({ body }) => body.access_token));
  };
  const isActive = async (token) => (await provider.introspect(token)).active;

  await t.test('after a token has expired', async () => {
    for (let round = 0, told = 0; told < ROUNDS; round += 1) {
      const id = IDS[round % IDS.length];
      await sleep(expiry.get(id) - Date.now() + 1_000);
      const tokens = await storm(id);
      assert.ok(measured.slow < ROUNDS, 'this machine is too slow for a round');
      if (!tokens) continue;
      assert.deepEqual([...tokens], [provider.latest.access_token]);
      assert.ok(await isActive(provider.latest.access_token));
      told += 1;
    }
  });

  await t.test('shortly before it does: whoever does not refresh it gets the old one, which is good', async () => {
    const latest = IDS.toSorted((a, b) => expiry.get(a) - expiry.get(b)).slice(-8);
    for (const id of latest) {
      const end = expiry.get(id);
      await sleep(end - Date.now() - FRESH + 500);
      const tokens = await storm(id);
      if (!tokens || Date.now() > end - 1_000) continue;
      assert.ok(tokens.size <= 2, `${tokens.size} tokens`);
      for (const token of tokens) assert.ok(await isActive(token));
    }
  });

  await t.test('and every grant is alive', async () => {
    assert.deepEqual(provider.refused, []);
    assert.equal(provider.granted.authorization_code, IDS.length);
    const answers = await Promise.all(IDS.map((id) => askForToken(house, id)));
    assert.deepEqual([...new Set(answers.map(({ status }) => status))], [200]);
  });

  const now = await spent(house);
  const waits = measured.waits.toSorted((a, b) => a - b);
  const at = (part) => Math.round(waits[Math.floor((waits.length - 1) * part)]);
  const rounds = waits.length / CALLERS;
  t.diagnostic(`milliseconds that a caller waits: ${[0, 0.5, 0.9, 0.99, 1].map(at).join(', ')} (0, 50, 90, 99, 100 %)`);
  t.diagnostic(`CPU of the hosts for a round: ${Math.round((now.cpu - measured.cpu) / (rounds + measured.slow))} ms`);
  t.diagnostic(`most memory of a host: ${Math.round(now.memory / 1024)} MiB, before: ${Math.round(measured.memory / 1024)}`);
  if (now.reads) t.diagnostic(`reads of the store for a call: ${((now.reads - measured.reads) / waits.length).toFixed(1)}`);
  if (measured.slow) t.diagnostic(`${measured.slow} rounds took too long and were repeated`);
}

/// What the hosts have used so far: CPU in milliseconds, the most memory in KiB, reads of a Redis.
async function spent(house) {
  const used = { cpu: 0, memory: 0 };
  for (const { child } of house.apps) {
    const stat = (await readFile(`/proc/${child.pid}/stat`, 'utf8')).split(') ')[1].split(' ');
    used.cpu += (Number(stat[11]) + Number(stat[12])) * 10;
    const status = await readFile(`/proc/${child.pid}/status`, 'utf8');
    used.memory = Math.max(used.memory, Number(/VmHWM:\s+(\d+)/.exec(status)[1]));
  }
  const stats = await house.store.ask?.('info', 'commandstats');
  return { ...used, reads: Number(/cmdstat_get:calls=(\d+)/.exec(stats)?.[1] ?? 0) };
}

function said(answers, { refused }) {
  const bodies = answers.filter(({ status }) => status !== 200).map(({ body }) => body.error);
  return `${bodies.length} callers got ${[...new Set(bodies)]}; the provider refused ${refused.length} times: ${[...new Set(refused)]}`;
}
