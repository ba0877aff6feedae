/** What every machine must be: pure, JSON all through, without clocks or children, and without unreachable states. */
import { describe, expect, it } from 'vitest';
import type { AnyMachineSnapshot } from 'xstate';
import type { KubeObject } from '../cluster/events.ts';
import { canonical, type LocalEndpointRow } from '../state/tables.ts';
import { EXHAUSTED } from './identity.ts';
import { kinds } from './kinds.ts';
import type { Kind, Message } from './machine.ts';
import { worldsOfNodes } from './node-fixtures.ts';
import { policySources } from './policy.ts';
import type { ServiceNodeFact } from './service-node.ts';
import { initialTransition, transition } from './transition.ts';

const at = 1_000;
const agent = {
  type: 'agent.started' as const,
  at,
  config: {
    nodeName: 'n1',
    clusterName: 'default',
    devices: [],
    ipv4: true,
    ipv6: true,
    masquerade: true,
    mtu: 0,
    datapathBuild: 'b1',
  },
};
const policed = {
  ...agent,
  config: {
    ...agent.config,
    policy: {
      enforcement: 'default' as const,
      audit: false,
      hostFirewall: true,
      allowLocalhost: true,
      entriesMax: 3,
      identityChangeGraceMs: 5,
    },
  },
};
const object = (kind: string, name: string, more: object, namespace?: string) => ({
  apiVersion: 'v1',
  kind,
  metadata: { name, ...(namespace && { namespace }), ...more },
});
const upserted = (resource: string, o: object) =>
  ({ type: 'kube.upserted', resource, object: o, at }) as unknown as Message;
const link = {
  name: 'eth0',
  kind: '',
  mac: '02:00:00:00:00:01',
  mtu: 1500,
  up: true,
  addresses: ['192.0.2.1/24', '2001:db8::1/64'],
  defaultRoute: true,
};
const add = {
  type: 'cni.add' as const,
  at,
  requestId: 'r1',
  containerId: 'c1',
  netns: '/run/netns/p',
  ifname: 'eth0',
  podNamespace: 'demo',
  podName: 'web',
  podUid: 'u1',
  endpointId: 7,
};
const del = { type: 'cni.del' as const, at, requestId: 'r2', containerId: 'c1', ifname: 'eth0' };
const node = {
  ...object('Node', 'n1', {}),
  spec: { podCIDRs: ['10.244.0.0/29', 'fd00:244::/64'] },
  status: { addresses: [{ type: 'InternalIP', address: '192.0.2.1' }] },
};
const failed = (retryable: boolean, errno = 'EBUSY'): Message => ({
  type: 'failed',
  at,
  table: 'links',
  key: 'lxc1',
  error: { kind: 'kernel', errno, message: 'links lxc1: busy', retryable },
});
const restored: LocalEndpointRow = {
  ...{
    endpointId: 9,
    containerId: 'c9',
    netns: '/run/netns/q',
    ifname: 'eth0',
    link: 'lxc9',
    mac: '02:00:00:00:00:09',
  },
  ...{ podNamespace: 'demo', podName: 'old', podUid: 'u9', ipv4: '10.244.0.5', ipv6: 'fd00:244::5', identity: 300 },
  ...{ labels: [], gateway4: '10.244.0.1', gateway6: 'fd00:244::1', mtu: 1500 },
};
const labels = 'k8s:io.cilium.k8s.policy.cluster=default;k8s:io.kubernetes.pod.namespace=demo;';

