// The client that the official suite meets in its scenarios without a login: one on the SDK, behind a Gatehouse of its own,
// which is told nothing but the URL of the suite's server.
//
// `scenario-client.mjs legacy|modern URL`, the era of the client. It does all that the server offers: it calls each tool,
// reads each resource and gets each prompt.

import { Client, StreamableHTTPClientTransport } from '@modelcontextprotocol/client';

import { House } from '../harness/house.mjs';

/// The suite wants the definition of one tool back, as the argument of the other one.
const [FOCAL, ECHO] = ['json_schema_2020_12_tool', 'json_schema_echo'];

const [era, url] = process.argv.slice(2);
const { toolCalls } = JSON.parse(process.env.MCP_CONFORMANCE_CONTEXT ?? '{}');

const closing = [];
try {
  await play({ after: (close) => closing.push(close) });
} catch (error) {
  console.error(error);
  process.exitCode = 1;
} finally {
  for (const close of closing) await close();
}

async function play(t) {
  const house = await House.plan(t);
  await house.open(t, { servers: { judge: { type: 'http', url } } });
  const client = new Client(
    { name: 'interop', version: '1.0.0' },
    {
      capabilities: { elicitation: { form: { applyDefaults: true } } },
      versionNegotiation: { mode: era === 'modern' ? 'auto' : 'legacy' },
    },
  );
  client.setRequestHandler('elicitation/create', () => ({ action: 'accept', content: { confirmed: true } }));
  await client.connect(new StreamableHTTPClientTransport(new URL(`${house.gateway}/mcp/judge`)));
  await useAll(client);
  await client.close();
}

/// The suite judges what reaches its server. Its servers offer more than they answer, so an error ends nothing.
async function useAll(client) {
  const tried = (ask, fallback) => ask.catch((error) => (console.error(error.message), fallback));
  const { tools } = await tried(client.listTools(), { tools: [] });
  for (const call of toolCalls ?? tools.map((tool) => callOf(tool, tools))) await tried(client.callTool(call));
  const { resources, prompts } = client.getServerCapabilities();
  const listed = resources ? (await tried(client.listResources(), { resources: [] })).resources : [];
  for (const { uri } of listed) await tried(client.readResource({ uri }));
  const offered = prompts ? (await tried(client.listPrompts(), { prompts: [] })).prompts : [];
  for (const { name } of offered) await tried(client.getPrompt({ name, arguments: {} }));
}

/// A call with arguments of the types that the tool's schema wants.
function callOf({ name, inputSchema }, tools) {
  if (name === ECHO) return { name, arguments: { schema: tools.find((tool) => tool.name === FOCAL).inputSchema } };
  const values = { number: 1, integer: 1, string: 'a', boolean: true };
  const properties = Object.entries(inputSchema.properties ?? {});
  return { name, arguments: Object.fromEntries(properties.map(([name, { type }]) => [name, values[type]])) };
}
