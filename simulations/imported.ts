/**
 * What Kubernetes objects, recorded with plain kubectl on any cluster, make of a node: the real engine between those objects and a
 * simulated kernel that does what it is told.
 *
 * - Pods of the node are endpoints with the addresses that their status has; another CNI's stay what they are.
 * - Identities are those of CiliumIdentity objects; label sets without one are numbered in the order of their coming.
 * - Nothing fails and no time passes: it is the control plane alone that is looked at.
 */
import type { AgentFacts, ClusterEvent, KubeObject, OpDone } from '../cluster/events.ts';
import { labelsKey } from '../cluster/events.ts';
import type { WatchItem } from '../cluster/kubectl-watch.ts';
import type { Op } from '../datapath/driver.ts';
import { kinds } from '../machines/kinds.ts';
import { linkName, macFor } from '../machines/naming.ts';
import { podIdentityLabels } from '../policy/labels.ts';
import { Engine } from '../reconcilers/engine.ts';
import type { IdentityClaimRow, LocalEndpointRow } from '../state/tables.ts';
import { isKernelTable, SimulatedKernel } from './kernel.ts';
import { facts as usualFacts } from './node/world.ts';
import { engineDigest, type PlannedOp, type Replayed } from './replay.ts';

/** Plural resource names by kind: what the agent watches. */
const RESOURCES: Readonly<Record<string, string>> = {
  Node: 'nodes',
  Namespace: 'namespaces',
  Pod: 'pods',
  Service: 'services',
  EndpointSlice: 'endpointslices',
  NetworkPolicy: 'networkpolicies',
  CiliumIdentity: 'ciliumidentities',
  CiliumNetworkPolicy: 'ciliumnetworkpolicies',
  CiliumClusterwideNetworkPolicy: 'ciliumclusterwidenetworkpolicies',
  CiliumCIDRGroup: 'ciliumcidrgroups',
};
const IDENTITY_MIN = 256;
const DEVICE = 'eth0';
const MTU = 1500;

export interface ImportOptions {
  /** Whose control plane; empty: the only node that the objects name. */
  node: string;
  version: string;
  until?: number;
  onOp?: (planned: PlannedOp) => void;
}

export async function replayObjects(items: AsyncIterable<WatchItem>, options: ImportOptions): Promise<Replayed> {
  const objects: { type: 'upserted' | 'deleted'; object: KubeObject }[] = [];
  let torn = false;
  for await (const item of items) {
    if (item.type === 'torn') torn = true;
    else objects.push(item);
  }
  const node = options.node || onlyNode(objects.map(({ object }) => object));
  const life = new ImportedLife({ ...usualFacts, nodeName: node, datapathBuild: 'imported' }, options);
  // What comes before anything changed is the first list.
  const first = objects.slice(0, lengthOfList(objects));
  life.start(first.map(({ object }) => object));
  for (const { type, object } of objects.slice(first.length)) life.hear(type, object);
  return { ...life.result(), torn };
}

const nameOf = ({ kind, metadata }: KubeObject): string => `${kind}/${metadata.namespace ?? ''}/${metadata.name}`;

/** Up to the first object that is gone or comes again. */
function lengthOfList(objects: readonly { type: 'upserted' | 'deleted'; object: KubeObject }[]): number {
  const known = new Set<string>();
  for (const [at, { type, object }] of objects.entries()) {
    const name = nameOf(object);
    if (type === 'deleted' || known.has(name)) return at;
    known.add(name);
  }
  return objects.length;
}

function onlyNode(objects: readonly KubeObject[]): string {
  const names = new Set(objects.filter(({ kind }) => kind === 'Node').map(({ metadata }) => metadata.name));
  for (const object of objects) {
    const { nodeName } = (object.spec ?? {}) as { nodeName?: string };
    if (object.kind === 'Pod' && nodeName) names.add(nodeName);
  }
  const [only, ...others] = [...names].sort();
  if (!only) throw new Error('no object names a node; choose one with --node');
  if (others.length > 0) throw new Error(`several nodes: ${[only, ...others].join(', ')}; choose one with --node`);
  return only;
}

