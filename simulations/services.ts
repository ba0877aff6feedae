/**
 * A node's services without a kernel: the real engine and machines, and ops that always succeed.
 *
 * - `say` takes an event to its end and returns the ops that it took; `rows` is what then is in the kernel.
 */
import type { AgentFacts, ClusterEvent, KubeObject, OpDone, ServiceFacts } from '../cluster/events.ts';
import type { Op } from '../datapath/driver.ts';
import { kinds } from '../machines/kinds.ts';
import { Engine } from '../reconcilers/engine.ts';
import type { Step } from '../reconcilers/plan.ts';
import type { TableName, Tables } from '../state/tables.ts';

export const serviceTables = [
  'bpf.backends',
  'bpf.backend-sets',
  'bpf.frontends',
  'bpf.source-ranges',
  'health.checks',
] as const;

const services: ServiceFacts = {
  mode: 'strict',
  socketLB: true,
  nodePort: true,
  externalIPs: true,
  hostPort: true,
  healthPorts: true,
  xdp: 'off',
  forwarding: 'snat',
  algorithm: 'random',
  maglevTableSize: 251,
  nodePortAddresses: [],
  loadBalancerClasses: ['io.cilium/bgp-control-plane'],
  sockHooks: [],
  cgroupRoot: '',
};

export const agentFacts: AgentFacts = {
  nodeName: 'node-1',
  clusterName: 'default',
  devices: ['eth0'],
  ipv4: true,
  ipv6: true,
  masquerade: true,
  mtu: 0,
  datapathBuild: 'b0',
  services,
};

/** An object of the API, its name as `namespace/name`. */
export function kubeObject(kind: string, name: string, fields: object, metadata: object = {}): KubeObject {
  const [namespace, own] = name.split('/') as [string, string];
  return {
    apiVersion: 'v1',
    kind,
    metadata: { namespace, name: own, uid: name, creationTimestamp: '2026-01-01T00:00:00Z', ...metadata },
    ...fields,
  };
}

/** A slice of service `namespace/name`, labelled as its own. */
export function sliceObject(service: string, name: string, fields: object): KubeObject {
  const namespace = service.slice(0, service.indexOf('/'));
  const labels = { 'kubernetes.io/service-name': service.slice(namespace.length + 1) };
  return kubeObject(
    'EndpointSlice',
    `${namespace}/${name}`,
    { addressType: 'IPv4', ports: [{ name: '', port: 8080, protocol: 'TCP' }], ...fields },
    { labels },
  );
}

export class ServiceWorld {
  readonly engine: Engine;
  readonly ops: Op[] = [];
  /** Ops that the kernel has no room for. */
  refuse: (op: Op) => boolean = () => false;
  #seq = 0;
  #passedMs = 0;

  constructor(engine = new Engine(kinds, { rows: () => [], write: () => {} })) {
    this.engine = engine;
  }

  /** `links`: addresses with prefix length of eth0. */
  start(facts: Partial<ServiceFacts> = {}, addresses: readonly string[] = ['192.0.2.1/24', '2001:db8::1/64']): this {
    this.say({ type: 'agent.started', config: { ...agentFacts, services: { ...services, ...facts } } });
    const link = { name: 'eth0', kind: '', mac: '02:00:00:00:00:01', mtu: 1500, up: true, defaultRoute: true };
    this.say({ type: 'link.upserted', link: { ...link, addresses: [...addresses] } });
    this.zone('zone-a');
    return this;
  }

  zone(zone: string): void {
    const labels = { 'topology.kubernetes.io/zone': zone };
    const status = { addresses: [{ type: 'InternalIP', address: '192.0.2.1' }] };
    this.upsert('nodes', { apiVersion: 'v1', kind: 'Node', metadata: { name: 'node-1', labels }, status });
  }

  /** The first lists are complete. */
  synced(): this {
    for (const source of ['local', 'links', 'kube/services', 'kube/endpointslices', 'kube/nodes', 'kube/pods'] as const)
      this.say({ type: 'source.synced', source });
    return this;
  }

  upsert(resource: string, object: KubeObject): Op[] {
    return this.say({ type: 'kube.upserted', resource, object });
  }

  delete(resource: string, object: KubeObject): Op[] {
    return this.say({ type: 'kube.deleted', resource, object });
  }

