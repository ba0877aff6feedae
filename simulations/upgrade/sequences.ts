/** Random sequences of upgrades, downgrades and whatever else happens meanwhile, from a seed. */
import { type ClusterAction, clusterActionsFrom } from '../cluster/actions.ts';
import { seeded } from '../node/clock.ts';
import { releases } from '../releases/release.ts';
import { flips, type UpgradeAction } from './actions.ts';
import { learntMaps } from './learnt.ts';

export interface SequenceOptions {
  seed: number;
  nodes: number;
  /** What happens, upgrades and all. */
  length: number;
  /** Version that all nodes begin with, and the one that they are rolled to, node by node; the others come at random. */
  from?: string;
  to?: string;
}

const MANY = 1 << 20;
const COUNT = releases().length;
/** Share of what a release engineer does among all that happens. */
const UPGRADE_SHARE = 0.4;
const KILLED_SHARE = 0.3;
/** Pods that there are before the first upgrade. */
const FIRST_PODS = 6;
const SETTLED_MS = 20_000;

function upgradeAction(random: () => number): UpgradeAction {
  const below = (end: number): number => Math.floor(random() * end);
  const node = below(MANY);
  const which = random();
  if (which < 0.45)
    return {
      ...{ do: 'release', node, release: below(COUNT) },
      ...(random() < KILLED_SHARE && { mapsDone: below(learntMaps.length) }),
    };
  if (which < 0.65) return { do: 'flip', node, flip: flips[below(flips.length)] ?? 'masquerade' };
  if (which < 0.75) return { do: 'reboot', node, hooks: random() < 0.5 };
  return { do: 'connect', from: below(MANY), to: below(MANY) };
}

/** Pods and connections first; at the end every node is on the release that all go to. */
export function sequenceFrom({ seed, nodes, length, from, to }: SequenceOptions): ClusterAction[] {
  const random = seeded(seed ^ 0x5eed);
  const others = clusterActionsFrom(seed, length, 'default');
  const numberOf = (version: string | undefined): number => releases().findIndex((one) => one.version === version);
  const [first, last] = [numberOf(from), numberOf(to)];
  const all = Array.from({ length: nodes }, (_, node) => node);
  const rollTo = (release: number): ClusterAction[] => all.map((node) => ({ do: 'release', node, release }));
  return [
    ...(first >= 0 ? rollTo(first) : []),
    ...Array.from({ length: FIRST_PODS }, (_, pod): ClusterAction => ({ do: 'create', pod, node: pod })),
    { do: 'advance', ms: SETTLED_MS },
    ...Array.from({ length: FIRST_PODS }, (_, i): ClusterAction => ({ do: 'connect', from: i, to: i + 1 })),
    ...others.map((other) => (random() < UPGRADE_SHARE ? upgradeAction(random) : other)),
    ...(last >= 0 ? rollTo(last) : []),
  ];
}
