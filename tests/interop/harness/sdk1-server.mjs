// A server of the official TypeScript SDK 1, with a transport for each session, as its examples have it.

import { randomUUID } from 'node:crypto';
import { once } from 'node:events';
import { createServer } from 'node:http';

import { McpServer } from '@modelcontextprotocol/sdk/server/mcp.js';
import { StreamableHTTPServerTransport } from '@modelcontextprotocol/sdk/server/streamableHttp.js';

import { atEnd } from './processes.mjs';

/// Runs until the test ends. `offer` gives a session's server its tools. Gives its URL, and the methods of the requests that
/// came: `GET`, `DELETE`, or the message's own.
export async function startSdk1Server(t, offer, options = {}) {
  const sessions = new Map();
  const seen = [];
  const http = createServer(async (request, response) => {
    const text = (await request.setEncoding('utf8').toArray()).join('');
    const body = text ? JSON.parse(text) : undefined;
    seen.push(body?.method ?? request.method);
    const id = request.headers['mcp-session-id'];
    let transport = sessions.get(id);
    if (!transport && body?.method === 'initialize') {
      transport = new StreamableHTTPServerTransport({
        sessionIdGenerator: randomUUID,
        onsessioninitialized: (id) => sessions.set(id, transport),
        onsessionclosed: (id) => sessions.delete(id),
        ...options,
      });
      const server = new McpServer({ name: 'sdk1', version: '1.0.0' });
      offer(server);
      await server.connect(transport);
    }
    if (transport) return transport.handleRequest(request, response, body);
    const error = { code: id ? -32001 : -32000, message: id ? 'Session not found' : 'Bad Request: no session' };
    response.writeHead(id ? 404 : 400, { 'content-type': 'application/json' });
    response.end(JSON.stringify({ jsonrpc: '2.0', id: null, error }));
  }).listen(0, '127.0.0.1');
  await once(http, 'listening');
  atEnd(t, () => {
    http.closeAllConnections();
    http.close();
  });
  return { url: `http://127.0.0.1:${http.address().port}/mcp`, seen, sessions };
}
