/**
 * Writes the ordered event log to disk, so that what happened on a node can be run again elsewhere.
 *
 * - A line is written whole before the engine sees its event: a crash of the agent loses nothing, one of the machine the tail.
 * - Files are readable by root only, and hold no secrets (`recording-redact.ts`).
 * - Recording never disturbs the agent: when a write fails it ends, and says so once.
 */
import { closeSync, mkdirSync, openSync, readdirSync, statSync, unlinkSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import type { LogEntry } from './events.ts';
import { FORMAT, type RecordingHeader, type RunFacts, VERSION } from './recording-format.ts';
import { redact } from './recording-redact.ts';

export interface RecordingLimits {
  /** A file is followed by the next one when it has grown to this. */
  partBytesMax: number;
  /** … or its first entry is this old. */
  partAgeMaxMs: number;
  /** The oldest files of the directory go when all of them are larger than this. */
  totalBytesMax: number;
}

const defaults: RecordingLimits = {
  partBytesMax: 64 << 20,
  partAgeMaxMs: 3_600_000,
  totalBytesMax: 4 * 1024 ** 3,
};

export interface Recording {
  write(entry: LogEntry): void;
  close(): void;
}

export interface RecordingOptions extends Partial<RecordingLimits> {
  /** Milliseconds since the epoch: the name of the run. */
  startedAt?: number;
  /** Hears once why recording ended early. */
  onFailure?: (error: Error) => void;
}

const complain = (error: Error): void => void process.stderr.write(`recording ended: ${error.message}\n`);

/** Throws when the directory cannot be made or written to. */
export function openRecording(directory: string, facts: RunFacts, options: RecordingOptions = {}): Recording {
  return new RecordingWriter(directory, facts, options);
}

/** Of a recording's files, in the order in which they were written. */
export function partsOf(directory: string): string[] {
  return readdirSync(directory)
    .filter((name) => name.endsWith('.ndjson'))
    .sort()
    .map((name) => join(directory, name));
}

function partName({ startedAt, part }: RecordingHeader): string {
  const time = new Date(startedAt).toISOString().replaceAll(/[-:]/g, '');
  return `${time}-${String(part).padStart(6, '0')}.ndjson`;
}

class RecordingWriter implements Recording {
  readonly #directory: string;
  readonly #header: RecordingHeader;
  readonly #limits: RecordingLimits;
  readonly #onFailure: (error: Error) => void;
  /** Undefined: closed, or ended by a failure. */
  #file: number | undefined;
  #bytes = 0;
  #begunAt = 0;

  constructor(
    directory: string,
    facts: RunFacts,
    { startedAt = Date.now(), onFailure = complain, ...limits }: RecordingOptions,
  ) {
    this.#directory = directory;
    this.#header = { format: FORMAT, version: VERSION, ...redact(facts), startedAt, part: 0 };
    this.#limits = { ...defaults, ...limits };
    this.#onFailure = onFailure;
    mkdirSync(directory, { recursive: true, mode: 0o700 });
    this.#nextPart();
  }

  write(entry: LogEntry): void {
    if (this.#file === undefined) return;
    try {
      this.#begunAt ||= entry.at;
      if (this.#bytes >= this.#limits.partBytesMax || entry.at - this.#begunAt >= this.#limits.partAgeMaxMs) {
        this.#nextPart();
        this.#begunAt = entry.at;
      }
      this.#line(redact(entry));
    } catch (error) {
      this.close();
      this.#onFailure(error instanceof Error ? error : new Error(String(error)));
    }
  }

  close(): void {
    if (this.#file !== undefined) closeSync(this.#file);
    this.#file = undefined;
  }

  #nextPart(): void {
    this.close();
    this.#header.part++;
    this.#file = openSync(join(this.#directory, partName(this.#header)), 'ax', 0o600);
    this.#bytes = 0;
    this.#line(this.#header);
    this.#makeRoom();
  }

  #line(value: unknown): void {
    const bytes = Buffer.from(`${JSON.stringify(value)}\n`);
    let written = 0;
    while (written < bytes.length) written += writeSync(this.#file as number, bytes, written);
    this.#bytes += bytes.length;
  }

  #makeRoom(): void {
    const parts = partsOf(this.#directory).map((path) => ({ path, size: statSync(path).size }));
    let total = parts.reduce((sum, { size }) => sum + size, 0);
    for (const { path, size } of parts.slice(0, -1)) {
      if (total <= this.#limits.totalBytesMax) return;
      unlinkSync(path);
      total -= size;
    }
  }
}
