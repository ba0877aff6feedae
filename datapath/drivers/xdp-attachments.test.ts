/** The program at the XDP hook keeps the laws of drivers, is replaced in its place, and outlives the agent. */
import { execFileSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { createNetns, deleteNetns, openPinnedLink, withNetns } from '../../native/index.ts';
import { driverLaws, type SampleRow } from '../../reconcilers/driver-laws.ts';
import type { XdpAttachmentRow } from '../../state/tables.ts';
import type { Op } from '../driver.ts';
import { linkNames } from '../link-names.ts';
import { type Loaded, loadDatapath, objectPath, programsFolder, xdpLinksFolder } from '../loader.ts';
import { testPins } from '../testdata/pins.ts';
import { XdpAttachmentsDriver } from './xdp-attachments.ts';

const HZ = 250;
let made = 0;

/** A namespace with two veth pairs, and the programs loaded. */
function world() {
  const pins = testPins();
  const netns = `/run/netns/axt-${process.pid}-xdp-${++made}`;
  createNetns(netns);
  withNetns(netns, () => {
    for (const dev of ['eth0', 'eth1.5'])
      execFileSync('ip', ['link', 'add', dev, 'type', 'veth', 'peer', 'name', `peer-${dev}`]);
  });
  const loads: Loaded[] = [];
  const load = (trace: 'none' | 'medium' = 'medium'): Loaded => {
    const config = { ...pins.config, monitor: { aggregation: trace } };
    const loaded = loadDatapath(config, HZ, undefined, [{ path: objectPath('xdp') }]);
    loads.push(loaded);
    return loaded;
  };
  const driver = (loaded: Loaded) =>
    new XdpAttachmentsDriver({
      build: loaded.runtime.build,
      programs: loaded.programs,
      linksFolder: xdpLinksFolder(pins.config.pinRoot),
      programsFolder: programsFolder(pins.config.pinRoot),
      links: linkNames(netns),
      netns,
    });
  const linkAt = (dev: string): string | undefined => {
    const path = join(xdpLinksFolder(pins.config.pinRoot), dev.replaceAll('.', '%2E'));
    if (!existsSync(path)) return undefined;
    const link = openPinnedLink(path);
    link.close();
    return link.label;
  };
  const dispose = (): void => {
    for (const loaded of loads) loaded.close();
    pins.dispose();
    deleteNetns(netns);
  };
  return { netns, load, driver, linkAt, dispose };
}

const row = (dev: string, build: string, mode: XdpAttachmentRow['mode'] = 'generic'): SampleRow => ({
  table: 'xdp.attachments',
  key: dev,
  value: { dev, program: 'xdp_netdev', mode, build } satisfies XdpAttachmentRow,
});
const put = ({ table, key, value }: SampleRow): Op => ({
  table,
  action: 'put',
  key,
  value,
  before: undefined,
  revision: 1,
  owners: [],
});

driverLaws('xdp attachments', () => {
  const { load, driver, linkAt, dispose } = world();
  const loaded = load();
  const { build } = loaded.runtime;
  return {
    driver: driver(loaded),
    samples: [
      { ...row('eth0', build), changed: row('eth0', build, 'best-effort').value },
      row('eth1.5', build, 'native'),
    ],
    impossible: [row('eth9', build), row('eth0', 'other')],
    // Another mode is another link.
    identityOf: ({ key, changed }) => (changed === undefined ? linkAt(key) : undefined),
    dispose,
  };
});

describe('xdp attachments', () => {
  test('a new build replaces the program of the same link; the next agent finds it', () => {
    const { load, driver, linkAt, dispose } = world();
    try {
      const [old, next] = [load(), load('none')];
      const rowOf = ({ runtime }: Loaded) => row('eth0', runtime.build);
      const known = new Map([['eth0', rowOf(old).value]]);
      expect(driver(old).apply([put(rowOf(old))])).toEqual([undefined]);
      const before = linkAt('eth0');
      expect(driver(next).dump('xdp.attachments', known)).toEqual(known);
      expect(driver(next).apply([{ ...put(rowOf(next)), before: rowOf(old).value }])).toEqual([undefined]);
      expect(linkAt('eth0')).toBe(before);
      expect(driver(next).dump('xdp.attachments', known).get('eth0')).toEqual(rowOf(next).value);
    } finally {
      dispose();
    }
  });

  test('a device that went took its program along', async () => {
    const { netns, load, driver, dispose } = world();
    try {
      const loaded = load();
      expect(driver(loaded).apply([put(row('eth0', loaded.runtime.build))])).toEqual([undefined]);
      withNetns(netns, () => execFileSync('ip', ['link', 'del', 'eth0']));
      await expect.poll(() => driver(loaded).dump('xdp.attachments').size).toBe(0);
    } finally {
      dispose();
    }
  });
});
