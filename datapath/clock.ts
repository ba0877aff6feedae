/**
 * The conntrack clock, read as the BPF programs read it: jiffies64 by a test run, divided by the ticks of a second.
 *
 * - Ticks come from the kernel's configuration where it can be read, else they are measured.
 */
import { readFileSync } from 'node:fs';
import { release } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { gunzipSync } from 'node:zlib';
import { type BpfObject, monotonicNs, openObject } from '../native/index.ts';

const OBJECT = join(import.meta.dirname, '../bpf/build/clock.o');
/** The shortest packet a tc program is given. */
const ETHERNET_HEADER_BYTES = 14;
const MEASURE_MS = 300;
/** CONFIG_HZ of all architectures but Alpha; a measured rate is one of them. */
const KNOWN_HZ = [100, 250, 300, 1000];

export class BpfClock {
  readonly #object: BpfObject;

  constructor() {
    this.#object = openObject(OBJECT);
    try {
      this.#object.load();
    } catch (error) {
      this.#object.close();
      throw error;
    }
  }

  jiffies(): bigint {
    const run = this.#object.program('clock').testRun({ data: Buffer.alloc(ETHERNET_HEADER_BYTES) });
    return run.data.readBigUInt64LE(0);
  }

  /** As `clock_seconds` of bpf/lib/clock.h. */
  seconds(hz: number): number {
    return Number(BigInt.asUintN(32, this.jiffies() / BigInt(hz)));
  }

  async hz(): Promise<number> {
    return configuredHz() ?? (await this.#measuredHz());
  }

  async #measuredHz(): Promise<number> {
    const [startNs, start] = [monotonicNs(), this.jiffies()];
    await sleep(MEASURE_MS);
    const [endNs, end] = [monotonicNs(), this.jiffies()];
    const rate = (Number(end - start) * 1e9) / Number(endNs - startNs);
    return KNOWN_HZ.reduce((best, hz) => (Math.abs(hz - rate) < Math.abs(best - rate) ? hz : best));
  }

  close(): void {
    this.#object.close();
  }
}

/** CONFIG_HZ of the running kernel, undefined where its configuration is not to be had. */
export function configuredHz(): number | undefined {
  const sources = [
    () => gunzipSync(readFileSync('/proc/config.gz')).toString(),
    () => readFileSync(`/boot/config-${release()}`, 'utf8'),
  ];
  for (const source of sources) {
    try {
      const hz = /^CONFIG_HZ=(\d+)$/m.exec(source())?.[1];
      if (hz) return Number(hz);
    } catch {
      // Not every kernel shows its configuration.
    }
  }
  return undefined;
}
