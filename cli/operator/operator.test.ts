/** Operators on an API server: identities that nobody uses are marked, and go after a grace period; one of several operators acts. */

import type { AddressInfo } from 'node:net';
import { KubeConfig } from '@kubernetes/client-node';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { type ApiServer, startApiServer } from '../../cluster/api-server/index.ts';
import type { ResourceHandle } from '../../cluster/api-server/resource-handle.ts';
import type { KubeObject } from '../../cluster/events.ts';
import { UNUSED_SINCE } from '../../cluster/identity-sweep.ts';
import { startOperatorMetrics } from '../../observe/metrics/operator-metrics.ts';
import { sleep, until } from '../../simulations/stories/embedded.ts';
import { type Operator, type OperatorOptions, startOperator } from './operator.ts';

const PATIENCE_MS = 20_000;
const GRACE_MS = 1_500;

let server: ApiServer;
let identities: ResourceHandle;
let endpoints: ResourceHandle;
const running: Operator[] = [];
const said: string[] = [];

beforeAll(async () => {
  server = await startApiServer({
    listeners: [{ host: '127.0.0.1', port: 0 }],
    tls: false,
    token: 't',
    database: ':memory:',
  });
  identities = server.store.resource('ciliumidentities');
  endpoints = server.store.resource('ciliumendpoints');
});
afterAll(async () => {
  for (const operator of running) await operator.stop();
  await server.close();
});

function operator(holder: string, graceMs = GRACE_MS, onSweep?: OperatorOptions['onSweep']): Operator {
  const kubeConfig = new KubeConfig();
  kubeConfig.loadFromString(server.kubeconfig());
  const times = { leaseMs: 1_000, sweepIntervalMs: 50, policyIntervalMs: 50, graceMs };
  const started = startOperator({
    kubeConfig,
    holder,
    namespace: 'kube-system',
    ...times,
    log: (line) => said.push(line),
    ...(onSweep && { onSweep }),
  });
  running.push(started);
  return started;
}

const identity = (name: string) =>
  identities.create({
    apiVersion: 'cilium.io/v2',
    kind: 'CiliumIdentity',
    metadata: { name },
    'security-labels': { 'k8s:app': name },
  });
const use = (name: string, id: number) =>
  endpoints.create({
    apiVersion: 'cilium.io/v2',
    kind: 'CiliumEndpoint',
    metadata: { name, namespace: 'default' },
    status: { id: 1, identity: { id, labels: [] } },
  });
const there = (): string[] =>
  identities
    .list('')
    .map(({ metadata }) => metadata.name)
    .sort();
const markOf = (name: string): string | undefined =>
  identities.list('').find(({ metadata }) => metadata.name === name)?.metadata.annotations?.[UNUSED_SINCE];
interface LeaseSpec {
  holderIdentity?: string;
  renewTime?: string;
}
const leaseSpec = (): LeaseSpec | undefined =>
  (server.store.resource('leases').list('kube-system')[0] as { spec?: LeaseSpec } | undefined)?.spec;

test('what nobody uses is marked and goes, what is used or used again stays', async () => {
  for (const name of ['1001', '1002', '1003']) identity(name);
  use('a', 1001);
  const first = operator('first', 3_600_000);
  await until('marks', PATIENCE_MS, () => (markOf('1002') && markOf('1003') ? true : undefined));
  expect(markOf('1001')).toBeUndefined();
  use('b', 1002);
  await until('no mark', PATIENCE_MS, () => (markOf('1002') === undefined ? true : undefined));
  await first.stop();
  operator('second');
  await until('1003 gone', PATIENCE_MS, () => (there().includes('1003') ? undefined : true));
  expect(there()).toEqual(['1001', '1002']);
  endpoints.delete('default', 'a');
  await until('1001 gone', PATIENCE_MS, () => (there().includes('1001') ? undefined : true));
  expect(there()).toEqual(['1002']);
});

const endpointOn = (name: string, node: string, ingress: boolean, app = name) => ({
  apiVersion: 'cilium.io/v2',
  kind: 'CiliumEndpoint',
  metadata: { name, namespace: 'shop' },
  status: {
    id: 1,
    identity: { id: 1002, labels: [`k8s:app=${app}`, 'k8s:io.kubernetes.pod.namespace=shop'] },
    networking: { node, addressing: [] },
    policy: { ingress: { enforcing: ingress }, egress: { enforcing: false } },
    state: 'ready',
  },
});

