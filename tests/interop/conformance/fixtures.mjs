// The servers that the suite meets: of one era each, with the same offer on two SDKs, and of both eras at one endpoint, as
// the SDKs serve them.

import { readFileSync } from 'node:fs';
import { join, resolve } from 'node:path';

import { answers, atEnd, freePort, Running } from '../harness/processes.mjs';

const ROOT = resolve(import.meta.dirname, '../../..');
const TARGET = resolve(ROOT, process.env.CARGO_TARGET_DIR ?? 'target');
const PYTHON = join(TARGET, 'interop-python/bin/python');
/// The source of the Python SDK, in the release that is installed.
const [, VERSION] = /^mcp==(\S+)$/m.exec(readFileSync(join(import.meta.dirname, '../requirements.txt'), 'utf8'));
const PYTHON_SDK = join(TARGET, `interop-python/mcp-${VERSION}`);

export const SDKS = {
  python: [PYTHON, join(import.meta.dirname, 'python_server.py')],
  typescript: [process.execPath, join(import.meta.dirname, 'typescript-server.mjs')],
};
export const ERAS = ['legacy', 'modern'];

/// Servers of both eras, by SDK: command, arguments and options for a port.
export const DUAL_ERA = {
  /// The one by which the SDK itself is judged, as it is.
  python: (port) => [
    PYTHON,
    ['-m', 'mcp_everything_server', '--port', port, '--log-level', 'WARNING'],
    { cwd: join(PYTHON_SDK, 'examples/servers/everything-server') },
  ],
  'python-lowlevel': (port) => [SDKS.python[0], [SDKS.python[1], port, 'both']],
  rmcp: (port) => [join(TARGET, 'interop-rmcp/debug/interop-rmcp-server'), [port]],
  typescript: (port) => [SDKS.typescript[0], [SDKS.typescript[1], port, 'both']],
  'typescript-default': (port) => [SDKS.typescript[0], [SDKS.typescript[1], port, 'default']],
};

/// Runs until the test ends. Gives its URL.
export function startFixture(t, sdk, era) {
  const [command, program] = SDKS[sdk];
  return start(t, (port) => [command, [program, port, era]]);
}

/// The same for one of DUAL_ERA.
export function startDualEra(t, name) {
  return start(t, DUAL_ERA[name]);
}

async function start(t, program) {
  const port = await freePort();
  const server = new Running(...program(`${port}`));
  atEnd(t, () => server.stop());
  const url = `http://127.0.0.1:${port}/mcp`;
  await server.ready(() => answers(url));
  return url;
}
