/**
 * Reads recordings, one entry at a time, however large they are.
 *
 * - The last line of a run may be torn by a crash: it is left out, and reported.
 * - Anything else that is not as it should be ends the reading with file, line and what was expected.
 */
import { createReadStream, statSync } from 'node:fs';
import type { LogEntry } from './events.ts';
import { partsOf } from './recording.ts';
import { entryFault, headerFault, RecordingError, type RecordingHeader } from './recording-format.ts';

export type RecordingItem =
  | { kind: 'run'; header: RecordingHeader; file: string }
  | { kind: 'entry'; entry: LogEntry; file: string; line: number }
  | { kind: 'torn'; file: string; line: number };

interface Line {
  text: string;
  number: number;
  /** It ends with a newline. */
  whole: boolean;
}

/** `path` is one file or a directory of them. */
export async function* readRecording(path: string): AsyncGenerator<RecordingItem> {
  let run: RecordingHeader | undefined;
  let seq = 0;
  for (const file of filesOf(path)) {
    let header: RecordingHeader | undefined;
    for await (const line of linesOf(file)) {
      const value = parse(line, file);
      if (value === undefined) {
        yield { kind: 'torn', file, line: line.number };
        break;
      }
      if (!header) {
        header = checkedHeader(value, file, run);
        if (header.startedAt !== run?.startedAt) {
          yield { kind: 'run', header, file };
          seq = 0;
        }
        run = header;
        continue;
      }
      const fault = entryFault(value, ++seq);
      if (fault) throw new RecordingError(file, line.number, fault);
      yield { kind: 'entry', entry: value as LogEntry, file, line: line.number };
    }
  }
}

/** When the last run began: the name that its header bears. */
export async function lastRunOf(path: string): Promise<number> {
  const file = filesOf(path).at(-1) ?? path;
  for await (const line of linesOf(file)) {
    const value = parse(line, file);
    const fault = headerFault(value);
    if (fault) throw new RecordingError(file, 1, fault);
    return (value as RecordingHeader).startedAt;
  }
  throw new RecordingError(file, 1, 'expected a header, got an empty file');
}

function filesOf(path: string): string[] {
  const stat = statSync(path, { throwIfNoEntry: false });
  if (!stat) throw new Error(`${path}: no such file or directory, expected a recording`);
  if (!stat.isDirectory()) return [path];
  const parts = partsOf(path);
  if (parts.length === 0) throw new Error(`${path}: no files *.ndjson in this directory, expected a recording`);
  return parts;
}

/** Undefined: torn. */
function parse({ text, number, whole }: Line, file: string): unknown {
  try {
    return JSON.parse(text);
  } catch (error) {
    if (!whole) return undefined;
    throw new RecordingError(
      file,
      number,
      `expected a line of JSON: ${error instanceof Error ? error.message : error}`,
    );
  }
}

function checkedHeader(value: unknown, file: string, run: RecordingHeader | undefined): RecordingHeader {
  const fault = headerFault(value);
  if (fault) throw new RecordingError(file, 1, fault);
  const header = value as RecordingHeader;
  const expected = header.startedAt === run?.startedAt ? run.part + 1 : 1;
  if (header.part !== expected) {
    throw new RecordingError(
      file,
      1,
      `this is part ${header.part} of its run, expected part ${expected}: earlier parts are missing, and a run can only be read from its start`,
    );
  }
  return header;
}

async function* linesOf(file: string): AsyncGenerator<Line> {
  let rest = '';
  let number = 0;
  for await (const chunk of createReadStream(file, { encoding: 'utf8' })) {
    const lines = (rest + (chunk as string)).split('\n');
    rest = lines.pop() ?? '';
    for (const text of lines) yield { text, number: ++number, whole: true };
  }
  if (rest !== '') yield { text: rest, number: ++number, whole: false };
}
