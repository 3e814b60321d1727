// What passes between the app and its Redis? Every command, one after the other, with a word from the test before and
// after each that writes.

import { once } from 'node:events';
import { connect, createServer } from 'node:net';

import { atEnd } from './processes.mjs';

/// Leads to the Redis at `port` until the test ends. Gives its own port. `before` and `after` are called with the key of
/// each row that is set or deleted; when one of them gives `true`, nothing more is passed on to the app or for it.
export async function startWire(t, port, { before, after }) {
  const open = new Set();
  const server = createServer((app) => {
    const redis = connect(port, '127.0.0.1');
    for (const socket of [app, redis]) {
      open.add(socket.setNoDelay());
      socket.on('error', () => undefined);
      socket.on('close', () => [app, redis].forEach((either) => open.delete(either.destroy())));
    }
    const answers = values(redis);
    (async () => {
      for await (const command of values(app)) {
        const [name, key] = words(command);
        const writes = ['SET', 'DEL'].includes(name?.toUpperCase());
        if (writes && before(key)) await once(app, 'close');
        redis.write(command);
        const { value: answer } = await answers.next();
        if (writes && after(key)) await once(app, 'close');
        app.write(answer);
      }
    })().catch(() => app.destroy());
  }).listen(0, '127.0.0.1');
  await once(server, 'listening');
  atEnd(t, () => {
    open.forEach((socket) => socket.destroy());
    server.close();
  });
  return server.address().port;
}

/// The values of the Redis protocol that arrive, each as its bytes.
async function* values(socket) {
  let pending = Buffer.alloc(0);
  for await (const chunk of socket) {
    pending = Buffer.concat([pending, chunk]);
    for (let end = endOf(pending, 0); end > 0; end = endOf(pending, 0)) {
      yield pending.subarray(0, end);
      pending = pending.subarray(end);
    }
  }
}

/// Where the value that begins at `start` ends; 0 when that is yet to arrive.
function endOf(bytes, start) {
  const line = bytes.indexOf('\r\n', start);
  if (line < 0) return 0;
  const kind = String.fromCharCode(bytes[start]);
  const size = Number(bytes.toString('latin1', start + 1, line));
  let end = line + 2;
  if (kind === '$' && size >= 0) end += size + 2;
  for (let left = kind === '*' ? size : 0; left > 0; left -= 1) {
    end = endOf(bytes, end);
    if (!end) return 0;
  }
  return end <= bytes.length ? end : 0;
}

/// The first two words of a command.
function words(command) {
  const parts = command.toString('latin1').split('\r\n');
  return [parts[2], parts[4]];
}
