/**
 * A release, as far as what outlives an agent is concerned: layouts of maps, programs, tables, SQLite's schema, the recording's format.
 *
 * - Stored under `simulations/releases/VERSION/`: `release.json`, and the objects as they were compiled, packed.
 */
import { existsSync, mkdirSync, readdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { gunzipSync } from 'node:zlib';
import type { MapLayout } from '../../datapath/layout-texts.ts';

export interface ReleasedMap {
  name: string;
  type: string;
  keySize: number;
  valueSize: number;
  maxEntries: number;
  flags: number;
  /** Of the maps inside where it is a map of maps; absent where there are no keys and values. */
  layout?: MapLayout;
}

export interface Release {
  version: string;
  /** It was made from this commit. */
  commit: string;
  maps: ReleasedMap[];
  /** By object: the programs and where they belong. */
  objects: Record<string, { name: string; section: string }[]>;
  /** What is known of each table of rows, beside their shape. */
  tables: Record<string, unknown>;
  sqlite: { version: number; schema: string[] };
  recordingFormat: number;
}

const folder = import.meta.dirname;
const unpackedFolder = join(folder, '../../node_modules/.cache/releases');

let known: readonly Release[] | undefined;

/** Oldest first. */
export const releases = (): readonly Release[] => (known ??= readAll());

function readAll(): Release[] {
  return readdirSync(folder, { withFileTypes: true })
    .filter((entry) => entry.isDirectory())
    .map(({ name }) => JSON.parse(readFileSync(join(folder, name, 'release.json'), 'utf8')) as Release)
    .sort((a, b) => compareVersions(a.version, b.version));
}

/** What leads to a version comes before it: `0.1.0-90.13ee16f` before `0.1.0`. */
function compareVersions(a: string, b: string): number {
  const [[baseA = '', stepA = '~'], [baseB = '', stepB = '~']] = [a.split('-'), b.split('-')];
  const base = baseA.localeCompare(baseB, 'en', { numeric: true });
  if (base !== 0 || stepA === stepB) return base;
  if (stepA === '~' || stepB === '~') return stepA === '~' ? 1 : -1;
  return stepA.localeCompare(stepB, 'en', { numeric: true });
}

/** Throws with what there is. */
export function releaseOf(version: string): Release {
  const all = releases();
  const found = all.find((release) => release.version === version);
  if (!found)
    throw new TypeError(`there is no release ${version}; there are ${all.map((one) => one.version).join(', ')}`);
  return found;
}

export const releaseFolder = (version: string): string => join(folder, version);

/** Path of an object of a release, unpacked. */
export function releasedObject(version: string, name: string): string {
  const path = join(unpackedFolder, `${version}-${name}.o`);
  const packed = join(folder, version, `${name}.o.gz`);
  if (existsSync(path)) return path;
  mkdirSync(unpackedFolder, { recursive: true });
  const fresh = `${path}.${process.pid}`;
  writeFileSync(fresh, gunzipSync(readFileSync(packed)));
  renameSync(fresh, path);
  return path;
}
