/**
 * One life of an agent: the real engine and loop, between simulated sources and drivers.
 *
 * - It starts as `cli/agent/agent.ts` does, and dies between any two ops: what was done stays done, what was said is lost.
 * - Its log and its plans are kept, so that another engine can be asked to do the same.
 */
import type { AgentFacts, ClusterEvent, LinkFacts, LogEntry } from '../../cluster/events.ts';
import type { Driver, Op, OpResult } from '../../datapath/driver.ts';
import { CNI_EXISTS } from '../../machines/endpoint-context.ts';
import { kinds } from '../../machines/kinds.ts';
import { CniRepliesDriver } from '../../reconcilers/drivers/cni-replies.ts';
import { LocalDriver } from '../../reconcilers/drivers/local.ts';
import { Engine } from '../../reconcilers/engine.ts';
import type { OpRecord } from '../../reconcilers/inspect.ts';
import { Loop } from '../../reconcilers/loop.ts';
import { restored } from '../../reconcilers/restored.ts';
import type { Store } from '../../state/store.ts';
import { type CniReplyRow, canonical, type TimerRow } from '../../state/tables.ts';
import { MemoryTables, type SimulatedKernel } from '../kernel.ts';
import { HealthCheckPorts } from '../kernel-ports.ts';
import { type KubeWatch, type SimulatedApi, SimulatedApiDriver, type WatchOptions, watched } from './api.ts';
import type { VirtualClock } from './clock.ts';

/** What outlives the agent. */
export interface Surroundings {
  kernel: SimulatedKernel;
  api: SimulatedApi;
  clock: VirtualClock;
  store: Store;
  facts: AgentFacts;
  links: () => LinkFacts[];
  /** What the edge says of this node's keys. */
  keys: () => ClusterEvent[];
  random: () => number;
  /** How the API server is heard; everything at once if it does not say. */
  watch?: Omit<WatchOptions, 'order'>;
  /** The API server can be reached from here, as far as the network goes. */
  isReached?: () => boolean;
  /** Between two looks at everything that is there. */
  resyncMs?: number;
  /** Its log and its plans are not kept. */
  isForgetful?: boolean;
  /** Waited for before each op of the kernel lane; resolves when the kernel gets around to it. */
  gate: () => Promise<void>;
  /** Told of each op right before it is applied. */
  onOp: (op: Op) => void;
  /** A defect in engine, loop or machine. */
  onDefect: (message: string) => void;
}

export interface CniRequest {
  containerId: string;
  netns: string;
  podNamespace: string;
  podName: string;
  podUid: string;
}

const IFNAME = 'eth0';
const RESYNC_MS = 30_000;
/** More than any list is long: who does so much before time goes on never stops. */
const EVENTS_AT_ONCE_MAX = 100_000;
const DEAD: CniReplyRow = { error: { code: 11, msg: 'connection reset: the agent died', details: '' } };

/** What an engine plans, one line for each op. */
export const plannedLine = ({ cause, action, table, key, revision, value }: OpRecord): string =>
  `${cause.seq} ${action} ${table} ${key} r${revision} ${canonical(value) ?? ''}`;

export class SimulatedAgent {
  readonly engine: Engine;
  readonly log: LogEntry[] = [];
  readonly planned: string[] = [];
  /** Of its log. */
  events = 0;
  readonly #world: Surroundings;
  readonly #loop: Loop;
  readonly #replies = new CniRepliesDriver();
  readonly #timers = new Map<string, () => void>();
  readonly #waiting = new Map<string, (reply: CniReplyRow) => void>();
  #watch: KubeWatch | undefined;
  #cancelResync: () => void = () => {};
  #isDead = false;
  #isCut = false;
  #isReady = false;
  #opsToLive = Number.POSITIVE_INFINITY;
  #requests = 0;
  /** Events since time went on. */
  #atOnce = { ms: 0, events: 0 };

