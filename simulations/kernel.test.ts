/** The simulated kernel keeps the laws of drivers, and refuses and forgets as the real one does. */
import { beforeEach, describe, expect, it } from 'vitest';
import type { Op } from '../datapath/driver.ts';
import { type DriverWorld, driverLaws, type SampleRow } from '../reconcilers/driver-laws.ts';
import { canonical, type EndpointRow, type LinkRow } from '../state/tables.ts';
import { type KernelTable, SimulatedKernel } from './kernel.ts';
import { HealthCheckPorts } from './kernel-ports.ts';

const POD = '/run/netns/pod';
const pair = (name: string, netns: string, mtu = 1500): LinkRow => ({
  kind: 'veth',
  mac: '02:00:00:00:00:01',
  mtu,
  peer: { name: `${name}-far`, mac: '02:00:00:00:00:02', netns },
});
const route = (dst: string, dev: string, mtu = 0) => ({ netns: '', type: 'unicast', dst, dev, via: '', src: '', mtu });
const attachment = (dev: string, build = 'b1') => ({ dev, direction: 'ingress', program: 'from_endpoint', build });
const endpoint = (link: string, identity = 300): EndpointRow => ({
  link,
  identity,
  id: 7,
  flags: 0,
  policyRevision: 0,
  mac: '02:00:00:00:00:01',
  hostMac: '02:00:00:00:00:02',
});
const cached = (identity: number) => ({ identity, tunnelEndpoint: '', encryptKey: 0, flags: 0 });
const netdev = (ipv4: string) => ({ ipv4, ipv6: '', mac: '02:00:00:00:00:01', flags: 0 });
const entry = (precedence: number, deny = false) => ({ deny, precedence, cookie: 5, origins: ['CNP/demo/web'] });
const backend = (address: string) => ({ address, port: 8080, protocol: 'TCP' });
const set = (...backends: string[]) => ({ backends, maglevSize: 0, affinityTimeout: 0 });
const frontend = (internalSet: string, externalSet = internalSet) => ({
  type: 'ClusterIP',
  service: 'demo/web',
  portName: 'http',
  internalSet,
  externalSet,
  externalLocal: false,
  sourceRanges: false,
  forwarding: 'snat',
});
const range = (cidr: string) => ({ frontend: '10.96.0.10:80/TCP', cidr });

const xdp = (build: string) => ({ dev: 'eth0', program: 'xdp_netdev', mode: 'generic', build });
const socket = (build: string) => ({ cgroup: '/sys/fs/cgroup/node', program: 'sock_connect4', build });

const tunnel = (port: number) => ({ kind: 'vxlan', mac: '02:00:00:00:00:03', mtu: 1500, port });
const wireguard = (publicKey: string) => ({ publicKey, listenPort: 51_871, mtu: 1420, fwmark: 0x1e00 });
const peer = (dev: string, ...allowedIps: string[]) => ({
  ...{ dev, node: 'n2', endpoint: '192.0.2.2:51871', allowedIps, keepaliveSeconds: 0 },
});
const rule = (lookup: number) => ({ family: 'ipv4', priority: 1, mark: 0xe00, markMask: 0xf00, lookup });
const state = (fingerprint: string) => ({
  ...{ direction: 'out', src: '192.0.2.1', dst: '192.0.2.2', spi: 3, reqid: 1, mode: 'tunnel', fingerprint },
  ...{ mark: 0xe00, markMask: 0xf00, outputMark: 0, outputMarkMask: 0 },
});
const xfrmPolicy = (spi: number) => ({
  ...{ direction: 'out', src: '0.0.0.0/0', dst: '0.0.0.0/0', mark: 0xe00, markMask: 0xf00, action: 'allow' },
  ...{ templateSrc: '192.0.2.1', templateDst: '192.0.2.2', spi, reqid: 1, optional: false },
});

