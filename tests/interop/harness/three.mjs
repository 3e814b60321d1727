// Which three servers does a client meet at once? One of each era on another SDK, and the project's own reference.

import { startFixture } from '../conformance/fixtures.mjs';
import { startEverything } from './everything.mjs';

/// Run until the test ends. Gives them as `servers.json` names them.
export async function startThree(t) {
  const [older, newer, everything] = await Promise.all([
    startFixture(t, 'python', 'legacy'),
    startFixture(t, 'typescript', 'modern'),
    startEverything(t),
  ]);
  const http = (url) => ({ type: 'http', url });
  return { older: http(older), newer: http(newer), everything: http(everything) };
}
