// How does a person get through a login without a browser? With a cookie jar and by following each redirect by hand, so
// that every step can be looked at.

import assert from 'node:assert/strict';

export class Visitor {
  #cookies = new Map();
  #patience;
  /// Every answer, with what it says in its body.
  answers = [];

  /// Waits for so many milliseconds for each answer.
  constructor(patience = 10_000) {
    this.#patience = patience;
  }

  async get(url) {
    return this.#send(url, {});
  }

  async post(url, form) {
    const headers = { origin: new URL(url).origin, 'content-type': 'application/x-www-form-urlencoded' };
    return this.#send(url, { method: 'POST', headers, body: new URLSearchParams(form).toString() });
  }

  /// Agrees to connect, follows where pages lead and fills in the provider's forms, until there is a page without one.
  async logIn(url, login) {
    let answer = await this.get(url);
    for (let step = 0; step < 20; step += 1) {
      const next = answer.headers.get('location') ?? found(/http-equiv="refresh" content="0;url=([^"]+)"/, answer);
      if (next) {
        answer = await this.get(new URL(next, answer.url).href);
        continue;
      }
      const ticket = found(/name="ticket" value="([^"]+)"/, answer);
      const prompt = found(/name="prompt" value="(\w+)"/, answer);
      const who = found(/<input[^>]* name="(sub)"/, answer);
      if (!ticket && !prompt && !who) return answer;
      const action = found(/action="([^"]+)"/, answer) ?? '';
      const named = prompt === 'login' ? { prompt, login, password: 'any' } : { prompt };
      const form = ticket ? { ticket } : prompt ? named : { [who]: login };
      answer = await this.post(new URL(action, answer.url).href, form);
    }
    assert.fail(`no end was reached; the last was ${answer.status} ${answer.url}`);
  }

  async #send(url, options) {
    const headers = { accept: 'text/html', ...options.headers, cookie: this.#cookiesFor(new URL(url)) };
    const signal = AbortSignal.timeout(this.#patience);
    const response = await fetch(url, { ...options, headers, redirect: 'manual', signal });
    for (const line of response.headers.getSetCookie()) this.#keep(line);
    const { status } = response;
    const answer = { url, status, headers: response.headers, text: await response.text() };
    this.answers.push(answer);
    return answer;
  }

  // Browsers do not tell the ports of a host apart either (RFC 6265 section 8.5), and loopback is the only host here.
  #cookiesFor({ pathname }) {
    const fitting = [...this.#cookies.values()].filter(({ path }) => pathname.startsWith(path));
    return fitting.map(({ name, value }) => `${name}=${value}`).join('; ');
  }

  #keep(line) {
    const [pair, ...attributes] = line.split(';').map((part) => part.trim());
    const [name, value] = [pair.slice(0, pair.indexOf('=')), pair.slice(pair.indexOf('=') + 1)];
    const found = new Map(attributes.map((attribute) => attribute.toLowerCase().split('=', 2)));
    const path = attributes.find((attribute) => /^path=/i.test(attribute))?.slice('path='.length) ?? '/';
    const over = found.get('max-age') === '0' || Date.parse(found.get('expires')) < Date.now();
    if (over) this.#cookies.delete(`${name} ${path}`);
    else this.#cookies.set(`${name} ${path}`, { name, value, path });
  }
}

function found(pattern, { text }) {
  return pattern.exec(text)?.[1].replaceAll('&amp;', '&');
}
