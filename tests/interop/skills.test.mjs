// A client finds the skills of several servers behind one endpoint, and verifies every file of each.

import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createServer } from 'node:http';
import { test } from 'node:test';

import { Client, StreamableHTTPClientTransport } from '@modelcontextprotocol/client';
import { SkillsClient } from '@modelcontextprotocol/client/ext/skills';
import { toNodeHandler } from '@modelcontextprotocol/node';
import { createMcpHandler, McpServer } from '@modelcontextprotocol/server';
import { memorySkillFiles, SkillsExtension } from '@modelcontextprotocol/server/ext/skills';

import { startEverything } from './harness/everything.mjs';
import { House } from './harness/house.mjs';
import { atEnd } from './harness/processes.mjs';

/// Both servers have a skill of this name, at the same URI, as two unrelated servers may.
const SHARED = 'refunds';

test('R36: skills of two servers on the official SDK are one list that its client verifies', { timeout: 120_000 }, async (t) => {
  const house = await House.plan(t);
  const http = (url) => ({ type: 'http', url });
  await house.open(t, {
    servers: {
      shop: http(await startSkills(t, 'shop')),
      till: http(await startSkills(t, 'till')),
      everything: http(await startEverything(t)),
    },
  });
  const client = await connect(t, `${house.gateway}/mcp`, 'auto');
  const skills = new SkillsClient(client);
  let listed;

  await t.test('the endpoint declares the extension with directories', () => {
    assert.equal(client.getNegotiatedProtocolVersion(), '2026-07-28');
    assert.deepEqual([skills.supported, skills.directoryRead], [true, true]);
  });

  await t.test('each skill is listed under its server, and the client refuses none', async () => {
    ({ skills: listed } = await skills.list());
    assert.deepEqual(
      listed.map(({ uri, frontmatter }) => [uri, frontmatter.description]),
      ['shop', 'till'].flatMap((server) =>
        [SHARED, server].map((name) => [`gatehouse://${server}/skill://${name}/SKILL.md`, `${name} of ${server}`]),
      ),
    );
  });

  await t.test('every file of every skill is read and verified', async () => {
    for (const skill of listed) {
      const [, server] = new URL(skill.uri).href.match(/^gatehouse:\/\/(\w+)\//);
      for (const { uri } of skill.resources) {
        const file = await skills.read(skill, uri);
        assert.equal(file.verified, true, uri);
        assert.ok(file.text.includes(`of ${server}`), `${uri}: ${file.text}`);
      }
      const guide = await skills.read(skill, 'references/GUIDE.md');
      assert.ok(guide.text.startsWith('A guide'));
    }
  });

  await t.test('one skill is got by its URI, and its folders lead to its files', async () => {
    const root = `gatehouse://till/skill://${SHARED}`;
    const { skill } = await skills.get(`${root}/SKILL.md`);
    assert.equal(skill.frontmatter.description, `${SHARED} of till`);
    const { resources } = await skills.readDirectory(root);
    const folder = resources.find(({ mimeType }) => mimeType === 'inode/directory');
    assert.equal(folder.uri, `${root}/references`);
    const { resources: files } = await skills.readDirectory(folder.uri);
    assert.deepEqual(files.map(({ uri }) => uri), [`${root}/references/GUIDE.md`]);
    assert.ok((await skills.read(skill, files[0].uri)).verified);
  });

  await t.test('a URI that two servers claim has to name its server, and one of nobody is not found', async () => {
    for (const [uri, why] of [
      [`skill://${SHARED}/SKILL.md`, /several servers claim this URI: shop, till/],
      ['gatehouse://shop/skill://nothing/SKILL.md', /nothing/],
      ['gatehouse://everything/skill://refunds/SKILL.md', /Skill not found/],
    ]) {
      await assert.rejects(skills.get(uri), (error) => error.code === -32602 && why.test(error.message), uri);
    }
  });

  await t.test("at a server's own route its skills are named as they are", async () => {
    const own = new SkillsClient(await connect(t, `${house.gateway}/mcp/till`, 'auto'));
    const { skills: entries } = await own.list();
    assert.deepEqual(entries.map(({ uri }) => uri), [SHARED, 'till'].map((name) => `skill://${name}/SKILL.md`));
    assert.ok((await own.read(entries[0])).verified);
  });

  await t.test('a client of the older era sees none', async () => {
    const older = new SkillsClient(await connect(t, `${house.gateway}/mcp`, 'legacy'));
    assert.equal(older.supported, false);
  });
});

async function connect(t, url, mode) {
  const client = new Client({ name: 'interop', version: '1.0.0' }, { versionNegotiation: { mode } });
  await client.connect(new StreamableHTTPClientTransport(new URL(url)));
  atEnd(t, () => client.close());
  return client;
}

/// A server with two skills, until the test ends. Gives its URL.
async function startSkills(t, name) {
  const skill = (skill) => ({
    [`${skill}/SKILL.md`]: `---\nname: ${skill}\ndescription: ${skill} of ${name}\n---\n\n# ${skill}\n\nSee references/GUIDE.md.\n`,
    [`${skill}/references/GUIDE.md`]: `A guide to ${skill} of ${name}.\n`,
  });
  const catalog = await SkillsExtension.load(memorySkillFiles({ ...skill(SHARED), ...skill(name) }));
  const mcp = createMcpHandler(() => {
    const server = new McpServer({ name, version: '1.0.0' });
    catalog.attach(server);
    return server;
  });
  const server = createServer(toNodeHandler({ fetch: (request) => mcp.fetch(request) })).listen(0, '127.0.0.1');
  await once(server, 'listening');
  atEnd(t, async () => {
    server.closeAllConnections();
    server.close();
    await mcp.close();
  });
  return `http://127.0.0.1:${server.address().port}/mcp`;
}
