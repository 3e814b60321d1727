// Which browser do people sit at? Debian's own Chromium, headless, and with nothing but loopback to talk to.

import assert from 'node:assert/strict';
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

/// Moves on with the Tab key until the focus is there, and can be seen.
export async function tabTo(page, role, name) {
  const wanted = page.getByRole(role, { name });
  for (let step = 0; step < 30; step += 1) {
    await page.keyboard.press('Tab');
    const outline = await wanted.evaluate((it) => it === document.activeElement && getComputedStyle(it).outlineStyle);
    if (outline) return assert.notEqual(outline, 'none', `the focus on ${role} ${name} cannot be seen`);
  }
  assert.fail(`the Tab key does not reach ${role} ${name}`);
}

/// For people to look at: no test judges it.
export async function picture(page, name) {
  await mkdir(PICTURES, { recursive: true });
  await inEachRoom(page, (room) => page.screenshot({ path: join(PICTURES, `${name}-${room}.png`), fullPage: true }));
}

/// What axe finds wrong with the page in each room, and whether one would have to scroll sideways.
export async function accessibilityProblems(page) {
  const problems = [];
  await inEachRoom(page, async (room) => {
    await page.evaluate(axe.source);
    const rules = { 'target-size': { enabled: true } };
    const { violations } = await page.evaluate((rules) => globalThis.axe.run({ rules }), rules);
    problems.push(...violations.map(({ id, nodes }) => `${room}: ${id}: ${nodes.map(({ html }) => html).join(' ')}`));
    const over = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
    if (over > 0) problems.push(`${room}: ${over} pixels wider than the window`);
  });
  return problems;
}

/// Light, dark, with the colours that a person has forced on all pages, and on a phone (WCAG 1.4.10: 320 pixels).
async function inEachRoom(page, look) {
  const usual = page.viewportSize();
  for (const [room, { media, width }] of Object.entries(ROOMS)) {
    await page.emulateMedia({ colorScheme: 'light', forcedColors: 'none', ...media });
    await page.setViewportSize({ ...usual, width: width ?? usual.width });
    await look(room);
  }
  await page.emulateMedia({ colorScheme: null, forcedColors: null });
  await page.setViewportSize(usual);
}

const ROOMS = {
  light: {},
  dark: { media: { colorScheme: 'dark' } },
  forced: { media: { colorScheme: 'dark', forcedColors: 'active' } },
  phone: { width: 320 },
};