/** Of other nodes. */
const distant: SampleRow[] = [
  { table: 'tunnels', key: 'cilium_vxlan', value: tunnel(8472), changed: tunnel(4789) },
  { table: 'tunnels', key: 'cilium_geneve', value: tunnel(6081) },
  { table: 'wireguard.devices', key: 'cilium_wg0', value: wireguard('A='), changed: wireguard('B=') },
  { table: 'wireguard.devices', key: 'cilium_wg1', value: wireguard('C=') },
  { table: 'wireguard.peers', key: 'P=', value: peer('cilium_wg0', '10.0.2.0/24'), changed: peer('cilium_wg0') },
  { table: 'wireguard.peers', key: 'Q=', value: peer('cilium_wg1', '10.0.3.0/24') },
  { table: 'bpf.devices', key: 'overlay', value: { link: 'cilium_vxlan', mtu: 1450 }, changed: { link: '', mtu: 0 } },
  { table: 'bpf.devices', key: 'wireguard', value: { link: 'cilium_wg0', mtu: 1420 } },
  { table: 'rules', key: 'ipv4/1', value: rule(200), changed: rule(201) },
  { table: 'rules', key: 'ipv6/1', value: rule(200) },
  { table: 'xfrm.states', key: '192.0.2.1>192.0.2.2/3', value: state('a'), changed: state('b') },
  { table: 'xfrm.states', key: '192.0.2.1>192.0.2.2/4', value: state('c') },
  { table: 'xfrm.policies', key: 'out/0.0.0.0/0>0.0.0.0/0/1', value: xfrmPolicy(3), changed: xfrmPolicy(4) },
  { table: 'xfrm.policies', key: 'out/0.0.0.0/0>0.0.0.0/0/2', value: xfrmPolicy(3) },
  { table: 'bpf.nodes', key: '192.0.2.2', value: { nodeId: 1, encryptKey: 3 }, changed: { nodeId: 1, encryptKey: 4 } },
  { table: 'bpf.nodes', key: '192.0.2.3', value: { nodeId: 2, encryptKey: 3 } },
];

const samples: SampleRow[] = [
  ...distant,
  { table: 'sysctls', key: 'net.ipv4.ip_forward', value: { value: '1' }, changed: { value: '0' } },
  { table: 'sysctls', key: 'net.ipv6.conf.all.forwarding', value: { value: '1' } },
  { table: 'links', key: 'lxc1', value: pair('lxc1', POD), changed: pair('lxc1', POD, 1400) },
  { table: 'links', key: 'lxc2', value: pair('lxc2', '') },
  { table: 'attachments', key: 'lxc1/ingress', value: attachment('lxc1'), changed: attachment('lxc1', 'b2') },
  { table: 'attachments', key: 'lxc2/ingress', value: attachment('lxc2') },
  { table: 'addrs', key: 'lxc2|10.0.0.1/32', value: { netns: '', dev: 'lxc2', address: '10.0.0.1/32' } },
  {
    table: 'addrs',
    key: `${POD}|lxc1-far|fd00::5/128`,
    value: { netns: POD, dev: 'lxc1-far', address: 'fd00::5/128' },
  },
  {
    table: 'routes',
    key: '10.0.0.5/32',
    value: route('10.0.0.5/32', 'lxc1'),
    changed: route('10.0.0.5/32', 'lxc1', 1400),
  },
  { table: 'routes', key: 'fd00::5/128', value: route('fd00::5/128', 'lxc1') },
  { table: 'bpf.netdevs', key: 'eth0', value: netdev('192.0.2.1'), changed: netdev('192.0.2.2') },
  { table: 'bpf.netdevs', key: 'eth1', value: netdev('') },
  { table: 'bpf.ipcache', key: '10.0.0.5/32', value: cached(300), changed: cached(301) },
  { table: 'bpf.ipcache', key: 'fd00::5/128', value: cached(300) },
  { table: 'bpf.endpoints', key: '10.0.0.5', value: endpoint('lxc1'), changed: endpoint('lxc1', 301) },
  { table: 'bpf.endpoints', key: 'fd00::5', value: endpoint('lxc1') },
  { table: 'cgroup.attachments', key: 'connect4', value: socket('b1'), changed: socket('b2') },
  { table: 'cgroup.attachments', key: 'connect6', value: socket('b1') },
  { table: 'xdp.attachments', key: 'eth0', value: xdp('b1'), changed: xdp('b2') },
  { table: 'bpf.policy-maps', key: '7', value: { entriesMax: 2 }, changed: { entriesMax: 4 } },
  { table: 'bpf.policy-maps', key: '8', value: { entriesMax: 2 } },
  { table: 'bpf.policy', key: '7|ingress|300|TCP|80', value: entry(1), changed: entry(255, true) },
  { table: 'bpf.policy', key: '7|egress|0|ANY|*', value: entry(1) },
  { table: 'bpf.backends', key: '10.0.1.5:8080/TCP', value: backend('10.0.1.5') },
  { table: 'bpf.backends', key: '[fd00::5]:8080/TCP', value: backend('fd00::5') },
  {
    table: 'bpf.backend-sets',
    key: 'demo/web:http/IPv4',
    value: set('10.0.1.5:8080/TCP'),
    changed: set('10.0.1.5:8080/TCP', '[fd00::5]:8080/TCP'),
  },
  { table: 'bpf.backend-sets', key: 'demo/web:http/IPv6', value: set() },
  { table: 'bpf.source-ranges', key: '10.96.0.10:80/TCP|192.0.2.0/24', value: range('192.0.2.0/24') },
  { table: 'bpf.source-ranges', key: '10.96.0.10:80/TCP|192.0.2.0/25', value: range('192.0.2.0/25') },
  {
    table: 'bpf.frontends',
    key: '10.96.0.10:80/TCP',
    value: frontend('demo/web:http/IPv4'),
    changed: frontend('demo/web:http/IPv4', 'demo/web:http/IPv6'),
  },
  { table: 'bpf.frontends', key: '[fd00::a]:80/TCP', value: frontend('demo/web:http/IPv6') },
];

