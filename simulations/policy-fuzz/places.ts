/** Where the fuzzed clusters are: slots for pods, addresses of nodes and of the world, and every end that a flow may have. */
import type { FlowEnd } from '../policy-oracle/flow.ts';

export const podSlots = [
  { namespace: 'x', name: 'p1', node: 'n1', ipv4: '10.0.1.2', ipv6: 'fd00:1::2' },
  { namespace: 'x', name: 'p2', node: 'n1', ipv4: '10.0.1.3', ipv6: 'fd00:1::3' },
  { namespace: 'y', name: 'p3', node: 'n1', ipv4: '10.0.1.4', ipv6: 'fd00:1::4' },
  { namespace: 'y', name: 'p4', node: 'n2', ipv4: '10.0.2.2', ipv6: 'fd00:2::2' },
] as const;

export const addresses = {
  nodes: [
    ['192.168.0.1', '2001:db8:7::1'],
    ['192.168.0.2', '2001:db8:7::2'],
  ],
  world: ['203.0.113.9', '203.0.113.200', '198.51.100.1', '2001:db8:99::9', '2001:db8:77::1'],
  /** For rules: some hold the addresses above, some only look as if they did. */
  prefixes: [
    '0.0.0.0/0',
    '::/0',
    '203.0.113.0/24',
    '203.0.113.0/25',
    '203.0.113.9/32',
    '198.51.0.0/16',
    '10.0.0.0/8',
    '192.168.0.0/24',
    '2001:db8::/32',
    '2001:db8:99::/48',
    '2001:db8:99::9/128',
    'fd00::/8',
  ],
} as const;

export const ends: readonly FlowEnd[] = [
  ...podSlots.flatMap(({ namespace, name }): FlowEnd[] => [
    { pod: `${namespace}/${name}` },
    { pod: `${namespace}/${name}` },
  ]),
  { ip: '10.0.1.3' },
  { ip: 'fd00:2::2' },
  ...addresses.world.map((ip) => ({ ip })),
  ...addresses.nodes.flat().map((ip) => ({ ip })),
  { entity: 'host' },
  { entity: 'remote-node' },
  { entity: 'world' },
  { entity: 'kube-apiserver' },
];
