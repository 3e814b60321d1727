// What runs in the page: see pages.mjs.

import { Client, StreamableHTTPClientTransport } from '@modelcontextprotocol/client';

/// Connects, lists the tools and calls one that reports its progress.
globalThis.useTool = async ({ url, mode, bearer, tool, args }) => {
  const headers = bearer ? { authorization: `Bearer ${bearer}` } : {};
  const transport = new StreamableHTTPClientTransport(new URL(url), { requestInit: { headers } });
  const client = new Client({ name: 'a page', version: '1.0.0' }, { versionNegotiation: { mode } });
  try {
    await client.connect(transport);
    const { tools } = await client.listTools();
    const progress = [];
    const onprogress = (said) => progress.push(said.progress);
    const { content } = await client.callTool({ name: tool, arguments: args }, { onprogress });
    const version = client.getNegotiatedProtocolVersion();
    await transport.terminateSession?.();
    return { version, tools: tools.map(({ name }) => name), progress, text: content[0].text };
  } finally {
    await client.close();
  }
};
globalThis.isReady = true;
