// What can happen on the way to a provider? Whatever the test has put there: each request of the broker passes by here
// and meets something, and is passed on if it meets nothing.

import { once } from 'node:events';
import { createServer, request } from 'node:http';

import { atEnd } from './processes.mjs';

/// Runs until the test ends. Services that are taken through `service` are known by their id in all requests.
export async function startWay(t) {
  const targets = new Map();
  const meetings = new Map();
  const server = createServer(async (incoming, answer) => {
    const [, id, kind] = incoming.url.split('/');
    const body = Buffer.concat(await incoming.toArray().catch(() => []));
    const pass = () => ask(targets.get(`${id} ${kind}`), incoming, body);
    const meeting = meetings.get(`${id} ${kind}`) ?? meetings.get('all');
    way.asked.set(`${id} ${kind}`, way.count(id, kind) + 1);
    try {
      await (meeting ? meeting({ pass, answer, body }) : answered(answer, await pass()));
    } catch {
      answer.destroy();
    }
  }).listen(0, '127.0.0.1');
  await once(server, 'listening');
  atEnd(t, () => {
    server.closeAllConnections();
    server.close();
  });
  const origin = `http://127.0.0.1:${server.address().port}`;

  const way = {
    asked: new Map(),
    /// How many requests of that kind came along.
    count: (id, kind) => way.asked.get(`${id} ${kind}`) ?? 0,
    /// What requests meet from now on; nothing, when it is not said what. Kinds are `token`, `revoke` and `whoami`.
    meet(id, kind, meeting) {
      meetings.set(`${id} ${kind}`, meeting);
    },
    meetAll(meeting) {
      meetings.set('all', meeting);
    },
    /// The entry of `oauth_clients` that leads along here, made of the one that leads there at once.
    service(id, { token_url, revoke, whoami, ...rest }) {
      const led = (kind, url) => {
        targets.set(`${id} ${kind}`, url);
        return `${origin}/${id}/${kind}`;
      };
      return {
        ...rest,
        token_url: led('token', token_url),
        revoke: revoke && { ...revoke, url: led('revoke', revoke.url) },
        whoami: { ...whoami, url: led('whoami', whoami.url) },
      };
    },
  };
  return way;
}

/// Passes an answer on.
export async function answered(answer, { status, headers, body }) {
  const { connection, 'transfer-encoding': _, ...kept } = headers;
  answer.writeHead(status, { ...kept, 'content-length': body.length }).end(body);
  await once(answer, 'finish');
}

async function ask(url, { method, headers }, body) {
  const outgoing = request(url, { method, headers, agent: false });
  outgoing.end(body);
  const [said] = await once(outgoing, 'response');
  return { status: said.statusCode, headers: said.headers, body: Buffer.concat(await said.toArray()) };
}
