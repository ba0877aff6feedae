/** Entity kube-apiserver with real packets: a pod that may reach only it, and one that may reach the world but not it. */
import { afterAll, beforeAll, expect, it } from 'vitest';
import { AXONEME, commandPod, EmbeddedCluster, leftovers, namespaceOf, run, until } from './embedded.ts';

const name = `axt-${process.pid}-api`;
let cluster: EmbeddedCluster;
/** Where it really is, and the ClusterIP of the service in front of it. */
let targets: string[];

const policy = (pod: string, spec: string): string => `apiVersion: cilium.io/v2
kind: CiliumNetworkPolicy
metadata: {name: ${pod}, namespace: demo}
spec:
  endpointSelector: {matchLabels: {app: ${pod}}}
${spec}
---
`;

beforeAll(async () => {
  const pods = ['operator', 'browser'].map((pod) => commandPod('demo', pod, ['sleep', 'infinity']));
  const policies = [
    policy('operator', '  egress: [{toEntities: [kube-apiserver]}]'),
    policy('browser', '  egress: [{toEntities: [world]}]\n  egressDeny: [{toEntities: [kube-apiserver]}]'),
  ];
  cluster = await EmbeddedCluster.up(name, namespaceOf('demo') + pods.join('') + policies.join(''));
  const service = await cluster.core.readNamespacedService({ namespace: 'default', name: 'kubernetes' });
  const slice = await cluster.kubectl('get', 'endpointslices', '-n', 'default', '-o', 'json');
  const { items } = JSON.parse(slice.stdout) as {
    items: { endpoints: { addresses: string[] }[]; ports: { port: number }[] }[];
  };
  const direct = items.flatMap(({ endpoints, ports }) =>
    endpoints.flatMap(({ addresses }) => addresses.map((address) => `https://${address}:${ports[0]?.port}/version`)),
  );
  targets = [...direct, `https://${service.spec?.clusterIP}:443/version`];
}, 90_000);
afterAll(async () => {
  await cluster?.down();
  expect(await leftovers(name)).toEqual([]);
}, 90_000);

const reaches = async (pod: string, url: string): Promise<boolean> =>
  (await cluster.exec(`demo/${pod}`, ['curl', '-ksS', '-m', '2', '-o', '/dev/null', url])).code === 0;

it('lets through whom it lets through, directly and by the service', async () => {
  expect(targets.length).toBeGreaterThan(1);
  await until(
    'policies in force',
    20_000,
    async () => !(await reaches('operator', 'http://203.0.113.10/')) || undefined,
  );
  for (const url of targets) {
    expect(await reaches('operator', url), url).toBe(true);
    expect(await reaches('browser', url), url).toBe(false);
  }
  expect(await reaches('browser', 'http://203.0.113.10/')).toBe(true);
}, 60_000);

it('keeps its identity over a restart of the agent', async () => {
  const identity = async (): Promise<string> =>
    (
      await run(AXONEME, [
        'observe',
        '--name',
        name,
        '--last',
        '1',
        '--from-pod',
        'demo/operator',
        '--port',
        '6443',
        '-o',
        'json',
      ])
    ).stdout;
  const seen = async (): Promise<{ identity: number; labels: string[] }> => {
    const text = await until('a flow to it', 20_000, async () => {
      await reaches('operator', targets[0] ?? '');
      return (await identity()) || undefined;
    });
    return (JSON.parse(text) as { flow: { destination: { identity: number; labels: string[] } } }).flow.destination;
  };
  const before = await seen();
  expect(before.identity >>> 24).toBe(1);
  expect(before.labels).toContain('reserved:kube-apiserver');
  for (const pid of cluster.agentPids()) process.kill(pid, 'SIGKILL');
  expect((await seen()).identity).toBe(before.identity);
  expect(await reaches('browser', targets[0] ?? '')).toBe(false);
}, 60_000);
