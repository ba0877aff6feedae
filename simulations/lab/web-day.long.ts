/** A day of a page that nobody closes: two million flows through its live stream, views changed now and then. */
import type { Browser } from 'playwright-core';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { filterFlags, parseFilters } from '../../cli/observe/filters.ts';
import { type OpenDay, openDay } from '../stories/web-day.ts';
import { openBrowser } from '../stories/web-fixtures.ts';

const FLOWS = 2_000_000;
const TURNS = 40;
const GROWTH_MAX = 6 << 20;
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

test('leaves the page as small as it was', async () => {
  const { page } = day;
  await page.locator('.pill.good').waitFor();
  const turn = async (flows: number): Promise<void> => {
    await day.send(flows);
    await page.keyboard.press('1');
    await page.locator('.card').first().waitFor();
    await page.keyboard.press('2');
    await page.locator('.pill.good').waitFor();
  };
  await turn(20_000);
  const sizes = [await day.heap()];
  for (let i = 0; i < TURNS; i++) {
    await turn(FLOWS / TURNS);
    if (i % 10 === 9) sizes.push(await day.heap());
  }
  process.stdout.write(`heap of the page in MiB: ${sizes.map((size) => (size / 2 ** 20).toFixed(1)).join(' ')}\n`);
  expect(Math.max(...sizes) - (sizes[0] ?? 0)).toBeLessThan(GROWTH_MAX);
  expect(day.complaints).toEqual([]);
});
