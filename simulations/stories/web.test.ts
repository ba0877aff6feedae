/** The page over an embedded cluster of two nodes with the demo's traffic and a policy that denies some of it. */
import { type ChildProcess, spawn } from 'node:child_process';
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Browser, BrowserContext, Page } from 'playwright-core';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { FlowLine } from '../../observe/web/flow-routes.ts';
import type { ServiceMapView } from '../../observe/web/service-map.ts';
import type { MachineView } from '../../reconcilers/inspect.ts';
import { EmbeddedCluster, until } from './embedded.ts';
import { openBrowser, openPage } from './web-fixtures.ts';

const name = `axt-${process.pid}-web`;
const axoneme = new URL('../../cli/axoneme', import.meta.url).pathname;
const demo = new URL('../../deploy/demo/', import.meta.url).pathname;
const directory = mkdtempSync(join(tmpdir(), `${name}-shots-`));
const shots = process.env['WEB_SHOTS'] ?? directory;
const policy = `---
apiVersion: cilium.io/v2
kind: CiliumNetworkPolicy
metadata: {name: only-web, namespace: shop}
spec:
  endpointSelector: {matchLabels: {app: orders}}
  ingress:
    - fromEndpoints: [{matchLabels: {app: web}}]
`;
/** Run in the page: what can be pressed or read aloud, and has no name. */
const NAMELESS = `[...document.querySelectorAll('button, a, input, select, [role=button], [role=grid], main')]
  .filter((one) => !(one.getAttribute('aria-label') || one.textContent?.trim() || one.labels?.length))
  .map(({ outerHTML }) => outerHTML.slice(0, 120))`;
let cluster: EmbeddedCluster;
let browser: Browser;
let context: BrowserContext;
let page: Page;
let complaints: string[];
let url: string;

const api = async <T>(path: string): Promise<T> => (await (await context.request.get(url + path)).json()) as T;

beforeAll(async () => {
  const manifests = readdirSync(demo).map((file) => readFileSync(join(demo, file), 'utf8'));
  const opened = openBrowser();
  cluster = await EmbeddedCluster.up(name, [...manifests, policy].join('\n---\n'), [
    '--web',
    '0',
    '--nodes',
    '2',
    '--record',
    join(directory, 'recording'),
  ]);
  browser = await opened;
  url = cluster.ready.web.replace(/\/$/, '');
  context = await browser.newContext({ viewport: { width: 1440, height: 900 }, colorScheme: 'light' });
  ({ page, complaints } = await openPage(context, `${url}/`));
}, 120_000);
afterAll(async () => {
  await browser?.close();
  await cluster?.down();
  rmSync(directory, { recursive: true, force: true });
}, 60_000);

test('`up` prints where the page is', () => expect(cluster.output).toContain(`web page     ${url}/`));

describe('the service map', () => {
  test('shows who talks to whom, and what is denied in red', async () => {
    await until(
      'an edge that is denied, both pods of a workload, and the world over both families',
      20_000,
      async () => {
        const { nodes, edges } = await api<ServiceMapView>('/v1/service-map');
        const hasAll = nodes.length >= 5 && nodes.find(({ id }) => id === 'shop/web')?.pods.length === 2;
        return (edges.some(({ verdict }) => verdict === 'denied') && hasAll) || undefined;
      },
    );
    const map = await api<ServiceMapView>('/v1/service-map');
    expect(map.edges).toContainEqual(
      expect.objectContaining({ from: 'monitoring/prober', to: 'shop/orders', port: 8080, verdict: 'denied' }),
    );
    expect(map.edges).toContainEqual(
      expect.objectContaining({ from: 'monitoring/prober', to: 'shop/web', port: 8080, verdict: 'forwarded' }),
    );
    expect(map.nodes.find(({ id }) => id === 'shop/web')?.pods).toEqual(['web-0', 'web-1']);
    await page.locator('.edge.denied').first().waitFor();
    for (const { id, name } of map.nodes)
      if (!id.startsWith('world')) expect(await page.locator(`[id="c-${id}"] .title`).textContent(), id).toBe(name);
    const red = await page.evaluate<string>(`getComputedStyle(document.querySelector('.edge.denied .drawn')).stroke`);
    expect(red).toBe('rgb(194, 47, 61)');
    await page.screenshot({ path: join(shots, 'map-light.png') });
  });

  test('a denied line tells why, and leads to its flows', async () => {
    await page.getByRole('button', { name: /monitoring\/prober → shop\/orders/ }).click();
    const side = page.getByRole('complementary', { name: 'Edge' });
    await side.getByText('policy denied', { exact: false }).first().waitFor();
    await side.locator('.short-flows li').first().waitFor();
    await page.screenshot({ path: join(shots, 'map-denied-light.png') });
    await side.getByRole('link', { name: 'Open in the table' }).click();
    await page.locator('.window .row').first().waitFor();
    for (const row of await page.locator('.window .row').allTextContents())
      expect(row).toMatch(/dropped[\s\S]*prober[\s\S]*orders-0/);
  });

  test('is walked by keys', async () => {
    await page.keyboard.press('1');
    await page.locator('.card').first().waitFor();
    await page.keyboard.press('ArrowRight');
    await page.locator('.card.chosen').waitFor();
    const first = await page.locator('.card.chosen').getAttribute('id');
    await page.keyboard.press('ArrowRight');
    await expect.poll(() => page.locator('.card.chosen').getAttribute('id')).not.toBe(first);
    await page.keyboard.press('Escape');
    await expect.poll(() => page.locator('.card.chosen').count()).toBe(0);
  });
});

