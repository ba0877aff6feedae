/** The whole datapath in a namespace: rows become a working hook, its events and counters arrive, and it survives its agent. */

import { readFileSync } from 'node:fs';
import { afterEach, describe, expect, test } from 'vitest';
import { openPinnedProgram, queryTcx, skbContext } from '../native/index.ts';
import { type TableName, tables } from '../state/tables.ts';
import { BpfClock, configuredHz } from './clock.ts';
import { type Datapath, openDatapath } from './datapath.ts';
import type { Op, OpResult } from './driver.ts';
import type { DatapathEvent } from './events.ts';
import { isAtLeast, NotSupported, probeFeatures } from './features.ts';
import { testNamespace } from './testdata/namespace.ts';
import { testPins } from './testdata/pins.ts';
import { smallObject } from './testdata/small-object.ts';

const cleanups: (() => void | Promise<void>)[] = [];
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

function world() {
  const [node, pod, pins] = [testNamespace('node'), testNamespace('pod'), testPins({ maps: { endpoints: 10 } })];
  cleanups.push(pins.dispose, node.dispose, pod.dispose);
  const open = async (object = smallObject()): Promise<Datapath> => {
    const datapath = await openDatapath(pins.config, { netns: node.path, object });
    cleanups.push(() => datapath.close());
    return datapath;
  };
  return { node, pod, pins, open };
}

async function put(datapath: Datapath, table: TableName, key: string, value: unknown): Promise<OpResult> {
  const op: Op = { table, action: 'put', key, value, before: undefined, revision: 1, owners: [] };
  const driver = datapath.drivers.find((candidate) => candidate.tables.includes(table));
  if (!driver) throw new Error(`no driver for ${table}`);
  return (await driver.apply([op]))[0];
}

const veth = (netns: string) => ({
  kind: 'veth',
  mac: '02:00:00:00:00:01',
  mtu: 1500,
  peer: { name: 'eth0', mac: '02:00:00:00:00:02', netns },
});

describe('datapath', () => {
  test('has a driver for every table of the kernel', async () => {
    const { open } = world();
    const { drivers } = await open();
    const kernelTables = Object.entries(tables).filter(
      ([name, { lane }]) => lane === 'kernel' && !name.startsWith('local.'),
    );
    expect(drivers.flatMap((driver) => driver.tables).sort()).toEqual(kernelTables.map(([name]) => name).sort());
  });

  test('rows become a link with programs; the pod reaches its gateway; an agent that went leaves it working', async () => {
    const { node, pod, open } = world();
    const datapath = await open();
    const { build } = datapath;
    const rows: [TableName, string, unknown][] = [
      ['sysctls', 'net.ipv4.ip_forward', { value: '1' }],
      ['links', 'lxc1', veth(pod.path)],
      [
        'links',
        'cilium_host',
        { ...veth(''), mac: '02:00:00:00:00:03', peer: { name: 'cilium_net', mac: '02:00:00:00:00:04', netns: '' } },
      ],
      ['attachments', 'lxc1/ingress', { dev: 'lxc1', direction: 'ingress', program: 'from_endpoint', build }],
      ['attachments', 'lxc1/egress', { dev: 'lxc1', direction: 'egress', program: 'to_endpoint', build }],
      ['addrs', 'cilium_host|10.0.0.1/32', { netns: '', dev: 'cilium_host', address: '10.0.0.1/32' }],
      ['addrs', 'cilium_host|fd00::1/128', { netns: '', dev: 'cilium_host', address: 'fd00::1/128' }],
      ['addrs', 'a', { netns: pod.path, dev: 'eth0', address: '10.0.0.5/32' }],
      ['addrs', 'b', { netns: pod.path, dev: 'eth0', address: 'fd00::5/128' }],
    ];
    const route = { type: 'unicast', netns: '', via: '', src: '', mtu: 0 };
    rows.push(
      ['routes', '10.0.0.5/32', { ...route, dst: '10.0.0.5/32', dev: 'lxc1' }],
      ['routes', 'fd00::5/128', { ...route, dst: 'fd00::5/128', dev: 'lxc1' }],
      ['routes', 'c', { ...route, netns: pod.path, dst: '0.0.0.0/0', dev: 'eth0', via: '10.0.0.1', mtu: 1400 }],
      ['routes', 'd', { ...route, netns: pod.path, dst: '::/0', dev: 'eth0', via: 'fd00::1', mtu: 1400 }],
    );
    for (const row of rows) expect(await put(datapath, ...row), row[1]).toBeUndefined();
    // The programs of this object pass everything on; who answers for the gateway is then the stack itself, asked at its own address.
    node.ip('neigh replace 10.0.0.5 lladdr 02:00:00:00:00:02 dev lxc1');
    node.ip('neigh replace fd00::5 lladdr 02:00:00:00:00:02 dev lxc1');
    pod.ip('neigh replace 10.0.0.1 lladdr 02:00:00:00:00:01 dev eth0');
    pod.ip('neigh replace fd00::1 lladdr 02:00:00:00:00:01 dev eth0');
    const ping = () => [pod.run('ping', '-c1', '-W2', '10.0.0.1'), pod.run('ping', '-c1', '-W2', 'fd00::1')];
    ping();
    const counted = datapath.metrics().find(({ reason, direction }) => reason === 0 && direction === 'ingress');
    expect(counted?.packets).toBeGreaterThanOrEqual(2);
    expect(counted?.bytes).toBeGreaterThan(100);

    await datapath.close();
    ping();
    const again = await open();
    expect(again.build).toBe(build);
    expect(again.notices).toEqual([]);
    expect(queryTcx({ link: 'lxc1', direction: 'ingress', netns: node.path }).length).toBe(1);
  });

  test('events of the programs arrive decoded, at each subscriber', async () => {
    const { pins, open } = world();
    const datapath = await open();
    const heard: DatapathEvent[][] = [[], []];
    const subscriptions = heard.map((list) => datapath.flowEvents$.subscribe((event) => list.push(event)));
    cleanups.push(() => subscriptions.forEach((subscription) => subscription.unsubscribe()));
    const program = openPinnedProgram(`${pins.config.pinRoot}/programs/${datapath.build}/from_endpoint`);
    const data = Buffer.alloc(60, 0xab);
    program.testRun({ data, ctx: skbContext({ mark: 0x1234 }) });
    program.close();
    for (let tries = 0; tries < 100 && heard.some((list) => list.length === 0); tries++) {
      await new Promise((resolve) => setTimeout(resolve, 10));
    }
    for (const [event] of heard) {
      expect(event).toMatchObject({ type: 2, lenOrig: 60, lenCap: 14, origPort: 443, origAddr: '', ifindex: 1 });
      expect(event?.data).toEqual(data.subarray(0, 14));
    }
  });

  test('capacities and how full the maps are', async () => {
    const { pod, open } = world();
    const datapath = await open();
    await put(datapath, 'links', 'lxc1', veth(pod.path));
    const row = {
      link: 'lxc1',
      identity: 300,
      id: 1,
      flags: 0,
      policyRevision: 0,
      mac: '02:00:00:00:00:02',
      hostMac: '02:00:00:00:00:01',
    };
    for (let i = 1; i <= 5; i++) expect(await put(datapath, 'bpf.endpoints', `10.0.0.${i}`, row)).toBeUndefined();
    expect(datapath.mapPressure().find(({ map }) => map === 'endpoints')).toEqual({
      map: 'endpoints',
      entries: 5,
      capacity: 10,
      ratio: 0.5,
    });
    expect(
      datapath
        .mapPressure()
        .map(({ map }) => map)
        .sort(),
    ).toEqual([
      'backend_sets',
      'backend_slots',
      'backends',
      'conntrack',
      'endpoints',
      'fragments',
      'frontends',
      'ipcache',
      'nat',
      'netdevs',
      'nodes',
      'policy',
      'service_flows',
      'source_ranges',
    ]);
    expect(datapath.dumpConntrack()).toEqual([]);
    expect(datapath.dumpNat(10)).toEqual([]);
    expect(() => datapath.maps('nothing')).toThrow('there is no map nothing; known are endpoints');
    expect(await datapath.gc.sweep()).toMatchObject({ sweeps: 1, conntrackEntries: 0 });
  });
});

