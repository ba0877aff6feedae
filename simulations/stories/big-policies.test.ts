/** Policies that are too much, on a live agent: what was in force stays, it is said, and what fits is in force. */
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { isDeepStrictEqual } from 'node:util';
import { afterAll, beforeAll, expect, it } from 'vitest';
import type { PolicyNodeView } from '../../observe/policy.ts';
import { commandPod, EmbeddedCluster, leftovers, namespaceOf, serverPod, until } from './embedded.ts';

const PATIENCE_MS = 60_000;
const MEBIBYTE = 2 ** 20;
const name = `axt-${process.pid}-bigpol`;
let cluster: EmbeddedCluster;
let url: string;

const policy = (policyName: string, spec: object): object => ({
  apiVersion: 'cilium.io/v2',
  kind: 'CiliumNetworkPolicy',
  metadata: { namespace: 'shop', name: policyName },
  spec,
});
const from = (app: string): object => ({ fromEndpoints: [{ matchLabels: { app } }] });
/** 40 ports for each of the networks. */
const networks = (count: number): object => ({
  fromCIDR: Array.from({ length: count }, (_, i) => `10.${100 + (i >> 8)}.${i & 255}.0/24`),
  toPorts: [{ ports: Array.from({ length: 40 }, (_, i) => ({ port: String(2001 + 2 * i), protocol: 'TCP' })) }],
});
const toBackend = (...ingress: object[]): object =>
  policy('to-backend', { endpointSelector: { matchLabels: { app: 'backend' } }, ingress });

async function put(verb: 'create' | 'replace', object: object): Promise<void> {
  const file = join(cluster.dir, 'policy.json');
  writeFileSync(file, JSON.stringify(object));
  const { code, stderr } = await cluster.kubectl(verb, '-f', file);
  expect(code, stderr).toBe(0);
}
const passes = async (pod: string): Promise<boolean> =>
  (await cluster.exec(`shop/${pod}`, ['curl', '-sS', '-m', '2', url])).code === 0;
const view = (): Promise<PolicyNodeView | undefined> =>
  cluster.debug<PolicyNodeView>('/v1/policy').catch(() => undefined);
const whenView = (what: string, is: (now: PolicyNodeView) => boolean) =>
  until(what, PATIENCE_MS, async () => {
    const now = await view();
    return now && is(now) ? now : undefined;
  });

/** What the policy's status says of the node. */
const whenInForce = (said: object): Promise<true> =>
  until(`status ${JSON.stringify(said)}`, PATIENCE_MS, async () => {
    const { stdout } = await cluster.kubectl('get', 'cnp', '-n', 'shop', 'to-backend', '-o', 'json');
    const { status } = JSON.parse(stdout) as { status?: { nodes?: object } };
    return isDeepStrictEqual(status?.nodes, { 'node-1': said }) || undefined;
  });

beforeAll(async () => {
  const client = (pod: string): string => commandPod('shop', pod, ['sleep', 'infinity']);
  cluster = await EmbeddedCluster.up(
    name,
    namespaceOf('shop') + [serverPod('shop', 'backend'), client('frontend'), client('stranger')].join(''),
  );
  const { items } = await cluster.core.listNamespacedPod({ namespace: 'shop' });
  url = `http://${items.find(({ metadata }) => metadata?.name === 'backend')?.status?.podIP}:8080/`;
  await put('create', toBackend(from('frontend')));
  await until('policy in force', PATIENCE_MS, async () => ((await passes('stranger')) ? undefined : true));
}, 120_000);
afterAll(async () => {
  await cluster?.down();
  expect(await leftovers(name)).toEqual([]);
}, 90_000);

it('40 ports x 1,000 networks are more than the map holds: what was in force stays, and it is said where one looks', async () => {
  await put('replace', toBackend(from('frontend'), from('stranger'), networks(1_000)));
  const { overflowing } = await whenView('overflow', (now) => now.overflowing.length > 0);
  expect(await passes('frontend')).toBe(true);
  expect(await passes('stranger')).toBe(false);
  const endpoint = await cluster.debug<{ pod: string; reason: string; policy: unknown[] }>(
    `/v1/endpoints/${overflowing[0]}`,
  );
  expect(endpoint.pod).toBe('shop/backend');
  expect(endpoint.reason).toMatch(/^its policies come to \d+ entries, its map has room for 16384: what was in force/);
  expect(endpoint.policy.length).toBeLessThan(100);
  await whenInForce({ ok: false, enforcing: false, error: 'shop/backend is not-ready' });
}, 120_000);

it('40 ports x 300 networks fit: they are in force, with all else that the policy says', async () => {
  await put('replace', toBackend(from('frontend'), from('stranger'), networks(300)));
  await whenView('fits', (now) => now.overflowing.length === 0 && now.settled);
  await whenInForce({ ok: true, enforcing: true });
  await until('the stranger gets through', PATIENCE_MS, async () => ((await passes('stranger')) ? true : undefined));
  expect(await passes('frontend')).toBe(true);
  await put('replace', toBackend(from('frontend')));
  await until('the stranger does not', PATIENCE_MS, async () => ((await passes('stranger')) ? undefined : true));
}, 120_000);

it('a policy of 1 MiB is judged and in force', async () => {
  const rules = Array.from({ length: 9_500 }, (_, i) => ({
    fromEndpoints: [{ matchLabels: { app: `nobody-${i}`, 'example.com/of-the-team-that-it-belongs-to': `team-${i}` } }],
  }));
  const big = policy('big', {
    endpointSelector: { matchLabels: { app: 'backend' } },
    ingress: [...rules, from('stranger')],
  });
  expect(JSON.stringify(big).length).toBeGreaterThan(MEBIBYTE);
  await put('create', big);
  await until('the stranger gets through', PATIENCE_MS, async () => ((await passes('stranger')) ? true : undefined));
  const { policies } = await whenView('valid', (now) => now.policies.some((one) => one.name === 'big'));
  expect(policies.find((one) => one.name === 'big')?.status).toBe('valid');
  expect(await passes('frontend')).toBe(true);
}, 120_000);
