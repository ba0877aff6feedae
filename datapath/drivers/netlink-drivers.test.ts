/** The drivers of links, addresses, routes and settings keep the laws, each in namespaces of its own. */
import { describe, expect, test } from 'vitest';
import { ifNameToIndex } from '../../native/index.ts';
import { driverLaws, type SampleRow, type Stranger } from '../../reconcilers/driver-laws.ts';
import { type AddrRow, addrKey, type LinkRow, type RouteRow, routeKey } from '../../state/tables.ts';
import type { Op } from '../driver.ts';
import { testNamespace } from '../testdata/namespace.ts';
import { AddrsDriver } from './addrs.ts';
import { LinksDriver } from './links.ts';
import { RoutesDriver } from './routes.ts';
import { SysctlsDriver } from './sysctls.ts';

const put = (table: Op['table'], key: string, value: unknown): Op => ({
  table,
  action: 'put',
  key,
  value,
  before: undefined,
  revision: 1,
  owners: [],
});

const veth = (netns: string, n: number): LinkRow => ({
  kind: 'veth',
  mac: `02:00:00:00:01:0${n}`,
  mtu: 1400,
  peer: { name: 'eth0', mac: `02:00:00:00:02:0${n}`, netns },
});

driverLaws('links', () => {
  const [node, podA, podB] = [testNamespace('node'), testNamespace('pod'), testNamespace('pod')];
  const changed = { ...veth(podA.path, 1), mac: '02:00:00:00:01:11', mtu: 1300 };
  changed.peer = { ...changed.peer, mac: '02:00:00:00:02:11', name: 'eth1' };
  const host: LinkRow = { ...veth('', 3), peer: { name: 'cilium_net', mac: '02:00:00:00:02:03', netns: '' } };
  return {
    driver: new LinksDriver(node.path),
    samples: [
      { table: 'links', key: 'lxc1', value: veth(podA.path, 1), changed },
      { table: 'links', key: 'lxc2', value: veth(podB.path, 2) },
      { table: 'links', key: 'cilium_host', value: host, changed: { ...host, mtu: 9000 } },
    ],
    impossible: [
      { table: 'links', key: 'lxcgone', value: veth('/run/netns/axt-no-such-namespace', 4) },
      { table: 'links', key: 'lxcmac', value: { ...veth(podA.path, 5), mac: 'no mac' } },
      { table: 'links', key: 'a-name-far-too-long', value: veth(podA.path, 6) },
    ],
    strangers: [
      {
        table: 'links',
        key: 'lxc9',
        value: veth(podB.path, 7),
        make: () => void node.ip('link add lxc9 type veth peer name other9'),
        isUntouched: () => node.ip('link show lxc9').includes('other9'),
      },
    ],
    identityOf: ({ key }) => ifNameToIndex(key, node.path),
    dispose: () => {
      for (const namespace of [podA, podB, node]) namespace.dispose();
    },
  };
});

/** A node with a link to a pod, as rows of addresses and routes find it. */
function wired() {
  const [node, pod] = [testNamespace('node'), testNamespace('pod')];
  new LinksDriver(node.path).apply([
    put('links', 'lxc1', veth(pod.path, 1)),
    put('links', 'cilium_host', { ...veth('', 3), peer: { name: 'cilium_net', mac: '02:00:00:00:02:03', netns: '' } }),
  ]);
  const dispose = (): void => {
    pod.dispose();
    node.dispose();
  };
  return { node, pod, dispose };
}

const addr = (netns: string, dev: string, address: string): SampleRow => {
  const value: AddrRow = { netns, dev, address };
  return { table: 'addrs', key: addrKey(value), value };
};

driverLaws('addrs', () => {
  const { node, pod, dispose } = wired();
  return {
    driver: new AddrsDriver(node.path),
    samples: [
      addr('', 'cilium_host', '10.0.0.1/32'),
      addr('', 'cilium_host', 'fd00::1/128'),
      addr(pod.path, 'eth0', '10.0.0.5/32'),
      addr(pod.path, 'eth0', 'fd00::5/128'),
      addr(pod.path, 'eth0', '10.0.1.7/24'),
    ],
    impossible: [
      addr('', 'nolink', '10.0.0.9/32'),
      addr('', 'cilium_host', '10.0.0.300/32'),
      addr('/run/netns/axt-no-such-namespace', 'eth0', '10.0.0.9/32'),
      addr('', 'cilium_host', 'fd00::0:9/128'),
    ],
    dispose,
  };
});

