/** What may happen to a simulated cluster, as data: generated from a seed, shrunk when it fails, replayed as written. */
import { errnos } from '../node/actions.ts';
import { seeded } from '../node/clock.ts';
import { POLICIES, type PolicyAction, policyKinds } from '../node/policies.ts';
import { ENDPOINTS, SERVICES, type ServiceAction, SLICES, serviceKinds } from '../node/services.ts';
import type { UpgradeAction } from '../upgrade/actions.ts';

/** Numbers choose among what there is, modulo its count; so any shortened list of actions still means something. */
export type ClusterAction =
  | { do: 'create'; pod: number; node: number }
  | { do: 'delete'; pod: number }
  | { do: 'relabel'; pod: number; label: number }
  | { do: 'relabelNamespace'; label: number }
  | { do: 'join' | 'leave' | 'replace'; node: number }
  | { do: 'upgrade'; node: number; build: number }
  | { do: 'rekey'; node: number }
  | ClusterFault
  | ServiceAction
  | PolicyAction
  | UpgradeAction
  | { do: 'advance'; ms: number };

export type ClusterFault =
  | { do: 'kill'; node: number; afterOps: number }
  | { do: 'restart'; node: number }
  | { do: 'api'; up: boolean }
  | { do: 'cut'; node: number; cut: boolean }
  | { do: 'relist'; node: number }
  | { do: 'fault'; node: number; errno: string; ops: number }
  | { do: 'loseIdentity' | 'loseEndpoint'; which: number }
  | { do: 'rivalIdentity'; which: number };

export const faultLevels = ['none', 'default', 'heavy'] as const;
export type FaultLevel = (typeof faultLevels)[number];
/** Weight of each fault among what happens. */
const faultWeights: Readonly<Record<FaultLevel, number>> = { none: 0, default: 1, heavy: 6 };

const faultKinds: ReadonlySet<string> = new Set<ClusterFault['do']>([
  'kill',
  'restart',
  'api',
  'cut',
  'relist',
  'fault',
  'loseIdentity',
  'loseEndpoint',
  'rivalIdentity',
]);
export const isFault = (action: ClusterAction): boolean => faultKinds.has(action.do);

type Random = () => number;
type Choice = readonly [weight: number, make: (random: Random) => ClusterAction];
const MANY = 1 << 20;
const below = (random: Random, end: number): number => Math.floor(random() * end);
const among = <T>(random: Random, all: readonly T[]): T => all[below(random, all.length)] as T;

const changes: readonly Choice[] = [
  [30, (random) => ({ do: 'create', pod: below(random, MANY), node: below(random, MANY) })],
  [18, (random) => ({ do: 'delete', pod: below(random, MANY) })],
  [6, (random) => ({ do: 'relabel', pod: below(random, MANY), label: below(random, 3) })],
  [1, (random) => ({ do: 'relabelNamespace', label: below(random, 2) })],
  [1, (random) => ({ do: 'join', node: below(random, MANY) })],
  [1, (random) => ({ do: 'leave', node: below(random, MANY) })],
  [1, (random) => ({ do: 'replace', node: below(random, MANY) })],
  [2, (random) => ({ do: 'upgrade', node: below(random, MANY), build: below(random, 3) })],
  [1, (random) => ({ do: 'rekey', node: below(random, MANY) })],
  [4, (random) => ({ do: 'service', service: below(random, SERVICES), as: among(random, ['none', ...serviceKinds]) })],
  [
    8,
    (random) => ({
      do: 'endpoints',
      service: below(random, SERVICES),
      slice: below(random, SLICES),
      ready: below(random, 1 << ENDPOINTS),
      draining: below(random, 1 << ENDPOINTS),
    }),
  ],
  [5, (random) => ({ do: 'policy', policy: below(random, POLICIES), as: among(random, policyKinds) })],
  [40, (random) => ({ do: 'advance', ms: among(random, [20, 200, 1_000, 5_000, 31_000]) })],
];
const faults: readonly Choice[] = [
  [4, (random) => ({ do: 'kill', node: below(random, MANY), afterOps: below(random, 40) })],
  [5, (random) => ({ do: 'restart', node: below(random, MANY) })],
  [1, (random) => ({ do: 'api', up: random() < 0.7 })],
  [2, (random) => ({ do: 'cut', node: below(random, MANY), cut: random() < 0.5 })],
  [2, (random) => ({ do: 'relist', node: below(random, MANY) })],
  [
    3,
    (random) => ({ do: 'fault', node: below(random, MANY), errno: among(random, errnos), ops: 1 + below(random, 8) }),
  ],
  [1, (random) => ({ do: 'loseIdentity', which: below(random, MANY) })],
  [1, (random) => ({ do: 'loseEndpoint', which: below(random, MANY) })],
  [1, (random) => ({ do: 'rivalIdentity', which: below(random, MANY) })],
];

export function clusterActionsFrom(seed: number, count: number, level: FaultLevel): ClusterAction[] {
  const random = seeded(seed);
  const choices = [...changes, ...faults.map(([weight, make]): Choice => [weight * faultWeights[level], make])];
  const total = choices.reduce((sum, [weight]) => sum + weight, 0);
  return Array.from({ length: count }, () => {
    let left = random() * total;
    const chosen = choices.find(([weight]) => {
      left -= weight;
      return left < 0;
    });
    return (chosen ?? (choices[0] as Choice))[1](random);
  });
}