  constructor(world: Surroundings) {
    this.#world = world;
    this.engine = new Engine(kinds, world.store);
    this.engine.ops$.subscribe((op) => {
      if (op.doneAt === undefined && !world.isForgetful) this.planned.push(plannedLine(op));
    });
    const kernel = this.#mortal(world.kernel, world.gate);
    const timers: Driver = { tables: ['timers'], lane: 'edge', apply: (ops) => ops.map((op) => this.#timer(op)) };
    this.#loop = new Loop({
      engine: this.engine,
      drivers: [
        kernel,
        ...[
          new LocalDriver(),
          this.#replies,
          timers,
          new HealthCheckPorts(),
          new MemoryTables(['health.probes'], 'edge'),
          new SimulatedApiDriver(world.api, world.random, world.isReached),
        ].map((driver) => this.#mortal(driver)),
      ],
      now: () => world.clock.now,
      record: (entry) => {
        if (this.#isDead) throw new Error('dead');
        this.events++;
        this.#count(entry);
        // As it would be read back from a recording.
        if (!world.isForgetful) this.log.push(JSON.parse(JSON.stringify(entry)) as LogEntry);
      },
      onDefect: (error) => {
        if (!this.#isDead) world.onDefect(error instanceof Error ? (error.stack ?? error.message) : String(error));
      },
    });
  }

  get isDead(): boolean {
    return this.#isDead;
  }

  /** It answers CNI. */
  get isReady(): boolean {
    return this.#isReady && !this.#isDead;
  }

  async start(): Promise<void> {
    const { store, facts, links, keys, api, random, watch } = this.#world;
    const stored = store.rows();
    await this.#loop.takeStock(stored);
    if (this.#isDead) return;
    this.#push('agent', { type: 'agent.started', config: facts });
    this.#push('local', restored(stored));
    this.#push('local', { type: 'source.synced', source: 'local' });
    for (const event of keys()) this.#push('keys', event);
    for (const link of links()) this.#push('links', { type: 'link.upserted', link });
    this.#push('links', { type: 'source.synced', source: 'links' });
    const order = [...watched].sort(() => random() - 0.5);
    this.#watch = api.watch((event) => this.#push('kube', event), { order, isCut: this.#isCut, ...watch });
    this.#scheduleResync();
    this.#isReady = true;
  }

  /** An agent that goes round forever is a defect, and dies of it. */
  #count({ at, event }: LogEntry): void {
    if (at !== this.#atOnce.ms) this.#atOnce = { ms: at, events: 0 };
    if (++this.#atOnce.events <= EVENTS_AT_ONCE_MAX) return;
    this.#world.onDefect(`goes round and round: ${JSON.stringify(event).slice(0, 200)}`);
    this.kill();
    throw new Error('dead');
  }

  /** It dies before the op after this many. */
  dieAfter(ops: number): void {
    this.#opsToLive = ops;
  }

  kill(): void {
    if (this.#isDead) return;
    this.#isDead = true;
    void this.#loop.stop();
    this.#watch?.close();
    this.#cancelResync();
    for (const cancel of this.#timers.values()) cancel();
    for (const answer of this.#waiting.values()) answer(DEAD);
    this.#waiting.clear();
  }

  /** From the API server. */
  set isCut(cut: boolean) {
    this.#isCut = cut;
    if (this.#watch) this.#watch.isCut = cut;
  }

  /** Its watches have expired. */
  relist(): void {
    this.#watch?.relist();
  }

  link(event: ClusterEvent): void {
    this.#push('links', event);
  }

  key(event: ClusterEvent): void {
    this.#push('keys', event);
  }

  probed(event: ClusterEvent): void {
    this.#push('health', event);
  }

  idle(): Promise<void> {
    return this.#loop.idle();
  }

  async resync(): Promise<void> {
    await this.#loop.resync();
  }

  async add(request: CniRequest): Promise<CniReplyRow> {
    const name = `${request.containerId}/${IFNAME}`;
    const endpointId = this.#world.store.allocateEndpointId(name);
    if (endpointId === undefined) throw new Error('endpoint ids are exhausted');
    const answer = await this.#ask((requestId) => ({
      type: 'cni.add',
      requestId,
      ifname: IFNAME,
      endpointId,
      ...request,
    }));
    if (answer.error && answer !== DEAD && answer.error.code !== CNI_EXISTS) this.#world.store.releaseEndpointId(name);
    return answer;
  }

  async del(containerId: string): Promise<CniReplyRow> {
    const answer = await this.#ask((requestId) => ({ type: 'cni.del', requestId, containerId, ifname: IFNAME }));
    if (!answer.error) this.#world.store.releaseEndpointId(`${containerId}/${IFNAME}`);
    return answer;
  }

  async #ask(eventOf: (requestId: string) => ClusterEvent): Promise<CniReplyRow> {
    if (!this.isReady) return DEAD;
    const requestId = `r${++this.#requests}`;
    const died = new Promise<CniReplyRow>((resolve) => this.#waiting.set(requestId, resolve));
    const reply = this.#replies.wait(requestId);
    this.#push('cni', eventOf(requestId));
    const answer = await Promise.race([reply, died]);
    this.#waiting.delete(requestId);
    return answer;
  }

  #push(source: string, event: ClusterEvent): void {
    if (!this.#isDead) this.#loop.push(source, event);
  }

  #timer({ key, action, value }: Op): OpResult {
    this.#timers.get(key)?.();
    this.#timers.delete(key);
    if (action === 'delete') return undefined;
    const cancel = this.#world.clock.at((value as TimerRow).dueMs, () => {
      this.#timers.delete(key);
      this.#push('timers', { type: 'timer.fired', key });
    });
    this.#timers.set(key, cancel);
    return undefined;
  }

  #scheduleResync(): void {
    const { clock, resyncMs = RESYNC_MS } = this.#world;
    this.#cancelResync = clock.at(clock.now + resyncMs, () => {
      void this.#loop.resync();
      this.#scheduleResync();
    });
  }

  /** Death may come between any two ops; the dead do nothing. */
  #mortal(driver: Driver, gate?: () => Promise<void>): Driver {
    const applyEach = (ops: readonly Op[]): OpResult[] => {
      const results: OpResult[] = [];
      for (const op of ops) {
        if (this.#isDead) break;
        if (this.#opsToLive-- <= 0) {
          this.kill();
          break;
        }
        this.#world.onOp(op);
        results.push(...(driver.apply([op]) as OpResult[]));
      }
      return results;
    };
    const dump = driver.dump?.bind(driver);
    return {
      tables: driver.tables,
      lane: driver.lane,
      apply: gate ? (ops) => gate().then(() => applyEach(ops)) : applyEach,
      ...(dump && { dump }),
    };
  }
}
