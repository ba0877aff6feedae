/** What Hubble counts of flows, under Hubble's names. */
import { Counter, type Registry } from 'prom-client';
import type { Flow } from '../hubble/types.ts';

const TYPES: Readonly<Record<number, string>> = { 1: 'Drop', 4: 'Trace', 5: 'PolicyVerdict', 7: 'Sock' };
const MATCHES = ['none', 'l3-only', 'l3-l4', 'l4-only', 'all', 'l3-proto', 'proto-only'];

/** A counter for each flow that is handed to it. */
export function flowMetrics(registry: Registry): (flow: Flow) => void {
  const registers = [registry];
  const counter = <L extends string>(name: string, help: string, labelNames: L[]): Counter<L> =>
    new Counter({ name: `hubble_${name}`, help, labelNames, registers });
  const processed = counter('flows_processed_total', 'Flows', ['type', 'subtype', 'verdict', 'protocol']);
  const dropped = counter('drop_total', 'Drops', ['reason', 'protocol']);
  const toWorld = counter('flows_to_world_total', 'Flows that leave the cluster', ['protocol', 'verdict']);
  const verdicts = counter('policy_verdicts_total', 'Policy verdicts', ['direction', 'match', 'action']);
  const tcpFlags = counter('tcp_flags_total', 'TCP packets with a flag that begins or ends a connection', [
    'flag',
    'family',
  ]);
  const icmp = counter('icmp_total', 'ICMP messages', ['family', 'type']);
  const byNamespace = counter('flows_namespace_total', 'Flows by namespace', [
    'source_namespace',
    'destination_namespace',
    'verdict',
    'protocol',
  ]);

  return (flow) => {
    const { verdict, event_type, l4 = {}, IP } = flow;
    const protocol = Object.keys(l4)[0] ?? 'Unknown';
    const family = IP?.ipVersion ?? 'Unknown';
    const subtype = flow.trace_observation_point?.toLowerCase().replaceAll('_', '-') ?? '';
    processed.inc({ type: TYPES[event_type.type] ?? 'Unknown', subtype, verdict, protocol });
    byNamespace.inc({
      source_namespace: flow.source.namespace,
      destination_namespace: flow.destination.namespace,
      verdict,
      protocol,
    });
    if (event_type.type === 1) dropped.inc({ reason: flow.drop_reason_desc ?? 'DROP_REASON_UNKNOWN', protocol });
    if (flow.is_reply?.value !== true && flow.destination.labels.some((label) => label.startsWith('reserved:world')))
      toWorld.inc({ protocol, verdict });
    if (event_type.type === 5) {
      const action = verdict === 'DROPPED' ? 'dropped' : verdict === 'AUDIT' ? 'audit' : 'forwarded';
      const match = MATCHES[flow.policy_match_type ?? 0] ?? 'none';
      verdicts.inc({ direction: flow.traffic_direction.toLowerCase(), match, action });
    }
    const flags = l4.TCP?.flags;
    if (flags?.SYN) tcpFlags.inc({ flag: flags.ACK ? 'SYN-ACK' : 'SYN', family });
    if (flags?.FIN) tcpFlags.inc({ flag: 'FIN', family });
    if (flags?.RST) tcpFlags.inc({ flag: 'RST', family });
    const message = l4.ICMPv4 ?? l4.ICMPv6;
    if (message) icmp.inc({ family, type: flow.Summary.replace(/^ICMPv[46] /, '') });
  };
}
