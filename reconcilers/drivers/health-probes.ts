/**
 * Table `health.probes`: other nodes and their health endpoints are asked by ICMP echo and by HTTP over TCP whether they are there.
 *
 * - Each address is asked once an interval, the first time at its offset: so many nodes are asked evenly, never all at once.
 * - An answer is told when it differs from what was told last of its probe; answers that come together are told together.
 * - What was asked for and what was found goes with the process.
 */
import type { Driver, Op, OpResult } from '../../datapath/driver.ts';
import { type Ask, type Asked, asker } from '../../datapath/health-ask.ts';
import type { HealthProbeRow } from '../../state/tables.ts';

export interface ProbeState {
  key: string;
  row: HealthProbeRow;
  /** '': it answered. Undefined: not asked yet. */
  error: string | undefined;
  latencyMs: number;
  /** Wall clock of the last answer, or of the last question that was given up; 0: none yet. */
  probedAt: number;
}

export interface HealthProbesOptions {
  now(): number;
  tell(node: string, results: { probe: string; error?: string }[]): void;
  /** Of each answer, for histograms. */
  answered?(row: HealthProbeRow, latencyMs: number): void;
  ask?: Ask & { close(): void };
}

/** No answer within this is none; with short intervals, within most of one. */
const TIMEOUT_MS = 5_000;
const timeoutOf = (intervalMs: number): number => Math.min(TIMEOUT_MS, Math.max(100, intervalMs * 0.8));
/** The probes of one node end at about the same time. */
const GATHER_MS = 20;

interface Probe extends ProbeState {
  timer: NodeJS.Timeout;
  isGone: boolean;
}

export class HealthProbesDriver implements Driver {
  readonly tables = ['health.probes'] as const;
  readonly lane = 'edge';
  readonly #options: HealthProbesOptions;
  readonly #ask: Ask & { close(): void };
  readonly #probes = new Map<string, Probe>();
  /** Results to be told, by node. */
  readonly #news = new Map<string, Map<string, string>>();
  #telling: NodeJS.Timeout | undefined;

  constructor(options: HealthProbesOptions) {
    this.#options = options;
    this.#ask = options.ask ?? asker();
  }

  apply(ops: readonly Op[]): OpResult[] {
    return ops.map((op) => {
      if (op.action === 'delete') this.#delete(op.key);
      else return this.#put(op);
      return undefined;
    });
  }

  #put(op: Op): OpResult {
    const row = op.value as HealthProbeRow;
    const { protocol, port, intervalMs, offsetMs } = row;
    const isSound = intervalMs > 0 && offsetMs >= 0 && (protocol === 'ICMP' || (port > 0 && port < 65_536));
    if (!isSound) {
      const message = `${op.action} ${op.table} ${op.key}: expected an interval, an offset and, for TCP, a port`;
      return { kind: 'invalid', errno: 'EINVAL', message, retryable: false };
    }
    const there = this.#probes.get(op.key);
    if (there && there.row.intervalMs === intervalMs && there.row.port === port) {
      there.row = row;
      return undefined;
    }
    this.#delete(op.key);
    const probe: Probe = {
      ...{ key: op.key, row, error: undefined, latencyMs: 0, probedAt: 0, isGone: false },
      timer: setTimeout(() => this.#run(probe), offsetMs),
    };
    this.#probes.set(op.key, probe);
    return undefined;
  }

  #delete(key: string): void {
    const probe = this.#probes.get(key);
    if (!probe) return;
    probe.isGone = true;
    clearTimeout(probe.timer);
    this.#probes.delete(key);
    this.#news.get(probe.row.node)?.delete(key);
  }

  #run(probe: Probe): void {
    const { address, protocol, port, intervalMs } = probe.row;
    probe.timer = setTimeout(() => this.#run(probe), intervalMs);
    const timeoutMs = timeoutOf(intervalMs);
    const asked = protocol === 'ICMP' ? this.#ask.echo(address, timeoutMs) : this.#ask.hello(address, port, timeoutMs);
    void asked.then((answer) => this.#hear(probe, answer));
  }

  #hear(probe: Probe, { error, latencyMs }: Asked): void {
    if (probe.isGone) return;
    const isNews = probe.error !== error;
    Object.assign(probe, { error, latencyMs, probedAt: this.#options.now() });
    if (error === '') this.#options.answered?.(probe.row, latencyMs);
    if (!isNews) return;
    const { node } = probe.row;
    const news = this.#news.get(node) ?? new Map<string, string>();
    this.#news.set(node, news.set(probe.key, error));
    this.#telling ??= setTimeout(() => this.#tell(), GATHER_MS);
  }

  #tell(): void {
    this.#telling = undefined;
    const all = [...this.#news];
    this.#news.clear();
    for (const [node, news] of all) {
      const results = [...news].map(([probe, error]) => (error === '' ? { probe } : { probe, error }));
      if (results.length > 0) this.#options.tell(node, results);
    }
  }

  dump(): Map<string, HealthProbeRow> {
    return new Map([...this.#probes].map(([key, { row }]) => [key, row]));
  }

  states(): ProbeState[] {
    return [...this.#probes.values()].map(({ key, row, error, latencyMs, probedAt }) => ({
      ...{ key, row, error, latencyMs, probedAt },
    }));
  }

  close(): void {
    for (const key of [...this.#probes.keys()]) this.#delete(key);
    clearTimeout(this.#telling);
    this.#ask.close();
  }
}
