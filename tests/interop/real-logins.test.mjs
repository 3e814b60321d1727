// Does a server with a login, as most of them are built, work by nothing but its URL?
//
// One on the official Python SDK, with the SDK's own authorization server, and one on FastMCP, with its in-memory provider.
// Each is connected, called, refreshed, restarted in the middle and called again.

import assert from 'node:assert/strict';
import { join, resolve } from 'node:path';
import { describe, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';

import { askForToken, call, disconnect, listed, whoami } from './harness/asking.mjs';
import { COMPOSITIONS, House } from './harness/house.mjs';
import { atEnd, answers, folder, freePort, Running } from './harness/processes.mjs';
import { Visitor } from './harness/visitor.mjs';

const PYTHON = resolve(
  import.meta.dirname,
  '../..',
  process.env.CARGO_TARGET_DIR ?? 'target',
  'interop-python/bin/python',
);
/// Milliseconds that an access token lives there.
const LIFETIME = 5_000;
/// Who each says is calling, and whether it forgets everybody when it ends.
const SERVERS = {
  sdk: { name: 'the Python SDK', account: 'alice', forgets: false },
  fastmcp: { name: 'FastMCP', account: 'mcp:use', forgets: true },
};

describe('a server with a login works by nothing but its URL', { concurrency: true }, () => {
  for (const [kind, server] of Object.entries(SERVERS)) {
    for (const composition of Object.keys(COMPOSITIONS)) {
      test(`on ${server.name}: ${composition}`, { timeout: 240_000 }, (t) => works(t, composition, kind, server));
    }
  }
});

/// R01, R02, R03: how such servers want clients to authenticate, scopes to be registered and issuers to be written.
async function works(t, composition, kind, { account, forgets }) {
  const house = await House.plan(t, composition);
  const server = await start(t, kind, house);
  await house.open(t, {
    services: { login: { mcp_server: server.url } },
    servers: { guarded: { type: 'http', url: server.url, service: 'login' } },
  });
  const connect = async () => {
    const page = await new Visitor().logIn(`${house.broker}/auth/login`, 'alice');
    assert.equal(page.status, 200, page.text);
    assert.equal((await login(house)).state, 'active', page.text);
  };

  await t.test('nobody is connected who has not been there', async () => {
    assert.equal((await call(house)).isError, true);
  });

  await t.test('a person goes there and comes back', connect);

  await t.test('a tool is called with their token', async () => {
    assert.equal(await whoami(house), account);
    assert.deepEqual((await login(house)).scopes, ['mcp:use']);
  });

  await t.test('after that has expired there is another, without a new login', async () => {
    const { issued } = server;
    await sleep(LIFETIME + 1_000);
    assert.equal(await whoami(house), account);
    assert.equal(server.issued, issued + 1);
  });

  await t.test(`after a restart of the server ${forgets ? 'one login' : 'nothing'} is needed`, async () => {
    await server.restart();
    if (forgets) {
      const result = await call(house);
      assert.equal(result.isError, true, JSON.stringify(result));
      assert.ok(result.structuredContent.connect_url.startsWith(`${house.broker}/auth/login?ticket=`));
      assert.equal((await login(house)).state, 'needs_reconnect');
      await connect();
    }
    assert.equal(await whoami(house), account);
    await sleep(LIFETIME + 1_000);
    assert.equal(await whoami(house), account);
  });

  await t.test('a restart of the host loses nothing', async () => {
    await house.restart();
    assert.equal(await whoami(house), account);
    await sleep(LIFETIME + 1_000);
    assert.equal(await whoami(house), account);
  });

  await t.test('after a disconnect no token is left, here or there', async () => {
    const { status, body } = await disconnect(house, 'login');
    assert.equal(status, 204, JSON.stringify(body));
    assert.equal((await askForToken(house, 'login')).status, 404);
    assert.equal((await call(house)).isError, true);
  });
}

async function login(house) {
  return (await listed(house)).find(({ service }) => service === 'login');
}

/// Runs until the test ends. What it issues is noted at the house as secret.
async function start(t, kind, house) {
  const port = await freePort();
  const state = await folder(t);
  const run = () => new Running(PYTHON, [join(import.meta.dirname, 'logins.py'), kind, `${port}`, state]);
  let running = run();
  let past = '';
  const server = {
    url: `http://127.0.0.1:${port}/mcp`,
    /// How many token answers it has given.
    get issued() {
      return (past + running.output).match(/^issued /gm)?.length ?? 0;
    },
    async restart() {
      await running.stop();
      past += running.output;
      running = run();
      await server.ready();
    },
    ready: () => running.ready(() => answers(`http://127.0.0.1:${port}/.well-known/oauth-authorization-server`)),
  };
  atEnd(t, () => running.stop());
  // Runs before the house is closed and searched.
  const note = () => {
    for (const [, ...tokens] of (past + running.output).matchAll(/^issued (\S+) (\S+)$/gm)) {
      for (const token of tokens) house.secrets.set(`token ${token.slice(-4)} ${house.secrets.size}`, token);
    }
  };
  const close = house.close.bind(house);
  house.close = () => {
    note();
    return close();
  };
  await server.ready();
  return server;
}
