/** Other nodes as a table for people. */
import type { NodesView, ProbeView } from '../../observe/remote-nodes.ts';
import type { Colours } from './colours.ts';
import { formatTable } from './table.ts';

/** Nodes that are named in one line. */
const SILENT_MAX = 3;
const columns = [
  ['node', 'ICMP'],
  ['node', 'TCP'],
  ['endpoint', 'ICMP'],
  ['endpoint', 'TCP'],
] as const;

/** `2/3 reachable; node-3: node TCP, endpoint TCP`, this node among them; '' where nobody is asked. */
export function clusterHealth({ nodes }: NodesView, { green, red }: Colours): string {
  if (nodes.every(({ probes }) => probes.length === 0)) return '';
  const silent = nodes.flatMap(({ name, probes }) => {
    const mute = columns.filter(([target, protocol]) => worst(probes, target, protocol)?.status === 'unreachable');
    return mute.length > 0 ? [`${name}: ${mute.map((column) => column.join(' ')).join(', ')}`] : [];
  });
  const all = nodes.length + 1;
  const text = `${all - silent.length}/${all} reachable`;
  if (silent.length === 0) return green(text);
  const [more, shown] = [silent.length - SILENT_MAX, silent.slice(0, SILENT_MAX)];
  return `${red(text)}; no answer from ${shown.join('; ')}${more > 0 ? ` and ${more} more` : ''}`;
}

export function nodesText({ nodes }: NodesView, { green, red, yellow }: Colours): string {
  if (nodes.length === 0) return 'no other nodes\n';
  const stateText = (state: string): string =>
    state === 'reachable' ? green(state) : state === 'unreachable' || state === 'failing' ? red(state) : yellow(state);
  const probeText = (probe: ProbeView | undefined): string => {
    if (!probe) return '-';
    if (probe.status === 'reachable') return `${green('ok')} ${(probe.latencyMs ?? 0).toFixed(2)} ms`;
    return probe.status === 'unknown'
      ? yellow('not asked yet')
      : red(`${probe.address}: ${probe.error ?? 'no answer'}`);
  };
  const rows = nodes.map(({ name, state, address, probes }) => [
    ...[name, stateText(state), address || '-'],
    ...columns.map(([target, protocol]) => probeText(worst(probes, target, protocol))),
  ]);
  const table = formatTable(
    ['NODE', 'STATE', 'ADDRESS', 'NODE ICMP', 'NODE HTTP', 'ENDPOINT ICMP', 'ENDPOINT HTTP'],
    rows,
  );
  const problems = nodes.flatMap(({ name, problems: its }) => its.map((problem) => `  ${name}: ${yellow(problem)}\n`));
  return problems.length > 0 ? `${table}\nproblems\n${problems.join('')}` : table;
}

/** Of both families the one that is in trouble. */
function worst(
  probes: readonly ProbeView[],
  target: ProbeView['target'],
  protocol: ProbeView['protocol'],
): ProbeView | undefined {
  const ours = probes.filter((probe) => probe.target === target && probe.protocol === protocol);
  return (
    ours.find(({ status }) => status === 'unreachable') ?? ours.find(({ status }) => status === 'unknown') ?? ours[0]
  );
}
