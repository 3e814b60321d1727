// Does the official conformance suite find behind Gatehouse what it finds without it, in each era, and across the eras?
//
// Servers of one era, on two official SDKs, pass the requirement set of their era as they are. Then the suite meets them
// through `/mcp/{server}`, in every pairing of its era with that of the server. `dual-era.test.mjs` has those of both.
//
// All of both sets has to pass. What a crossed pairing cannot do by the protocol is named in conformance/known.mjs,
// with the reason and the very checks, and that is held to be exactly true.

import assert from 'node:assert/strict';
import { join } from 'node:path';
import { test } from 'node:test';

import { ERAS, SDKS, startFixture } from './conformance/fixtures.mjs';
import { IMPOSSIBLE, isCrossed } from './conformance/known.mjs';
import { judge, requiredBy, REVISIONS } from './conformance/suite.mjs';
import { House } from './harness/house.mjs';
import { folder } from './harness/processes.mjs';

/// How many requirement sets are judged at a time. Most of a judgement is waiting for its own short pauses.
const AT_ONCE = 2;

const CASES = Object.keys(SDKS).flatMap((sdk) =>
  ERAS.flatMap((era) => REVISIONS.map((revision) => ({ sdk, era, revision, crossed: isCrossed(revision, era) }))),
);

test('the conformance suite', { timeout: 300_000, concurrency: AT_ONCE }, async (t) => {
  const start = ([sdk, era]) => startFixture(t, sdk, era).then((url) => [`${sdk}-${era}`, url]);
  const fixtures = Object.keys(SDKS).flatMap((sdk) => ERAS.map((era) => [sdk, era]));
  const upstreams = Object.fromEntries(await Promise.all(fixtures.map(start)));
  const house = await House.plan(t);
  const servers = Object.entries(upstreams).map(([name, url]) => [name, { type: 'http', url }]);
  await house.open(t, { servers: Object.fromEntries(servers) });
  const results = await folder(t);
  const rows = [];

  const direct = ({ sdk, era, revision }) => {
    const name = `${sdk}-${era}`;
    return t.test(`${revision}: ${name} itself passes all`, async () => {
      const verdict = await judge(upstreams[name], revision, join(results, `${name}-${revision}-itself`));
      rows.push(row({ revision, name, where: 'itself', verdict }));
      assert.deepEqual(failed(verdict), {});
    });
  };
  await Promise.all(CASES.filter(({ crossed }) => !crossed).map(direct));

  const through = ({ sdk, era, revision, crossed }) => {
    const name = `${sdk}-${era}`;
    return t.test(`${revision}: ${name} through Gatehouse`, async () => {
      const verdict = await judge(`${house.gateway}/mcp/${name}`, revision, join(results, `${name}-${revision}`));
      const impossible = crossed ? IMPOSSIBLE[revision] : {};
      rows.push(row({ revision, name, where: 'through Gatehouse', verdict, impossible }));
      const lost = Object.entries(failed(verdict)).filter(([scenario]) => !(scenario in impossible));
      assert.deepEqual(lost, []);
      for (const [scenario, { checks, because }] of Object.entries(impossible)) {
        assert.ok(verdict.get(scenario).length, `${scenario} passes, in spite of this: ${because}`);
        const more = verdict.get(scenario).filter(({ check }) => !checks.includes(check));
        assert.deepEqual(more, [], `more is wrong with ${scenario} than that: ${because}`);
      }
    });
  };
  await Promise.all(CASES.map(through));

  for (const text of rows.sort()) t.diagnostic(text);
});

test('what is said to be impossible is required, and of crossed pairings only', async () => {
  for (const revision of REVISIONS) {
    const required = await requiredBy(revision);
    const strangers = Object.keys(IMPOSSIBLE[revision]).filter((scenario) => !required.includes(scenario));
    assert.deepEqual(strangers, []);
  }
});

test('where nobody listens, nothing passes', { timeout: 60_000 }, async (t) => {
  const [house, results] = [await House.plan(t), await folder(t)];
  for (const revision of REVISIONS) {
    const verdict = await judge(`${house.gateway}/mcp`, revision, join(results, revision));
    assert.deepEqual(Object.keys(failed(verdict)).sort(), (await requiredBy(revision)).sort());
  }
});

/// By scenario, what is wrong.
function failed(verdict) {
  return Object.fromEntries([...verdict].filter(([, wrong]) => wrong.length));
}

/// `revision  server  where  passed/required  names of those that fail`, those in brackets that cannot pass.
function row({ revision, name, where, verdict, impossible = {} }) {
  const names = Object.keys(failed(verdict)).map((scenario) => (scenario in impossible ? `(${scenario})` : scenario));
  const count = `${verdict.size - names.length}/${verdict.size}`;
  return [revision, name.padEnd(17), where.padEnd(17), count.padEnd(5), names.join(' ')].join('  ').trimEnd();
}
