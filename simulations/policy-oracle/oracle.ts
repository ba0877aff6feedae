/**
 * The referee of policy: walks every rule of every object for one flow and says what becomes of it, slowly and plainly.
 *
 * - Written from reference/policy-semantics.md alone; it shares no code with `policy/`, and rules are never indexed.
 * - What only a proxy, a DNS answer or a handshake could allow is denied: there is none of them yet.
 */
import { type Cluster, type Party, partyOf, protocolOf } from './cluster.ts';
import type { Flow, FlowEnd, Side, Verdict } from './flow.ts';
import { type Section, sectionsOf } from './policies.ts';
import type { Direction, Match, Question } from './rules.ts';

export type { Cluster } from './cluster.ts';
export { NoSuchEnd } from './cluster.ts';
export type { Flow, FlowEnd, Verdict } from './flow.ts';

interface SideAnswer {
  side: Side;
  /** A proxy might have let it through. */
  isRedirected: boolean;
  names: string[];
}

const unenforced: SideAnswer = { side: 'not-enforced', isRedirected: false, names: [] };

export function judge(cluster: Cluster, flow: Flow): Verdict {
  return judgeAll(cluster, [flow])[0] as Verdict;
}

/** Many flows of one cluster: the objects are read once. */
export function judgeAll(cluster: Cluster, flows: readonly Flow[]): Verdict[] {
  const sections = sectionsOf(cluster);
  const known = new Map<string, Party>();
  const party = (end: FlowEnd, other: FlowEnd): Party => {
    const key = JSON.stringify([end, 'entity' in end && other]);
    const found = known.get(key) ?? partyOf(cluster, end, other);
    known.set(key, found);
    return found;
  };
  return flows.map((flow) => judgeWith(cluster, sections, flow, party(flow.from, flow.to), party(flow.to, flow.from)));
}

function judgeWith(cluster: Cluster, sections: readonly Section[], flow: Flow, from: Party, to: Party): Verdict {
  const protocol = protocolOf(flow, from, to);
  const ask = (direction: Direction, subject: Party, peer: Party): SideAnswer =>
    isSelf(from, to) || passesAlways(protocol, flow.port)
      ? unenforced
      : judgeSide(sections, { cluster, direction, subject, peer, protocol, port: flow.port });
  const egress = ask('egress', from, to);
  const ingress = ask('ingress', to, from);
  const denials = [egress, ingress].filter(({ side }) => side === 'denied');
  const verdict =
    denials.length === 0
      ? 'allowed'
      : denials.every(({ isRedirected }) => isRedirected)
        ? 'redirected-denied'
        : 'denied';
  const deciding = denials.length === 0 ? [egress, ingress] : denials;
  const matchedBy = [...new Set(deciding.flatMap(({ names }) => names))].sort();
  return { id: flow.id, verdict, ingress: ingress.side, egress: egress.side, matchedBy };
}

/** What a pod says to itself does not leave it; nor does what a node says to itself. */
function isSelf(from: Party, to: Party): boolean {
  if (from.kind === 'pod' && to.kind === 'pod') return from.pod === to.pod;
  return from.kind === 'node' && to.kind === 'node' && from.node === to.node;
}

/** Neighbour discovery and packet-too-big are no matter of policy. */
const passesAlways = (protocol: string, type: number): boolean =>
  protocol === 'ICMPV6' && (type === 2 || (type >= 133 && type <= 137));

function judgeSide(sections: readonly Section[], question: Question): SideAnswer {
  const { cluster, direction, subject, peer } = question;
  if (cluster.enforcement === 'never' || subject.kind === 'outside') return unenforced;
  if (subject.kind === 'node' && !cluster.hostFirewall) return unenforced;
  const selecting = sections.filter((one) => one.direction === direction && one.isSubject(subject));
  const isAlways = cluster.enforcement === 'always';
  if (selecting.length === 0 && !isAlways) return unenforced;

  const denying = matching(selecting, 'deny', question, ['yes']);
  if (denying.length > 0) return { side: 'denied', isRedirected: false, names: denying };
  const allowing = matching(selecting, 'allow', question, ['yes']);
  if (allowing.length > 0) return { side: 'allowed', isRedirected: false, names: allowing };
  const isHost = peer.kind === 'node' && peer.node === (subject.kind === 'pod' ? subject.node : undefined);
  if (direction === 'ingress' && isHost) return { side: 'allowed', isRedirected: false, names: [] };
  const redirecting = matching(selecting, 'allow', question, ['redirected']);
  const waiting = matching(selecting, 'allow', question, ['waits']);
  const hasDefaultDeny = isAlways || selecting.some((one) => one.hasDefaultDeny);
  if (!hasDefaultDeny) return { side: 'allowed', isRedirected: false, names: [] };
  return { side: 'denied', isRedirected: redirecting.length > 0, names: [...redirecting, ...waiting] };
}

function matching(
  sections: readonly Section[],
  list: 'allow' | 'deny',
  question: Question,
  wanted: readonly Match[],
): string[] {
  return sections.filter((one) => one[list].some((rule) => wanted.includes(rule(question)))).map(({ name }) => name);
}
