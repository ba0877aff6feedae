/**
 * The container runtime and kubelet of the simulated node: pods become sandboxes with a namespace, wired by CNI.
 *
 * - A sandbox whose ADD failed is taken back with DEL and made anew under another id, as kubelet does.
 * - DEL with the agent down is queued, and the queue is worked off when an agent starts.
 */

import type { CniAddResult } from '../../cluster/cni-types.ts';
import type { KubeObject } from '../../cluster/events.ts';
import type { SimulatedKernel } from '../kernel.ts';
import type { SimulatedAgent } from './agent.ts';

export interface Sandbox {
  pod: string;
  uid: string;
  containerId: string;
  netns: string;
  state: 'adding' | 'running' | 'leaving';
  /** Set when running. */
  result: CniAddResult | undefined;
}

/** What the runtime was just told of a sandbox by CNI. */
export type Answered = 'added' | 'deleted';

export class SimulatedRuntime {
  readonly #kernel: SimulatedKernel;
  readonly #pods: () => ReadonlyMap<string, KubeObject>;
  readonly #onAnswer: (sandbox: Sandbox, answered: Answered) => void;
  readonly #sandboxes = new Map<string, Sandbox>();
  readonly #deleteQueue = new Map<string, Sandbox>();
  #agent: SimulatedAgent | undefined;
  #containers = 0;

  constructor(
    kernel: SimulatedKernel,
    pods: () => ReadonlyMap<string, KubeObject>,
    onAnswer: (sandbox: Sandbox, answered: Answered) => void,
  ) {
    this.#kernel = kernel;
    this.#onAnswer = onAnswer;
    this.#pods = pods;
  }

  get sandboxes(): readonly Sandbox[] {
    return [...this.#sandboxes.values()];
  }

  get queuedDeletes(): number {
    return this.#deleteQueue.size;
  }

  agentStarted(agent: SimulatedAgent): void {
    this.#agent = agent;
    for (const [containerId, sandbox] of this.#deleteQueue) {
      void agent.del(containerId).then(({ error }) => {
        if (error) return;
        this.#onAnswer(sandbox, 'deleted');
        this.#deleteQueue.delete(containerId);
      });
    }
  }

  /** Brings sandboxes in line with pods; what it begins goes on by itself. */
  reconcile(): void {
    const pods = this.#pods();
    for (const sandbox of this.#sandboxes.values()) {
      const pod = pods.get(sandbox.pod);
      const isWanted = pod !== undefined && pod.metadata.uid === sandbox.uid;
      const isWhole = this.#kernel.hasNamespace(sandbox.netns);
      if (sandbox.state === 'running' && !(isWanted && isWhole)) void this.#leave(sandbox);
    }
    for (const [key, pod] of pods) {
      if (!this.#sandboxes.has(key)) void this.#make(key, pod);
    }
  }

  /** A second ADD for a container that has one; it must be refused. Returns what is wrong if it is not. */
  async addAgain({ containerId, netns, pod, uid, state }: Sandbox): Promise<string | undefined> {
    if (state === 'leaving') return undefined;
    const [podNamespace = '', podName = ''] = pod.split('/');
    const answer = await this.#agent?.add({ containerId, netns, podNamespace, podName, podUid: uid });
    return answer && !answer.error ? `cni: a second ADD for container ${containerId} was not refused` : undefined;
  }

  /** DEL for a container that is not known, or is still being added or deleted. Returns what is wrong if it is refused. */
  async del(containerId: string): Promise<string | undefined> {
    const agent = this.#agent;
    const answer = await agent?.del(containerId);
    const isRefused = answer?.error && agent?.isReady;
    return isRefused ? `cni: DEL of container ${containerId} was refused: ${answer?.error?.msg}` : undefined;
  }

  /** Somebody takes the namespace of a running pod away. */
  loseNamespace(sandbox: Sandbox): void {
    this.#kernel.removeNamespace(sandbox.netns);
  }

  async #make(key: string, pod: KubeObject): Promise<void> {
    if (!this.#agent?.isReady) return;
    const containerId = `c${++this.#containers}`;
    const { namespace = '', name, uid = '' } = pod.metadata;
    const sandbox: Sandbox = {
      pod: key,
      uid,
      containerId,
      netns: `/run/netns/${containerId}`,
      state: 'adding',
      result: undefined,
    };
    this.#sandboxes.set(key, sandbox);
    this.#kernel.addNamespace(sandbox.netns);
    const { error, result } = await this.#agent.add({
      containerId,
      netns: sandbox.netns,
      podNamespace: namespace,
      podName: name,
      podUid: uid,
    });
    if (error) return this.#leave(sandbox);
    sandbox.state = 'running';
    sandbox.result = result as CniAddResult;
    this.#onAnswer(sandbox, 'added');
  }

  async #leave(sandbox: Sandbox): Promise<void> {
    sandbox.state = 'leaving';
    const answer = await this.#agent?.del(sandbox.containerId);
    if (!answer || answer.error) this.#deleteQueue.set(sandbox.containerId, sandbox);
    else this.#onAnswer(sandbox, 'deleted');
    this.#kernel.removeNamespace(sandbox.netns);
    this.#sandboxes.delete(sandbox.pod);
    if (this.#deleteQueue.has(sandbox.containerId) && this.#agent?.isReady) this.agentStarted(this.#agent);
  }
}
