/**
 * Policy of a node without a kernel: the real engine and machines, an API server that gives identities, and ops that always succeed.
 *
 * - `say` takes an event and all that comes of it to an end, and returns the ops that it took, in their order.
 */
import type { AgentFacts, ClusterEvent, KubeObject, OpDone, PolicyFacts } from '../cluster/events.ts';
import type { Op } from '../datapath/driver.ts';
import { kinds } from '../machines/kinds.ts';
import { Engine } from '../reconcilers/engine.ts';
import type { Step } from '../reconcilers/plan.ts';
import { restored } from '../reconcilers/restored.ts';
import type { StoredRow } from '../state/store.ts';
import {
  type IdentityClaimRow,
  type LocalEndpointRow,
  type TableName,
  type Tables,
  tableNames,
  tables,
} from '../state/tables.ts';

const facts: AgentFacts = {
  nodeName: 'node-1',
  clusterName: 'default',
  devices: ['eth0'],
  ipv4: true,
  ipv6: true,
  masquerade: true,
  mtu: 0,
  datapathBuild: 'b0',
};
const usual: PolicyFacts = {
  enforcement: 'default',
  audit: false,
  hostFirewall: false,
  allowLocalhost: true,
  entriesMax: 1000,
};

/** Of policy; those of the node come before. */
export const policySources = [
  'kube/endpointslices',
  'kube/pods',
  'kube/namespaces',
  'kube/ciliumidentities',
  'kube/networkpolicies',
  'kube/ciliumnetworkpolicies',
  'kube/ciliumclusterwidenetworkpolicies',
  'kube/ciliumcidrgroups',
] as const;

/** Each event takes so long. */
const SECOND_MS = 1_000;
/** Of ops and what they lead to, after one event. */
const ROUNDS_MAX = 1_000;

export class PolicyWorld {
  readonly engine: Engine;
  /** Ops that fail. */
  refuse: (op: Op) => boolean = () => false;
  /** The API server gives no identities now; `grant` lets it. */
  slow = false;
  /** Steps of the last `say`, with those of what it caused. */
  steps: Step[] = [];
  /** Of its whole life. */
  readonly history: Step[] = [];
  /** As the API server has them. */
  readonly identities: KubeObject[] = [];
  readonly pods = new Map<string, KubeObject>();
  readonly #claims: IdentityClaimRow[] = [];
  readonly #numbers = new Map<string, number>();
  #seq = 0;
  #endpoints = 0;

  constructor() {
    this.engine = new Engine(kinds, { rows: () => [], write: () => {} });
  }

  start(policy: Partial<PolicyFacts> = {}): this {
    this.say({ type: 'agent.started', config: { ...facts, policy: { ...usual, ...policy } } });
    return this;
  }

  restored(endpoints: LocalEndpointRow[], cidrIdentities: Record<string, number> = {}): this {
    this.say({ type: 'local.restored', endpoints, cidrIdentities });
    return this;
  }

