/** Every backend of a service is replaced while clients ask: nobody sees it, on new and on kept connections, over IPv4 and IPv6. */
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { commandPod, EmbeddedCluster, leftovers, namespaceOf, serverPod, Traffic, until } from './embedded.ts';

const name = `axt-${process.pid}-rolling`;
const BACKENDS = 3;
/** curl's. */
const CANNOT_CONNECT = 7;
const CLIENTS = 4;
const OF_WEB = 'kubernetes.io/service-name=web';

/** The server of pod `web-N` keeps serving for a while when it is told to end, as one with a preStop hook does. */
const backend = (n: number): string => serverPod('demo', `web-${n}`).replace(`{app: web-${n}}`, '{role: web}');
const service = `apiVersion: v1
kind: Service
metadata: {name: web, namespace: demo}
spec:
  selector: {role: web}
  ipFamilyPolicy: PreferDualStack
  ports: [{name: http, port: 80, targetPort: 8080}]
---
`;
/** One backend, which serves for two more seconds when it is told to end. */
const last = (serverPod('demo', 'last') + service.replaceAll('web', 'last').replace('role:', 'app:')).replace(
  'image: built-in',
  'image: built-in\n    lifecycle: {preStop: {sleep: {seconds: 2}}}',
);
const numbers = Array.from({ length: BACKENDS }, (_, n) => n);
let cluster: EmbeddedCluster;

beforeAll(async () => {
  const client = commandPod('demo', 'client', ['sleep', 'infinity']);
  cluster = await EmbeddedCluster.up(
    name,
    [namespaceOf('demo'), ...numbers.map(backend), client, service, last].join(''),
  );
}, 120_000);
afterAll(async () => {
  const code = await cluster?.down();
  expect(await leftovers(name)).toEqual([]);
  expect(code).toBe(0);
}, 60_000);

test('rolling replacement: no request fails', async () => {
  const { stdout } = await cluster.kubectl('get', 'service', '-n', 'demo', 'web', '-o', 'json');
  const { clusterIPs } = (JSON.parse(stdout) as { spec: { clusterIPs: string[] } }).spec;
  expect(clusterIPs).toHaveLength(2);
  const urls = clusterIPs.map((ip) => `http://${ip.includes(':') ? `[${ip}]` : ip}/`);
  const state = async () =>
    (await cluster.kubectl('get', 'endpointslices', '-n', 'demo', '-l', OF_WEB, '-o', 'json')).stdout;
  await until('endpoints', 10_000, async () => ((await state()).includes('"ready": true') ? true : undefined));
  const probe = await until('the service answers', 10_000, async () => {
    const { code } = await cluster.exec('demo/client', ['curl', '-sS', '--max-time', '2', ...urls]);
    return code === 0 ? true : undefined;
  });
  expect(probe).toBe(true);

  const clients = Array.from({ length: CLIENTS }, () => new Traffic(cluster, 'demo/client', urls));
  await until('traffic', 10_000, () => (clients.every(({ tally }) => tally.asked > 50) ? true : undefined));
  const began = Date.now();
  for (const n of numbers) {
    const next = join(cluster.dir, `next-${n}.yaml`);
    writeFileSync(next, backend(n + BACKENDS));
    await cluster.kubectl('apply', '-f', next);
    const ready = ['wait', '-n', 'demo', '--for=condition=Ready', `pod/web-${n + BACKENDS}`, '--timeout=20s'];
    expect((await cluster.kubectl(...ready)).code).toBe(0);
    expect((await cluster.kubectl('delete', 'pod', '-n', 'demo', `web-${n}`)).code).toBe(0);
  }
  const seconds = (Date.now() - began) / 1_000;
  const tallies = await Promise.all(clients.map((client) => client.stop()));
  const asked = tallies.reduce((sum, tally) => sum + tally.asked, 0);
  console.log(
    `${BACKENDS} backends replaced in ${seconds.toFixed(1)} s under ${Math.round(asked / seconds)} requests/s`,
  );
  expect(tallies.flatMap(({ failures }) => failures)).toEqual([]);
  expect(asked).toBeGreaterThan(100 * seconds);

  // Of the old backends nothing is left, not in the slices and not in the kernel.
  const slices = JSON.parse(await state()) as { items: { endpoints: { targetRef: { name: string } }[] }[] };
  const names = new Set(slices.items.flatMap(({ endpoints }) => endpoints.map(({ targetRef }) => targetRef.name)));
  expect([...names].sort()).toEqual(numbers.map((n) => `web-${n + BACKENDS}`));
}, 120_000);

test('the last backend serves while it drains; when it is gone connections are refused', async () => {
  const view = async () => (await cluster.debug<{ state: string }>('/v1/machines/service/demo/last')).state;
  const { stdout } = await cluster.kubectl('get', 'service', '-n', 'demo', 'last', '-o', 'jsonpath={.spec.clusterIP}');
  const ask = () => cluster.exec('demo/client', ['curl', '-sS', '--max-time', '2', `http://${stdout}/`]);
  await until('the service answers', 10_000, async () => ((await ask()).code === 0 ? true : undefined));
  expect(await view()).toBe('balancing');
  await cluster.kubectl('delete', 'pod', '-n', 'demo', 'last', '--wait=false');
  await until('draining', 2_000, async () => ((await view()) === 'draining' ? true : undefined));
  expect((await ask()).stdout.trim()).toBe('last');
  await until('no backends', 10_000, async () => ((await view()) === 'no-backends' ? true : undefined));
  const refused = await ask();
  expect([refused.code, refused.stderr]).toEqual([CANNOT_CONNECT, expect.stringMatching(/connect/i)]);
}, 40_000);
