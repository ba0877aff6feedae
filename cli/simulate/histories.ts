/** What the flags of `simulate` ask for: histories of a cluster, or of its upgrades. */
import {
  type ClusterAction,
  clusterActionsFrom,
  type FaultLevel,
  faultLevels,
} from '../../simulations/cluster/actions.ts';
import { releaseOf, releases } from '../../simulations/releases/release.ts';
import { sequenceFrom } from '../../simulations/upgrade/sequences.ts';
import { UsageError } from '../usage.ts';
import type { ClusterSimulation } from './cluster.ts';

type Common = Pick<ClusterSimulation, 'nodes' | 'seed' | 'events' | 'runs' | 'isJson'> & {
  actions: ClusterAction[] | undefined;
};

const CURRENT = 'current';

export function faultLevelOf(text: string | undefined): FaultLevel {
  const level = faultLevels.find((one) => one === (text ?? 'default'));
  if (!level)
    throw new UsageError(`flag --faults is ${JSON.stringify(text)}, expected one of ${faultLevels.join(', ')}`);
  return level;
}

export function clusterHistory(common: Common, faults: FaultLevel): ClusterSimulation {
  const { nodes, events } = common;
  return {
    ...common,
    actionsOf: (seed) => clusterActionsFrom(seed, events, faults),
    flags: { what: `--nodes ${nodes}`, random: `--events ${events} --faults ${faults}` },
    tried: [['Faults', faults]],
    facts: { faults },
  };
}

/** Rolls all nodes from one release to another, with others in between, and whatever happens meanwhile. */
export function upgradeHistory(common: Common, from: string | undefined, to: string | undefined): ClusterSimulation {
  const { nodes, events } = common;
  const [first, last] = [versionOf('from', from ?? releases()[0]?.version), versionOf('to', to)];
  return {
    ...common,
    trustsStart: true,
    actionsOf: (seed) => sequenceFrom({ seed, nodes, length: events, from: first, to: last }),
    flags: { what: `upgrade --from ${first} --to ${last} --nodes ${nodes}`, random: `--events ${events}` },
    tried: [
      [
        'From',
        `${first}, node by node, with ${releases()
          .map(({ version }) => version)
          .join(', ')} in between`,
      ],
      ['To', last],
    ],
    facts: { from: first, to: last, releases: releases().map(({ version }) => version) },
  };
}

function versionOf(flag: string, text = CURRENT): string {
  if (text === CURRENT) return releases().at(-1)?.version ?? '';
  try {
    return releaseOf(text).version;
  } catch (error) {
    throw new UsageError(`flag --${flag}: ${error instanceof Error ? error.message : error}, or ${CURRENT}`);
  }
}
