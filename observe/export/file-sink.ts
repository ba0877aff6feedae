/** Lines of JSON in a file, as `hubble observe -o json` prints them; by size it becomes `FILE.1`, `FILE.2`, … */
import { appendFile, rename, rm, stat } from 'node:fs/promises';
import { flowJson } from '../hubble/flow-json.ts';
import type { Flow } from '../hubble/types.ts';
import type { Sink } from './sink.ts';

export interface FileOptions {
  path: string;
  maxBytes: number;
  /** Older files that are kept. */
  maxBackups: number;
}

export class FileSink implements Sink {
  readonly #options: FileOptions;
  #size: number | undefined;

  constructor(options: FileOptions) {
    this.#options = options;
  }

  async send(batch: readonly Flow[]): Promise<void> {
    const { path, maxBytes } = this.#options;
    this.#size ??= (await stat(path).catch(() => ({ size: 0 }))).size;
    if (this.#size >= maxBytes) await this.#rotate();
    const text = batch.map((flow) => `${JSON.stringify(lineOf(flow))}\n`).join('');
    // After a write that failed in the middle the size is not known.
    const before = this.#size;
    this.#size = undefined;
    await appendFile(path, text, { mode: 0o600 });
    this.#size = before + Buffer.byteLength(text);
  }

  async close(): Promise<void> {}

  async #rotate(): Promise<void> {
    const { path, maxBackups } = this.#options;
    if (maxBackups === 0) await rm(path, { force: true });
    for (let number = maxBackups; number > 0; number--) {
      const from = number === 1 ? path : `${path}.${number - 1}`;
      await rename(from, `${path}.${number}`).catch(ignoreMissing);
    }
    this.#size = 0;
  }
}

/** `observer.ExportEvent`. */
export const lineOf = (flow: Flow): unknown => flowJson({ flow, node_name: flow.node_name, time: flow.time });

function ignoreMissing(error: NodeJS.ErrnoException): void {
  if (error.code !== 'ENOENT') throw error;
}
