/** What outlives an agent is as the newest release has it, or a new release is due; and there are earlier ones to come from. */
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { objectPath } from '../../datapath/loader.ts';
import { describe, releasedObjects } from './describe.ts';
import { releases } from './release.ts';

const root = join(import.meta.dirname, '../..');
const due = 'raise the version in package.json and store the release: npm run release:snapshot';

it('layouts of maps, tables, SQLite’s schema and the recording’s format are those of the newest release', async () => {
  const newest = releases().at(-1);
  const objects = Object.fromEntries(releasedObjects.map((name) => [name, objectPath(name)]));
  const now = await describe(root, objects);
  const parts = ['maps', 'tables', 'sqlite', 'recordingFormat'] as const;
  for (const part of parts)
    expect(now[part], `${part} differ from release ${newest?.version}: ${due}`).toEqual(newest?.[part]);
});

it('there are three earlier releases, each with other layouts than the one after it', () => {
  const all = releases();
  expect(all.length).toBeGreaterThan(3);
  all.slice(1).forEach((release, i) => expect(release.maps, release.version).not.toEqual(all[i]?.maps));
});