  say(event: ClusterEvent): Op[] {
    const done: Op[] = [];
    for (let steps = this.#step(event); steps.length > 0; ) {
      const ops = steps.flatMap((step) => step.ops);
      for (const op of ops) done.push(op);
      const results = ops.map((op) => this.#resultOf(op));
      steps = this.#step({ type: 'ops.done', results });
    }
    for (const op of done) this.ops.push(op);
    return done;
  }

  #resultOf(op: Op): OpDone {
    const { table, key, action, revision } = op;
    const message = `${action} ${table} ${key}: the map is full`;
    const error = { kind: 'kernel', errno: 'E2BIG', message, retryable: true } as const;
    return { table, key, action, revision, ...(this.refuse(op) && { error }) };
  }

  /** Without carrying out what it plans. */
  #step(event: ClusterEvent): Step[] {
    const seq = ++this.#seq;
    return this.engine.step({ seq, at: seq * 1_000 + this.#passedMs, source: 'test', event });
  }

  /** The next event is not before this time. */
  passTo(atMs: number): void {
    this.#passedMs += Math.max(0, atMs - ((this.#seq + 1) * 1_000 + this.#passedMs));
  }

  /** What is in the kernel. */
  rows<T extends TableName>(table: T): Record<string, Tables[T]> {
    return Object.fromEntries([...this.engine.actual(table)].sort(([a], [b]) => (a < b ? -1 : 1))) as Record<
      string,
      Tables[T]
    >;
  }

  state(service: string): string | undefined {
    return this.engine.machine(`service/${service}`)?.state;
  }

  /** Tables of services, and Kubernetes events. */
  everything(): Record<string, unknown> {
    const events = Object.entries(this.rows('kube.objects')).filter(([key]) => key.startsWith('events/'));
    // Times tell when, not what.
    const timeless = events.map(([key, { firstTimestamp: _, lastTimestamp: __, ...value }]) => [key, value] as const);
    return {
      ...Object.fromEntries(serviceTables.map((table) => [table, this.rows(table)])),
      events: Object.fromEntries(timeless),
    };
  }
}

/** An endpoint in short. */
export interface Endpoint {
  ip: string;
  /** r: ready, t: terminating and serving, d: terminating and not serving, n: not ready; by default r. */
  is?: 'r' | 't' | 'd' | 'n';
  node?: string;
  zones?: string[];
  nodes?: string[];
}
const conditionsOf = { r: {}, t: [false, true, true], d: [false, false, true], n: [false, false, false] } as const;

export function endpoint({ ip, is = 'r', node = 'node-2', zones, nodes }: Endpoint): object {
  const named = (names: string[]) => names.map((name) => ({ name }));
  const [ready, serving, terminating] = Array.isArray(conditionsOf[is]) ? conditionsOf[is] : [];
  return {
    addresses: [ip],
    conditions: is === 'r' ? {} : { ready, serving, terminating },
    nodeName: node,
    hints: { ...(zones && { forZones: named(zones) }), ...(nodes && { forNodes: named(nodes) }) },
  };
}

/** Service `demo/web`. */
export const webService = (spec: object = {}, more: object = {}, metadata: object = {}): KubeObject =>
  kubeObject(
    'Service',
    'demo/web',
    { spec: { clusterIPs: ['10.96.0.1'], ports: [{ port: 80, protocol: 'TCP' }], ...spec }, ...more },
    metadata,
  );
/** One of its slices. */
export const sliceOf = (endpoints: Endpoint[], fields: object = {}, name = 'web-1'): KubeObject =>
  sliceObject('demo/web', name, { endpoints: endpoints.map(endpoint), ...fields });

/** A node that has listed these. */
export function worldOf(objects: KubeObject[], facts: Partial<ServiceFacts> = {}, addresses?: string[]): ServiceWorld {
  const made = new ServiceWorld().start(facts, addresses);
  for (const object of objects)
    made.upsert(object.kind === 'Service' ? 'services' : object.kind === 'Pod' ? 'pods' : 'endpointslices', object);
  return made.synced();
}
/** Backends that a frontend's connections choose from. */
export function chosen(
  made: ServiceWorld,
  frontend: string,
  from: 'internalSet' | 'externalSet' = 'internalSet',
): string[] {
  const set = made.rows('bpf.frontends')[frontend]?.[from] ?? '';
  return (made.rows('bpf.backend-sets')[set]?.backends ?? []).map((key) => key.replace(/:8080\/TCP$/, ''));
}
