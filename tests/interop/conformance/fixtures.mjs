// Which servers does the suite meet? The same offer on two SDKs, each speaking both eras, or one.

import { join, resolve } from 'node:path';

import { answers, atEnd, freePort, Running } from '../harness/processes.mjs';

const ROOT = resolve(import.meta.dirname, '../../..');
const PYTHON = join(resolve(ROOT, process.env.CARGO_TARGET_DIR ?? 'target'), 'interop-python/bin/python');

export const SDKS = {
  python: [PYTHON, join(import.meta.dirname, 'python_server.py')],
  typescript: [process.execPath, join(import.meta.dirname, 'typescript-server.mjs')],
};
export const ERAS = ['both', 'legacy', 'modern'];

/// Runs until the test ends. Gives its URL.
export async function startFixture(t, sdk, era) {
  const [command, program] = SDKS[sdk];
  const port = await freePort();
  const server = new Running(command, [program, `${port}`, era]);
  atEnd(t, () => server.stop());
  const url = `http://127.0.0.1:${port}/mcp`;
  await server.ready(() => answers(url));
  return url;
}
