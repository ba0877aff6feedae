/**
 * A simulated node and everything around it: kernel, API server, runtime, time, and agents that come and go.
 *
 * - The kernel does an op when the world lets it: between any two ops anything may happen.
 * - `settle` is the end of all faults; what holds afterwards is judged by `laws.ts`.
 */
import type { AgentFacts, KubeObject, LinkFacts } from '../../cluster/events.ts';
import type { Op } from '../../datapath/driver.ts';
import { Store } from '../../state/store.ts';
import type { IpcacheRow } from '../../state/tables.ts';
import { SimulatedKernel } from '../kernel.ts';
import type { Action } from './actions.ts';
import { SimulatedAgent } from './agent.ts';
import { claimIdentity, SimulatedApi } from './api.ts';
import { seeded, VirtualClock } from './clock.ts';
import { checkAnswer, checkOp, checkRemembered } from './laws.ts';
import { actOnNeighbors, checkClear, deleteNeighbors, keyEvents, networkOf, probed } from './neighbors.ts';
import { actOnPolicies, deletePolicies, policyFacts } from './policies.ts';
import { SimulatedRuntime } from './runtime.ts';
import { actOnServices, checkReferents, deleteServices, serviceFacts } from './services.ts';

export const facts: AgentFacts = {
  nodeName: 'node-1',
  clusterName: 'default',
  devices: [],
  ipv4: true,
  ipv6: true,
  masquerade: true,
  mtu: 0,
  datapathBuild: 'b0',
  services: serviceFacts,
  policy: policyFacts,
};

const NODE: KubeObject = {
  apiVersion: 'v1',
  kind: 'Node',
  metadata: { name: facts.nodeName, uid: 'node' },
  spec: { podCIDRs: ['10.0.1.0/27', 'fd00:1::/64'] },
  status: { addresses: [{ type: 'InternalIP', address: '192.0.2.2' }] },
};
const NAMESPACE = 'demo';
const SETTLE_ROUNDS_MAX = 900;
const ROUND_MS = 1_000;
/** Long enough for every table to be dumped twice. */
const ROUNDS_OF_PEACE = 65;

const nextTurn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

export class World {
  readonly clock = new VirtualClock();
  readonly api = new SimulatedApi(() => this.clock.now);
  readonly kernel: SimulatedKernel;
  readonly runtime: SimulatedRuntime;
  readonly store = new Store(':memory:');
  /** Every life of the agent, the present one last. */
  readonly agents: SimulatedAgent[] = [];
  readonly violations: string[] = [];
  /** Applied to the kernel, by any agent. */
  ops = 0;
  readonly #random: () => number;
  /** Of this world's agents; the kind of network follows from the seed. */
  readonly facts: AgentFacts;
  /** Of this node's keys. */
  #rotations = 0;
  #eth0: LinkFacts | undefined = linkFacts(2);
  #host = 2;
  /** Of the BPF object that the next agent comes with. */
  #build = 0;
  #liveBuild = 0;
  #fault: { errno: string; ops: number } | undefined;
  #waiting: (() => void)[] = [];
  /** Somebody took rows away behind the agent's back: its answers may be wrong in good faith. */
  #isSpoiled = false;
  #isGateOpen = true;
  #uids = 0;

