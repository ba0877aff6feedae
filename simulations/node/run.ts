/** One run of a simulated node: actions, then peace, then the laws; then no pods, services and policies, and nothing may be left of them. */
import { canonical } from '../../state/tables.ts';
import type { SimulatedKernel } from '../kernel.ts';
import type { Action } from './actions.ts';
import { checkDeterministic, checkSettled } from './laws.ts';
import { World } from './world.ts';

export interface Outcome {
  violations: string[];
  /** Entries of all logs. */
  events: number;
  ops: number;
  /** Lives of the agent. */
  lives: number;
}

export async function runActions(seed: number, actions: readonly Action[]): Promise<Outcome> {
  const world = new World(seed);
  try {
    await world.start();
    if (!(await world.settle())) return outcome(world, [`convergent: an empty node is never quiet: ${world.unrest()}`]);
    const empty = contents(world.kernel);
    for (const action of actions) await world.act(action);
    return outcome(world, await judge(world, empty));
  } finally {
    world.close();
  }
}

async function judge(world: World, empty: string): Promise<string[]> {
  if (!(await world.settle())) return [`convergent: never quiet: ${world.unrest()}`];
  const found = await checkSettled(world);
  if (found.length > 0) return found;
  world.deleteAll();
  if (!(await world.settle())) return [`convergent: never quiet without pods: ${world.unrest()}`];
  const left = await checkSettled(world);
  const now = contents(world.kernel);
  if (now !== empty)
    left.push(
      `leaked: after all pods, services and policies are gone the kernel has\n${now}\nat the start it had\n${empty}`,
    );
  return [...left, ...checkDeterministic(world)];
}

function outcome(world: World, found: string[]): Outcome {
  return {
    violations: [...new Set([...world.violations, ...found])],
    events: world.agents.reduce((sum, { log }) => sum + log.length, 0),
    ops: world.ops,
    lives: world.agents.length,
  };
}

/** Host addresses, the BPF object and this node's key may have changed on the way. */
function contents(kernel: SimulatedKernel): string {
  return [...kernel.rows()]
    .filter(({ table, key }) => table !== 'bpf.netdevs' && !/^(192\.0\.2|2001:db8)/.test(key))
    .map(({ table, key, value }) => `${table} ${key} ${canonical(value).replace(/"(build|publicKey)":"[^"]*"/, '')}`)
    .sort()
    .join('\n');
}
