/** The policy machine with endpoints, in the engine: what is in force when, in which order, and what stays when something is wrong. */
import { describe, expect, test } from 'vitest';
import type { KubeObject } from '../cluster/events.ts';
import type { Op } from '../datapath/driver.ts';
import type { LocalEndpointRow, PolicyEntryRow } from '../state/tables.ts';
import { cnpObject, PolicyWorld, policySources } from './policy-world.ts';

const ENFORCE_INGRESS = 1;
const AUDIT = 4;

const ready = (policy = {}): PolicyWorld =>
  new PolicyWorld().start(policy).restored([]).node().synced().namespace('shop');

/** The first example: frontend may reach backend on TCP 8080. */
const fromFrontend = {
  endpointSelector: { matchLabels: { app: 'backend' } },
  ingress: [
    {
      fromEndpoints: [{ matchLabels: { app: 'frontend' } }],
      toPorts: [{ ports: [{ port: '8080', protocol: 'TCP' }] }],
    },
  ],
};
const toCidr = (...cidrs: string[]) => ({
  endpointSelector: { matchLabels: { app: 'backend' } },
  egress: [{ toCIDR: cidrs }],
});

const flagsOf = (world: PolicyWorld, id: number): number[] =>
  Object.values(world.rows('bpf.endpoints'))
    .filter((row) => row.id === id)
    .map(({ flags }) => flags);
const names = (ops: readonly Op[], ...tables: string[]): string[] =>
  ops.filter(({ table }) => tables.includes(table)).map(({ action, table, key }) => `${action} ${table} ${key}`);
const first = (names: readonly string[], start: string): number => names.findIndex((name) => name.startsWith(start));

