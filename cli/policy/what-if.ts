/**
 * `policy what-if`: which flows would change their verdict if these policies were there; nothing is applied.
 *
 * - Asked are all pairs of the nodes' pods, the nodes and the world, on the ports that pods name and policies mention, then the
 *   connections of this moment, or recorded flows.
 */
import type { Change, CidrGroup } from '../../policy/change.ts';
import { parseCidrGroup } from '../../policy/parse.ts';
import { type Policy, type PortMatch, type ProtocolName, protocolNumbers } from '../../policy/rule.ts';
import { canonical } from '../../state/tables.ts';
import type { NodeClient } from '../output/debug-target.ts';
import { print, printJson } from '../output/print.ts';
import { type Cell, formatTable } from '../output/table.ts';
import { meant } from '../usage.ts';
import { type ClusterEnd, ClusterWorld, isLocal, type PairVerdict } from './cluster-world.ts';
import { readPolicyManifests } from './manifests.ts';
import { readPolicies } from './policies.ts';
import { readRecordedFlows } from './recorded-flows.ts';
import { portText } from './trace.ts';

export interface WhatIfOptions {
  /** New policies; one of a name that is there replaces it. Undefined: only what is taken away. */
  manifests: string | undefined;
  /** Policies to take away: `kind/namespace/name`. */
  without: string | undefined;
  /** Recorded flows, in the form of `policy verdict` or of `observe -o json`. */
  flows: string | undefined;
  isJson: boolean;
}

export interface ChangedFlow {
  from: string;
  to: string;
  protocol: ProtocolName;
  port: number;
  before: 'allowed' | 'denied';
  after: 'allowed' | 'denied';
  /** Why, afterwards. */
  reason: string;
}

interface Question {
  from: ClusterEnd;
  to: ClusterEnd;
  protocol: ProtocolName;
  port: number;
}

const CHANGES_SHOWN = 200;
const pings = { ICMP: 8, ICMPv6: 128 } as const;
const transports: readonly ProtocolName[] = ['TCP', 'UDP', 'SCTP'];

export async function runWhatIf(clients: readonly NodeClient[], options: WhatIfOptions): Promise<number> {
  const { policies, groups, problems } = readNew(options.manifests);
  for (const problem of problems) process.stderr.write(`axoneme policy: ${problem}\n`);
  const before = await ClusterWorld.of(clients);
  const removed = options.without === undefined ? [] : [there(before, options.without)];
  if (policies.length + groups.length + removed.length === 0)
    throw new Error(`${options.manifests}: holds no valid policy`);
  const after = before.with([
    ...removed.map((key): Change => ({ type: 'policy.removed', key })),
    ...groups.map((group): Change => ({ type: 'cidr-group.upserted', group })),
    ...policies.map((policy): Change => ({ type: 'policy.upserted', policy })),
  ]);
  const keys = new Set([...removed, ...policies.map(({ key }) => key)]);
  const pairs = pairsOf(before, [...policies, ...before.policies().filter(({ key }) => keys.has(key))]);
  const recorded = options.flows ? readRecordedFlows(options.flows, before) : await liveFlows(before, clients);
  const changedPairs = changedOf(pairs, before, after);
  const changedFlows = changedOf(recorded, before, after);
  const asked = { pairs: pairs.length, flows: recorded.length };
  if (options.isJson) {
    printJson({ policies: [...keys], problems, asked, pairs: changedPairs, flows: changedFlows });
    return 0;
  }
  const words = [
    ...policies.map(({ key }) => key),
    ...groups.map(({ name }) => `CiliumCIDRGroup//${name}`),
    ...removed.map((key) => `without ${key}`),
  ];
  print(`${words.join(', ')}:\n`);
  print(listed(`of ${asked.pairs} pairs and ports`, changedPairs));
  print(listed(`of ${asked.flows} ${options.flows ? 'recorded flows' : 'connections of now'}`, changedFlows));
  return 0;
}

/** The key of a policy that is to go. */
function there(world: ClusterWorld, key: string): string {
  const keys = world.policies().map((policy) => policy.key);
  if (keys.includes(key)) return key;
  throw new Error(`no policy is named ${key}${meant(key, keys) || ';'} there are ${keys.join(', ') || 'none'}`);
}

function readNew(path: string | undefined): { policies: Policy[]; groups: CidrGroup[]; problems: string[] } {
  if (path === undefined) return { policies: [], groups: [], problems: [] };
  const { objects, notes } = readPolicyManifests(path);
  const { policies, problems } = readPolicies(objects);
  const groups = objects
    .filter(({ kind }) => kind === 'CiliumCIDRGroup')
    .flatMap((object) => parseCidrGroup(object).group ?? []);
  return { policies, groups, problems: [...notes, ...problems] };
}

const portsOfRules = (policies: readonly Policy[]): PortMatch[] =>
  policies.flatMap(({ rules }) =>
    rules.flatMap(({ ingress, egress }) =>
      [...(ingress?.elements ?? []), ...(egress?.elements ?? [])].flatMap(({ ports }) => ports ?? []),
    ),
  );

