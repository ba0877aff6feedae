/**
 * What Kubernetes objects, recorded with plain kubectl on any cluster, make of a node: the real engine between those objects and a
 * simulated kernel that does what it is told.
 *
 * - Pods of the node are endpoints with the addresses that their status has; another CNI's stay what they are. Pods of other nodes are told
 *   of as Cilium tells of them.
 * - Identities are those of CiliumIdentity objects; label sets without one are numbered in the order of their coming.
 * - kubectl does not tell when it heard of something: the time of an event is the latest that its object, or one before it, names.
 */
import type { AgentFacts, ClusterEvent, KubeObject } from '../cluster/events.ts';
import type { WatchedObject, WatchHistory } from '../cluster/kubectl-watch.ts';
import type { RecordingHeader } from '../cluster/recording-format.ts';
import { macFor } from '../machines/naming.ts';
import { addressesOf, ImportedPods } from './imported-pods.ts';
import { facts as usualFacts } from './node/world.ts';
import { ClosedLoop } from './replay/closed-loop.ts';
import type { Watcher } from './replay/moment.ts';
import type { Fault } from './replay/player.ts';
import { engineDigest, opWatcher, type PlannedOp, type Replayed } from './replay.ts';

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
  CiliumNode: 'ciliumnodes',
  CiliumEndpoint: 'ciliumendpoints',
  CiliumEndpointSlice: 'ciliumendpointslices',
};
const DEVICE = 'eth0';
const MTU = 1500;

export interface ImportOptions {
  /** Whose control plane; empty: the only node that the first list names. */
  node: string;
  version: string;
  /** Other facts of the agent than the usual ones. */
  config?: Partial<AgentFacts>;
  until?: number;
  onOp?: (planned: PlannedOp) => void;
  watchers?: readonly Watcher[];
}

export async function replayObjects({ list, changes }: WatchHistory, options: ImportOptions): Promise<Replayed> {
  const node = options.node || onlyNode(list.map(({ object }) => object));
  const config: AgentFacts = {
    ...usualFacts,
    datapathBuild: 'imported',
    ...familiesOf(list),
    ...options.config,
    nodeName: node,
  };
  const life = new ImportedLife(config, options);
  life.start(list);
  const faults: Fault[] = [];
  let faultCount = 0;
  let torn = false;
  for await (const item of changes) {
    if (life.isStopped) break;
    if (item.type === 'torn') torn = true;
    else if (item.type === 'fault') {
      if (faultCount++ < FAULTS_KEPT) faults.push(item);
    } else life.hear(item);
  }
  return { ...life.result(), torn, faults, faultCount };
}
const FAULTS_KEPT = 1_000;

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

/** What addresses pods of this cluster have: an agent that waits for a family that nobody has would wait for ever. */
function familiesOf(list: readonly WatchedObject[]): Pick<AgentFacts, 'ipv4' | 'ipv6'> {
  const texts = list.flatMap(({ object: { kind, spec, status } }) => {
    if (kind === 'Node') return ((spec ?? {}) as { podCIDRs?: string[] }).podCIDRs ?? [];
    return kind === 'Pod' ? (((status ?? {}) as { podIPs?: { ip: string }[] }).podIPs ?? []).map(({ ip }) => ip) : [];
  });
  const ipv6 = texts.some((text) => text.includes(':'));
  return { ipv6, ipv4: !ipv6 || texts.some((text) => !text.includes(':')) };
}

class ImportedLife {
  readonly #facts: AgentFacts;
  readonly #loop: ClosedLoop;
  readonly #pods: ImportedPods;
  #at = 0;

  constructor(facts: AgentFacts, { version, until, onOp, watchers = [] }: ImportOptions) {
    this.#facts = facts;
    const header: RecordingHeader = {
      ...{ format: 'axoneme-recording', version: 1, build: version, node: facts.nodeName, config: facts },
      ...{ kernel: 'none (objects from kubectl)', startedAt: 0, part: 1 },
    };
    const last: Watcher = { onMoment: ({ seq }) => (seq === until ? 'stop' : undefined) };
    this.#loop = new ClosedLoop(header, { watchers: [...watchers, ...(onOp ? [opWatcher(onOp)] : []), last] });
    this.#pods = new ImportedPods(facts.clusterName, this.#loop, MTU);
  }

