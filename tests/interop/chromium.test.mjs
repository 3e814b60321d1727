// Does a person with a real browser get connected, and does that browser keep what we ask it to keep?

import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createServer } from 'node:http';
import { test } from 'node:test';

import { accessibilityProblems, logInAtProvider, person, picture, startChromium, tabTo } from './harness/chromium.mjs';
import { House } from './harness/house.mjs';
import { atEnd } from './harness/processes.mjs';
import { startProvider } from './harness/provider.mjs';
import { startTlsFront } from './harness/tls-front.mjs';

/// As many as one person may hold; then the oldest ends (`streams` of servers.json).
const STREAMS_OF_A_PERSON = 64;
const FLOW_COOKIE = /^(__Host-)?gatehouse-flow-/;

test('a person at this machine connects in Chromium', { timeout: 120_000 }, async (t) => {
  const house = await House.plan(t);
  const provider = await startProvider(t, house);
  await house.open(t, { services: { op: provider.service } });
  const browser = await startChromium(t);
  const { context, page, requests } = await person(browser, [house.broker, provider.issuer]);
  let callback;
  page.on('request', (request) => request.url().includes('/callback/') && (callback = request.url()));

  await t.test('the page before shows what can be connected', async () => {
    await page.goto(house.broker);
    await page.getByRole('heading', { name: 'The Provider' }).waitFor();
    await picture(page, 'not-connected');
    assert.deepEqual(await accessibilityProblems(page), []);
  });

  await t.test('a page asks before anyone leaves', async () => {
    await page.getByRole('link', { name: 'Connect The Provider' }).click();
    await page.getByRole('heading', { name: 'Connect The Provider' }).waitFor();
    assert.match(await page.locator('dl').innerText(), /127\.0\.0\.1[^]*owner/);
    assert.deepEqual(await page.locator('.scopes code').allInnerTexts(), provider.service.scopes);
    await picture(page, 'asked');
    assert.deepEqual(await accessibilityProblems(page), []);
    assert.ok(!(await context.cookies(house.broker)).some(({ name }) => FLOW_COOKIE.test(name)));
  });

  await t.test('on the way, the browser holds the cookie of the flow, and no script can read it', async () => {
    await page.getByRole('button', { name: 'Connect' }).click();
    await page.waitForURL(`${provider.issuer}/**`);
    const cookie = (await context.cookies(house.broker)).find(({ name }) => FLOW_COOKIE.test(name));
    const { httpOnly, sameSite, path, domain } = cookie;
    assert.deepEqual([httpOnly, sameSite, path, domain], [true, 'Lax', '/', '127.0.0.1']);
    assert.ok(cookie.expires <= Date.now() / 1000 + 600);
    house.secrets.set('cookie of the flow', cookie.value);
  });

  await t.test('it lands on a page that shows the connection, at an address without the code', async () => {
    await logInAtProvider(page, 'alice');
    await page.waitForURL(`${house.broker}/?connected=op`);
    assert.equal(await page.getByRole('status').innerText(), 'The Provider is connected.');
    assert.match(await page.getByRole('listitem').innerText(), /connected as alice/);
    await picture(page, 'connected');
    assert.deepEqual(await accessibilityProblems(page), []);
  });

  await t.test('the cookie of the flow is gone', async () => {
    const cookies = await context.cookies(house.broker);
    assert.ok(!cookies.some(({ name }) => FLOW_COOKIE.test(name)));
  });

  await t.test('opening the callback once more gives a page that a person can read', async () => {
    assert.match(callback, /[?&]code=/);
    const answer = await page.goto(callback);
    assert.equal(answer.status(), 400);
    assert.match(await page.getByRole('alert').innerText(), /start again/i);
    assert.ok(!(await page.content()).includes(new URL(callback).searchParams.get('code')));
    await picture(page, 'replayed');
    assert.deepEqual(await accessibilityProblems(page), []);
    await page.getByRole('link', { name: 'Your connections' }).click();
    await page.waitForURL(`${house.broker}/`);
    assert.match(await page.getByRole('listitem').innerText(), /connected as alice/);
  });

  await t.test('a page elsewhere can neither frame ours nor read it', async () => {
    await page.goto(`${provider.issuer}/.well-known/openid-configuration`);
    const read = (url) => page.evaluate((url) => fetch(url).then((answer) => answer.text()), url);
    assert.match(await read(`${provider.issuer}/jwks`), /keys/);
    await assert.rejects(read(`${house.broker}/connections`), /Failed to fetch/);
    const framed = await page.evaluate(async (url) => {
      const frame = document.createElement('iframe');
      frame.src = url;
      const loaded = new Promise((resolve) => (frame.onload = resolve));
      document.body.append(frame);
      await loaded;
      return frame.contentDocument?.body.innerText ?? 'hidden';
    }, house.broker);
    assert.equal(framed, 'hidden');
    assert.ok(!(await Promise.all(page.frames().map((frame) => frame.content()))).join('').includes('alice'));
  });

  await t.test('another account is connected beside it, and has buttons of its own', async () => {
    await page.goto(house.broker);
    await page.getByText('Connect another account').click();
    await page.getByLabel(/Your name for it/).fill('Work!');
    await page.getByRole('button', { name: 'Go on to The Provider' }).click();
    assert.equal(page.url(), `${house.broker}/`, 'what is no name is not sent');
    await picture(page, 'another-account');
    assert.deepEqual(await accessibilityProblems(page), []);
    await page.getByLabel(/Your name for it/).fill('work');
    await page.getByRole('button', { name: 'Go on to The Provider' }).click();
    // Nothing of a page that is about to change is read or pressed: "Disconnect" has "Connect" in it, too.
    await page.waitForURL(`${house.broker}/auth/op?account=work`);
    await page.getByRole('button', { name: 'Connect' }).click();
    await page.waitForURL(`${provider.issuer}/**`);
    await page.getByRole('button', { name: 'Continue' }).click();
    await page.waitForURL(`${house.broker}/?connected=op&account=work`);
    assert.equal(await page.getByRole('status').innerText(), 'The Provider (work) is connected.');
    assert.match(await page.getByRole('listitem').innerText(), /connected as alice[^]*called work/);
    await picture(page, 'two-accounts');
    assert.deepEqual(await accessibilityProblems(page), []);
    await tabTo(page, 'button', 'Disconnect The Provider (work)');
    await page.keyboard.press('Enter');
    await page.waitForURL(/[?]disconnected=op&account=work$/);
    assert.equal(await page.getByRole('status').innerText(), 'The Provider (work) is disconnected.');
  });

  await t.test('the button disconnects', async () => {
    await page.goto(house.broker);
    await page.getByRole('button', { name: 'Disconnect The Provider' }).click();
    await page.waitForURL(/[?]disconnected=op$/);
    assert.equal(await page.getByRole('status').innerText(), 'The Provider is disconnected.');
    assert.match(await page.getByRole('listitem').innerText(), /not connected/);
  });

  await t.test('our pages have loaded nothing from anywhere else', () => {
    const elsewhere = (origin) => requests.filter(({ url, page }) => page === origin && !url.startsWith(origin));
    assert.deepEqual(elsewhere(house.broker), []);
    assert.notDeepEqual(elsewhere(provider.issuer), [], "the provider's pages do, so it would have been seen");
  });
});

