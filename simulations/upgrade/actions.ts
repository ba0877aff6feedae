/** What a release engineer does to a cluster, as data; and what a kernel does at it. */
import type { ClusterNode } from '../cluster/node.ts';
import { releases } from '../releases/release.ts';

export const flips = ['masquerade', 'partial', 'dsr', 'random', 'always', 'never'] as const;
export type Flip = (typeof flips)[number];

export type UpgradeAction =
  /** Of the releases that are stored; the agent dies after so many maps have been moved, or not at all. */
  | { do: 'release'; node: number; release: number; mapsDone?: number }
  | { do: 'flip'; node: number; flip: Flip }
  /** The kernel starts anew, perhaps one that has what the other had not. */
  | { do: 'reboot'; node: number; hooks: boolean }
  | { do: 'connect'; from: number; to: number };

/** Two and more releases to move between; the newest is what a node begins with. */
const all = releases();

export async function actOnUpgrades(
  node: ClusterNode | undefined,
  action: Exclude<UpgradeAction, { do: 'connect' }>,
): Promise<void> {
  if (!node) return;
  switch (action.do) {
    case 'release': {
      const release = all[action.release % all.length];
      if (!release) break;
      node.kill();
      if (node.install(release, action.mapsDone)) await node.start();
      break;
    }
    case 'flip':
      node.kill();
      node.flip(action.flip);
      await node.start();
      break;
    case 'reboot':
      node.reboot(action.hooks);
      await node.start();
  }
}

const kinds: ReadonlySet<string> = new Set<UpgradeAction['do']>(['release', 'flip', 'reboot', 'connect']);
export const isOfUpgrades = (action: { do: string }): boolean => kinds.has(action.do);