/** For each kind: births, and an alphabet rich enough to reach every state. */
const worlds: Record<string, { inputs: unknown[]; prelude?: Message[]; alphabet: Message[]; limit?: number }> = {
  'ip-pool': {
    inputs: [{ nodeName: 'n1', ipv4: true, ipv6: true }],
    alphabet: [
      { type: 'local.restored', at, endpoints: [restored] },
      upserted('nodes', node),
      { type: 'address.request', at, owner: 'endpoint/a' },
      { type: 'address.request', at, owner: 'endpoint/b' },
      { type: 'address.release', at, owner: 'endpoint/a' },
    ],
  },
  node: {
    inputs: [{ agent: agent.config }],
    alphabet: [
      upserted('nodes', node),
      {
        type: 'fact',
        at,
        topic: 'ip-pool/default',
        from: 'ip-pool/default',
        value: { cidr4: '10.244.0.0/24', cidr6: '', gateway4: '10.244.0.1', gateway6: '' },
      },
      { type: 'settled', at },
      failed(true),
      { type: 'timer.fired', at, key: 'node/local/retry' },
    ],
  },
  device: {
    inputs: [{ key: 'device/eth0', link }],
    alphabet: [
      agent,
      { type: 'link.upserted', at, link: { ...link, defaultRoute: false } },
      { type: 'settled', at },
      failed(true),
      { type: 'timer.fired', at, key: 'device/eth0/retry' },
      { type: 'link.deleted', at, name: 'eth0' },
    ],
  },
  identity: {
    inputs: [{ key: `identity/${labels}` }, { key: 'identity/reserved:health=;' }],
    alphabet: [
      { type: 'source.synced', at, source: 'kube/ciliumidentities' },
      upserted('ciliumidentities', object('CiliumIdentity', '300', {})),
      { type: 'kube.deleted', at, resource: 'ciliumidentities', object: object('CiliumIdentity', '300', {}) },
      failed(true),
      failed(true, EXHAUSTED),
      { type: 'timer.fired', at, key: 'x' },
      { type: 'unwanted', at },
    ],
  },
  endpoint: {
    inputs: [
      { key: 'endpoint/c1/eth0', why: 'add', request: add, at },
      { key: 'endpoint/c1/eth0', why: 'del', request: del },
      { key: 'endpoint/c9/eth0', why: 'restored', row: restored },
    ],
    alphabet: [
      agent,
      policed,
      {
        type: 'fact',
        at,
        topic: 'policy/endpoint/7',
        from: 'policy',
        value: { identity: 301, ingress: true, egress: false, audit: false, problem: '' },
      },
      upserted('pods', object('Pod', 'web', { uid: 'u1' }, 'demo')),
      upserted('namespaces', object('Namespace', 'demo', {})),
      {
        type: 'fact',
        at,
        topic: 'node/local',
        from: 'node/local',
        value: { gateway4: '10.244.0.1', gateway6: 'fd00:244::1', mtu: 1500 },
      },
      {
        type: 'fact',
        at,
        topic: `identity/${labels}`,
        from: `identity/${labels}`,
        value: { identity: 301, problem: '', sinceMs: at },
      },
      { type: 'address.granted', at, ipv4: '10.244.0.2', ipv6: 'fd00:244::2' },
      { type: 'address.refused', at, reason: 'exhausted' },
      { type: 'settled', at },
      failed(true),
      failed(false),
      { type: 'timer.fired', at: at + 60_000, key: 'endpoint/c1/eth0/wake' },
      { type: 'timer.fired', at: at + 5, key: 'endpoint/c9/eth0/identity' },
      { ...add, requestId: 'r9' },
      del,
    ],
  },
};

