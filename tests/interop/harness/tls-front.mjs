// How is a public installation reached in a test? As behind any proxy that ends TLS: https outside, plain HTTP inside.

import assert from 'node:assert/strict';
import { once } from 'node:events';
import { readFile } from 'node:fs/promises';
import { request } from 'node:http';
import { createServer } from 'node:https';
import { join } from 'node:path';

import { atEnd, folder, run } from './processes.mjs';

export const HOST = 'gatehouse.test';

/// Passes on everything to a port that is named later. Gives its origin.
export async function startTlsFront(t) {
  const dir = await folder(t);
  const [key, cert] = [join(dir, 'key.pem'), join(dir, 'cert.pem')];
  const curve = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1'];
  const names = ['-subj', `/CN=${HOST}`, '-addext', `subjectAltName=DNS:${HOST}`];
  const files = ['-keyout', key, '-out', cert];
  const made = await run('openssl', ['req', '-x509', '-nodes', '-days', '2', ...curve, ...names, ...files]);
  assert.equal(made.code, 0, made.stderr);

  const front = { port: undefined };
  const server = createServer({ key: await readFile(key), cert: await readFile(cert) }, (incoming, answer) => {
    const { method, url: path, headers } = incoming;
    const inside = request({ host: '127.0.0.1', port: front.port, method, path, headers });
    inside.on('response', (said) => said.pipe(answer.writeHead(said.statusCode, said.rawHeaders)));
    inside.on('error', () => answer.destroy());
    incoming.pipe(inside);
  }).listen(0, '127.0.0.1');
  await once(server, 'listening');
  atEnd(t, () => {
    server.closeAllConnections();
    server.close();
  });
  front.origin = `https://${HOST}:${server.address().port}`;
  return front;
}
