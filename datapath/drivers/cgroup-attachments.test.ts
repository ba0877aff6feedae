/** Programs at cgroups keep the laws of drivers; they are replaced and moved without a gap, and outlive the agent. */
import { existsSync, mkdirSync, rmdirSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { openPinnedLink } from '../../native/index.ts';
import { driverLaws, type SampleRow } from '../../reconcilers/driver-laws.ts';
import type { CgroupAttachmentRow } from '../../state/tables.ts';
import { cgroup2Mount } from '../cgroup2.ts';
import type { Op } from '../driver.ts';
import { probeFeatures } from '../features.ts';
import { cgroupLinksFolder, type Loaded, loadDatapath, programsFolder } from '../loader.ts';
import { sockPart } from '../sock-part.ts';
import { testPins } from '../testdata/pins.ts';
import { smallObject } from '../testdata/small-object.ts';
import { CgroupAttachmentsDriver } from './cgroup-attachments.ts';

const HZ = 250;
let made = 0;

/** Two cgroups, and the socket programs loaded. */
function world() {
  const pins = testPins();
  const cgroups = ['a', 'b'].map((name) => join(cgroup2Mount() ?? '', `axt-${process.pid}-${++made}-${name}`));
  for (const path of cgroups) mkdirSync(path);
  const loads: Loaded[] = [];
  const load = (...definitions: string[]): Loaded => {
    const part = sockPart(['connect4', 'connect6'], probeFeatures(), undefined);
    const loaded = loadDatapath(pins.config, HZ, smallObject(...definitions), [part]);
    loads.push(loaded);
    return loaded;
  };
  const driver = (loaded: Loaded) =>
    new CgroupAttachmentsDriver({
      build: loaded.runtime.build,
      programs: loaded.programs,
      linksFolder: cgroupLinksFolder(pins.config.pinRoot),
      programsFolder: programsFolder(pins.config.pinRoot),
    });
  const linkAt = (hook: string) => {
    const path = join(cgroupLinksFolder(pins.config.pinRoot), hook);
    if (!existsSync(path)) return undefined;
    const link = openPinnedLink(path);
    link.close();
    return link.label;
  };
  const dispose = (): void => {
    for (const loaded of loads) loaded.close();
    pins.dispose();
    for (const path of cgroups) if (existsSync(path)) rmdirSync(path);
  };
  return { cgroups: cgroups as [string, string], load, driver, linkAt, dispose };
}

const row = (cgroup: string, hook: string, build: string): SampleRow => ({
  table: 'cgroup.attachments',
  key: hook,
  value: { cgroup, program: `sock_${hook}`, build } satisfies CgroupAttachmentRow,
});
const opOf = (action: Op['action'], { table, key, value }: SampleRow): Op => ({
  table,
  action,
  key,
  value,
  before: undefined,
  revision: 1,
  owners: [],
});

driverLaws('cgroup attachments', () => {
  const { cgroups, load, driver, linkAt, dispose } = world();
  const loaded = load();
  const { build } = loaded.runtime;
  return {
    driver: driver(loaded),
    samples: [
      { ...row(cgroups[0], 'connect4', build), changed: row(cgroups[1], 'connect4', build).value },
      row(cgroups[0], 'connect6', build),
    ],
    impossible: [
      row('/nowhere', 'sendmsg4', build),
      row(cgroups[0], 'sendmsg4', build), // its program is not loaded here
      row(cgroups[0], 'bind9', build),
      { ...row(cgroups[0], 'recvmsg4', build), value: { cgroup: cgroups[0], program: 'sock_connect4', build } },
      {
        ...row(cgroups[0], 'recvmsg4', build),
        value: { cgroup: cgroups[0], program: 'sock_connect4', build: 'other' },
      },
    ],
    // Another cgroup is another link.
    identityOf: ({ key, changed }) => (changed === undefined ? linkAt(key) : undefined),
    dispose,
  };
});

describe('cgroup attachments', () => {
  test('a new build replaces the program of the same link; the next agent finds it', async () => {
    const { cgroups, load, driver, linkAt, dispose } = world();
    try {
      const [old, next] = [load(), load('VARIANT=1')];
      const rowOf = ({ runtime }: Loaded) => row(cgroups[0], 'connect4', runtime.build);
      const known = new Map([['connect4', rowOf(old).value]]);
      expect(driver(old).apply([opOf('put', rowOf(old))])).toEqual([undefined]);
      const before = linkAt('connect4');
      expect(driver(next).dump('cgroup.attachments', known)).toEqual(known);
      expect(driver(next).apply([opOf('put', rowOf(next))])).toEqual([undefined]);
      expect(linkAt('connect4')).toBe(before);
      expect(driver(next).dump('cgroup.attachments', known).get('connect4')).toEqual(rowOf(next).value);
    } finally {
      dispose();
    }
  });

  test('a cgroup that was removed took its programs along; one that no row names shows its number', async () => {
    const { cgroups, load, driver, dispose } = world();
    try {
      const loaded = load();
      const wanted = row(cgroups[0], 'connect4', loaded.runtime.build);
      expect(driver(loaded).apply([opOf('put', wanted)])).toEqual([undefined]);
      expect(driver(loaded).dump('cgroup.attachments').get('connect4')?.cgroup).toMatch(/^#\d+$/);
      rmdirSync(cgroups[0]);
      await expect.poll(() => driver(loaded).dump('cgroup.attachments').size).toBe(0);
      expect(driver(loaded).apply([opOf('put', wanted)])[0]).toMatchObject({ errno: 'ENOENT' });
      mkdirSync(cgroups[0]);
      expect(driver(loaded).apply([opOf('put', wanted)])).toEqual([undefined]);
    } finally {
      dispose();
    }
  });
});