const impossible: SampleRow[] = [
  { table: 'links', key: 'lxc9', value: pair('lxc9', '/run/netns/none') },
  { table: 'attachments', key: 'lxc9/ingress', value: attachment('lxc9') },
  { table: 'addrs', key: 'lxc9|10.0.0.9/32', value: { netns: '', dev: 'lxc9', address: '10.0.0.9/32' } },
  { table: 'routes', key: '10.0.0.9/32', value: route('10.0.0.9/32', 'lxc9') },
  { table: 'bpf.netdevs', key: 'eth9', value: netdev('') },
  { table: 'bpf.endpoints', key: '10.0.0.9', value: endpoint('lxc9') },
  { table: 'bpf.ipcache', key: '10.0.0.9/32', value: cached(9) },
  { table: 'bpf.policy', key: '9|ingress|300|TCP|80', value: entry(1) },
  { table: 'bpf.backend-sets', key: 'demo/none:http/IPv4', value: set('10.0.1.9:8080/TCP') },
  { table: 'bpf.frontends', key: '10.96.0.99:80/TCP', value: frontend('demo/none:http/IPv4') },
];

function world(): DriverWorld {
  const kernel = new SimulatedKernel({ capacities: { 'bpf.ipcache': 2 } });
  kernel.addNamespace(POD);
  kernel.addLink('eth0');
  kernel.addLink('eth1');
  const strange = pair('wan0', '');
  return {
    driver: kernel,
    samples,
    impossible,
    strangers: [
      {
        table: 'links',
        key: 'wan0',
        value: strange,
        make: () => kernel.addLink('wan0'),
        isUntouched: () => kernel.meddle('attachments', 'wan0/ingress', attachment('wan0')) === undefined,
      },
    ],
    dispose() {},
  };
}

driverLaws('of the simulated kernel', world);

