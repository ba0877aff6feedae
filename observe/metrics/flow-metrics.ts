/** What Hubble counts of flows, under Hubble's names. */
import { Counter, type Registry } from 'prom-client';
import type { HubbleView } from '../debug/sources.ts';
import type { Flow } from '../hubble/types.ts';

const TYPES: Readonly<Record<number, string>> = { 1: 'Drop', 4: 'Trace', 5: 'PolicyVerdict', 7: 'Sock' };
const MATCHES = ['none', 'l3-only', 'l3-l4', 'l4-only', 'all', 'l3-proto', 'proto-only'];

/** Counts each flow that is handed to it, and what `hubble` has counted whenever somebody asks. */
export function flowMetrics(
  registry: Registry,
  hubble: Pick<HubbleView, 'counts' | 'lost'> = {},
): (flow: Flow, times?: number) => void {
  const registers = [registry];
  const counter = <L extends string>(name: string, help: string, labelNames: L[]): Counter<L> =>
    new Counter({ name: `hubble_${name}`, help, labelNames, registers });
  // Registered first, so that it is asked first: what was counted is taken then, for all of them.
  const processed = new Counter({
    name: 'hubble_flows_processed_total',
    help: 'Flows',
    labelNames: ['type', 'subtype', 'verdict', 'protocol'],
    registers,
    collect: () => hubble.counts?.take(count),
  });
  new Counter({
    name: 'hubble_lost_events_total',
    help: 'Events that never became a flow, or that a reader was too slow for',
    labelNames: ['source'],
    registers,
    collect() {
      this.reset();
      const { ringBuffer = 0, malformed = 0, overtaken = 0 } = hubble.lost?.() ?? {};
      this.inc({ source: 'perf_event_ring_buffer' }, ringBuffer);
      this.inc({ source: 'observer_events_queue' }, malformed);
      this.inc({ source: 'hubble_ring_buffer' }, overtaken);
    },
  });
  new Counter({
    name: 'hubble_port_distribution_total',
    help: 'Packets that the programs told of on their way to a port, no answers; port 0: ports beyond the first thousand',
    labelNames: ['protocol', 'port'],
    registers,
    collect() {
      this.reset();
      for (const { protocol, port, count: times } of hubble.counts?.ports() ?? []) this.inc({ protocol, port }, times);
    },
  });
  const dropped = counter('drop_total', 'Drops', ['reason', 'protocol']);
  const toWorld = counter('flows_to_world_total', 'Flows that leave the cluster', ['protocol', 'verdict']);
  const verdicts = counter('policy_verdicts_total', 'Policy verdicts', ['direction', 'match', 'action']);
  const tcpFlags = counter('tcp_flags_total', 'TCP packets with a flag that begins or ends a connection', [
    'flag',
    'family',
  ]);
  const icmp = counter('icmp_total', 'ICMP messages', ['family', 'type']);
  const chunks = counter('sctp_chunk_types_total', 'SCTP packets with a chunk that begins or ends an association', [
    'chunk_type',
    'family',
  ]);
  const byNamespace = counter('flows_namespace_total', 'Flows by namespace', [
    'source_namespace',
    'destination_namespace',
    'verdict',
    'protocol',
  ]);

  return count;

  function count(flow: Flow, times = 1): void {
    const { verdict, event_type, l4 = {}, IP } = flow;
    const protocol = Object.keys(l4)[0] ?? 'Unknown';
    const family = IP?.ipVersion ?? 'Unknown';
    const subtype = flow.trace_observation_point?.toLowerCase().replaceAll('_', '-') ?? '';
    processed.inc({ type: TYPES[event_type.type] ?? 'Unknown', subtype, verdict, protocol }, times);
    byNamespace.inc(
      {
        source_namespace: flow.source.namespace,
        destination_namespace: flow.destination.namespace,
        verdict,
        protocol,
      },
      times,
    );
    if (event_type.type === 1) dropped.inc({ reason: flow.drop_reason_desc ?? 'DROP_REASON_UNKNOWN', protocol }, times);
    if (flow.is_reply?.value !== true && flow.destination.labels.some((label) => label.startsWith('reserved:world')))
      toWorld.inc({ protocol, verdict }, times);
    if (event_type.type === 5) {
      const action = verdict === 'DROPPED' ? 'dropped' : verdict === 'AUDIT' ? 'audit' : 'forwarded';
      const match = MATCHES[flow.policy_match_type ?? 0] ?? 'none';
      verdicts.inc({ direction: flow.traffic_direction.toLowerCase(), match, action }, times);
    }
    const flags = l4.TCP?.flags;
    if (flags?.SYN) tcpFlags.inc({ flag: flags.ACK ? 'SYN-ACK' : 'SYN', family }, times);
    if (flags?.FIN) tcpFlags.inc({ flag: 'FIN', family }, times);
    if (flags?.RST) tcpFlags.inc({ flag: 'RST', family }, times);
    const chunk_type = l4.SCTP?.chunk_type;
    if (chunk_type) chunks.inc({ chunk_type, family }, times);
    const message = l4.ICMPv4 ?? l4.ICMPv6;
    if (message) icmp.inc({ family, type: flow.Summary.replace(/^ICMPv[46] /, '') }, times);
  }
}
