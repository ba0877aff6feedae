/**
 * The kubelet of one embedded node: a worker for each pod bound to it, from its binding to its end on the API server.
 *
 * - The Node is Ready while the agent answers CNI STATUS so; no pod starts before it was Ready once.
 * - A pod leaves the API server only after its containers, its endpoint and its namespace are gone.
 */

import type { CniStatus } from '../../cluster/cni-types.ts';
import { ask } from '../cni/agent-client.ts';
import { CniRuntime } from './cni-runtime.ts';
import { EventRecorder } from './event-recorder.ts';
import { nodeStatus } from './node-object.ts';
import { isConflict, isGone, type Objects } from './objects.ts';
import { pause } from './pause.ts';
import { isFinished, type Pod } from './pod.ts';
import { type NodeFacts, PodWorker } from './pod-worker.ts';

export interface KubeletOptions {
  node: NodeFacts;
  cniSocket: string;
  objects: Objects;
}

const STATUS_EVERY_MS = 1_000;
/** While the agent is not ready yet, a user is waiting. */
const STATUS_EVERY_UNREADY_MS = 100;
const DEFAULT_GRACE_SECONDS = 30;

export class Kubelet {
  readonly #options: KubeletOptions;
  readonly #runtime: CniRuntime;
  readonly #events: EventRecorder;
  readonly #stopped = new AbortController();
  /** By pod uid. */
  readonly #workers = new Map<string, PodWorker>();
  readonly #leaving = new Set<string>();
  #unfollow: (() => void) | undefined;

  constructor(options: KubeletOptions) {
    this.#options = options;
    this.#runtime = new CniRuntime(options.cniSocket);
    this.#events = new EventRecorder(options.objects, 'kubelet', options.node.name);
  }

  /** Resolves when the node is Ready for the first time. */
  async start(): Promise<void> {
    await new Promise<void>((ready) => void this.#keepStatus(ready));
    if (this.#stopped.signal.aborted) return;
    this.#unfollow = this.#options.objects.follow<Pod>('pods', {
      where: (pod) => pod.spec.nodeName === this.#options.node.name,
      upserted: (pod) => this.#upserted(pod),
      deleted: (pod) => void this.#end(pod, 0),
    });
  }

  /** The whole cluster ends. */
  async stop(): Promise<void> {
    this.#stopped.abort();
    this.#unfollow?.();
    await Promise.all([...this.#workers.values()].map((worker) => worker.abandon()));
  }

  async #observe(): Promise<CniStatus> {
    const outcome = await ask(this.#options.cniSocket, 'GET', '/v1/cni/status');
    if ('failure' in outcome) return { ready: false, reason: `the agent does not answer: ${outcome.failure.reason}` };
    return (
      (outcome.reply.result as CniStatus | undefined) ?? {
        ready: false,
        reason: outcome.reply.error?.msg ?? 'no answer',
      }
    );
  }

  async #keepStatus(ready: () => void): Promise<void> {
    let written = '';
    while (!this.#stopped.signal.aborted) {
      const status = await this.#observe();
      const text = JSON.stringify(status);
      if (text !== written) this.#writeNode(status);
      written = text;
      if (status.ready) ready();
      await pause(status.ready ? STATUS_EVERY_MS : STATUS_EVERY_UNREADY_MS, this.#stopped.signal);
    }
    ready();
  }

  #writeNode(status: CniStatus): void {
    const { objects, node } = this.#options;
    try {
      objects.patch('nodes', '', node.name, { status: nodeStatus(node, status, new Date().toISOString()) }, 'status');
    } catch (error) {
      // Somebody deleted the Node: its pods run on, as they would on a real one.
      if (!isGone(error)) throw error;
    }
  }

  #upserted(pod: Pod): void {
    const { uid, deletionTimestamp, deletionGracePeriodSeconds } = pod.metadata;
    if (deletionTimestamp !== undefined) {
      void this.#end(pod, deletionGracePeriodSeconds ?? DEFAULT_GRACE_SECONDS);
      return;
    }
    const known = this.#workers.get(uid);
    if (known) known.update(pod);
    else if (!isFinished(pod)) {
      const worker = new PodWorker(pod, { ...this.#options, runtime: this.#runtime, events: this.#events });
      this.#workers.set(uid, worker);
      worker.start();
    }
  }

  async #end(pod: Pod, graceSeconds: number): Promise<void> {
    const { uid } = pod.metadata;
    if (this.#leaving.has(uid)) return;
    this.#leaving.add(uid);
    try {
      await this.#workers.get(uid)?.terminate(graceSeconds * 1_000);
      this.#workers.delete(uid);
      if (!this.#stopped.signal.aborted) this.#removeObject(pod);
    } finally {
      this.#leaving.delete(uid);
    }
  }

  #removeObject(pod: Pod): void {
    const { namespace, name, uid } = pod.metadata;
    try {
      this.#options.objects.delete('pods', namespace, name, { gracePeriodSeconds: 0, uid });
    } catch (error) {
      if (!isGone(error) && !isConflict(error)) throw error;
    }
  }
}
