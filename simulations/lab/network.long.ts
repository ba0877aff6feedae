/**
 * Three nodes on Debian's kernels, by tunnel and encrypted: the connectivity matrix, and captures between the nodes while agents are
 * killed (21 in all), keys are replaced (5) and nodes come back with new ones. See network.guest.ts.
 */
import { test } from 'vitest';
import { testsPass } from './in-guest.ts';

const timeoutMs = 840_000;

const always = [
  { series: '6.12', routing: 'geneve', encryption: 'none', rounds: 0, rotations: 0 },
  { series: '6.12', routing: 'native', encryption: 'wireguard', rounds: 2, rotations: 2 },
  { series: '6.12', routing: 'vxlan', encryption: 'wireguard', rounds: 3, rotations: 1 },
  { series: '6.12', routing: 'native', encryption: 'ipsec', rounds: 2, rotations: 2 },
] as const;
/** With LAB_ALL=1: minutes more for each. */
const more = [
  { series: '6.12', routing: 'vxlan', encryption: 'ipsec', rounds: 1, rotations: 1 },
  { series: '6.1', routing: 'vxlan', encryption: 'wireguard', rounds: 1, rotations: 1 },
  { series: '6.1', routing: 'geneve', encryption: 'ipsec', rounds: 1, rotations: 1 },
] as const;

test.each([...always, ...(process.env['LAB_ALL'] === '1' ? more : [])])(
  'Linux $series: $routing routing, encryption $encryption',
  async (choice) => {
    const { series, routing, encryption, rounds, rotations } = choice;
    const environment = { LAB_ROUTING: routing, LAB_ENCRYPTION: encryption };
    const counts = { LAB_KILL_ROUNDS: rounds, LAB_ROTATIONS: rotations };
    await testsPass(series, ['simulations/lab/network'], timeoutMs, { ...environment, ...counts });
  },
);
