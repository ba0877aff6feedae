/**
 * Reads recordings, a batch of entries at a time, however large they are.
 *
 * - The last line of a run may be torn by a crash: it is left out, and reported.
 * - Anything else that is not as it should be ends the reading with file, line and what was expected; a lenient reader reports it, leaves
 *   the line out and goes on.
 * - A run whose first files are gone begins with the frame of the first that is there.
 * - Reading can go on later from where a batch ended.
 */
import type { LogEntry } from './events.ts';
import { type FilePlace, filesOf, linesOf } from './recording-files.ts';
import {
  entryFault,
  headerFault,
  orderFault,
  RecordingError,
  type RecordingHeader,
  VERSION,
} from './recording-format.ts';

export type RecordingItem =
  | { kind: 'run'; header: RecordingHeader; file: string }
  | { kind: 'entry'; entry: LogEntry; file: string; line: number }
  | { kind: 'torn'; file: string; line: number }
  /** Lenient readers only: what was left out, or is strange. */
  | { kind: 'fault'; file: string; line: number; message: string };

export interface ReadOptions {
  lenient?: boolean;
  from?: ReadingPlace;
}

/** Where reading may go on. */
export interface ReadingPlace extends FilePlace {
  header: RecordingHeader;
  /** Number of the entry before. */
  seq: number;
}

export interface RecordingBatch {
  items: RecordingItem[];
  /** Undefined: before the first header. */
  next: ReadingPlace | undefined;
}

/** `path` is one file or a directory of them. */
export async function* readRecording(path: string, options: ReadOptions = {}): AsyncGenerator<RecordingItem> {
  for await (const { items } of readBatches(path, options)) yield* items;
}

export async function* readBatches(
  path: string,
  { lenient = false, from }: ReadOptions = {},
): AsyncGenerator<RecordingBatch> {
  const files = filesOf(path);
  const reader = new Reader(lenient, from);
  for (const file of from ? files.slice(files.indexOf(from.file)) : files) {
    reader.open(file);
    try {
      for await (const { first, lines, whole, next } of linesOf(file, from?.file === file ? from : undefined)) {
        const items = reader.take(first, lines, whole);
        yield { items, next: reader.isInFrame ? undefined : placeOf(reader, next) };
      }
    } catch (error) {
      if (!(error instanceof RangeError)) throw error;
      throw new RecordingError(file, 1, `${error.message}, expected lines of JSON`);
    }
  }
}

const placeOf = ({ header, seq }: Reader, next: FilePlace): ReadingPlace | undefined =>
  header && { ...next, header, seq };

class Reader {
  readonly #lenient: boolean;
  #file = '';
  /** Of the run, as its latest part has it. */
  header: RecordingHeader | undefined;
  seq: number;
  /** The file's own header was read. */
  #isBegun: boolean;
  #items: RecordingItem[] = [];
  /** Lines of a frame that are still to come, to be taken or to be left out. */
  #framed = 0;
  #skipped = 0;

  constructor(lenient: boolean, from: ReadingPlace | undefined) {
    this.#lenient = lenient;
    this.header = from?.header;
    this.seq = from?.seq ?? 0;
    this.#isBegun = from !== undefined && from.line > 1;
    this.#file = from?.file ?? '';
  }

  /** Where reading cannot go on another time. */
  get isInFrame(): boolean {
    return this.#framed > 0 || this.#skipped > 0;
  }

  open(file: string): void {
    if (file !== this.#file) this.#isBegun = false;
    this.#framed = 0;
    this.#skipped = 0;
    this.#file = file;
  }

  take(first: number, lines: readonly string[], whole: boolean): RecordingItem[] {
    this.#items = [];
    for (let i = 0; i < lines.length; i++) this.#line(lines[i] as string, first + i, whole || i < lines.length - 1);
    return this.#items;
  }

  #line(text: string, line: number, whole: boolean): void {
    if (this.#skipped > 0) {
      this.#skipped--;
      return;
    }
    let value: unknown;
    try {
      value = JSON.parse(text);
    } catch (error) {
      if (!whole) this.#items.push({ kind: 'torn', file: this.#file, line });
      else if (!this.#isBegun)
        throw new RecordingError(
          this.#file,
          line,
          `this is neither a recording, whose first line is {"format":"axoneme-recording",…}, nor what kubectl -o json writes: ${text.slice(0, 40)}`,
        );
      else this.#fault(line, `expected a line of JSON: ${error instanceof Error ? error.message : error}`);
      return;
    }
    if (this.#isBegun) this.#entry(value, line);
    else this.#head(value, line);
  }

  #entry(value: unknown, line: number): void {
    const isFrame = this.#framed > 0;
    if (isFrame) this.#framed--;
    const fault = entryFault(value) ?? (isFrame ? undefined : orderFault(value as LogEntry, this.seq));
    if (fault !== undefined) {
      this.#fault(line, fault);
      const seq = (value as Partial<LogEntry> | null)?.seq;
      // A hole is jumped over; what comes late or twice has no place any more.
      if (entryFault(value) !== undefined || (seq as number) <= this.seq) return;
    }
    const entry = value as LogEntry;
    this.seq = entry.seq;
    this.#items.push({ kind: 'entry', entry, file: this.#file, line });
  }

  #head(value: unknown, line: number): void {
    const fault = headerFault(value);
    if (fault !== undefined) {
      const isReadable = this.#lenient && headerFault({ ...(value as object), version: VERSION }) === undefined;
      if (!isReadable) throw new RecordingError(this.#file, line, fault);
      this.#fault(line, fault);
    }
    const header = value as RecordingHeader;
    const isNew = header.startedAt !== this.header?.startedAt;
    const expected = isNew ? 1 : (this.header?.part ?? 0) + 1;
    const { part, frame = 0 } = header;
    const isGap = part !== expected;
    // Of a run's beginning nothing is said: the oldest files go when there is no more room for them.
    if (isGap && !(isNew && frame > 0)) {
      const missing = isNew
        ? 'earlier parts are missing, and a run without frames can only be read from its start'
        : 'parts between are missing';
      this.#fault(line, `this is part ${part} of its run, expected part ${expected}: ${missing}`);
    }
    const isStart = isNew || (isGap && frame > 0);
    if (isStart) this.#framed = frame;
    else this.#skipped = frame;
    if (isStart) {
      this.#items.push({ kind: 'run', header, file: this.#file });
      this.seq = 0;
    }
    this.header = header;
    this.#isBegun = true;
  }

  #fault(line: number, message: string): void {
    if (!this.#lenient) throw new RecordingError(this.#file, line, message);
    this.#items.push({ kind: 'fault', file: this.#file, line, message });
  }
}

/** Headers of all runs. Only the first line of each file is read. */
export async function runsOf(path: string): Promise<RecordingHeader[]> {
  const runs = new Map<number, RecordingHeader>();
  for (const file of filesOf(path)) {
    for await (const { lines } of linesOf(file)) {
      const value = headOf(lines[0] ?? '');
      const fault = headerFault(value);
      if (fault) throw new RecordingError(file, 1, fault);
      const header = value as RecordingHeader;
      if (!runs.has(header.startedAt)) runs.set(header.startedAt, header);
      break;
    }
  }
  return [...runs.values()];
}

function headOf(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

/** When the last run began: the name that its header bears. */
export async function lastRunOf(path: string): Promise<number> {
  const last = (await runsOf(path)).at(-1);
  if (!last) throw new RecordingError(path, 1, 'expected a header, got an empty file');
  return last.startedAt;
}
