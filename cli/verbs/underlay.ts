/** `axoneme underlay`: faults of the network between the nodes of an embedded cluster that runs. */
import { print, printJson, wantsJson } from '../output/print.ts';
import { formatTable } from '../output/table.ts';
import { FAULTS_EXPECTED, faultsText, parseFaults } from '../up/faults.ts';
import { type ClusterRecord, findCluster } from '../up/registry.ts';
import { type PortState, Underlay } from '../up/underlay.ts';
import { meant, parseArguments, UsageError } from '../usage.ts';

export const summary = 'faults of the network between the nodes of an embedded cluster';
export const usage = `Usage: axoneme underlay show
       axoneme underlay set FAULTS [NODE…]
       axoneme underlay partition NODE…
       axoneme underlay heal [NODE…]

  --name CLUSTER      which embedded cluster; not needed when only one runs
  -o json             machine-readable output

FAULTS is ${FAULTS_EXPECTED}.
They are of packets towards the nodes named, or all nodes; partition cuts nodes off from all others and from the API server,
heal ends that. What was set ends with the cluster. Delay needs a kernel with netem, loss does not.`;

const FLAGS = { name: 'CLUSTER', output: 'json' } as const;
const ACTIONS = ['show', 'set', 'partition', 'heal'];

export async function run(args: string[]): Promise<number> {
  const { flags, positionals } = parseArguments(args, FLAGS);
  const [action = 'show', ...words] = positionals;
  if (!ACTIONS.includes(action))
    throw new UsageError(`unknown action ${action}${meant(action, ACTIONS)}; known are ${ACTIONS.join(', ')}`);
  const isJson = wantsJson(flags.output);
  const text = action === 'set' ? words.shift() : undefined;
  if (action === 'set' && text === undefined) throw new UsageError(`FAULTS are missing, expected ${FAULTS_EXPECTED}`);
  const faults = text === undefined ? undefined : parseFaults(text);
  const cluster = await findCluster(flags.name);
  const nodes = named(cluster, words);
  const underlay = new Underlay(cluster.name);
  if (action === 'partition') {
    if (words.length === 0) throw new UsageError('NODE is missing: which nodes are to be cut off');
    await underlay.partition(nodes, true);
  } else if (action === 'heal') await underlay.partition(nodes, false);
  else if (faults !== undefined) await underlay.set(nodes, faults);
  const ports = await underlay.show();
  if (isJson) printJson(ports);
  else print(portsText(ports));
  return 0;
}

/** Those named, or all. */
function named(cluster: ClusterRecord, words: readonly string[]): string[] {
  const known = cluster.nodes.map(({ name }) => name);
  const stranger = words.find((word) => !known.includes(word));
  if (stranger !== undefined)
    throw new UsageError(
      `cluster ${cluster.name} has no node ${stranger}${meant(stranger, known)}; it has ${known.join(', ')}`,
    );
  return words.length > 0 ? [...words] : known;
}

const portsText = (ports: readonly PortState[]): string =>
  formatTable(
    ['NODE', 'LINK', 'FAULTS'],
    ports.map(({ node, faults, partitioned }) => [node, partitioned ? 'cut off' : 'up', faultsText(faults) || '-']),
  );
