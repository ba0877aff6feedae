/** Binds pods without a node to the Ready nodes in turn, as far as their `nodeSelector` allows. */
import type { KubeObject } from '../../cluster/events.ts';
import type { EventRecorder } from './event-recorder.ts';
import { isConflict, isGone, type Objects } from './objects.ts';
import type { Condition, Pod } from './pod.ts';

interface Node extends KubeObject {
  spec: { unschedulable?: boolean };
  status?: { conditions?: Condition[] };
}

export class Scheduler {
  readonly #objects: Objects;
  readonly #events: EventRecorder;
  readonly #nodes = new Map<string, Node>();
  /** Pods that wait for a node, by uid. */
  readonly #waiting = new Map<string, Pod>();
  readonly #unfollow: (() => void)[] = [];
  #turn = 0;

  constructor(objects: Objects, events: EventRecorder) {
    this.#objects = objects;
    this.#events = events;
  }

  start(): void {
    this.#unfollow.push(
      this.#objects.follow<Node>('nodes', {
        upserted: (node) => {
          this.#nodes.set(node.metadata.name, node);
          this.#retry();
        },
        deleted: (node) => this.#nodes.delete(node.metadata.name),
      }),
      this.#objects.follow<Pod>('pods', {
        where: (pod) => !pod.spec.nodeName,
        upserted: (pod) => this.#schedule(pod),
        deleted: (pod) => this.#waiting.delete(pod.metadata.uid),
      }),
    );
  }

  stop(): void {
    for (const end of this.#unfollow) end();
  }

  #retry(): void {
    for (const pod of [...this.#waiting.values()]) this.#schedule(pod);
  }

  #schedule(pod: Pod): void {
    const { namespace, name, uid } = pod.metadata;
    if (pod.spec.nodeName || pod.metadata.deletionTimestamp) return;
    const node = this.#choose(pod);
    if (!node) {
      // A repetition is counted, not told again.
      if (!this.#waiting.has(uid)) this.#events.record(pod, 'Warning', 'FailedScheduling', this.#refusal(pod));
      this.#waiting.set(uid, pod);
      return;
    }
    this.#waiting.delete(uid);
    try {
      this.#objects.bind(namespace, name, node);
      this.#events.record(pod, 'Normal', 'Scheduled', `Successfully assigned ${namespace}/${name} to ${node}`);
    } catch (error) {
      // It has gone, or got a node otherwise: the next change tells.
      if (!isGone(error) && !isConflict(error)) throw error;
    }
  }

  #choose(pod: Pod): string | undefined {
    const fit = [...this.#nodes.values()]
      .filter((node) => isReadyNode(node) && selects(pod, node))
      .map((node) => node.metadata.name);
    return fit.sort()[this.#turn++ % Math.max(1, fit.length)];
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