  get isStopped(): boolean {
    return this.#loop.isStopped;
  }

  start(list: readonly WatchedObject[]): void {
    const [origin = { file: '', line: 0 }] = list;
    for (const { object } of list) this.#at = Math.max(this.#at, timeOf(object));
    const { nodeName } = this.#facts;
    this.#loop.begin({ ...this.#loop.header, startedAt: this.#at }, this.#at, origin);
    const push = (source: string, event: ClusterEvent): void => this.#loop.push(source, event, this.#at, origin);
    push('agent', { type: 'agent.started', config: this.#facts });
    for (const { object } of list) this.#pods.learn(object);
    const node = list.find(({ object }) => object.kind === 'Node' && object.metadata.name === nodeName)?.object;
    const link = {
      ...{ name: DEVICE, kind: '', mac: macFor(nodeName), mtu: MTU, up: true },
      ...{ addresses: addressesOf(node), defaultRoute: true },
    };
    push('links', { type: 'link.upserted', link });
    for (const source of ['local', 'kernel', 'links'] as const) push(source, { type: 'source.synced', source });
    for (const item of list) this.hear(item);
    for (const resource of Object.values(RESOURCES))
      push('kube', { type: 'source.synced', source: `kube/${resource}` });
  }

  hear({ type, object, file, line }: WatchedObject): void {
    const resource = RESOURCES[object.kind];
    if (!resource) return;
    this.#at = Math.max(this.#at, timeOf(object));
    this.#pods.learn(object);
    const origin = { file, line };
    // As the agent's own watches have it: the pods on its node.
    if (object.kind === 'Pod' && !this.#isHere(object)) {
      this.#pods.hearRemote(type, object, this.#at, origin);
      return;
    }
    this.#loop.push('kube', { type: `kube.${type}`, resource, object }, this.#at, origin);
    if (object.kind === 'Pod') this.#pods.hear(type, object, this.#at, origin);
  }

  #isHere(pod: KubeObject): boolean {
    return (pod.spec as { nodeName?: string } | undefined)?.nodeName === this.#facts.nodeName;
  }

  result(): Omit<Replayed, 'torn' | 'faults' | 'faultCount'> {
    const { header, entries, ops, seq, at, engine, kernel } = this.#loop;
    return {
      ...{ header, runs: 1, entries, ops, seq, at, divergences: [], divergenceCount: 0 },
      digest: engineDigest(engine),
      engine,
      kernel,
    };
  }
}

interface Timed {
  conditions?: { lastTransitionTime?: string }[];
  containerStatuses?: { state?: Record<string, { startedAt?: string; finishedAt?: string }> }[];
  startTime?: string;
}

/** The latest moment that an object names, in milliseconds since the epoch; 0: none. */
function timeOf({ metadata, status }: KubeObject): number {
  const {
    creationTimestamp,
    deletionTimestamp,
    managedFields = [],
  } = metadata as KubeObject['metadata'] & {
    managedFields?: { time?: string }[];
  };
  const { deletionGracePeriodSeconds = 0 } = metadata as { deletionGracePeriodSeconds?: number };
  const { conditions = [], containerStatuses = [], startTime } = (status ?? {}) as Timed;
  const times = [creationTimestamp, startTime, ...managedFields.map(({ time }) => time)];
  if (Array.isArray(conditions)) times.push(...conditions.map(({ lastTransitionTime }) => lastTransitionTime));
  for (const { state = {} } of containerStatuses)
    for (const { startedAt, finishedAt } of Object.values(state)) times.push(startedAt, finishedAt);
  // It says when the pod is to be gone at the latest.
  const deleted = deletionTimestamp ? Date.parse(deletionTimestamp) - 1_000 * deletionGracePeriodSeconds : 0;
  return Math.max(deleted || 0, ...times.map((time) => (time && Date.parse(time)) || 0));
}
