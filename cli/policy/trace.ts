/** `policy trace`: what becomes of one flow on live nodes, in words. */
import type { Verdict } from '../../policy/change.ts';
import type { ProtocolName } from '../../policy/rule.ts';
import type { NodeClient } from '../output/debug-target.ts';
import { print, printJson } from '../output/print.ts';
import { type ClusterEnd, ClusterWorld } from './cluster-world.ts';
import { parsePort } from './world.ts';

export interface TraceOptions {
  src: string;
  dst: string;
  dport: string;
  isJson: boolean;
}

export async function runTrace(clients: readonly NodeClient[], options: TraceOptions): Promise<number> {
  const { protocol, port } = parsePort(options.dport);
  const world = await ClusterWorld.of(clients);
  const [from, to] = [world.end('src', options.src), world.end('dst', options.dst)];
  const { isAllowed, egress, ingress } = world.judge(from, to, protocol, port);
  if (options.isJson) {
    const end = (one: ClusterEnd) => ({ ...world.shown(one), labels: world.labelsOf(one) });
    printJson({
      from: end(from),
      to: end(to),
      protocol,
      port,
      verdict: isAllowed ? 'allowed' : 'denied',
      egress,
      ingress,
    });
  } else {
    print(
      [
        `${from.name} → ${to.name}, ${portText(protocol, port)}`,
        ...endText('from', world, from),
        ...endText('to  ', world, to),
        '',
        ...sideText('Egress', world, from, to, egress),
        ...sideText('Ingress', world, to, from, ingress),
        `Verdict: ${isAllowed ? 'ALLOWED' : 'DENIED'}`,
        '',
      ].join('\n'),
    );
  }
  return 0;
}

export const portText = (protocol: ProtocolName, port: number): string =>
  protocol.startsWith('ICMP') ? `${protocol} type ${port}` : `${port}/${protocol}`;

function endText(title: string, world: ClusterWorld, end: ClusterEnd): string[] {
  const { identity, node } = world.shown(end);
  const labels = Object.entries(world.labelsOf(end)).map(([key, value]) => (value ? `${key}=${value}` : key));
  return [`  ${title} identity ${identity}${node ? ` on ${node}` : ''}: ${labels.join(' ') || 'no labels are known'}`];
}

function sideText(
  side: 'Egress' | 'Ingress',
  world: ClusterWorld,
  subject: ClusterEnd,
  peer: ClusterEnd,
  verdict: Verdict | undefined,
): string[] {
  const title = `${side} of ${subject.name}`;
  if (!verdict) {
    const isHere = world.homeOf(subject, peer) !== undefined;
    const here = world.worlds.length > 1 ? 'of these nodes' : 'of this node';
    const why = isHere ? 'talks to itself' : `is not an endpoint ${here}`;
    return [`${title}: not enforced here: ${subject.name} ${why}`, ''];
  }
  const { enforced, audited, matched, selecting, reason } = verdict;
  const outcome = enforced
    ? verdict.verdict.toUpperCase() + (audited ? ' (audit: the denial is only logged)' : '')
    : 'not enforced';
  return [
    `${title}: ${outcome}: ${reason}`,
    ...selecting.map((policy) => `  selected by ${policy}`),
    ...matched.map(({ policy, at, deny, needsL7, why }) => {
      const what = deny
        ? 'denied'
        : needsL7.length > 0
          ? `left to L7 (${needsL7.join(', ')}), which is not there yet,`
          : 'allowed';
      return `  ${what} by ${policy}, ${at}: ${why}`;
    }),
    '',
  ];
}
