// What does a server on the TypeScript SDK look like that offers all that the conformance suite calls for?
//
// `node typescript-server.mjs PORT [both|legacy|modern|default]` serves /mcp. Handlers are written once: the SDK gives what
// they ask for to a modern client as a result that wants input, and to a legacy one as requests on its stream. With
// `default` the SDK's handler serves both eras as it does when it is told nothing: legacy clients get no sessions.

import { randomBytes, randomUUID } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';

import {
  localhostHostValidation,
  localhostOriginValidation,
  NodeStreamableHTTPServerTransport,
  toNodeHandler,
  toWebRequest,
} from '@modelcontextprotocol/node';
import {
  CLIENT_CAPABILITIES_META_KEY,
  createMcpHandler,
  createRequestStateCodec,
  fromJsonSchema,
  inputRequired,
  isLegacyRequest,
  McpServer,
  ResourceTemplate,
} from '@modelcontextprotocol/server';

const [PORT, ERA = 'both'] = process.argv.slice(2);
const OFFER = JSON.parse(readFileSync(join(import.meta.dirname, 'offer.json'), 'utf8'));
const CHANGED = { listChanged: true };
const NO_ARGUMENTS = { type: 'object', properties: {} };
/// Of the client, by what it is asked.
const NEEDED = { 'elicitation/create': 'elicitation', 'sampling/createMessage': 'sampling', 'roots/list': 'roots' };

const codec = createRequestStateCodec({ key: randomBytes(32) });
const modern = createMcpHandler(() => serverWithOffer(), ERA === 'default' ? {} : { legacy: 'reject' });
const modernNode = toNodeHandler(modern);
const sessions = new Map();

const hostIsOurs = localhostHostValidation();
const originIsOurs = localhostOriginValidation();
createServer(async (request, response) => {
  if (!hostIsOurs(request, response) || !originIsOurs(request, response)) return;
  const body = request.method === 'POST' ? JSON.parse((await request.toArray()).join('') || 'null') : undefined;
  const isLegacy = ERA === 'both' ? await isLegacyRequest(await toWebRequest(request, body), body) : ERA === 'legacy';
  await (isLegacy ? legacy : modernNode)(request, response, body);
}).listen(PORT, '127.0.0.1');

/// A session for each `initialize`; the SDK's transport answers what is wrong with a request that has none.
async function legacy(request, response, body) {
  const id = request.headers['mcp-session-id'];
  if (id && !sessions.has(id)) return response.writeHead(404).end();
  const transport = sessions.get(id)?.transport ?? (await newSession());
  await transport.handleRequest(request, response, body);
}

async function newSession() {
  const server = serverWithOffer();
  const transport = new NodeStreamableHTTPServerTransport({
    sessionIdGenerator: randomUUID,
    eventStore: eventsOfSession(),
    retryInterval: 100,
    onsessioninitialized: (id) => sessions.set(id, { server, transport }),
  });
  transport.onclose = () => sessions.delete(transport.sessionId);
  await server.connect(transport);
  return transport;
}

/// What the streams of one session have said. An id is the stream's own, with the number of the event.
function eventsOfSession() {
  const streams = new Map();
  return {
    async storeEvent(stream, message) {
      const said = streams.get(stream) ?? streams.set(stream, []).get(stream);
      return `${stream}/${said.push(message)}`;
    },
    async replayEventsAfter(lastId, { send }) {
      const [, stream, number] = /^(.*)\/(\d+)$/.exec(lastId);
      for (const [index, message] of (streams.get(stream) ?? []).entries()) {
        // The first event of a stream holds no message.
        if (index >= number && message.jsonrpc) await send(`${stream}/${index + 1}`, message);
      }
      return stream;
    },
  };
}