describe('the flow table', () => {
  test('is live, newest first, and says which node saw it', async () => {
    await page.keyboard.press('2');
    await page.locator('.pill.good').waitFor();
    const before = Number(await page.locator('.flows').getAttribute('aria-rowcount'));
    await expect
      .poll(async () => Number(await page.locator('.flows').getAttribute('aria-rowcount')), { timeout: 15_000 })
      .toBeGreaterThan(before);
    const times = await page.locator('.window .row time').allTextContents();
    expect(times.slice(0, 20)).toEqual([...times.slice(0, 20)].sort().reverse());
    expect(await page.locator('.window .row').first().textContent()).toMatch(/node-[12]/);
    await page.screenshot({ path: join(shots, 'flows-light.png') });
  });

  test('takes filter words as `observe` does', async () => {
    await page.keyboard.press('/');
    await page.keyboard.type('to-pod shop/web protocol tcp');
    await expect.poll(() => page.evaluate<string>('location.hash')).toContain('q=to-pod');
    await expect
      .poll(
        async () => {
          const ends = await page.locator('.window .row span:nth-child(4)').allTextContents();
          return ends.length > 0 && ends.every((text) => text.startsWith('shop/web'));
        },
        { timeout: 10_000 },
      )
      .toBe(true);
    const known = await api<FlowLine[]>('/v1/flows?last=50&q=to-pod%20shop/web%20protocol%20tcp');
    for (const { flow } of known) expect(flow?.destination?.pod_name).toMatch(/^web-/);
    await page.locator('input[type=search]').fill('verdict MAYBE');
    await page.getByRole('alert').getByText('expected FORWARDED', { exact: false }).waitFor();
    await page.screenshot({ path: join(shots, 'flows-refused-light.png') });
    // A browser tells of each answer that is no success.
    for (let at = complaints.length - 1; at >= 0; at--)
      if (/400 \(Bad Request\)|MIME type/.test(complaints[at] ?? '')) complaints.splice(at, 1);
    await page.locator('input[type=search]').fill('');
    await page.locator('.window .row').first().waitFor();
  });

  test('a row opens by keys, and others wait meanwhile', async () => {
    await page.keyboard.press('Escape');
    await page.keyboard.press('ArrowDown');
    await page.keyboard.press('Enter');
    const side = page.getByRole('complementary', { name: 'Flow' });
    await side.waitFor();
    const time = await side.locator('.facts dd').first().textContent();
    await page.locator('.news').waitFor();
    expect(await side.locator('.facts dd').first().textContent()).toBe(time);
    await page.screenshot({ path: join(shots, 'flow-light.png') });
    await page.keyboard.press('Escape');
    await side.waitFor({ state: 'detached' });
  });
});

describe('the machine explorer', () => {
  test('lights the present state, and shows rows and history as the agent has them', async () => {
    const nodes = await api<{ name: string; base: string }[]>('/v1/page/nodes');
    expect(nodes.map(({ name }) => name)).toEqual(['node-1', 'node-2']);
    const lists = await Promise.all(
      nodes.map(async ({ name, base }) => ({
        name,
        machines: await api<MachineView[]>(`${base}/v1/machines?kind=endpoint`),
      })),
    );
    await page.keyboard.press('3');
    const item = page.getByRole('button', { name: /shop\/web-0/ }).first();
    await item.click();
    await page.getByRole('heading', { name: 'shop/web-0' }).waitFor();
    const [path = '', query] = (await page.evaluate<string>('location.hash')).split('?');
    const key = decodeURIComponent(path.replace('#/machines/', ''));
    const at = new URLSearchParams(query).get('at');
    const machine = lists.find(({ name }) => name === at)?.machines.find((one) => one.key === key);
    expect(machine?.state).toBe('ready');
    expect(await page.locator('.state.current text').textContent()).toBe('ready');
    expect(await page.locator('.row-list > li').count()).toBe(machine?.rows.length);
    expect(await page.locator('.history li').first().textContent()).toMatch(/programmed →\s*ready/);
    expect(await page.locator('.way.taken').count()).toBeGreaterThan(3);
  });

  test('explains a row from the event to the kernel', async () => {
    await page.locator('.row-list button', { hasText: 'bpf.endpoints' }).first().click();
    const chain = page.locator('.chain');
    await chain.waitFor();
    expect(await chain.locator('.eyebrow').allTextContents()).toEqual(['event', 'machine', 'row', 'op', 'kernel']);
    await chain.getByText('has the same').waitFor();
    expect(await chain.textContent()).toMatch(/endpoint shop\/web-0/);
    await page.screenshot({ path: join(shots, 'machines-light.png') });
  });
});

