/** The keys that we derive from a masqueraded flow are those under which the real programs keep it. */
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { btfOfObject, openPinnedProgram, skbContext, withNetns } from '../native/index.ts';
import { parseAddress, parseMac } from './address.ts';
import { Codecs } from './codec.ts';
import { type Datapath, openDatapath } from './datapath.ts';
import type { Op } from './driver.ts';
import { FlowKeys } from './flow-keys.ts';
import { linkNames } from './link-names.ts';
import { type TestNamespace, testNamespace } from './testdata/namespace.ts';
import { type TestPins, testPins } from './testdata/pins.ts';

const btf = btfOfObject(join(import.meta.dirname, '../bpf/build/datapath.o'));
const UDP = 17;
const [POD_MAC, HOST_MAC] = ['02:00:00:00:00:05', '02:00:00:00:00:01'];
let node: TestNamespace;
let pins: TestPins;
let datapath: Datapath;

beforeAll(async () => {
  node = testNamespace('node');
  pins = testPins();
  node.ip('link add lxc1 type veth peer name pod1');
  node.ip('link add eth0 type veth peer name wire');
  datapath = await openDatapath(pins.config, { netns: node.path });
  const tables = datapath.drivers.find((driver) => driver.tables.includes('bpf.endpoints'));
  const put = (table: Op['table'], key: string, value: unknown) =>
    tables?.apply([{ table, action: 'put', key, value, before: undefined, revision: 1, owners: [] }]);
  const endpoint = { link: 'lxc1', identity: 300, id: 7, flags: 0, policyRevision: 0, mac: POD_MAC, hostMac: HOST_MAC };
  put('bpf.endpoints', '10.0.0.5', endpoint);
  put('bpf.endpoints', 'fd00::5', endpoint);
  put('bpf.netdevs', 'eth0', { ipv4: '192.0.2.1', ipv6: '2001:db8::1', mac: HOST_MAC, flags: 0 });
});

afterAll(async () => {
  await datapath.close();
  pins.dispose();
  node.dispose();
});

function packet(source: string, destination: string, port: number): Buffer {
  const [from, to] = [parseAddress(source), parseAddress(destination)];
  const udp = Buffer.alloc(16);
  udp.writeUInt16BE(port, 0);
  udp.writeUInt16BE(53, 2);
  udp.writeUInt16BE(udp.length, 4);
  const ethernet = Buffer.concat([
    parseMac(HOST_MAC),
    parseMac(POD_MAC),
    Buffer.from(from.length === 4 ? [8, 0] : [0x86, 0xdd]),
  ]);
  const v4 = Buffer.from([0x45, 0, 0, 20 + udp.length, 0, 1, 0, 0, 64, UDP, 0, 0]);
  const v6 = Buffer.from([0x60, 0, 0, 0, 0, udp.length, UDP, 64]);
  const ip = Buffer.concat([from.length === 4 ? v4 : v6, from, to]);
  if (from.length === 4) {
    let sum = 0;
    for (let i = 0; i < ip.length; i += 2) sum += ip.readUInt16BE(i);
    ip.writeUInt16BE(~((sum & 0xffff) + (sum >> 16)) & 0xffff, 10);
  }
  return Buffer.concat([ethernet, ip, udp]);
}

function run(name: string, link: string, data: Buffer): Buffer {
  const program = openPinnedProgram(`${pins.config.pinRoot}/programs/${datapath.build}/${name}`);
  const ctx = skbContext({ ifindex: linkNames(node.path).indexOf(link) });
  const result = withNetns(node.path, () => program.testRun({ data, ctx }));
  program.close();
  return result.data;
}

describe('flow keys', () => {
  test.each([
    ['10.0.0.5', '198.51.100.7', 1001],
    ['10.0.0.5', '8.8.8.8', 40_001],
    ['fd00::5', '2001:db8:1::7', 1002],
    ['fd00::5', '2600::1', 40_002],
  ])('%s to %s', (source, destination, port) => {
    run('to_netdev', 'eth0', run('from_endpoint', 'lxc1', packet(source, destination, port)));
    const keys = new FlowKeys(btf);
    const [nat, conntrack] = [datapath.maps('nat'), datapath.maps('conntrack')];
    const flows = nat.entries().map(([key, value]) => ({ key, ...keys.flowOf(key, value) }));
    const ours = flows.filter(({ egressKey }) => sourceOf(egressKey) === `${source} ${port}`);
    expect(ours.map(({ isEgress }) => isEgress).sort()).toEqual([false, true]);
    for (const { key, isEgress, ofNode, egressKey, ingressKey, conntrackKey } of ours) {
      expect(ofNode).toBe(false);
      expect(isEgress ? egressKey : ingressKey).toEqual(key);
      expect(nat.get(ingressKey), 'the claim').toBeDefined();
      expect(conntrack.get(conntrackKey), 'the connection').toBeDefined();
    }
  });

  test('a sweep leaves flows that just began', async () => {
    const before = datapath.dumpNat().length;
    expect(before).toBe(8);
    await datapath.gc.sweep();
    expect(datapath.dumpNat().length).toBe(before);
    expect(datapath.dumpConntrack().length).toBe(4);
  });
});

function sourceOf(natKey: Buffer): string {
  const { saddr, sport } = new Codecs(btf).map('nat').key.read(natKey, 0) as { saddr: string; sport: number };
  return `${saddr} ${sport}`;
}
