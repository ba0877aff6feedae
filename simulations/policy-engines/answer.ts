/**
 * The verdict on a flow by the resolver's rules and an engine that decides packets: the model of policy maps, or the real programs.
 *
 * - Each side is judged on the node of its endpoint. The engine decides; the resolver's own account only says whose rules matched.
 */
import { enforcement } from '../../policy/resolver.ts';
import type { Direction, Policy, ProtocolName } from '../../policy/rule.ts';
import { verdictOf } from '../../policy/verdict.ts';
import { apiServerAddresses, type Cluster, type Party, partyOf, protocolOf } from '../policy-oracle/cluster.ts';
import type { Flow, Side, Verdict } from '../policy-oracle/flow.ts';
import { NodeView } from './view.ts';

/** One side of a flow, as an engine is asked. */
export interface SideQuestion {
  view: NodeView;
  endpointId: number;
  direction: Direction;
  subject: Party;
  peer: Party;
  protocol: ProtocolName;
  port: number;
  /** Of the two, which the flow is asked in. */
  family: 4 | 6;
}

export interface Engine {
  /** Before questions about a node: its view, and everybody who will be asked about. */
  load(view: NodeView, ends: readonly Party[]): Promise<void>;
  decide(question: SideQuestion): { side: Side; cookie: number };
}

interface SideAnswer {
  side: Side;
  isRedirected: boolean;
  names: readonly string[];
}

const unenforced: SideAnswer = { side: 'not-enforced', isRedirected: false, names: [] };
/** What of `needsL7` means a proxy; the rest (names, authentication) is waited for without one. */
const waits: readonly string[] = ['fqdn', 'toFQDNs', 'authentication'];

interface Asked {
  flow: Flow;
  from: Party;
  to: Party;
  protocol: ProtocolName;
}

export async function answerAll(
  cluster: Cluster,
  policies: readonly Policy[],
  flows: readonly Flow[],
  engine: Engine,
): Promise<Verdict[]> {
  const asked = flows.map((flow): Asked => {
    const [from, to] = [partyOf(cluster, flow.from, flow.to), partyOf(cluster, flow.to, flow.from)];
    const protocol = protocolOf(flow, from, to);
    return { flow, from, to, protocol: protocol === 'ICMPV6' ? 'ICMPv6' : (protocol as ProtocolName) };
  });
  const ends = asked.flatMap(({ from, to }) => [from, to]);
  const sides = asked.map((): { ingress: SideAnswer; egress: SideAnswer } => ({
    ingress: unenforced,
    egress: unenforced,
  }));
  const apiServer = apiServerAddresses(cluster);
  const nodes = new Set(ends.flatMap((party) => (party.kind === 'outside' ? [] : [party.node])));
  for (const node of nodes) {
    const view = new NodeView(cluster, policies, apiServer, node);
    await engine.load(view, ends);
    asked.forEach((one, i) => {
      const mine = sides[i];
      if (!mine) return;
      if (isOf(one.from, node)) mine.egress = sideOf(engine, view, one, 'egress');
      if (isOf(one.to, node)) mine.ingress = sideOf(engine, view, one, 'ingress');
    });
  }
  return asked.map(({ flow }, i) => composed(flow, sides[i] ?? { ingress: unenforced, egress: unenforced }));
}

const isOf = (party: Party, node: string): boolean => party.kind !== 'outside' && party.node === node;

function sideOf(engine: Engine, view: NodeView, { flow, from, to, protocol }: Asked, direction: Direction): SideAnswer {
  const [subject, peer] = direction === 'egress' ? [from, to] : [to, from];
  const endpointId = view.endpointOf(subject);
  if (endpointId === undefined || isSelf(from, to) || passesAlways(protocol, flow.port)) return unenforced;
  if (!enforcement(view.state, endpointId)[direction]) return unenforced;
  const family = familyOf(flow, from, to, protocol);
  const question = { endpointId, direction, protocol, port: flow.port };
  const { side } = engine.decide({ view, subject, peer, family, ...question });
  const { matched } = verdictOf(view.state, { ...question, identity: view.identityOf(peer) });
  const denying = matched.filter(({ deny }) => deny);
  if (side === 'denied' && denying.length > 0)
    return { side, isRedirected: false, names: denying.map(({ policy }) => policy) };
  const needing = matched.filter(({ deny, needsL7 }) => !deny && needsL7.length > 0);
  const names = (
    side === 'allowed' ? matched.filter(({ deny, needsL7 }) => !deny && needsL7.length === 0) : needing
  ).map(({ policy }) => policy);
  return {
    side,
    isRedirected: side === 'denied' && needing.some(({ needsL7 }) => needsL7.every((what) => !waits.includes(what))),
    names,
  };
}

function composed({ id }: Flow, { ingress, egress }: { ingress: SideAnswer; egress: SideAnswer }): Verdict {
  const denials = [egress, ingress].filter(({ side }) => side === 'denied');
  const isRedirected = denials.length > 0 && denials.every((one) => one.isRedirected);
  const verdict = denials.length === 0 ? 'allowed' : isRedirected ? 'redirected-denied' : 'denied';
  const deciding = denials.length === 0 ? [egress, ingress] : denials;
  const matchedBy = [...new Set(deciding.flatMap(({ names }) => names))].sort();
  return { id, verdict, ingress: ingress.side, egress: egress.side, matchedBy };
}

/** What a pod says to itself does not leave it; nor does what a node says to itself. */
function isSelf(from: Party, to: Party): boolean {
  if (from.kind === 'pod' && to.kind === 'pod') return from.pod === to.pod;
  return from.kind === 'node' && to.kind === 'node' && from.node === to.node;
}

/** Packet-too-big and neighbour discovery (RFC 4861) are no matter of policy. */
const passesAlways = (protocol: string, type: number): boolean =>
  protocol === 'ICMPv6' && (type === 2 || (type >= 133 && type <= 137));

/** As the addresses and ICMP say; where both would do, flows of odd id are asked over IPv6. */
function familyOf({ id, from, to }: Flow, source: Party, target: Party, protocol: ProtocolName): 4 | 6 {
  if (protocol === 'ICMP') return 4;
  if (protocol === 'ICMPv6') return 6;
  for (const party of [source, target]) if (party.kind === 'outside') return party.family;
  for (const end of [from, to]) if ('ip' in end) return end.ip.includes(':') ? 6 : 4;
  return Number(id) % 2 === 1 ? 6 : 4;
}
