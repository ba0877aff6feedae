/** The policies of deploy/examples with real packets: one is enforced, two wait for what L7 needs, say so, and deny. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { PolicyNodeView } from '../../observe/policy.ts';
import { commandPod, EmbeddedCluster, leftovers, namespaceOf, serverPod, until } from './embedded.ts';

const name = `axt-${process.pid}-example`;
const examples = new URL('../../deploy/examples/policies', import.meta.url).pathname;
let cluster: EmbeddedCluster;
let addresses: Map<string, string[]>;

beforeAll(async () => {
  const client = (pod: string): string => commandPod('shop', pod, ['sleep', 'infinity']);
  const pods = [
    serverPod('shop', 'backend'),
    serverPod('shop', 'api'),
    client('frontend'),
    client('worker'),
    client('stranger'),
  ];
  cluster = await EmbeddedCluster.up(name, namespaceOf('shop') + pods.join(''));
  const { items } = await cluster.core.listNamespacedPod({ namespace: 'shop' });
  addresses = new Map(
    items.map(({ metadata, status }) => [metadata?.name ?? '', (status?.podIPs ?? []).map(({ ip = '' }) => ip)]),
  );
}, 120_000);
afterAll(async () => {
  await cluster?.down();
  expect(await leftovers(name)).toEqual([]);
}, 90_000);

/** Over IPv4 and IPv6. */
const reaches = async (from: string, to: string, path = '/'): Promise<boolean[]> =>
  Promise.all(
    (addresses.get(to) ?? [to, '']).filter(Boolean).map(async (address) => {
      const host = address.includes(':') ? `[${address}]` : address;
      return (await cluster.exec(`shop/${from}`, ['curl', '-sS', '-m', '2', `http://${host}:8080${path}`])).code === 0;
    }),
  );

describe('the example policies', () => {
  it('load unchanged; one is in force, two wait for L7', async () => {
    expect(await reaches('stranger', 'backend')).toEqual([true, true]);
    const { code, stderr } = await cluster.kubectl('apply', '-f', examples);
    expect(code, stderr).toBe(0);
    const view = await until('policies in force', 20_000, async () => {
      const now = await cluster.debug<PolicyNodeView>('/v1/policy');
      return now.settled && now.policies.length === 3 ? now : undefined;
    });
    expect(view.policies.map(({ key, status }) => [key, status])).toEqual([
      ['CiliumNetworkPolicy/shop/api-requests', 'needs L7'],
      ['CiliumNetworkPolicy/shop/frontend-to-backend', 'valid'],
      ['CiliumNetworkPolicy/shop/worker-to-one-name', 'needs L7'],
    ]);
  });

  it('the frontend reaches the backend, nobody else does', async () => {
    expect(await reaches('frontend', 'backend')).toEqual([true, true]);
    expect(await reaches('stranger', 'backend')).toEqual([false, false]);
  });

  it('what only a proxy could allow is denied', async () => {
    expect(await reaches('frontend', 'api', '/health')).toEqual([false, false]);
  });

  it('what only a name could allow is denied', async () => {
    const { code } = await cluster.exec('shop/worker', ['curl', '-sS', '-m', '2', 'http://203.0.113.10/']);
    expect(code).not.toBe(0);
    expect((await cluster.exec('shop/stranger', ['curl', '-sS', '-m', '2', 'http://203.0.113.10/'])).code).toBe(0);
  });

  it('the status says so, on the objects too', async () => {
    const conditionOf = async (policy: string): Promise<{ status?: string; message?: string } | undefined> => {
      const { stdout } = await cluster.kubectl('get', 'cnp', '-n', 'shop', policy, '-o', 'json');
      const { status } = JSON.parse(stdout) as {
        status?: { conditions?: { type: string; status: string; message: string }[] };
      };
      return status?.conditions?.find(({ type }) => type === 'Valid');
    };
    const one = await until('status', 10_000, () => conditionOf('api-requests'));
    expect(one).toMatchObject({ status: 'True', message: expect.stringContaining('needs L7') });
    expect(await until('status', 10_000, () => conditionOf('frontend-to-backend'))).toMatchObject({ status: 'True' });
  });
});
