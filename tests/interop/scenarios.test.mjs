// Plays the official suite's scenarios for clients without a login with a client behind Gatehouse.
//
// Each is played by a client of the suite's era, and by one of the other era, for which Gatehouse itself is the client that
// the suite judges.

import assert from 'node:assert/strict';
import { join } from 'node:path';
import { test } from 'node:test';

import { REVISION_OF } from './conformance/known.mjs';
import { judgeClient, requiredBy, REVISIONS } from './conformance/suite.mjs';
import { folder } from './harness/processes.mjs';

const CLIENT = join(import.meta.dirname, 'conformance/scenario-client.mjs');
/// Most of a scenario is waiting for a Gatehouse to start.
const AT_ONCE = 3;
/// Played in both sets, and required by none.
const MORE = ['json-schema-2020-12-preservation'];

/// What a client of the other era cannot pass, by scenario.
const BEGINS_IN_ITS_ERA = {
  because: 'Gatehouse begins in the era of its client, with an `initialize` that has no headers and no `_meta` of the newer era',
  proof: (failed) => {
    assert.ok(failed.length);
    for (const { says, details } of failed) assert.match(`${says} ${details?.method}`, /initialize/);
  },
};
const CROSSED = { 'request-metadata': BEGINS_IN_ITS_ERA, 'http-standard-headers': BEGINS_IN_ITS_ERA };

test('R22, R51: the conformance suite, of clients', { timeout: 300_000, concurrency: AT_ONCE }, async (t) => {
  const results = await folder(t);
  const sets = REVISIONS.map(async (revision) => {
    const required = (await requiredBy(revision, 'client')).filter((scenario) => !scenario.startsWith('auth/'));
    return [...required, ...MORE].flatMap((scenario) => Object.keys(REVISION_OF).map((era) => ({ revision, scenario, era })));
  });
  const play = ({ revision, scenario, era }) =>
    t.test(`${revision}: ${scenario} by a ${era} client`, async () => {
      const wrong = await judgeClient(`${CLIENT} ${era}`, scenario, revision, join(results, revision, era, scenario));
      const impossible = REVISION_OF[era] === revision ? undefined : CROSSED[scenario];
      if (impossible) impossible.proof(wrong);
      else assert.deepEqual(wrong, []);
    });
  await Promise.all((await Promise.all(sets)).flat().map(play));
});
