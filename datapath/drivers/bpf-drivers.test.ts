/** The drivers of BPF maps and attachments keep the laws; programs are replaced in place, and what others did is seen. */
import { spawn } from 'node:child_process';
import { existsSync, readdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { describe, expect, test } from 'vitest';
import { attachTcx, detachTc, openPinnedLink, openPinnedProgram, queryTc, queryTcx } from '../../native/index.ts';
import { driverLaws, type SampleRow } from '../../reconcilers/driver-laws.ts';
import type { AttachmentRow } from '../../state/tables.ts';
import { Codecs } from '../codec.ts';
import type { Op } from '../driver.ts';
import { linkNames } from '../link-names.ts';
import { type Loaded, linksFolder, loadDatapath, programsFolder } from '../loader.ts';
import { packetCounts } from '../metrics.ts';
import type { DatapathConfig } from '../runtime-config.ts';
import { testNamespace } from '../testdata/namespace.ts';
import { testPins } from '../testdata/pins.ts';
import { smallObject } from '../testdata/small-object.ts';
import { AttachmentsDriver } from './attachments.ts';
import { BpfTablesDriver } from './bpf-tables.ts';

const HZ = 250;

function opOf(action: Op['action'], { table, key, value }: SampleRow): Op {
  return { table, action, key, value, before: undefined, revision: 1, owners: [] };
}

/** A namespace with two links, and the maps and programs loaded. */
function node(config: Partial<DatapathConfig> = {}) {
  const namespace = testNamespace('node');
  const pins = testPins(config);
  namespace.ip('link add lxc1 type veth peer name eth1');
  namespace.ip('link add lxc2 type veth peer name eth2');
  const loaded = loadDatapath(pins.config, HZ, smallObject());
  const dispose = (): void => {
    loaded.close();
    namespace.dispose();
    pins.dispose();
  };
  return { namespace, config: pins.config, loaded, dispose };
}

function tablesDriver({ btf, maps }: Loaded, netns: string): BpfTablesDriver {
  const codecs = new Codecs(btf, linkNames(netns));
  const map = (name: string) => {
    const found = maps.get(name);
    if (!found) throw new Error(name);
    return { map: found, ...codecs.map(name) };
  };
  return new BpfTablesDriver([
    { table: 'bpf.endpoints', ...map('endpoints') },
    { table: 'bpf.ipcache', ...map('ipcache') },
    { table: 'bpf.netdevs', ...map('netdevs'), key: codecs.link() },
  ]);
}

const endpoint = (key: string, identity = 300): SampleRow => ({
  table: 'bpf.endpoints',
  key,
  value: {
    link: 'lxc1',
    identity,
    id: 7,
    flags: 0,
    policyRevision: 0,
    mac: '02:00:00:00:00:01',
    hostMac: '02:00:00:00:00:02',
  },
});
const prefix = (key: string, identity = 300): SampleRow => ({
  table: 'bpf.ipcache',
  key,
  value: { identity, tunnelEndpoint: '', encryptKey: 0, flags: 0 },
});
const netdev = (key: string): SampleRow => ({
  table: 'bpf.netdevs',
  key,
  value: { ipv4: '192.0.2.1', ipv6: '2001:db8::1', mac: '02:00:00:00:00:09', flags: 0 },
});
const changing = (row: SampleRow, changes: object): SampleRow => ({
  ...row,
  changed: { ...(row.value as object), ...changes },
});

driverLaws('bpf tables', () => {
  const { namespace, loaded, dispose } = node();
  return {
    driver: tablesDriver(loaded, namespace.path),
    samples: [
      changing(endpoint('10.0.0.5'), { identity: 301, link: 'lxc2' }),
      endpoint('fd00::5', 9999),
      changing(prefix('10.0.0.5/32'), { identity: 4, tunnelEndpoint: '192.0.2.7' }),
      changing(prefix('0.0.0.0/0', 9), { identity: 2 }),
      prefix('::/0', 10),
      prefix('fd00::/64', 7),
      changing(netdev('lxc1'), { ipv4: '' }),
      netdev('lxc2'),
    ],
    impossible: [
      { ...endpoint('10.0.0.6'), value: { ...(endpoint('').value as object), link: 'nolink' } },
      { ...endpoint('10.0.0.7'), value: { ...(endpoint('').value as object), identity: -1 } },
      endpoint('10.0.0.256'),
      endpoint('fd00:0::5'),
      prefix('10.0.0.1/24'),
      prefix('::ffff:10.0.0.0/120'),
      netdev('nolink'),
    ],
    dispose,
  };
});

const attachment = (build: string, dev: string, direction: AttachmentRow['direction']): SampleRow => {
  const program = direction === 'ingress' ? 'from_endpoint' : 'to_endpoint';
  const value: AttachmentRow = { dev, direction, program, build };
  return { table: 'attachments', key: `${dev}/${direction}`, value };
};

function attachmentsDriver(loaded: Loaded, config: DatapathConfig, netns: string, tcx = true): AttachmentsDriver {
  return new AttachmentsDriver({
    build: loaded.runtime.build,
    programs: loaded.programs,
    linksFolder: linksFolder(config.pinRoot),
    programsFolder: programsFolder(config.pinRoot),
    links: linkNames(netns),
    tcx,
    netns,
  });
}

for (const tcx of [true, false]) {
  driverLaws(`attachments by ${tcx ? 'tcx' : 'clsact'}`, () => {
    const { namespace, config, loaded, dispose } = node();
    const { build } = loaded.runtime;
    return {
      driver: attachmentsDriver(loaded, config, namespace.path, tcx),
      samples: [
        changing(attachment(build, 'lxc1', 'ingress'), { program: 'from_netdev' }),
        attachment(build, 'lxc1', 'egress'),
        attachment(build, 'lxc2', 'ingress'),
      ],
      impossible: [
        attachment(build, 'nolink', 'ingress'),
        attachment('another-build', 'lxc2', 'egress'),
        {
          ...attachment(build, 'lxc2', 'egress'),
          value: { dev: 'lxc2', direction: 'egress', program: 'nothing', build },
        },
      ],
      identityOf: ({ key }) => {
        if (!tcx) return undefined;
        const path = join(linksFolder(config.pinRoot), key.replace('/', '-'));
        if (!existsSync(path)) return undefined;
        const link = openPinnedLink(path);
        link.close();
        return link.label;
      },
      dispose,
    };
  });
}

describe('bpf tables', () => {
  test('a full map names itself, its capacity and the entry', async () => {
    const { namespace, loaded, dispose } = node({ maps: { endpoints: 2, ipcache: 2 } });
    try {
      const driver = tablesDriver(loaded, namespace.path);
      const results = await driver.apply(['10.0.0.1', '10.0.0.2', '10.0.0.3'].map((key) => opOf('put', endpoint(key))));
      expect(results.slice(0, 2)).toEqual([undefined, undefined]);
      expect(results[2]).toMatchObject({ kind: 'kernel', errno: 'E2BIG', retryable: false });
      expect(results[2]?.message).toBe('put bpf.endpoints 10.0.0.3: map endpoints is full: its capacity is 2 entries');
      const [, , full] = await driver.apply(
        ['10.1.0.0/16', '10.2.0.0/16', '10.3.0.0/16'].map((key) => opOf('put', prefix(key))),
      );
      expect(full).toMatchObject({ errno: 'ENOSPC' });
      expect(full?.message).toContain('map ipcache is full: its capacity is 2 entries');
    } finally {
      dispose();
    }
  });

  test('entries of a link that is gone are dumped by its number, and deleted by it', async () => {
    const { namespace, loaded, dispose } = node();
    try {
      const driver = tablesDriver(loaded, namespace.path);
      await driver.apply([opOf('put', netdev('lxc1'))]);
      await driver.apply([opOf('put', endpoint('10.0.0.5'))]);
      namespace.ip('link del lxc1');
      const [gone = ''] = (await driver.dump('bpf.netdevs')).keys();
      expect(gone).toMatch(/^#\d+$/);
      expect((await driver.dump('bpf.endpoints')).get('10.0.0.5')).toMatchObject({ link: gone });
      expect(await driver.apply([opOf('delete', netdev('lxc1'))])).toEqual([undefined]);
      expect((await driver.dump('bpf.netdevs')).size).toBe(1);
      expect(await driver.apply([opOf('delete', netdev(gone))])).toEqual([undefined]);
      expect((await driver.dump('bpf.netdevs')).size).toBe(0);
    } finally {
      dispose();
    }
  });

  test('ten thousand rows go in and out in batches, and are counted', async () => {
    const { namespace, loaded, dispose } = node();
    try {
      const driver = tablesDriver(loaded, namespace.path);
      const rows = Array.from({ length: 10_000 }, (_, i) => prefix(`10.${i >> 8}.${i & 255}.0/24`, i));
      expect((await driver.apply(rows.map((row) => opOf('put', row)))).filter(Boolean)).toEqual([]);
      const dumped = await driver.dump('bpf.ipcache');
      expect(dumped.size).toBe(10_000);
      expect(dumped.get('10.3.7.0/24')).toMatchObject({ identity: 3 * 256 + 7 });
      await driver.apply(rows.slice(0, 4_000).map((row) => ({ ...opOf('delete', row), before: row.value })));
      expect(driver.entries('bpf.ipcache')).toBe(6_000);
    } finally {
      dispose();
    }
  });
});

describe('attachments', () => {
  const hook = (netns: string) => ({ link: 'lxc1', direction: 'ingress', netns }) as const;

  test('a new build replaces the old one in place, and then the old programs go', async () => {
    const { namespace, config, loaded, dispose } = node();
    const next = loadDatapath(config, HZ, smallObject('VARIANT=1'));
    try {
      const old = attachmentsDriver(loaded, config, namespace.path);
      await old.apply([opOf('put', attachment(loaded.runtime.build, 'lxc1', 'ingress'))]);
      const [before] = queryTcx(hook(namespace.path));

      const driver = attachmentsDriver(next, config, namespace.path);
      expect(next.runtime.build).not.toBe(loaded.runtime.build);
      expect((await driver.dump()).get('lxc1/ingress')).toMatchObject({
        build: loaded.runtime.build,
        program: 'from_endpoint',
      });
      expect(readdirSync(programsFolder(config.pinRoot)).length).toBe(2);
      expect(await driver.apply([opOf('put', attachment(next.runtime.build, 'lxc1', 'ingress'))])).toEqual([undefined]);
      const [after] = queryTcx(hook(namespace.path));
      expect(after?.linkId).toBe(before?.linkId);
      expect(after?.progId).not.toBe(before?.progId);
      expect((await driver.dump()).get('lxc1/ingress')).toMatchObject({ build: next.runtime.build });
      expect(readdirSync(programsFolder(config.pinRoot))).toEqual([next.runtime.build]);
    } finally {
      next.close();
      dispose();
    }
  });

  test.each([true, false])('no packet passes unseen while builds replace each other (tcx: %s)', async (tcx) => {
    const { namespace, config, loaded, dispose } = node();
    const pod = testNamespace('pod');
    const next = loadDatapath(config, HZ, smallObject('VARIANT=1'));
    try {
      namespace.ip(`link set eth1 netns ${pod.path}`);
      namespace.ip('addr add 10.0.0.1/24 dev lxc1');
      namespace.ip('link set lxc1 up');
      pod.ip('addr add 10.0.0.5/24 dev eth1');
      // Nothing may come but the ping.
      pod.run('sysctl', '-qw', 'net.ipv6.conf.all.disable_ipv6=1');
      pod.ip('link set eth1 up');
      const received = (): number => JSON.parse(namespace.ip('-s -j link show lxc1'))[0].stats64.rx.packets;
      const drivers = [loaded, next].map((build) => attachmentsDriver(build, config, namespace.path, tcx));
      const put = async (i: number): Promise<void> => {
        const { build } = (i % 2 === 0 ? loaded : next).runtime;
        expect(await drivers[i % 2]?.apply([opOf('put', attachment(build, 'lxc1', 'ingress'))])).toEqual([undefined]);
      };
      await put(0);
      const metrics = loaded.maps.get('metrics');
      if (!metrics) throw new Error('no map metrics');
      const counted = (): number => packetCounts(metrics, loaded.btf).reduce((sum, { packets }) => sum + packets, 0);
      const [countedBefore, receivedBefore] = [counted(), received()];
      const ping = spawn('nsenter', [
        `--net=${pod.path}`,
        'ping',
        '-q',
        '-i',
        '0.001',
        '-c',
        '1500',
        '-W',
        '1',
        '10.0.0.1',
      ]);
      const done = new Promise((resolve) => ping.on('exit', resolve));
      let swaps = 0;
      let isDone = false;
      void done.then(() => {
        isDone = true;
      });
      while (!isDone) {
        await put(++swaps);
        await sleep(1);
      }
      expect(await done).toBe(0);
      expect(swaps).toBeGreaterThan(50);
      expect(received() - receivedBefore).toBeGreaterThanOrEqual(1500);
      expect(counted() - countedBefore).toBe(received() - receivedBefore);
    } finally {
      next.close();
      pod.dispose();
      dispose();
    }
  });

  test('what stays attached after the agent is known again by the next one', async () => {
    const { namespace, config, loaded, dispose } = node();
    try {
      const row = attachment(loaded.runtime.build, 'lxc1', 'ingress');
      await attachmentsDriver(loaded, config, namespace.path).apply([opOf('put', row)]);
      const again = loadDatapath(config, HZ, smallObject());
      expect(Object.fromEntries(await attachmentsDriver(again, config, namespace.path).dump())).toEqual({
        [row.key]: row.value,
      });
      again.close();
    } finally {
      dispose();
    }
  });

  test('a program that somebody detached, replaced or unpinned is noticed and put back', async () => {
    const { namespace, config, loaded, dispose } = node();
    try {
      const driver = attachmentsDriver(loaded, config, namespace.path);
      const row = attachment(loaded.runtime.build, 'lxc1', 'ingress');
      const path = join(linksFolder(config.pinRoot), 'lxc1-ingress');
      const repaired = async (): Promise<void> => {
        expect(await driver.apply([opOf('put', row)])).toEqual([undefined]);
        expect((await driver.dump()).get(row.key)).toEqual(row.value);
        expect(queryTcx(hook(namespace.path)).length).toBe(1);
      };
      await repaired();

      const link = openPinnedLink(path);
      link.detach();
      link.close();
      expect((await driver.dump()).size).toBe(0);
      expect(existsSync(path), 'the pin of a detached link is removed').toBe(false);
      await repaired();

      const stranger = loadDatapath({ ...config, pinRoot: `${config.pinRoot}/stranger` }, HZ, smallObject('VARIANT=1'));
      const replaced = openPinnedLink(path);
      replaced.update(
        openPinnedProgram(join(programsFolder(`${config.pinRoot}/stranger`), stranger.runtime.build, 'to_netdev')),
      );
      replaced.close();
      stranger.close();
      expect((await driver.dump()).get(row.key)).toMatchObject({ program: 'unknown', build: 'unknown' });
      await repaired();

      rmSync(path);
      expect((await driver.dump()).size).toBe(0);
      await repaired();
    } finally {
      dispose();
    }
  });

  test('a link that is gone takes its attachment along, and one of the same name gets its own', async () => {
    const { namespace, config, loaded, dispose } = node();
    try {
      const driver = attachmentsDriver(loaded, config, namespace.path);
      const row = attachment(loaded.runtime.build, 'lxc1', 'ingress');
      await driver.apply([opOf('put', row)]);
      namespace.ip('link del lxc1');
      namespace.ip('link add lxc1 type veth peer name eth1');
      expect(await driver.apply([opOf('put', row)])).toEqual([undefined]);
      expect(queryTcx(hook(namespace.path)).length).toBe(1);
      namespace.ip('link del lxc1');
      expect(await driver.apply([opOf('delete', row)])).toEqual([undefined]);
      expect(readdirSync(linksFolder(config.pinRoot))).toEqual([]);
    } finally {
      dispose();
    }
  });

  test('a device with a dot in its name has a pin that bpffs takes', async () => {
    const { namespace, config, loaded, dispose } = node();
    try {
      const driver = attachmentsDriver(loaded, config, namespace.path);
      namespace.ip('link add eth0.100 type veth peer name eth-1.2');
      const rows = ['eth0.100', 'eth-1.2'].map((dev) => attachment(loaded.runtime.build, dev, 'egress'));
      expect(await driver.apply(rows.map((row) => opOf('put', row)))).toEqual([undefined, undefined]);
      expect([...(await driver.dump()).keys()].sort()).toEqual(['eth-1.2/egress', 'eth0.100/egress']);
      expect(await driver.apply(rows.map((row) => opOf('delete', row)))).toEqual([undefined, undefined]);
      expect((await driver.dump()).size).toBe(0);
    } finally {
      dispose();
    }
  });

  test('programs of others at the same hook stay where they are', async () => {
    const { namespace, config, loaded, dispose } = node();
    const strangers = testPins();
    const other = loadDatapath(strangers.config, HZ, smallObject('VARIANT=2'));
    try {
      const program = other.programs.get('to_netdev');
      if (!program) throw new Error('no program');
      const theirs = attachTcx({ ...hook(namespace.path), program });
      const driver = attachmentsDriver(loaded, config, namespace.path);
      const row = attachment(loaded.runtime.build, 'lxc1', 'ingress');
      await driver.apply([opOf('put', row)]);
      expect((await driver.dump()).size).toBe(1);
      await driver.apply([opOf('delete', row)]);
      expect(queryTcx(hook(namespace.path)).map(({ progId }) => progId)).toEqual([program.info.id]);
      theirs.close();
    } finally {
      other.close();
      strangers.dispose();
      dispose();
    }
  });

  test('clsact: a filter that somebody removed is put back', async () => {
    const { namespace, config, loaded, dispose } = node();
    try {
      const driver = attachmentsDriver(loaded, config, namespace.path, false);
      const row = attachment(loaded.runtime.build, 'lxc1', 'ingress');
      await driver.apply([opOf('put', row)]);
      expect(queryTc(hook(namespace.path))).toBe(loaded.programs.get('from_endpoint')?.info.id);
      detachTc(hook(namespace.path));
      expect((await driver.dump()).size).toBe(0);
      await driver.apply([opOf('put', row)]);
      expect((await driver.dump()).get(row.key)).toEqual(row.value);
    } finally {
      dispose();
    }
  });
});
