/** The policies of deploy/examples with real packets: one is enforced, two wait for what L7 needs, say so, and deny. */
import { writeFileSync } from 'node:fs';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { PolicyNodeView } from '../../observe/policy.ts';
import { commandPod, EmbeddedCluster, leftovers, namespaceOf, run, serverPod, until } from './embedded.ts';

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

const AXONEME = new URL('../../cli/axoneme', import.meta.url).pathname;
const policy = async (...args: string[]): Promise<string> => {
  const { code, stdout, stderr } = await run(AXONEME, ['policy', ...args, '--name', name]);
  expect(code, stderr).toBe(0);
  return stdout;
};

describe('questions', () => {
  it('get: objects, how they stand, whom they select', async () => {
    const text = await policy('get');
    expect(text).toMatch(/frontend-to-backend +valid +ingress: 1 allow +shop\/backend/);
    expect(text).toMatch(/needs L7: spec\.ingress\[0\]\.toPorts\[0\]: http/);
  });

  it('selectors: users and identities', async () => {
    const selectors = JSON.parse(await policy('selectors', '-o', 'json')) as {
      selector: string;
      users: string[];
      identities: number[];
    }[];
    const frontend = selectors.find(
      ({ selector }) => selector.startsWith('labels') && selector.includes('app=frontend'),
    );
    expect(frontend?.users).toEqual([
      'CiliumNetworkPolicy/shop/api-requests',
      'CiliumNetworkPolicy/shop/frontend-to-backend',
    ]);
    expect(frontend?.identities).toHaveLength(1);
  });

  it('trace: by pod, by address, by labels, in words', async () => {
    const allowed = await policy('trace', '--src', 'shop/frontend', '--dst', 'shop/backend', '--dport', '8080/TCP');
    expect(allowed).toContain(
      'Ingress of shop/backend: ALLOWED: allowed by CiliumNetworkPolicy/shop/frontend-to-backend spec.ingress[0]',
    );
    const [address = ''] = addresses.get('stranger') ?? [];
    const denied = await policy('trace', '--src', address, '--dst', 'shop/backend', '--dport', '8080');
    expect(denied).toMatch(/DENIED: no rule allows it.*\n(.*\n)*Verdict: DENIED/);
    const labels = 'app=frontend,io.kubernetes.pod.namespace=shop';
    expect(await policy('trace', '--src', labels, '--dst', 'shop/api', '--dport', '8080/TCP')).toContain(
      'needs L7: http',
    );
  });

  it('what-if: pairs that would change, and nothing changes', async () => {
    const file = `${cluster.dir}/new.yaml`;
    const spec = { endpointSelector: { matchLabels: { app: 'worker' } }, ingress: [{}] };
    const object = {
      apiVersion: 'cilium.io/v2',
      kind: 'CiliumNetworkPolicy',
      metadata: { namespace: 'shop', name: 'shut' },
      spec,
    };
    writeFileSync(file, JSON.stringify(object));
    const { pairs } = JSON.parse(await policy('what-if', '-f', file, '-o', 'json')) as {
      pairs: { from: string; to: string; after: string }[];
    };
    expect([...new Set(pairs.map(({ from, to, after }) => `${from} ${to} ${after}`))].sort()).toEqual(
      ['shop/api', 'shop/backend', 'shop/frontend', 'shop/stranger', 'world-ipv4', 'world-ipv6'].map(
        (from) => `${from} shop/worker denied`,
      ),
    );
    expect(await policy('get')).not.toContain('shut');
  });

  it('endpoint get: entries in the kernel and the policies behind each', async () => {
    const { stdout } = await run(AXONEME, ['endpoint', 'get', 'pod-name:shop/backend', '-o', 'policy', '--name', name]);
    expect(stdout).toMatch(
      /ingress +allow +\d+ +k8s:app=frontend +8080\/TCP +CiliumNetworkPolicy\/shop\/frontend-to-backend +in-sync/,
    );
  });
});

const becomes = (from: string, to: string, passes: boolean): Promise<true> =>
  until(
    `${from} to ${to} ${passes ? 'passes' : 'is stopped'}`,
    20_000,
    async () => (await reaches(from, to)).every((one) => one === passes) || undefined,
  );
const audited = async (): Promise<string> =>
  (await run(AXONEME, ['observe', '--name', name, '--verdict', 'AUDIT', '--last', '20'])).stdout;

describe('audit', () => {
  it('what the policy of a pod denies passes and is told, for as long as the annotation says so', async () => {
    const annotate = (text: string) => cluster.kubectl('annotate', 'pod', '-n', 'shop', 'backend', text);
    await annotate('policy.axoneme.io/audit=true');
    await becomes('stranger', 'backend', true);
    expect(await audited()).toMatch(/shop\/stranger.*shop\/backend.*policy-verdict:none INGRESS AUDITED/);
    const traced = await policy('trace', '--src', 'shop/stranger', '--dst', 'shop/backend', '--dport', '8080');
    expect(traced).toMatch(/Ingress of shop\/backend: ALLOWED \(audit: the denial is only logged\)/);
    await annotate('policy.axoneme.io/audit-');
    await becomes('stranger', 'backend', false);
  }, 60_000);
});
