/**
 * A whole cluster in memory: nodes that share an API server and the time, and what happens to them.
 *
 * - Everything follows from the seed and the actions: one seed has one history.
 * - `settle` is the end of all faults; what holds afterwards is judged by `laws.ts`. What holds at every op is judged here.
 */
import { type AgentFacts, type ClusterEvent, type KubeObject, objectKey } from '../../cluster/events.ts';
import type { Op } from '../../datapath/driver.ts';
import type { IpcacheRow } from '../../state/tables.ts';
import { kubeNode } from '../cluster-nodes.ts';
import { claimIdentity, SimulatedApi } from '../node/api.ts';
import { seeded, VirtualClock } from '../node/clock.ts';
import { networkOf } from '../node/neighbors.ts';
import { actOnPolicies } from '../node/policies.ts';
import { actOnServices } from '../node/services.ts';
import { facts } from '../node/world.ts';
import { actOnUpgrades } from '../upgrade/actions.ts';
import { type Connection, connect } from '../upgrade/connections.ts';
import type { ClusterAction } from './actions.ts';
import { ClusterNode, type Common } from './node.ts';

export interface ClusterOptions {
  seed: number;
  nodes: number;
  /** Pods that there may be on a node, on the average. */
  podsPerNode?: number;
  resyncMs?: number;
}

const NAMESPACE = 'demo';
const PODS_PER_NODE = 6;
const RESYNC_MS = 300_000;
const ROUND_MS = 1_000;
const SETTLE_ROUNDS_MAX = 900;
/** So long nothing may be done for it to be quiet: watches that are very late arrive meanwhile, and graces end. */
const ROUNDS_OF_PEACE = 8;
const LOOKS = 2;
/** A pod that runs for so long is known to everybody who can hear. */
const KNOWN_AFTER_MS = 60_000;

const nextTurn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));
const podKeyOf = (number: number): string => `${NAMESPACE}/pod-${number}`;

/** A running pod as all nodes should know it. */
interface Known {
  node: string;
  pod: string;
  sinceMs: number;
}

export class Cluster {
  readonly clock = new VirtualClock();
  readonly api = new SimulatedApi(() => this.clock.now);
  readonly facts: AgentFacts;
  readonly violations: string[] = [];
  readonly connections: Connection[] = [];
  /** Those that are there, by number. */
  readonly nodes = new Map<number, ClusterNode>();
  /** Of nodes that left. */
  readonly gone = { events: 0, ops: 0, lives: 0 };
  /** Addresses of running pods, and since when. */
  readonly #running = new Map<string, Known>();
  /** Of each node, at the last look. */
  readonly #addressesOf = new Map<string, ReadonlySet<string>>();
  /** By pod: addresses under which its node tells of it, and since when it has without a pause. */
  readonly #told = new Map<string, ReadonlyMap<string, number>>();
  readonly #random: () => number;
  readonly #common: Common;
  readonly #size: number;
  readonly #pods: number;
  /** Nodes whose runtime has something to do. */
  readonly #busy = new Set<ClusterNode>();
  #uids = 0;

  constructor({ seed, nodes, podsPerNode = PODS_PER_NODE, resyncMs = RESYNC_MS }: ClusterOptions) {
    this.#random = seeded(seed ^ 0xc1a5);
    this.#size = nodes;
    this.#pods = nodes * podsPerNode;
    this.facts = { ...facts, ...networkOf(seed) };
    this.#common = {
      api: this.api,
      clock: this.clock,
      random: this.#random,
      facts: this.facts,
      resyncMs,
      onViolation: (violation) => this.violations.push(violation),
      onOp: (node, op) => this.#judge(node, op),
    };
    this.api.upsert('namespaces', namespaceObject(0));
    this.api.watch((event) => this.#hear(event), { order: ['ciliumendpoints'] });
  }

