/**
 * Removes what is over from `conntrack`, `nat` and `service_flows`.
 *
 * - A connection is over when the BPF clock has passed its `expires`.
 * - A masqueraded flow is over when its connection is not there and it was not used for a while; flows of the node itself
 *   have no connection and go by age alone. Both halves of a flow go together.
 * - A service's flow is over when its connection is not there and its client was silent for a while. Both halves go together.
 * - A sweep works in chunks with turns of the event loop between them.
 * - The next sweep comes the sooner, the more of a map was over or in use.
 */
import { setImmediate } from 'node:timers/promises';
import type { BpfMap, Btf } from '../native/index.ts';
import { Codecs } from './codec.ts';
import { FlowKeys } from './flow-keys.ts';
import { type NatSaturation, NatSaturations } from './nat-saturation.ts';
import { ServiceFlowKeys } from './service-flow-keys.ts';

/** About 5 ms of work. */
const CHUNK_ENTRIES = 2048;
const TCP = 6;

export interface ConntrackGcOptions {
  conntrack: BpfMap;
  nat: BpfMap;
  serviceFlows: BpfMap;
  btf: Btf;
  /** Seconds of the conntrack clock. */
  nowS: () => number;
  timeoutTcpEstablishedS: number;
  timeoutAnyS: number;
  /** That the node may give to flows to one remote end. */
  natPorts: number;
  onError: (error: unknown) => void;
  intervalMs?: Intervals;
}

export interface Intervals {
  min: number;
  start: number;
  max: number;
}
const defaultIntervals: Intervals = { min: 10_000, start: 300_000, max: 12 * 3_600_000 };

/** Since the start; entries as of the last sweep. */
export interface GcCounters {
  sweeps: number;
  conntrackDeleted: number;
  natDeleted: number;
  serviceFlowsDeleted: number;
  conntrackEntries: number;
  natEntries: number;
  serviceFlowEntries: number;
  /** Share of the ports that the remote end takes that takes most, 0 to 1. */
  natSaturation: NatSaturation;
  lastSweepMs: number;
  /** The longest time that the event loop had to wait for a chunk. */
  longestChunkMs: number;
  nextSweepMs: number;
}

export class ConntrackGc {
  readonly #options: ConntrackGcOptions;
  readonly #intervals: Intervals;
  readonly #keys: FlowKeys;
  readonly #serviceKeys: ServiceFlowKeys;
  readonly #saturations: NatSaturations;
  readonly #expiresAt: number;
  readonly #nat: { created: number; verified: number };
  readonly #service: { created: number; verified: number };
  #timer: NodeJS.Timeout | undefined;
  #running: Promise<void> | undefined;
  #stopped = true;
  readonly #counters: GcCounters;
  readonly #hearers: ((tookMs: number) => void)[] = [];

