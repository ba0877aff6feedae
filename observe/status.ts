/** The state of the node in one object: what `status` prints and `health` judges. */

import type { AgentFacts, ServiceFacts } from '../cluster/events.ts';
import type { MapPressure } from '../datapath/metrics.ts';
import { parseCidr, sizeOf } from '../machines/cidr.ts';
import { poolKey } from '../machines/ip-pool.ts';
import { nodeKey } from '../machines/node.ts';
import type { ServiceContext } from '../machines/service-context.ts';
import type { EngineStats, Inspector, MachineView } from '../reconcilers/inspect.ts';
import { type Digest, digestOf } from '../state/digest.ts';
import { tableNames, tables } from '../state/tables.ts';
import type { DebugSources, HubbleView } from './debug/sources.ts';
import { identitiesOf } from './endpoints.ts';
import type { ExporterStats } from './export/exporter.ts';
import type { LostCounts } from './hubble/hubble.ts';

export interface PoolView {
  family: 'IPv4' | 'IPv6';
  cidr: string;
  used: number;
  total: number;
}

export interface Problem {
  /** Machine or row, in its own name. */
  what: string;
  reason: string;
}

export interface StatusView {
  node: string;
  cluster: string;
  version: string;
  build: string;
  kernel: string;
  startedAt: string;
  uptimeSeconds: number;
  health: HealthView;
  sources: { name: string; synced: boolean }[];
  routing: string;
  deviceMode: 'veth' | 'netkit';
  attachMode: 'tcx' | 'clsact';
  masquerading: { enabled: boolean; devices: string[] };
  families: { ipv4: boolean; ipv6: boolean };
  services: ServicesView;
  ipam: PoolView[];
  endpoints: { total: number; byState: Record<string, number> };
  identities: number;
  machines: { total: number; failing: Problem[] };
  engine: EngineStats;
  mapPressure: MapPressure[];
  missingFeatures: readonly string[];
  /** Where flows are to be had; absent without a datapath. */
  hubble?: {
    socket: string;
    listen: string;
    flows: number;
    capacity: number;
    seen: number;
    flowsPerSecond: number;
    /** Of which packets the programs tell. */
    monitor?: NonNullable<HubbleView['monitor']>;
    /** What never became a flow, since the start, and what readers were too slow for. */
    lost?: LostCounts;
  };
  /** Where flows go beside the ring. */
  exports?: ExporterStats[];
  /** Of the actual rows after the event `engine.seq`. */
  digest: Digest;
}

/** What of kube-proxy's work this node does. */
export interface ServicesView {
  mode: ServiceFacts['mode'];
  on: string[];
  off: string[];
  /** Where sockets are translated, and at how many of its hooks programs are; empty: nowhere. */
  cgroup: string;
  sockHooks: number;
}

export interface HealthView {
  status: 'ok' | 'starting' | 'degraded';
  reasons: string[];
}

/** As Cilium says it. */
function networkText(facts: AgentFacts | undefined): string {
  const mode = facts?.routing?.mode ?? 'native';
  return mode === 'native' ? 'Native' : `Tunnel [${mode}]`;
}

/** Addresses of a pod CIDR that no pod gets: network, gateway, broadcast. */
const ADDRESSES_KEPT = 3;

export function statusOf({ inspector, agent, datapath, hubble, exports }: DebugSources, now: number): StatusView {
  const machines = inspector.machines();
  const facts = (inspector.machine(nodeKey)?.context as { agent?: AgentFacts } | undefined)?.agent;
  const sources = sourcesOf(inspector);
  const failing = [...failuresOf(machines), ...contestsOf(inspector), ...lostOf(machines)];
  const byState = countBy(machines.filter(({ kind }) => kind === 'endpoint'));
  return {
    node: agent.nodeName,
    cluster: facts?.clusterName ?? '',
    version: agent.version,
    build: agent.build,
    kernel: agent.features.kernel,
    startedAt: new Date(agent.startedAt).toISOString(),
    uptimeSeconds: Math.round((now - agent.startedAt) / 1000),
    health: healthOf(sources, failing, facts === undefined),
    sources,
    routing: `Network: ${networkText(facts)}, Host: BPF`,
    deviceMode: facts?.podDevice ?? 'veth',
    attachMode: agent.features.has['tcx'] ? 'tcx' : 'clsact',
    masquerading: {
      enabled: facts?.masquerade ?? false,
      devices: inspector
        .rows('bpf.netdevs')
        .map(({ key }) => key)
        // Devices to other nodes are ours: what leaves through them keeps its address.
        .filter((device) => !device.startsWith('cilium_'))
        .sort(),
    },
    families: { ipv4: facts?.ipv4 ?? false, ipv6: facts?.ipv6 ?? false },
    services: servicesOf(facts?.services, inspector),
    ipam: poolsOf(inspector),
    endpoints: { total: Object.values(byState).reduce((sum, count) => sum + count, 0), byState },
    identities: identitiesOf(inspector).length,
    machines: { total: machines.length, failing },
    engine: inspector.stats(),
    mapPressure: datapath?.mapPressure() ?? [],
    missingFeatures: agent.features.missing,
    ...(hubble && { hubble: hubbleOf(hubble) }),
    ...(exports && { exports: exports() }),
    digest: digestOfRows(inspector),
  };
}