const serviceFacts: ServiceNodeFact = {
  nodeName: 'n1',
  zone: 'z1',
  ipv4: true,
  ipv6: true,
  mode: 'strict',
  nodePort: true,
  externalIPs: true,
  hostPort: true,
  healthPorts: true,
  forwarding: 'snat',
  loadBalancerClasses: [],
  maglevSize: 0,
  addresses: ['127.0.0.1', '192.0.2.1'],
};
const ofServiceNode = (value: unknown): Message => ({
  type: 'fact',
  at,
  topic: 'service-node/local',
  from: 'service-node/local',
  value,
});
const web = {
  ...object('Service', 'web', { uid: 's1', creationTimestamp: '2026-01-02T00:00:00Z' }, 'demo'),
  spec: { clusterIPs: ['10.96.0.1'], ports: [{ port: 80 }], externalIPs: ['203.0.113.1'] },
};
const slice = (conditions: object) => ({
  ...object('EndpointSlice', 'web-1', { labels: { 'kubernetes.io/service-name': 'web' } }, 'demo'),
  addressType: 'IPv4',
  ports: [{ name: '', port: 8080, protocol: 'TCP' }],
  endpoints: [{ addresses: ['10.0.0.1'], conditions }],
});
const claim = (key: string, value: unknown): Message => ({
  type: 'fact',
  at,
  topic: `frontend/${key}`,
  from: 'service/demo/older',
  value,
});
const rival = { type: 'ExternalIP', owner: 'demo/older', created: '2026-01-01T00:00:00Z', leaving: false };
const hostPortPod = {
  ...object('Pod', 'web', { uid: 'u1', creationTimestamp: '2026-01-02T00:00:00Z' }, 'demo'),
  spec: { containers: [{ ports: [{ containerPort: 80, hostPort: 8080 }] }] },
  status: { phase: 'Running', podIPs: [{ ip: '10.0.0.1' }] },
};
Object.assign(worlds, {
  'service-node': {
    inputs: [{ agent: agent.config }],
    alphabet: [
      ...['kube/services', 'kube/endpointslices', 'kube/nodes', 'links'].map((source) => ({
        type: 'source.synced',
        at,
        source,
      })),
      upserted('nodes', node),
      {
        type: 'fact',
        at,
        topic: 'devices',
        from: 'device/eth0',
        value: { name: 'eth0', addresses: ['192.0.2.1', '2001:db8::1'] },
      },
    ],
  },
  service: {
    limit: 500,
    inputs: [{ key: 'service/demo/web' }],
    alphabet: [
      ofServiceNode(serviceFacts),
      upserted('services', web),
      upserted('services', { ...web, spec: { clusterIP: 'None' } }),
      { type: 'kube.deleted', at, resource: 'services', object: web },
      upserted('endpointslices', slice({})),
      upserted('endpointslices', slice({ ready: false, serving: true, terminating: true })),
      { type: 'kube.deleted', at, resource: 'endpointslices', object: slice({}) },
      claim('203.0.113.1:80/TCP', rival),
      claim('203.0.113.1:80/TCP', undefined),
      { type: 'settled', at },
      failed(true),
      { type: 'timer.fired', at, key: 'service/demo/web/retry' },
    ],
  },
  'host-port': {
    limit: 500,
    inputs: [{ key: 'host-port/demo/web' }],
    alphabet: [
      ofServiceNode(serviceFacts),
      upserted('pods', hostPortPod),
      upserted('pods', { ...hostPortPod, status: { phase: 'Succeeded' } }),
      { type: 'kube.deleted', at, resource: 'pods', object: hostPortPod },
      claim('127.0.0.1:8080/TCP', { ...rival, type: 'NodePort' }),
      { type: 'settled', at },
      failed(true),
      { type: 'timer.fired', at, key: 'host-port/demo/web/retry' },
    ],
  },
});

const policyObject = (name: string, spec: unknown): KubeObject =>
  ({ ...object('CiliumNetworkPolicy', name, {}, 'demo'), spec }) as unknown as KubeObject;
const outTo = (...cidrs: string[]) => policyObject('out', { endpointSelector: {}, egress: [{ toCIDR: cidrs }] });
const subject = { endpointId: 7, identity: 300, labels: { 'k8s:io.kubernetes.pod.namespace': 'demo' }, namedPorts: [] };
Object.assign(worlds, {
  policy: {
    inputs: [{ agent: policed.config }],
    prelude: [
      { type: 'local.restored', at, endpoints: [], cidrIdentities: { '192.0.2.0/24': 16_777_300 } },
      ...policySources.slice(1).map((source) => ({ type: 'source.synced', at, source })),
    ],
    limit: 250,
    alphabet: [
      { type: 'source.synced', at, source: policySources[0] },
      { type: 'fact', at, topic: 'policy/subjects', from: 'endpoint/c1/eth0', value: { ...subject, audit: false } },
      {
        ...{ type: 'fact', at, topic: 'policy/subjects', from: 'endpoint/c1/eth0' },
        value: { ...subject, identity: 301, audit: false },
      },
      { type: 'fact', at, topic: 'policy/subjects', from: 'endpoint/c1/eth0', value: undefined },
      upserted('ciliumnetworkpolicies', outTo('198.51.100.0/24')),
      upserted('ciliumnetworkpolicies', outTo('no CIDR')),
      { type: 'kube.deleted', at, resource: 'ciliumnetworkpolicies', object: outTo() },
      upserted('nodes', node),
      { type: 'settled', at },
      failed(true),
      { type: 'timer.fired', at, key: 'policy/retry' },
    ],
  },
});

const apiServerSlice = (...addresses: string[]): KubeObject =>
  ({
    ...object('EndpointSlice', 'kubernetes', { 'kubernetes.io/service-name': 'kubernetes' }, 'default'),
    addressType: 'IPv4',
    endpoints: addresses.map((address) => ({ addresses: [address] })),
    ports: [{ port: 6443 }],
  }) as unknown as KubeObject;
