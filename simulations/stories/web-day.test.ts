/** The page left open: memory that stays, and a stream that comes back; `simulations/lab/web-day.long.ts` does a whole day. */
import type { Browser } from 'playwright-core';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { filterFlags, parseFilters } from '../../cli/observe/filters.ts';
import { type OpenDay, openDay } from './web-day.ts';
import { openBrowser } from './web-fixtures.ts';

const FLOWS = 30_000;
/** Kept for good, they would be more than ten times as much. */
const GROWTH_MAX = 4 << 20;
let browser: Browser;
let day: OpenDay;

beforeAll(async () => {
  browser = await openBrowser();
  day = await openDay(browser, { flags: filterFlags, parse: parseFilters });
}, 60_000);
afterAll(async () => {
  await day?.close();
  await browser?.close();
}, 30_000);

test('memory does not grow with the flows that went by', async () => {
  await day.page.locator('.pill.good').waitFor();
  await day.send(FLOWS / 3);
  const before = await day.heap();
  await day.send(FLOWS);
  await expect.poll(() => day.page.locator('.window .row').count()).toBeGreaterThan(5);
  expect((await day.heap()) - before).toBeLessThan(GROWTH_MAX);
}, 60_000);

test('the stream comes back after the agent does', async () => {
  const newest = () => day.page.locator('.window .row time').first().textContent();
  await day.restart();
  await day.page.locator('.pill.good').waitFor({ timeout: 20_000 });
  const before = await newest();
  await expect
    .poll(
      async () => {
        await day.send(200).catch(() => {});
        return newest();
      },
      { timeout: 20_000 },
    )
    .not.toBe(before);
  // A browser tells of each connection that was cut.
  expect(day.complaints.filter((text) => !/ERR_|Failed to load/.test(text))).toEqual([]);
}, 60_000);