const serviceParts = ['socketLB', 'nodePort', 'externalIPs', 'hostPort', 'healthPorts'] as const;

function servicesOf(facts: ServiceFacts | undefined, inspector: Inspector): ServicesView {
  const attached = inspector.rows('cgroup.attachments').filter(({ actual }) => actual !== undefined);
  return {
    mode: facts?.mode ?? 'off',
    on: serviceParts.filter((part) => facts?.[part]),
    off: serviceParts.filter((part) => !facts?.[part]),
    cgroup: facts?.socketLB ? facts.cgroupRoot : '',
    sockHooks: attached.length,
  };
}

function hubbleOf({ socket, listen, status, monitor, lost }: HubbleView): NonNullable<StatusView['hubble']> {
  const { num_flows, max_flows, seen_flows, flows_rate } = status();
  return {
    socket,
    listen,
    flows: num_flows,
    capacity: max_flows,
    seen: seen_flows,
    flowsPerSecond: flows_rate,
    ...(monitor && { monitor }),
    ...(lost && { lost: lost() }),
  };
}

export function healthOfNode({ inspector }: DebugSources): HealthView {
  const failing = failuresOf(inspector.machines());
  return healthOf(sourcesOf(inspector), failing, inspector.machine(nodeKey) === undefined);
}

function healthOf(sources: StatusView['sources'], failing: Problem[], isUnborn: boolean): HealthView {
  const missing = sources
    .filter(({ synced }) => !synced)
    .map(({ name }) => `source ${name} has not finished its first list`);
  if (isUnborn || missing.length > 0)
    return { status: 'starting', reasons: isUnborn ? ['the agent has not started', ...missing] : missing };
  const reasons = failing.map(({ what, reason }) => `${what}: ${reason}`);
  return { status: reasons.length > 0 ? 'degraded' : 'ok', reasons };
}

/** Those that tables wait for, and any other that has synced. */
function sourcesOf(inspector: Inspector): StatusView['sources'] {
  const { sources: synced } = inspector.stats();
  const waitedFor = tableNames.flatMap((table) => tables[table].sources);
  return [...new Set([...waitedFor, ...synced])].sort().map((name) => ({ name, synced: synced.includes(name) }));
}

/** Rows of which two machines want different values: one address of two pods, for example. */
function contestsOf(inspector: Inspector): Problem[] {
  return tableNames.flatMap((table) =>
    inspector
      .rows(table)
      .filter((row) => row.contested !== undefined)
      .map(({ key, owners, contested }) => ({
        what: `row ${table} ${key}`,
        reason: `${owners[0]} decides its value, ${contested?.join(', ')} wanted another`,
      })),
  );
}

/** Services of whose addresses and ports another has some. */
function lostOf(machines: readonly MachineView[]): Problem[] {
  return machines.flatMap(({ key, state, context }): Problem[] => {
    if (state !== 'contested') return [];
    const lost = Object.entries((context as Pick<ServiceContext, 'lost'>).lost);
    return [
      { what: key, reason: lost.map(([frontend, { owner }]) => `${frontend} is served for ${owner}`).join(', ') },
    ];
  });
}

/** Machines that wait for another try, and rows without such a machine. */
function failuresOf(machines: readonly MachineView[]): Problem[] {
  return machines.flatMap(({ key, state, context, rows }): Problem[] => {
    const backoff = (context as { backoff?: { attempt: number; reason: string } }).backoff;
    if (backoff && backoff.attempt > 0)
      return [{ what: key, reason: `${state}, attempt ${backoff.attempt}: ${backoff.reason}` }];
    return rows
      .filter((row) => row.state === 'failed')
      .map((row) => ({ what: key, reason: `row ${row.table} ${row.key} failed` }));
  });
}

/** Of both families an endpoint has the address at the same offset: the smaller range decides how many there can be. */
function poolsOf(inspector: Inspector): PoolView[] {
  const pool = inspector.machine(poolKey)?.context as
    | { cidr4: string; cidr6: string; held: Record<number, string> }
    | undefined;
  if (!pool) return [];
  const families = [
    { family: 'IPv4' as const, cidr: pool.cidr4 },
    { family: 'IPv6' as const, cidr: pool.cidr6 },
  ].filter(({ cidr }) => cidr !== '');
  const sizes = families
    .map(({ cidr }) => parseCidr(cidr))
    .filter((cidr) => cidr !== undefined)
    .map(sizeOf);
  const total = Math.max(0, Math.min(...sizes) - ADDRESSES_KEPT);
  const used = Object.keys(pool.held).length;
  return families.map(({ family, cidr }) => ({ family, cidr, used, total }));
}

function countBy(machines: readonly MachineView[]): Record<string, number> {
  const counts: Record<string, number> = {};
  for (const { state } of machines) counts[state] = (counts[state] ?? 0) + 1;
  return counts;
}

function digestOfRows(inspector: Inspector): Digest {
  return digestOf((table) =>
    inspector.rows(table).flatMap(({ key, actual }) => (actual === undefined ? [] : [[key, actual] as const])),
  );
}
