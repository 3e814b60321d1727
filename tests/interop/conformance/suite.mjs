// What does the official suite say of a server?

import assert from 'node:assert/strict';
import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';

import { run } from '../harness/processes.mjs';

const MODULES = join(import.meta.dirname, '../node_modules');
const SUITE = join(MODULES, '@modelcontextprotocol/conformance');
/// It needs a newer Node than the one that the rest of the tests runs on.
const NODE = join(MODULES, `node-linux-${process.arch}/bin/node`);
/// Of one scenario. The slowest takes two seconds before a server that answers.
const PATIENCE = 10_000;

export const REVISIONS = ['2025-11-25', '2026-07-28'];

/// The scenarios that a revision requires of servers, as the suite has frozen them.
export async function requiredBy(revision) {
  const sets = await readFile(join(SUITE, 'requirements', `${revision}.yaml`), 'utf8');
  const [, ofServers] = /^server:\n((?:  - \S+\n)+)/m.exec(sets);
  return ofServers.match(/[^\s-]\S+/g);
}

/// What is wrong with the server behind the URL: for each required scenario the checks that failed, with what they say.
export async function judge(url, revision, dir) {
  const args = ['--url', url, '--requirements', revision, '--timeout', `${PATIENCE}`, '--output-dir', dir];
  const { stdout, stderr } = await run(NODE, [join(SUITE, 'dist/index.js'), 'server', ...args], { timeout: 150_000 });
  assert.match(stdout, /=== SUMMARY ===/, `the suite did not come to its end:\n${stderr}`);
  const results = await readdir(dir);
  const verdict = new Map();
  for (const scenario of await requiredBy(revision)) {
    const result = results.find((name) => name.replace(/-\d{4}-\d\d-\d\dT.*/, '') === `server-${scenario}`);
    verdict.set(scenario, wrong(result ? JSON.parse(await readFile(join(dir, result, 'checks.json'), 'utf8')) : []));
  }
  return verdict;
}

/// A warning counts too, and so does silence: where nobody listens at all, some scenarios do no more than warn.
function wrong(checks) {
  if (!checks.some(({ status }) => status === 'SUCCESS')) return [{ check: 'any', says: 'nothing was right' }];
  const bad = checks.filter(({ status }) => status === 'FAILURE' || status === 'WARNING');
  return bad.map(({ id, errorMessage }) => ({ check: id, says: errorMessage }));
}
