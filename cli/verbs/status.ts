/** `axoneme status`: the node at a glance. */
import type { ExporterStats } from '../../observe/export/exporter.ts';
import type { NodesView } from '../../observe/remote-nodes.ts';
import type { StatusView } from '../../observe/status.ts';
import { noPositionals } from '../output/arguments.ts';
import { type Colours, coloursFor } from '../output/colours.ts';
import { clientFor, targetFlags, targetUsage } from '../output/debug-target.ts';
import { duration, print, printJson, wantsJson } from '../output/print.ts';
import { clusterHealth, nodesText } from '../output/remote-nodes.ts';
import { type Cell, formatFacts } from '../output/table.ts';
import { parseArguments } from '../usage.ts';

export const summary = 'the state of a node';
export const usage = `axoneme status [--socket PATH | --name CLUSTER --node NODE] [--verbose] [-o json]
${targetUsage}
  --verbose         other nodes too, and what probes of them said`;

/** Maps below this are not listed. */
const PRESSURE_SHOWN = 0.1;

export async function run(args: string[]): Promise<number> {
  const { flags, positionals } = parseArguments(args, { ...targetFlags, verbose: true });
  noPositionals(positionals);
  const isJson = wantsJson(flags.output);
  const client = await clientFor(flags);
  const status = await client.get<StatusView>('/v1/status');
  const nodes = await client.get<NodesView>('/v1/health/nodes');
  if (isJson) printJson(flags.verbose ? { ...status, nodes: nodes.nodes } : status);
  else {
    const colours = coloursFor(process.stdout);
    print(statusText(status, colours, clusterHealth(nodes, colours)));
    if (flags.verbose) print(`\n${nodesText(nodes, colours)}`);
  }
  return status.health.status === 'ok' ? 0 : 1;
}

export function statusText(status: StatusView, colours: Colours, clusterHealth = ''): string {
  const { sources, machines, endpoints, engine, families, masquerading, missingFeatures } = status;
  const unsynced = sources.filter(({ synced }) => !synced).map(({ name }) => name);
  const isKubeSynced = !unsynced.some((name) => name.startsWith('kube/'));
  const states = Object.entries(endpoints.byState).map(([state, count]) => `${count} ${state}`);
  const facts: [string, Cell][] = [
    ['Kubernetes', isKubeSynced ? colours.green('Ok') : colours.yellow('Starting')],
    ['Axoneme', healthText(status, colours)],
    [
      'Node',
      `${status.node}${status.cluster ? `, cluster ${status.cluster}` : ''}, kernel ${status.kernel}, up ${duration(status.uptimeSeconds * 1000)}`,
    ],
    [
      'Sources',
      `${sources.length - unsynced.length}/${sources.length} synced${unsynced.length > 0 ? `, waiting for ${unsynced.join(', ')}` : ''}`,
    ],
    [
      'IPAM',
      status.ipam
        .map(({ family, cidr, used, total }) => `${family}: ${used}/${total} allocated from ${cidr}`)
        .join(', ') || 'no pod CIDR yet',
    ],
    ['Routing', status.routing],
    ['Attach Mode', status.attachMode === 'tcx' ? 'TCX' : 'Legacy TC'],
    ['Device Mode', status.deviceMode],
    [
      'Masquerading',
      masquerading.enabled ? `BPF   [${masquerading.devices.join(', ')}]   ${familyText(families)}` : 'Disabled',
    ],
    ['Services', servicesText(status)],
    ['Endpoints', `${endpoints.total}${states.length > 0 ? ` (${states.join(', ')})` : ''}`],
    ['Identities', String(status.identities)],
    ['Controller Status', `${machines.total - machines.failing.length}/${machines.total} healthy`],
    ...machines.failing.map(({ what, reason }): [string, Cell] => ['', colours.red(`${what}: ${reason}`)]),
    ...(clusterHealth ? [['Cluster health', clusterHealth] as [string, Cell]] : []),
    ['Engine', engineText(status)],
    [
      'Ops',
      engine.ops
        .map(({ table, ok, failed }) => `${table} ${ok}${failed > 0 ? colours.red(` (${failed} failed)`) : ''}`)
        .join(', ') || 'none yet',
    ],
    ['Drift', `${engine.driftRepaired} rows repaired`],
    ['Map pressure', pressureText(status)],
    ['Hubble', hubbleText(status)],
    ...(status.exports ?? []).map((one): [string, string] => [`Export ${one.name}`, exportText(one)]),
    ['Missing features', missingFeatures.length > 0 ? missingFeatures : 'none'],
    ['Digest', `sha256:${status.digest.total} at event ${engine.seq}`],
  ];
  return formatFacts(facts).replaceAll(/^:/gm, ' ');
}

