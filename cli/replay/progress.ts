/** How far a replay is, on a line of the terminal that is taken back in the end. */
import { statSync } from 'node:fs';
import { filesOf } from '../../cluster/recording-files.ts';
import type { Moment, Watcher } from '../../simulations/replay/moment.ts';

const EVERY_MS = 250;
const EVENTS_BETWEEN_LOOKS = 512;
const WIDTH = 24;

export class Progress implements Watcher {
  readonly #sizes: readonly number[];
  readonly #files: readonly string[];
  readonly #startedAt = Date.now();
  #events = 0;
  #saidAt = Date.now();
  #said = false;

  constructor(paths: readonly string[]) {
    this.#files = paths.flatMap(filesOf);
    this.#sizes = this.#files.map((file) => statSync(file).size);
  }

  onMoment({ file, entry }: Moment): undefined {
    if (++this.#events % EVENTS_BETWEEN_LOOKS !== 0) return;
    const now = Date.now();
    if (now - this.#saidAt < EVERY_MS) return;
    this.#saidAt = now;
    this.#said = true;
    const rate = Math.round((this.#events * 1_000) / (now - this.#startedAt));
    const time = new Date(entry.at).toISOString().slice(0, 19).replace('T', ' ');
    process.stderr.write(
      `\r${this.#bar(file)}${this.#events.toLocaleString('en')} events, ${rate.toLocaleString('en')}/s, at ${time}\u001b[K`,
    );
  }

  /** Of several files: those that are done. */
  #bar(file: string): string {
    const at = this.#files.indexOf(file);
    if (at < 1) return '';
    const total = this.#sizes.reduce((sum, size) => sum + size, 0);
    const done = this.#sizes.slice(0, at).reduce((sum, size) => sum + size, 0) / total;
    return `[${'#'.repeat(Math.round(done * WIDTH)).padEnd(WIDTH)}] `;
  }

  end(): void {
    if (this.#said) process.stderr.write('\r\u001b[K');
  }
}
