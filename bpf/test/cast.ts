// SPDX-License-Identifier: Apache-2.0
/** Who plays in the packet tests: two pods of this node, one of another, the node, the world; their addresses, MACs and identities. */

export const identities = { host: 1, a: 1001, b: 1002, remote: 1003, node2: 6, world: { v4: 9, v6: 10 } } as const;
export const flags = { enforceIngress: 1, enforceEgress: 2, audit: 4 } as const;
export const macs = {
  a: { pod: '02:00:00:00:0a:01', host: '02:00:00:00:0a:02' },
  b: { pod: '02:00:00:00:0b:01', host: '02:00:00:00:0b:02' },
  eth0: '02:00:00:00:0e:01',
  router: '02:00:00:00:0e:02',
} as const;

/** The same cast in both families: tests run through this table. */
export const families = [
  {
    name: 'IPv4',
    v6: false,
    bits: 32,
    a: '10.0.0.2',
    b: '10.0.0.3',
    gateway: '10.0.0.1',
    remote: '10.0.1.2',
    node: '192.168.7.1',
    node2: '192.168.7.2',
    world: '203.0.113.9',
    stranger: '10.0.0.99',
    unspecified: '0.0.0.0',
    multicast: '224.0.0.251',
    router: '192.168.7.254',
    icmp: 1,
    worldIdentity: identities.world.v4,
    native: '198.51.100.5',
    nativeCidr: '198.51.100.0/24',
    vip: '10.96.0.10',
    loopback: '169.254.42.1',
  },
  {
    name: 'IPv6',
    v6: true,
    bits: 128,
    a: 'fd00::2',
    b: 'fd00::3',
    gateway: 'fd00::1',
    remote: 'fd00:1::2',
    node: '2001:db8:7::1',
    node2: '2001:db8:7::2',
    world: '2001:db8:99::9',
    stranger: 'fd00::99',
    unspecified: '::',
    multicast: 'ff02::fb',
    router: '2001:db8:7::fe',
    icmp: 58,
    worldIdentity: identities.world.v6,
    native: '2001:db8:51::5',
    nativeCidr: '2001:db8:51::/48',
    vip: 'fd00:96::10',
    loopback: '64:ff9b:1::a9fe:2a01',
  },
] as const;
export type Family = (typeof families)[number];
