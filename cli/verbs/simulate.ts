/** `axoneme simulate`: random lives of a node, or of a cluster, in memory, judged by the laws; a failure is shrunk and can be run again. */
import type { ClusterAction } from '../../simulations/cluster/actions.ts';
import { type Action, actionsFrom, shrink } from '../../simulations/node/actions.ts';
import { type Outcome, runActions } from '../../simulations/node/run.ts';
import { noPositionals } from '../output/arguments.ts';
import { print, printJson, wantsJson } from '../output/print.ts';
import { actionsFlag, parseActions } from '../simulate/actions-flag.ts';
import { simulateCluster } from '../simulate/cluster.ts';
import { clusterHistory, faultLevelOf, upgradeHistory } from '../simulate/histories.ts';
import { parseArguments, UsageError, wholeNumber } from '../usage.ts';

export const summary = 'property-test the engine on a simulated node or cluster';
export const usage = `axoneme simulate [--seed N] [--events N] [--runs N] [--for SECONDS] [--actions JSON] [-o json]
axoneme simulate --nodes N [--faults none|default|heavy] [--seed N] [--events N] [--runs N] [--actions JSON] [-o json]
axoneme simulate upgrade [--from RELEASE] [--to RELEASE] [--nodes N] [--seed N] [--events N] [--runs N] [--actions JSON] [-o json]

  --seed N       of the first run; the next runs have the next numbers (default: by the clock)
  --events N     what happens to the node in one run (default 100)
  --runs N       how many runs (default 1 with --seed, else until --for is over)
  --for SECONDS  for how long (default 30)
  --nodes N      a whole cluster of so many nodes: one run of 1000 events unless told otherwise
  --faults LEVEL of the cluster: none, default or heavy
  --from RELEASE of upgrades: what all nodes begin with (default: the oldest that is stored in simulations/releases)
  --to RELEASE   and what they are rolled to, one after the other (default: current); others come and go in between, with crashes in the
                 middle, flips of configuration and kernels that start anew; 3 nodes, 20 events, 100 runs unless told otherwise
  --actions JSON these actions instead of random ones, as a failure prints them; @FILE reads them from a file`;

const SEED_MAX = 2 ** 31 - 1;
const EVENTS_MAX = 100_000;
const NODES_MAX = 1_000;
const CLUSTER_EVENTS_MAX = 10_000_000;
const SHRINK_MS = 60_000;

interface Failure {
  seed: number;
  violations: string[];
  actions: readonly Action[];
  command: string;
}

export async function run(args: string[]): Promise<number> {
  const spec = {
    ...{ seed: 'N', events: 'N', runs: 'N', for: 'SECONDS', actions: 'JSON', output: 'FORMAT' },
    ...{ nodes: 'N', faults: 'LEVEL', from: 'RELEASE', to: 'RELEASE' },
  } as const;
  const { flags, positionals } = parseArguments(args, spec);
  const isUpgrade = positionals[0] === 'upgrade';
  noPositionals(isUpgrade ? positionals.slice(1) : positionals);
  const number = (flag: 'seed' | 'events' | 'runs' | 'for' | 'nodes', usual: number, max: number, min = 0): number =>
    flags[flag] === undefined ? usual : wholeNumber(flag, flags[flag], min, max);
  const isJson = wantsJson(flags.output);
  const seed = number('seed', Date.now() % SEED_MAX, SEED_MAX);
  if (!isUpgrade && (flags.from ?? flags.to) !== undefined)
    throw new UsageError('flags --from and --to are of upgrades, expected `simulate upgrade`');
  if (isUpgrade || flags.nodes !== undefined) {
    if (flags.for !== undefined) throw new UsageError('flag --for is of a node alone, expected --runs');
    if (isUpgrade && flags.faults !== undefined)
      throw new UsageError('flag --faults is not of upgrades, which have their own');
    const common = (nodes: number, events: number, runs: number) => ({
      seed,
      nodes: number('nodes', nodes, NODES_MAX, 1),
      events: number('events', events, CLUSTER_EVENTS_MAX),
      runs: flags.actions === undefined ? number('runs', runs, SEED_MAX, 1) : 1,
      actions: flags.actions === undefined ? undefined : parseActions<ClusterAction>(flags.actions),
      isJson,
    });
    return simulateCluster(
      isUpgrade
        ? upgradeHistory(common(3, 20, 100), flags.from, flags.to)
        : clusterHistory(common(0, 1_000, 1), faultLevelOf(flags.faults)),
    );
  }
  if (flags.faults !== undefined) throw new UsageError('flag --faults is of a cluster, expected --nodes with it');
  const events = number('events', 100, EVENTS_MAX);
  const isOnce = flags.seed !== undefined && flags.for === undefined;
  const runs = flags.actions !== undefined ? 1 : number('runs', isOnce ? 1 : SEED_MAX, SEED_MAX);
  const deadline =
    Date.now() + 1000 * (flags.runs !== undefined && flags.for === undefined ? SEED_MAX : number('for', 30, 86_400));
  const given = flags.actions === undefined ? undefined : parseActions<Action>(flags.actions);
  const totals = { runs: 0, events: 0, ops: 0, lives: 0 };
  for (; totals.runs < runs && (totals.runs === 0 || Date.now() < deadline); totals.runs++) {
    const own = seed + totals.runs;
    const actions = given ?? actionsFrom(own, events);
    const outcome = await runActions(own, actions);
    for (const what of ['events', 'ops', 'lives'] as const) totals[what] += outcome[what];
    if (outcome.violations.length > 0)
      return report(await failureOf(own, actions, outcome, events, given !== undefined), isJson);
  }
  if (isJson) printJson({ ok: true, seed, ...totals });
  else {
    const last = seed + totals.runs - 1;
    const seeds = totals.runs === 1 ? `seed ${seed}` : `seeds ${seed} to ${last}`;
    print(
      `${seeds}: every law held in ${totals.runs} runs, ${totals.events} events, ${totals.ops} ops, ${totals.lives} lives of the agent\n`,
    );
  }
  return 0;
}

/** The law that is broken first names the failure: a shorter run that breaks another one is another story. */
const lawOf = ({ violations }: Outcome): string => violations[0]?.split(':')[0] ?? '';

async function failureOf(
  seed: number,
  actions: readonly Action[],
  outcome: Outcome,
  events: number,
  isGiven: boolean,
): Promise<Failure> {
  const deadline = Date.now() + SHRINK_MS;
  const law = lawOf(outcome);
  const isSame = async (fewer: readonly Action[]): Promise<boolean> => lawOf(await runActions(seed, fewer)) === law;
  const shortest = await shrink(actions, isSame, () => Date.now() > deadline);
  const { violations } = await runActions(seed, shortest);
  const command = `cli/axoneme simulate --seed ${seed} ${isGiven ? actionsFlag(seed, actions) : `--events ${events}`}`;
  return { seed, violations, actions: shortest, command };
}

function report(failure: Failure, isJson: boolean): number {
  const { seed, violations, actions, command } = failure;
  if (isJson) printJson({ ok: false, ...failure });
  else {
    print(`seed ${seed} breaks a law:\n${violations.map((line) => `  ${line}\n`).join('')}`);
    print(
      `shortest way there found, ${actions.length} actions:\n  cli/axoneme simulate --seed ${seed} ${actionsFlag(seed, actions)}\n`,
    );
    print(`the whole run again:\n  ${command}\n`);
  }
  return 1;
}