describe('clock', () => {
  test('the ticks of a second are those of the kernel, and its seconds pass', async () => {
    const clock = new BpfClock();
    cleanups.push(() => clock.close());
    const hz = await clock.hz();
    expect([100, 250, 300, 1000]).toContain(hz);
    expect(hz).toBe(configuredHz() ?? hz);
    const start = clock.jiffies();
    await new Promise((resolve) => setTimeout(resolve, 200));
    const passed = Number(clock.jiffies() - start) / hz;
    expect(passed).toBeGreaterThan(0.15);
    expect(passed).toBeLessThan(2);
    expect(clock.seconds(hz)).toBe(Number(clock.jiffies() / BigInt(hz)) % 2 ** 32);
  });
});

describe('features', () => {
  test('of this kernel are found by trying', () => {
    const { has, kernel, missing } = probeFeatures();
    expect(kernel).toBe(readFileSync('/proc/sys/kernel/osrelease', 'utf8').trim());
    // A false no would show here: every kernel we test on is newer than these.
    expect(has).toMatchObject({ ringbuf: true, lpm: true, lru: true, mapInMap: true, redirectPeer: true });
    expect(has.tcx).toBe(isAtLeast(kernel, '6.6'));
    expect(missing.length).toBe(Object.values(has).filter((there) => !there).length);
  });

  test.each([
    ['6.12.3-amd64', '6.6', true],
    ['6.6', '6.6', true],
    ['6.1.0-30-amd64', '6.6', false],
    ['5.10.0', '5.10', true],
    ['4.19', '5.10', false],
  ])('kernel %s is at least %s: %s', (kernel, version, expected) => {
    expect(isAtLeast(kernel, version)).toBe(expected);
  });

  test('what is missing names feature and kernel', () => {
    expect(new NotSupported('redirectPeer', 'bpf_redirect_peer', '5.10').message).toMatch(
      /^bpf_redirect_peer \(redirectPeer\) needs Linux 5\.10, this is .*; the oldest kernel supported is 5\.10$/,
    );
  });
});