class ImportedLife {
  readonly #facts: AgentFacts;
  readonly #options: ImportOptions;
  readonly #engine: Engine;
  readonly #kernel = new SimulatedKernel({ anyNamespace: true });
  readonly #queue: { source: string; event: ClusterEvent }[] = [];
  readonly #namespaces = new Map<string, KubeObject>();
  /** Number of a label set. */
  readonly #identities = new Map<string, number>();
  /** Container ids of endpoints by pod. */
  readonly #endpoints = new Map<string, { containerId: string; id: number }>();
  readonly #startedAt: number;
  #seq = 0;
  #ops = 0;
  #nextIdentity = IDENTITY_MIN;

  constructor(facts: AgentFacts, options: ImportOptions) {
    this.#facts = facts;
    this.#options = options;
    this.#engine = new Engine(kinds, { rows: () => [], write: () => {} });
    this.#startedAt = 0;
  }

  start(objects: readonly KubeObject[]): void {
    this.#push('agent', { type: 'agent.started', config: this.#facts });
    for (const { kind, metadata, ...object } of objects) {
      if (kind === 'Namespace') this.#namespaces.set(metadata.name, { kind, metadata, ...object });
      if (kind === 'CiliumIdentity') this.#learnIdentity({ kind, metadata, ...object });
    }
    const node = objects.find(({ kind, metadata }) => kind === 'Node' && metadata.name === this.#facts.nodeName);
    this.#kernel.addLink(DEVICE);
    const addresses = addressesOf(node);
    const link = {
      name: DEVICE,
      kind: '',
      mac: macFor(this.#facts.nodeName),
      mtu: MTU,
      up: true,
      addresses,
      defaultRoute: true,
    };
    this.#push('links', { type: 'link.upserted', link });
    for (const source of ['local', 'kernel', 'links'] as const) this.#push(source, { type: 'source.synced', source });
    for (const object of objects) this.hear('upserted', object);
    for (const resource of Object.values(RESOURCES))
      this.#push('kube', { type: 'source.synced', source: `kube/${resource}` });
  }

  hear(type: 'upserted' | 'deleted', object: KubeObject): void {
    const resource = RESOURCES[object.kind];
    if (!resource) return;
    if (object.kind === 'Namespace') this.#namespaces.set(object.metadata.name, object);
    if (object.kind === 'CiliumIdentity') this.#learnIdentity(object);
    // As the agent's own watches have it: its own node, and the pods on it.
    if (object.kind === 'Node' && object.metadata.name !== this.#facts.nodeName) return;
    if (object.kind === 'Pod' && !this.#isHere(object)) return;
    this.#push('kube', { type: `kube.${type}`, resource, object });
    if (object.kind === 'Pod') this.#endpoint(type, object);
  }

  #isHere(pod: KubeObject): boolean {
    return (pod.spec as { nodeName?: string } | undefined)?.nodeName === this.#facts.nodeName;
  }

  #learnIdentity(object: KubeObject): void {
    const labels = (object['security-labels'] ?? {}) as Record<string, string>;
    const number = Number(object.metadata.name);
    this.#identities.set(labelsKey(labels), number);
    this.#nextIdentity = Math.max(this.#nextIdentity, number + 1);
  }

  /** A pod with addresses is an endpoint, until it is deleted or over. */
  #endpoint(type: 'upserted' | 'deleted', pod: KubeObject): void {
    const name = nameOf(pod);
    const { hostNetwork } = pod.spec as { hostNetwork?: boolean };
    const {
      podIPs = [],
      podIP,
      phase,
    } = (pod.status ?? {}) as { podIPs?: { ip: string }[]; podIP?: string; phase?: string };
    const ips = podIPs.length > 0 ? podIPs.map(({ ip }) => ip) : podIP ? [podIP] : [];
    const isAlive =
      type === 'upserted' && phase !== 'Succeeded' && phase !== 'Failed' && ips.length > 0 && !hostNetwork;
    const known = this.#endpoints.get(name);
    if (isAlive && !known) {
      const containerId = pod.metadata.uid ?? name;
      const id = this.#endpoints.size + 1;
      this.#endpoints.set(name, { containerId, id });
      const row = this.#row(pod, containerId, id, ips);
      this.#push('local', { type: 'local.restored', endpoints: [row] });
    } else if (!isAlive && known) {
      this.#endpoints.delete(name);
      const { containerId } = known;
      this.#push('cni', { type: 'cni.del', requestId: `del ${name}`, containerId, ifname: 'eth0' });
    }
  }

  #row(pod: KubeObject, containerId: string, endpointId: number, ips: readonly string[]): LocalEndpointRow {
    const namespace = pod.metadata.namespace ?? 'default';
    const labels = podIdentityLabels(
      pod,
      this.#namespaces.get(namespace) ?? { apiVersion: 'v1', kind: 'Namespace', metadata: { name: namespace } },
      this.#facts.clusterName,
    );
    return {
      endpointId,
      containerId,
      netns: `/run/netns/${containerId}`,
      ifname: 'eth0',
      link: linkName(containerId, 'eth0'),
      mac: macFor(containerId),
      podNamespace: namespace,
      podName: pod.metadata.name,
      podUid: pod.metadata.uid ?? '',
      ipv4: ips.find((ip) => !ip.includes(':')) ?? '',
      ipv6: ips.find((ip) => ip.includes(':')) ?? '',
      identity: this.#identityOf(labels),
      labels: Object.entries(labels)
        .map(([key, value]) => `${key}=${value}`)
        .sort(),
      gateway4: '',
      gateway6: '',
      mtu: MTU,
    };
  }

