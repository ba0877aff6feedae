/**
 * Binds each pod without a node to the Ready node that has the fewest pods, as far as their `nodeSelector` allows.
 *
 * - While a new node is about to become Ready for the first time pods wait for it, or the first one would get all that are there at the start.
 */
import type { KubeObject } from '../../cluster/events.ts';
import type { EventRecorder } from './event-recorder.ts';
import { isConflict, isGone, type Objects } from './objects.ts';
import type { Condition, Pod } from './pod.ts';

interface Node extends KubeObject {
  spec: { unschedulable?: boolean };
  status?: { conditions?: Condition[] };
}

/** A node that is not Ready so long after it was made is not waited for. */
const STARTING_MS = 10_000;

export class Scheduler {
  readonly #objects: Objects;
  readonly #events: EventRecorder;
  readonly #nodes = new Map<string, Node>();
  /** Pods that wait for a node, by uid. */
  readonly #waiting = new Map<string, Pod>();
  /** Nodes that have been Ready, by uid. */
  readonly #wereReady = new Set<string>();
  /** Pods of which it was said that no node fits, by uid. */
  readonly #refused = new Set<string>();
  #starting: NodeJS.Timeout | undefined;
  readonly #unfollow: (() => void)[] = [];
  /** Of each node, by uid. */
  readonly #bound = new Map<string, Set<string>>();

  constructor(objects: Objects, events: EventRecorder) {
    this.#objects = objects;
    this.#events = events;
  }

  start(): void {
    this.#unfollow.push(
      this.#objects.follow<Node>('nodes', {
        upserted: (node) => {
          this.#nodes.set(node.metadata.name, node);
          if (isReadyNode(node)) this.#wereReady.add(node.metadata.uid ?? '');
          this.#retry();
        },
        deleted: (node) => this.#nodes.delete(node.metadata.name),
      }),
      this.#objects.follow<Pod>('pods', {
        where: (pod) => Boolean(pod.spec.nodeName),
        upserted: ({ metadata, spec }) => this.#boundTo(spec.nodeName ?? '').add(metadata.uid),
        deleted: ({ metadata, spec }) => this.#boundTo(spec.nodeName ?? '').delete(metadata.uid),
      }),
      this.#objects.follow<Pod>('pods', {
        where: (pod) => !pod.spec.nodeName,
        upserted: (pod) => this.#schedule(pod),
        deleted: (pod) => {
          this.#waiting.delete(pod.metadata.uid);
          this.#refused.delete(pod.metadata.uid);
        },
      }),
    );
  }

  stop(): void {
    for (const end of this.#unfollow) end();
    clearTimeout(this.#starting);
  }

  #retry(): void {
    for (const pod of [...this.#waiting.values()]) this.#schedule(pod);
  }

  #schedule(pod: Pod): void {
    const { namespace, name, uid } = pod.metadata;
    if (pod.spec.nodeName || pod.metadata.deletionTimestamp) return;
    const waitMs = this.#startingMs(pod);
    if (waitMs > 0) {
      this.#waiting.set(uid, pod);
      this.#starting ??= setTimeout(() => {
        this.#starting = undefined;
        this.#retry();
      }, waitMs).unref();
      return;
    }
    const node = this.#choose(pod);
    if (!node) {
      // A repetition is counted, not told again.
      if (!this.#refused.has(uid)) this.#events.record(pod, 'Warning', 'FailedScheduling', this.#refusal(pod));
      this.#refused.add(uid);
      this.#waiting.set(uid, pod);
      return;
    }
    this.#waiting.delete(uid);
    this.#refused.delete(uid);
    try {
      this.#objects.bind(namespace, name, node);
      this.#boundTo(node).add(uid);
      this.#events.record(pod, 'Normal', 'Scheduled', `Successfully assigned ${namespace}/${name} to ${node}`);
    } catch (error) {
      // It has gone, or got a node otherwise: the next change tells.
      if (!isGone(error) && !isConflict(error)) throw error;
    }
  }

  /** How long a node that the pod may be on may still take to become Ready for the first time. */
  #startingMs(pod: Pod): number {
    const left = [...this.#nodes.values()]
      .filter((node) => !this.#wereReady.has(node.metadata.uid ?? '') && !node.spec.unschedulable && selects(pod, node))
      .map(({ metadata }) => Date.parse(metadata.creationTimestamp ?? '') + STARTING_MS - Date.now())
      .filter((ms) => ms > 0);
    return Math.max(0, ...left);
  }

  #choose(pod: Pod): string | undefined {
    const fit = [...this.#nodes.values()]
      .filter((node) => isReadyNode(node) && selects(pod, node))
      .map((node) => node.metadata.name)
      .sort();
    const fewest = Math.min(...fit.map((name) => this.#boundTo(name).size));
    return fit.find((name) => this.#boundTo(name).size === fewest);
  }

  #boundTo(node: string): Set<string> {
    const bound = this.#bound.get(node) ?? new Set();
    this.#bound.set(node, bound);
    return bound;
  }

  #refusal(pod: Pod): string {
    const nodes = [...this.#nodes.values()];
    const unready = nodes.filter((node) => !isReadyNode(node)).length;
    const unselected = nodes.filter((node) => !selects(pod, node)).length;
    return `0/${nodes.length} nodes are available: ${unready} not ready, ${unselected} not matching the pod's nodeSelector`;
  }
}

function isReadyNode(node: Node): boolean {
  const ready = node.status?.conditions?.some(({ type, status }) => type === 'Ready' && status === 'True') ?? false;
  return ready && !node.spec.unschedulable;
}

function selects(pod: Pod, node: Node): boolean {
  return Object.entries(pod.spec.nodeSelector ?? {}).every(([key, value]) => node.metadata.labels?.[key] === value);
}
