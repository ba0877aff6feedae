/** The story of three nodes (network.guest.ts) in a guest, with the tunnel and the encryption of a choice. */
import { testsPass } from './in-guest.ts';
import type { Series } from './kernels.ts';

export interface NetworkChoice {
  series: Series;
  routing: 'native' | 'vxlan' | 'geneve';
  encryption: 'none' | 'wireguard' | 'ipsec';
  /** Of kills, each of every agent, beside the three kills while datagrams are counted. */
  rounds: number;
  /** Beside the one while datagrams are counted. */
  rotations: number;
}

const timeoutMs = 840_000;

export async function networkPasses({ series, routing, encryption, rounds, rotations }: NetworkChoice): Promise<void> {
  const environment = { LAB_ROUTING: routing, LAB_ENCRYPTION: encryption };
  const counts = { LAB_KILL_ROUNDS: rounds, LAB_ROTATIONS: rotations };
  await testsPass(series, ['simulations/lab/network'], timeoutMs, { ...environment, ...counts });
}
