/** What of a source tree makes a release: read from its compiled objects and from its own code. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import Database from 'better-sqlite3';
import { wantedLayout } from '../../datapath/layout-texts.ts';
import { namedMaps } from '../../datapath/runtime-config.ts';
import { btfOfObject, openObject } from '../../native/index.ts';
import type { Release, ReleasedMap } from './release.ts';

/** Objects whose programs are attached; the first has all maps. */
export const releasedObjects = ['datapath', 'sock', 'xdp'] as const;

export function mapsOf(object: string): ReleasedMap[] {
  const btf = btfOfObject(object);
  return namedMaps(btf).map((map) => {
    const { name, type, keySize, valueSize, maxEntries, flags } = map;
    const layout = wantedLayout(btf, map);
    return { name, type, keySize, valueSize, maxEntries, flags, ...(layout && { layout }) };
  });
}

function programsOf(path: string): { name: string; section: string }[] {
  const object = openObject(path);
  try {
    return object.programs();
  } finally {
    object.close();
  }
}

/** Of the tree at `root`, whose objects are `objects`. */
export async function describe(
  root: string,
  objects: Readonly<Record<string, string>>,
): Promise<Omit<Release, 'version' | 'commit'>> {
  const load = (path: string): Promise<Record<string, unknown>> => import(pathToFileURL(join(root, path)).href);
  const { tables } = await load('state/tables.ts');
  const format = await load('cluster/recording-format.ts').catch(() => ({}) as Record<string, unknown>);
  return {
    maps: mapsOf(objects['datapath'] as string),
    objects: Object.fromEntries(Object.entries(objects).map(([name, path]) => [name, programsOf(path)])),
    tables: JSON.parse(JSON.stringify(tables)),
    sqlite: await schemaOf(load),
    recordingFormat: Number(format['VERSION'] ?? 1),
  };
}

/** As the tree's own store makes it. */
async function schemaOf(load: (path: string) => Promise<Record<string, unknown>>): Promise<Release['sqlite']> {
  const { Store } = (await load('state/store.ts')) as { Store: new (path: string) => { close(): void } };
  const directory = mkdtempSync(join(tmpdir(), 'axoneme-release-'));
  const path = join(directory, 'state.db');
  try {
    new Store(path).close();
    const db = new Database(path, { readonly: true });
    try {
      const version = db.pragma('user_version', { simple: true }) as number;
      const schema = db.prepare('SELECT sql FROM sqlite_master WHERE sql IS NOT NULL ORDER BY name').pluck().all();
      return { version, schema: schema as string[] };
    } finally {
      db.close();
    }
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
}