  /** The next life of a node: what is in the kernel and in the store stays, identities and pods come again. */
  static after(before: PolicyWorld, policy: Partial<PolicyFacts> = {}): PolicyWorld {
    const next = new PolicyWorld().start(policy);
    const stored = tableNames.flatMap((table) =>
      Object.entries(before.rows(table)).map(([key, value]): StoredRow => ({ table, key, value, op: '' })),
    );
    for (const table of tableNames.filter((name) => tables[name].durable)) {
      const changes = stored.filter((row) => row.table === table).map(({ key, value }) => ({ key, value }));
      next.say({ type: 'observed', table, changes });
    }
    next.say(restored(stored));
    for (const [text, number] of before.#numbers) next.#numbers.set(text, number);
    for (const object of before.identities) next.upsert('ciliumidentities', object);
    for (const [name, object] of before.pods) {
      next.pods.set(name, object);
      next.upsert('pods', object);
    }
    return next;
  }

  node(labels: Record<string, string> = {}): this {
    const link = { name: 'eth0', kind: '', mac: '02:00:00:00:00:01', mtu: 1500, up: true, defaultRoute: true };
    this.say({ type: 'link.upserted', link: { ...link, addresses: ['192.0.2.1/24'] } });
    this.upsert('nodes', {
      apiVersion: 'v1',
      kind: 'Node',
      metadata: { name: 'node-1', labels },
      spec: { podCIDRs: ['10.0.0.0/24', 'fd00::/64'] },
      status: { addresses: [{ type: 'InternalIP', address: '192.0.2.1' }] },
    });
    for (const source of ['local', 'links', 'kube/nodes'] as const) this.say({ type: 'source.synced', source });
    return this;
  }

  /** The first lists are complete. */
  synced(): this {
    for (const source of policySources) this.say({ type: 'source.synced', source });
    return this;
  }

  namespace(name: string, labels: Record<string, string> = {}): this {
    this.upsert('namespaces', {
      apiVersion: 'v1',
      kind: 'Namespace',
      metadata: { name, labels: { 'kubernetes.io/metadata.name': name, ...labels } },
    });
    return this;
  }

  /** The Pod object. */
  label(name: string, labels: Record<string, string>, more: object = {}, metadata: object = {}): Op[] {
    const [namespace = '', own = ''] = name.split('/');
    const pod = {
      apiVersion: 'v1',
      kind: 'Pod',
      metadata: { name: own, namespace, uid: `uid-${name}`, labels, ...metadata },
      spec: { containers: [{ name: 'main', ...more }] },
    };
    this.pods.set(name, pod);
    return this.upsert('pods', pod);
  }

  /** The Pod object and its CNI ADD; returns the endpoint's id. */
  pod(name: string, labels: Record<string, string>, more: object = {}, metadata: object = {}): number {
    const [podNamespace = '', podName = ''] = name.split('/');
    this.label(name, labels, more, metadata);
    const endpointId = ++this.#endpoints;
    const container = { containerId: `c-${name.replace('/', '-')}`, ifname: 'eth0', netns: `/run/netns/${podName}` };
    const requestId = `add-${endpointId}`;
    this.say({ type: 'cni.add', requestId, ...container, podNamespace, podName, podUid: `uid-${name}`, endpointId });
    return endpointId;
  }

  remove(name: string): Op[] {
    const containerId = `c-${name.replace('/', '-')}`;
    return this.say({ type: 'cni.del', requestId: `del-${name}`, containerId, ifname: 'eth0' });
  }

  upsert(resource: string, object: KubeObject): Op[] {
    return this.say({ type: 'kube.upserted', resource, object });
  }

  delete(resource: string, object: KubeObject): Op[] {
    return this.say({ type: 'kube.deleted', resource, object });
  }

  /** A CiliumNetworkPolicy; its spec is anything. */
  cnp(name: string, spec: unknown): Op[] {
    return this.upsert('ciliumnetworkpolicies', cnpObject(name, spec));
  }

  /** The API server answers what it owes. */
  grant(): Op[] {
    this.slow = false;
    const done: Op[] = [];
    while (this.#claims.length > 0) this.#identify(this.#claims.shift() as IdentityClaimRow, done);
    return done;
  }

  say(event: ClusterEvent): Op[] {
    const done: Op[] = [];
    this.steps = [];
    this.#carryOut(event, done);
    while (!this.slow && this.#claims.length > 0) this.#identify(this.#claims.shift() as IdentityClaimRow, done);
    return done;
  }

  #carryOut(event: ClusterEvent, done: Op[]): void {
    let rounds = 0;
    for (let steps = this.step(event); steps.length > 0; ) {
      if (++rounds > ROUNDS_MAX) throw new Error(`plans without an end after ${event.type}`);
      this.steps.push(...steps);
      this.history.push(...steps);
      const ops = steps.flatMap((step) => step.ops);
      done.push(...ops);
      for (const { table, action, value } of ops)
        if (table === 'identity.claims' && action === 'put') this.#claims.push(value as IdentityClaimRow);
      steps = this.step({ type: 'ops.done', results: ops.map((op) => this.#resultOf(op)) });
    }
  }

  #identify({ labels, namespace }: IdentityClaimRow, done: Op[]): void {
    const text = JSON.stringify(labels);
    const known = this.#numbers.get(text);
    if (known !== undefined) return;
    const number = 1000 + this.#numbers.size;
    this.#numbers.set(text, number);
    const object = {
      apiVersion: 'cilium.io/v2',
      kind: 'CiliumIdentity',
      metadata: {
        name: String(number),
        labels: { 'io.kubernetes.pod.namespace': namespace },
        creationTimestamp: new Date(this.#seq * SECOND_MS).toISOString(),
      },
      'security-labels': labels,
    };
    this.identities.push(object);
    this.#carryOut({ type: 'kube.upserted', resource: 'ciliumidentities', object }, done);
  }

  #resultOf(op: Op): OpDone {
    const { table, key, action, revision } = op;
    const error = {
      kind: 'kernel',
      errno: 'ENOSPC',
      message: `${action} ${table} ${key}: refused`,
      retryable: true,
    } as const;
    return { table, key, action, revision, ...(this.refuse(op) && { error }) };
  }

  /** Without carrying out what it plans. */
  step(event: ClusterEvent): Step[] {
    const seq = ++this.#seq;
    return this.engine.step({ seq, at: seq * SECOND_MS, source: 'test', event });
  }

  /** What is in the kernel. */
  rows<T extends TableName>(table: T): Record<string, Tables[T]> {
    return Object.fromEntries([...this.engine.actual(table)].sort(([a], [b]) => (a < b ? -1 : 1))) as Record<
      string,
      Tables[T]
    >;
  }

  /** Entries of an endpoint: key without its id → allow or deny. */
  entries(endpointId: number): Record<string, 'allow' | 'deny'> {
    const prefix = `${endpointId}|`;
    return Object.fromEntries(
      Object.entries(this.rows('bpf.policy'))
        .filter(([key]) => key.startsWith(prefix))
        .map(([key, { deny }]) => [key.slice(prefix.length), deny ? 'deny' : 'allow']),
    );
  }

  state(name: string): string {
    return this.engine.machine(`endpoint/c-${name.replace('/', '-')}/eth0`)?.state ?? 'unborn';
  }

  identity(name: string): number {
    const context = this.engine.machine(`endpoint/c-${name.replace('/', '-')}/eth0`)?.context as { identity: number };
    return context.identity;
  }
}

export function cnpObject(name: string, spec: unknown): KubeObject {
  const [namespace = '', own = ''] = name.split('/');
  return { apiVersion: 'cilium.io/v2', kind: 'CiliumNetworkPolicy', metadata: { namespace, name: own }, spec };
}
