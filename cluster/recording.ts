/**
 * Writes the ordered event log to disk, so that what happened on a node can be run again elsewhere.
 *
 * - A line is written whole before the engine sees its event: a crash of the agent loses nothing, one of the machine the tail.
 * - Each file but the first of a run begins with a frame (`recording-format.ts`): the oldest files may go, and the others still tell all.
 * - Files are readable by root only, and hold no secrets (`recording-redact.ts`).
 * - The file being written is plain, so that nothing waits in a packer when the agent dies; files that are over are packed beside it.
 * - Recording never disturbs the agent: when a write fails it ends, and says so once.
 */
import { closeSync, mkdirSync, openSync, rmSync, statSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import type { ClusterEvent, LogEntry } from './events.ts';
import { ENDINGS, type Packing, partsOf } from './recording-files.ts';
import { FORMAT, type PendingRow, type RecordingHeader, type RunFacts, VERSION } from './recording-format.ts';
import { packPart } from './recording-pack.ts';
import { redact } from './recording-redact.ts';

export interface RecordingLimits {
  /** A file is followed by the next one when it has grown to this. */
  partBytesMax: number;
  /** … or its first entry is this old. */
  partAgeMaxMs: number;
  /** The oldest files of the directory go when all of them are larger than this. */
  totalBytesMax: number;
}

export const recordingDefaults: RecordingLimits = {
  partBytesMax: 64 << 20,
  partAgeMaxMs: 3_600_000,
  totalBytesMax: 4 * 1024 ** 3,
};

export interface Recording {
  write(entry: LogEntry): void;
  close(): void;
  /** All files that are over are packed. */
  packed(): Promise<void>;
}

/** What an agent that starts now would hear. */
export interface Present {
  entries(): Iterable<{ source: string; event: ClusterEvent }>;
  /** Nothing is under way: an agent that starts now would do what this one does. */
  isCalm(): boolean;
  pending(): readonly PendingRow[];
}

export interface RecordingOptions extends Partial<RecordingLimits> {
  /** Milliseconds since the epoch: the name of the run. */
  startedAt?: number;
  /** What becomes of files that are over. */
  packing?: Packing;
  /** For frames; without it there are none. */
  present?: Present;
  /** Hears once why recording ended early. */
  onFailure?: (error: Error) => void;
}

/** How much larger or older a file may become while it waits. */
const PATIENCE = 2;

const complain = (error: Error): void => void process.stderr.write(`recording ended: ${error.message}\n`);

/** Throws when the directory cannot be made or written to. */
export function openRecording(directory: string, facts: RunFacts, options: RecordingOptions = {}): Recording {
  return new RecordingWriter(directory, facts, options);
}

function partName({ startedAt, part }: RecordingHeader): string {
  const time = new Date(startedAt).toISOString().replaceAll(/[-:]/g, '');
  return `${time}-${String(part).padStart(6, '0')}${ENDINGS.none}`;
}

class RecordingWriter implements Recording {
  readonly #directory: string;
  readonly #header: RecordingHeader;
  readonly #limits: RecordingLimits;
  readonly #onFailure: (error: Error) => void;
  readonly #packing: Packing;
  #packer: Promise<void> = Promise.resolve();
  /** Undefined: closed, or ended by a failure. */
  #file: number | undefined;
  #path = '';
  #bytes = 0;
  #begunAt = 0;
  #last: Pick<LogEntry, 'seq' | 'at'> = { seq: 0, at: 0 };
  readonly #present: Present | undefined;
  /** A file is larger than the frame that it begins with. */
  #frameBytes = 0;

  constructor(
    directory: string,
    facts: RunFacts,
    { startedAt = Date.now(), onFailure = complain, packing = 'none', present, ...limits }: RecordingOptions,
  ) {
    this.#present = present;
    this.#packing = packing;
    this.#directory = directory;
    this.#header = { format: FORMAT, version: VERSION, ...redact(facts), startedAt, part: 0 };
    this.#limits = { ...recordingDefaults, ...limits };
    this.#onFailure = onFailure;
    mkdirSync(directory, { recursive: true, mode: 0o700 });
    // Of the lives before: what the last of them was still writing.
    const before = partsOf(directory);
    this.#nextPart();
    for (const part of before) this.#pack(part);
  }

  packed(): Promise<void> {
    return this.#packer;
  }

  #pack(part: string): void {
    if (this.#packing === 'none' || !part.endsWith(ENDINGS.none)) return;
    const packing = this.#packing;
    this.#packer = this.#packer.then(() => packPart(part, packing)).catch((error: Error) => this.#onFailure(error));
  }

  write(entry: LogEntry): void {
    if (this.#file === undefined) return;
    try {
      this.#begunAt ||= entry.at;
      if (this.#isOver(entry)) {
        this.#nextPart();
        this.#begunAt = entry.at;
      }
      this.#line(redact(entry));
      this.#last = { seq: entry.seq, at: entry.at };
    } catch (error) {
      this.close();
      this.#onFailure(error instanceof Error ? error : new Error(String(error)));
    }
  }

  close(): void {
    if (this.#file !== undefined) closeSync(this.#file);
    this.#file = undefined;
  }

  /** It waits some time for a calm moment. */
  #isOver({ at }: LogEntry): boolean {
    const { partBytesMax, partAgeMaxMs } = this.#limits;
    const bytesMax = Math.max(partBytesMax, this.#frameBytes);
    const share = Math.max(this.#bytes / bytesMax, (at - this.#begunAt) / partAgeMaxMs);
    return share >= PATIENCE || (share >= 1 && this.#present?.isCalm() !== false);
  }

  #nextPart(): void {
    const over = this.#path;
    this.close();
    if (over !== '') this.#pack(over);
    this.#header.part++;
    const present = this.#header.part > 1 ? this.#present : undefined;
    const frame = [...(present?.entries() ?? [])];
    if (frame.length > 0) this.#header.frame = frame.length;
    const pending = present?.pending() ?? [];
    if (pending.length > 0) this.#header.pending = pending;
    else delete this.#header.pending;
    this.#path = join(this.#directory, partName(this.#header));
    this.#file = openSync(this.#path, 'ax', 0o600);
    this.#bytes = 0;
    this.#line(redact(this.#header));
    const headerBytes = this.#bytes;
    const { seq, at } = this.#last;
    frame.forEach((entry, i) => void this.#line(redact({ seq: seq - frame.length + 1 + i, at, ...entry })));
    this.#frameBytes = this.#bytes - headerBytes;
    // A frame is no reason to begin the next file.
    this.#bytes = headerBytes;
    this.#makeRoom();
  }

  #line(value: unknown): void {
    const bytes = Buffer.from(`${JSON.stringify(value)}\n`);
    let written = 0;
    while (written < bytes.length) written += writeSync(this.#file as number, bytes, written);
    this.#bytes += bytes.length;
  }

  #makeRoom(): void {
    const sizeOf = (path: string): number => statSync(path, { throwIfNoEntry: false })?.size ?? 0;
    const parts = partsOf(this.#directory).map((path) => ({ path, size: sizeOf(path) }));
    let total = parts.reduce((sum, { size }) => sum + size, 0);
    for (const { path, size } of parts.slice(0, -1)) {
      if (total <= this.#limits.totalBytesMax) return;
      rmSync(path, { force: true });
      total -= size;
    }
  }
}
