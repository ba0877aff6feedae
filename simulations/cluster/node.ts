/** One node of a simulated cluster: a kernel and a store that outlive the agents, a runtime, and agents that come and go. */
import type { AgentFacts, ClusterEvent, KubeObject, LinkFacts } from '../../cluster/events.ts';
import type { Op } from '../../datapath/driver.ts';
import { Store } from '../../state/store.ts';
import { nodeAddressesOf, nodeNameOf, wireguardKeyOf } from '../cluster-nodes.ts';
import { SimulatedKernel } from '../kernel.ts';
import { SimulatedAgent } from '../node/agent.ts';
import type { SimulatedApi } from '../node/api.ts';
import type { VirtualClock } from '../node/clock.ts';
import { checkAnswer, checkOp } from '../node/laws.ts';
import { policyFacts } from '../node/policies.ts';
import { SimulatedRuntime } from '../node/runtime.ts';
import { serviceFacts } from '../node/services.ts';
import { type Release, releases } from '../releases/release.ts';
import type { Flip } from '../upgrade/actions.ts';
import { Learnt } from '../upgrade/learnt.ts';

/** What all nodes share. */
export interface Common {
  api: SimulatedApi;
  clock: VirtualClock;
  random: () => number;
  /** Of all nodes, but for the node's name and build. */
  facts: AgentFacts;
  resyncMs: number;
  onViolation: (violation: string) => void;
  /** Right before an op is applied to the kernel of a node. */
  onOp: (node: ClusterNode, op: Op) => void;
}

const newest = releases().at(-1) as Release;

/** A watch is behind by this much at most, usually. */
const LATE_MS = 50;
/** An API server that is asked too much. */
const VERY_LATE_MS = 5_000;
const VERY_LATE_SHARE = 0.01;

export class ClusterNode {
  readonly number: number;
  readonly name: string;
  readonly kernel: SimulatedKernel;
  readonly store = new Store(':memory:');
  readonly runtime: SimulatedRuntime;
  /** Pods that are to be here, by key. */
  readonly pods = new Map<string, KubeObject>();
  agent: SimulatedAgent | undefined;
  lives = 0;
  ops = 0;
  /** Of connections, by its programs. */
  learnt = new Learnt(newest);
  /** Starts of its kernel. */
  boots = 1;
  #build = 0;
  #release = newest;
  readonly #flipped = new Set<Flip>();
  #hooks: string[] = [];
  #rotations = 0;
  #isCut = false;
  #cutOrHealedMs = 0;
  #eventsOfTheDead = 0;
  #fault: { errno: string; ops: number } | undefined;
  readonly #common: Common;

