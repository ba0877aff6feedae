/**
 * `policy what-if`: which flows would change their verdict if these policies were there; nothing is applied.
 *
 * - Asked are all pairs of this node's pods, the node and the world, on the ports that pods name and policies mention, then the
 *   connections of this moment, or recorded flows.
 */
import { readFileSync } from 'node:fs';
import type { Change } from '../../policy/change.ts';
import { type Policy, type PortMatch, type ProtocolName, protocolNumbers } from '../../policy/rule.ts';
import type { DebugClient } from '../output/debug-client.ts';
import { print, printJson } from '../output/print.ts';
import { type Cell, formatTable } from '../output/table.ts';
import { parseFlows } from './flows.ts';
import { readPolicyManifests } from './manifests.ts';
import { readPolicies } from './policies.ts';
import { portText } from './trace.ts';
import { type End, type PairVerdict, World } from './world.ts';

export interface WhatIfOptions {
  /** New policies; one of a name that is there replaces it. */
  manifests: string;
  /** Policies to take away: `kind/namespace/name`. */
  without: string | undefined;
  /** Recorded flows, in the form of `policy verdict`. */
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
  from: End;
  to: End;
  protocol: ProtocolName;
  port: number;
}

const CHANGES_SHOWN = 200;
const transports: readonly ProtocolName[] = ['TCP', 'UDP', 'SCTP'];

export async function runWhatIf(client: DebugClient, options: WhatIfOptions): Promise<number> {
  const { policies, problems } = readNew(options.manifests);
  for (const problem of problems) process.stderr.write(`axoneme policy: ${problem}\n`);
  if (policies.length === 0) throw new Error(`${options.manifests}: holds no valid policy`);
  const before = await World.of(client);
  const removals = options.without ? [{ type: 'policy.removed', key: options.without } as const] : [];
  const changes: Change[] = [...removals, ...policies.map((policy): Change => ({ type: 'policy.upserted', policy }))];
  const after = before.with(changes);
  const pairs = pairsOf(before, policies);
  const recorded = options.flows ? recordedFlows(before, options.flows) : await liveFlows(before, client);
  const changedPairs = changedOf(pairs, before, after);
  const changedFlows = changedOf(recorded, before, after);
  const asked = { pairs: pairs.length, flows: recorded.length };
  if (options.isJson) {
    printJson({ policies: policies.map(({ key }) => key), problems, asked, pairs: changedPairs, flows: changedFlows });
    return 0;
  }
  print(`${policies.map(({ key }) => key).join(', ')} would change\n`);
  print(listed(`of ${asked.pairs} pairs and ports`, changedPairs));
  print(listed(`of ${asked.flows} ${options.flows ? 'recorded flows' : 'connections of now'}`, changedFlows));
  return 0;
}

function readNew(path: string): { policies: Policy[]; problems: string[] } {
  const { objects, notes } = readPolicyManifests(path);
  const { policies, problems } = readPolicies(objects);
  return { policies, problems: [...notes, ...problems] };
}

const portsOfRules = (policies: readonly Policy[]): PortMatch[] =>
  policies.flatMap(({ rules }) =>
    rules.flatMap(({ ingress, egress }) =>
      [...(ingress?.elements ?? []), ...(egress?.elements ?? [])].flatMap(({ ports }) => ports ?? []),
    ),
  );

/** Pods' named ports, the ends of ranges in the new policies, and one port that nobody mentions. */
function portsOf(world: World, policies: readonly Policy[]): { protocol: ProtocolName; port: number }[] {
  const found = new Map<string, { protocol: ProtocolName; port: number }>();
  const note = (protocol: ProtocolName, port: number): unknown => found.set(`${port}/${protocol}`, { protocol, port });
  for (const { namedPorts } of world.facts.inputs.subjects)
    for (const { protocol, port } of namedPorts) note(protocol, port);
  for (const match of portsOfRules(policies)) {
    if (match.kind === 'icmp') note(match.protocol, match.type);
    if (match.kind !== 'range') continue;
    const named = match.protocol === 'ANY' ? transports.slice(0, 2) : [match.protocol];
    for (const protocol of named)
      for (const port of [match.first, match.last]) if (port > 0 && port < 65_535) note(protocol, port);
  }
  note('TCP', 65_535);
  note('UDP', 65_535);
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

function pairsOf(world: World, policies: readonly Policy[]): Question[] {
  const pods = world.facts.pods.map(({ pod }) => world.end('src', pod));
  const others = ['host', 'world-ipv4', 'world-ipv6', ...networksOf(policies)];
  const ends = [...pods, ...others.map((name) => world.end('src', name))];
  const ports = portsOf(world, policies);
  return ends.flatMap((from) =>
    ends
      .filter((to) => to !== from && (from.endpointId !== undefined || to.endpointId !== undefined))
      .flatMap((to) => ports.map((port): Question => ({ from, to, ...port }))),
  );
}

function changedOf(questions: readonly Question[], before: World, after: World): ChangedFlow[] {
  return questions.flatMap(({ from, to, protocol, port }) => {
    const was = before.judge(from, to, protocol, port);
    // What an address is may change with the policies: they name CIDRs.
    const is = after.judge(again(after, from), again(after, to), protocol, port);
    if (was.isAllowed === is.isAllowed) return [];
    return [
      { from: from.name, to: to.name, protocol, port, before: wordOf(was), after: wordOf(is), reason: reasonOf(is) },
    ];
  });
}

const again = (world: World, end: End): End => (/^[\d.]+$|:/.test(end.name) ? world.address(end.name) : end);
const wordOf = ({ isAllowed }: PairVerdict): 'allowed' | 'denied' => (isAllowed ? 'allowed' : 'denied');
const reasonOf = ({ egress, ingress }: PairVerdict): string => {
  const deciding = [egress, ingress].filter((one) => one?.verdict === 'denied');
  return (deciding.length > 0 ? deciding : [egress, ingress]).flatMap((one) => one?.reason ?? []).join('; ');
};

function recordedFlows(world: World, path: string): Question[] {
  return parseFlows(readFileSync(path, 'utf8'), path).map(({ from, to, protocol, port }) => {
    const end = (one: typeof from): End =>
      'pod' in one
        ? world.end('flows', one.pod)
        : 'ip' in one
          ? world.address(one.ip)
          : world.end('flows', one.entity === 'world' ? 'world-ipv4' : one.entity);
    return { from: end(from), to: end(to), protocol: protocol as ProtocolName, port };
  });
}

interface Connection {
  key: { a: string; b: string; portA: number; portB: number; proto: number };
  value: { flags: number };
}
const CT_ORIGIN_B = 1;

/** Conntrack knows them; which end began is in its flags. */
async function liveFlows(world: World, client: DebugClient): Promise<Question[]> {
  const { entries } = await client.get<{ entries: Connection[] }>('/v1/bpf/ct');
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
  if (changed.length === 0) return `nothing ${title}\n`;
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
  return `${changed.length} ${title}:\n${formatTable(['FROM', 'TO', 'PORT', 'VERDICT', 'WHY'], rows)}${more}`;
}