/** As much of kube-proxy as is replaced. */
function servicesText({ services: { mode, on, off, cgroup, sockHooks } }: StatusView): string {
  if (mode === 'off') return 'Disabled';
  const sockets = cgroup ? `, sockets at ${sockHooks} hooks of ${cgroup}` : '';
  return `${mode === 'strict' ? 'Strict' : 'Partial'}   [${on.join(', ')}]${off.length > 0 ? `   off: ${off.join(', ')}` : ''}${sockets}`;
}

function healthText({ health, version, build }: StatusView, colours: Colours): Cell {
  const names = `${version} (datapath ${build})`;
  switch (health.status) {
    case 'ok':
      return `${colours.green('Ok')}   ${names}`;
    case 'starting':
      return `${colours.yellow('Starting')}   ${names}`;
    case 'degraded':
      return `${colours.red('Degraded')}   ${names}`;
  }
}

const familyText = ({ ipv4, ipv6 }: StatusView['families']): string =>
  `IPv4: ${ipv4 ? 'Enabled' : 'Disabled'}, IPv6: ${ipv6 ? 'Enabled' : 'Disabled'}`;

function engineText({ engine }: StatusView): string {
  const { events, transitions, machines, rows, pending, inFlight } = engine;
  return `${events} events, ${transitions} transitions, ${machines} machines, ${rows} rows, ${pending} unsettled, ${inFlight} ops under way`;
}

function exportText({ sent, dropped, queued, error }: ExporterStats): string {
  const trouble = error ? `, fails: ${error}` : '';
  return `${sent} flows sent, ${dropped} dropped, ${queued} wait${trouble}`;
}

function hubbleText({ hubble }: StatusView): string {
  if (!hubble) return 'Disabled';
  const { flows, capacity, flowsPerSecond, socket, listen, monitor, lost } = hubble;
  const fill = `Current/Max Flows: ${flows}/${capacity} (${((100 * flows) / capacity).toFixed(2)}%)`;
  return `Ok   ${fill}, Flows/s: ${flowsPerSecond.toFixed(2)}   unix://${socket}${listen ? `, ${listen}` : ''}${
    monitor
      ? `   aggregation ${monitor.aggregation}, every ${monitor.intervalS} s, flags ${monitor.flags.join(' ')}`
      : ''
  }${lostText(lost)}`;
}

/** Nothing where nothing was lost. */
function lostText(lost: NonNullable<StatusView['hubble']>['lost']): string {
  const parts: [number | undefined, string][] = [
    [lost?.ringBuffer, 'by the ring buffer'],
    [lost?.overtaken, 'by slow readers'],
    [lost?.malformed, 'not understood'],
  ];
  const shown = parts.filter(([count]) => count).map(([count, how]) => `${count} ${how}`);
  return shown.length > 0 ? `   Lost: ${shown.join(', ')}` : '';
}

function pressureText({ mapPressure }: StatusView): string {
  const shown = mapPressure.filter(({ ratio }) => ratio >= PRESSURE_SHOWN);
  if (mapPressure.length === 0) return 'no maps here';
  const percent = (ratio: number): string => `${Math.round(ratio * 100)}%`;
  return (
    shown.map(({ map, ratio, entries, capacity }) => `${map} ${percent(ratio)} (${entries}/${capacity})`).join(', ') ||
    `every map below ${percent(PRESSURE_SHOWN)}`
  );
}
