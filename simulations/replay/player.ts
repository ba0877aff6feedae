/**
 * Runs a recorded log through the engine, against the simulated kernel; the log decides.
 *
 * - An op is carried out when the log reports it done, and the world changes when the log observed that it did.
 * - What this build does differently from the one that recorded is a divergence, never an error: the replay goes on.
 * - A run that is entered by a frame begins as an agent does that starts there, and is done with all it plans at the frame's end. Ops are
 *   known by row and action then, for revisions were counted from another start.
 */
import type { LogEntry, OpDone } from '../../cluster/events.ts';
import type { RecordingHeader } from '../../cluster/recording-format.ts';
import type { RecordingItem } from '../../cluster/recording-reader.ts';
import type { Op } from '../../datapath/driver.ts';
import { kinds } from '../../machines/kinds.ts';
import { Engine } from '../../reconcilers/engine.ts';
import type { Step } from '../../reconcilers/plan.ts';
import type { SavedEngine } from '../../reconcilers/saved.ts';
import { isTableName } from '../../state/tables.ts';
import { isKernelTable, type KernelTable, SimulatedKernel } from '../kernel.ts';
import type { Divergence, Moment, Position, Watcher } from './moment.ts';

/** Nothing is kept: a log tells of everything that was there at its start. */
export const noStore = { forgets: true, rows: () => [], write: () => {} };

/** As many are told; all are counted. */
const DIVERGENCES_KEPT = 1_000;

/** More is a loop without end. */
const ROUNDS_MAX = 100;

/** Tables whose rows are devices. */
const DEVICES: readonly string[] = ['links', 'tunnels', 'wireguard.devices'];

export interface Fault {
  file: string;
  line: number;
  message: string;
}

export interface SavedPlayer
  extends Pick<Player, 'run' | 'divergences' | 'divergenceCount' | 'faults' | 'faultCount' | 'torn'> {
  links: ReadonlySet<string>;
  rows: { table: KernelTable; key: string; value: unknown }[];
  life: Pick<Life, 'header' | 'outstanding' | 'entries' | 'ops' | 'seq' | 'at'> & { engine: SavedEngine };
}

export class Player {
  readonly kernel: SimulatedKernel;
  readonly #watchers: readonly Watcher[];
  #life: Life | undefined;
  /** Of all runs so far. */
  run = 0;
  readonly divergences: Divergence[] = [];
  divergenceCount = 0;
  readonly faults: Fault[] = [];
  faultCount = 0;
  torn = false;
  /** Of others, that the log told of. */
  readonly #links = new Set<string>();

  constructor(watchers: readonly Watcher[] = [], kernel = new SimulatedKernel({ anyNamespace: true })) {
    this.#watchers = watchers;
    this.kernel = kernel;
  }

