/**
 * The files of a recording, as lines: plain, gzip or zstd, told apart by their first bytes.
 *
 * - Lines come in batches with the place where the next one begins, so that reading can go on from there another time.
 * - A file that ends in the middle of a line, or of a compressed block, gives what can be read of it.
 */
import { closeSync, createReadStream, openSync, readdirSync, readSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { PassThrough, pipeline } from 'node:stream';
import { StringDecoder } from 'node:string_decoder';
import { createGunzip, createZstdDecompress } from 'node:zlib';

export type Packing = 'none' | 'gzip' | 'zstd';

/** Endings of the files that a writer leaves. */
export const ENDINGS: Readonly<Record<Packing, string>> = { none: '.ndjson', gzip: '.ndjson.gz', zstd: '.ndjson.zst' };

/** Where a line of a file begins. */
export interface FilePlace {
  file: string;
  /** Of the file as it is unpacked. */
  offset: number;
  /** Number of the line, from 1. */
  line: number;
}

export interface LineBatch {
  /** The first line's number; the others follow. */
  first: number;
  lines: string[];
  /** The last line ends with a newline. */
  whole: boolean;
  /** Where the line after these begins. */
  next: FilePlace;
}

const CHUNK_BYTES = 1 << 16;
/** Longer than any event of an API server, whose requests are limited to 3 MiB. */
export const LINE_CHARACTERS_MAX = 64 << 20;
const MAGIC: readonly [Packing, readonly number[]][] = [
  ['gzip', [0x1f, 0x8b]],
  ['zstd', [0x28, 0xb5, 0x2f, 0xfd]],
];

/** Of a directory: one file for each part, in the order in which they were written. */
export function partsOf(directory: string): string[] {
  const parts = new Map<string, string>();
  const names = readdirSync(directory);
  // Of a part that was being packed when the writer died, the plain file is the whole one.
  for (const ending of [ENDINGS.zstd, ENDINGS.gzip, ENDINGS.none])
    for (const name of names) if (name.endsWith(ending)) parts.set(name.slice(0, -ending.length), name);
  return [...parts.keys()].sort().map((part) => join(directory, parts.get(part) as string));
}

export function filesOf(path: string): string[] {
  const stat = statSync(path, { throwIfNoEntry: false });
  if (!stat) throw new Error(`${path}: no such file or directory, expected a recording`);
  if (!stat.isDirectory()) return [path];
  const parts = partsOf(path);
  if (parts.length > 0) return parts;
  const inside = readdirSync(path).filter((name) => statSync(join(path, name)).isDirectory());
  const hint = inside.some((name) => partsOf(join(path, name)).length > 0)
    ? `; there is one for each node in it: ${inside.map((name) => join(path, name)).join(', ')}`
    : '';
  throw new Error(
    `${path}: no files *${Object.values(ENDINGS).join(', *')} in this directory, expected a recording${hint}`,
  );
}

export function packingOf(path: string): Packing {
  const head = headOf(path, 4);
  return MAGIC.find(([, magic]) => magic.every((byte, i) => head[i] === byte))?.[0] ?? 'none';
}

export function headOf(path: string, bytes: number): Buffer {
  const file = openSync(path, 'r');
  try {
    const head = Buffer.alloc(bytes);
    return head.subarray(0, readSync(file, head));
  } finally {
    closeSync(file);
  }
}

/** Throws RangeError for a line without end. */
export async function* linesOf(
  file: string,
  from: FilePlace = { file, offset: 0, line: 1 },
): AsyncGenerator<LineBatch> {
  const decoder = new StringDecoder('utf8');
  let rest = '';
  let { offset, line } = from;
  for await (const chunk of bytesOf(file, offset)) {
    const lines = (rest + decoder.write(chunk)).split('\n');
    rest = lines.pop() ?? '';
    offset += chunk.length;
    if (rest.length > LINE_CHARACTERS_MAX)
      throw new RangeError(`line ${line + lines.length} is longer than ${LINE_CHARACTERS_MAX} characters`);
    if (lines.length === 0) continue;
    const first = line;
    line += lines.length;
    yield { first, lines, whole: true, next: { file, offset: offset - Buffer.byteLength(rest), line } };
  }
  if (rest !== '') yield { first: line, lines: [rest], whole: false, next: { file, offset, line: line + 1 } };
}

/** The unpacked bytes from there on; a packed file that is cut off ends where it can be unpacked no further. */
async function* bytesOf(file: string, from: number): AsyncGenerator<Buffer> {
  const packing = packingOf(file);
  const plain = createReadStream(file, { highWaterMark: CHUNK_BYTES, start: packing === 'none' ? from : 0 });
  if (packing === 'none') {
    yield* plain as AsyncIterable<Buffer>;
    return;
  }
  const unpacked = new PassThrough({ highWaterMark: CHUNK_BYTES });
  const unpack =
    packing === 'gzip' ? createGunzip({ chunkSize: CHUNK_BYTES }) : createZstdDecompress({ chunkSize: CHUNK_BYTES });
  let cut: NodeJS.ErrnoException | null | undefined;
  pipeline(plain, unpack, (error) => {
    cut = error;
  });
  unpack.on('data', (chunk: Buffer) => unpacked.write(chunk) || unpack.pause());
  unpacked.on('drain', () => unpack.resume());
  unpack.on('end', () => unpacked.end());
  unpack.on('error', () => unpacked.end());
  let skip = from;
  try {
    for await (const chunk of unpacked as AsyncIterable<Buffer>) {
      if (skip >= chunk.length) skip -= chunk.length;
      else {
        yield skip > 0 ? chunk.subarray(skip) : chunk;
        skip = 0;
      }
    }
  } finally {
    plain.destroy();
    unpack.destroy();
  }
  if (cut && !CUT_OFF.test(cut.message)) throw new Error(`${file}: ${cut.message}, expected ${packing}`);
}
const CUT_OFF = /unexpected end|premature close|Unexpected end|Operation made no progress/i;