function serverWithOffer() {
  const resources = { subscribe: true, ...CHANGED };
  const capabilities = { tools: CHANGED, prompts: CHANGED, resources, logging: {}, completions: {} };
  const info = { name: 'conformance-typescript', version: '1.0.0' };
  const server = new McpServer(info, { capabilities, requestState: { verify: codec.verify } });
  for (const tool of OFFER.tools) {
    const { name, description, inputSchema = NO_ARGUMENTS } = tool;
    const call = (given, ctx) => answer(server, tool, given, ctx, async (values) => {
      await work(tool, ctx);
      return filled({ content: tool.content, ...(tool.isError && { isError: true }) }, values);
    });
    server.registerTool(name, { description, inputSchema: fromJsonSchema(inputSchema) }, call);
  }
  for (const prompt of OFFER.prompts) {
    const { name, description, arguments: names } = prompt;
    const argsSchema = names && fromJsonSchema(texts(names));
    const get = (given, ctx) => answer(server, prompt, given, ctx, (values) => filled({ messages: prompt.messages }, values));
    server.registerPrompt(name, { description, argsSchema }, names ? get : (ctx) => get({}, ctx));
  }
  for (const { uri, name, description, mimeType, ...content } of OFFER.resources) {
    const read = () => ({ contents: [{ uri, mimeType, ...filled(content, OFFER.values) }] });
    server.registerResource(name, uri, { description, mimeType }, read);
  }
  for (const { uriTemplate, name, description, mimeType, text } of OFFER.templates) {
    const template = new ResourceTemplate(uriTemplate, { list: undefined });
    const read = (uri, values) => ({ contents: [{ uri: uri.href, mimeType, text: filled(text, values) }] });
    server.registerResource(name, template, { description, mimeType }, read);
  }
  server.server.setRequestHandler('completion/complete', () => ({ completion: { values: ['test one', 'test two'] } }));
  server.server.setRequestHandler('resources/subscribe', () => ({}));
  server.server.setRequestHandler('resources/unsubscribe', () => ({}));
  return server;
}

/// Asks what is still to be asked, and then gives what `complete` makes of the arguments and the answers.
async function answer({ server }, { rounds = [], state, onlyDeclared }, given, ctx, complete) {
  const { inputResponses: answers = {}, requestState, envelope } = ctx.mcpReq;
  const isAnswered = (round) => Object.keys(round).every((key) => answers[key]);
  const asked = state ? (requestState()?.asked ?? 0) : 1;
  const next = rounds.length && !(asked && isAnswered(rounds[asked - 1])) ? Math.max(asked - 1, 0) : asked;
  if (next >= rounds.length) return complete({ ...OFFER.values, ...given, answers: JSON.stringify(answers) });
  const declared = envelope?.[CLIENT_CAPABILITIES_META_KEY] ?? server.getClientCapabilities();
  const mayAsk = ([, { method }]) => !onlyDeclared || !declared || NEEDED[method] in declared;
  return inputRequired({
    inputRequests: Object.fromEntries(Object.entries(filled(rounds[next], given)).filter(mayAsk)),
    ...(state && { requestState: await codec.mint({ asked: next + 1 }) }),
  });
}

async function work({ steps = [], publishes }, ctx) {
  const progressToken = ctx.mcpReq._meta?.progressToken;
  for (const { log, progress, disconnects, sleep: pause = 0 } of steps) {
    await sleep(pause);
    if (disconnects) sessions.get(ctx.sessionId)?.transport.closeSSEStream(ctx.mcpReq.id);
    if (log) await ctx.mcpReq.log('info', log);
    if (progress === undefined || progressToken === undefined) continue;
    await ctx.mcpReq.notify({
      method: 'notifications/progress',
      params: { progressToken, progress, total: 100 },
    });
  }
  if (publishes === 'tools') modern.notify.toolsChanged();
  if (publishes === 'prompts') modern.notify.promptsChanged();
  for (const { server } of sessions.values()) {
    if (publishes === 'tools') server.sendToolListChanged();
    if (publishes === 'prompts') server.sendPromptListChanged();
  }
}

/// Each `{name}` in a text, however deep, becomes the value of that name.
function filled(part, values) {
  if (typeof part === 'string') return part.replace(/\{(\w+)\}/g, (whole, name) => values[name] ?? whole);
  if (Array.isArray(part)) return part.map((item) => filled(item, values));
  if (part === null || typeof part !== 'object') return part;
  return Object.fromEntries(Object.entries(part).map(([key, item]) => [key, filled(item, values)]));
}

function texts(names) {
  const properties = Object.fromEntries(names.map((name) => [name, { type: 'string' }]));
  return { type: 'object', properties, required: names };
}
