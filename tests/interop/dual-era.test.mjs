// Compares what the official conformance suite finds at servers of both eras with what it finds there through Gatehouse.
//
// The servers are the one by which the Python SDK is judged, and ours on three SDKs, each of which serves both eras at one
// endpoint in its own way. Every scenario counts that the suite plays for a revision, also those that nobody is required
// to pass.

import assert from 'node:assert/strict';
import { join } from 'node:path';
import { test } from 'node:test';

import { DUAL_ERA, startDualEra } from './conformance/fixtures.mjs';
import { OTHERWISE } from './conformance/known.mjs';
import { judgeAll, requiredBy, REVISIONS } from './conformance/suite.mjs';
import { House } from './harness/house.mjs';
import { folder } from './harness/processes.mjs';

/// How many requirement sets are judged at a time. Most of a judgement is waiting for its own short pauses.
const AT_ONCE = 3;
/// The only one that keeps no sessions, so that it cannot ask a legacy client.
const WITHOUT_SESSIONS = 'typescript-default';

const CASES = Object.keys(DUAL_ERA).flatMap((name) => REVISIONS.map((revision) => ({ name, revision })));

test('R40: the conformance suite, and servers of both eras', { timeout: 400_000, concurrency: AT_ONCE }, async (t) => {
  const names = Object.keys(DUAL_ERA);
  const urls = await Promise.all(names.map((name) => startDualEra(t, name)));
  const upstreams = Object.fromEntries(names.map((name, at) => [name, urls[at]]));
  const house = await House.plan(t);
  const servers = Object.entries(upstreams).map(([name, url]) => [name, { type: 'http', url }]);
  await house.open(t, { servers: Object.fromEntries(servers) });
  const results = await folder(t);

  const compare = ({ name, revision }) =>
    t.test(`${revision}: ${name} is the same through Gatehouse`, async (t) => {
      const direct = await judgeAll(upstreams[name], revision, join(results, `${name}-${revision}-itself`));
      const through = await judgeAll(`${house.gateway}/mcp/${name}`, revision, join(results, `${name}-${revision}`));
      t.diagnostic(`${passed(direct)} itself, ${passed(through)} through Gatehouse`);

      assert.deepEqual([...through.keys()].sort(), [...direct.keys()].sort());
      if (name !== WITHOUT_SESSIONS || revision !== '2025-11-25') {
        const failing = (await requiredBy(revision)).filter((scenario) => direct.get(scenario).length);
        assert.deepEqual(failing, [], 'the server itself does what is required');
      }
      const otherwise = OTHERWISE[revision]?.[name] ?? {};
      for (const [scenario, wrong] of direct) {
        const found = ids(through.get(scenario));
        const { checks, because } = otherwise[scenario] ?? {};
        assert.deepEqual(found, checks ?? ids(wrong), `${scenario}: ${JSON.stringify(through.get(scenario))}`);
        if (because) assert.notDeepEqual(found, ids(wrong), `${scenario} is the same, in spite of this: ${because}`);
      }
    });
  await Promise.all(CASES.map(compare));
});

function passed(verdict) {
  return `${[...verdict.values()].filter((wrong) => !wrong.length).length}/${verdict.size}`;
}

/// Which checks failed.
function ids(wrong) {
  return wrong.map(({ check }) => check).sort();
}
