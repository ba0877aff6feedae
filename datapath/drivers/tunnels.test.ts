/** The driver of tunnels keeps the laws, for each kind that this kernel has; the others are for the lab. */
import { describe, expect, test } from 'vitest';
import { ifNameToIndex } from '../../native/index.ts';
import { driverLaws, type SampleRow } from '../../reconcilers/driver-laws.ts';
import type { TunnelRow } from '../../state/tables.ts';
import type { Op } from '../driver.ts';
import { type TestNamespace, testNamespace } from '../testdata/namespace.ts';
import { TunnelsDriver } from './tunnels.ts';

const put = (key: string, value: TunnelRow): Op => ({
  table: 'tunnels',
  action: 'put',
  key,
  value,
  before: undefined,
  revision: 1,
  owners: [],
});

const tunnel = (kind: TunnelRow['kind'], n: number): TunnelRow => ({
  kind,
  mac: `02:00:00:00:03:0${n}`,
  mtu: 1500,
  port: 8470 + n,
});

function hasKind(kind: TunnelRow['kind']): boolean {
  const probe = testNamespace('probe');
  try {
    const [refusal] = new TunnelsDriver(probe.path).apply([put('probe', tunnel(kind, 9))]);
    if (refusal && refusal.errno !== 'EOPNOTSUPP') throw new Error(refusal.message);
    return refusal === undefined;
  } finally {
    probe.dispose();
  }
}

const sample = (key: string, value: TunnelRow, changed?: Partial<TunnelRow>): SampleRow => ({
  table: 'tunnels',
  key,
  value,
  ...(changed && { changed: { ...value, ...changed } }),
});

const kinds = ['vxlan', 'geneve'] as const;
for (const kind of kinds.filter(hasKind)) {
  driverLaws(`tunnels ${kind}`, () => {
    const node = testNamespace('node');
    return {
      driver: new TunnelsDriver(node.path),
      samples: [
        sample('tunnel1', tunnel(kind, 1), { mtu: 9000, mac: '02:00:00:00:03:11' }),
        sample('tunnel2', { ...tunnel(kind, 2), mtu: 1400 }, { mtu: 1500 }),
      ],
      impossible: [
        sample('no-port', { ...tunnel(kind, 3), port: 0 }),
        sample('taken-port', { ...tunnel(kind, 4), port: tunnel(kind, 1).port }),
        sample('bad-mac', { ...tunnel(kind, 5), mac: 'no mac' }),
        sample('a-name-far-too-long', tunnel(kind, 6)),
      ],
      strangers: [
        {
          ...sample('tunnel9', tunnel(kind, 9)),
          make: () => void node.ip(`link add tunnel9 type ${kind} external dstport 9999`),
          isUntouched: () => node.ip('-d link show tunnel9').includes('dstport 9999'),
        },
      ],
      identityOf: ({ key }) => ifNameToIndex(key, node.path),
      dispose: () => node.dispose(),
    };
  });

  describe(`tunnels ${kind}`, () => {
    const inNode = (work: (node: TestNamespace, driver: TunnelsDriver) => void): void => {
      const node = testNamespace('node');
      try {
        work(node, new TunnelsDriver(node.path));
      } finally {
        node.dispose();
      }
    };

    test('it takes the packet’s own key for an answer, and is up', () =>
      inNode((node, driver) => {
        expect(driver.apply([put('tunnel1', tunnel(kind, 1))])).toEqual([undefined]);
        const shown = node.ip('-d link show tunnel1');
        expect(shown).toContain('external');
        expect(shown).toContain('UP');
      }));

    test('it takes packets to whose senders the way back is another, where links are strict by default', () =>
      inNode((node, driver) => {
        node.run('sh', '-c', 'echo 1 > /proc/sys/net/ipv4/conf/default/rp_filter');
        expect(driver.apply([put('tunnel1', tunnel(kind, 1))])).toEqual([undefined]);
        expect(node.run('cat', '/proc/sys/net/ipv4/conf/tunnel1/rp_filter')).toBe('0\n');
      }));

    test('another port makes another link of the same name', () =>
      inNode((_node, driver) => {
        const [first, second] = [tunnel(kind, 1), tunnel(kind, 2)];
        expect(driver.apply([put('tunnel1', first), put('tunnel1', second)])).toEqual([undefined, undefined]);
        expect(driver.dump('tunnels', new Map())).toEqual(new Map([['tunnel1', second]]));
      }));

    test('one that was taken down is not dumped while believed, and a put brings it up', () =>
      inNode((node, driver) => {
        const row = tunnel(kind, 1);
        driver.apply([put('tunnel1', row)]);
        node.ip('link set tunnel1 down');
        expect(driver.dump('tunnels', new Map([['tunnel1', row]])).size).toBe(0);
        expect(driver.apply([put('tunnel1', row)])).toEqual([undefined]);
        expect(driver.dump('tunnels', new Map([['tunnel1', row]])).get('tunnel1')).toEqual(row);
      }));
  });
}

for (const kind of kinds.filter((kind) => !hasKind(kind))) {
  test(`a kernel without ${kind} says so`, () => {
    const node = testNamespace('node');
    try {
      const [refusal] = new TunnelsDriver(node.path).apply([put('tunnel1', tunnel(kind, 1))]);
      expect(refusal).toMatchObject({ errno: 'EOPNOTSUPP', retryable: false });
      expect(refusal?.message).toContain(`this kernel has no ${kind} links`);
    } finally {
      node.dispose();
    }
  });
}
