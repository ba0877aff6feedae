/**
 * Three nodes on Debian's kernels, by tunnel and encrypted: the connectivity matrix, and captures between the nodes while agents are
 * killed, keys are replaced and nodes come back with new ones. See network.guest.ts.
 */
import { test } from 'vitest';
import { type NetworkChoice, networkPasses } from './network-passes.ts';

const always: NetworkChoice[] = [
  { series: '6.12', routing: 'geneve', encryption: 'none', rounds: 1, rotations: 0 },
  { series: '6.12', routing: 'native', encryption: 'wireguard', rounds: 7, rotations: 5 },
  { series: '6.12', routing: 'native', encryption: 'ipsec', rounds: 7, rotations: 5 },
];
/** With LAB_ALL=1: minutes more for each. */
const more: NetworkChoice[] = [
  { series: '6.12', routing: 'vxlan', encryption: 'ipsec', rounds: 1, rotations: 1 },
  { series: '6.1', routing: 'vxlan', encryption: 'wireguard', rounds: 1, rotations: 1 },
  { series: '6.1', routing: 'geneve', encryption: 'ipsec', rounds: 1, rotations: 1 },
];

test.each([...always, ...(process.env['LAB_ALL'] === '1' ? more : [])])(
  'Linux $series: $routing routing, encryption $encryption',
  networkPasses,
);
