// Which MCP server has a bit of everything? The project's own reference server, which speaks the older era only.

import { join } from 'node:path';

import { answers, atEnd, freePort, Running } from './processes.mjs';

const MODULES = join(import.meta.dirname, '../node_modules');

/// Runs until the test ends. Gives its URL.
export async function startEverything(t) {
  const port = await freePort();
  const program = join(MODULES, '@modelcontextprotocol/server-everything/dist/index.js');
  const server = new Running(process.execPath, [program, 'streamableHttp'], {
    env: { ...process.env, PORT: `${port}` },
  });
  atEnd(t, () => server.stop());
  const url = `http://127.0.0.1:${port}/mcp`;
  await server.ready(() => answers(url));
  return url;
}
