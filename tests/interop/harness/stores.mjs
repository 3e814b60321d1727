// Which stores does the app run on, and how are they read raw, as a thief of the disk would?

import { readdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';

import { atEnd, folder, freePort, run, Running } from './processes.mjs';

/// Each gives the name of a runtime-config file and, later, all bytes that are stored.
export const STORES = { sqlite, redis };

async function sqlite(t) {
  const dir = await folder(t);
  const files = () => bytesOf(dir, (name) => name.startsWith('store.db'));
  return configured(dir, `type = "spin"\npath = "${join(dir, 'store.db')}"`, files);
}

/// Debian's, with a folder and port of its own. Strings are stored as they are: compressed ones could not be searched.
/// `front` may put something before it: it gets the port and gives the one that the app is told.
export async function redis(t, front = (port) => port) {
  const dir = await folder(t);
  const port = await freePort();
  const options = { bind: '127.0.0.1', port, dir, save: '', appendonly: 'no', rdbcompression: 'no' };
  const args = Object.entries(options).flatMap(([name, value]) => [`--${name}`, `${value}`]);
  const server = new Running('redis-server', args);
  atEnd(t, () => server.stop());
  const ask = async (...command) => (await run('redis-cli', ['-p', `${port}`, ...command])).stdout;
  await server.ready(async () => (await ask('ping')).startsWith('PONG'));
  const url = `redis://127.0.0.1:${await front(port)}/0`;
  const store = await configured(dir, `type = "redis"\nurl = "${url}"`, async () => {
    await ask('save');
    return bytesOf(dir, (name) => name === 'dump.rdb');
  });
  return { ...store, ask };
}

async function configured(dir, store, bytes) {
  const runtimeConfig = join(dir, 'runtime-config.toml');
  await writeFile(runtimeConfig, `[key_value_store.default]\n${store}\n`);
  return { runtimeConfig, bytes };
}

export async function bytesOf(dir, wanted = () => true) {
  const files = (await readdir(dir, { recursive: true, withFileTypes: true })).filter((entry) => entry.isFile());
  const contents = files
    .filter(({ name }) => wanted(name))
    .map((entry) => readFile(join(entry.parentPath ?? entry.path, entry.name)));
  return Buffer.concat(await Promise.all(contents));
}
