/** `simulate --nodes N` and `simulate upgrade`: random histories of a whole cluster, and a summary that fits into a change ticket. */
import { type ClusterAction, isFault } from '../../simulations/cluster/actions.ts';
import { type ClusterOutcome, runCluster } from '../../simulations/cluster/run.ts';
import { shrink, tailOf } from '../../simulations/node/actions.ts';
import { isOfUpgrades } from '../../simulations/upgrade/actions.ts';
import { print, printJson } from '../output/print.ts';
import { actionsFlag } from './actions-flag.ts';

export interface ClusterSimulation {
  nodes: number;
  seed: number;
  /** Of each run. */
  events: number;
  runs: number;
  /** What happens in the run of a seed. */
  actionsOf: (seed: number) => ClusterAction[];
  /** Flags that make the same again, beside the seed: before it and, where the actions are random, after it. */
  flags: { what: string; random: string };
  /** For people, and for programs. */
  tried: [name: string, value: string][];
  facts: object;
  /** Instead of random ones. */
  actions: ClusterAction[] | undefined;
  trustsStart?: boolean;
  isJson: boolean;
}

/** What is told of by its count. */
const counted = (action: ClusterAction): boolean => isFault(action) || isOfUpgrades(action);

/** The laws, as a release engineer reads them. */
const invariants = [
  'convergent (rows = maps = links, on every node)',
  'hitless (nothing that a running pod needs is taken away)',
  'leakless (packets do what policies say)',
  'nothing lost, nothing left over',
  'open connections known as they were, whatever was upgraded',
];
const SHRINK_MS = 120_000;
const EVERY_MS = 250;
const HOUR_MS = 3_600_000;
const WIDTH = 24;

export async function simulateCluster(wanted: ClusterSimulation): Promise<number> {
  const { nodes, seed, runs, isJson, trustsStart = false } = wanted;
  const began = Date.now();
  const outcomes: ClusterOutcome[] = [];
  const injected: Record<string, number> = {};
  for (let run = 0; run < runs; run++) {
    const own = seed + run;
    const actions = wanted.actions ?? wanted.actionsOf(own);
    const onProgress = progress(run, runs, actions.length);
    const outcome = await runCluster({ seed: own, nodes, trustsStart, onProgress }, actions);
    clearProgress();
    outcomes.push(outcome);
    if (outcome.violations.length > 0) return failure(wanted, own, actions, outcome);
    for (const action of actions.filter(counted)) injected[action.do] = (injected[action.do] ?? 0) + 1;
  }
  const summary = summaryOf(wanted, outcomes, injected, Date.now() - began);
  if (isJson) printJson({ ok: true, ...summary, invariants, digests: outcomes.map(({ digest }) => digest) });
  else print(textOf(wanted, summary));
  return 0;
}

const commandOf = ({ flags }: ClusterSimulation, seed: number, actions?: readonly ClusterAction[]): string =>
  `cli/axoneme simulate ${flags.what} --seed ${seed} ${actions ? actionsFlag(seed, actions) : flags.random}`;

function summaryOf(
  { nodes, seed, events, runs, facts }: ClusterSimulation,
  outcomes: readonly ClusterOutcome[],
  injected: Readonly<Record<string, number>>,
  wallMs: number,
) {
  const sum = (of: (outcome: ClusterOutcome) => number): number => outcomes.reduce((all, one) => all + of(one), 0);
  return {
    ...{ nodes, seed, runs, ...facts, injected },
    changes: runs * events,
    events: sum((one) => one.events),
    ops: sum((one) => one.ops),
    lives: sum((one) => one.lives),
    worstRecoveryMs: outcomes.reduce((worst, { recoveryMs }) => Math.max(worst, recoveryMs), 0),
    passedMs: sum((one) => one.passedMs),
    wallMs,
  };
}

