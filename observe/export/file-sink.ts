/** Lines of JSON in a file, as `hubble observe -o json` prints them; by size it becomes `FILE.1`, `FILE.2`, … */
import { open, rename, rm, stat } from 'node:fs/promises';
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

  constructor(options: FileOptions) {
    this.#options = options;
  }

  async send(batch: readonly Flow[]): Promise<void> {
    const { path, maxBytes } = this.#options;
    const text = batch.map((flow) => `${JSON.stringify(lineOf(flow))}\n`).join('');
    if ((await sizeOf(path)) >= maxBytes) await this.#rotate();
    const file = await open(path, 'a', 0o600);
    try {
      const { size } = await file.stat();
      try {
        await file.appendFile(text);
      } catch (error) {
        // A disk that fills up takes half a line: the batch comes again whole, so nothing of it may stay.
        await file.truncate(size).catch(() => {});
        throw error;
      }
    } finally {
      await file.close();
    }
  }

  async close(): Promise<void> {}

  async #rotate(): Promise<void> {
    const { path, maxBackups } = this.#options;
    if (maxBackups === 0) await rm(path, { force: true });
    for (let number = maxBackups; number > 0; number--) {
      const from = number === 1 ? path : `${path}.${number - 1}`;
      await rename(from, `${path}.${number}`).catch(ignoreMissing);
    }
  }
}

async function sizeOf(path: string): Promise<number> {
  return (await stat(path).catch(() => ({ size: 0 }))).size;
}

/** `observer.ExportEvent`. */
export const lineOf = (flow: Flow): unknown => flowJson({ flow, node_name: flow.node_name, time: flow.time });

function ignoreMissing(error: NodeJS.ErrnoException): void {
  if (error.code !== 'ENOENT') throw error;
}
