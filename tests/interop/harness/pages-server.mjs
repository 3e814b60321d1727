// A legacy server on the TypeScript SDK with state in its session, as one that drives a browser for each of its clients.

import { randomUUID } from 'node:crypto';
import { once } from 'node:events';
import { createServer } from 'node:http';

import { NodeStreamableHTTPServerTransport } from '@modelcontextprotocol/node';
import { fromJsonSchema, McpServer } from '@modelcontextprotocol/server';

import { atEnd } from './processes.mjs';

const PAGE = { type: 'object', properties: { page: { type: 'string' } }, required: ['page'] };

/// Runs until the test ends. `sessions` are those that are open.
export async function startPages(t) {
  const sessions = new Map();
  const http = createServer(async (request, response) => {
    const id = request.headers['mcp-session-id'];
    if (id && !sessions.has(id)) return response.writeHead(404).end();
    const transport = sessions.get(id) ?? (await newSession(sessions));
    await transport.handleRequest(request, response);
  }).listen(0, '127.0.0.1');
  await once(http, 'listening');
  atEnd(t, () => {
    http.closeAllConnections();
    http.close();
  });
  return { url: `http://127.0.0.1:${http.address().port}/mcp`, sessions };
}

async function newSession(sessions) {
  const pages = [];
  const server = new McpServer(
    { name: 'pages', version: '1.0.0' },
    { capabilities: { logging: {}, tools: {}, resources: { subscribe: true } } },
  );
  const text = (value) => ({ content: [{ type: 'text', text: JSON.stringify(value) }] });
  server.registerTool('open', { description: 'Opens a page', inputSchema: fromJsonSchema(PAGE) }, async ({ page }) => {
    pages.push(page);
    // On the stream of GET, so to whoever this session belongs to.
    await server.server.sendLoggingMessage({ level: 'info', data: `opened ${page}` }, transport.sessionId);
    return text(pages);
  });
  server.registerTool('roots', { description: 'Asks where the client works' }, async () =>
    text((await server.server.listRoots()).roots.map(({ uri }) => uri)),
  );
  const transport = new NodeStreamableHTTPServerTransport({
    sessionIdGenerator: randomUUID,
    onsessioninitialized: (id) => sessions.set(id, transport),
  });
  transport.onclose = () => sessions.delete(transport.sessionId);
  await server.connect(transport);
  return transport;
}