test('a person far from this machine signs in and connects in Chromium', { timeout: 120_000 }, async (t) => {
  const front = await startTlsFront(t);
  const house = await House.plan(t);
  house.reachedAt(front.origin);
  front.port = house.ports[0];
  const provider = await startProvider(t, house);
  await house.open(t, { services: { op: provider.service } });
  const browser = await startChromium(t);
  const { context, page } = await person(browser, [front.origin, provider.issuer]);
  const stranger = await person(browser, [front.origin, provider.issuer]);
  let state;
  page.on('request', (request) => (state = new URL(request.url()).searchParams.get('state') ?? state));

  await t.test('nothing is shown before signing in', async () => {
    const answer = await page.goto(`${front.origin}/auth/op`);
    assert.equal(answer.status(), 401);
    await page.getByRole('heading', { name: 'Sign in' }).waitFor();
    await picture(page, 'sign-in');
    assert.deepEqual(await accessibilityProblems(page), []);
  });

  await t.test('a wrong passphrase is told so', async () => {
    await signIn(page, 'a guess');
    assert.match(await page.getByRole('alert').innerText(), /neither the passphrase nor an API key/);
    await picture(page, 'sign-in-refused');
    assert.deepEqual(await accessibilityProblems(page), []);
  });

  await t.test('the passphrase leads on to the page that asks, and its button to the provider', async () => {
    await signIn(page, house.keys.ownerPassphrase);
    await page.getByRole('button', { name: 'Connect' }).click();
    await page.waitForURL(`${provider.issuer}/**`);
  });

  await t.test('every cookie of ours is for this host and its TLS alone', async () => {
    const ours = await context.cookies(front.origin);
    assert.equal(ours.length, 4);
    for (const { name, value, secure, httpOnly, sameSite, path, domain } of ours) {
      assert.match(name, /^__Host-gatehouse-(session|browser|owners-browser|flow-.+)$/);
      const { hostname } = new URL(front.origin);
      assert.deepEqual([secure, httpOnly, sameSite, path, domain], [true, true, 'Lax', '/', hostname]);
      house.secrets.set(name, value);
    }
  });

  await t.test('a flow that was started here cannot be ended in another browser', async () => {
    await stranger.page.goto(front.origin);
    await signIn(stranger.page, house.keys.ownerPassphrase);
    await stranger.page.getByRole('heading', { name: 'The Provider' }).waitFor();
    const answer = await stranger.page.goto(
      `${front.origin}/callback/op?code=stolen&state=${state}&iss=${provider.issuer}`,
    );
    assert.equal(answer.status(), 400);
    assert.match(await stranger.page.getByRole('alert').innerText(), /another browser/);
    await picture(stranger.page, 'another-browser');
  });

  await t.test('and ends here, on a page that shows the connection', async () => {
    await logInAtProvider(page, 'alice');
    await page.waitForURL(`${front.origin}/?connected=op`);
    assert.match(await page.getByRole('listitem').innerText(), /connected as alice/);
    await picture(page, 'connected-public');
    assert.deepEqual(await accessibilityProblems(page), []);
  });

  await t.test('after signing out nothing is shown, and no cookie is left but the one that counts guesses', async () => {
    await page.getByRole('button', { name: 'Sign out', exact: true }).click();
    await page.getByRole('heading', { name: 'Sign in' }).waitFor();
    const left = (await context.cookies(front.origin)).map(({ name }) => name);
    assert.deepEqual(left, ['__Host-gatehouse-owners-browser']);
  });
});

