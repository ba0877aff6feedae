/**
 * Three nodes on Debian's 6.12 with each tunnel and each encryption: the connectivity matrix, policies, and captures between the nodes
 * while agents are killed, keys are replaced and a node comes back with another one. More kills and other choices: network.long.ts.
 */
import { test } from 'vitest';
import { type NetworkChoice, networkPasses } from './network-passes.ts';

const choices: NetworkChoice[] = [
  { series: '6.12', routing: 'vxlan', encryption: 'wireguard', rounds: 1, rotations: 1 },
  { series: '6.12', routing: 'geneve', encryption: 'ipsec', rounds: 1, rotations: 1 },
];

test.each(choices)('Linux $series: $routing routing, encryption $encryption', networkPasses);