  async start(): Promise<void> {
    for (let number = 1; number <= this.#size; number++) await this.#join(number);
  }

  /** A running pod's sandboxes, by node. */
  get sandboxes() {
    return [...this.nodes.values()].map((node) => ({ node, sandboxes: node.runtime.sandboxes }));
  }

  async act(action: ClusterAction): Promise<void> {
    switch (action.do) {
      case 'create':
        this.#create(action.pod % this.#pods, this.#node(action.node));
        break;
      case 'delete':
        this.#delete(podKeyOf(action.pod % this.#pods));
        break;
      case 'relabel':
        this.#relabel(podKeyOf(action.pod % this.#pods), action.label);
        break;
      case 'relabelNamespace':
        this.api.upsert('namespaces', namespaceObject(action.label));
        break;
      case 'join': {
        const number = 1 + (action.node % this.#size);
        if (!this.nodes.has(number)) await this.#join(number);
        break;
      }
      case 'leave':
        // Some stay, so that there is a cluster.
        if (this.nodes.size > this.#size / 2) this.#leave(this.#node(action.node));
        break;
      case 'replace': {
        const node = this.#node(action.node);
        this.#leave(node);
        if (node) await this.#join(node.number);
        break;
      }
      case 'upgrade': {
        const node = this.#node(action.node);
        if (!node) break;
        node.build = action.build;
        node.kill();
        await node.start();
        this.#touch(node);
        break;
      }
      case 'rekey':
        this.#node(action.node)?.rekey();
        break;
      case 'kill':
        this.#node(action.node)?.kill(action.afterOps);
        break;
      case 'restart': {
        const node = this.#node(action.node);
        await node?.start();
        this.#touch(node);
        break;
      }
      case 'api':
        this.api.isUp = action.up;
        break;
      case 'cut': {
        const node = this.#node(action.node);
        if (node) node.isCut = action.cut;
        break;
      }
      case 'relist':
        this.#node(action.node)?.agent?.relist();
        break;
      case 'fault':
        this.#node(action.node)?.fail(action.errno, action.ops);
        break;
      case 'loseIdentity':
        this.#lose('ciliumidentities', action.which);
        break;
      case 'loseEndpoint':
        this.#lose('ciliumendpoints', action.which);
        break;
      case 'rivalIdentity': {
        const all = [...this.api.of('ciliumidentities').values()];
        const object = all[action.which % Math.max(all.length, 1)];
        const labels = object?.['security-labels'] as Record<string, string> | undefined;
        if (labels) claimIdentity(this.api, this.#random, labels, NAMESPACE);
        break;
      }
      case 'service':
      case 'endpoints':
        actOnServices(this.api, action);
        break;
      case 'policy':
        actOnPolicies(this.api, action);
        break;
      case 'release':
      case 'flip':
      case 'reboot': {
        const node = this.#node(action.node);
        await actOnUpgrades(node, action);
        this.#touch(node);
        break;
      }
      case 'connect': {
        const connection = connect(this, action.from, action.to, this.connections.length);
        if (connection) this.connections.push(connection);
        break;
      }
      case 'advance':
        await this.advance(action.ms);
        break;
    }
    await this.#turn();
  }

  /** Time passes, from timer to timer. */
  async advance(ms: number): Promise<void> {
    const end = this.clock.now + ms;
    while (this.clock.step(end)) await this.#turn();
  }

  /** No more faults: how long it takes until all is quiet, in ms of the cluster; undefined: it never is. */
  async settle(): Promise<number | undefined> {
    this.api.isUp = true;
    for (const node of this.nodes.values()) {
      node.spare();
      node.isCut = false;
      await node.start();
      this.#touch(node);
    }
    await this.#turn();
    const took = await this.#quiet();
    // What a failed op left, and nobody owns, goes with the next look at everything: not waited for, but had.
    for (let look = 0; look < LOOKS; look++) {
      for (const node of this.nodes.values()) await node.agent?.resync();
      if ((await this.#quiet()) === undefined) return undefined;
    }
    return took;
  }

  async #quiet(): Promise<number | undefined> {
    const began = this.clock.now;
    let last = began;
    let [peace, ops] = [0, this.ops];
    for (let round = 0; round < SETTLE_ROUNDS_MAX && peace < ROUNDS_OF_PEACE; round++) {
      await this.advance(ROUND_MS);
      await this.#turn();
      const isQuiet = this.ops === ops && [...this.nodes.values()].every((node) => node.isQuiet);
      peace = isQuiet ? peace + 1 : 0;
      if (!isQuiet) last = this.clock.now;
      ops = this.ops;
    }
    return peace >= ROUNDS_OF_PEACE ? last - began : undefined;
  }

  /** Applied to kernels. */
  get ops(): number {
    let sum = this.gone.ops;
    for (const node of this.nodes.values()) sum += node.ops;
    return sum;
  }

  get events(): number {
    let sum = this.gone.events;
    for (const node of this.nodes.values()) sum += node.events;
    return sum;
  }

  get lives(): number {
    let sum = this.gone.lives;
    for (const node of this.nodes.values()) sum += node.lives;
    return sum;
  }

  close(): void {
    for (const node of this.nodes.values()) node.close();
  }

  /** Somebody deletes an object that agents wrote. */
  #lose(resource: string, which: number): void {
    const keys = [...this.api.of(resource).keys()];
    const key = keys[which % Math.max(keys.length, 1)];
    if (key === undefined) return;
    this.api.delete(resource, key);
  }

  #node(which: number): ClusterNode | undefined {
    const all = [...this.nodes.values()];
    return all[which % Math.max(all.length, 1)];
  }

  async #join(number: number): Promise<void> {
    this.api.upsert('nodes', kubeNode(number, { uid: `node-${number}-${++this.#uids}` }));
    const node = new ClusterNode(number, this.#common);
    this.nodes.set(number, node);
    await node.start();
  }

  /** Its pods go with it, as with a machine that is switched off and then taken out of the cluster. */
  #leave(node: ClusterNode | undefined): void {
    if (!node) return;
    node.kill();
    for (const key of [...node.pods.keys()]) this.#delete(key);
    this.api.delete('nodes', node.name);
    this.api.delete('ciliumnodes', node.name);
    this.gone.events += node.events;
    this.gone.ops += node.ops;
    this.gone.lives += node.lives;
    this.nodes.delete(node.number);
    this.#busy.delete(node);
    for (const [address, { node: name }] of this.#running) if (name === node.name) this.#running.delete(address);
    this.#addressesOf.delete(node.name);
    node.close();
  }

  #create(number: number, node: ClusterNode | undefined): void {
    const key = podKeyOf(number);
    if (!node || this.api.of('pods').has(key)) return;
    const metadata = {
      name: key.slice(NAMESPACE.length + 1),
      namespace: NAMESPACE,
      uid: `u${++this.#uids}`,
      labels: { app: `v${number % 3}` },
    };
    this.#setPod(node, key, { apiVersion: 'v1', kind: 'Pod', metadata, spec: { nodeName: node.name } });
  }

  #relabel(key: string, label: number): void {
    const pod = this.api.of('pods').get(key);
    const node = this.#nodeOf(pod);
    if (pod && node) this.#setPod(node, key, { ...pod, metadata: { ...pod.metadata, labels: { app: `v${label}` } } });
  }

  #setPod(node: ClusterNode, key: string, pod: KubeObject): void {
    node.pods.set(key, pod);
    this.api.upsert('pods', pod);
    this.#touch(node);
  }

