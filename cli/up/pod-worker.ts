/**
 * One pod on one node, from its namespace and CNI ADD over its containers to CNI DEL and its namespace's end.
 *
 * - A failed ADD is followed by DEL and a new sandbox, with growing pauses: a runtime never adds twice to one sandbox.
 * - `terminate` ends it at any moment; whatever was made by then is unmade.
 */
import { randomBytes } from 'node:crypto';
import { mkdirSync, rmSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { createNetns, deleteNetns } from '../../native/index.ts';
import type { CniRequest, CniRuntime } from './cni-runtime.ts';
import { ContainerRunner } from './container.ts';
import type { EventRecorder } from './event-recorder.ts';
import { netnsPath, podNetns } from './names.ts';
import type { Objects } from './objects.ts';
import { pause } from './pause.ts';
import { type Pod, podName } from './pod.ts';
import { type ContainerReport, podStatus } from './pod-status.ts';
import { writeAtomically } from './registry.ts';
import { StatusWriter } from './status-writer.ts';

export interface NodeFacts {
  cluster: string;
  name: string;
  netns: string;
  /** Of the node, for the containers' processes; empty: ours. */
  cgroup: string;
  ips: readonly string[];
  /** Of the cluster. */
  stateDir: string;
  kubeconfig: string;
}
export interface PodWorkerParts {
  node: NodeFacts;
  runtime: CniRuntime;
  objects: Objects;
  events: EventRecorder;
}

const PAUSE_MS = 500;
const PAUSE_MAX_MS = 15_000;

/** Where `axoneme exec` finds the pod's namespace. */
export const podRecordPath = (stateDir: string, pod: string): string =>
  join(stateDir, 'pods', `${pod.replace('/', '_')}.json`);

export class PodWorker {
  readonly #parts: PodWorkerParts;
  readonly #netns: string;
  readonly #startTime = new Date().toISOString();
  readonly #ending = new AbortController();
  readonly #writer: StatusWriter;
  #pod: Pod;
  #podIPs: string[] = [];
  #init: ContainerRunner[] = [];
  #containers: ContainerRunner[] = [];
  #sandbox: CniRequest | undefined;
  #running: Promise<void> = Promise.resolve();

  constructor(pod: Pod, parts: PodWorkerParts) {
    const { namespace, name, uid } = pod.metadata;
    this.#pod = pod;
    this.#parts = parts;
    this.#netns = pod.spec.hostNetwork ? parts.node.netns : podNetns(parts.node.cluster, namespace, name, uid);
    this.#writer = new StatusWriter(parts.objects, pod, () => this.#status());
  }

  start(): void {
    this.#running = this.#run();
  }

  /** Labels and the like have changed. */
  update(pod: Pod): void {
    this.#pod = pod;
  }

  /** Ends all of it; resolves when nothing is left. */
  async terminate(graceMs: number): Promise<void> {
    if (!this.#ending.signal.aborted) {
      this.#event('Normal', 'Killing', 'Stopping the containers of the pod');
      this.#ending.abort();
    }
    await this.#stopContainers(graceMs);
    await this.#running;
    // Containers that were being created meanwhile.
    await this.#stopContainers(0);
    this.#writer.stop();
    rmSync(podRecordPath(this.#parts.node.stateDir, podName(this.#pod)), { force: true });
    await this.#removeSandbox();
  }

  /** The whole cluster ends: nothing is told to anybody, and namespaces are swept by name. */
  async abandon(): Promise<void> {
    this.#ending.abort();
    this.#writer.stop();
    await this.#stopContainers(0);
  }

  async #stopContainers(graceMs: number): Promise<void> {
    await Promise.all([...this.#init, ...this.#containers].map((container) => container.stop(graceMs)));
  }

  async #run(): Promise<void> {
    this.#writer.changed();
    if (this.#pod.spec.hostNetwork) this.#podIPs = [...this.#parts.node.ips];
    else await this.#createSandbox();
    if (this.#ending.signal.aborted) return;
    this.#writeRecord();
    const { containers, initContainers = [], restartPolicy = 'Always' } = this.#pod.spec;
    this.#init = initContainers.map((container) => this.#runner(container));
    this.#containers = containers.map((container) => this.#runner(container));
    this.#writer.changed();
    for (const init of this.#init) {
      const succeeded = await init.run(restartPolicy === 'Always' ? 'OnFailure' : restartPolicy);
      if (!succeeded) return;
    }
    if (this.#ending.signal.aborted) return;
    await Promise.all(this.#containers.map((container) => container.run(restartPolicy)));
  }

  async #createSandbox(): Promise<void> {
    const { node, runtime } = this.#parts;
    const { namespace, name, uid } = this.#pod.metadata;
    const netns = netnsPath(this.#netns);
    for (let pauseMs = PAUSE_MS; !this.#ending.signal.aborted; pauseMs = Math.min(pauseMs * 2, PAUSE_MAX_MS)) {
      const containerId = randomBytes(32).toString('hex');
      this.#sandbox = { containerId, netns, podNamespace: namespace, podName: name, podUid: uid };
      try {
        createNetns(netns, { loopbackUp: true });
        this.#podIPs = (await runtime.add(this.#sandbox)).podIPs;
        this.#event(
          'Normal',
          'SandboxCreated',
          `Network namespace ${this.#netns} on ${node.name} has ${this.#podIPs.join(' and ')}`,
        );
        return;
      } catch (error) {
        const message = error instanceof Error ? error.message : String(error);
        this.#event('Warning', 'FailedCreatePodSandBox', `Failed to create pod sandbox: ${message}`);
        await this.#removeSandbox();
        await pause(pauseMs, this.#ending.signal);
      }
    }
  }

  async #removeSandbox(): Promise<void> {
    const sandbox = this.#sandbox;
    if (!sandbox) return;
    for (let pauseMs = PAUSE_MS; ; pauseMs = Math.min(pauseMs * 2, PAUSE_MAX_MS)) {
      try {
        await this.#parts.runtime.del(sandbox);
        break;
      } catch (error) {
        const message = error instanceof Error ? error.message : String(error);
        this.#event('Warning', 'FailedKillPod', `Failed to remove pod sandbox: ${message}`);
        await new Promise((done) => setTimeout(done, pauseMs).unref());
      }
    }
    deleteNetns(sandbox.netns);
    this.#sandbox = undefined;
  }

  #runner(container: Pod['spec']['containers'][number]): ContainerRunner {
    const { node } = this.#parts;
    const { namespace, name } = this.#pod.metadata;
    const logFile = join(node.stateDir, 'logs', `${namespace}_${name}_${container.name}.log`);
    mkdirSync(dirname(logFile), { recursive: true, mode: 0o700 });
    return new ContainerRunner({
      container,
      pod: this.#pod,
      netns: netnsPath(this.#netns),
      cgroup: node.cgroup,
      node: node.name,
      facts: { pod: this.#pod, podIPs: this.#podIPs, hostIPs: node.ips, kubeconfig: node.kubeconfig },
      logFile,
      changed: () => this.#writer.changed(),
      event: (type, reason, message) => this.#event(type, reason, message),
    });
  }

  #writeRecord(): void {
    const path = podRecordPath(this.#parts.node.stateDir, podName(this.#pod));
    mkdirSync(dirname(path), { recursive: true, mode: 0o700 });
    writeAtomically(path, JSON.stringify({ pod: podName(this.#pod), node: this.#parts.node.name, netns: this.#netns }));
  }

  #event(type: 'Normal' | 'Warning', reason: string, message: string): void {
    this.#parts.events.record(this.#pod, type, reason, message);
  }

  #status(): unknown {
    return podStatus({
      pod: this.#pod,
      podIPs: this.#podIPs,
      hostIPs: this.#parts.node.ips,
      initContainers: this.#init.map(({ report }) => report),
      containers: this.#containers.length > 0 ? this.#containers.map(({ report }) => report) : creating(this.#pod),
      startTime: this.#startTime,
      now: new Date().toISOString(),
    });
  }
}

/** Containers of a pod that has no sandbox yet. */
function creating(pod: Pod): ContainerReport[] {
  return pod.spec.containers.map(({ name, image = '' }) => ({
    name,
    image,
    id: '',
    state: { kind: 'waiting', reason: 'ContainerCreating', message: '' },
    lastState: undefined,
    restarts: 0,
  }));
}