/** Pods' named ports, the ends of ranges in the policies that come or go, one port that nobody mentions, and ping. */
function portsOf(world: ClusterWorld, policies: readonly Policy[]): { protocol: ProtocolName; port: number }[] {
  const found = new Map<string, { protocol: ProtocolName; port: number }>();
  const note = (protocol: ProtocolName, port: number): unknown => found.set(`${port}/${protocol}`, { protocol, port });
  for (const { protocol, port } of world.namedPorts()) note(protocol, port);
  for (const match of portsOfRules(policies)) {
    if (match.kind === 'icmp') note(match.protocol, match.type);
    if (match.kind !== 'range') continue;
    const named = match.protocol === 'ANY' ? transports.slice(0, 2) : [match.protocol];
    for (const protocol of named)
      for (const port of [match.first, match.last]) if (port > 0 && port < 65_535) note(protocol, port);
  }
  note('TCP', 65_535);
  note('UDP', 65_535);
  for (const [protocol, type] of Object.entries(pings)) note(protocol as keyof typeof pings, type);
  return [...found.values()];
}

/** The first address of each CIDR that the new policies name. */
const networksOf = (policies: readonly Policy[]): string[] => {
  const peers = policies.flatMap(({ rules }) =>
    rules.flatMap(({ ingress, egress }) =>
      [...(ingress?.elements ?? []), ...(egress?.elements ?? [])].flatMap((element) => element.peers ?? []),
    ),
  );
  const cidrs = peers.flatMap((peer) => (peer.kind === 'cidr' ? [peer.cidr, ...peer.except] : []));
  return [...new Set(cidrs.filter((cidr) => !cidr.endsWith('/0')).map((cidr) => cidr.split('/')[0] ?? ''))];
};

function pairsOf(world: ClusterWorld, policies: readonly Policy[]): Question[] {
  const pods = world.pods().map((pod) => world.end('src', pod));
  const others = [
    'host',
    ...(world.hasOtherNodes() ? ['remote-node'] : []),
    'world-ipv4',
    'world-ipv6',
    ...networksOf(policies),
  ];
  const ends = [...pods, ...others.map((name) => world.end('src', name))];
  const ports = portsOf(world, policies);
  return ends.flatMap((from) =>
    ends
      .filter((to) => to !== from && (isLocal(from) || isLocal(to)))
      .flatMap((to) =>
        ports
          .filter(({ protocol }) => speaks(from, protocol) && speaks(to, protocol))
          .map((port): Question => ({ from, to, ...port })),
      ),
  );
}

/** Addresses have one family, pods both. */
function speaks({ name }: ClusterEnd, protocol: ProtocolName): boolean {
  if (!protocol.startsWith('ICMP')) return true;
  const isV6 = name === 'world-ipv6' || name.includes(':');
  const isV4 = name === 'world-ipv4' || /^[\d.]+$/.test(name);
  return protocol === 'ICMP' ? !isV6 : !isV4;
}

function changedOf(questions: readonly Question[], before: ClusterWorld, after: ClusterWorld): ChangedFlow[] {
  return questions.flatMap(({ from, to, protocol, port }) => {
    if (!after.isTouched(from) && !after.isTouched(to)) return [];
    const was = before.judge(from, to, protocol, port);
    // What an address is may change with the policies: they name CIDRs.
    const is = after.judge(again(after, from), again(after, to), protocol, port);
    if (was.isAllowed === is.isAllowed) return [];
    return [
      { from: from.name, to: to.name, protocol, port, before: wordOf(was), after: wordOf(is), reason: reasonOf(is) },
    ];
  });
}

const again = (world: ClusterWorld, end: ClusterEnd): ClusterEnd =>
  /^[\d.]+$|:/.test(end.name) ? world.address(end.name) : end;
const wordOf = ({ isAllowed }: PairVerdict): 'allowed' | 'denied' => (isAllowed ? 'allowed' : 'denied');
const reasonOf = ({ egress, ingress }: PairVerdict): string => {
  const deciding = [egress, ingress].filter((one) => one?.verdict === 'denied');
  return (deciding.length > 0 ? deciding : [egress, ingress]).flatMap((one) => one?.reason ?? []).join('; ');
};

interface Connection {
  key: { a: string; b: string; portA: number; portB: number; proto: number };
  value: { flags: number };
}
const CT_ORIGIN_B = 1;

/** Conntrack knows them; which end began is in its flags. */
async function liveFlows(world: ClusterWorld, clients: readonly NodeClient[]): Promise<Question[]> {
  const tables = clients.map(({ client }) => client.get<{ entries: Connection[] }>('/v1/bpf/ct'));
  const all = (await Promise.all(tables)).flatMap(({ entries }) => entries);
  // Both nodes of a connection know it.
  const entries = [...new Map(all.map((one) => [canonical(one.key), one])).values()];
  const names = new Map(
    Object.entries(protocolNumbers).map(([name, number]) => [number as number, name as ProtocolName]),
  );
  return entries.flatMap(({ key: { a, b, portA, portB, proto }, value: { flags } }) => {
    const isFromB = (flags & CT_ORIGIN_B) !== 0;
    const protocol = names.get(proto);
    if (protocol === undefined || !transports.includes(protocol)) return [];
    const [from, to, port] = isFromB ? [b, a, portA] : [a, b, portB];
    return [{ from: world.address(from), to: world.address(to), protocol, port }];
  });
}

function listed(title: string, changed: readonly ChangedFlow[]): string {
  if (changed.length === 0) return `none ${title} would change\n`;
  const rows = changed
    .slice(0, CHANGES_SHOWN)
    .map(({ from, to, protocol, port, before, after, reason }): Cell[] => [
      from,
      to,
      portText(protocol, port),
      `${before} → ${after}`,
      reason,
    ]);
  const more = changed.length > CHANGES_SHOWN ? `… and ${changed.length - CHANGES_SHOWN} more; -o json has all\n` : '';
  return `${changed.length} ${title} would change:\n${formatTable(['FROM', 'TO', 'PORT', 'VERDICT', 'WHY'], rows)}${more}`;
}
