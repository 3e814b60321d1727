// What does the official suite say of a server, or of a client?

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
/// Of one scenario in which a client is judged, and a Gatehouse starts.
const CLIENTS_PATIENCE = 40_000;

export const REVISIONS = ['2025-11-25', '2026-07-28'];

/// The scenarios that a revision requires of a `server` or a `client`, as the suite has frozen them.
export async function requiredBy(revision, of = 'server') {
  const sets = await readFile(join(SUITE, 'requirements', `${revision}.yaml`), 'utf8');
  const [, scenarios] = new RegExp(`^${of}:\\n((?:  - \\S+\\n)+)`, 'm').exec(sets);
  return scenarios.match(/[^\s-]\S+/g);
}

/// Every scenario that the suite has.
export async function known() {
  const { stdout } = await run(NODE, [join(SUITE, 'dist/index.js'), 'list']);
  return [...stdout.matchAll(/^ {2}- (\S+)/gm)].map(([, scenario]) => scenario);
}

/// What is wrong with the client that the script is, in one scenario: the checks that failed.
export async function judgeClient(script, scenario, revision, dir) {
  const client = ['--command', `${process.execPath} ${script}`, '--scenario', scenario, '--spec-version', revision];
  const args = [...client, '--timeout', `${CLIENTS_PATIENCE}`, '--output-dir', dir];
  const { stderr } = await run(NODE, [join(SUITE, 'dist/index.js'), 'client', ...args], { timeout: 60_000 });
  const results = join(dir, ...scenario.split('/').slice(0, -1));
  const read = async ([result]) => checksIn(join(results, result));
  return wrong(await readdir(results).then(read).catch(() => assert.fail(`no judgement was made:\n${stderr}`)));
}

/// What is wrong with the server behind the URL: for each required scenario the checks that failed, with what they say.
export async function judge(url, revision, dir) {
  const verdict = await judgeAll(url, revision, dir);
  return new Map((await requiredBy(revision)).map((scenario) => [scenario, verdict.get(scenario) ?? wrong([])]));
}

/// The same for every scenario that the suite plays for the revision, so also for those that are not required.
export async function judgeAll(url, revision, dir) {
  const args = ['--url', url, '--requirements', revision, '--timeout', `${PATIENCE}`, '--output-dir', dir];
  const { stdout, stderr } = await run(NODE, [join(SUITE, 'dist/index.js'), 'server', ...args], { timeout: 150_000 });
  assert.match(stdout, /=== SUMMARY ===/, `the suite did not come to its end:\n${stderr}`);
  const verdict = new Map();
  for (const result of await readdir(dir)) {
    const [, scenario] = /^server-(.*)-\d{4}-\d\d-\d\dT/.exec(result);
    // A scenario that breaks off leaves no checks.
    verdict.set(scenario, wrong(await checksIn(join(dir, result)).catch(() => [])));
  }
  return verdict;
}

async function checksIn(result) {
  return JSON.parse(await readFile(join(result, 'checks.json'), 'utf8'));
}

/// A warning counts too, and so does silence: where nobody listens at all, some scenarios do no more than warn.
function wrong(checks) {
  if (!checks.some(({ status }) => status === 'SUCCESS')) return [{ check: 'any', says: 'nothing was right' }];
  const bad = checks.filter(({ status }) => status === 'FAILURE' || status === 'WARNING');
  const said = ({ errorMessage, description }) => errorMessage ?? description;
  return bad.map((one) => ({ check: one.id, says: said(one), details: one.details }));
}
