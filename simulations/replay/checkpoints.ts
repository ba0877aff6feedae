/**
 * Checkpoints of a replay on disk: a moment far into a recording is reached from the one before it.
 *
 * - They are of one recording, as its files are now, and of one build; others are thrown away.
 * - There are at most CHECKPOINTS_MAX, with equal numbers of events between them: when there are more, every other one goes.
 * - What cannot be written is not there: a replay without checkpoints is only slower.
 */
import { createHash } from 'node:crypto';
import { accessSync, constants, mkdirSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { homedir } from 'node:os';
import { basename, dirname, join, resolve } from 'node:path';
import { deserialize, serialize } from 'node:v8';
import { constants as zlib, zstdCompressSync, zstdDecompressSync } from 'node:zlib';
import { filesOf } from '../../cluster/recording-files.ts';
import type { ReadingPlace } from '../../cluster/recording-reader.ts';
import type { Position, Watcher } from './moment.ts';
import { Player, type SavedPlayer } from './player.ts';
import type { Until } from './source.ts';

export interface Checkpoint extends Position {
  /** Events before it, of all runs. */
  index: number;
  /** Time of the last of them. */
  at: number;
}

interface Manifest {
  of: string;
  spacing: number;
  checkpoints: Checkpoint[];
}

export interface Resumed {
  player: Player;
  place: ReadingPlace;
  index: number;
}

const CHECKPOINTS_MAX = 64;
const SPACING_MIN = 4_096;
const MANIFEST = 'manifest.json';
const ROOMS = ['machines', 'policy', 'reconcilers', 'state', 'cluster', 'simulations'];

/** What the results of a replay depend on besides the recording: every source file, by size and time. */
export function buildFingerprint(): string {
  const root = new URL('../../', import.meta.url).pathname;
  const hash = createHash('sha256').update(process.version);
  for (const room of ROOMS) {
    for (const name of readdirSync(join(root, room), { recursive: true }) as string[]) {
      if (!name.endsWith('.ts') || name.endsWith('.test.ts')) continue;
      const { size, mtimeMs } = statSync(join(root, room, name));
      hash.update(`${room}/${name} ${size} ${mtimeMs}\n`);
    }
  }
  return hash.digest('hex');
}

/** Beside the recording, or where that cannot be written among the user's own files. */
export function usualDirectory(recording: string): string {
  const path = resolve(recording);
  const folder = statSync(path).isDirectory() ? path : dirname(path);
  const name = statSync(path).isDirectory() ? '.replay' : `.replay-${basename(path)}`;
  try {
    accessSync(folder, constants.W_OK);
    return join(folder, name);
  } catch {
    const own = createHash('sha256').update(path).digest('hex').slice(0, 16);
    return join(process.env['XDG_CACHE_HOME'] ?? join(homedir(), '.cache'), 'axoneme', 'replay', own);
  }
}

export class Checkpoints {
  readonly #directory: string;
  #manifest: Manifest;
  #isWritable = true;

  /** `directory` empty: none are kept. */
  constructor(recording: string, directory: string, lenient = false, spacing = SPACING_MIN) {
    this.#directory = directory;
    const files = filesOf(recording).map((file) => [basename(file), statSync(file).size, statSync(file).mtimeMs]);
    const of = createHash('sha256')
      .update(JSON.stringify([files, lenient, buildFingerprint()]))
      .digest('hex');
    this.#manifest = { of, spacing, checkpoints: [] };
    if (directory === '') this.#isWritable = false;
    else this.#open();
  }

  get all(): readonly Checkpoint[] {
    return this.#manifest.checkpoints;
  }

  #open(): void {
    try {
      const found = JSON.parse(readFileSync(join(this.#directory, MANIFEST), 'utf8')) as Manifest;
      if (found.of === this.#manifest.of) this.#manifest = found;
      else rmSync(this.#directory, { recursive: true, force: true });
    } catch {
      // There are none yet.
    }
  }

  /** The last one that is not after there, of the last run unless it says another. */
  before(until: Until, runs: number): Checkpoint | undefined {
    const run = 'time' in until ? 0 : (until.run ?? runs);
    return this.#manifest.checkpoints.findLast((one) =>
      'time' in until ? one.at <= until.time : one.run < run || (one.run === run && one.seq <= until.seq),
    );
  }

  beforeIndex(index: number): Checkpoint | undefined {
    return this.#manifest.checkpoints.findLast((one) => one.index <= index);
  }

  /** Undefined: it cannot be read any more. */
  resume(checkpoint: Checkpoint, watchers: readonly Watcher[]): Resumed | undefined {
    try {
      const packed = readFileSync(this.#pathOf(checkpoint));
      const { player, place } = deserialize(zstdDecompressSync(packed)) as { player: SavedPlayer; place: ReadingPlace };
      return { player: Player.load(player, watchers), place, index: checkpoint.index };
    } catch {
      return undefined;
    }
  }

  /** Called where reading may go on. */
  offer(player: Player, place: ReadingPlace | undefined, index: number): void {
    const { checkpoints, spacing } = this.#manifest;
    const last = checkpoints.at(-1);
    if (!this.#isWritable || !place || index - (last?.index ?? 0) < spacing) return;
    const checkpoint = { index, ...player.position, at: player.life.at };
    try {
      if (checkpoints.length === 0) mkdirSync(this.#directory, { recursive: true, mode: 0o700 });
      const plain = serialize({ player: player.save(), place });
      const packed = zstdCompressSync(plain, { params: { [zlib.ZSTD_c_compressionLevel]: 1 } });
      writeFileSync(this.#pathOf(checkpoint), packed, { mode: 0o600 });
      checkpoints.push(checkpoint);
      if (checkpoints.length > CHECKPOINTS_MAX) this.#thin();
      writeFileSync(join(this.#directory, MANIFEST), JSON.stringify(this.#manifest), { mode: 0o600 });
    } catch {
      this.#isWritable = false;
    }
  }

  #thin(): void {
    const { checkpoints, spacing } = this.#manifest;
    const kept = checkpoints.filter((_, i) => i % 2 === 1);
    for (const gone of checkpoints.filter((_, i) => i % 2 === 0)) rmSync(this.#pathOf(gone), { force: true });
    this.#manifest = { ...this.#manifest, spacing: 2 * spacing, checkpoints: kept };
  }

  #pathOf({ index }: Checkpoint): string {
    return join(this.#directory, `${index}.checkpoint`);
  }
}