  get life(): Life {
    if (!this.#life) throw new Error('the recording has no run in it');
    return this.#life;
  }

  get position(): Position {
    return { run: this.run, seq: this.#life?.seq ?? 0 };
  }

  /** 'stop': a watcher has seen enough. */
  take(item: RecordingItem): 'stop' | undefined {
    switch (item.kind) {
      case 'run':
        this.begin(item.header);
        return undefined;
      case 'torn':
        this.torn = true;
        return undefined;
      case 'fault':
        this.faultCount++;
        if (this.faults.length < DIVERGENCES_KEPT) this.faults.push(item);
        return undefined;
      case 'entry':
        return this.#life ? this.#play(this.#life, item.entry, item.file, item.line) : undefined;
    }
  }

  save(): SavedPlayer {
    const { kernel, run, divergences, divergenceCount, faults, faultCount, torn } = this;
    const rows = [...kernel.rows()];
    const { header, engine, outstanding, entries, ops, seq, at } = this.life;
    return {
      ...{ run, divergences, divergenceCount, faults, faultCount, torn, links: this.#links, rows },
      life: { header, engine: engine.save(), outstanding, entries, ops, seq, at },
    };
  }

  static load(saved: SavedPlayer, watchers: readonly Watcher[]): Player {
    const player = new Player(watchers);
    // A device of ours that something names before it is there would be taken for another's.
    const isDevice = ({ table }: { table: KernelTable }): boolean => DEVICES.includes(table);
    for (const { table, key, value } of saved.rows.filter(isDevice)) player.kernel.observe(table, key, value);
    for (const name of saved.links) player.#link(name);
    for (const { table, key, value } of saved.rows.filter((row) => !isDevice(row)))
      player.kernel.observe(table, key, value);
    player.divergences.push(...saved.divergences);
    player.faults.push(...saved.faults);
    player.run = saved.run;
    player.divergenceCount = saved.divergenceCount;
    player.faultCount = saved.faultCount;
    player.torn = saved.torn;
    const { header, engine, outstanding, entries, ops, seq, at } = saved.life;
    const life = new Life(header, player.kernel, (message) => player.#diverge(message), {
      engine: Engine.load(kinds, noStore, engine),
      outstanding: new Map(outstanding),
    });
    Object.assign(life, { entries, ops, seq, at });
    player.#life = life;
    for (const watcher of watchers) watcher.onRun?.(player.run, header, life.engine);
    return player;
  }

  #link(name: string): void {
    this.#links.add(name);
    this.kernel.addLink(name);
  }

  begin(header: RecordingHeader): Life {
    this.run++;
    this.torn = false;
    this.#life = new Life(header, this.kernel, (message) => this.#diverge(message));
    for (const watcher of this.#watchers) watcher.onRun?.(this.run, header, this.#life.engine);
    return this.#life;
  }

  #play(life: Life, entry: LogEntry, file: string, line: number): 'stop' | undefined {
    for (const watcher of this.#watchers) if (watcher.before?.(this.run, entry.seq, entry.at) === 'stop') return 'stop';
    if (entry.event.type === 'link.upserted') this.#link(entry.event.link.name);
    else if (entry.event.type === 'link.deleted') this.#links.delete(entry.event.name);
    const steps = life.take(entry);
    if (this.#watchers.length === 0) return undefined;
    const { header, engine } = life;
    const moment: Moment = {
      run: this.run,
      seq: entry.seq,
      header,
      entry,
      file,
      line,
      steps,
      engine,
      kernel: this.kernel,
    };
    let stop: 'stop' | undefined;
    for (const watcher of this.#watchers) stop = watcher.onMoment(moment) ?? stop;
    return stop;
  }

  #diverge(message: string): void {
    this.divergenceCount++;
    if (this.divergences.length < DIVERGENCES_KEPT) this.divergences.push({ ...this.position, message });
  }
}

/** One life of the agent. */
export class Life {
  readonly header: RecordingHeader;
  readonly engine: Engine;
  readonly #kernel: SimulatedKernel;
  readonly #outstanding: Map<string, Op>;
  readonly #diverge: (message: string) => void;
  entries = 0;
  ops = 0;
  seq = 0;
  at = 0;

  constructor(
    header: RecordingHeader,
    kernel: SimulatedKernel,
    diverge: (message: string) => void,
    { engine, outstanding } = { engine: new Engine(kinds, noStore), outstanding: new Map<string, Op>() },
  ) {
    this.header = header;
    this.engine = engine;
    this.#kernel = kernel;
    this.#outstanding = outstanding;
    this.#diverge = diverge;
  }

  /** Ops that were planned, and of which nothing was heard yet. */
  get outstanding(): ReadonlyMap<string, Op> {
    return this.#outstanding;
  }

  take(entry: LogEntry): Step[] {
    this.entries++;
    this.seq = entry.seq;
    this.at = entry.at;
    this.#happen(entry);
    const steps = this.#step(entry);
    if (this.entries === this.header.frame) this.#settle(entry);
    return steps;
  }

  /** All that is planned is done, at once, or fails as it had; of what was under way the result comes. */
  #settle({ seq, at }: LogEntry): void {
    const pending = new Map(this.header.pending?.map((row) => [nameOf(row), row]));
    for (let round = 0; round < ROUNDS_MAX; round++) {
      const results: OpDone[] = [];
      for (const { table, key, action, revision } of this.#outstanding.values()) {
        const row = pending.get(nameOf({ table, key }));
        if (!row || row.error) results.push({ table, key, action, revision, ...(row?.error && { error: row.error }) });
      }
      if (results.length === 0) return;
      const entry: LogEntry = { seq, at, source: 'frame', event: { type: 'ops.done', results } };
      this.#happen(entry);
      this.#step(entry);
    }
  }

  #step(entry: LogEntry): Step[] {
    const steps = this.engine.step(entry);
    for (const { ops } of steps) {
      for (const op of ops) {
        this.ops++;
        this.#outstanding.set(nameOf(op), op);
      }
    }
    return steps;
  }

  /** What the event says of the world becomes true in the simulated kernel. */
  #happen({ event }: LogEntry): void {
    if (event.type === 'ops.done') {
      for (const result of event.results) {
        if (this.header.frame) this.#translate(result);
        this.#done(result);
      }
    } else if (event.type === 'link.deleted') this.#kernel.removeLink(event.name);
    else if (event.type === 'observed' && isKernelTable(event.table)) {
      for (const { key, value } of event.changes) this.#kernel.observe(event.table, key, value ?? undefined);
    }
  }

  /** Into revisions of this engine. */
  #translate(result: OpDone): void {
    const op = this.#outstanding.get(nameOf(result));
    if (op?.action === result.action) result.revision = op.revision;
  }

  #isThere({ table, key }: OpDone): boolean {
    return isTableName(table) && this.engine.explain(table, key)?.row.actual !== undefined;
  }

  #done(result: OpDone): void {
    const name = nameOf(result);
    const op = this.#outstanding.get(name);
    if (!op || op.action !== result.action || op.revision !== result.revision) {
      const { action, table, key } = result;
      // What had failed before the frame, or was under way, is done there.
      if (this.header.frame && (!isKernelTable(table) || this.#isThere(result) === (action === 'put'))) return;
      this.#diverge(`the recording reports ${action} ${table} ${key}, which this build did not plan`);
      return;
    }
    this.#outstanding.delete(name);
    if (result.error || !isKernelTable(op.table)) return;
    const [refused] = this.#kernel.apply([op]);
    if (refused)
      this.#diverge(`the real kernel did ${op.action} ${op.table} ${op.key}, the simulated one says ${refused.errno}`);
  }
}

const nameOf = ({ table, key }: { table: string; key: string }): string => `${table} ${key}`;