  constructor(number: number, common: Common) {
    this.number = number;
    this.name = nodeNameOf(number);
    this.#common = common;
    this.kernel = new SimulatedKernel({ faults: (op) => this.#failureOf(op) });
    this.kernel.addLink('eth0');
    this.runtime = new SimulatedRuntime(
      this.kernel,
      () => this.pods,
      (sandbox, answered) => {
        for (const fault of checkAnswer(sandbox, answered, this.kernel)) this.#accuse(fault);
      },
    );
  }

  get isAlive(): boolean {
    return this.agent !== undefined && !this.agent.isDead;
  }

  /** Of the logs of all lives. */
  get events(): number {
    return this.#eventsOfTheDead + (this.agent?.events ?? 0);
  }

  /** Everything is done that was to be done here. */
  get isQuiet(): boolean {
    const stats = this.agent?.engine.stats();
    const { sandboxes, queuedDeletes } = this.runtime;
    const running = sandboxes.filter(({ state }) => state === 'running').length;
    return (
      this.isAlive &&
      stats?.pending === 0 &&
      stats.inFlight === 0 &&
      queuedDeletes === 0 &&
      running === sandboxes.length &&
      running === this.pods.size
    );
  }

  /** As its next agent is told; whatever changes its programs makes another build. */
  get facts(): AgentFacts {
    const { facts } = this.#common;
    const has = (flip: Flip): boolean => this.#flipped.has(flip);
    const partial = { mode: 'partial', nodePort: false, externalIPs: false, hostPort: false } as const;
    return {
      ...facts,
      nodeName: this.name,
      datapathBuild: [`b${this.#build}`, this.#release.version, ...[...this.#flipped].sort()].join('-'),
      masquerade: facts.masquerade !== has('masquerade'),
      services: {
        ...serviceFacts,
        ...(has('partial') && partial),
        ...(has('dsr') && { forwarding: 'dsr' }),
        ...(has('random') && { algorithm: 'random' }),
        sockHooks: this.#hooks,
      },
      policy: { ...policyFacts, enforcement: has('always') ? 'always' : has('never') ? 'never' : 'default' },
    };
  }

  /** The next agent's release; false: it dies in the middle of moving what was learnt. */
  install(release: Release, mapsDone?: number): boolean {
    this.#release = release;
    return this.learnt.moveTo(release, mapsDone);
  }

  /** Of the next agent's configuration. */
  flip(what: Flip): void {
    if (!this.#flipped.delete(what)) this.#flipped.add(what);
  }

  /** The machine starts anew: what was in its kernel is gone, what is on its disk stays. */
  reboot(hasHooks: boolean): void {
    this.kill();
    this.boots++;
    this.#hooks = hasHooks ? ['connect4', 'connect6', 'sendmsg4', 'sendmsg6'] : [];
    for (const { netns } of this.runtime.sandboxes) this.kernel.removeNamespace(netns);
    for (const { table, key } of [...this.kernel.rows()]) this.kernel.meddle(table, key, undefined);
    this.learnt = new Learnt(this.#release);
  }

  async start(): Promise<void> {
    if (this.isAlive) return;
    const { api, clock, random, resyncMs, onOp } = this.#common;
    this.learnt.moveTo(this.#release);
    this.#eventsOfTheDead += this.agent?.events ?? 0;
    const agent = new SimulatedAgent({
      kernel: this.kernel,
      api,
      clock,
      store: this.store,
      facts: this.facts,
      links: () => [linkFacts(this.number)],
      keys: () => this.#keys(),
      random,
      resyncMs,
      isForgetful: true,
      isReached: () => !this.#isCut,
      watch: {
        isAsked: (resource, object) =>
          resource !== 'pods' || (object.spec as { nodeName?: string } | undefined)?.nodeName === this.name,
        later: (deliver) => {
          const most = random() < VERY_LATE_SHARE ? VERY_LATE_MS : LATE_MS;
          clock.at(clock.now + Math.floor(random() * most), deliver);
        },
        isCut: this.#isCut,
      },
      gate: () => Promise.resolve(),
      onOp: (op) => {
        this.ops++;
        const fault = checkOp(op, this.runtime.sandboxes, this.kernel);
        if (fault) this.#accuse(fault);
        onOp(this, op);
      },
      onDefect: (message) => this.#accuse(`defect: ${message}`),
    });
    this.lives++;
    this.agent = agent;
    await agent.start();
    this.runtime.agentStarted(agent);
  }

  /** It dies at once, or before the op after this many. */
  kill(afterOps = 0): void {
    if (afterOps > 0) this.agent?.dieAfter(afterOps);
    else this.agent?.kill();
  }

  /** What was to kill it later does not. */
  spare(): void {
    this.agent?.dieAfter(Number.POSITIVE_INFINITY);
    this.#fault = undefined;
  }

  /** From the API server. */
  set isCut(cut: boolean) {
    if (cut !== this.#isCut) this.#cutOrHealedMs = this.#common.clock.now;
    this.#isCut = cut;
    if (this.agent && this.isAlive) this.agent.isCut = cut;
  }

  /** For how long it could hear, until now or until it was cut off, of what was said at `saidMs`. */
  hearingMs(saidMs: number): number {
    const { now } = this.#common.clock;
    return this.#isCut ? this.#cutOrHealedMs - saidMs : now - Math.max(saidMs, this.#cutOrHealedMs);
  }

  /** Of the next agent. */
  set build(build: number) {
    this.#build = build;
  }

  /** Some ops fail from now on. */
  fail(errno: string, ops: number): void {
    this.#fault = { errno, ops };
  }

  rekey(): void {
    this.#rotations++;
    for (const event of this.#keys()) if (this.isAlive) this.agent?.key(event);
  }

  /** It is no more. */
  close(): void {
    this.kill();
    this.store.close();
  }

  #keys(): ClusterEvent[] {
    const { encryption } = this.#common.facts;
    if (encryption?.type === 'wireguard')
      return [{ type: 'wireguard.keyed', publicKey: wireguardKeyOf(this.number + 1_000 * this.#rotations) }];
    // The key of the cluster is one and the same.
    return encryption?.type === 'ipsec' ? [{ type: 'ipsec.keyed', keys: [{ id: 1, fingerprint: 'f' }] }] : [];
  }

  #failureOf(op: Op): string | undefined {
    if (!this.#fault || this.#fault.ops <= 0) return undefined;
    this.#fault.ops--;
    // Only maps can be full.
    return this.#fault.errno === 'E2BIG' && !op.table.startsWith('bpf.') ? 'EBUSY' : this.#fault.errno;
  }

  #accuse(violation: string): void {
    this.#common.onViolation(`${this.name}: ${violation}`);
  }
}

function linkFacts(number: number): LinkFacts {
  const [ipv4, ipv6] = nodeAddressesOf(number);
  const addresses = [`${ipv4}/16`, `${ipv6}/64`];
  const mac = `02:00:00:00:${(number >> 8).toString(16).padStart(2, '0')}:${(number & 255).toString(16).padStart(2, '0')}`;
  return { name: 'eth0', kind: '', mac, mtu: 1500, up: true, addresses, defaultRoute: true };
}
