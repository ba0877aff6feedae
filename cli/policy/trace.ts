/** `policy trace`: what becomes of one flow on a live node, in words. */
import type { Verdict } from '../../policy/change.ts';
import type { ProtocolName } from '../../policy/rule.ts';
import type { DebugClient } from '../output/debug-client.ts';
import { print, printJson } from '../output/print.ts';
import { type End, parsePort, World } from './world.ts';

export interface TraceOptions {
  src: string;
  dst: string;
  dport: string;
  isJson: boolean;
}

export async function runTrace(client: DebugClient, { src, dst, dport, isJson }: TraceOptions): Promise<number> {
  const { protocol, port } = parsePort(dport);
  const world = await World.of(client);
  const [from, to] = [world.end('src', src), world.end('dst', dst)];
  const { isAllowed, egress, ingress } = world.judge(from, to, protocol, port);
  if (isJson) {
    const end = (one: End) => ({ ...one, labels: world.labelsOf(one.identity) });
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
        `${endText(world, from)} → ${endText(world, to)}, ${portText(protocol, port)}`,
        '',
        ...sideText(`Egress of ${from.name}`, from, egress),
        ...sideText(`Ingress of ${to.name}`, to, ingress),
        `Verdict: ${isAllowed ? 'ALLOWED' : 'DENIED'}`,
        '',
      ].join('\n'),
    );
  }
  return 0;
}

export const portText = (protocol: ProtocolName, port: number): string =>
  protocol.startsWith('ICMP') ? `${protocol} type ${port}` : `${port}/${protocol}`;

function endText(world: World, { name, identity }: End): string {
  const labels = Object.entries(world.labelsOf(identity)).map(([key, value]) => (value ? `${key}=${value}` : key));
  return `${name} (identity ${identity}${labels.length > 0 ? `: ${labels.join(' ')}` : ''})`;
}

function sideText(title: string, subject: End, verdict: Verdict | undefined): string[] {
  if (!verdict) {
    const why = subject.endpointId === undefined ? 'is not an endpoint of this node' : 'talks to itself';
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
