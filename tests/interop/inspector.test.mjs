// Does the MCP Inspector, by which people try a server, find its way through Gatehouse, in each era that it can speak?

import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { join } from 'node:path';
import { test } from 'node:test';

import { startEverything } from './harness/everything.mjs';
import { startGuardedServer } from './harness/guarded-server.mjs';
import { House } from './harness/house.mjs';
import { startProvider } from './harness/provider.mjs';
import { atEnd, freePort, run } from './harness/processes.mjs';
import { startThree } from './harness/three.mjs';
import { Visitor } from './harness/visitor.mjs';

const MODULES = join(import.meta.dirname, 'node_modules');
/// It needs a newer Node than the one that the rest of the tests runs on.
const NODE = join(MODULES, `node-linux-${process.arch}/bin/node`);
const INSPECTOR = join(MODULES, '@modelcontextprotocol/inspector/clients/launcher/build/index.js');
/// Its other command line, which keeps a connection open between commands: only there can a person be asked.
const MCPDO = join(MODULES, '@modelcontextprotocol/inspector/clients/mcpdo/build/mcp-bin.js');
// Of the Inspector's own README.
const [OK, AUTH_REQUIRED, UNREACHABLE, TOOL_ERROR] = [0, 3, 4, 5];

test('the Inspector works through Gatehouse', { timeout: 240_000 }, async (t) => {
  const house = await House.plan(t);
  const provider = await startProvider(t, house);
  const [everything, guarded] = [await startEverything(t), await startGuardedServer(t, provider)];
  await house.open(t, {
    services: { op: provider.service },
    servers: {
      everything: { type: 'http', url: everything },
      guarded: { type: 'http', url: guarded.url, service: 'op' },
    },
  });
  const inspect = async (path, ...args) => {
    const target = path.startsWith('/') ? house.gateway + path : path;
    const options = ['--cli', target, '--transport', 'http', '--format', 'json', '--stored-auth-only'];
    const home = { HOME: house.dir, PATH: process.env.PATH, NO_COLOR: '1' };
    const { code, stdout, stderr } = await run(NODE, [INSPECTOR, ...options, ...args], { env: home });
    house.said.push(stdout, stderr);
    const { result } = stdout.trim() ? JSON.parse(stdout) : {};
    return { code, stderr, result };
  };
  const call = (tool, ...args) => {
    const given = args.flatMap((arg) => ['--tool-arg', arg]);
    return ['--method', 'tools/call', '--tool-name', tool, ...given];
  };

  for (const era of ['legacy', 'auto', 'modern']) {
    const inEra = (path, ...args) => inspect(path, '--protocol-era', era, ...args);

    await t.test(`in the era ${era} it lists and calls the tools of all servers`, async () => {
      const listed = await inEra('/mcp', '--method', 'tools/list');
      assert.equal(listed.code, OK, listed.stderr);
      const names = listed.result.tools.map(({ name }) => name);
      assert.ok(names.includes('everything__echo') && names.includes('gatehouse_connections'), names.join());
      const called = await inEra('/mcp', ...call('everything__echo', 'message=hello'));
      assert.deepEqual([called.code, called.result.content?.[0].text], [OK, 'Echo: hello'], called.stderr);
    });

    await t.test(`in the era ${era} it lists and calls the tools of one server by their own names`, async () => {
      const listed = await inEra('/mcp/everything', '--method', 'tools/list');
      assert.equal(listed.code, OK, listed.stderr);
      assert.ok(listed.result.tools.some(({ name }) => name === 'echo'));
      const called = await inEra('/mcp/everything', ...call('get-sum', 'a=2', 'b=3'));
      assert.equal(called.code, OK, called.stderr);
      assert.match(called.result.content[0].text, /\b5\b/);
    });
  }

  await t.test('a tool that fails is a tool error', async () => {
    const { code } = await inspect('/mcp', ...call('everything__get-sum', 'a=two', 'b=3'));
    assert.equal(code, TOOL_ERROR);
  });

  await t.test('whoever is not connected yet finds the link, connects, and calls', async () => {
    const listed = await inspect('/mcp', ...call('gatehouse_connections'));
    assert.equal(listed.code, OK, 'not a demand to log in: that would be about the Inspector itself');
    const [link] = /http:\S+\/auth\/op\?ticket=[\w-]+/.exec(listed.result.content[0].text);
    const page = await new Visitor().logIn(link, 'alice');
    assert.equal(page.status, 200);
    const called = await inspect('/mcp', ...call('guarded__whoami'));
    assert.deepEqual([called.code, called.result?.content[0].text], [OK, 'alice'], called.stderr);
  });

  await t.test('a key that is known is let in, and one that is not is told to log in', async () => {
    const withKey = (key) => inspect('/mcp', '--method', 'tools/list', '--header', `Authorization: Bearer ${key}`);
    assert.equal((await withKey(house.keys.apiKey)).code, OK);
    assert.equal((await withKey('not-a-key')).code, AUTH_REQUIRED);
  });

  await t.test('it tells a Gatehouse that is away from one that refuses', async () => {
    const { code } = await inspect(`http://127.0.0.1:${await freePort()}/mcp`, '--method', 'tools/list');
    assert.equal(code, UNREACHABLE);
  });
});

// Progress none of its command lines asks for: each makes its client with `progress: false`.
test('through Gatehouse the Inspector is asked for a name by servers of both eras', { timeout: 120_000 }, async (t) => {
  const house = await House.plan(t);
  await house.open(t, { servers: await startThree(t) });
  const env = { HOME: house.dir, PATH: process.env.PATH, NO_COLOR: '1' };
  env.MCP_INSPECTOR_DAEMON_DIR = join(house.dir, 'mcpdo');
  env.MCP_INSPECTOR_DAEMON_TOKEN = randomUUID();
  const mcpdo = async (...args) => {
    const { code, stdout, stderr } = await run(NODE, [MCPDO, '--format', 'json', '--stored-auth-only', ...args], { env });
    house.said.push(stdout, stderr);
    assert.equal(code, OK, stdout + stderr);
    return stdout.trim() ? JSON.parse(stdout) : {};
  };
  atEnd(t, () => mcpdo('daemon', 'stop'));

  for (const era of ['legacy', 'modern']) {
    await t.test(`in the era ${era}`, async () => {
      const header = `Authorization: Bearer ${house.keys.apiKey}`;
      await mcpdo('--connection', era, 'connect', `${house.gateway}/mcp`, '--era', era, '--transport', 'http', '--header', header);
      for (const server of ['newer', 'older']) {
        const tool = `${server}__test_input_required_result_elicitation`;
        const { elicitationPending } = await mcpdo('--connection', era, 'tools/call', tool);
        assert.equal(elicitationPending.message, `[${server}] What is your name?`);
        const given = [elicitationPending.elicitationId, 'name:=Alice'];
        const answer = await mcpdo('--connection', era, 'elicitation/respond', ...given);
        assert.match(JSON.stringify(answer), /Alice/);
      }
    });
  }
});