describe('the simulated kernel', () => {
  let kernel: SimulatedKernel;
  beforeEach(() => {
    kernel = new SimulatedKernel({ capacities: { 'bpf.ipcache': 2 } });
    kernel.addNamespace(POD);
    kernel.addLink('eth0');
    kernel.addLink('eth1');
    for (const { table, key, value } of samples)
      expect(kernel.meddle(table as KernelTable, key, value)).toBeUndefined();
  });
  const op = (table: KernelTable, key: string, value: unknown): Op => ({
    table,
    key,
    action: 'put',
    value,
    before: undefined,
    revision: 1,
    owners: [],
  });
  const rows = (): string[] =>
    [...kernel.rows()].map(({ table, key, value }) => `${table} ${key} ${canonical(value)}`).sort();

  it('takes along what hangs on a link, and leaves entries of maps behind, under its number', () => {
    kernel.removeLink('lxc1');
    const left = rows().filter((row) => /lxc1|#\d/.test(row));
    expect(left).toEqual([
      expect.stringMatching(/^bpf\.endpoints 10\.0\.0\.5 .*"link":"#\d+"/),
      expect.stringMatching(/^bpf\.endpoints fd00::5 .*"link":"#\d+"/),
    ]);
    kernel.meddle('links', 'lxc1', pair('lxc1', POD));
    expect(rows().filter((row) => /"link":"lxc1"/.test(row))).toEqual([]);
  });

  it('loses a pair with the namespace of its far end', () => {
    kernel.removeNamespace(POD);
    expect(kernel.dump('links')).toEqual(new Map([['lxc2', pair('lxc2', '')]]));
    expect([...kernel.dump('addrs').keys()]).toEqual(['lxc2|10.0.0.1/32']);
  });

  it('is full when it is full, but takes another value for what is in', () => {
    const before = rows();
    const [full, replaced] = kernel.apply([
      op('bpf.ipcache', '10.0.0.9/32', cached(9)),
      op('bpf.ipcache', '10.0.0.5/32', cached(300)),
    ]);
    expect(full).toMatchObject({
      errno: 'ENOSPC',
      retryable: false,
      message: expect.stringContaining('bpf.ipcache 10.0.0.9/32'),
    });
    expect(replaced).toBeUndefined();
    expect(rows()).toEqual(before);
  });

  it('takes entries of a policy map along with it, and is full when the map is', () => {
    const [full] = kernel.apply([op('bpf.policy', '8|ingress|1|ANY|*', entry(1))]);
    expect(full).toBeUndefined();
    kernel.apply([op('bpf.policy', '8|ingress|2|ANY|*', entry(1))]);
    expect(kernel.apply([op('bpf.policy', '8|ingress|3|ANY|*', entry(1))])).toMatchObject([{ errno: 'ENOSPC' }]);
    expect(kernel.meddle('bpf.policy-maps', '8', { entriesMax: 1 })).toBe('ENOSPC');
    kernel.meddle('bpf.policy-maps', '8', undefined);
    expect([...kernel.dump('bpf.policy').keys()].filter((key) => key.startsWith('8|'))).toEqual([]);
  });

  it('shows what names a backend or a set that went, or that went and came back', () => {
    const name = '10.0.1.5:8080/TCP';
    kernel.meddle('bpf.backends', name, undefined);
    const row = (): unknown => kernel.dump('bpf.backend-sets').get('demo/web:http/IPv4');
    expect(row()).toEqual(set(expect.stringMatching(/^#\d+$/)));
    kernel.meddle('bpf.backends', name, backend('10.0.1.5'));
    expect(row()).toEqual(set(expect.stringMatching(/^#\d+$/)));
    expect(kernel.meddle('bpf.backend-sets', 'demo/web:http/IPv4', set(name))).toBeUndefined();
    expect(row()).toEqual(set(name));
    kernel.meddle('bpf.backend-sets', 'demo/web:http/IPv6', undefined);
    expect(kernel.dump('bpf.frontends').get('[fd00::a]:80/TCP')).toEqual(frontend(expect.stringMatching(/^#\d+$/)));
  });

  it('fails as it is told to, before anything changes', () => {
    const faulty = new SimulatedKernel({ faults: ({ key }) => (key === 'a' ? 'EBUSY' : undefined) });
    expect(faulty.apply([op('sysctls', 'a', { value: '1' }), op('sysctls', 'b', { value: '1' })])).toEqual([
      expect.objectContaining({ errno: 'EBUSY', retryable: true }),
      undefined,
    ]);
    expect([...faulty.rows()].map(({ key }) => key)).toEqual(['b']);
  });
});

driverLaws('of simulated health check ports', () => ({
  driver: new HealthCheckPorts(new Set(['30099'])),
  samples: ['30001', '30002'].map((key) => ({
    table: 'health.checks',
    key,
    value: { namespace: 'demo', service: 'web', localEndpoints: 1 },
    changed: { namespace: 'demo', service: 'web', localEndpoints: 0 },
  })),
  impossible: [{ table: 'health.checks', key: '30099', value: { namespace: 'a', service: 'b', localEndpoints: 0 } }],
  dispose() {},
}));

describe('peers of the simulated WireGuard', () => {
  const put = (kernel: SimulatedKernel, table: KernelTable, key: string, value: unknown) =>
    kernel.meddle(table, key, value);

  it('an address that one takes is no longer the other’s', () => {
    const kernel = new SimulatedKernel();
    put(kernel, 'wireguard.devices', 'cilium_wg0', wireguard('A='));
    put(kernel, 'wireguard.peers', 'OLD=', peer('cilium_wg0', '10.0.2.0/24', 'fd00:2::/64'));
    put(kernel, 'wireguard.peers', 'NEW=', peer('cilium_wg0', '10.0.2.0/24'));
    expect(kernel.dump('wireguard.peers').get('OLD=')).toEqual(peer('cilium_wg0', 'fd00:2::/64'));
  });

  it('go with their device', () => {
    const kernel = new SimulatedKernel();
    expect(put(kernel, 'wireguard.peers', 'P=', peer('cilium_wg0'))).toBe('ENODEV');
    put(kernel, 'wireguard.devices', 'cilium_wg0', wireguard('A='));
    put(kernel, 'wireguard.peers', 'P=', peer('cilium_wg0'));
    kernel.removeLink('cilium_wg0');
    expect(kernel.dump('wireguard.peers').size).toBe(0);
  });
});
