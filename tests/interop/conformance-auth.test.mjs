// Does the official conformance suite find in broker and gateway the client that the specification asks for, when they are
// told nothing but the URL of its MCP server?
//
// Every scenario of the suite that is about authorization and that a revision requires of clients is played, in both
// requirement sets, and those of 2025-03-26 beside them. The rest is named here, with the reason.

import assert from 'node:assert/strict';
import { join } from 'node:path';
import { test } from 'node:test';

import { judgeClient, known, requiredBy, REVISIONS } from './conformance/suite.mjs';
import { folder } from './harness/processes.mjs';

const CLIENT = join(import.meta.dirname, 'conformance/auth-client.mjs');
/// Most of a scenario is waiting for a Gatehouse to start.
const AT_ONCE = 3;

const BEFORE_THE_SETS = {
  '2025-03-26': ['auth/2025-03-26-oauth-metadata-backcompat', 'auth/2025-03-26-oauth-endpoint-fallback'],
};

/// What the suite warns of, by scenario.
const KNOWN = {
  'auth/basic-cimd': {
    check: 'cimd-client-id-used',
    because: 'the suite knows the document of one client, at https://conformance-test.local; ours is at our own address',
    proof: ({ details }) => assert.equal(details.actualClientId, 'https://gatehouse.test/client/judge'),
  },
};

/// Extensions that no revision requires.
const WITHOUT_A_PERSON = 'the client acts for itself; Gatehouse acts for a person, who is there to agree';
const NOT_PLAYED = {
  'auth/client-credentials-jwt': WITHOUT_A_PERSON,
  'auth/client-credentials-basic': WITHOUT_A_PERSON,
  'auth/wif-jwt-bearer': WITHOUT_A_PERSON,
  'auth/enterprise-managed-authorization': 'the identity provider of an enterprise agrees, not the person',
  'auth/dpop': 'a bound token is of no use to the gateway, which is handed the token and no key',
  'auth/dpop-nonce': 'a bound token is of no use to the gateway, which is handed the token and no key',
};

test('the conformance suite, of authorization', { timeout: 300_000, concurrency: AT_ONCE }, async (t) => {
  const results = await folder(t);
  const isPlayed = (scenario) => scenario.startsWith('auth/');
  const sets = await Promise.all(
    REVISIONS.map(async (revision) => [revision, (await requiredBy(revision, 'client')).filter(isPlayed)]),
  );
  const played = [...sets, ...Object.entries(BEFORE_THE_SETS)];

  const all = new Set([...played.flatMap(([, scenarios]) => scenarios), ...Object.keys(NOT_PLAYED)]);
  assert.deepEqual([...all].sort(), (await known()).filter(isPlayed).sort(), 'each is played, or has a reason');

  const play = ([revision, scenario]) =>
    t.test(`${revision}: ${scenario}`, async () => {
      const wrong = await judgeClient(CLIENT, scenario, revision, join(results, revision, scenario));
      const expected = KNOWN[scenario];
      assert.deepEqual(wrong.map(({ check }) => check), expected ? [expected.check] : [], JSON.stringify(wrong));
      if (expected) expected.proof(wrong[0]);
    });
  await Promise.all(played.flatMap(([revision, names]) => names.map((name) => play([revision, name]))));
});