test('a policy says on which nodes it is in force, and of which endpoint it is not', async () => {
  const { store } = server;
  const policies = store.resource('ciliumnetworkpolicies');
  for (const [name, address] of Object.entries({ one: '172.28.1.10', two: '172.28.1.11', three: '172.28.1.12' }))
    store.resource('nodes').create({
      ...{ apiVersion: 'v1', kind: 'Node', metadata: { name } },
      status: { addresses: [{ type: 'InternalIP', address }] },
    });
  store.resource('namespaces').create({ apiVersion: 'v1', kind: 'Namespace', metadata: { name: 'shop' } });
  endpoints.create(endpointOn('db-0', '172.28.1.10', true, 'db'));
  endpoints.create(endpointOn('db-1', '172.28.1.11', false, 'db'));
  endpoints.create(endpointOn('web', '172.28.1.12', true));
  const metadata = { namespace: 'shop', name: 'db' };
  const spec = { endpointSelector: { matchLabels: { app: 'db' } }, ingress: [{}] };
  policies.create({ apiVersion: 'cilium.io/v2', kind: 'CiliumNetworkPolicy', metadata, spec });
  const whenSaid = (nodes: object): Promise<true> =>
    until(`status ${JSON.stringify(nodes)}`, PATIENCE_MS, () => {
      const { status } = policies.find('shop', 'db') as { status?: { nodes?: object } };
      return JSON.stringify(status?.nodes) === JSON.stringify(nodes) || undefined;
    });
  const inForce = { ok: true, enforcing: true };
  await whenSaid({
    one: inForce,
    two: { ok: false, enforcing: false, error: 'shop/db-1 does not enforce ingress' },
  });
  const { status } = endpointOn('db-1', '172.28.1.11', true, 'db');
  const policy = { ingress: { enforcing: true, state: 'audit' } };
  endpoints.updateStatus('shop', 'db-1', { ...status, policy });
  const error = 'shop/db-1 only logs what is denied (audit)';
  await whenSaid({ one: inForce, two: { ok: false, enforcing: false, error } });
  endpoints.updateStatus('shop', 'db-1', status);
  await whenSaid({ one: inForce, two: inForce });
  endpoints.delete('shop', 'db-0');
  await whenSaid({ two: inForce });
  const { resourceVersion } = (policies.find('shop', 'db') as KubeObject).metadata;
  await sleep(300);
  expect((policies.find('shop', 'db') as KubeObject).metadata.resourceVersion).toBe(resourceVersion);
});

test('a policy for nodes says on which of them it is in force: those that say that they enforce such', async () => {
  const { store } = server;
  const announce = (name: string, firewall: boolean) =>
    store.resource('ciliumnodes').create({
      ...{ apiVersion: 'cilium.io/v2', kind: 'CiliumNode', spec: {} },
      metadata: { name, annotations: { 'policy.axoneme.io/host-firewall': String(firewall) } },
    });
  announce('one', true);
  announce('two', false);
  const policies = store.resource('ciliumclusterwidenetworkpolicies');
  const spec = { nodeSelector: {}, ingress: [{ fromEntities: ['cluster'] }] };
  const metadata = { name: 'nodes' };
  policies.create({ apiVersion: 'cilium.io/v2', kind: 'CiliumClusterwideNetworkPolicy', metadata, spec });
  await until('its status', PATIENCE_MS, () => {
    const { status } = policies.find('', 'nodes') as { status?: { nodes?: object } };
    return JSON.stringify(status?.nodes) === JSON.stringify({ one: { ok: true, enforcing: true } }) || undefined;
  });
});

test('one of several leads; when it ends, another does at once', async () => {
  const leader = running[1];
  expect(leaseSpec()?.holderIdentity).toBe('second');
  const metrics = await startOperatorMetrics('127.0.0.1:0', '1.2', () => third.isLeader);
  const { port } = metrics.server.address() as AddressInfo;
  const measured = async (): Promise<string> => (await fetch(`http://127.0.0.1:${port}/metrics`)).text();
  const third = operator('third', GRACE_MS, metrics.count);
  const before = leaseSpec()?.renewTime;
  await until(
    'renewals',
    PATIENCE_MS,
    () => Date.parse(leaseSpec()?.renewTime ?? '') > Date.parse(before ?? '') + 1_500 || undefined,
  );
  expect(leaseSpec()).toMatchObject({ holderIdentity: 'second', leaseDurationSeconds: 1 });
  expect(said.join('\n')).not.toContain('third leads');
  expect(await measured()).toContain('axoneme_operator_leads 0\n');
  await leader?.stop();
  await until('the third leads', PATIENCE_MS, () => (leaseSpec()?.holderIdentity === 'third' ? true : undefined));
  identity('1004');
  await until('1004 gone', PATIENCE_MS, () => (there().includes('1004') ? undefined : true));
  const alive = `cilium_operator_identity_gc_entries{status="alive"} ${there().length}\n`;
  const text = await until('it was counted', PATIENCE_MS, async () => {
    const all = await measured();
    return all.includes(alive) ? all : undefined;
  });
  expect(text).toContain('axoneme_operator_leads 1\n');
  expect(text).toContain('cilium_operator_version{version="1.2",arch="x64"} 1\n');
  expect(text).toMatch(/^cilium_operator_identity_gc_runs\{outcome="success"\} [1-9]/m);
  metrics.server.close();
});
