/** What may happen to a simulated node, as data: generated from a seed, shrunk when it fails, replayed as written. */
import { seeded } from './clock.ts';
import { FAR_PODS, NEIGHBORS, type NeighborAction, neighborKinds } from './neighbors.ts';
import { POLICIES, type PolicyAction, policyKinds } from './policies.ts';
import { ENDPOINTS, SERVICES, type ServiceAction, SLICES, serviceKinds } from './services.ts';

/** Numbers choose among what there is, modulo its count; so any shortened list of actions still means something. */
export type Action =
  | { do: 'create'; pod: number }
  | { do: 'delete'; pod: number }
  | { do: 'relabel'; pod: number; label: number }
  | { do: 'loseNamespace'; pod: number }
  | { do: 'cni'; how: 'addAgain' | 'delEarly' | 'delUnknown'; pod: number }
  | { do: 'relabelNamespace'; label: number }
  | { do: 'node'; how: 'delete' | 'strip' | 'restore' }
  | { do: 'upgrade'; build: number }
  | { do: 'kill'; afterOps: number }
  | { do: 'restart' }
  | { do: 'api'; up: boolean }
  | { do: 'loseIdentity'; which: number }
  | { do: 'rivalIdentity'; which: number }
  | { do: 'flap'; up: boolean }
  | { do: 'readdress'; host: number }
  | { do: 'fault'; errno: string; ops: number }
  | { do: 'drift'; which: number; how: 'remove' | 'change' | 'add' }
  | { do: 'work'; ops: number }
  | { do: 'advance'; ms: number }
  | ServiceAction
  | PolicyAction
  | NeighborAction;

export const errnos = ['EBUSY', 'ENOMEM', 'EAGAIN', 'EPERM', 'E2BIG'] as const;

const PODS = 6;

type Random = () => number;
const below = (random: Random, end: number): number => Math.floor(random() * end);

/** Weight, and how one is made. */
const choices: readonly (readonly [weight: number, make: (random: Random) => Action])[] = [
  [18, (random) => ({ do: 'create', pod: below(random, PODS) })],
  [10, (random) => ({ do: 'delete', pod: below(random, PODS) })],
  [5, (random) => ({ do: 'relabel', pod: below(random, PODS), label: below(random, 3) })],
  [2, (random) => ({ do: 'loseNamespace', pod: below(random, PODS) })],
  [
    3,
    (random) => ({
      do: 'cni',
      how: (['addAgain', 'delEarly', 'delUnknown'] as const)[below(random, 3)] ?? 'addAgain',
      pod: below(random, PODS),
    }),
  ],
  [1, (random) => ({ do: 'relabelNamespace', label: below(random, 2) })],
  [2, (random) => ({ do: 'node', how: (['delete', 'strip', 'restore'] as const)[below(random, 3)] ?? 'restore' })],
  [2, (random) => ({ do: 'upgrade', build: below(random, 3) })],
  [6, (random) => ({ do: 'kill', afterOps: below(random, 40) })],
  [6, () => ({ do: 'restart' })],
  [4, (random) => ({ do: 'api', up: random() < 0.6 })],
  [2, (random) => ({ do: 'loseIdentity', which: below(random, 8) })],
  [2, (random) => ({ do: 'rivalIdentity', which: below(random, 8) })],
  [3, (random) => ({ do: 'flap', up: random() < 0.6 })],
  [2, (random) => ({ do: 'readdress', host: 2 + below(random, 3) })],
  [5, (random) => ({ do: 'fault', errno: errnos[below(random, errnos.length)] ?? 'EBUSY', ops: 1 + below(random, 8) })],
  [
    5,
    (random) => ({
      do: 'drift',
      which: below(random, 200),
      how: (['remove', 'change', 'add'] as const)[below(random, 3)] ?? 'remove',
    }),
  ],
  [
    8,
    (random) => ({
      do: 'service',
      service: below(random, SERVICES),
      as: (['none', ...serviceKinds] as const)[below(random, 1 + serviceKinds.length)] ?? 'none',
    }),
  ],
  [
    12,
    (random) => ({
      do: 'endpoints',
      service: below(random, SERVICES),
      slice: below(random, SLICES),
      ready: below(random, 1 << ENDPOINTS),
      draining: below(random, 1 << ENDPOINTS),
    }),
  ],
  [
    10,
    (random) => ({
      do: 'policy',
      policy: below(random, POLICIES),
      as: policyKinds[below(random, policyKinds.length)] ?? 'none',
    }),
  ],
  [
    8,
    (random) => ({
      do: 'neighbor',
      node: below(random, NEIGHBORS),
      as: neighborKinds[below(random, neighborKinds.length)] ?? 'none',
    }),
  ],
  [
    10,
    (random) => ({
      do: 'farPod',
      pod: below(random, FAR_PODS),
      node: below(random, NEIGHBORS),
      as: (['none', 'there', 'changed'] as const)[below(random, 3)] ?? 'none',
    }),
  ],
  [2, () => ({ do: 'rekey' })],
  [2, (random) => ({ do: 'probe', node: below(random, NEIGHBORS), up: random() < 0.5 })],
  [16, (random) => ({ do: 'work', ops: 1 + below(random, 12) })],
  [14, (random) => ({ do: 'advance', ms: [100, 1_000, 5_000, 31_000][below(random, 4)] ?? 100 })],
];
const totalWeight = choices.reduce((sum, [weight]) => sum + weight, 0);

export function actionsFrom(seed: number, count: number): Action[] {
  const random = seeded(seed);
  return Array.from({ length: count }, () => {
    let left = random() * totalWeight;
    const chosen = choices.find(([weight]) => {
      left -= weight;
      return left < 0;
    });
    return (chosen ?? (choices[0] as (typeof choices)[number]))[1](random);
  });
}

/** The shortest list found that still fails, by leaving out ever smaller pieces; gives up at the deadline. */
export async function shrink<A>(
  actions: readonly A[],
  fails: (actions: readonly A[]) => Promise<boolean>,
  isOver: () => boolean,
): Promise<readonly A[]> {
  let best = actions;
  for (let size = Math.ceil(best.length / 2); size >= 1; size = size === 1 ? 0 : Math.ceil(size / 2)) {
    for (let at = 0; at < best.length; ) {
      if (isOver()) return best;
      const shorter = [...best.slice(0, at), ...best.slice(at + size)];
      if (await fails(shorter)) best = shorter;
      else at += size;
    }
  }
  return best;
}

const TAIL = 64;

/** Of a long history mostly the end matters: the shortest of its last 64, 128, … that fails; all of it if none does. */
export async function tailOf<A>(
  actions: readonly A[],
  fails: (actions: readonly A[]) => Promise<boolean>,
  isOver: () => boolean,
): Promise<readonly A[]> {
  for (let length = TAIL; length < actions.length && !isOver(); length *= 2) {
    const tail = actions.slice(-length);
    if (await fails(tail)) return tail;
  }
  return actions;
}