describe('policy in the engine', () => {
  test('the first example: an entry for the frontend, enforced before the pod is wired', () => {
    const world = ready();
    world.cnp('shop/backend', fromFrontend);
    world.pod('shop/front', { app: 'frontend' });
    const id = world.pod('shop/back', { app: 'backend' });
    expect(world.state('shop/back')).toBe('ready');
    expect(world.entries(id)).toMatchObject({ [`ingress|${world.identity('shop/front')}|TCP|8080`]: 'allow' });
    expect(flagsOf(world, id)).toEqual([ENFORCE_INGRESS, ENFORCE_INGRESS]);
    const rows = Object.values(world.rows('bpf.policy')) as PolicyEntryRow[];
    expect(rows.every(({ cookie }) => cookie !== 0)).toBe(true);
    expect(rows.flatMap(({ origins }) => origins)).toContain('CiliumNetworkPolicy/shop/backend');
  });

  test('a peer that comes later gets its entry in the plan that gives it its address, before it', () => {
    const world = ready();
    world.cnp('shop/backend', fromFrontend);
    const id = world.pod('shop/back', { app: 'backend' });
    const before = Object.keys(world.entries(id)).length;
    world.pod('shop/front', { app: 'frontend' });
    expect(Object.keys(world.entries(id)).length).toBe(before + 1);
  });

  test('rows come in the order maps, entries, identities of addresses, endpoints', () => {
    const world = ready();
    world.cnp('shop/backend', fromFrontend);
    world.pod('shop/front', { app: 'frontend' });
    world.label('shop/back', { app: 'backend' });
    const ops = names(
      world.say({
        ...{ type: 'cni.add', requestId: 'r', containerId: 'c', ifname: 'eth0', netns: '/run/netns/x', endpointId: 7 },
        ...{ podNamespace: 'shop', podName: 'back', podUid: 'uid-shop/back' },
      }),
      'bpf.policy-maps',
      'bpf.policy',
      'bpf.ipcache',
      'bpf.endpoints',
    );
    const order = ['put bpf.policy-maps 7', 'put bpf.policy 7|', 'put bpf.ipcache 10.', 'put bpf.endpoints 10.'];
    const places = order.map((start) => first(ops, start));
    expect(places).not.toContain(-1);
    expect(places).toEqual([...places].sort((a, b) => a - b));
  });

  test('a new endpoint waits by name until everything is listed', () => {
    const world = new PolicyWorld().start().restored([]).node().namespace('shop');
    for (const source of policySources)
      if (source !== 'kube/networkpolicies') world.say({ type: 'source.synced', source });
    const id = world.pod('shop/back', { app: 'backend' });
    expect(world.state('shop/back')).toBe('awaiting-policy');
    expect(world.rows('bpf.endpoints')).toEqual({});
    world.cnp('shop/backend', fromFrontend);
    world.say({ type: 'source.synced', source: 'kube/networkpolicies' });
    expect(world.state('shop/back')).toBe('ready');
    expect(flagsOf(world, id)).toEqual([ENFORCE_INGRESS, ENFORCE_INGRESS]);
  });

  test('a restored endpoint keeps what it enforced until everything is listed', () => {
    const row: LocalEndpointRow = {
      ...{ endpointId: 7, containerId: 'c-shop-back', netns: '/run/netns/back', ifname: 'eth0', link: 'lxc1' },
      ...{ mac: '02:00:00:00:00:07', podNamespace: 'shop', podName: 'back', podUid: 'uid-shop/back', ipv6: '' },
      ...{ ipv4: '10.0.0.7', identity: 1000, labels: ['k8s:app=backend', 'k8s:io.kubernetes.pod.namespace=shop'] },
      ...{ gateway4: '10.0.0.1', gateway6: '', mtu: 1500, flags: ENFORCE_INGRESS },
    };
    const world = new PolicyWorld().start();
    const entry = { deny: false, precedence: 1, cookie: 5, origins: ['x'] };
    world.say({ type: 'observed', table: 'bpf.policy-maps', changes: [{ key: '7', value: { entriesMax: 2000 } }] });
    world.say({ type: 'observed', table: 'bpf.policy', changes: [{ key: '7|ingress|999|TCP|80', value: entry }] });
    world.restored([row]).node();
    expect(world.rows('bpf.endpoints')['10.0.0.7']?.flags).toBe(ENFORCE_INGRESS);
    expect(world.entries(7)).toEqual({ 'ingress|999|TCP|80': 'allow' });
    world.synced();
    expect(world.entries(7)).toEqual({});
    expect(world.rows('bpf.endpoints')['10.0.0.7']?.flags).toBe(0);
  });

  test('identities of CIDRs keep their numbers over restarts; those that nobody names go', () => {
    const world = new PolicyWorld().start();
    const kept = 2 ** 24 + 42;
    world
      .restored([], { '198.51.100.0/24': kept, '203.0.113.0/24': 2 ** 24 + 43 })
      .node()
      .namespace('shop');
    world.cnp('shop/out', toCidr('198.51.100.0/24'));
    const id = world.pod('shop/back', { app: 'backend' });
    world.synced();
    expect(world.rows('bpf.ipcache')['198.51.100.0/24']?.identity).toBe(kept);
    expect(world.rows('bpf.ipcache')['203.0.113.0/24']).toBeUndefined();
    expect(world.entries(id)).toMatchObject({ [`egress|${kept}|ANY|*`]: 'allow' });
  });

  test('the identity of a CIDR is in the maps before the policy that names it, and goes after it', () => {
    const world = ready();
    world.cnp('shop/out', toCidr('198.51.0.0/16'));
    const id = world.pod('shop/back', { app: 'backend' });
    const wide = world.rows('bpf.ipcache')['198.51.0.0/16']?.identity;
    const added = world.cnp('shop/out2', {
      ...toCidr('198.51.100.0/24'),
      egressDeny: [{ toCIDR: ['198.51.100.0/24'] }],
    });
    const narrow = world.rows('bpf.ipcache')['198.51.100.0/24']?.identity;
    const ops = names(added, 'bpf.policy', 'bpf.ipcache');
    // Under the old policy the new identity is allowed as part of the wide one, and only then denied.
    expect(ops).toEqual([
      `put bpf.policy ${id}|egress|${narrow}|ANY|*`,
      'put bpf.ipcache 198.51.100.0/24',
      `put bpf.policy ${id}|egress|${narrow}|ANY|*`,
    ]);
    expect(world.entries(id)).toMatchObject({ [`egress|${wide}|ANY|*`]: 'allow', [`egress|${narrow}|ANY|*`]: 'deny' });
    const removed = names(
      world.delete('ciliumnetworkpolicies', cnpObject('shop/out2', {})),
      'bpf.policy',
      'bpf.ipcache',
    );
    expect(removed).toEqual([
      `put bpf.policy ${id}|egress|${narrow}|ANY|*`,
      'delete bpf.ipcache 198.51.100.0/24',
      `delete bpf.policy ${id}|egress|${narrow}|ANY|*`,
    ]);
  });

  test('an endpoint whose entries exceed its map keeps its last good ones and says so; what fits again is in force', () => {
    const world = ready({ entriesMax: 3 });
    const ports = (...list: number[]) => ({
      endpointSelector: { matchLabels: { app: 'backend' } },
      ingress: [
        {
          fromEntities: ['world'],
          toPorts: [{ ports: list.map((port) => ({ port: String(port), protocol: 'TCP' })) }],
        },
      ],
    });
    world.cnp('shop/backend', ports(80));
    const id = world.pod('shop/back', { app: 'backend' });
    const before = world.entries(id);
    world.cnp('shop/backend', ports(81, 83, 85, 87, 89, 91));
    expect(world.entries(id)).toEqual(before);
    const context = world.engine.machine('endpoint/c-shop-back/eth0')?.context as { policyProblem: string };
    expect(context.policyProblem).toMatch(/^its policies come to \d+ entries, its map has room for 3/);
    const fresh = world.pod('shop/back2', { app: 'backend' });
    expect([world.entries(fresh), flagsOf(world, fresh)]).toEqual([{}, [3, 3]]);
    world.cnp('shop/backend', ports(81));
    expect(Object.keys(world.entries(id)).every((key) => key.endsWith('|81'))).toBe(true);
    expect(world.entries(fresh)).toEqual(world.entries(id));
    expect(flagsOf(world, fresh)).toEqual([ENFORCE_INGRESS, ENFORCE_INGRESS]);
  });

  test('an object that is not valid leaves its last valid version in force, and is remembered', () => {
    const world = ready();
    world.cnp('shop/backend', fromFrontend);
    world.pod('shop/front', { app: 'frontend' });
    const id = world.pod('shop/back', { app: 'backend' });
    const before = world.entries(id);
    world.cnp('shop/backend', { endpointSelector: {}, ingress: [{ fromCIDR: ['not a CIDR'] }] });
    expect(world.entries(id)).toEqual(before);
    expect(world.rows('kube.status')['ciliumnetworkpolicies/shop/backend']?.status).toMatchObject({
      conditions: [{ type: 'Valid', status: 'False', reason: 'PolicyInvalid' }],
    });
    const remembered = world.rows('local.policies');
    expect(Object.keys(remembered)).toEqual(['CiliumNetworkPolicy/shop/backend']);
    world.cnp('shop/backend', fromFrontend);
    expect(world.rows('local.policies')).toEqual(remembered);
    expect(world.rows('kube.status')['ciliumnetworkpolicies/shop/backend']?.status).toMatchObject({
      conditions: [{ type: 'Valid', status: 'True' }],
    });

    const again = new PolicyWorld().start();
    again.say({ type: 'local.restored', endpoints: [], policies: Object.values(remembered) });
    again.node().namespace('shop');
    again.cnp('shop/backend', { endpointSelector: {}, ingress: [{ fromCIDR: ['not a CIDR'] }] });
    again.synced();
    const backend = again.pod('shop/back', { app: 'backend' });
    again.pod('shop/front', { app: 'frontend' });
    expect(again.entries(backend)).toMatchObject({ [`ingress|${again.identity('shop/front')}|TCP|8080`]: 'allow' });
  });

  test('an identity goes that one pod let in and another did not reach: its entries go, and there is an end of it', () => {
    const world = ready();
    const ghost = { endpointSelector: {}, ingress: [{ fromEndpoints: [{ matchLabels: { app: 'ghost' } }] }] };
    world.cnp('shop/in', ghost);
    world.cnp('shop/out', {
      ...{ endpointSelector: {}, egress: [{ toEntities: ['all'] }] },
      egressDeny: [{ toEndpoints: [{ matchLabels: { app: 'ghost' } }] }],
    });
    const id = world.pod('shop/back', { app: 'backend' });
    world.pod('shop/ghost', { app: 'ghost' });
    const identity = world.identity('shop/ghost');
    const object = world.identities.find(({ metadata }) => metadata.name === String(identity)) as KubeObject;
    expect(world.entries(id)).toMatchObject({
      [`ingress|${identity}|ANY|*`]: 'allow',
      [`egress|${identity}|ANY|*`]: 'deny',
    });
    world.remove('shop/ghost');
    world.delete('ciliumidentities', object);
    expect(world.engine.machine('policy')?.state).toBe('steady');
    expect(Object.keys(world.entries(id)).filter((key) => key.includes(`|${identity}|`))).toEqual([]);
  });

  test('a label change gives another identity: what is allowed before and after has its entry all the time', () => {
    const world = ready();
    world.cnp('shop/backend', fromFrontend);
    world.pod('shop/front', { app: 'frontend', version: 'v1' });
    const id = world.pod('shop/back', { app: 'backend' });
    const old = world.identity('shop/front');
    world.slow = true;
    world.label('shop/front', { app: 'frontend', version: 'v2' });
    expect(world.identity('shop/front')).toBe(old);
    const ops = names(world.grant(), 'bpf.policy', 'bpf.ipcache', 'bpf.endpoints');
    const now = world.identity('shop/front');
    expect(now).not.toBe(old);
    expect(ops[0]).toBe(`put bpf.policy ${id}|ingress|${now}|TCP|8080`);
    expect(ops.some((name) => name.startsWith(`delete bpf.policy ${id}|ingress|${old}|`))).toBe(false);
    expect(world.rows('bpf.ipcache')['10.0.0.2/32']?.identity).toBe(now);
  });

  test('an API server that is slow to give identities: the endpoint waits for it, and is not there without policy', () => {
    const world = ready();
    world.slow = true;
    world.pod('shop/back', { app: 'backend' });
    expect(world.state('shop/back')).toBe('created');
    expect(world.rows('bpf.endpoints')).toEqual({});
    world.grant();
    expect(world.state('shop/back')).toBe('ready');
  });

  test('named ports: of the subject for ingress, of each peer for egress', () => {
    const world = ready();
    const port = (name: string, containerPort: number) => ({ ports: [{ name, containerPort, protocol: 'TCP' }] });
    world.cnp('shop/named', {
      endpointSelector: {},
      ingress: [{ toPorts: [{ ports: [{ port: 'web', protocol: 'TCP' }] }] }],
      egress: [{ toEndpoints: [{}], toPorts: [{ ports: [{ port: 'web', protocol: 'TCP' }] }] }],
    });
    const a = world.pod('shop/a', { app: 'a' }, port('web', 8080));
    world.pod('shop/b', { app: 'b' }, port('web', 9090));
    expect(world.entries(a)).toMatchObject({ 'ingress|0|TCP|8080': 'allow' });
    expect(world.entries(a)).toMatchObject({ [`egress|${world.identity('shop/b')}|TCP|9090`]: 'allow' });
  });

  test('enforcement always, never; audit of a node and of a pod', () => {
    const flags = (policy: object, annotations: Record<string, string> = {}) => {
      const world = ready(policy);
      world.cnp('shop/backend', fromFrontend);
      const id = world.pod('shop/back', { app: 'backend' }, {}, { annotations });
      return flagsOf(world, id)[0];
    };
    expect(flags({ enforcement: 'always' })).toBe(3);
    expect(flags({ enforcement: 'never' })).toBe(0);
    expect(flags({ audit: true })).toBe(ENFORCE_INGRESS | AUDIT);
    expect(flags({}, { 'policy.axoneme.io/audit': 'true' })).toBe(ENFORCE_INGRESS | AUDIT);
  });

  test('a host policy: entries under the number of the host, and its place among endpoints', () => {
    const world = new PolicyWorld().start({ hostFirewall: true }).restored([]).node({ role: 'edge' }).synced();
    expect(world.rows('bpf.endpoints')['0.0.0.0']?.flags).toBe(0);
    world.upsert('ciliumclusterwidenetworkpolicies', {
      apiVersion: 'cilium.io/v2',
      kind: 'CiliumClusterwideNetworkPolicy',
      metadata: { name: 'edge' },
      spec: {
        nodeSelector: { matchLabels: { role: 'edge' } },
        ingress: [{ fromEntities: ['world'], toPorts: [{ ports: [{ port: '22', protocol: 'TCP' }] }] }],
      },
    });
    expect(world.rows('bpf.endpoints')['0.0.0.0']).toMatchObject({ id: 65_536, identity: 1, flags: ENFORCE_INGRESS });
    expect(Object.keys(world.entries(65_536)).some((key) => key.endsWith('|TCP|22'))).toBe(true);
  });

  test('a pod that goes takes its map and entries along, after its endpoint', () => {
    const world = ready();
    world.cnp('shop/backend', fromFrontend);
    world.pod('shop/front', { app: 'frontend' });
    const id = world.pod('shop/back', { app: 'backend' });
    const ops = names(world.remove('shop/back'), 'bpf.policy-maps', 'bpf.policy', 'bpf.endpoints');
    expect(first(ops, 'delete bpf.endpoints')).toBeLessThan(first(ops, `delete bpf.policy ${id}|`));
    expect(ops.at(-1)).toBe(`delete bpf.policy-maps ${id}`);
    expect(world.entries(id)).toEqual({});
  });

  test('rows that the kernel refuses are tried again', () => {
    const world = ready();
    world.pod('shop/front', { app: 'frontend' });
    const id = world.pod('shop/back', { app: 'backend' });
    world.refuse = ({ table }) => table === 'bpf.policy';
    world.cnp('shop/backend', fromFrontend);
    expect(world.engine.machine('policy')?.state).toBe('failing');
    world.refuse = () => false;
    world.say({ type: 'timer.fired', key: 'policy/retry' });
    expect(world.engine.machine('policy')?.state).toBe('steady');
    expect(world.entries(id)).toMatchObject({ [`ingress|${world.identity('shop/front')}|TCP|8080`]: 'allow' });
  });

  test('services: without a selector the addresses of their slices, and the agent hears of services only then', () => {
    const world = ready();
    expect(world.engine.machine('policy')?.topics).not.toContain('every/services');
    const id = world.pod('shop/back', { app: 'backend' });
    world.cnp('shop/out', {
      endpointSelector: { matchLabels: { app: 'backend' } },
      egress: [{ toServices: [{ k8sService: { serviceName: 'db', namespace: 'shop' } }] }],
    });
    expect(world.engine.machine('policy')?.topics).toContain('every/services');
    const meta = { namespace: 'shop', name: 'db' };
    world.upsert('services', { apiVersion: 'v1', kind: 'Service', metadata: meta, spec: {} });
    world.upsert('endpointslices', {
      ...{ apiVersion: 'discovery.k8s.io/v1', kind: 'EndpointSlice', addressType: 'IPv4' },
      metadata: { namespace: 'shop', name: 'db-1', labels: { 'kubernetes.io/service-name': 'db' } },
      endpoints: [{ addresses: ['203.0.113.7'] }],
    });
    const identity = world.rows('bpf.ipcache')['203.0.113.7/32']?.identity;
    expect(world.entries(id)).toMatchObject({ [`egress|${identity}|ANY|*`]: 'allow' });
  });
});