const route = (row: Partial<RouteRow> & { dst: string }, changed?: Partial<RouteRow>): SampleRow => {
  const value: RouteRow = { type: 'unicast', netns: '', dev: '', via: '', src: '', mtu: 0, ...row };
  return { table: 'routes', key: routeKey(value), value, ...(changed && { changed: { ...value, ...changed } }) };
};

driverLaws('routes', () => {
  const { node, pod, dispose } = wired();
  new AddrsDriver(node.path).apply([
    put('addrs', 'cilium_host|10.0.0.1/32', { netns: '', dev: 'cilium_host', address: '10.0.0.1/32' }),
    put('addrs', 'x', { netns: pod.path, dev: 'eth0', address: '10.0.0.5/32' }),
    put('addrs', 'y', { netns: pod.path, dev: 'eth0', address: 'fd00::5/128' }),
  ]);
  const strange = (dst: string): Stranger => ({
    ...route({ dst, dev: 'lxc1' }),
    make: () => void node.ip(`route add ${dst} dev cilium_host proto static metric ${dst.includes(':') ? 1024 : 0}`),
    isUntouched: () =>
      node.ip(`${dst.includes(':') ? '-6 ' : ''}route show ${dst}`).includes('dev cilium_host proto static'),
  });
  return {
    driver: new RoutesDriver(node.path),
    samples: [
      route({ dst: '10.0.0.5/32', dev: 'lxc1' }, { mtu: 1300, src: '10.0.0.1' }),
      route({ dst: 'fd00::5/128', dev: 'lxc1', mtu: 1400 }, { mtu: 1300 }),
      route({ dst: '10.0.0.0/24', type: 'unreachable' }),
      route({ dst: 'fd00::/64', type: 'unreachable' }),
      route(
        { netns: pod.path, dst: '0.0.0.0/0', dev: 'eth0', via: '10.0.0.1', mtu: 1400 },
        { via: '10.0.0.2', mtu: 1350 },
      ),
      route({ netns: pod.path, dst: '::/0', dev: 'eth0', via: 'fd00::1', mtu: 1400 }, { via: 'fd00::2', mtu: 1350 }),
    ],
    impossible: [
      route({ dst: '10.9.0.0/16', dev: 'nolink' }),
      route({ dst: '10.9.0.1/16', dev: 'lxc1' }),
      route({ dst: '10.8.0.0/16', dev: 'lxc1', src: '192.0.2.77' }),
      route({ netns: '/run/netns/axt-no-such-namespace', dst: '0.0.0.0/0', dev: 'eth0', via: '10.0.0.1' }),
    ],
    strangers: [strange('10.7.0.0/16'), strange('fd07::/64')],
    dispose,
  };
});

driverLaws('sysctls', () => {
  const node = testNamespace('node');
  return {
    driver: new SysctlsDriver(node.path),
    samples: [
      { table: 'sysctls', key: 'net.ipv4.ip_forward', value: { value: '1' }, changed: { value: '0' } },
      { table: 'sysctls', key: 'net.ipv6.conf.all.forwarding', value: { value: '1' } },
      { table: 'sysctls', key: 'net.ipv4.ping_group_range', value: { value: '0 1000' } },
    ],
    impossible: [
      { table: 'sysctls', key: 'net.ipv4.no_such_setting', value: { value: '1' } },
      { table: 'sysctls', key: 'net.ipv4./../.x', value: { value: '1' } },
      { table: 'sysctls', key: 'net.ipv4.ip_forward', value: { value: 'many' } },
    ],
    dispose: () => node.dispose(),
  };
});

