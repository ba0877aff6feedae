/** Pairs of kind netkit, which Debian's 6.12 has: the same laws as veth pairs. Where there is none, that is what an endpoint is told. */
import { execFileSync } from 'node:child_process';
import { describe, expect, test } from 'vitest';
import { ifNameToIndex } from '../../native/index.ts';
import { driverLaws } from '../../reconcilers/driver-laws.ts';
import type { LinkRow } from '../../state/tables.ts';
import type { Op } from '../driver.ts';
import { testNamespace } from '../testdata/namespace.ts';
import { LinksDriver } from './links.ts';

const row = (kind: LinkRow['kind'], netns: string, n: number): LinkRow => ({
  kind,
  mac: `02:00:00:00:01:0${n}`,
  mtu: 1400,
  peer: { name: 'eth0', mac: `02:00:00:00:02:0${n}`, netns },
});
const put = (key: string, value: LinkRow): Op => ({
  ...{ table: 'links', action: 'put', key, value, before: undefined, revision: 1, owners: [] },
});

function kernelHasNetkit(): boolean {
  const node = testNamespace('try');
  try {
    node.ip('link add try type netkit');
    return true;
  } catch {
    return false;
  } finally {
    node.dispose();
  }
}
const hasNetkit = kernelHasNetkit();

if (hasNetkit) {
  driverLaws('links of kind netkit', () => {
    const [node, podA, podB] = [testNamespace('node'), testNamespace('pod'), testNamespace('pod')];
    const first = row('netkit', podA.path, 1);
    const changed = { ...first, mac: '02:00:00:00:01:11', mtu: 1300 };
    changed.peer = { ...changed.peer, mac: '02:00:00:00:02:11', name: 'eth1' };
    return {
      driver: new LinksDriver(node.path),
      samples: [
        { table: 'links', key: 'lxc1', value: first, changed },
        { table: 'links', key: 'lxc2', value: row('netkit', podB.path, 2) },
      ],
      impossible: [
        { table: 'links', key: 'lxcgone', value: row('netkit', '/run/netns/axt-no-such-namespace', 4) },
        { table: 'links', key: 'lxcmac', value: { ...row('netkit', podA.path, 5), mac: 'no mac' } },
      ],
      strangers: [
        {
          table: 'links',
          key: 'lxc9',
          value: row('netkit', podB.path, 7),
          make: () => void node.ip('link add lxc9 type netkit'),
          isUntouched: () => node.ip('link show lxc9').includes('lxc9'),
        },
      ],
      identityOf: ({ key }) => ifNameToIndex(key, node.path),
      dispose: () => {
        for (const namespace of [podA, podB, node]) namespace.dispose();
      },
    };
  });
}

describe('a pair of kind netkit', () => {
  const ends = () => ({ node: testNamespace('node'), pod: testNamespace('pod') });
  const kindOf = (netns: string, name: string): string =>
    JSON.parse(
      execFileSync('nsenter', [`--net=${netns}`, 'ip', '-d', '-j', 'link', 'show', name], { encoding: 'utf8' }),
    )[0].linkinfo.info_kind;

  test.runIf(hasNetkit)('takes the place of a veth pair, and gives it back', () => {
    const { node, pod } = ends();
    try {
      const driver = new LinksDriver(node.path);
      for (const kind of ['veth', 'netkit', 'veth'] as const) {
        expect(driver.apply([put('lxc1', row(kind, pod.path, 1))])).toEqual([undefined]);
        expect([kindOf(node.path, 'lxc1'), kindOf(pod.path, 'eth0')]).toEqual([kind, kind]);
      }
    } finally {
      pod.dispose();
      node.dispose();
    }
  });

  test.skipIf(hasNetkit)('is refused with the reason where the kernel has none', () => {
    const { node, pod } = ends();
    try {
      const [failed] = new LinksDriver(node.path).apply([put('lxc1', row('netkit', pod.path, 1))]);
      expect(failed).toMatchObject({ errno: 'EOPNOTSUPP', retryable: false });
      expect(failed?.message).toContain('this kernel has no netkit');
      expect(node.ip('link')).not.toContain('lxc1');
    } finally {
      pod.dispose();
      node.dispose();
    }
  });
});