  #delete(key: string): void {
    const node = this.#nodeOf(this.api.of('pods').get(key));
    node?.pods.delete(key);
    this.api.delete('pods', key);
    this.#touch(node);
  }

  #nodeOf(pod: KubeObject | undefined): ClusterNode | undefined {
    const name = (pod?.spec as { nodeName?: string } | undefined)?.nodeName;
    return [...this.nodes.values()].find((node) => node.name === name);
  }

  #touch(node: ClusterNode | undefined): void {
    if (node) this.#busy.add(node);
  }

  /** Everybody does what there is to do now. */
  async #turn(): Promise<void> {
    await nextTurn();
    for (const node of this.#busy) {
      node.runtime.reconcile();
      this.#note(node);
      const { sandboxes, queuedDeletes } = node.runtime;
      const isDone = sandboxes.every(({ state }) => state === 'running') && sandboxes.length === node.pods.size;
      if (isDone && queuedDeletes === 0) this.#busy.delete(node);
    }
  }

  /** Which pods run there, and since when. */
  #note(node: ClusterNode): void {
    const there = new Set<string>();
    for (const { state, result, pod } of node.runtime.sandboxes) {
      if (state !== 'running' || !node.pods.has(pod)) continue;
      for (const { address } of result?.ips ?? []) {
        there.add(address);
        if (!this.#running.has(address)) this.#running.set(address, { node: node.name, pod, sinceMs: this.clock.now });
      }
    }
    for (const address of this.#addressesOf.get(node.name) ?? [])
      if (!there.has(address) && this.#running.get(address)?.node === node.name) this.#running.delete(address);
    this.#addressesOf.set(node.name, there);
  }

  /** Who hears that a pod's endpoint is gone is right to forget it, until its node says again where it is. */
  #hear(event: ClusterEvent): void {
    if (event.type === 'kube.deleted') this.#told.delete(objectKey(event.object));
    if (event.type !== 'kube.upserted') return;
    const key = objectKey(event.object);
    const before = this.#told.get(key);
    const { networking } = (event.object.status ?? {}) as { networking?: { addressing?: object[] } };
    const addresses = (networking?.addressing ?? []).flatMap((pair) => Object.values(pair) as string[]);
    this.#told.set(key, new Map(addresses.map((one) => [one, before?.get(one) ?? this.clock.now])));
  }

  /** Hitless between nodes: nobody takes away where a pod is that has been running for long. */
  #judge(node: ClusterNode, { table, action, key, before }: Op): void {
    if (table !== 'bpf.ipcache' || action !== 'delete') return;
    const known = this.#running.get(key);
    const toldMs = known && this.#told.get(known.pod)?.get(key.slice(0, key.indexOf('/')));
    if (!known || toldMs === undefined || node.hearingMs(Math.max(known.sinceMs, toldMs)) < KNOWN_AFTER_MS) return;
    const { identity } = before as IpcacheRow;
    this.violations.push(
      `hitless: ${node.name} deletes bpf.ipcache ${key} (identity ${identity}), where a pod of ${known.node} has been running for ${this.clock.now - known.sinceMs} ms`,
    );
  }
}

const namespaceObject = (label: number): KubeObject => ({
  apiVersion: 'v1',
  kind: 'Namespace',
  metadata: { name: NAMESPACE, uid: 'ns', labels: { stage: `s${label}` } },
});