Object.assign(worlds, {
  'api-server': {
    inputs: [{ nodeName: agent.config.nodeName }],
    alphabet: [
      upserted('endpointslices', apiServerSlice('192.0.2.7')),
      upserted('endpointslices', apiServerSlice('nonsense')),
      { type: 'kube.deleted', at, resource: 'endpointslices', object: apiServerSlice() },
      upserted('nodes', node),
    ],
  },
});

Object.assign(worlds, worldsOfNodes(agent.config));

const text = (snapshot: AnyMachineSnapshot): string => canonical([snapshot.value, snapshot.context]);

/** Every snapshot within reach, found breadth first; contexts that grow without end are cut at `limit`. */
function explore(kind: Kind): Map<string, AnyMachineSnapshot> {
  const { inputs, prelude = [], alphabet, limit = 3_000 } = worlds[kind.name] as (typeof worlds)[string];
  const seen = new Map<string, AnyMachineSnapshot>();
  const queue = inputs.map((input) =>
    prelude.reduce(
      (snapshot, message) => transition(kind.logic, snapshot, message)[0],
      initialTransition(kind.logic, input)[0],
    ),
  );
  for (let snapshot = queue.shift(); snapshot && seen.size < limit; snapshot = queue.shift()) {
    if (seen.has(text(snapshot))) continue;
    seen.set(text(snapshot), snapshot);
    if (snapshot.status === 'done') continue;
    for (const message of alphabet) queue.push(transition(kind.logic, snapshot, message)[0]);
  }
  return seen;
}

describe.each(kinds.map((kind) => [kind.name, kind] as const))('machine %s', (name, kind) => {
  const reached = explore(kind);

  it('reaches every one of its states', () => {
    const states = Object.keys(kind.logic.states as object);
    const visited = new Set([...reached.values()].map((snapshot) => String(snapshot.value)));
    expect([...visited].sort()).toEqual(states.sort());
  });

  it('does the same twice, leaves its input alone, and survives JSON', () => {
    for (const snapshot of reached.values()) {
      if (snapshot.status === 'done') continue;
      for (const message of worlds[name]?.alphabet ?? []) {
        const before = text(snapshot);
        const once = transition(kind.logic, snapshot, message)[0];
        const again = transition(kind.logic, snapshot, message)[0];
        expect(text(again)).toBe(text(once));
        expect(text(snapshot)).toBe(before);
        const revived = kind.logic.resolveState({
          value: JSON.parse(JSON.stringify(snapshot.value)),
          context: JSON.parse(JSON.stringify(snapshot.context)),
          status: snapshot.status,
        });
        expect(text(transition(kind.logic, revived, message)[0])).toBe(text(once));
      }
    }
  }, 120_000);

  it('has rows, topics and facts that are functions of the snapshot, with one row for each key', () => {
    for (const snapshot of reached.values()) {
      const rows = kind.rows(snapshot);
      expect(JSON.stringify(kind.rows(snapshot))).toBe(JSON.stringify(rows));
      const keys = rows.map((row) => `${row.table} ${row.key}`);
      expect(new Set(keys).size).toBe(keys.length);
      if (snapshot.status === 'done') expect(rows).toEqual([]);
      expect(new Set(kind.topics(snapshot)).size).toBe(kind.topics(snapshot).length);
    }
  });

  it('invokes nothing, spawns nothing, delays nothing, and limits its microsteps', () => {
    const definition = JSON.stringify(kind.logic.definition);
    expect(definition).not.toMatch(/"invoke":\[\{/);
    expect(definition).not.toMatch(/xstate\.(after|raise|spawn|sendTo|cancel)/);
    expect(kind.logic.options?.maxIterations).toBeGreaterThan(0);
  });
});

it('a transition that is not pure would be seen', () => {
  const [first] = kinds;
  if (!first) throw new Error('no kinds');
  let calls = 0;
  const impure: Kind = { ...first, rows: () => [{ table: 'timers', key: String(calls++), value: { dueMs: 0 } }] };
  const [snapshot] = initialTransition(first.logic, worlds[first.name]?.inputs[0]);
  expect(JSON.stringify(impure.rows(snapshot))).not.toBe(JSON.stringify(impure.rows(snapshot)));
});
