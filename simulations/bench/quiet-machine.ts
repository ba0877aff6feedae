/** Waits until nobody else uses the processors, so that a figure means something; gives up when its patience ends. */
import { readFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';

const sampleMs = 200;
const idleWanted = 0.95;

export class QuietMachine {
  #patienceMs: number;
  /** A measurement was let go although the machine was busy. */
  disturbed = false;

  constructor(patienceMs: number) {
    this.#patienceMs = patienceMs;
  }

  async wait(): Promise<void> {
    while ((await idleShare()) < idleWanted) {
      this.#patienceMs -= sampleMs;
      if (this.#patienceMs > 0) continue;
      this.disturbed = true;
      return;
    }
  }
}

async function idleShare(): Promise<number> {
  const before = ticks();
  await sleep(sampleMs);
  const after = ticks();
  return (after.idle - before.idle) / (after.total - before.total);
}

/** Of all processors together: the first line of /proc/stat, proc_stat(5). */
function ticks(): { idle: number; total: number } {
  const fields = readFileSync('/proc/stat', 'utf8').split('\n')[0]?.split(/\s+/).slice(1, 9).map(Number) ?? [];
  return { idle: (fields[3] ?? 0) + (fields[4] ?? 0), total: fields.reduce((sum, field) => sum + field, 0) };
}