  #identityOf(labels: Readonly<Record<string, string>>): number {
    const key = labelsKey(labels);
    const known = this.#identities.get(key);
    if (known !== undefined) return known;
    const number = this.#nextIdentity++;
    this.#identities.set(key, number);
    const object = {
      apiVersion: 'cilium.io/v2',
      kind: 'CiliumIdentity',
      metadata: { name: String(number) },
      'security-labels': labels,
    };
    this.#queue.push({ source: 'kube', event: { type: 'kube.upserted', resource: 'ciliumidentities', object } });
    return number;
  }

  /** Takes an event, and all that follows from it, to the end. */
  #push(source: string, event: ClusterEvent): void {
    this.#queue.push({ source, event });
    for (let next = this.#queue.shift(); next; next = this.#queue.shift()) {
      if (this.#options.until !== undefined && this.#seq >= this.#options.until) {
        this.#queue.length = 0;
        return;
      }
      const seq = ++this.#seq;
      const steps = this.#engine.step({ seq, at: this.#startedAt, ...next });
      for (const { ops } of steps) {
        for (const op of ops) this.#options.onOp?.({ seq, at: this.#startedAt, op });
        this.#ops += ops.length;
        const results = ops.map((op) => this.#apply(op));
        this.#queue.push({ source: `driver/${ops[0]?.table}`, event: { type: 'ops.done', results } });
      }
    }
  }

  #apply(op: Op): OpDone {
    const { table, key, action, revision } = op;
    if (table === 'identity.claims' && action === 'put') this.#identityOf((op.value as IdentityClaimRow).labels);
    const [error] = isKernelTable(table) ? this.#kernel.apply([op]) : [undefined];
    return { table, key, action, revision, ...(error && { error }) };
  }

  result(): Omit<Replayed, 'torn'> {
    const { nodeName } = this.#facts;
    return {
      header: {
        format: 'axoneme-recording',
        version: 1,
        build: this.#options.version,
        node: nodeName,
        config: this.#facts,
        kernel: 'none (objects from kubectl)',
        startedAt: this.#startedAt,
        part: 1,
      },
      runs: 1,
      entries: this.#seq,
      ops: this.#ops,
      seq: this.#seq,
      divergences: [],
      digest: engineDigest(this.#engine),
      engine: this.#engine,
      kernel: this.#kernel,
    };
  }
}

function addressesOf(node: KubeObject | undefined): string[] {
  const { addresses = [] } = (node?.status ?? {}) as { addresses?: { type: string; address: string }[] };
  return addresses
    .filter(({ type }) => type === 'InternalIP' || type === 'ExternalIP')
    .map(({ address }) => `${address}/${address.includes(':') ? 64 : 24}`)
    .sort();
}
