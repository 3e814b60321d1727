// How does Gatehouse come up in a test, by the repository's own manifests?
//
// Each manifest is copied into a folder of the test's own with nothing changed but where files are. Every House that is
// closed is searched for the secrets that were used with it: no test has to remember to.

import assert from 'node:assert/strict';
import { access, mkdir, readFile, writeFile } from 'node:fs/promises';
import { join, resolve } from 'node:path';

import { freshKeys, secretVariables } from './keys.mjs';
import { answers, atEnd, folder, freePort, Running } from './processes.mjs';
import { bytesOf, STORES } from './stores.mjs';

/// The ways in which the same wasm files are put together. The broker's app comes first.
export const COMPOSITIONS = {
  'one app': ['spin.toml'],
  'two apps': ['deploy/broker.toml', 'deploy/gateway.toml'],
  consolidated: ['deploy/consolidated.toml'],
};

const ROOT = resolve(import.meta.dirname, '../../..');
const TARGET = resolve(ROOT, process.env.CARGO_TARGET_DIR ?? 'target');
/// Another host with the same flags can be put in the place of the built one.
const BINARY = resolve(process.env.GATEHOUSE_BIN ?? join(TARGET, 'debug/gatehouse'));
/// Where the manifests' build commands leave the wasm files, even if cargo's target directory is another one.
const BUILT = join(ROOT, 'target');

export class House {
  keys = freshKeys();
  /// Texts that may be found nowhere, by what they are.
  secrets = new Map();
  apps = [];
  /// Whether the person at this machine is the owner, without a login.
  isLocal = true;
  /// What the app has said to anyone, as far as the test has kept it.
  said = [];
  #past = '';

  /// Ports are free and the store runs, but nothing serves yet: services and servers want to know the addresses first.
  /// `store` is one of STORES, by its name or made by the test. With `twins` each app runs so often on the one store, as
  /// behind a load balancer; `brokers` are their addresses.
  static async plan(t, composition = 'one app', store = 'sqlite', twins = 1) {
    const house = new House();
    const apps = COMPOSITIONS[composition];
    house.manifests = Array.from({ length: twins }, () => apps).flat();
    house.dir = await folder(t);
    house.store = await (STORES[store] ?? store)(t);
    house.ports = await Promise.all(house.manifests.map(freePort));
    const origins = house.ports.map((port) => `http://127.0.0.1:${port}`);
    house.brokers = origins.filter((_, app) => app % apps.length === 0);
    [house.broker] = origins;
    house.gateway = origins[apps.length - 1];
    for (const [name, secret] of Object.entries(house.keys)) house.secrets.set(name, secret);
    return house;
  }

  /// Where people and clients reach it, when that is not where it listens. There people sign in.
  reachedAt(origin) {
    this.broker = this.gateway = origin;
    this.isLocal = false;
  }

  /// Serves until the test ends. `servers` are members of `mcpServers`, `endpoints` and `browserOrigins` stand beside it,
  /// `services` are members of `oauth_clients`.
  async open(t, { servers = {}, endpoints = {}, browserOrigins, services = {}, settings = {} }) {
    await access(BINARY).catch(() => {
      throw new Error(`${BINARY} is missing: run \`cargo test\` once, which builds everything`);
    });
    const file = { mcpServers: servers, endpoints, browserOrigins };
    await writeFile(join(this.dir, 'servers.json'), JSON.stringify(file));
    // Else the host would make secrets that this test does not know.
    await writeFile(join(this.dir, '.env'), '');
    this.variables = {
      public_url: this.broker,
      local_owner: `${this.isLocal}`,
      broker_url: this.broker,
      gateway_url: this.gateway,
      oauth_clients: JSON.stringify(services),
      ...secretVariables(this.keys),
      ...settings,
    };
    atEnd(t, () => this.close());
    await this.#start();
    return this;
  }

  /// Ends all processes and begins new ones: what is not in a store is gone.
  async restart() {
    await this.#stop();
    await this.#start();
  }

  /// Ends all processes in the middle of whatever they do.
  kill() {
    for (const app of this.apps) app.child.kill('SIGKILL');
  }

  async close() {
    if (!this.apps.length) return;
    await this.#stop();
    assert.deepEqual(await this.leaks(), [], 'secrets were found where none may be');
  }

  /// Everything that hosts and components have written.
  get output() {
    return this.#past + this.apps.map((app) => app.output).join('');
  }

  /// The places where a secret was found: `<secret> in <place>`.
  async leaks(secrets = this.secrets) {
    const places = {
      output: Buffer.from(this.output),
      'an answer': Buffer.from(this.said.join('\n')),
      'the store': await this.store.bytes(),
      'the state folder': await bytesOf(join(this.dir, 'state')),
    };
    const found = ([place, bytes]) =>
      [...secrets].filter(([, secret]) => bytes.includes(secret)).map(([name]) => `${name} in ${place}`);
    return Object.entries(places).flatMap(found);
  }

  async #start() {
    const env = { PATH: process.env.PATH, HOME: process.env.HOME };
    for (const [name, value] of Object.entries(this.variables)) env[`SPIN_VARIABLE_${name.toUpperCase()}`] = value;
    for (const [app, manifest] of this.manifests.entries()) {
      const state = join(this.dir, 'state', `${app}`);
      await mkdir(state, { recursive: true });
      const listen = `127.0.0.1:${this.ports[app]}`;
      const args = ['up', '--no-build', '--from', await this.#derive(manifest), '--listen', listen];
      args.push('--state-dir', state, '--runtime-config-file', this.store.runtimeConfig);
      const running = new Running(BINARY, args, { cwd: this.dir, env });
      this.apps.push(running);
      await running.ready(() => answers(`http://${listen}/.well-known/spin/health`), 60_000);
    }
  }

  async #stop() {
    await Promise.all(this.apps.map((app) => app.stop()));
    this.#past = this.output;
    this.apps = [];
  }

  async #derive(manifest) {
    const text = await readFile(join(ROOT, manifest), 'utf8');
    const derived = text
      .replaceAll(/"(\.\.\/)?target\//g, `"${BUILT}/`)
      .replaceAll(/"(\.\.\/)?config\/servers.json"/g, '"servers.json"');
    assert.ok(derived.includes(BUILT), `${manifest} names no file under target/`);
    const path = join(this.dir, manifest.replace('/', '-'));
    await writeFile(path, derived);
    return path;
  }
}