test('a link asks in Chromium, by keyboard alone, and leads back to where it may', { timeout: 120_000 }, async (t) => {
  const house = await House.plan(t);
  const provider = await startProvider(t, house);
  const returnTo = `${provider.issuer}/back?app=1`;
  await house.open(t, { services: { op: provider.service }, settings: { return_urls: returnTo } });
  const browser = await startChromium(t);
  const { context, page } = await person(browser, [house.broker, provider.issuer]);
  const elsewhere = `${provider.issuer}/jwks`;
  const asking = page.getByRole('heading', { name: 'Connect The Provider' });
  const noFlow = async () => assert.ok(!(await context.cookies()).some(({ name }) => FLOW_COOKIE.test(name)));
  let link;

  await t.test('a page elsewhere that sends the browser here connects nobody', async () => {
    await page.goto(elsewhere);
    await page.evaluate((to) => void (location.href = to), `${house.broker}/auth/op`);
    await asking.waitFor();
    await noFlow();
  });

  await t.test('nor can it press the button', async () => {
    await page.goto(elsewhere);
    await page.evaluate((action) => {
      const form = Object.assign(document.createElement('form'), { method: 'post', action });
      document.body.append(form);
      form.submit();
    }, `${house.broker}/auth/op`);
    assert.match(await page.getByRole('alert').innerText(), /another site/i);
    await noFlow();
    await picture(page, 'another-site');
    assert.deepEqual(await accessibilityProblems(page), []);
  });

  await t.test('a link shows whose it is, what it is for and where it leads', async () => {
    const wish = { service: 'op', account: 'work', return_to: returnTo };
    const answer = await fetch(`${house.broker}/tickets`, { method: 'POST', body: JSON.stringify(wish) });
    link = (await answer.json()).connect_url;
    await page.goto(link);
    await asking.waitFor();
    assert.match(await page.locator('dl').innerText(), /owner[^]*work[^]*Afterwards[^]*127\.0\.0\.1/);
    await picture(page, 'asked-by-link');
    assert.deepEqual(await accessibilityProblems(page), []);
  });

  await t.test('who cancels goes back, and the link is still good', async () => {
    await tabTo(page, 'link', 'Cancel');
    await page.keyboard.press('Enter');
    await page.waitForURL(`${returnTo}&error=access_denied&service=op&account=work`);
    await noFlow();
  });

  await t.test('who agrees goes to the provider, and from there back', async () => {
    await page.goto(link);
    await tabTo(page, 'button', 'Connect');
    await page.keyboard.press('Enter');
    await page.waitForURL(`${provider.issuer}/interaction/**`);
    await logInAtProvider(page, 'alice');
    await page.waitForURL(`${returnTo}&connected=op&account=work`);
    await noFlow();
  });

  await t.test('the link is used up', async () => {
    assert.equal((await page.goto(link)).status(), 400);
    assert.match(await page.getByRole('alert').innerText(), /has been used/);
  });

  await t.test('who declines at the provider is told so, and may start again', async () => {
    await page.goto(`${house.broker}/auth/op?account=home`);
    await page.getByRole('button', { name: 'Connect' }).click();
    // Our own page has such a link, too.
    await page.waitForURL(`${provider.issuer}/**`);
    await page.getByRole('link', { name: /Cancel|Abort/i }).click();
    await page.waitForURL(`${house.broker}/callback/**`);
    assert.match(await page.getByRole('alert').innerText(), /access_denied/);
    await picture(page, 'declined');
    assert.deepEqual(await accessibilityProblems(page), []);
    await noFlow();
    await tabTo(page, 'link', 'Start again');
    await page.keyboard.press('Enter');
    await asking.waitFor();
    assert.match(await page.locator('dl').innerText(), /home/);
  });

  await t.test('a page that was left open is told from one that is new', async () => {
    await page.goto(`${house.broker}/auth/op`);
    await context.clearCookies();
    await page.getByRole('button', { name: 'Connect' }).click();
    assert.match(await page.getByRole('alert').innerText(), /another browser/);
    await page.getByRole('link', { name: 'Start again' }).click();
    await page.getByRole('button', { name: 'Connect' }).click();
    await page.waitForURL(`${provider.issuer}/**`);
  });
});