  constructor(options: ConntrackGcOptions) {
    this.#options = options;
    this.#intervals = options.intervalMs ?? defaultIntervals;
    this.#keys = new FlowKeys(options.btf);
    this.#serviceKeys = new ServiceFlowKeys(options.btf);
    this.#saturations = new NatSaturations(options.btf, options.natPorts);
    const codecs = new Codecs(options.btf);
    this.#expiresAt = codecs.offsetOf('ct_entry', 'expires');
    this.#nat = {
      created: codecs.offsetOf('nat_entry', 'created'),
      verified: codecs.offsetOf('nat_entry', 'verified'),
    };
    this.#service = {
      created: codecs.offsetOf('service_flow', 'created'),
      verified: codecs.offsetOf('service_flow', 'verified'),
    };
    this.#counters = {
      sweeps: 0,
      conntrackDeleted: 0,
      natDeleted: 0,
      serviceFlowsDeleted: 0,
      conntrackEntries: 0,
      natEntries: 0,
      serviceFlowEntries: 0,
      natSaturation: { ipv4: 0, ipv6: 0 },
      lastSweepMs: 0,
      longestChunkMs: 0,
      nextSweepMs: this.#intervals.start,
    };
  }

  get counters(): Readonly<GcCounters> {
    return this.#counters;
  }

  onSweep(hear: (tookMs: number) => void): void {
    this.#hearers.push(hear);
  }

  start(): void {
    this.#stopped = false;
    this.#schedule();
  }

  /** Resolves when a sweep under way has ended. */
  async stop(): Promise<void> {
    this.#stopped = true;
    clearTimeout(this.#timer);
    await this.#running;
  }

  #schedule(): void {
    if (this.#stopped) return;
    this.#timer = setTimeout(() => {
      this.#running = this.sweep().then(
        () => this.#schedule(),
        (error: unknown) => {
          this.#options.onError(error);
          this.#schedule();
        },
      );
    }, this.#counters.nextSweepMs);
    this.#timer.unref();
  }

  async sweep(): Promise<Readonly<GcCounters>> {
    const start = performance.now();
    const { conntrack, nat, serviceFlows } = this.#options;
    const overCt = await this.#walk(conntrack, (key, value, nowS) =>
      value.readUInt32LE(this.#expiresAt) <= nowS ? [key] : [],
    );
    const overNat = await this.#walk(nat, (key, value, nowS) => {
      const over = this.#orphan(key, value, nowS);
      if (over.length === 0) this.#saturations.see(key);
      return over;
    });
    const overServices = await this.#walk(serviceFlows, (key, value, nowS) => this.#serviceOrphan(key, value, nowS));
    const counters = this.#counters;
    counters.sweeps++;
    counters.conntrackDeleted += overCt.deleted;
    counters.natDeleted += overNat.deleted;
    counters.serviceFlowsDeleted += overServices.deleted;
    counters.conntrackEntries = overCt.seen - overCt.deleted;
    counters.natEntries = Math.max(0, overNat.seen - overNat.deleted);
    counters.serviceFlowEntries = Math.max(0, overServices.seen - overServices.deleted);
    counters.natSaturation = this.#saturations.take();
    counters.lastSweepMs = performance.now() - start;
    for (const hear of this.#hearers) hear(counters.lastSweepMs);
    counters.nextSweepMs = nextInterval(counters.nextSweepMs, this.#intervals, [
      { ...overCt, capacity: conntrack.info.maxEntries },
      { ...overNat, capacity: nat.info.maxEntries },
      { ...overServices, capacity: serviceFlows.info.maxEntries },
    ]);
    return counters;
  }

  /** Deletes the keys that `over` names for an entry. */
  async #walk(
    map: BpfMap,
    over: (key: Buffer, value: Buffer, nowS: number) => Buffer[],
  ): Promise<{ seen: number; deleted: number }> {
    const { keySize, valueBytes } = map.info;
    let seen = 0;
    let deleted = 0;
    let start = performance.now();
    for (const { keys, values, count } of map.chunks(CHUNK_ENTRIES)) {
      seen += count;
      const nowS = this.#options.nowS();
      const doomed: Buffer[] = [];
      for (let i = 0; i < count; i++) {
        const key = keys.subarray(i * keySize, (i + 1) * keySize);
        for (const dead of over(key, values.subarray(i * valueBytes, (i + 1) * valueBytes), nowS)) doomed.push(dead);
      }
      if (doomed.length > 0) deleted += map.deleteBatch(Buffer.concat(doomed), doomed.length);
      this.#counters.longestChunkMs = Math.max(this.#counters.longestChunkMs, performance.now() - start);
      await setImmediate();
      if (this.#stopped && this.#running) break;
      start = performance.now();
    }
    return { seen, deleted };
  }

  /** The keys to delete for a `nat` entry, none while its flow may live. */
  #orphan(key: Buffer, value: Buffer, nowS: number): Buffer[] {
    const { conntrack, nat, timeoutAnyS, timeoutTcpEstablishedS } = this.#options;
    const flow = this.#keys.flowOf(key, value);
    const connection = flow.ofNode ? undefined : conntrack.get(flow.conntrackKey);
    if (connection && connection.readUInt32LE(this.#expiresAt) > nowS) return [];
    const egress = flow.isEgress ? value : nat.get(flow.egressKey);
    const used = Math.max(usedAt(value, this.#nat), egress ? usedAt(egress, this.#nat) : 0);
    // An evicted connection whose packets still flow makes a new entry within a moment.
    const patience = flow.ofNode && flow.proto === TCP ? timeoutTcpEstablishedS : timeoutAnyS;
    if (nowS - used <= patience) return [];
    return flow.isEgress ? [key, flow.ingressKey] : [key];
  }

  /** The keys to delete for a `service_flows` entry, none while its connection may live. */
  #serviceOrphan(key: Buffer, value: Buffer, nowS: number): Buffer[] {
    const { conntrack, serviceFlows, timeoutAnyS } = this.#options;
    const flow = this.#serviceKeys.flowOf(key, value);
    if (!flow) return [];
    const connection = conntrack.get(flow.conntrackKey);
    if (connection && connection.readUInt32LE(this.#expiresAt) > nowS) return [];
    const forward = flow.forwardKey && serviceFlows.get(flow.forwardKey);
    const used = Math.max(usedAt(value, this.#service), forward ? usedAt(forward, this.#service) : 0);
    if (nowS - used <= timeoutAnyS) return [];
    return flow.forwardKey && forward ? [key, flow.forwardKey] : [key];
  }
}

const usedAt = (value: Buffer, at: { created: number; verified: number }): number =>
  Math.max(value.readUInt32LE(at.created), value.readUInt32LE(at.verified));

/** After a sweep in which much was over, or with a map filling up, sooner; else later. */
export function nextInterval(
  current: number,
  { min, max }: Intervals,
  maps: readonly { seen: number; deleted: number; capacity: number }[],
): number {
  const garbage = Math.max(...maps.map(({ seen, capacity, deleted }) => deleted / Math.max(seen, capacity / 100, 1)));
  const fill = Math.max(...maps.map(({ seen, deleted, capacity }) => (seen - deleted) / capacity));
  const factor = fill > 0.75 || garbage > 0.25 ? 0.5 : fill > 0.5 || garbage > 0.05 ? 1 : 1.5;
  return Math.min(max, Math.max(min, Math.round(current * factor)));
}
