// How are other programs started, and surely stopped?

import { spawn } from 'node:child_process';
import { randomInt } from 'node:crypto';
import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';

/// A port of loopback that nobody listens on now. It is below those that the system gives to connections, so that none
/// takes it before the program is up that it is meant for.
export async function freePort() {
  for (;;) {
    const port = 20_000 + randomInt(12_000);
    const server = createServer().listen(port, '127.0.0.1');
    try {
      await once(server, 'listening');
      return port;
    } catch (error) {
      if (error.code !== 'EADDRINUSE') throw error;
    } finally {
      server.close();
    }
  }
}

/// When the test ends, what was opened last is closed first. (The runner's own hooks run the other way round.)
export function atEnd(t, close) {
  const known = CLOSING.get(t);
  if (known) return known.push(close);
  const stack = [close];
  CLOSING.set(t, stack);
  t.after(async () => {
    const failures = [];
    while (stack.length) {
      try {
        await stack.pop()();
      } catch (failure) {
        failures.push(failure);
      }
    }
    if (failures.length) throw failures[0];
  });
}

/// A folder that goes away when the test ends.
export async function folder(t) {
  const path = await mkdtemp(join(tmpdir(), 'gatehouse-interop-'));
  atEnd(t, () => rm(path, { recursive: true, force: true, maxRetries: 3 }));
  return path;
}

/// A program that runs until it is stopped, or its test ends.
export class Running {
  output = '';

  constructor(command, args, options = {}) {
    this.name = command.split('/').at(-1);
    this.child = spawn(command, args, { stdio: ['ignore', 'pipe', 'pipe'], ...options });
    this.ended = new Promise((resolve) => this.child.once('close', resolve).once('error', resolve));
    for (const stream of [this.child.stdout, this.child.stderr]) {
      stream.setEncoding('utf8').on('data', (text) => (this.output += text));
    }
    STARTED.add(this.child);
    this.ended.then(() => STARTED.delete(this.child));
  }

  /// Waits until `isReady` says so. A program that ends before is an error that shows what it said.
  async ready(isReady, patience = 30_000) {
    const deadline = Date.now() + patience;
    let ended = false;
    this.ended.then(() => (ended = true));
    while (!(await isReady().catch(() => false))) {
      if (ended) throw new Error(`${this.name} ended before it was ready:\n${this.output}`);
      if (Date.now() > deadline) throw new Error(`${this.name} was not ready in time:\n${this.output}`);
      await sleep(50);
    }
    return this;
  }

  async stop() {
    this.child.kill('SIGTERM');
    const forced = setTimeout(() => this.child.kill('SIGKILL'), 8_000);
    await this.ended;
    clearTimeout(forced);
  }
}

/// Runs a program to its end, with a time limit.
export async function run(command, args, options = {}) {
  const child = spawn(command, args, { stdio: ['ignore', 'pipe', 'pipe'], timeout: 60_000, ...options });
  const output = { stdout: '', stderr: '' };
  for (const name of ['stdout', 'stderr']) {
    child[name].setEncoding('utf8').on('data', (text) => (output[name] += text));
  }
  const [code, signal] = await once(child, 'close');
  return { code: code ?? signal, ...output };
}

/// Whether the address answers, with whatever status.
export async function answers(url) {
  await (await fetch(url, { signal: AbortSignal.timeout(2_000) })).arrayBuffer();
  return true;
}

const CLOSING = new WeakMap();

// A test file that is ended from outside runs no hooks; its children must not outlive it.
const STARTED = new Set();
process.on('exit', () => STARTED.forEach((child) => child.kill('SIGKILL')));
for (const signal of ['SIGINT', 'SIGTERM']) process.once(signal, () => process.exit(1));
