// A web page that is an MCP client: the official TypeScript client, bundled for browsers.

import { once } from 'node:events';
import { createServer } from 'node:http';
import { join } from 'node:path';

import { rolldown } from 'rolldown';

import { atEnd } from './processes.mjs';

const ENTRY = join(import.meta.dirname, 'page-client.mjs');

/// Serves the page at a free port until the test ends. Gives its origin by the name `localhost`.
export async function startPage(t) {
  const bundle = await rolldown({ input: ENTRY, platform: 'browser', logLevel: 'silent' });
  const { output } = await bundle.generate({ format: 'esm' });
  await bundle.close();
  const [{ code }] = output;
  const server = createServer((request, answer) => {
    const isScript = request.url === '/client.js';
    answer.setHeader('content-type', isScript ? 'text/javascript' : 'text/html');
    answer.end(isScript ? code : '<!doctype html><title>A client</title><script type="module" src="/client.js"></script>');
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  atEnd(t, () => {
    server.closeAllConnections();
    server.close();
  });
  return `http://localhost:${server.address().port}`;
}