describe('over a recording', () => {
  const port = 20_000 + (process.pid % 20_000);
  let replaying: ChildProcess;
  afterAll(() => replaying?.kill('SIGTERM'));

  test('a slider goes through time, and the machines go with it', async () => {
    const recording = join(directory, 'recording', 'node-1');
    replaying = spawn(axoneme, ['replay', recording, '--serve', String(port)], { stdio: 'ignore' });
    await until('the replay to be served', 25_000, () =>
      fetch(`http://127.0.0.1:${port}/v1/replay`).then(
        () => true,
        () => undefined,
      ),
    );
    const replay = await openPage(context, `http://127.0.0.1:${port}/`);
    const slider = replay.page.getByRole('slider', { name: 'Moment of the recording' });
    await slider.waitFor();
    const ready = () => replay.page.locator('.machine').count();
    await expect.poll(ready, { timeout: 10_000 }).toBeGreaterThan(5);
    // Nothing else changes here that would have it drawn again.
    const diagram = replay.page.locator('.diagram');
    await expect
      .poll(async () => {
        const frame = await diagram.boundingBox();
        const all = await diagram.locator('svg > g').boundingBox();
        return frame !== null && all !== null && all.y + all.height <= frame.y + frame.height;
      })
      .toBe(true);
    await replay.page.screenshot({ path: join(shots, 'replay-light.png') });
    await slider.focus();
    await replay.page.keyboard.press('Home');
    await expect.poll(ready, { timeout: 10_000 }).toBe(0);
    await replay.page.keyboard.press('End');
    await expect.poll(ready, { timeout: 10_000 }).toBeGreaterThan(5);
    for (const view of ['map', 'flows']) {
      await replay.page.goto(`http://127.0.0.1:${port}/#/${view}`);
      await replay.page.getByText('A recording has no flows').waitFor();
    }
    await replay.page.close();
    // A machine that is shown may not be there at another moment, and the browser tells of that answer.
    expect(replay.complaints.filter((text) => !text.includes('404'))).toEqual([]);
  });
});

describe('health, themes and nodes', () => {
  test('shows each node, its maps and its drops', async () => {
    await page.keyboard.press('4');
    await page.getByRole('meter', { name: 'conntrack' }).waitFor();
    expect(await page.locator('.node-card').count()).toBe(2);
    for (const { node, mapPressure } of [
      await api<{ node: string; mapPressure: { map: string }[] }>('/nodes/node-1/v1/status'),
    ]) {
      expect(await page.locator('.node-head h1').textContent()).toBe(node);
      expect(await page.getByRole('meter').count()).toBeGreaterThanOrEqual(mapPressure.length);
    }
    await expect.poll(() => page.locator('.spark polyline').count(), { timeout: 10_000 }).toBeGreaterThan(0);
    await page.screenshot({ path: join(shots, 'health-light.png') });
  });

  test('one node is chosen, and the address keeps it', async () => {
    await page.locator('.chooser select').selectOption('node-2');
    await expect.poll(() => page.locator('.node-head h1').textContent()).toBe('node-2');
    await page.reload();
    await expect.poll(() => page.locator('.node-head h1').textContent()).toBe('node-2');
    await page.locator('.chooser select').selectOption('');
  });

  test('is dark when the system is, or when the reader wants it, and every view is', async () => {
    const brightness = () =>
      page.evaluate<number>('Number(/\\d+/.exec(getComputedStyle(document.body).backgroundColor)[0])');
    expect(await brightness()).toBeGreaterThan(200);
    await page.emulateMedia({ colorScheme: 'dark' });
    expect(await brightness()).toBeLessThan(60);
    for (const [view, ready] of [
      ['map', '.card'],
      ['flows', '.window .row'],
      ['machines', '.state.current'],
      ['health', '.meter'],
    ] as const) {
      await page.goto(`${url}/#/${view}`);
      await page.locator(ready).first().waitFor();
      await page.screenshot({ path: join(shots, `${view}-dark.png`) });
    }
    await page.keyboard.press('t');
    await expect.poll(brightness).toBeGreaterThan(200);
    await page.reload();
    await expect.poll(brightness).toBeGreaterThan(200);
  });

  test('everything that can be pressed has a name', async () => {
    for (const view of ['map', 'flows', 'machines', 'health']) {
      await page.goto(`${url}/#/${view}`);
      await page.waitForTimeout(300);
      const nameless = await page.evaluate<string[]>(NAMELESS);
      expect(nameless, view).toEqual([]);
    }
  });

  test('the console stayed silent', () => expect(complaints).toEqual([]));
});