/// A06: a simple GET has no Origin, so a page of another origin could hold as many streams as it likes.
test('a page elsewhere opens no stream at a gateway of this machine', { timeout: 120_000 }, async (t) => {
  const house = await House.plan(t);
  await house.open(t, {});
  const elsewhere = createServer((_, answer) => answer.setHeader('content-type', 'text/html').end('<p>elsewhere'));
  elsewhere.listen(0, '127.0.0.1');
  await once(elsewhere, 'listening');
  atEnd(t, () => elsewhere.close());
  const { port } = elsewhere.address();
  const browser = await startChromium(t);

  // The same server is of another site by one of its names, and of the same site by the other.
  for (const page of [`http://localhost:${port}`, `http://127.0.0.1:${port}`]) {
    await t.test(`not at ${page.includes('localhost') ? 'another site' : 'the same site'}`, async () => {
      const own = await listen(`${house.gateway}/mcp/sse`);
      const { page: tab } = await person(browser, [page, house.gateway]);
      const statuses = [];
      tab.on('response', (answer) => answer.url().startsWith(house.gateway) && statuses.push(answer.status()));
      await tab.goto(page);
      await tab.evaluate(
        async ({ url, times }) => {
          const headers = { accept: 'text/event-stream' };
          const open = () => fetch(url, { mode: 'no-cors', headers, signal: AbortSignal.timeout(2_000) }).catch(() => {});
          for (let sent = 0; sent < times; sent += 8) await Promise.all(Array.from({ length: 8 }, open));
        },
        { url: `${house.gateway}/mcp/sse`, times: STREAMS_OF_A_PERSON + 16 },
      );
      assert.deepEqual(statuses, Array(STREAMS_OF_A_PERSON + 16).fill(403));
      assert.equal(own.isOpen, true, "the owner's own stream goes on");
      own.close();
      await tab.context().close();
    });
  }
});

/// A stream of the owner's, by a program that is no browser.
async function listen(url) {
  const leaving = new AbortController();
  const answer = await fetch(url, { headers: { accept: 'text/event-stream' }, signal: leaving.signal });
  assert.equal(answer.status, 200);
  const stream = { isOpen: true, close: () => leaving.abort() };
  const reader = answer.body.getReader();
  assert.match(new TextDecoder().decode((await reader.read()).value), /event: endpoint/);
  const drain = async () => {
    while (!(await reader.read()).done);
  };
  drain()
    .catch(() => {})
    .finally(() => (stream.isOpen = false));
  return stream;
}

async function signIn(page, credential) {
  await page.getByLabel(/passphrase/).fill(credential);
  await page.getByRole('button', { name: 'Sign in' }).click();
}
