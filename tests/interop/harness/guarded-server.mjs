// Which MCP server wants a person's token? One on the official SDK, of both eras, that asks the provider about each
// bearer.

import { once } from 'node:events';
import { createServer } from 'node:http';

import { toNodeHandler } from '@modelcontextprotocol/node';
import {
  createMcpHandler,
  McpServer,
  OAuthError,
  OAuthErrorCode,
  requireBearerAuth,
} from '@modelcontextprotocol/server';

import { atEnd } from './processes.mjs';

/// Runs until the test ends. `provider.introspect` decides who comes in; without a provider everybody does.
export async function startGuardedServer(t, provider) {
  const tokens = new Set();
  const verifyAccessToken = async (token) => {
    const told = await provider.introspect(token);
    if (!told.active) throw new OAuthError(OAuthErrorCode.InvalidToken, 'not active');
    tokens.add(token);
    return {
      token,
      clientId: told.client_id,
      scopes: told.scope.split(' '),
      expiresAt: told.exp,
      extra: { sub: told.sub },
    };
  };
  const gate = provider ? requireBearerAuth({ verifier: { verifyAccessToken } }) : () => undefined;
  const mcp = createMcpHandler(() => {
    const server = new McpServer({ name: 'guarded', version: '1.0.0' });
    server.registerTool('whoami', { description: 'Says whose token came with the call' }, ({ http }) => ({
      content: [{ type: 'text', text: http.authInfo?.extra.sub ?? 'nobody' }],
    }));
    return server;
  });
  const handler = toNodeHandler({
    fetch: async (request) => {
      const auth = await gate(request);
      return auth instanceof Response ? auth : mcp.fetch(request, { authInfo: auth });
    },
  });
  const http = createServer(handler).listen(0, '127.0.0.1');
  await once(http, 'listening');
  atEnd(t, async () => {
    http.closeAllConnections();
    http.close();
    await mcp.close();
  });
  return { url: `http://127.0.0.1:${http.address().port}/mcp`, tokens };
}