  constructor(seed: number) {
    this.#random = seeded(seed ^ 0x5eed);
    this.facts = { ...facts, ...networkOf(seed) };
    this.kernel = new SimulatedKernel({ faults: (op) => this.#failureOf(op) });
    this.kernel.addLink('eth0');
    this.runtime = new SimulatedRuntime(
      this.kernel,
      () => this.api.of('pods'),
      (sandbox, answered) => {
        if (!this.#isSpoiled) this.violations.push(...checkAnswer(sandbox, answered, this.kernel));
      },
    );
    this.api.upsert('nodes', NODE);
    this.api.upsert('namespaces', namespaceObject(0));
  }

  get agent(): SimulatedAgent | undefined {
    return this.agents.at(-1);
  }

  async start(): Promise<void> {
    const agent = new SimulatedAgent({
      kernel: this.kernel,
      api: this.api,
      clock: this.clock,
      store: this.store,
      facts: { ...this.facts, datapathBuild: `b${this.#build}` },
      links: () => (this.#eth0 ? [this.#eth0] : []),
      keys: () => keyEvents(this.facts, this.#rotations),
      random: this.#random,
      gate: () => (this.#isGateOpen ? Promise.resolve() : new Promise((resolve) => this.#waiting.push(resolve))),
      onOp: (op) => {
        this.ops++;
        const fault = checkOp(op, this.runtime.sandboxes, this.kernel);
        if (fault) this.violations.push(fault);
        const clear = this.#isSpoiled ? undefined : checkClear(this.facts, op);
        if (clear) this.violations.push(clear);
        this.violations.push(...checkRemembered(op, this.kernel, this.store));
        if (!this.#isSpoiled) this.violations.push(...checkReferents(op, this.kernel, agent.engine));
      },
      onDefect: (message) => this.violations.push(`defect: ${message}`),
    });
    this.#liveBuild = this.#build;
    this.agents.push(agent);
    await agent.start();
    this.runtime.agentStarted(agent);
  }

  async act(action: Action): Promise<void> {
    await this.#do(action);
    await this.#turn();
  }

  async #do(action: Action): Promise<void> {
    switch (action.do) {
      case 'create':
        return this.#create(action.pod);
      case 'delete':
        return this.api.delete('pods', podKeyOf(action.pod));
      case 'relabel': {
        const pod = this.api.of('pods').get(podKeyOf(action.pod));
        if (pod)
          this.api.upsert('pods', { ...pod, metadata: { ...pod.metadata, labels: { app: `v${action.label}` } } });
        return;
      }
      case 'loseNamespace': {
        const sandbox = this.runtime.sandboxes.find(
          ({ pod, state }) => pod === podKeyOf(action.pod) && state === 'running',
        );
        if (sandbox) this.#isSpoiled = true;
        if (sandbox) this.runtime.loseNamespace(sandbox);
        return;
      }
      case 'cni':
        return this.#cni(action.how, action.pod);
      case 'relabelNamespace':
        return this.api.upsert('namespaces', namespaceObject(action.label));
      case 'node':
        if (action.how === 'delete') return this.api.delete('nodes', facts.nodeName);
        return this.api.upsert('nodes', action.how === 'strip' ? { ...NODE, spec: {} } : NODE);
      case 'upgrade':
        this.#build = action.build;
        return;
      case 'kill':
        if (action.afterOps === 0) this.agent?.kill();
        else this.agent?.dieAfter(action.afterOps);
        return;
      case 'restart':
        if (this.agent?.isDead ?? true) await this.#revive();
        return;
      case 'api':
        this.api.isUp = action.up;
        return;
      case 'loseIdentity': {
        const keys = [...this.api.of('ciliumidentities').keys()];
        const key = keys[action.which % Math.max(keys.length, 1)];
        if (key !== undefined) this.api.delete('ciliumidentities', key);
        return;
      }
      case 'rivalIdentity': {
        const all = [...this.api.of('ciliumidentities').values()];
        const labels = all[action.which % Math.max(all.length, 1)]?.['security-labels'] as
          | Record<string, string>
          | undefined;
        if (labels) claimIdentity(this.api, this.#random, labels, NAMESPACE);
        return;
      }
      case 'flap':
        return this.#flap(action.up);
      case 'readdress':
        this.#host = action.host;
        if (this.#eth0) this.#flap(true);
        return;
      case 'fault':
        this.#fault = { errno: action.errno, ops: action.ops };
        return;
      case 'drift':
        return this.#drift(action.which, action.how);
      case 'work':
        return this.#work(action.ops);
      case 'advance':
        this.clock.advance(action.ms);
        return;
      case 'service':
      case 'endpoints':
        return actOnServices(this.api, action);
      case 'policy':
        return actOnPolicies(this.api, action);
      case 'neighbor':
      case 'farPod':
        return actOnNeighbors(this.api, action);
      case 'rekey':
        this.#rotations++;
        for (const event of keyEvents(this.facts, this.#rotations)) this.agent?.key(event);
        return;
      case 'probe':
        return this.agent?.probed(probed(action.node, action.up));
    }
  }

  /** Requests that the runtime should not make, or not yet; their answers come when they come. */
  #cni(how: 'addAgain' | 'delEarly' | 'delUnknown', pod: number): void {
    const sandbox = this.runtime.sandboxes.find((one) => one.pod === podKeyOf(pod));
    const judge = (fault: string | undefined): void => void (fault && this.violations.push(fault));
    if (how === 'delUnknown') void this.runtime.del(`stranger-${pod}`).then(judge);
    else if (sandbox && how === 'addAgain') void this.runtime.addAgain(sandbox).then(judge);
    else if (sandbox && sandbox.state !== 'running') void this.runtime.del(sandbox.containerId).then(judge);
  }

  #create(number: number): void {
    const key = podKeyOf(number);
    if (this.api.of('pods').has(key)) return;
    const name = key.slice(NAMESPACE.length + 1);
    const metadata = { name, namespace: NAMESPACE, uid: `u${++this.#uids}`, labels: { app: `v${number % 3}` } };
    this.api.upsert('pods', { apiVersion: 'v1', kind: 'Pod', metadata, spec: { nodeName: facts.nodeName } });
  }

  #flap(up: boolean): void {
    if (up) {
      this.#eth0 = linkFacts(this.#host);
      this.kernel.addLink('eth0');
      this.agent?.link({ type: 'link.upserted', link: this.#eth0 });
    } else if (this.#eth0) {
      this.#eth0 = undefined;
      this.kernel.removeLink('eth0');
      this.agent?.link({ type: 'link.deleted', name: 'eth0' });
    }
  }

  #drift(which: number, how: 'remove' | 'change' | 'add'): void {
    if (how === 'add') {
      const stray: IpcacheRow = { identity: 999, tunnelEndpoint: '', encryptKey: 0, flags: 0 };
      this.kernel.meddle('bpf.ipcache', `203.0.113.${which % 250}/32`, stray);
      return;
    }
    const rows = [...this.kernel.rows()];
    const row = rows[which % Math.max(rows.length, 1)];
    if (!row) return;
    this.#isSpoiled = true;
    if (how === 'remove') this.kernel.meddle(row.table, row.key, undefined);
    else if (row.table.startsWith('bpf.'))
      this.kernel.meddle(row.table, row.key, { ...(row.value as object), flags: 7 });
    else if (row.table === 'sysctls') this.kernel.meddle(row.table, row.key, { value: '0' });
  }

  #failureOf(op: Op): string | undefined {
    if (!this.#fault || this.#fault.ops <= 0) return undefined;
    this.#fault.ops--;
    // Only maps can be full.
    return this.#fault.errno === 'E2BIG' && !op.table.startsWith('bpf.') ? 'EBUSY' : this.#fault.errno;
  }

  /** From now on the kernel works only when told to. */
  async #work(ops: number): Promise<void> {
    this.#isGateOpen = false;
    for (let i = 0; i < ops && this.#waiting.length > 0; i++) {
      this.#waiting.shift()?.();
      await nextTurn();
    }
  }

  async #revive(): Promise<void> {
    this.#openGate();
    await this.start();
  }

  #openGate(): void {
    this.#isGateOpen = true;
    for (const resume of this.#waiting.splice(0)) resume();
  }

  async #turn(): Promise<void> {
    await nextTurn();
    this.runtime.reconcile();
    await nextTurn();
  }

  /** No more faults; time passes until all is quiet and stays so. False when it never is. */
  async settle(): Promise<boolean> {
    this.#fault = undefined;
    this.api.isUp = true;
    this.api.upsert('nodes', NODE);
    this.#openGate();
    this.agent?.dieAfter(Number.POSITIVE_INFINITY);
    if (!this.#eth0) this.#flap(true);
    await this.#turn();
    if (this.#build !== this.#liveBuild) this.agent?.kill();
    if (this.agent?.isDead ?? true) await this.#revive();
    let peace = 0;
    for (let round = 0; round < SETTLE_ROUNDS_MAX && peace < ROUNDS_OF_PEACE; round++) {
      const before = this.ops;
      this.clock.advance(ROUND_MS);
      await this.#turn();
      await this.agent?.idle();
      peace = this.#isQuiet() && this.ops === before ? peace + 1 : 0;
    }
    return peace >= ROUNDS_OF_PEACE;
  }

  #isQuiet(): boolean {
    const stats = this.agent?.engine.stats();
    const { sandboxes, queuedDeletes } = this.runtime;
    const isRunning =
      sandboxes.every(({ state }) => state === 'running') && sandboxes.length === this.api.of('pods').size;
    return isRunning && queuedDeletes === 0 && stats?.pending === 0 && stats.inFlight === 0;
  }

  /** What keeps it from being quiet, for whoever wonders. */
  unrest(): string {
    const stats = this.agent?.engine.stats();
    const machines = this.agent?.engine.machines() ?? [];
    const open = machines.flatMap(({ key, state, rows }) => {
      const rest = rows
        .filter((row) => row.state !== 'in-sync')
        .map(({ table, key: row, state: its }) => `${table} ${row} ${its}`);
      return rest.length > 0 || !['ready', 'attached', 'allocated', 'serving', 'ignored'].includes(state)
        ? [`${key} ${state}: ${rest.join(', ')}`]
        : [];
    });
    const sandboxes = this.runtime.sandboxes.map(({ pod, containerId, state }) => `${pod} ${containerId} ${state}`);
    return `pending ${stats?.pending}, in flight ${stats?.inFlight}, queued deletes ${this.runtime.queuedDeletes}; sandboxes ${sandboxes.join(', ')}; machines ${open.join('; ')}`;
  }

  /** Pods, services with their endpoints, policies, other nodes and their pods. */
  deleteAll(): void {
    deleteNeighbors(this.api, facts.nodeName);
    deletePolicies(this.api);
    deleteServices(this.api);
    for (const key of [...this.api.of('pods').keys()]) this.api.delete('pods', key);
  }

  /** The agent ends as on SIGTERM, and another one comes. */
  async restart(): Promise<void> {
    this.agent?.kill();
    await this.start();
  }

  close(): void {
    this.agent?.kill();
    this.store.close();
  }
}

const namespaceObject = (label: number): KubeObject => ({
  apiVersion: 'v1',
  kind: 'Namespace',
  metadata: { name: NAMESPACE, uid: 'ns', labels: { stage: `s${label}` } },
});

const podKeyOf = (number: number): string => `${NAMESPACE}/pod-${number}`;

function linkFacts(host: number): LinkFacts {
  return {
    name: 'eth0',
    kind: '',
    mac: '02:00:00:00:00:02',
    mtu: 1500,
    up: true,
    addresses: [`192.0.2.${host}/24`, `2001:db8::${host}/64`],
    defaultRoute: true,
  };
}
