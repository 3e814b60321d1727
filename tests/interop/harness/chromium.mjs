// Which browser do people sit at? Debian's own Chromium, headless, and with nothing but loopback to talk to.

import { mkdir } from 'node:fs/promises';
import { join, resolve } from 'node:path';

import axe from 'axe-core';
import { chromium } from 'playwright-core';

import { atEnd } from './processes.mjs';
import { HOST } from './tls-front.mjs';

const PICTURES = resolve(import.meta.dirname, '../../..', process.env.CARGO_TARGET_DIR ?? 'target', 'interop-pictures');

export async function startChromium(t) {
  const browser = await chromium.launch({
    executablePath: '/usr/bin/chromium',
    // The sandbox does not work for root, and every page here is our own or the provider's.
    args: ['--no-sandbox', `--host-resolver-rules=MAP ${HOST} 127.0.0.1`],
  });
  atEnd(t, () => browser.close());
  return browser;
}

/// A fresh profile. Notes every request with the origin of the page that made it; what is not for `origins` is cut off.
export async function person(browser, origins) {
  const context = await browser.newContext({ ignoreHTTPSErrors: true });
  const requests = [];
  await context.route('**', (route) => {
    const request = route.request();
    const page = request.isNavigationRequest() ? undefined : new URL(request.frame().url()).origin;
    requests.push({ url: request.url(), page });
    return origins.includes(new URL(request.url()).origin) ? route.continue() : route.abort();
  });
  const page = await context.newPage();
  return { context, page, requests };
}

/// Fills in the pages of the provider.
export async function logInAtProvider(page, login) {
  await page.getByPlaceholder('Enter any login').fill(login);
  await page.getByPlaceholder('and password').fill('any');
  await page.getByRole('button', { name: 'Sign-in' }).click();
  await page.getByRole('button', { name: 'Continue' }).click();
}

/// For people to look at: no test judges it.
export async function picture(page, name) {
  await mkdir(PICTURES, { recursive: true });
  for (const colorScheme of ['light', 'dark']) {
    await page.emulateMedia({ colorScheme });
    await page.screenshot({ path: join(PICTURES, `${name}-${colorScheme}.png`) });
  }
}

/// What axe finds wrong with the page, in a light and in a dark room.
export async function accessibilityProblems(page) {
  const problems = [];
  for (const colorScheme of ['light', 'dark']) {
    await page.emulateMedia({ colorScheme });
    await page.evaluate(axe.source);
    const { violations } = await page.evaluate(() => globalThis.axe.run());
    problems.push(
      ...violations.map(({ id, nodes }) => `${colorScheme}: ${id}: ${nodes.map(({ html }) => html).join(' ')}`),
    );
  }
  return problems;
}