function textOf(wanted: ClusterSimulation, summary: ReturnType<typeof summaryOf>): string {
  const { nodes, seed, runs, injected, changes, events, ops, lives, worstRecoveryMs, passedMs, wallMs } = summary;
  const count = (value: number): string => value.toLocaleString('en');
  const kinds = Object.entries(injected).sort(([, a], [, b]) => b - a);
  const lines = [
    [
      'Simulated',
      `${nodes} nodes, ${runs === 1 ? `seed ${seed}` : `${runs} runs, seeds ${seed} to ${seed + runs - 1}`}`,
    ],
    ['Tried', `${count(changes)} things that happen, ${(passedMs / HOUR_MS).toFixed(1)} hours of the cluster`],
    ...wanted.tried,
    ...(kinds.length > 0 ? [['Injected', kinds.map(([kind, times]) => `${kind} ${count(times)}`).join(', ')]] : []),
    ['Agents', `${count(lives)} lives, ${count(events)} events, ${count(ops)} changes of kernels`],
    ['Worst recovery', `${(worstRecoveryMs / 1_000).toFixed(0)} s of the cluster, from the last fault to quiet`],
    ...invariants.map((law, i) => [i === 0 ? 'Held' : '', law]),
    ['Took', `${(wallMs / 1_000).toFixed(1)} s, ${count(Math.round((events * 1_000) / Math.max(wallMs, 1)))} events/s`],
    ['Again', commandOf(wanted, seed) + (runs > 1 ? ` --runs ${runs}` : '')],
  ];
  return lines.map(([name = '', value = '']) => `${name.padEnd(16)}${value}\n`).join('');
}

/** The law that is broken first names the failure: a shorter run that breaks another one is another story. */
const lawOf = ({ violations }: ClusterOutcome): string => violations[0]?.match(/(?:^|: )([a-z]+): /)?.[1] ?? '';

async function failure(
  wanted: ClusterSimulation,
  seed: number,
  actions: readonly ClusterAction[],
  outcome: ClusterOutcome,
): Promise<number> {
  const { nodes, isJson, trustsStart = false } = wanted;
  const law = lawOf(outcome);
  const deadline = Date.now() + SHRINK_MS;
  if (!isJson) process.stderr.write(`seed ${seed} breaks a law, looking for the shortest way there\n`);
  const isSame = async (fewer: readonly ClusterAction[]): Promise<boolean> =>
    lawOf(await runCluster({ seed, nodes, trustsStart }, fewer)) === law;
  const isOver = (): boolean => Date.now() > deadline;
  // What comes after the first judgement that found something has no part in it.
  const tail = await tailOf(actions.slice(0, outcome.done), isSame, isOver);
  const shortest = await shrink(tail, isSame, isOver);
  const { violations } = await runCluster({ seed, nodes, trustsStart }, shortest);
  const [short, whole] = [commandOf(wanted, seed, shortest), commandOf(wanted, seed, wanted.actions)];
  if (isJson) printJson({ ok: false, seed, violations, actions: shortest, command: short, whole });
  else {
    print(`seed ${seed} breaks a law:\n${violations.map((line) => `  ${line}\n`).join('')}`);
    print(`shortest way there found, ${shortest.length} actions:\n  ${short}\nthe whole run again:\n  ${whole}\n`);
  }
  return 1;
}

function progress(run: number, runs: number, total: number): (done: number) => void {
  let saidAt = Date.now();
  return (done) => {
    if (!process.stderr.isTTY || Date.now() - saidAt < EVERY_MS) return;
    saidAt = Date.now();
    const bar = '#'.repeat(Math.round((done / total) * WIDTH)).padEnd(WIDTH);
    const which = runs > 1 ? `run ${run + 1} of ${runs}, ` : '';
    process.stderr.write(`\r[${bar}] ${which}${done.toLocaleString('en')} of ${total.toLocaleString('en')}\u001b[K`);
  };
}

function clearProgress(): void {
  if (process.stderr.isTTY) process.stderr.write('\r\u001b[K');
}