describe('links', () => {
  const driverIn = (node: string) => new LinksDriver(node);
  const known = (row: LinkRow) => new Map([['lxc1', row]]);

  test('a pair that was taken down is not dumped while believed, and a put brings it up', async () => {
    const { node, pod, dispose } = wired();
    try {
      const driver = driverIn(node.path);
      pod.ip('link set eth0 down');
      expect([...(await driver.dump('links', known(veth(pod.path, 1)))).keys()]).not.toContain('lxc1');
      expect([...(await driver.dump('links', new Map())).keys()]).toContain('lxc1');
      expect(driver.apply([put('links', 'lxc1', veth(pod.path, 1))])).toEqual([undefined]);
      expect((await driver.dump('links', known(veth(pod.path, 1)))).get('lxc1')).toEqual(veth(pod.path, 1));
    } finally {
      dispose();
    }
  });

  test('the near end’s link-local address can be used at once', async () => {
    const { node, pod, dispose } = wired();
    try {
      node.ip('link del lxc1');
      expect(driverIn(node.path).apply([put('links', 'lxc1', veth(pod.path, 1))])).toEqual([undefined]);
      expect(node.ip('-6 addr show dev lxc1 scope link')).toMatch(/inet6 fe80::/);
      expect(node.ip('-6 addr show dev lxc1 scope link')).not.toContain('tentative');
    } finally {
      dispose();
    }
  });

  test('an MTU that somebody changed at either end is seen and set back', async () => {
    const { node, pod, dispose } = wired();
    try {
      const driver = driverIn(node.path);
      for (const change of [() => pod.ip('link set eth0 mtu 1280'), () => node.ip('link set lxc1 mtu 1280')]) {
        change();
        expect((await driver.dump('links', known(veth(pod.path, 1)))).get('lxc1')?.mtu).toBe(1280);
        driver.apply([put('links', 'lxc1', veth(pod.path, 1))]);
        expect((await driver.dump('links', known(veth(pod.path, 1)))).get('lxc1')).toEqual(veth(pod.path, 1));
      }
    } finally {
      dispose();
    }
  });

  test('the far end of a link of nobody’s is named by the id of its namespace', async () => {
    const { node, dispose } = wired();
    try {
      expect((await driverIn(node.path).dump('links', new Map())).get('lxc1')?.peer.netns).toMatch(/^#\d+$/);
    } finally {
      dispose();
    }
  });

  test('a far end in the wrong namespace makes the pair be made anew', async () => {
    const { node, pod, dispose } = wired();
    const other = testNamespace('pod');
    try {
      const driver = driverIn(node.path);
      expect(driver.apply([put('links', 'lxc1', veth(other.path, 1))])).toEqual([undefined]);
      expect((await driver.dump('links', known(veth(other.path, 1)))).get('lxc1')).toEqual(veth(other.path, 1));
      expect(() => pod.ip('link show eth0')).toThrow();
      expect(other.ip('link show lo')).toContain('UP');
    } finally {
      other.dispose();
      dispose();
    }
  });
});

describe('addrs', () => {
  test('addresses of others, on our links too, are not dumped', async () => {
    const { node, dispose } = wired();
    try {
      const driver = new AddrsDriver(node.path);
      node.ip('addr add 192.0.2.9/32 dev cilium_host');
      node.ip('addr add fd09::9/128 dev lxc1 nodad');
      driver.apply([put('addrs', 'x', { netns: '', dev: 'cilium_host', address: '10.0.0.1/32' })]);
      expect([...(await driver.dump('addrs', new Map())).keys()]).toEqual(['cilium_host|10.0.0.1/32']);
      // Where the kernel has no mark, any address on a link of ours counts as ours; link-local ones do not.
      const unmarked = await new AddrsDriver(node.path, false).dump('addrs', new Map());
      expect([...unmarked.keys()].sort()).toEqual([
        'cilium_host|10.0.0.1/32',
        'cilium_host|192.0.2.9/32',
        'lxc1|fd09::9/128',
      ]);
    } finally {
      dispose();
    }
  });

  test('an IPv6 address can be used at once', async () => {
    const { pod, node, dispose } = wired();
    try {
      new AddrsDriver(node.path).apply([put('addrs', 'x', { netns: pod.path, dev: 'eth0', address: 'fd00::5/128' })]);
      expect(pod.ip('-6 addr show dev eth0 scope global')).not.toContain('tentative');
    } finally {
      dispose();
    }
  });
});

describe('routes', () => {
  test('a replaced route is never gone', async () => {
    const { node, dispose } = wired();
    try {
      const driver = new RoutesDriver(node.path);
      const row = route({ dst: '10.0.0.5/32', dev: 'lxc1' });
      driver.apply([put('routes', row.key, row.value)]);
      const monitor = (await import('node:child_process')).spawn('nsenter', [
        `--net=${node.path}`,
        'ip',
        'monitor',
        'route',
      ]);
      let heard = '';
      monitor.stdout.on('data', (text) => {
        heard += text;
      });
      await new Promise((resolve) => setTimeout(resolve, 300));
      driver.apply([put('routes', row.key, { ...(row.value as RouteRow), mtu: 1234 })]);
      await new Promise((resolve) => setTimeout(resolve, 300));
      monitor.kill();
      await new Promise((resolve) => monitor.on('exit', resolve));
      expect(heard).toContain('mtu 1234');
      expect(heard).not.toContain('Deleted');
    } finally {
      dispose();
    }
  });
});
